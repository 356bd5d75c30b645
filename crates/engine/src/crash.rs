//! Named points at which a test can kill or stop the process: the critical moments between two commits. An optimised
//! build has none of them, and refuses to start if one is requested.

use std::sync::OnceLock;

/// The variable that names a point; after a colon which time it is passed, and after a slash the
/// signal, which is KILL unless it is STOP: `submitting`, `submitting:2`, `first_byte/STOP`.
pub const VARIABLE: &str = "RESTORE_GATEWAY_CRASH_AT";

/// Every point, in the order in which a restore passes them.
pub const POINTS: [&str; 7] = [
    // Nothing is written yet.
    "before_accept",
    // Row, locks and key are written; where no read comes first, `submitting` with them.
    "accepted",
    // `submitting` is durable.
    "submitting",
    // The connection stands and the first byte is about to be written.
    "first_byte",
    // The upstream has answered, and nobody has written it down.
    "answered",
    // The response is written, and nobody is notified.
    "recorded",
    // A poll has a result, and it is not written.
    "progress",
];

static PLAN: OnceLock<Plan> = OnceLock::new();

/// Arms a point, once for the whole process.
///
/// # Errors
/// When this build has no such points, or none of that name.
pub fn arm(asked: &str) -> Result<(), String> {
    if !cfg!(debug_assertions) {
        return Err(format!(
            "{VARIABLE} is set, and this is a build for service: it cannot be made to crash"
        ));
    }
    let plan = Plan::read(asked).ok_or_else(|| {
        format!("{VARIABLE} is one of {}, perhaps with a count such as :2 and with /STOP", POINTS.join(", "))
    })?;
    PLAN.set(plan).map_err(|_| format!("{VARIABLE} was read before"))
}

/// Receives every point, in a process that runs several gateways.
#[cfg(debug_assertions)]
static WATCH: OnceLock<fn(&'static str)> = OnceLock::new();

/// Reports every point to `watch`, once for the whole process. A release build does not have this function.
#[cfg(debug_assertions)]
pub fn watch_with(watch: fn(&'static str)) {
    // The first one stays: it is the same for all who play gateways in one process.
    let _ = WATCH.set(watch);
}

/// Which point, which time, by which signal.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    point: String,
    time: u32,
    signal: &'static str,
}

impl Plan {
    fn read(text: &str) -> Option<Self> {
        let (place, signal) = text.split_once('/').unwrap_or((text, "KILL"));
        let (point, time) = place.split_once(':').unwrap_or((place, "1"));
        let signal = ["KILL", "STOP"].into_iter().find(|known| *known == signal)?;
        let time = time.parse().ok().filter(|time| *time > 0)?;
        POINTS.contains(&point).then(|| Self { point: point.to_owned(), time, signal })
    }
}

/// Sends this process the signal at an armed point: here it ends, or continues after SIGCONT.
#[cfg(debug_assertions)]
pub(crate) fn point(name: &'static str) {
    use std::sync::atomic::{AtomicU32, Ordering};

    static PASSED: AtomicU32 = AtomicU32::new(0);

    debug_assert!(POINTS.contains(&name), "{name} is not in the list");
    if let Some(watch) = WATCH.get() {
        watch(name);
    }
    let Some(plan) = PLAN.get().filter(|plan| plan.point == name) else { return };
    if PASSED.fetch_add(1, Ordering::Relaxed) + 1 != plan.time {
        return;
    }
    let id = std::process::id().to_string();
    let sent = std::process::Command::new("kill").args(["-s", plan.signal, &id]).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill is there");
    // A process stops a moment after the signal, thread by thread; no thread may pass this point.
    std::thread::sleep(std::time::Duration::from_millis(200));
    if plan.signal == "KILL" {
        // The signal is on its way; this thread goes no further.
        loop {
            std::thread::park();
        }
    }
}

#[cfg(not(debug_assertions))]
pub(crate) const fn point(_: &'static str) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_as_it_is_documented() {
        let plan = |point: &str, time, signal| Some(Plan { point: point.to_owned(), time, signal });
        assert_eq!(Plan::read("submitting"), plan("submitting", 1, "KILL"));
        assert_eq!(Plan::read("submitting:2"), plan("submitting", 2, "KILL"));
        assert_eq!(Plan::read("first_byte:3/STOP"), plan("first_byte", 3, "STOP"));
        for wrong in ["", "somewhere", "submitting:0", "submitting:x", "submitting/HUP", "submitting/"] {
            assert_eq!(Plan::read(wrong), None, "{wrong}");
        }
    }
}
