//! Reads of compatibility endpoints: restores of the gateway from the ledger, backups and disks in the format of the
//! program's cloud. Where that cloud does not know a restore, the response shows its effect on backup and disk. If that
//! cloud is unavailable, other upstreams are read. A restore without a poller is refreshed first, with the caller's
//! token.

use std::collections::{BTreeSet, HashMap};

use restore_generations::source_api::{self, RestoreView};
use restore_generations::{self as generations, Backup, DiskBackup, Reply, errors};
use restore_ledger::{Entry, Query};
use restore_model::{Code, Id, Mapping, Problem, RestoreId, Status};
use serde_json::{Value, json};

use super::cloud::{ask_cloud, pass_on, passed_on, with_links};
use super::{Call, origin, restore_view};
use crate::api::App;
use crate::dispatch::endpoints::AtEndpoint;
use crate::web::answer::{self, Answer, Failure};

/// Restores on one page of a native list at most; the source APIs' own pages are of this size.
const PAGE: usize = 1_000;

/// One restore by the handle that a compatibility endpoint gave out; what is no restore of the gateway's may be one of the cloud's.
pub(super) async fn restored(app: &App, at: &AtEndpoint, call: Call) -> Result<Answer, Failure> {
    let named = at.named()?;
    let id = named.id.as_ref().and_then(|id| id.as_str().parse::<RestoreId>().ok());
    let Some(id) = id else { return pass_on(app, at, &call).await };
    let read = app.engine.refresh_and_wait(id, &call.caller, call.trace.clone(), None);
    match Box::pin(read).await {
        Ok(entry) if entry.intent.request.project_id == named.project && is_told(at, &entry) => {
            app.engine.readable_by(&entry, &call.caller)?;
            Ok(answer::native(at.endpoint.endpoint.restored(restore_view(&entry))))
        }
        Ok(_) => pass_on(app, at, &call).await,
        Err(problem) if problem.code == Code::RestoreNotFound => {
            // As it is said of what never was, also where nobody can be asked.
            pass_on(app, at, &call).await.map_err(|failure| match failure.problem.code {
                Code::NotFound => problem.into(),
                _ => failure,
            })
        }
        Err(problem) => Err(problem.into()),
    }
}

/// True if the source API has words for a restore: one of another kind of target would be told as what it is not, and one
/// in the names of another generation under ids that are none here. Whose names a request has its compatibility endpoint says; those of
/// the API have the names of the upstream's generation.
fn is_told(at: &AtEndpoint, entry: &Entry) -> bool {
    let intent = &entry.intent;
    let endpoint = at.endpoint.endpoint;
    endpoint.targets().contains(&intent.request.target.kind()) && intent.names() == endpoint.generation()
}

pub(super) async fn restored_list(app: &App, at: &AtEndpoint, call: Call) -> Result<Answer, Failure> {
    let named = at.named()?;
    let query = Query { project_id: Some(named.project.clone()), limit: PAGE, ..Query::default() };
    let page = app.engine.list(query, &call.caller).await?;
    let is_listed = |entry: &Entry| is_told(at, entry);
    let listed = page.entries.into_iter().filter(is_listed).collect();
    let listed = app.engine.refresh_shown(listed, &call.caller, call.trace.as_ref()).await?;
    let restore_view: Vec<RestoreView<'_>> = listed.iter().map(restore_view).collect();
    let home = at.endpoint.upstream.as_deref();
    let others = match at.endpoint.endpoint.others(&call.query, &restore_view, home)? {
        None => None,
        Some(query) => {
            let asked = Call { query, ..call.clone() };
            let reply = ask_cloud(app, at, &asked, None, None).await?;
            // A list without the cloud's part would say that there is nothing there.
            match reply.json().filter(|_| reply.status == 200) {
                Some(others) if at.endpoint.endpoint.is_list(&others) => Some(others),
                _ => return Ok(passed_on(at, &call, &Reply { status: unlisted(reply.status), ..reply })),
            }
        }
    };
    Ok(answer::native(at.endpoint.endpoint.restored_list(&call.query, &restore_view, home, others)?))
}

