//! A backup in terms that all generations share. It is read from one generation and shown at the compatibility endpoint
//! of another.

use restore_model::{TargetKind, Timestamp};
use serde_json::Value;

use crate::call::Reply;
use crate::lenient;

/// Maximum number of backups in a list request. A longer answer may be only the beginning of the list.
const LISTED: usize = 1_000;

/// A backup of a server or of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Its ID in the generation that it was read from.
    pub id: String,
    /// Its name; empty if it has none.
    pub name: String,
    /// Its state, in the terms that CBR and VBS share: `available`, `restoring`, `error` and so on, in lower case.
    pub status: String,
    /// The kind of the backed-up resource: a server or a disk; `None` for anything else.
    pub kind: Option<TargetKind>,
    /// ID of the backed-up server or disk.
    pub resource_id: String,
    /// Name of that server or disk; empty if the upstream does not report it.
    pub resource_name: String,
    /// The protection run it belongs to.
    pub checkpoint_id: Option<String>,
    /// Creation time.
    pub created_at: Option<Timestamp>,
    /// Time of the last change.
    pub updated_at: Option<Timestamp>,
    /// Size of the backed-up resource in GB.
    pub size_gb: Option<u64>,
    /// Availability zone of the backed-up resource; empty if the upstream does not report it.
    pub zone: String,
    /// The backups of the disks, for a backup of a server.
    pub disks: Vec<DiskBackup>,
}

/// The backup of one disk, as a part of the backup of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskBackup {
    /// Its ID in the generation that it was read from.
    pub id: String,
    /// ID of the backed-up disk.
    pub volume_id: String,
    /// Name of the disk; empty if the upstream does not report it.
    pub volume_name: String,
    /// Size in GB of that disk.
    pub size_gb: Option<u64>,
    /// True if a server can boot from it; `None` if the upstream does not report it.
    pub bootable: Option<bool>,
    /// Creation time.
    pub created_at: Option<Timestamp>,
}

/// The backups of a list. `None` if the answer is not such a list, is only its beginning, or has an unreadable row.
pub(crate) fn all(reply: &Reply, member: &str, read: fn(&Value) -> Option<Backup>) -> Option<Vec<Backup>> {
    let body = reply.json().filter(|_| reply.status == 200)?;
    let rows = body.get(member)?.as_array()?;
    let count = lenient::whole(&body, &["count"]).and_then(|count| usize::try_from(count).ok());
    if rows.len() >= LISTED || count.is_some_and(|count| count > rows.len()) {
        return None;
    }
    rows.iter().map(read).collect()
}

/// The single disk backup of an answer, in the format of OpenStack block storage. VBS uses the same format.
pub(crate) fn one_of_disk(reply: &Reply) -> Option<Backup> {
    if reply.status != 200 {
        return None;
    }
    of_disk(reply.json()?.get("backup")?)
}

/// A disk backup in that format.
pub(crate) fn of_disk(backup: &Value) -> Option<Backup> {
    let text = |name: &str| lenient::text(backup, &[name]);
    Some(Backup {
        id: text("id")?,
        name: text("name").unwrap_or_default(),
        status: lenient::word(backup, &["status"])?,
        kind: Some(TargetKind::Volume),
        resource_id: text("volume_id")?,
        resource_name: String::new(),
        checkpoint_id: None,
        created_at: lenient::time(backup, &["created_at"]),
        updated_at: lenient::time(backup, &["updated_at"]),
        size_gb: lenient::whole(backup, &["size"]),
        zone: text("availability_zone").unwrap_or_default(),
        disks: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{Reply, by_name};

    /// With half a list, a backup could look like the only candidate.
    #[test]
    fn a_list_of_backups_is_read_as_a_whole_or_not_at_all() {
        let row = |id: usize| {
            json!({
                "id": id.to_string(), "status": "available", "resource_id": "s", "resource_type": "OS::Nova::Server",
                "volume_id": "s",
            })
        };
        let lists = [("cbr-v3", "backups"), ("csbs-v1", "checkpoint_items"), ("vbs-v2", "backups")];
        for (generation, member) in lists {
            let read = |body: serde_json::Value| {
                let reply =
                    Reply { status: 200, body: body.to_string().into_bytes().into(), ..Reply::default() };
                by_name(generation).unwrap().backups(&reply).map(|all| all.len())
            };
            assert_eq!(read(json!({ member: [row(1), row(2)] })), Some(2), "{generation}");
            assert_eq!(read(json!({ member: [] , "count": 0 })), Some(0), "{generation}");
            assert_eq!(read(json!({ member: [row(1), {"id": "2"}] })), None, "{generation}");
            assert_eq!(read(json!({ member: [row(1)], "count": 2 })), None, "{generation}");
            assert_eq!(read(json!({ member: (0..super::LISTED).map(row).collect::<Vec<_>>() })), None);
            assert_eq!(read(json!({ "error_code": "x" })), None, "{generation}");
        }
    }
}
