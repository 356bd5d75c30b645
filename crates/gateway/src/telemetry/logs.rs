//! Logs on standard error: JSON for machines, text for people. Lines about a request or a restore have its trace ID as
//! a field. Spans are for traces and never appear in the log.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use restore_model::{Code, Problem, Timestamp};
use serde_json::{Value, json};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{self, Filter, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

/// The target of the spans that are exported, and of nothing else.
const SPANS: &str = "restore_gateway::span";
/// The target of decisions about callers.
const AUDIT: &str = "restore_gateway::audit";
/// Crates whose lines below `warn` are about themselves.
const NOISY: [&str; 8] = ["hyper", "h2", "rustls", "tower", "opentelemetry", "sqlx", "tokio", "moka"];

const WORDS: [(&str, Level); 5] = [
    ("error", Level::ERROR),
    ("warn", Level::WARN),
    ("info", Level::INFO),
    ("debug", Level::DEBUG),
    ("trace", Level::TRACE),
];
/// Minutes that another level can last at most: a day.
const LONGEST: u32 = 24 * 60;

/// How logs are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) level: Level,
    pub(crate) json: bool,
}

/// Lines of this level and of more severe ones.
struct From(Level);

impl<S> Filter<S> for From {
    fn enabled(&self, meta: &Metadata<'_>, _: &layer::Context<'_, S>) -> bool {
        meta.is_event() && is_told(meta.target(), *meta.level(), self.0)
    }

    // A line below the level costs a comparison and no more.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.0.max(Level::INFO).into())
    }
}

/// The level of this process's lines, which can be another for a while. Clones are one.
#[derive(Clone)]
pub(crate) struct LogLevel(Arc<Mutex<Levels>>);

struct Levels {
    /// None where somebody else has installed logs.
    filter: Option<reload::Handle<From, Registry>>,
    usual: Level,
    /// Another level, and until when.
    other: Option<(Level, Timestamp)>,
    /// Counts the changes, so that the end of one does not end a later one.
    changes: u64,
}

impl LogLevel {
    fn levels(&self) -> MutexGuard<'_, Levels> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another level for so many minutes; after them the usual one is back.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`] for a word that is no level, and a time that is none.
    pub(crate) fn change(&self, word: &str, minutes: u32, now: Timestamp) -> Result<(), Problem> {
        let level = WORDS.iter().find(|(known, _)| *known == word).map(|(_, level)| *level);
        let (Some(level), 1..=LONGEST) = (level, minutes) else {
            let words = WORDS.map(|(word, _)| word).join(", ");
            let detail = format!("`level` is one of {words}, and `minutes` is 1 to {LONGEST}");
            return Err(Problem::new(Code::InvalidRequest, detail));
        };
        let mut levels = self.levels();
        levels.changes += 1;
        levels.other = Some((level, now.plus_seconds(i64::from(minutes) * 60)));
        levels.apply();
        let (own, change) = (self.clone(), levels.changes);
        drop(levels);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(u64::from(minutes) * 60)).await;
            let mut levels = own.levels();
            if levels.changes == change {
                levels.other = None;
                levels.apply();
                tracing::warn!("log level restored");
            }
        });
        Ok(())
    }

    /// The level where nobody has asked for another.
    pub(crate) fn is_usually(&self, level: Level) {
        let mut levels = self.levels();
        levels.usual = level;
        levels.apply();
    }

    /// For operators.
    pub(crate) fn view(&self) -> Value {
        let levels = self.levels();
        let until = levels.other.map(|(_, until)| until);
        json!({ "level": word(levels.now()), "usual": word(levels.usual), "until": until })
    }
}

impl Levels {
    fn now(&self) -> Level {
        self.other.map_or(self.usual, |(level, _)| level)
    }

    fn apply(&self) {
        let level = self.now();
        // Fails only when the subscriber is gone, which ends with the process.
        let _ = self.filter.as_ref().map(|filter| filter.modify(|from| *from = From(level)));
    }
}

fn word(level: Level) -> &'static str {
    WORDS.iter().find(|(_, known)| *known == level).map_or("", |(word, _)| word)
}

/// Installs logs, and traces where there is a provider, for the whole process. The second call in
/// one process (tests run several gateways) changes nothing.
pub(crate) fn install(options: Options, traces: Option<&SdkTracerProvider>) -> LogLevel {
    let level = options.level;
    let (wanted, filter) = reload::Layer::new(From(level));
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
    let installed = tracing_subscriber::registry().with(fmt).with(otel).try_init().is_ok();
    let levels = Levels { filter: installed.then_some(filter), usual: level, other: None, changes: 0 };
    LogLevel(Arc::new(Mutex::new(levels)))
}

/// True if a line is logged at `level`.
fn is_told(target: &str, line: Level, level: Level) -> bool {
    // Authorization decisions are logged at every level.
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
    fn decisions_are_logged_at_every_level_and_noise_of_libraries_at_none() {
        for level in [Level::ERROR, Level::INFO, Level::TRACE] {
            assert!(is_told(AUDIT, Level::INFO, level));
            assert!(!is_told("hyper::proto", Level::INFO, level) && is_told("x", level, level));
        }
        assert!(!is_told("restore_gateway", Level::INFO, Level::WARN));
    }
}
