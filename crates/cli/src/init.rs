//! `init`: writes a first configuration file of at most ten lines, from one of three templates. It overwrites nothing.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::DEFAULT_PATH;
use super::output::info;

#[derive(clap::Args)]
pub(super) struct Options {
    /// Template of the file
    #[arg(value_enum)]
    template: Template,
    /// Region of the cloud
    #[arg(long, default_value = "eu-de", value_parser = name)]
    region: String,
    /// Domain of the cloud; Huawei Cloud has myhuaweicloud.com
    #[arg(long, default_value = "otc.t-systems.com", value_parser = name)]
    domain: String,
    /// Path of the new file; - for standard output
    #[arg(short, long, default_value = DEFAULT_PATH)]
    file: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Template {
    /// One program on the same machine, which sends its own token
    Sidecar,
    /// Several programs, each with its own API key
    Service,
    /// Programs that use the APIs of CSBS and VBS, with restores by CBR
    Migration,
}

/// The generation in every template.
const PROPOSED: &str = "cbr-v3";

const SIDECAR: &str = r#"# One gateway for one program, which sends its own token: http://127.0.0.1:8080/api/v1/restores
[[upstreams]]
name             = "cbr"
generation       = "cbr-v3"                               # or {others}
endpoint         = "https://cbr.{region}.{domain}"
evs_endpoint     = "https://evs.{region}.{domain}"        # state of disks, read before and after a restore

[[routes]]
upstream         = "cbr"
"#;

const SERVICE: &str = r#"# One gateway for several programs; `restore-gateway generate api-key` prints a key for the next one.
listen    = { api = "0.0.0.0:8080" }                     # tls = { certificate_file = "…", key = { file = "…" } }
ledger    = { url = "sqlite:restore-gateway.db" }        # postgres://… for several replicas
upstreams = [{ name = "cbr", generation = "cbr-v3", endpoint = "https://cbr.{region}.{domain}", evs_endpoint = "https://evs.{region}.{domain}" }]
routes    = [{ upstream = "cbr" }]
callers   = [{ name = "first-program", type = "api-key", key_hash = "{hash}" }]
policies  = [{ callers = ["first-program"], actions = ["restore", "read", "check", "preview"] }]
"#;

const MIGRATION: &str = r#"# Programs call http://127.0.0.1:8080/csbs (CSBS) or …/vbs (VBS); CBR restores, CSBS and VBS serve lookups.
compat_endpoints = [{ api = "csbs-v1", prefix = "/csbs" }, { api = "vbs-v2", prefix = "/vbs" }]
routes           = [{ upstream = "cbr" }]                # start with a part of the targets: `explain routes.traffic_percent`
upstreams        = [
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
        Err("invalid part of a host name".to_owned())
    }
}

pub(super) fn run(options: &Options) -> ExitCode {
    let (mut text, mut key) = match options.template {
        Template::Sidecar => (SIDECAR.to_owned(), None),
        Template::Service => (SERVICE.to_owned(), None),
        Template::Migration => (MIGRATION.to_owned(), None),
    };
    if options.template == Template::Service {
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
    let path = &options.file;
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
                    "{path} exists already, nothing was overwritten; choose another path with --file"
                ));
            }
            return failed(&format!("cannot write {}: {error}", path.display()));
        }
        info(&format!("wrote {}", path.display()));
    }
    if let Some(key) = key {
        // The file has only the hash. Also shown with --quiet: it cannot be shown again.
        eprintln!("API key of first-program, for its X-API-Key header, shown only once: {key}");
    }
    if let Some(next) = next(path) {
        info(&next);
    }
    ExitCode::SUCCESS
}

/// The next commands, with the path of the new file; none after standard output.
fn next(path: &Path) -> Option<String> {
    let file = match path.to_str() {
        Some("-") => return None,
        Some(DEFAULT_PATH) => String::new(),
        _ => format!(" --config {}", path.display()),
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
    fn next_commands_name_the_new_file() {
        let next = |path: &str| next(Path::new(path));
        assert_eq!(
            next("sidecar.toml").as_deref(),
            Some(
                "next: restore-gateway check-config --config sidecar.toml, then restore-gateway serve --config sidecar.toml"
            )
        );
        let plain = "next: restore-gateway check-config, then restore-gateway serve";
        assert_eq!(next(DEFAULT_PATH).as_deref(), Some(plain));
        assert_eq!(next("-"), None);
    }
}
