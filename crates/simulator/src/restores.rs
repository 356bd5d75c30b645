//! Restores that were really applied, and their phases by the clock: waiting, running, ended.
//!
//! Also the check that CSBS and CBR share: if a mapping of disk backups to disks is possible.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::behaviour::NextRestore;
use crate::call::{Call, Cloud};
use crate::world::{PROJECT, World};

/// The target of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Server(String),
    Volume(String),
    Resource(String),
}

impl Target {
    pub(crate) fn id(&self) -> &str {
        match self {
            Target::Server(id) | Target::Volume(id) | Target::Resource(id) => id,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Target::Server(_) => "server",
            Target::Volume(_) => "volume",
            Target::Resource(_) => "resource",
        }
    }
}

/// One disk backup and the disk it overwrites.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) backup_id: String,
    pub(crate) volume_id: String,
}

/// A restore that a cloud requests from the world after all checks have passed.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) cloud: Cloud,
    pub(crate) backup_id: String,
    pub(crate) target: Target,
    pub(crate) volumes: Vec<Mapping>,
    pub(crate) power_on: Option<bool>,
    /// The part of the request that CSBS echoes.
    pub(crate) echo: Value,
}

/// A restore that was applied.
#[derive(Debug)]
pub(crate) struct Restore {
    pub(crate) id: String,
    /// The ID of its task: operation log, or job.
    pub(crate) task_id: String,
    pub(crate) cloud: Cloud,
    pub(crate) backup_id: String,
    pub(crate) target: Target,
    pub(crate) volumes: Vec<Mapping>,
    pub(crate) power_on: Option<bool>,
    pub(crate) echo: Value,
    pub(crate) applied_at: Timestamp,
    pub(crate) ends_at: Timestamp,
    pub(crate) ending: NextRestore,
    pub(crate) request_id: String,
}

/// Phase of a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Waiting,
    Running,
    Ended,
}

/// The true outcome of a restore, whatever status the clouds report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    Succeeded,
    Failed,
}

fn fate_of(word: &str) -> Fate {
    match word {
        "success" => Fate::Succeeded,
        "failed" | "skipped" | "timeout" | "error" => Fate::Failed,
        _ => Fate::Open,
    }
}

impl Restore {
    pub(crate) fn phase(&self, now: Timestamp) -> Phase {
        let total = self.ends_at.duration_since(self.applied_at);
        let passed = now.duration_since(self.applied_at);
        if passed >= total {
            Phase::Ended
        } else if passed * 10 < total {
            Phase::Waiting
        } else {
            Phase::Running
        }
    }

    /// Returns the task's own status, with the names of CBR.
    pub(crate) fn word(&self, now: Timestamp) -> &str {
        match self.phase(now) {
            Phase::Waiting => "waiting",
            Phase::Running => "running",
            Phase::Ended => self.later_word(now).unwrap_or(&self.ending.status),
        }
    }

    fn later_word(&self, now: Timestamp) -> Option<&str> {
        let after = SignedDuration::from_secs(i64::from(self.ending.then_after_seconds));
        let reached = now.duration_since(self.ends_at) >= after;
        self.ending.then.as_deref().filter(|_| reached)
    }

    /// The first final status is the true one; a later one is only reported.
    fn fate(&self, now: Timestamp) -> Fate {
        if self.phase(now) != Phase::Ended {
            return Fate::Open;
        }
        match fate_of(&self.ending.status) {
            Fate::Open => self.later_word(now).map_or(Fate::Open, fate_of),
            last => last,
        }
    }

    pub(crate) fn is_active(&self, now: Timestamp) -> bool {
        self.fate(now) == Fate::Open
    }

    pub(crate) fn has_failed(&self, now: Timestamp) -> bool {
        self.fate(now) == Fate::Failed
    }

    /// Returns 0 to 100; a failed restore keeps the value of its failure.
    pub(crate) fn progress(&self, now: Timestamp) -> i64 {
        match self.fate(now) {
            Fate::Succeeded => 100,
            Fate::Failed => 50,
            Fate::Open if self.phase(now) == Phase::Waiting => 0,
            Fate::Open => {
                let total = self.ends_at.duration_since(self.applied_at).as_millis().max(1);
                let passed = now.duration_since(self.applied_at).as_millis();
                i64::try_from(passed * 100 / total).unwrap_or(99).clamp(0, 99)
            }
        }
    }

