//! The memory of a process that holds secrets is nobody else's (S44): no core is ever written of it, and on Linux no
//! other process of the same user may look into it, its environment or its open files.
//!
//! A program that wants a core of the gateway takes a debugger as root; the gateway itself never leaves one behind.

/// Does what the system allows; says what it did not.
#[cfg(target_os = "linux")]
pub(super) fn keep_memory_private() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

    // The limit is seen by whoever looks at the process and is inherited; it alone would not stop a
    // handler that the kernel pipes cores into.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    for (what, done) in [
        ("RLIMIT_CORE", setrlimit(Resource::Core, none)),
        ("PR_SET_DUMPABLE", set_dumpable_behavior(DumpableBehavior::NotDumpable)),
    ] {
        if let Err(why) = done {
            eprintln!("warning: {what} could not be set, so a crash may write secrets to a core file: {why}");
        }
    }
}

/// Elsewhere the service manager's limit is all there is.
#[cfg(not(target_os = "linux"))]
pub(super) fn keep_memory_private() {}
