//! Protection of secrets in memory (S44): the process writes no core dump. On Linux no other process of the same user can read
//! its memory, environment or open files.
//!
//! To get a core dump of the gateway, attach a debugger as root.

/// Sets what the system allows, and warns about the rest.
#[cfg(target_os = "linux")]
pub(super) fn keep_memory_private() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

    // The limit is visible and inherited. Alone it would not stop a handler that the kernel pipes core dumps into.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    for (what, done) in [
        ("RLIMIT_CORE", setrlimit(Resource::Core, none)),
        ("PR_SET_DUMPABLE", set_dumpable_behavior(DumpableBehavior::NotDumpable)),
    ] {
        if let Err(why) = done {
            eprintln!("warning: cannot set {what}; a crash may write secrets to a core file: {why}");
        }
    }
}

/// On other systems only the limit of the service manager applies.
#[cfg(not(target_os = "linux"))]
pub(super) fn keep_memory_private() {}
