//! A restore request, from a file or from the command line.

use std::path::PathBuf;
use std::process::ExitCode;

use restore_model::json as strict;
use serde_json::{Value, json};

use crate::call::{REJECTED, USAGE};
use crate::offline;

/// A restore request: a file, or the flags of a simple restore.
#[derive(clap::Args)]
#[group(required = true, multiple = true)]
pub(crate) struct RequestArgs {
    /// File with a restore request; - for standard input
    #[arg(conflicts_with_all = ["project", "backup", "volume", "server", "power_on", "maps"])]
    request: Option<PathBuf>,
    /// ID of the cloud project
    #[arg(long, requires = "backup")]
    project: Option<String>,
    /// ID of the backup
    #[arg(long, requires = "project")]
    backup: Option<String>,
    /// ID of the disk to overwrite
    #[arg(long, requires = "backup", conflicts_with = "server")]
    volume: Option<String>,
    /// ID of the server to overwrite
    #[arg(long, requires_all = ["backup", "power_on", "maps"])]
    server: Option<String>,
    /// Power state after the restore: true starts the server
    #[arg(long, requires = "server")]
    power_on: Option<bool>,
    /// ID of a disk backup and of the disk that it overwrites; repeatable
    #[arg(long = "map", value_name = "BACKUP=VOLUME", requires = "server")]
    maps: Vec<String>,
}

impl RequestArgs {
    /// The request. Prints its errors. With a request on standard input the command cannot ask a question.
    pub(super) fn read(self, unattended: bool) -> Result<Value, ExitCode> {
        let usage = |why: &str| {
            eprintln!("error: {why}");
            ExitCode::from(USAGE)
        };
        let Some(file) = self.request else { return self.flags_to_request().map_err(|why| usage(&why)) };
        if file.as_os_str() == "-" && !unattended {
            return Err(usage(
                "the command cannot ask for confirmation while it reads the request from standard input; pass --yes",
            ));
        }
        let text = offline::read_file(&file)
            .map_err(|error| usage(&format!("cannot read {}: {error}", file.display())))?;
        strict::read(&text).map_err(|fault| {
            eprintln!("error: {}: {fault}; nothing was sent", file.display());
            ExitCode::from(REJECTED)
        })
    }

    fn flags_to_request(self) -> Result<Value, String> {
        let target = match (self.volume, self.server) {
            (Some(volume), _) => json!({"type": "volume", "volume_id": volume}),
            (None, Some(server)) => {
                let map = |map: &String| match map.split_once('=') {
                    Some((backup, volume)) => Ok(json!({"backup_id": backup, "volume_id": volume})),
                    None => Err(format!("--map {map}: write BACKUP=VOLUME")),
                };
                let volumes = self.maps.iter().map(map).collect::<Result<Vec<_>, _>>()?;
                json!({"type": "server", "server_id": server, "power_on": self.power_on, "volumes": volumes})
            }
            (None, None) => {
                return Err("missing target: pass --volume, --server, or a request file".to_owned());
            }
        };
        Ok(json!({"project_id": self.project, "source": {"backup_id": self.backup}, "target": target}))
    }
}
