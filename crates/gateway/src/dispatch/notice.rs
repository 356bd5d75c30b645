//! The deprecation notice on every response of an old compatibility endpoint: the date of its deprecation (RFC 9745),
//! its end if that is known (RFC 8594), and a link to the migration guide.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use restore_config::{self as config, day};
use restore_generations::SourceApi;

/// The headers that every answer of a compatibility endpoint carries.
pub(crate) fn headers(endpoint: &dyn SourceApi, written: &config::CompatEndpoint) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let since = written.deprecated_since.as_deref().or_else(|| endpoint.closed_on());
    let since = since.filter(|_| written.announce_deprecation).and_then(day);
    let sunset = written.sunset.as_deref().and_then(day);
    let mut put = |name: HeaderName, text: String| {
        // Made of dates and a checked URL, so that none is refused.
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.append(name, value);
        }
    };
    if let Some(since) = since {
        put(HeaderName::from_static("deprecation"), format!("@{}", since.to_jiff().as_second()));
    }
    if let Some(sunset) = sunset {
        let date = sunset.to_jiff().strftime("%a, %d %b %Y %H:%M:%S GMT");
        put(HeaderName::from_static("sunset"), date.to_string());
    }
    if let Some(link) = &written.link {
        for (relation, holds) in [("deprecation", since.is_some()), ("sunset", sunset.is_some())] {
            if holds {
                put(header::LINK, format!("<{link}>; rel=\"{relation}\"; type=\"text/html\""));
            }
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use restore_generations::source_api;

    use super::*;

    fn endpoint(api: &str) -> config::CompatEndpoint {
        config::CompatEndpoint {
            api: api.to_owned(),
            prefix: Some("/x".to_owned()),
            host: None,
            listen: None,
            upstream: None,
            announce_deprecation: true,
            deprecated_since: None,
            sunset: None,
            link: None,
        }
    }

    fn told(api: &str, since: Option<&str>, sunset: Option<&str>, link: Option<&str>) -> Vec<String> {
        let written = config::CompatEndpoint {
            deprecated_since: since.map(str::to_owned),
            sunset: sunset.map(str::to_owned),
            link: link.map(|link| link.parse().unwrap()),
            ..endpoint(api)
        };
        let headers = headers(source_api::by_name(api).unwrap(), &written);
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    #[test]
    fn what_is_old_says_since_when() {
        assert_eq!(told("csbs-v1", None, None, None), ["deprecation: @1753660800"]);
        assert_eq!(told("vbs-v2", None, None, None), ["deprecation: @1753660800"]);
        for source_api in ["cbr-v3", "cinder-v3"] {
            assert!(told(source_api, None, None, Some("https://example.com/")).is_empty(), "{source_api}");
        }
    }

    #[test]
    fn announcement_off_sends_no_deprecation() {
        let written = config::CompatEndpoint { announce_deprecation: false, ..endpoint("csbs-v1") };
        assert!(headers(source_api::by_name("csbs-v1").unwrap(), &written).is_empty());
    }

    #[test]
    fn what_the_operator_writes_counts() {
        assert_eq!(
            told("cbr-v3", Some("2026-01-01"), Some("2027-06-30"), Some("https://example.com/move")),
            [
                "deprecation: @1767225600",
                "sunset: Wed, 30 Jun 2027 00:00:00 GMT",
                "link: <https://example.com/move>; rel=\"deprecation\"; type=\"text/html\"",
                "link: <https://example.com/move>; rel=\"sunset\"; type=\"text/html\"",
            ]
        );
    }
}