/// A backup: the word of the cloud that the compatibility endpoint's programs used to talk to, else that of the one that carries out
/// their restores. A restore by another generation is shown in it. Where none of them tells what the backup is, that
/// is the answer: the ledger knows of a backup no more than its id, and tells that only where no cloud stands behind
/// the compatibility endpoint.
pub(super) async fn backup(app: &App, at: &AtEndpoint, call: Call) -> Result<Answer, Failure> {
    let named = at.named()?;
    let Some(id) = &named.id else { return Err(source_api::not_here().into()) };
    let endpoint = at.endpoint.endpoint;
    let running = app.engine.restore_of_backup(&named.project, id, &call.caller).await?;
    let running = refreshed(app, &call, running, |entry| !shows_by_itself(at, entry)).await?;
    let home = match &at.endpoint.upstream {
        Some(_) => match ask_cloud(app, at, &call, running.as_ref(), None).await {
            Ok(reply) => Some(Ok(reply)),
            // It may be gone for good; others may know the backup.
            Err(failure) if is_away(&failure) => Some(Err(failure)),
            Err(failure) => return Err(failure),
        },
        None => None,
    };
    let (mut body, reply) = match home {
        Some(Ok(reply)) if reply.status == 200 && reply.json().is_some() => {
            (reply.json().unwrap_or_default(), reply)
        }
        // Nobody else's word is good for a refusal, and it may be restoring there just now.
        Some(Ok(reply)) if !is_silent_for_good(&reply) => return Ok(passed_on(at, &call, &reply)),
        Some(Err(failure)) if elsewhere(running.as_ref(), at).is_none() => return Err(failure),
        home => {
            let origin = origin(at, Value::Null);
            let (about, trace) = (running.as_ref(), call.trace.clone());
            let found = app.engine.backup_elsewhere(&origin, &named.project, id, about, &call.caller, trace);
            let found = Box::pin(found).await?;
            // Without a cloud of its own the compatibility endpoint has but the ledger's word of a restore, for those who wait for its end.
            let known = || elsewhere(running.as_ref(), at).filter(|_| home.is_none()).map(as_backup);
            match (found.or_else(known), home) {
                (Some(backup), _) => {
                    let reply = Reply { status: 200, ..Reply::default() };
                    (endpoint.backup(at.form(), &named, &backup), reply)
                }
                (None, Some(Ok(refusal))) => return Ok(passed_on(at, &call, &refusal)),
                (None, Some(Err(failure))) => return Err(failure),
                (None, None) => {
                    return Err(Problem::new(
                        Code::BackupNotFound,
                        "no cloud behind this compatibility endpoint has it",
                    )
                    .into());
                }
            }
        }
    };
    if let Some(entry) = running.filter(|entry| is_shown(at, entry, &body)) {
        endpoint.restoring(at.form(), &mut body, restore_view(&entry));
    }
    Ok(with_links(at, &call, &reply, body))
}

/// True if no answer came because a cloud cannot be reached. A credential that it refuses is an answer.
fn is_away(failure: &Failure) -> bool {
    failure.problem.status() >= 500 && failure.problem.code != Code::CredentialFailed
}

/// The status of a list that cannot be read.
const fn unlisted(status: u16) -> u16 {
    if status < 300 { 503 } else { status }
}

/// True if a cloud knows no such backup, or nothing of the project any more, and says so itself.
fn is_silent_for_good(reply: &Reply) -> bool {
    let refusal = generations::classify(reply).refusal();
    errors::not_there(reply)
        || matches!(
            refusal,
            Some(Code::BackupNotFound | Code::GenerationRetired | Code::UpstreamMisconfigured)
        )
}

/// The restore of a backup, if another upstream than the compatibility endpoint's carries it out: that one shows it by itself.
fn elsewhere<'a>(running: Option<&'a Entry>, at: &AtEndpoint) -> Option<&'a Entry> {
    running
        .filter(|entry| at.endpoint.upstream.as_deref() != Some(&*entry.state.route(&entry.intent).upstream))
}

/// True if the compatibility endpoint's own cloud is known to do, or to have done well, what shows in a backup.
fn shows_by_itself(at: &AtEndpoint, entry: &Entry) -> bool {
    elsewhere(Some(entry), at).is_none() && matches!(entry.state.status, Status::Running | Status::Succeeded)
}

/// The one restore that shows in an answer, as it stands, where what the gateway knows of it is told.
async fn refreshed(
    app: &App,
    call: &Call,
    entry: Option<Entry>,
    is_told: impl Fn(&Entry) -> bool,
) -> Result<Option<Entry>, Failure> {
    match entry {
        Some(entry) if is_told(&entry) => {
            let read = app.engine.refresh_shown(vec![entry], &call.caller, call.trace.as_ref());
            Ok(Box::pin(read).await?.pop())
        }
        entry => Ok(entry),
    }
}

/// True if a restore has to be shown in its backup, which stands in `body` as its cloud has it. The compatibility endpoint's own cloud
/// shows by itself what it is known to do and has done well. Of a restore that it may not even have got it shows
/// nothing, and of one that it never got it shows no failure: to programs both would be success.
fn is_shown(at: &AtEndpoint, entry: &Entry, body: &Value) -> bool {
    let is_ours_to_tell = elsewhere(Some(entry), at).is_some() || !entry.state.status.is_final();
    !shows_by_itself(at, entry) && (is_ours_to_tell || at.endpoint.endpoint.is_plain(body))
}

/// Backups as the cloud lists them, each with what a restore does to it that the cloud does not show.
pub(super) async fn backup_list(app: &App, at: &AtEndpoint, call: Call) -> Result<Answer, Failure> {
    let (list, one) = at.endpoint.endpoint.backups();
    let of = |entry: &Entry| vec![entry.intent.request.source.backup_id.folded()];
    let show = |backup: &mut Value, entry: &Entry| {
        if is_shown(at, entry, backup) {
            at.endpoint.endpoint.restoring(at.form(), backup, restore_view(entry));
        }
    };
    let is_read = |entry: &Entry| !shows_by_itself(at, entry);
    shown_in_list(app, at, &call, (list, one), of, is_read, show).await
}

