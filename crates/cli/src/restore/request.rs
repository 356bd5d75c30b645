//! A restore request, from a file or from the command line.

use std::path::PathBuf;
use std::process::ExitCode;

use restore_model::json as strict;
use serde_json::{Value, json};

use crate::answers::{REFUSED, USAGE};
use crate::preview;

/// What is asked for: a file, or the words of a simple restore.
#[derive(clap::Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Asked {
    /// File of a canonical restore request; - is standard input
    #[arg(conflicts_with_all = ["project", "backup", "volume", "server", "power_on", "maps"])]
    request: Option<PathBuf>,
    /// The cloud project
    #[arg(long, requires = "backup")]
    project: Option<String>,
    /// The backup to restore from
    #[arg(long, requires = "project")]
    backup: Option<String>,
    /// The disk to overwrite
    #[arg(long, requires = "backup", conflicts_with = "server")]
    volume: Option<String>,
    /// The server to overwrite
    #[arg(long, requires_all = ["backup", "power_on", "maps"])]
    server: Option<String>,
    /// Whether the server is started afterwards
    #[arg(long, requires = "server")]
    power_on: Option<bool>,
    /// A disk of that server: the backup of a disk, and the disk it goes to
    #[arg(long = "map", value_name = "BACKUP=VOLUME", requires = "server")]
    maps: Vec<String>,
}

impl Asked {
    /// The request; what is wrong with it is printed here. One that comes on standard input leaves nobody to ask.
    pub(super) fn read(self, nobody_is_asked: bool) -> Result<Value, ExitCode> {
        let usage = |why: &str| {
            eprintln!("error: {why}");
            ExitCode::from(USAGE)
        };
        let Some(file) = self.request else { return self.of_words().map_err(|why| usage(&why)) };
        if file.as_os_str() == "-" && !nobody_is_asked {
            return Err(usage("a request on standard input leaves no way to ask you: add --yes"));
        }
        let text = preview::read(&file)
            .map_err(|error| usage(&format!("cannot read {}: {error}", file.display())))?;
        strict::read(&text).map_err(|fault| {
            eprintln!("error: {}: {fault}; nothing was sent", file.display());
            ExitCode::from(REFUSED)
        })
    }

    fn of_words(self) -> Result<Value, String> {
        let target = match (self.volume, self.server) {
            (Some(volume), _) => json!({"type": "volume", "volume_id": volume}),
            (None, Some(server)) => {
                let map = |map: &String| match map.split_once('=') {
                    Some((backup, volume)) => Ok(json!({"backup_id": backup, "volume_id": volume})),
                    None => Err(format!("--map {map}: write the backup of a disk, =, and the disk")),
                };
                let volumes = self.maps.iter().map(map).collect::<Result<Vec<_>, _>>()?;
                json!({"type": "server", "server_id": server, "power_on": self.power_on, "volumes": volumes})
            }
            (None, None) => {
                return Err("say what is overwritten: --volume or --server, or give a file".to_owned());
            }
        };
        Ok(json!({"project_id": self.project, "source": {"backup_id": self.backup}, "target": target}))
    }
}
