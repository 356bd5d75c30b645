//! Metrics of the outbound stack: every attempt of every call, and every login. Labels are names from the
//! configuration, fixed words, and the status of the cloud.

use std::sync::OnceLock;
use std::time::Duration;

use http::{Method, Uri};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};

/// Bounds of an attempt's time, in seconds.
const SECONDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

struct Instruments {
    attempts: Histogram<f64>,
    logins: Counter<u64>,
}

static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();

/// Counts the attempts and logins of this process on a meter; the first one given is kept.
pub fn measure_with(meter: &Meter) {
    INSTRUMENTS.get_or_init(|| Instruments {
        attempts: meter
            .f64_histogram("http.client.request.duration")
            .with_unit("s")
            .with_description("duration of one attempt of a call to an upstream")
            .with_boundaries(SECONDS.to_vec())
            .build(),
        logins: meter
            .u64_counter("restore_gateway.credential.logins")
            .with_description("logins of the gateway's own credentials, by outcome: granted, refused, failed")
            .build(),
    });
}

/// One attempt has ended: with a status of the cloud's, or with a kind of fault.
pub(crate) fn attempt(
    method: &Method,
    upstream: &str,
    uri: &Uri,
    template: &'static str,
    outcome: Result<u16, &'static str>,
    took: Duration,
) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    let outcome = match outcome {
        Ok(status) => KeyValue::new("http.response.status_code", i64::from(status)),
        Err(kind) => KeyValue::new("error.type", kind),
    };
    let method = match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        _ => "_OTHER",
    };
    let labels = [
        KeyValue::new("http.request.method", method),
        KeyValue::new("restore_gateway.upstream", upstream.to_owned()),
        KeyValue::new("server.address", uri.host().unwrap_or_default().to_owned()),
        KeyValue::new("server.port", i64::from(port(uri))),
        KeyValue::new("url.template", template),
        outcome,
    ];
    instruments.attempts.record(took.as_secs_f64(), &labels);
}

/// The port that a URL leads to.
pub(crate) fn port(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 })
}

/// One login has ended.
pub(crate) fn login(credential: &str, outcome: &'static str) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    let labels = [KeyValue::new("credential", credential.to_owned()), KeyValue::new("outcome", outcome)];
    instruments.logins.add(1, &labels);
}
