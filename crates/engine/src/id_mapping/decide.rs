//! The decisions of the ID mapping: pure functions over the responses, each of which records its comparison. None of
//! them guesses; without proof the request is rejected.

use restore_generations::Backup;
use restore_model::{Id, Mapping, ProjectId, RestoreRequest, Source, Target, TargetKind};

use super::home::Home;

/// How far the times of one backup may differ between two generations, in microseconds.
const SAME_TIME: u64 = 2_000_000;

/// The backup whose ID is mapped.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The project.
    pub project_id: ProjectId,
    /// The backup, as the caller's generation calls it.
    pub backup_id: Id,
    /// The protection run that it is said to be of, where the caller's generation has such.
    pub checkpoint_id: Option<Id>,
    /// The restored part of it.
    pub kind: TargetKind,
    /// The target, if it is known.
    pub target: Option<Id>,
    /// The backups of the disks that are named, as the caller's generation calls them.
    pub disks: Vec<Id>,
}

impl Asked {
    /// The names in a request.
    #[must_use]
    pub fn of(request: &RestoreRequest) -> Self {
        Self {
            project_id: request.project_id.clone(),
            backup_id: request.source.backup_id.clone(),
            checkpoint_id: request.source.checkpoint_id.clone(),
            kind: request.target.kind(),
            target: Some(request.target.id().clone()),
            disks: request.target.mappings().iter().map(|mapping| mapping.backup_id.clone()).collect(),
        }
    }
}

/// The names that were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The backup.
    pub backup_id: Id,
    /// The backups of the disks, in the order of the request.
    pub disks: Vec<Id>,
}

impl Names {
    /// The request with these names in the place of the caller's.
    pub(super) fn put_into(self, request: &RestoreRequest) -> RestoreRequest {
        let target = match &request.target {
            Target::Server { server_id, power_on, volumes } => Target::Server {
                server_id: server_id.clone(),
                power_on: *power_on,
                volumes: volumes
                    .iter()
                    .zip(self.disks)
                    .map(|(mapping, backup_id)| Mapping { backup_id, volume_id: mapping.volume_id.clone() })
                    .collect(),
            },
            other => other.clone(),
        };
        RestoreRequest {
            project_id: request.project_id.clone(),
            // The protection run has a name in one generation alone; where it is needed it is read.
            source: Source { backup_id: self.backup_id, checkpoint_id: None },
            target,
        }
    }
}

/// True if the backup from the operator's ID map may stand for the requested one.
pub(super) fn paired(asked: &Asked, to: &Id, ours: Option<&Backup>) -> Result<String, String> {
    let id = &asked.backup_id;
    match ours {
        None => Err(format!("the table says {to}, which is not there")),
        Some(ours) if !is_for(ours, asked.kind) => {
            Err(format!("the table says {to}, which is a backup of another kind"))
        }
        Some(_) => Ok(format!("{id} is {to} by the operator's table")),
    }
}

/// What is wrong with the protection run that the request names, where the caller's own generation tells which it is: it
/// would refuse the request, too.
pub(super) fn checkpoint(asked: &Asked, home: &Home) -> Result<(), String> {
    let theirs = home.backup().and_then(|theirs| theirs.checkpoint_id.as_deref());
    match (&asked.checkpoint_id, theirs) {
        (Some(given), Some(theirs)) if !is(given, theirs) => {
            let id = &asked.backup_id;
            Err(format!("checkpoint {given} is not the one of backup {id}; nothing was sent"))
        }
        _ => Ok(()),
    }
}

/// True if the backup that has the same id is the same backup: how that is known, or what speaks against it.
pub(super) fn same_id(asked: &Asked, home: &Home, ours: Option<&Backup>) -> Result<String, String> {
    let id = &asked.backup_id;
    let Some(ours) = ours else { return Err(format!("there is no backup {id}")) };
    match home {
        Home::Tells(theirs) => match differs(ours, theirs) {
            None => Ok(format!(
                "{id} has the same id there, and both generations tell the same resource, kind and time of it"
            )),
            Some(what) => Err(format!("backup {id} there is another one: {what}")),
        },
        Home::Silent(why) => by_request(asked, ours).map(|how| {
            format!("{id} has the same id there, {how}; the caller's own generation tells nothing: {why}")
        }),
        Home::Unread(why, _) => Err(format!("the caller's own generation could not be asked: {why}")),
    }
}