/// Disks as the cloud lists them, each with what a restore does to it.
pub(super) async fn disk_list(app: &App, at: &AtEndpoint, call: Call) -> Result<Answer, Failure> {
    let of = |entry: &Entry| {
        let target = &entry.intent.request.target;
        let mapped = target.mappings().iter().map(|mapping| mapping.volume_id.folded());
        mapped.chain([target.id().folded()]).collect()
    };
    let show = |disk: &mut Value, entry: &Entry| at.endpoint.endpoint.overwriting(disk, restore_view(entry));
    shown_in_list(app, at, &call, ("volumes", "volume"), of, |_| true, show).await
}

/// A list of the cloud, in which restores show: `of` says in which items, `is_read` which of them are read for that,
/// `show` how, in an item that stands as a member of that name.
async fn shown_in_list(
    app: &App,
    at: &AtEndpoint,
    call: &Call,
    (list, one): (&str, &str),
    of: impl Fn(&Entry) -> Vec<String>,
    is_read: impl Fn(&Entry) -> bool,
    show: impl Fn(&mut Value, &Entry),
) -> Result<Answer, Failure> {
    let reply = ask_cloud(app, at, call, None, None).await?;
    let Some(mut body) = reply.json().filter(|_| reply.status == 200) else {
        return Ok(passed_on(at, call, &reply));
    };
    // After the cloud's answer: what was begun meanwhile shows as well.
    let restores = app.engine.restores_that_show(&at.named()?.project, call.caller()).await?;
    let mut by_id: HashMap<String, usize> = HashMap::new();
    for (place, entry) in restores.iter().enumerate() {
        for id in of(entry) {
            by_id.entry(id).or_insert(place);
        }
    }
    let items = body.get_mut(list).and_then(Value::as_array_mut);
    // A list of names alone says nothing of how they are.
    let states = items.into_iter().flatten().filter(|item| item["status"].is_string());
    let shown: Vec<(&mut Value, usize)> = states
        .filter_map(|item| {
            let id = item["id"].as_str()?.parse::<Id>().ok()?;
            let place = *by_id.get(&id.folded())?;
            Some((item, place))
        })
        .collect();
    let places: BTreeSet<usize> = shown.iter().map(|(_, place)| *place).collect();
    let entries = places.iter().map(|place| restores[*place].clone()).filter(is_read).collect();
    let read = app.engine.refresh_shown(entries, &call.caller, call.trace.as_ref());
    let read = Box::pin(read).await?;
    let newest: HashMap<RestoreId, &Entry> = read.iter().map(|entry| (entry.intent.id, entry)).collect();
    for (item, place) in shown {
        let entry = newest.get(&restores[place].intent.id).copied().unwrap_or(&restores[place]);
        let mut alone = json!({ one: item.take() });
        show(&mut alone, entry);
        *item = alone[one].take();
    }
    Ok(with_links(at, call, &reply, body))
}

/// Facts about a backup from a restore of it.
fn as_backup(entry: &Entry) -> Backup {
    let request = &entry.intent.request;
    let disk = |mapping: &Mapping| DiskBackup {
        id: mapping.backup_id.to_string(),
        volume_id: mapping.volume_id.to_string(),
        volume_name: String::new(),
        size_gb: None,
        bootable: None,
        created_at: None,
    };
    Backup {
        id: request.source.backup_id.to_string(),
        name: String::new(),
        status: "available".to_owned(),
        kind: Some(request.target.kind()),
        resource_id: request.target.id().to_string(),
        resource_name: String::new(),
        checkpoint_id: request.source.checkpoint_id.as_ref().map(ToString::to_string),
        created_at: None,
        updated_at: Some(entry.state.updated_at),
        size_gb: None,
        zone: String::new(),
        disks: request.target.mappings().iter().map(disk).collect(),
    }
}

/// A disk: the word of the cloud, and what a restore does to it. Where the configuration names no cloud that has disks, what the
/// ledger knows.
pub(super) async fn disk(app: &App, at: &AtEndpoint, call: Call) -> Result<Answer, Failure> {
    let named = at.named()?;
    let Some(id) = &named.id else { return Err(source_api::not_here().into()) };
    let entry = app.engine.restore_of_disk(&named.project, id, &call.caller).await?;
    let entry = refreshed(app, &call, entry, |_| true).await?;
    let reply = match (ask_cloud(app, at, &call, entry.as_ref(), None).await, &entry) {
        (Ok(reply), _) => reply,
        (Err(failure), Some(entry)) if failure.problem.code == Code::NotFound => {
            return Ok(answer::native(at.endpoint.endpoint.disk(&named, restore_view(entry))));
        }
        (Err(failure), _) => return Err(failure),
    };
    match (reply.json().filter(|_| reply.status == 200), entry) {
        (Some(mut body), Some(entry)) => {
            at.endpoint.endpoint.overwriting(&mut body, restore_view(&entry));
            Ok(with_links(at, &call, &reply, body))
        }
        _ => Ok(passed_on(at, &call, &reply)),
    }
}
