//! What must hold for any bytes at all, whoever sends them: callers, clouds, or whoever writes the configuration.
//!
//! One file per target in `targets`, each with `run`, which panics when its promise is broken, and with the longest
//! input that is worth trying. A target is a plain function: the fuzzer drives it with what it makes up, and every
//! test run with what is kept in `corpus` and `regressions`.
//!
//! **To add a target**: one file in `targets`, its word in the list below, a few inputs in `corpus/<target>`.

mod conversation;
mod script;
mod wording;

/// A target by its name.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// As on the command line, and the name of its folders.
    pub name: &'static str,
    /// The longest input that is tried, in bytes.
    pub max_len: usize,
    /// Panics when what is promised of these bytes does not hold.
    pub run: fn(&[u8]),
}

macro_rules! targets {
    ($($name:ident),* $(,)?) => {
        mod targets {
            $(pub(crate) mod $name;)*
        }

        /// Every target.
        pub const TARGETS: &[Target] = &[$(Target {
            name: stringify!($name),
            max_len: targets::$name::MAX_LEN,
            run: targets::$name::run,
        }),*];

        $(
            #[doc = concat!("The target `", stringify!($name), "`.")]
            pub fn $name(data: &[u8]) {
                targets::$name::run(data);
            }
        )*
    };
}

targets![canonical, errors, config, path, csbs, cbr, vbs, mask, headers, signing, compat_endpoints, requests];