/// True if a backup with the id that was asked for is the one that was meant, by what the request itself names: an id alone is
/// no proof. It must be of the kind, and either every disk backup that is named is a part of it, or it is a backup of the
/// very thing that is overwritten.
fn by_request(asked: &Asked, ours: &Backup) -> Result<String, String> {
    let id = &asked.backup_id;
    if !is_for(ours, asked.kind) || ours.kind.is_none() {
        return Err(format!("backup {id} there is of another kind"));
    }
    let part = |disk: &&Id| !ours.disks.iter().any(|part| is(disk, &part.id));
    if let Some(missing) = asked.disks.iter().find(part) {
        return Err(format!("backup {id} there is another one: the disk backup {missing} is no part of it"));
    }
    let of = &ours.resource_id;
    match &asked.target {
        _ if !asked.disks.is_empty() => Ok("of the same kind and with every disk asked for".to_owned()),
        Some(target) if is(target, of) => Ok(format!("of the same kind and of {of}, which is restored")),
        Some(target) => Err(format!(
            "backup {id} there is of {of}, and is to be restored onto {target}: its id alone is no proof"
        )),
        None => {
            Err(format!("backup {id} there is of {of}: its id alone is a proof for a restore of that only"))
        }
    }
}

/// The one backup among these that is of the same resource, time and disks.
pub(super) fn only(theirs: &Backup, among: &[Backup]) -> Result<(usize, String), String> {
    let mut found = Vec::new();
    for (index, ours) in among.iter().enumerate() {
        match likeness(ours, theirs) {
            Likeness::Alike => found.push(index),
            Likeness::Other => {}
            Likeness::Untold(what) => return Err(format!("backup {} there may be it, too: {what}", ours.id)),
        }
    }
    match *found.as_slice() {
        [index] => {
            let (id, ours) = (&theirs.id, &among[index].id);
            Ok((index, format!("{id} is {ours}, the only backup of its resource, time and disks there")))
        }
        [] => Err("no backup there is of its resource, time and disks".to_owned()),
        _ => Err("several backups there are of its resource, time and disks".to_owned()),
    }
}

/// How a backup compares with another one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Likeness {
    /// Of the same resource, time and disks.
    Alike,
    /// Another one.
    Other,
    /// Incomplete: the missing fact.
    Untold(String),
}

fn likeness(ours: &Backup, theirs: &Backup) -> Likeness {
    if !may_be(ours, theirs) {
        return Likeness::Other;
    }
    if let Some(what) = differs(ours, theirs) {
        return Likeness::Untold(what);
    }
    // There is no server without a disk.
    if theirs.kind == Some(TargetKind::Server) && (ours.disks.is_empty() || theirs.disks.is_empty()) {
        return Likeness::Untold("its disks are not told".to_owned());
    }
    if volumes(ours) == volumes(theirs) { Likeness::Alike } else { Likeness::Other }
}

/// True if a backup may be the same as another by its known facts; an unknown fact excludes nothing.
pub(super) fn may_be(ours: &Backup, theirs: &Backup) -> bool {
    let kinds = ours.kind.is_none() || ours.kind == theirs.kind;
    let times = match (ours.created_at, theirs.created_at) {
        (Some(one), Some(other)) => one.micros_since(other).unsigned_abs() <= SAME_TIME,
        _ => true,
    };
    kinds && times && ours.resource_id == theirs.resource_id
}

/// The difference that proves two backups to be of different resources or times; `None` without one.
pub(super) fn differs(ours: &Backup, theirs: &Backup) -> Option<String> {
    if ours.kind.is_none() || ours.kind != theirs.kind {
        return Some("kinds differ".to_owned());
    }
    if ours.resource_id != theirs.resource_id {
        return Some(format!("it is of {}, and not of {}", ours.resource_id, theirs.resource_id));
    }
    match (ours.created_at, theirs.created_at) {
        (Some(one), Some(other)) if one.micros_since(other).unsigned_abs() <= SAME_TIME => None,
        (Some(one), Some(other)) => Some(format!("it was made at {one}, and not at {other}")),
        _ => Some("no time is told of it".to_owned()),
    }
}

