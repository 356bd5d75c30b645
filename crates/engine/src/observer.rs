//! Reports the actions of the engine to metrics and logs.

use std::time::Duration;

use restore_ledger::Entry;
use restore_model::Event;

use crate::callers::Decision;

/// Receives what the engine does, for metrics and logs.
pub trait Observer: Send + Sync + 'static {
    /// Called after the commit, once per event, with the state it led to.
    fn committed(&self, entry: &Entry, event: &Event);

    /// Called with every decision on what a known caller may do.
    fn decided(&self, decision: &Decision<'_>);

    /// Called with every write of a restore into the ledger, how long it took, and the kind of fault.
    fn wrote(&self, _operation: &'static str, _took: Duration, _fault: Option<&'static str>) {}

    /// Called when a restore that was due is read, with how much later than due that is.
    fn read(&self, _upstream: &str, _late: Duration) {}
}
