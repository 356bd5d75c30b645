//! The small world that all clouds share: one project, one server with two disks, detached disks, and their backups.
//!
//! Every status is computed from the applied restores and the clock; nothing changes in the background and nothing is
//! polled.

use jiff::Timestamp;
use serde_json::Value;

use crate::access::Tokens;
use crate::aksk::Keys;
use crate::behaviour::{Behaviour, PowerState};
use crate::restores::{Restore, Target};

pub(crate) const PROJECT: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
pub(crate) const PROJECT_NAME: &str = "eu-test-1";
pub(crate) const OTHER_PROJECT: &str = "1b2c3d4e5f60718293a4b5c6d7e8f90a";
pub(crate) const OTHER_PROJECT_NAME: &str = "eu-test-1_other";
pub(crate) const ZONE: &str = "eu-test-1a";
pub(crate) const SERVER: &str = "7d2f6c1e-3b0a-4c55-9a51-0f6c2b9e8d14";
pub(crate) const SERVER_NAME: &str = "app-01";
pub(crate) const DESKTOP: &str = "3e6f8a90-1b2c-4d3e-8f40-5a6b7c8d9e0f";
pub(crate) const DESKTOP_NAME: &str = "desk-01";
pub(crate) const SERVER_BACKUP: &str = "0f9e8d7c-6b5a-4948-8372-615049382716";
pub(crate) const DESKTOP_BACKUP: &str = "0f9e8d7c-6b5a-4948-8372-615049382717";
pub(crate) const CSBS_ITEM: &str = "8a1b9c2d-3e4f-4506-9718-293a4b5c6d7e";
pub(crate) const CSBS_CHECKPOINT: &str = "11aa22bb-33cc-44dd-95ee-66ff77008811";

/// Creation time of the world's backups.
const TAKEN_AT: &str = "2026-11-21T01:20:37.277880Z";

/// Number of disks in the initial world; each has one backup.
const FIRST_DISKS: usize = 3;

/// A disk.
#[derive(Debug, Clone)]
pub(crate) struct Volume {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) size_gb: u64,
    pub(crate) bootable: bool,
    pub(crate) server_id: Option<String>,
}

impl Volume {
    pub(crate) fn is_attached_to(&self, server_id: &str) -> bool {
        self.server_id.as_deref().is_some_and(|id| id.eq_ignore_ascii_case(server_id))
    }
}

/// The backup of one disk: a child of the server backup in CBR and CSBS, a separate backup in VBS.
#[derive(Debug, Clone)]
pub(crate) struct DiskBackup {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) volume_id: String,
    pub(crate) volume_name: String,
    pub(crate) size_gb: u64,
    pub(crate) size_mb: u64,
    pub(crate) bootable: bool,
    pub(crate) snapshot_id: &'static str,
    pub(crate) average_speed: f64,
    /// True if it is part of the server backup.
    pub(crate) of_server: bool,
}

/// The whole state. One lock guards it.
#[derive(Debug)]
pub(crate) struct World {
    volumes: Vec<Volume>,
    pub(crate) disk_backups: Vec<DiskBackup>,
    pub(crate) restores: Vec<Restore>,
    pub(crate) behaviour: Behaviour,
    pub(crate) tokens: Tokens,
    pub(crate) keys: Keys,
    /// CSBS restores that were answered with `fail` and never began.
    pub(crate) stillborn: Vec<(String, Value)>,
}

impl World {
    pub(crate) fn new(behaviour: Behaviour) -> Self {
        let mut world = Self {
            volumes: Vec::new(),
            disk_backups: Vec::new(),
            restores: Vec::new(),
            behaviour: Behaviour::default(),
            tokens: Tokens::new(),
            keys: Keys::new(),
            stillborn: Vec::new(),
        };
        world.attached(0, "sys", 40, 8192, "36f520e1-d2ea-4907-956a-3d9cd53e2d38", 30.0);
        world.attached(1, "data", 100, 4096, "1f0a4c54-7a1d-45a9-8d5a-5a3f58b7f0aa", 26.4);
        world.detached(
            "c0ffee02-1111-4222-8333-444455556666".to_owned(),
            "5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b03".to_owned(),
            "spare-01",
        );
        world.behave(behaviour);
        world
    }

    /// Applies a behaviour, and adds the additional disks that it requests.
    pub(crate) fn behave(&mut self, behaviour: Behaviour) {
        self.volumes.truncate(FIRST_DISKS);
        self.disk_backups.truncate(FIRST_DISKS);
        for number in 0..behaviour.extra_disks {
            self.detached(
                format!("d15c0000-0000-4000-8000-{number:012x}"),
                format!("bac0bac0-0000-4000-8000-{number:012x}"),
                &format!("extra-{number}"),
            );
        }
        self.behaviour = behaviour;
    }

    fn attached(
        &mut self,
        number: u64,
        role: &str,
        size_gb: u64,
        size_mb: u64,
        snapshot_id: &'static str,
        average_speed: f64,
    ) {
        let volume = Volume {
            id: format!("c0ffee0{number}-1111-4222-8333-444455556666"),
            name: format!("{SERVER_NAME}-{role}"),
            size_gb,
            bootable: number == 0,
            server_id: Some(SERVER.to_owned()),
        };
        self.disk_backups.push(DiskBackup {
            id: format!("5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b0{}", number + 1),
            name: format!("nightly_{SERVER_NAME}_{number}"),
            volume_id: volume.id.clone(),
            volume_name: volume.name.clone(),
            size_gb,
            size_mb,
            bootable: volume.bootable,
            snapshot_id,
            average_speed,
            of_server: true,
        });
        self.volumes.push(volume);
    }