/// The disks of a backup by the names that it has for them; `find` is the operator's table.
pub(super) fn disks(
    asked: &Asked,
    home: &Home,
    ours: &Backup,
    find: impl Fn(&Id) -> Option<Id>,
) -> Result<(Vec<Id>, String), String> {
    let (mut by_table, mut by_id, mut by_volume) = (0, 0, 0);
    let mut found = Vec::with_capacity(asked.disks.len());
    for asked in &asked.disks {
        let paired = find(asked);
        let wanted = paired.as_ref().unwrap_or(asked);
        let same_id = ours.disks.iter().find(|disk| is(wanted, &disk.id));
        let same_volume = || {
            let home = home.backup()?.disks.iter().find(|disk| is(asked, &disk.id))?;
            let mut of_it = ours.disks.iter().filter(|disk| disk.volume_id == home.volume_id);
            of_it.next().filter(|_| of_it.next().is_none())
        };
        let (disk, count) = match (same_id, &paired) {
            (Some(disk), Some(_)) => (Some(disk), &mut by_table),
            (Some(disk), None) => (Some(disk), &mut by_id),
            // The table counts: what it says and is not there is not looked for elsewhere.
            (None, Some(_)) => (None, &mut by_table),
            (None, None) => (same_volume(), &mut by_volume),
        };
        *count += 1;
        let disk = disk.and_then(|disk| disk.id.parse::<Id>().ok());
        found.push(disk.ok_or_else(|| format!("the disk backup {wanted} is no part of backup {}", ours.id))?);
    }
    let how = format!("{by_table} disks by the table, {by_id} by the same id, {by_volume} by their volume");
    Ok((found, how))
}

/// True if two spellings are of one id.
fn is(id: &Id, text: &str) -> bool {
    text.parse::<Id>().is_ok_and(|other| id.is_same(&other))
}

/// True if a backup is of the requested resource, as far as the generation reports it.
fn is_for(backup: &Backup, kind: TargetKind) -> bool {
    match kind {
        TargetKind::Server | TargetKind::Volume => backup.kind == Some(kind),
        TargetKind::Resource => !matches!(backup.kind, Some(TargetKind::Server | TargetKind::Volume)),
    }
}

fn volumes(backup: &Backup) -> Vec<&str> {
    let mut volumes: Vec<&str> = backup.disks.iter().map(|disk| &*disk.volume_id).collect();
    volumes.sort_unstable();
    volumes
}

#[cfg(test)]
mod tests {
    use restore_generations::DiskBackup;

    use super::super::home::LookupResult;
    use super::*;

    fn id(text: &str) -> Id {
        text.parse().unwrap()
    }

    /// A backup of server `s` with parts of the disks `v1` and `v2`.
    fn backup(own: &str, time: &str, disks: [&str; 2]) -> Backup {
        let disk = |(disk, volume): (&str, &str)| DiskBackup {
            id: disk.to_owned(),
            volume_id: volume.to_owned(),
            volume_name: String::new(),
            size_gb: None,
            bootable: None,
            created_at: None,
        };
        Backup {
            id: own.to_owned(),
            name: String::new(),
            status: "available".to_owned(),
            kind: Some(TargetKind::Server),
            resource_id: "s".to_owned(),
            resource_name: String::new(),
            checkpoint_id: None,
            created_at: Some(time.parse().unwrap()),
            updated_at: None,
            size_gb: None,
            zone: String::new(),
            disks: disks.into_iter().zip(["v1", "v2"]).map(disk).collect(),
        }
    }

    const TIME: &str = "2026-11-21T01:30:00Z";

    fn asked(kind: TargetKind) -> Asked {
        Asked {
            project_id: "0a1b2c3d4e5f60718293a4b5c6d7e8f9".parse().unwrap(),
            backup_id: id("b"),
            checkpoint_id: None,
            kind,
            target: Some(id("s")),
            disks: if kind == TargetKind::Server { vec![id("d1"), id("d2")] } else { Vec::new() },
        }
    }

