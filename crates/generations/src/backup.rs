//! A backup in words that all generations share: what is read at one of them, and told at the compatibility endpoint of another.

use restore_model::{TargetKind, Timestamp};
use serde_json::Value;

use crate::call::Reply;
use crate::lenient;

/// Backups that a list asks for at most: as many may be but the beginning of it.
const LISTED: usize = 1_000;

/// A backup of a server or of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Its id in the generation that was asked.
    pub id: String,
    /// Its name; empty where it has none.
    pub name: String,
    /// Its state, in the words that CBR and VBS share: `available`, `restoring`, `error` and so on, in lower case.
    pub status: String,
    /// What was backed up: a server or a disk; none for anything else.
    pub kind: Option<TargetKind>,
    /// The server or disk that it is of.
    pub resource_id: String,
    /// The name of that; empty where none is told.
    pub resource_name: String,
    /// The protection run it belongs to.
    pub checkpoint_id: Option<String>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Option<Timestamp>,
    /// Size in GB of what was backed up.
    pub size_gb: Option<u64>,
    /// The zone of what was backed up; empty where none is told.
    pub zone: String,
    /// The backups of its disks, of a server.
    pub disks: Vec<DiskBackup>,
}

/// The backup of one disk, as a part of that of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskBackup {
    /// Its id in the generation that was asked.
    pub id: String,
    /// The disk that it is of.
    pub volume_id: String,
    /// The name of the disk; empty where none is told.
    pub volume_name: String,
    /// Size in GB of that disk.
    pub size_gb: Option<u64>,
    /// Whether a server can start from it, where that is told.
    pub bootable: Option<bool>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
}

/// The backups of a list; none where the answer is no such list, is the beginning of one, or has a row that cannot be read.
pub(crate) fn all(reply: &Reply, member: &str, read: fn(&Value) -> Option<Backup>) -> Option<Vec<Backup>> {
    let body = reply.json().filter(|_| reply.status == 200)?;
    let rows = body.get(member)?.as_array()?;
    let count = lenient::whole(&body, &["count"]).and_then(|count| usize::try_from(count).ok());
    if rows.len() >= LISTED || count.is_some_and(|count| count > rows.len()) {
        return None;
    }
    rows.iter().map(read).collect()
}

/// The one backup of a disk that an answer holds, in the form of OpenStack's block storage, which VBS has as well.
pub(crate) fn one_of_disk(reply: &Reply) -> Option<Backup> {
    if reply.status != 200 {
        return None;
    }
    of_disk(reply.json()?.get("backup")?)
}

/// A backup of a disk in that form.
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

    /// Half a list would make the only one of those that are told.
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
