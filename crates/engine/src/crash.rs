//! Named points at which a test can have the process killed: the moments between two commits at
//! which a real crash would hurt most. A build with optimisations has none of them, and refuses to
//! start when one is asked for.

/// The variable that names a point, and after a colon which time it is passed: `submitting:2`.
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
    // The answer is written down, and nobody has been told.
    "recorded",
    // A read has told something, and nobody has written it down.
    "observed",
];

/// Whether what the environment asks for can be had.
///
/// # Errors
/// When this build has no such points, or none of that name.
pub fn check() -> Result<(), String> {
    let Some(asked) = std::env::var_os(VARIABLE) else { return Ok(()) };
    if !cfg!(debug_assertions) {
        return Err(format!(
            "{VARIABLE} is set, and this is a build for service: it cannot be made to crash"
        ));
    }
    let asked = asked.to_string_lossy();
    let (name, count) = asked.split_once(':').unwrap_or((&asked, "1"));
    if POINTS.contains(&name) && count.parse::<u32>().is_ok_and(|count| count > 0) {
        Ok(())
    } else {
        Err(format!("{VARIABLE} is one of {}, perhaps with a count such as :2", POINTS.join(", ")))
    }
}

/// Ends the process here, as SIGKILL does, when the environment says so.
#[cfg(debug_assertions)]
pub(crate) fn point(name: &str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static PLAN: LazyLock<Option<(String, AtomicU32)>> = LazyLock::new(|| {
        let asked = std::env::var(VARIABLE).ok()?;
        let (name, count) = asked.split_once(':').unwrap_or((&asked, "1"));
        Some((name.to_owned(), AtomicU32::new(count.parse().ok()?)))
    });

    debug_assert!(POINTS.contains(&name), "{name} is not in the list");
    let Some((planned, left)) = &*PLAN else { return };
    if planned != name || left.fetch_sub(1, Ordering::Relaxed) != 1 {
        return;
    }
    let id = std::process::id().to_string();
    let killed = std::process::Command::new("kill").args(["-s", "KILL", &id]).status();
    // The signal is on its way; whoever came here goes no further.
    assert!(killed.is_ok_and(|status| status.success()), "kill is there");
    loop {
        std::thread::park();
    }
}

#[cfg(not(debug_assertions))]
pub(crate) const fn point(_: &str) {}
