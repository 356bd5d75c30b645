//! Gauges of the ledger and of waiting work. A separate task reads the ledger every few seconds, never a scrape. While
//! the ledger is unavailable there is no value, because an old one would be wrong. Replicas with a shared ledger each
//! show the whole of it: use `max`, not `sum`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use restore_engine::Engine;
use restore_ledger::Unfinished;
use restore_model::Status;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Between two looks at the ledger.
const LOOK: Duration = Duration::from_secs(5);
/// The pause is at least so many times as long as the look before it: a ledger in which counting takes long is not kept busy
/// by it.
const SHARE: u32 = 50;

/// Result of the last reading.
#[derive(Clone, Debug, Default)]
pub(super) struct Stock(Arc<Mutex<Found>>);

#[derive(Debug, Default)]
enum Found {
    /// Nobody has looked yet.
    #[default]
    Nothing,
    Writable(Unfinished),
    NotWritable,
}

impl Stock {
    /// Shows it on a meter, and what the engine knows by itself.
    pub(super) fn observe(&self, meter: &Meter, engine: &Engine) {
        let stock = self.clone();
        meter
            .u64_observable_gauge("restore_gateway.ledger.writable")
            .with_description("1 while the ledger is readable and writable, 0 while it is not")
            .with_callback(move |gauge| match *stock.found() {
                Found::Nothing => {}
                Found::Writable(_) => gauge.observe(1, &[]),
                Found::NotWritable => gauge.observe(0, &[]),
            })
            .build();
        let stock = self.clone();
        meter
            .u64_observable_gauge("restore_gateway.restores.in_progress")
            .with_description("restores in the ledger that have not ended, by status")
            .with_callback(move |gauge| {
                stock.tell(|held| {
                    for status in Status::ALL.into_iter().filter(|status| !status.is_final()) {
                        let count = held.by_status.iter().find(|(known, _)| *known == status);
                        let label = KeyValue::new("status", status.as_str());
                        gauge.observe(count.map_or(0, |(_, count)| *count), &[label]);
                    }
                });
            })
            .build();
        let stock = self.clone();
        meter
            .u64_observable_gauge("restore_gateway.restores.flagged")
            .with_description(
                "restores in the ledger that have not ended, by flag: overdue, needs_operator, stale (the last poll failed), \
                 awaiting_credential (stale for want of a token)",
            )
            .with_callback(move |gauge| {
                stock.tell(|held| {
                    for (flag, count) in [
                        ("overdue", held.overdue),
                        ("needs_operator", held.needs_operator),
                        ("stale", held.stale),
                        ("awaiting_credential", held.awaiting_credential),
                    ] {
                        gauge.observe(count, &[KeyValue::new("flag", flag)]);
                    }
                });
            })
            .build();
        let (stock, clock) = (self.clone(), Arc::clone(engine.clock()));
        meter
            .f64_observable_gauge("restore_gateway.oldest_lock.age")
            .with_unit("s")
            .with_description("age of the locks of the oldest restore that has not ended; 0 if there is none")
            .with_callback(move |gauge| {
                stock.tell(|held| {
                    let age = held.oldest.map_or(0, |oldest| clock.now().as_micros() - oldest.as_micros());
                    #[expect(clippy::cast_precision_loss, reason = "microseconds of an age fit")]
                    gauge.observe(age.max(0) as f64 / 1e6, &[]);
                });
            })
            .build();
        let own = engine.clone();
        meter
            .u64_observable_gauge("restore_gateway.poll.queue_length")
            .with_description(
                "restores that are due for a poll and wait for the read quota of their upstream",
            )
            .with_callback(move |gauge| {
                for (upstream, waiting) in own.waiting_reads() {
                    gauge.observe(waiting as u64, &[KeyValue::new("upstream", upstream)]);
                }
            })
            .build();
        let own = engine.clone();
        meter
            .u64_observable_gauge("restore_gateway.recovery_mode")
            .with_description("1 in recovery mode: the gateway sends nothing because the ledger may come from an older backup")
            .with_callback(move |gauge| gauge.observe(u64::from(own.recovery().is_some()), &[]))
            .build();
    }

    /// Looks until `stop`.
    pub(super) async fn watch(self, engine: Engine, stop: CancellationToken) {
        let mut pause = Duration::ZERO;
        loop {
            let look = async {
                tokio::time::sleep(pause).await;
                let begun = Instant::now();
                (engine.unfinished().await, begun.elapsed())
            };
            let (found, took) = tokio::select! {
                () = stop.cancelled() => return,
                look = look => look,
            };
            pause = LOOK.max(took * SHARE);
            let found = match found {
                Ok(unfinished) => Found::Writable(unfinished),
                Err(error) => {
                    tracing::debug!(error = %error, "ledger statistics unavailable");
                    Found::NotWritable
                }
            };
            *self.found() = found;
        }
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, tell: impl FnOnce(&Unfinished)) {
        if let Found::Writable(unfinished) = &*self.found() {
            tell(unfinished);
        }
    }
}
