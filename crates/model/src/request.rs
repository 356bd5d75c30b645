//! The canonical restore request: a backup and its target. The first typed stage of the pipeline. Only
//! [`crate::schema::parse_restore`] creates it, from a validated JSON value.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::id::{Id, ProjectId};
use crate::problem::Fault;

/// One canonical restore request. Every disk is mapped by ID, never by order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreRequest {
    /// The cloud project that owns backup and target.
    pub project_id: ProjectId,
    /// The backup to restore.
    pub source: Source,
    /// The target to overwrite.
    pub target: Target,
}

/// The backup a restore reads from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The backup of ONE resource: CBR and VBS `backup_id`, CSBS `checkpoint_item_id`.
    pub backup_id: Id,
    /// The checkpoint of the backup. Only CSBS needs it, and the gateway can read it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_id: Option<Id>,
}

/// The resource a restore overwrites.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Target {
    /// A whole server, all its disks.
    Server {
        /// The server to overwrite.
        server_id: Id,
        /// True if the cloud starts the server afterwards. Required: a missing value means something different in every
        /// client of the native APIs (cloud APIs T8).
        power_on: bool,
        /// The pairs of disk backup and disk.
        volumes: Vec<Mapping>,
    },
    /// One disk.
    Volume {
        /// The disk to overwrite.
        volume_id: Id,
    },
    /// Another resource (a desktop, a file agent); CBR on Huawei Cloud only.
    Resource {
        /// The resource to overwrite.
        resource_id: Id,
        /// Folder inside it, if the resource supports one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        destination_path: Option<String>,
    },
}

/// One disk backup and the disk it overwrites.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// The backup of one disk.
    pub backup_id: Id,
    /// The disk to overwrite.
    pub volume_id: Id,
}

/// The types of target, as in routing rules and capability tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetKind {
    /// A whole server.
    Server,
    /// One disk.
    Volume,
    /// Another resource.
    Resource,
}

impl TargetKind {
    /// Every type, in the order of the documentation.
    pub const ALL: [Self; 3] = [Self::Server, Self::Volume, Self::Resource];

    /// Returns the name in requests, configuration and documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Volume => "volume",
            Self::Resource => "resource",
        }
    }
}

impl Target {
    /// Returns the type of this target.
    #[must_use]
    pub const fn kind(&self) -> TargetKind {
        match self {
            Self::Server { .. } => TargetKind::Server,
            Self::Volume { .. } => TargetKind::Volume,
            Self::Resource { .. } => TargetKind::Resource,
        }
    }

    /// Returns the ID of the server, disk or resource itself.
    #[must_use]
    pub const fn id(&self) -> &Id {
        match self {
            Self::Server { server_id, .. } => server_id,
            Self::Volume { volume_id } => volume_id,
            Self::Resource { resource_id, .. } => resource_id,
        }
    }

    /// Returns the disk mappings of a server; empty for every other target.
    #[must_use]
    pub fn mappings(&self) -> &[Mapping] {
        match self {
            Self::Server { volumes, .. } => volumes,
            Self::Volume { .. } | Self::Resource { .. } => &[],
        }
    }
}

impl RestoreRequest {
    /// Returns the exclusive locks of this restore (invariant I3): the target itself and every disk it overwrites. The
    /// locks of one disk are equal, whatever the generation and the spelling of the ID.
    #[must_use]
    pub fn locks(&self) -> Vec<String> {
        let key = |kind: &str, id: &Id| [self.project_id.as_str(), kind, &id.folded()].join("/");
        let id = self.target.id();
        let mut locks = match self.target.kind() {
            // The ID alone does not show the type of a resource: it may be a server or a disk.
            TargetKind::Resource => TargetKind::ALL.map(|kind| key(kind.as_str(), id)).to_vec(),
            kind => vec![key(kind.as_str(), id)],
        };
        locks.extend(self.target.mappings().iter().map(|m| key("volume", &m.volume_id)));
        locks.sort_unstable();
        locks.dedup();
        locks
    }