    /// Returns the time of the last change.
    pub(crate) fn updated_at(&self, now: Timestamp) -> Timestamp {
        match self.phase(now) {
            Phase::Waiting => self.applied_at,
            Phase::Running => now,
            Phase::Ended => self.ends_at,
        }
    }

    pub(crate) fn ended_at(&self, now: Timestamp) -> Option<Timestamp> {
        (self.fate(now) != Fate::Open).then_some(self.ends_at)
    }

    /// Returns code and text of a failure; otherwise empty strings.
    pub(crate) fn error(&self, now: Timestamp, default_code: &str) -> (String, String) {
        if !self.has_failed(now) {
            return (String::new(), String::new());
        }
        let code = self.ending.error_code.clone().unwrap_or_else(|| default_code.to_owned());
        let text = self.ending.error_msg.clone().unwrap_or_else(|| "the restore did not succeed".to_owned());
        (code, text)
    }

    pub(crate) fn touches(&self, volume_id: &str) -> bool {
        self.volumes.iter().any(|mapping| mapping.volume_id.eq_ignore_ascii_case(volume_id))
    }

    pub(crate) fn reads(&self, backup_id: &str) -> bool {
        self.backup_id.eq_ignore_ascii_case(backup_id)
            || self.volumes.iter().any(|mapping| mapping.backup_id.eq_ignore_ascii_case(backup_id))
    }

    pub(crate) fn is_on_server(&self, server_id: &str) -> bool {
        matches!(&self.target, Target::Server(id) if id.eq_ignore_ascii_case(server_id))
    }

    /// Returns its entry of `GET /_sim/restores`.
    pub(crate) fn truth(&self, now: Timestamp) -> Value {
        let volumes: Vec<Value> = self
            .volumes
            .iter()
            .map(|mapping| json!({"backup_id": mapping.backup_id, "volume_id": mapping.volume_id}))
            .collect();
        let status = match self.fate(now) {
            Fate::Open => "running",
            Fate::Succeeded => "succeeded",
            Fate::Failed => "failed",
        };
        json!({
            "id": self.id, "generation": self.cloud.generation(), "project_id": PROJECT,
            "backup_id": self.backup_id, "target": {"type": self.target.kind(), "id": self.target.id()},
            "volumes": volumes, "power_on": self.power_on, "applied_at": self.applied_at.to_string(),
            "status": status, "request_id": self.request_id, "task_id": self.task_id,
        })
    }
}

impl World {
    /// Applies a restore. From here on it counts as really applied.
    pub(crate) fn apply(&mut self, order: Order, task_id: String, call: &Call<'_>) -> &Restore {
        let ending = self.behaviour.next_restore.take().unwrap_or_default();
        let seconds = ending.duration_seconds.unwrap_or(self.behaviour.restore_seconds);
        let lasts = SignedDuration::from_secs(i64::from(seconds));
        let restore = Restore {
            id: crate::ids::uuid().to_string(),
            task_id,
            cloud: order.cloud,
            backup_id: order.backup_id,
            target: order.target,
            volumes: order.volumes,
            power_on: order.power_on,
            echo: order.echo,
            applied_at: call.now,
            ends_at: call.now.checked_add(lasts).unwrap_or(Timestamp::MAX),
            ending,
            request_id: call.request_id.to_owned(),
        };
        self.restores.push(restore);
        &self.restores[self.restores.len() - 1]
    }
}

/// Reason why a mapping onto a server's disks is not possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MappingFault {
    NotOfBackup,
    UnknownVolume,
    NotAttached,
    Twice,
    Incomplete,
    Shared,
    DataOntoSystem,
    TooSmall,
}