    fn refused<T: std::fmt::Debug>(decided: Result<T, String>, why: &str) {
        let said = decided.unwrap_err();
        assert!(said.contains(why), "{said:?} is not about {why:?}");
    }

    #[test]
    fn the_same_id_counts_where_resource_kind_and_time_are_the_same() {
        let asked = asked(TargetKind::Server);
        let theirs = Home::Tells(Box::new(backup("b", TIME, ["d1", "d2"])));
        let ours = backup("b", "2026-11-21T01:30:02Z", ["e1", "e2"]);
        assert!(same_id(&asked, &theirs, Some(&ours)).unwrap().contains("same resource, kind and time"));
        refused(same_id(&asked, &theirs, None), "there is no backup b");

        let other = Backup { resource_id: "t".to_owned(), ..ours.clone() };
        refused(same_id(&asked, &theirs, Some(&other)), "it is of t, and not of s");
        let other = Backup { kind: Some(TargetKind::Volume), ..ours.clone() };
        refused(same_id(&asked, &theirs, Some(&other)), "kinds differ");
        for time in ["2026-11-21T01:30:03Z", "2026-11-21T01:29:57Z"] {
            let other = backup("b", time, ["d1", "d2"]);
            refused(same_id(&asked, &theirs, Some(&other)), "it was made at");
        }
        let other = Backup { created_at: None, ..ours };
        refused(same_id(&asked, &theirs, Some(&other)), "no time");
    }

    #[test]
    fn a_run_that_home_knows_to_be_another_is_refused() {
        let mut asked = asked(TargetKind::Server);
        let told = Backup { checkpoint_id: Some("C0-FFEE".to_owned()), ..backup("b", TIME, ["d1", "d2"]) };
        let silent = Home::Silent("closed".to_owned());
        for (given, right) in [(None, true), (Some("c0ffee"), true), (Some("c0ffef"), false)] {
            asked.checkpoint_id = given.map(id);
            assert_eq!(checkpoint(&asked, &Home::Tells(Box::new(told.clone()))).is_ok(), right, "{given:?}");
            assert!(checkpoint(&asked, &silent).is_ok());
            let untold = Backup { checkpoint_id: None, ..told.clone() };
            assert!(checkpoint(&asked, &Home::Tells(Box::new(untold))).is_ok());
        }
    }

    #[test]
    fn where_home_is_silent_every_disk_must_be_a_part() {
        let asked = asked(TargetKind::Server);
        let silent = Home::Silent("it answers 404".to_owned());
        let ours = backup("b", TIME, ["d1", "d2"]);
        assert!(same_id(&asked, &silent, Some(&ours)).unwrap().contains("it answers 404"));
        let other = backup("b", TIME, ["d1", "d3"]);
        refused(same_id(&asked, &silent, Some(&other)), "the disk backup d2 is no part of it");
        for kind in [Some(TargetKind::Volume), None] {
            let other = Backup { kind, ..ours.clone() };
            refused(same_id(&asked, &silent, Some(&other)), "another kind");
        }
    }

    /// An id alone is no proof: neither of a disk, nor of a server of which no disk is named.
    #[test]
    fn where_home_is_silent_and_no_disk_is_named_it_must_be_of_what_is_restored() {
        let silent = Home::Silent("closed".to_owned());
        for kind in [TargetKind::Volume, TargetKind::Server] {
            let mut asked = Asked { disks: Vec::new(), ..asked(kind) };
            let ours = Backup { kind: Some(kind), ..backup("b", TIME, ["d1", "d2"]) };
            assert!(same_id(&asked, &silent, Some(&ours)).unwrap().contains("of s, which is restored"));
            asked.target = Some(id("t"));
            refused(same_id(&asked, &silent, Some(&ours)), "its id alone is no proof");
            asked.target = None;
            refused(same_id(&asked, &silent, Some(&ours)), "its id alone");
        }
    }

    #[test]
    fn where_home_could_not_be_asked_no_namesake_counts() {
        let unread = Home::untold(LookupResult::NoAnswer, "no answer", None);
        let ours = backup("b", TIME, ["d1", "d2"]);
        refused(same_id(&asked(TargetKind::Server), &unread, Some(&ours)), "could not be asked: no answer");
    }