    /// Returns a digest of the meaning. It is equal for two requests that differ only in white space, the order of
    /// members, the order of mappings or the spelling of IDs. 64 hexadecimal digits.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let spelled = Id::usual;
        let mut hash = Sha256::new();
        let mut part = |text: &str| {
            hash.update(text.as_bytes());
            hash.update([0]);
        };
        part(self.project_id.as_str());
        part(&spelled(&self.source.backup_id));
        part(&self.source.checkpoint_id.as_ref().map(spelled).unwrap_or_default());
        part(self.target.kind().as_str());
        part(&spelled(self.target.id()));
        match &self.target {
            Target::Server { power_on, volumes, .. } => {
                part(if *power_on { "on" } else { "off" });
                let mut pairs: Vec<_> =
                    volumes.iter().map(|m| (spelled(&m.backup_id), spelled(&m.volume_id))).collect();
                pairs.sort_unstable();
                for (backup, volume) in pairs {
                    part(&backup);
                    part(&volume);
                }
            }
            Target::Volume { .. } => {}
            Target::Resource { destination_path, .. } => part(destination_path.as_deref().unwrap_or("")),
        }
        hex::encode(hash.finalize())
    }

    /// Checks what a schema cannot express: each disk backup and each disk occurs once. Two spellings of one disk are
    /// the same disk.
    pub(crate) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mappings = self.target.mappings();
        // The schema allows at most 128: comparing all pairs is cheaper than any table.
        for (index, mapping) in mappings.iter().enumerate() {
            let mut twice = |member: &str, same: &dyn Fn(&Mapping) -> bool| {
                if let Some(first) = mappings[..index].iter().position(same) {
                    faults.push(Fault::at(
                        format!("/target/volumes/{index}/{member}"),
                        format!("the same {member} stands in /target/volumes/{first}"),
                    ));
                }
            };
            twice("backup_id", &|earlier| earlier.backup_id.is_same(&mapping.backup_id));
            twice("volume_id", &|earlier| earlier.volume_id.is_same(&mapping.volume_id));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(volumes: &[(&str, &str)], power_on: bool) -> RestoreRequest {
        RestoreRequest {
            project_id: "0a1b2c3d4e5f60718293a4b5c6d7e8f9".parse().unwrap(),
            source: Source { backup_id: "b".parse().unwrap(), checkpoint_id: None },
            target: Target::Server {
                server_id: "S1".parse().unwrap(),
                power_on,
                volumes: volumes
                    .iter()
                    .map(|(b, v)| Mapping { backup_id: b.parse().unwrap(), volume_id: v.parse().unwrap() })
                    .collect(),
            },
        }
    }

    #[test]
    fn a_server_restore_and_a_restore_of_its_disk_share_a_lock() {
        let whole = server(&[("b1", "C0FFEE-00"), ("b2", "v2")], true);
        let disk = RestoreRequest {
            target: Target::Volume { volume_id: "c0ffee00".parse().unwrap() },
            ..server(&[], true)
        };
        assert!(disk.locks().iter().all(|lock| whole.locks().contains(lock)));
    }

    #[test]
    fn a_resource_shares_a_lock_with_a_disk_or_server_of_its_id() {
        let resource = Target::Resource { resource_id: "C0FFEE".parse().unwrap(), destination_path: None };
        let resource = RestoreRequest { target: resource, ..server(&[], true) };
        let disk = Target::Volume { volume_id: "c0ffee".parse().unwrap() };
        let disk = RestoreRequest { target: disk, ..server(&[], true) };
        assert!(disk.locks().iter().all(|lock| resource.locks().contains(lock)));
        let whole = server(&[("b", "C0-FFEE")], true);
        assert!(resource.locks().iter().any(|lock| whole.locks().contains(lock)));
    }

    #[test]
    fn the_fingerprint_ignores_order_and_nothing_else() {
        let one = server(&[("b1", "v1"), ("b2", "v2")], true);
        assert_eq!(one.fingerprint(), server(&[("b2", "v2"), ("b1", "v1")], true).fingerprint());
        for other in
            [server(&[("b1", "v1"), ("b2", "v2")], false), server(&[("b1", "v2"), ("b2", "v1")], true)]
        {
            assert_ne!(one.fingerprint(), other.fingerprint());
        }
    }

    /// Like locks and upstreams, the digest ignores case and dashes of an ID.
    #[test]
    fn the_fingerprint_is_the_same_for_every_spelling_of_an_id() {
        let uuid = "C0FFEE02-1111-4222-8333-444455556666";
        let with = |backup: &str, volume: &str| {
            let mut request = server(&[(backup, volume)], true);
            request.source =
                Source { backup_id: backup.parse().unwrap(), checkpoint_id: Some(volume.parse().unwrap()) };
            request
        };
        let usual = with(&uuid.to_lowercase(), "v-1");
        for other in [with(uuid, "V-1"), with(&uuid.replace('-', ""), "v1")] {
            assert_eq!(usual.fingerprint(), other.fingerprint());
        }
        assert_ne!(usual.fingerprint(), with(&uuid.replace('C', "D"), "v1").fingerprint());
        // An ID in the clouds' usual spelling keeps the digest of earlier versions.
        let mut usual = with(&uuid.to_lowercase(), &uuid.to_lowercase());
        usual.target = Target::Volume { volume_id: uuid.to_lowercase().parse().unwrap() };
    }

    #[test]
    fn a_disk_mapped_twice_is_a_fault_with_its_place() {
        let faults = server(&[("b1", "v1"), ("b1", "V1")], true).faults();
        let pointers: Vec<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(pointers, ["/target/volumes/1/backup_id", "/target/volumes/1/volume_id"]);
    }
}