/// Checks a mapping of the server backup's disks; the first error in this order is the answer.
pub(crate) fn judge_mapping(world: &World, server_id: &str, volumes: &[Mapping]) -> Result<(), MappingFault> {
    let mut pairs = Vec::with_capacity(volumes.len());
    for mapping in volumes {
        let backup = world.disk_backup(&mapping.backup_id).filter(|backup| backup.of_server);
        let backup = backup.ok_or(MappingFault::NotOfBackup)?;
        let volume = world.volume(&mapping.volume_id).ok_or(MappingFault::UnknownVolume)?;
        if !volume.is_attached_to(server_id) {
            return Err(MappingFault::NotAttached);
        }
        pairs.push((backup, volume));
    }
    for (place, (backup, volume)) in pairs.iter().enumerate() {
        if pairs[..place].iter().any(|(other, disk)| other.id == backup.id || disk.id == volume.id) {
            return Err(MappingFault::Twice);
        }
    }
    if pairs.len() < world.server_children().count() {
        return Err(MappingFault::Incomplete);
    }
    for (backup, volume) in &pairs {
        if world.is_shared(&volume.id) {
            return Err(MappingFault::Shared);
        }
        if volume.bootable && !backup.bootable {
            return Err(MappingFault::DataOntoSystem);
        }
        if volume.size_gb < backup.size_gb {
            return Err(MappingFault::TooSmall);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::behaviour::Behaviour;
    use crate::world::SERVER;

    const SYS: (&str, &str) =
        ("5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b01", "c0ffee00-1111-4222-8333-444455556666");
    const DATA: (&str, &str) =
        ("5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b02", "c0ffee01-1111-4222-8333-444455556666");

    fn judge(pairs: &[(&str, &str)]) -> Result<(), MappingFault> {
        let volumes: Vec<_> = pairs
            .iter()
            .map(|(backup, volume)| Mapping {
                backup_id: (*backup).to_owned(),
                volume_id: (*volume).to_owned(),
            })
            .collect();
        judge_mapping(&World::new(Behaviour::default()), SERVER, &volumes)
    }

    #[test]
    fn a_mapping_names_every_disk_once() {
        assert_eq!(judge(&[SYS, DATA]), Ok(()));
        assert_eq!(judge(&[DATA, SYS]), Ok(()));
        assert_eq!(judge(&[SYS]), Err(MappingFault::Incomplete));
        assert_eq!(judge(&[]), Err(MappingFault::Incomplete));
        assert_eq!(judge(&[SYS, DATA, DATA]), Err(MappingFault::Twice));
        assert_eq!(judge(&[(SYS.0, DATA.1), (DATA.0, SYS.1)]), Err(MappingFault::DataOntoSystem));
        let spare = "c0ffee02-1111-4222-8333-444455556666";
        assert_eq!(judge(&[SYS, (DATA.0, spare)]), Err(MappingFault::NotAttached));
        assert_eq!(judge(&[SYS, (DATA.0, SERVER)]), Err(MappingFault::UnknownVolume));
        assert_eq!(judge(&[SYS, (SERVER, DATA.1)]), Err(MappingFault::NotOfBackup));
    }

    fn restore(ending: NextRestore) -> Restore {
        let applied_at: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        Restore {
            id: String::new(),
            task_id: String::new(),
            cloud: Cloud::Cbr,
            backup_id: String::new(),
            target: Target::Server(SERVER.to_owned()),
            volumes: Vec::new(),
            power_on: None,
            echo: Value::Null,
            applied_at,
            ends_at: applied_at + SignedDuration::from_secs(100),
            ending,
            request_id: String::new(),
        }
    }

    #[test]
    fn a_restore_moves_with_the_clock() {
        let restore = restore(NextRestore::default());
        let at = |seconds| restore.applied_at + SignedDuration::from_secs(seconds);
        assert_eq!((restore.phase(at(0)), restore.progress(at(0))), (Phase::Waiting, 0));
        assert_eq!((restore.word(at(9)), restore.progress(at(9))), ("waiting", 0));
        assert_eq!((restore.word(at(40)), restore.progress(at(40))), ("running", 40));
        assert_eq!((restore.word(at(99)), restore.progress(at(99))), ("running", 99));
        assert_eq!((restore.word(at(100)), restore.progress(at(100))), ("success", 100));
        assert!(restore.is_active(at(99)) && !restore.is_active(at(100)));
    }

    #[test]
    fn an_unknown_word_stays_open_and_a_later_word_is_only_said() {
        let new = NextRestore { status: "SOMETHING_NEW".to_owned(), ..NextRestore::default() };
        let open = restore(new);
        assert!(open.is_active(open.ends_at));
        let odd =
            NextRestore { then: Some("running".to_owned()), then_after_seconds: 5, ..NextRestore::default() };
        let odd = restore(odd);
        let later = odd.ends_at + SignedDuration::from_secs(5);
        assert_eq!((odd.word(odd.ends_at), odd.word(later)), ("success", "running"));
        assert!(!odd.is_active(later));
    }
}