    #[test]
    fn the_only_one_of_a_resource_time_and_disks_is_taken_and_no_other() {
        let theirs = backup("b", TIME, ["d1", "d2"]);
        let (late, one) =
            (backup("x", "2026-11-21T01:30:03Z", ["e1", "e2"]), backup("y", TIME, ["f1", "f2"]));
        assert_eq!(only(&theirs, &[late.clone(), one.clone()]).unwrap().0, 1);
        refused(only(&theirs, &[late]), "no backup there");
        refused(only(&theirs, &[]), "no backup there");
        let other = Backup { id: "z".to_owned(), ..one.clone() };
        refused(only(&theirs, &[one.clone(), other]), "several");
        let mut fewer = one.clone();
        fewer.disks.pop();
        refused(only(&theirs, std::slice::from_ref(&fewer)), "no backup there");
        assert_eq!(only(&theirs, &[one, fewer]).unwrap().0, 0);
    }

    /// An incomplete backup may be the right one, so the right one is not known.
    #[test]
    fn an_incomplete_backup_does_not_make_another_the_only_one() {
        let theirs = backup("b", TIME, ["d1", "d2"]);
        let one = backup("y", TIME, ["f1", "f2"]);
        let half = [
            Backup { created_at: None, ..one.clone() },
            Backup { kind: None, ..one.clone() },
            Backup { disks: Vec::new(), ..one.clone() },
        ];
        for half in half {
            let twin = Backup { id: "z".to_owned(), ..half };
            assert!(may_be(&twin, &theirs));
            refused(only(&theirs, &[one.clone(), twin]), "backup z there may be it, too");
        }
        // Nor is it known if the caller's own generation reports half of it.
        let untold = Backup { disks: Vec::new(), ..theirs };
        refused(only(&untold, &[one]), "its disks are not told");
    }

    #[test]
    fn a_row_of_the_table_must_lead_to_a_backup_of_the_kind() {
        let asked = asked(TargetKind::Server);
        let ours = backup("x", TIME, ["e1", "e2"]);
        assert_eq!(paired(&asked, &id("x"), Some(&ours)).unwrap(), "b is x by the operator's table");
        refused(paired(&asked, &id("x"), None), "which is not there");
        let other = Backup { kind: Some(TargetKind::Volume), ..ours };
        refused(paired(&asked, &id("x"), Some(&other)), "another kind");
    }

    #[test]
    fn disks_are_found_by_table_id_or_volume_or_not_at_all() {
        let asked = asked(TargetKind::Server);
        let theirs = Home::Tells(Box::new(backup("b", TIME, ["d1", "d2"])));
        let (none, silent) = (|_: &Id| None, || Home::Silent(String::new()));
        let found = |ours: &Backup, theirs: &Home| {
            disks(&asked, theirs, ours, none).map(|(found, how)| (format!("{} {}", found[0], found[1]), how))
        };
        let ours = backup("x", TIME, ["e1", "e2"]);
        let (names, how) = found(&ours, &theirs).unwrap();
        assert_eq!((&*names, &*how), ("e1 e2", "0 disks by the table, 0 by the same id, 2 by their volume"));
        refused(found(&ours, &silent()), "d1 is no part of backup x");
        assert_eq!(found(&backup("x", TIME, ["d1", "d2"]), &silent()).unwrap().0, "d1 d2");
        // Two parts of one disk are no proof.
        let mut twice = ours.clone();
        twice.disks[1].volume_id = "v1".to_owned();
        refused(found(&twice, &theirs), "d1 is no part of backup x");

        let row = |to: &'static str| move |disk: &Id| (disk.as_str() == "d1").then(|| id(to));
        let (found, how) = disks(&asked, &theirs, &ours, row("e1")).unwrap();
        assert_eq!(
            (found, &*how),
            (vec![id("e1"), id("e2")], "1 disks by the table, 0 by the same id, 1 by their volume")
        );
        refused(disks(&asked, &theirs, &ours, row("gone")), "the disk backup gone is no part of backup x");
    }
}
