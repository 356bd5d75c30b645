//! A backup in words that all generations share: what is read at one of them, and told at the door of another.

use restore_model::{TargetKind, Timestamp};

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
