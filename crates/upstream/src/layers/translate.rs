//! The outermost step of the outbound stack: a call becomes an HTTP request, and an HTTP response becomes a reply.
//! Every request is built from nothing; no header of a caller is carried over.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, header};
use restore_generations::{Call, Generation, Method, Reply};
use restore_model::Timestamp;

use super::Purpose;
use crate::With;
use crate::body::GatedBody;
use crate::coding::NO_CODING;
use crate::fault::{Fault, FaultKind};
use crate::stack::{UpstreamRequest, UpstreamResponse};

/// Under these names upstreams tell the id of a call (cloud APIs 1.2).
const REQUEST_IDS: [&str; 4] =
    ["x-request-id", "x-openstack-request-id", "x-compute-request-id", "x-iam-trace-id"];
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("restore-gateway/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The HTTP request of a call.
pub(crate) fn request(
    generation: &dyn Generation,
    call: &Call,
    url: &str,
    timeout: Duration,
    with: With,
) -> Result<UpstreamRequest, Fault> {
    let mut request = Request::builder()
        .method(match call.method {
            Method::Get => http::Method::GET,
            Method::Post => http::Method::POST,
        })
        .uri(url)
        .header(header::ACCEPT, JSON)
        .header(header::ACCEPT_ENCODING, NO_CODING)
        .header(header::USER_AGENT, USER_AGENT);
    if call.body.is_some() {
        request = request.header(header::CONTENT_TYPE, JSON);
    }
    for (name, value) in call.headers {
        request = request.header(*name, *value);
    }
    let gate = with.journal.clone().filter(|_| call.restores);
    let purpose = Purpose {
        behalf: with.behalf,
        restores: call.restores,
        template: call.template,
        project: generation.project_in(&call.path).unwrap_or_default().to_owned(),
        timeout,
        token: with.token,
        journal: with.journal,
        trace: with.trace,
        attempt: 1,
        renewed: false,
    };
    request
        .extension(purpose)
        .body(GatedBody::new(call.body.clone().unwrap_or_default(), gate))
        // Endpoint and path are both checked before; this is the last line of defence.
        .map_err(|error| Fault::not_sent(FaultKind::NoEndpoint, error.to_string()))
}

/// The reply that an HTTP answer carries.
pub(crate) fn reply(response: UpstreamResponse) -> Reply {
    let (head, body): (_, Bytes) = response.into_parts();
    Reply {
        status: head.status.as_u16(),
        request_id: REQUEST_IDS.iter().find_map(|name| text(&head.headers, name)),
        date: text(&head.headers, "date").and_then(|date| http_date(&date)),
        retry_after: text(&head.headers, "retry-after"),
        body,
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?.trim();
    (!value.is_empty()).then(|| value.chars().take(128).collect())
}

/// An HTTP date (RFC 9110, 5.6.7), its preferred form.
pub(crate) fn http_date(text: &str) -> Option<Timestamp> {
    let time = jiff::fmt::strtime::parse("%a, %d %b %Y %H:%M:%S GMT", text).ok()?.to_datetime().ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_carries_what_its_api_wants_and_knows_its_project() {
        let generation = restore_generations::by_name("cbr-v3").unwrap();
        let call = Call::read("/v3/{project_id}/x", "/v3/p/x?y=/z".to_owned()).with(&[("x-version", "3.3")]);
        let request =
            request(generation, &call, "https://h/v3/p/x", Duration::ZERO, With::default()).unwrap();
        assert_eq!(request.headers()["x-version"], "3.3");
        assert_eq!(request.extensions().get::<Purpose>().unwrap().project, "p");
    }

    #[test]
    fn http_dates_are_read() {
        let time = http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(time.to_string(), "1994-11-06T08:49:37Z");
        assert_eq!(http_date("yesterday"), None);
    }
}
