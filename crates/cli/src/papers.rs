//! `completions` and `man`: the command line as shells and readers of manuals want it, out of its own definition.

use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Arguments, print_text};

/// What the program is called.
const NAME: &str = "restore-gateway";

pub(super) fn completions(shell: Shell) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), NAME, &mut text);
    let text = String::from_utf8_lossy(&text);
    print_text(&if shell == Shell::Bash { mended(&text) } else { text.into_owned() })
}

/// Completions of bash that go on after the first word: the generator walks to `restore__gateway__subcmd__…` and looks that
/// up among cases that begin with `restore__subcmd__gateway__…`, for it takes the dash of the program's name for a space.
fn mended(text: &str) -> String {
    text.replace("restore__subcmd__gateway", "restore__gateway")
}

pub(super) fn manual(folder: &Path) -> ExitCode {
    let written =
        std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Arguments::command(), folder));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}
