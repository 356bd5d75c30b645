//! Logs on standard error: JSON for machines, text for people. Lines that concern a request or a
//! restore carry its trace id as a field of their own. Spans are for traces and are kept out.

use std::io::IsTerminal;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The target of the spans that are exported, and of nothing else.
const SPANS: &str = "restore_gateway::span";
/// The target of decisions about callers.
const AUDIT: &str = "restore_gateway::audit";
/// Crates whose lines below `warn` are about themselves.
const NOISY: [&str; 8] = ["hyper", "h2", "rustls", "tower", "opentelemetry", "sqlx", "tokio", "moka"];

/// How logs are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) level: Level,
    pub(crate) json: bool,
}

/// Installs logs, and traces where there is a provider, for the whole process. The second call in
/// one process (tests run several gateways) changes nothing.
pub(crate) fn install(options: Options, traces: Option<&SdkTracerProvider>) {
    let level = options.level;
    let wanted =
        filter_fn(move |meta: &Metadata<'_>| meta.is_event() && is_told(meta.target(), *meta.level(), level));
    // The hints let a line below the level cost a comparison and no more.
    let wanted = wanted.with_max_level_hint(level.max(Level::INFO));
    let spans =
        filter_fn(|meta| meta.is_span() && meta.target() == SPANS).with_max_level_hint(LevelFilter::INFO);
    let fmt = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let fmt = if options.json {
        fmt.json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_filter(wanted)
            .boxed()
    } else {
        fmt.with_ansi(std::io::stderr().is_terminal()).with_filter(wanted).boxed()
    };
    let otel = traces.map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("restore-gateway"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false)
            .with_filter(spans)
    });
    let _ = tracing_subscriber::registry().with(fmt).with(otel).try_init();
}

/// Whether a line is told where lines of `level` are.
fn is_told(target: &str, line: Level, level: Level) -> bool {
    // Who was let do what is told at every level.
    if target == AUDIT {
        return true;
    }
    let own = !NOISY.iter().any(|noisy| target.starts_with(noisy));
    line <= if own { level } else { level.min(Level::WARN) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_told_at_every_level_and_the_noise_of_others_at_none() {
        for level in [Level::ERROR, Level::INFO, Level::TRACE] {
            assert!(is_told(AUDIT, Level::INFO, level));
            assert!(!is_told("hyper::proto", Level::INFO, level) && is_told("x", level, level));
        }
        assert!(!is_told("restore_gateway", Level::INFO, Level::WARN));
    }
}