    fn detached(&mut self, id: String, backup_id: String, name: &str) {
        self.disk_backups.push(DiskBackup {
            id: backup_id,
            name: format!("nightly_{name}"),
            volume_id: id.clone(),
            volume_name: name.to_owned(),
            size_gb: 100,
            size_mb: 2048,
            bootable: false,
            snapshot_id: "7c1d9e0f-2b3a-4c5d-8e6f-708192a3b4c5",
            average_speed: 25.5,
            of_server: false,
        });
        self.volumes.push(Volume {
            id,
            name: name.to_owned(),
            size_gb: 100,
            bootable: false,
            server_id: None,
        });
    }

    /// Returns the disks of a project, with the changes of `POST /_sim/world`.
    pub(crate) fn volumes(&self) -> impl Iterator<Item = Volume> + '_ {
        self.volumes.iter().map(|volume| {
            let mut volume = volume.clone();
            if let Some(change) = self.behaviour.volumes.get(&volume.id) {
                volume.size_gb = change.size_gb.unwrap_or(volume.size_gb);
                if change.detached == Some(true) {
                    volume.server_id = None;
                }
            }
            volume
        })
    }

    pub(crate) fn volume(&self, id: &str) -> Option<Volume> {
        self.volumes().find(|volume| volume.id.eq_ignore_ascii_case(id))
    }

    pub(crate) fn is_shared(&self, volume_id: &str) -> bool {
        self.behaviour.volumes.get(volume_id).is_some_and(|change| change.multiattach == Some(true))
    }

    pub(crate) fn disk_backup(&self, id: &str) -> Option<&DiskBackup> {
        self.disk_backups.iter().find(|backup| backup.id.eq_ignore_ascii_case(id))
    }

    pub(crate) fn server_children(&self) -> impl Iterator<Item = &DiskBackup> {
        self.disk_backups.iter().filter(|backup| backup.of_server)
    }

    /// Returns true while any restore overwrites that disk.
    pub(crate) fn is_volume_busy(&self, volume_id: &str, now: Timestamp) -> bool {
        self.restores.iter().rev().any(|restore| restore.touches(volume_id) && restore.is_active(now))
    }

    /// Returns true while any restore overwrites the server or one of its disks.
    pub(crate) fn is_server_busy(&self, server_id: &str, now: Timestamp) -> bool {
        self.restores.iter().rev().any(|restore| restore.is_on_server(server_id) && restore.is_active(now))
            || self
                .volumes()
                .any(|volume| volume.is_attached_to(server_id) && self.is_volume_busy(&volume.id, now))
    }

    pub(crate) fn is_target_busy(&self, target: &Target, now: Timestamp) -> bool {
        match target {
            Target::Server(id) => self.is_server_busy(id, now),
            Target::Volume(id) => self.is_volume_busy(id, now),
            Target::Resource(_) => {
                self.restores.iter().any(|restore| restore.target == *target && restore.is_active(now))
            }
        }
    }

    /// Returns Cinder's status of a disk.
    pub(crate) fn volume_status(&self, volume: &Volume, now: Timestamp) -> String {
        if let Some(status) = self.behaviour.volumes.get(&volume.id).and_then(|change| change.status.clone())
        {
            return status;
        }
        let last = self.restores.iter().rev().find(|restore| restore.touches(&volume.id));
        match last {
            Some(restore) if restore.is_active(now) => "restoring-backup",
            Some(restore) if restore.has_failed(now) && matches!(restore.target, Target::Volume(_)) => {
                "error_restoring"
            }
            _ if volume.server_id.is_some() => "in-use",
            _ => "available",
        }
        .to_owned()
    }

    /// Returns Nova's status of the server: shut down during a restore, started after it if requested.
    pub(crate) fn server_status(&self, now: Timestamp) -> &'static str {
        match self.behaviour.power_state {
            PowerState::Shutoff => "SHUTOFF",
            PowerState::Error => "ERROR",
            PowerState::Terminated => "DELETED",
            PowerState::Active => {
                let last = self.restores.iter().rev().find(|restore| restore.is_on_server(SERVER));
                match last {
                    Some(restore) if restore.is_active(now) || restore.power_on == Some(false) => "SHUTOFF",
                    _ => "ACTIVE",
                }
            }
        }
    }

    /// Returns true if a running restore reads a disk's backup.
    pub(crate) fn is_backup_in_use(&self, backup_id: &str, now: Timestamp) -> bool {
        self.restores.iter().rev().any(|restore| restore.reads(backup_id) && restore.is_active(now))
    }

    /// Returns the creation time of the world's backups.
    pub(crate) fn taken_at() -> Timestamp {
        TAKEN_AT.parse().unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_world_is_the_documented_one() {
        let world = World::new(Behaviour::default());
        let now = World::taken_at();
        assert_ne!(now, Timestamp::UNIX_EPOCH);
        let shown: Vec<_> =
            world.volumes().map(|v| (v.id.clone(), v.size_gb, world.volume_status(&v, now))).collect();
        assert_eq!(shown[0], ("c0ffee00-1111-4222-8333-444455556666".into(), 40, "in-use".into()));
        assert_eq!(shown[1], ("c0ffee01-1111-4222-8333-444455556666".into(), 100, "in-use".into()));
        assert_eq!(shown[2], ("c0ffee02-1111-4222-8333-444455556666".into(), 100, "available".into()));
        assert_eq!(world.server_status(now), "ACTIVE");
        assert_eq!(world.server_children().count(), 2);
    }
}
