//! `init`: a first settings file, of ten lines at most, for one of three stories. Nothing is overwritten.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::DEFAULT_PATH;

#[derive(clap::Args)]
pub(super) struct Options {
    /// What the gateway is for
    #[arg(value_enum)]
    story: Story,
    /// Region of the cloud
    #[arg(long, default_value = "eu-de", value_parser = name)]
    region: String,
    /// Domain of the cloud; that of Huawei Cloud is myhuaweicloud.com
    #[arg(long, default_value = "otc.t-systems.com", value_parser = name)]
    domain: String,
    /// Where it is written; - is standard output
    #[arg(short, long, default_value = DEFAULT_PATH)]
    output: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Story {
    /// Beside one program, on loopback; the program brings its own token
    Sidecar,
    /// For several programs, each with a key of its own
    Service,
    /// For programs of CSBS and VBS that keep their source API, while CBR does the work
    Migration,
}

/// The generation that every story proposes.
const PROPOSED: &str = "cbr-v3";

const SIDECAR: &str = r#"# One gateway beside one program, which brings its own token: http://127.0.0.1:8080/api/v1/restores
[[upstreams]]
name             = "cbr"
generation       = "cbr-v3"                               # or {others}
endpoint         = "https://cbr.{region}.{domain}"
evs_endpoint = "https://evs.{region}.{domain}"      # the state of disks, read before and after

[[routes]]
upstream         = "cbr"
"#;

const SERVICE: &str = r#"# One gateway for several programs; `restore-gateway api-key` makes a key for the next one.
listen    = { api = "0.0.0.0:8080" }                     # tls = { certificate_file = "…", key = { file = "…" } }
ledger    = { url = "sqlite:restore-gateway.db" }        # postgres://… for several replicas
upstreams = [{ name = "cbr", generation = "cbr-v3", endpoint = "https://cbr.{region}.{domain}", evs_endpoint = "https://evs.{region}.{domain}" }]
routes    = [{ upstream = "cbr" }]
callers   = [{ name = "first-program", type = "api-key", key_hash = "{hash}" }]
policies  = [{ callers = ["first-program"], actions = ["restore", "read", "check", "preview"] }]
"#;

const MIGRATION: &str = r#"# Programs of CSBS ask http://127.0.0.1:8080/csbs, those of VBS …/vbs; CBR does the work, the old clouds tell what they know.
compatibility endpoints     = [{ api = "csbs-v1", prefix = "/csbs" }, { api = "vbs-v2", prefix = "/vbs" }]
routes    = [{ upstream = "cbr" }]                       # or a share of the targets first: `explain routes.traffic_percent`
upstreams = [
  { name = "cbr", generation = "cbr-v3", endpoint = "https://cbr.{region}.{domain}", evs_endpoint = "https://evs.{region}.{domain}" },
  { name = "csbs", generation = "csbs-v1", endpoint = "https://csbs.{region}.{domain}" },
  { name = "vbs", generation = "vbs-v2", endpoint = "https://vbs.{region}.{domain}" },
]
"#;

/// Part of a host name.
fn name(text: &str) -> Result<String, String> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    if !text.is_empty() && text.bytes().all(letter) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("this is no part of a host name".to_owned())
    }
}

pub(super) fn run(options: &Options) -> ExitCode {
    let (mut text, mut key) = match options.story {
        Story::Sidecar => (SIDECAR.to_owned(), None),
        Story::Service => (SERVICE.to_owned(), None),
        Story::Migration => (MIGRATION.to_owned(), None),
    };
    if options.story == Story::Service {
        match restore_gateway::new_key() {
            Ok((made, hash)) => {
                text = text.replace("{hash}", &hash);
                key = Some(made);
            }
            Err(why) => return failed(&why),
        }
    }
    let others: Vec<_> = restore_generations::names().into_iter().filter(|name| *name != PROPOSED).collect();
    let text = text.replace("{region}", &options.region).replace("{domain}", &options.domain);
    let text = text.replace("{others}", &others.join(", "));
    let path = &options.output;
    if path.as_os_str() == "-" {
        let printed = super::print_text(&text);
        if printed != ExitCode::SUCCESS {
            return printed;
        }
    } else {
        let mut open = std::fs::OpenOptions::new();
        let written = open.write(true).create_new(true).open(path).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        if let Err(error) = written {
            if error.kind() == ErrorKind::AlreadyExists {
                let path = path.display();
                return failed(&format!(
                    "{path} is there already: nothing was overwritten; -o writes another"
                ));
            }
            return failed(&format!("{} was not written: {error}", path.display()));
        }
        eprintln!("{} was written", path.display());
    }
    if let Some(key) = key {
        // Shown once, and kept nowhere: the file has its hash.
        eprintln!("the key of first-program, for its X-API-Key, is shown only now: {key}");
    }
    if let Some(next) = next(path) {
        eprintln!("{next}");
    }
    ExitCode::SUCCESS
}

/// What comes next, which has to read what was written; of what went to standard output nobody knows where it went.
fn next(path: &Path) -> Option<String> {
    let file = match path.to_str() {
        Some("-") => return None,
        Some(DEFAULT_PATH) => String::new(),
        _ => format!(" -c {}", path.display()),
    };
    Some(format!("next: restore-gateway check-config{file}, then restore-gateway serve{file}"))
}

fn failed(why: &str) -> ExitCode {
    eprintln!("error: {why}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_next_reads_what_was_written() {
        let next = |path: &str| next(Path::new(path));
        assert_eq!(
            next("sidecar.toml").as_deref(),
            Some(
                "next: restore-gateway check-config -c sidecar.toml, then restore-gateway serve -c sidecar.toml"
            )
        );
        let plain = "next: restore-gateway check-config, then restore-gateway serve";
        assert_eq!(next(DEFAULT_PATH).as_deref(), Some(plain));
        assert_eq!(next("-"), None);
    }
}
