//! What the tests share: the fictional world of docs/reference/cloud-apis.md, and an upstream that is a
//! closure from call to answer.

use restore_generations::{Answer, Call, Generation, Known, Prepare, Prepared, Reading, Reply, Step, Watch};
use restore_model::{Problem, RestoreRequest, TaskRef, Timestamp};
use serde_json::{Value, json};

pub(crate) const PROJECT: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
pub(crate) const SERVER: &str = "7d2f6c1e-3b0a-4c55-9a51-0f6c2b9e8d14";
pub(crate) const SYSTEM_DISK: &str = "c0ffee00-1111-4222-8333-444455556666";
pub(crate) const DATA_DISK: &str = "c0ffee01-1111-4222-8333-444455556666";
pub(crate) const SYSTEM_BACKUP: &str = "5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b01";
pub(crate) const DATA_BACKUP: &str = "5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b02";
pub(crate) const SERVER_BACKUP: &str = "0f9e8d7c-6b5a-4948-8372-615049382716";
pub(crate) const ITEM: &str = "8a1b9c2d-3e4f-4506-9718-293a4b5c6d7e";
pub(crate) const CHECKPOINT: &str = "11aa22bb-33cc-44dd-95ee-66ff77008811";
/// The send of every restore here, by the gateway's clock.
pub(crate) const SENT: &str = "2026-11-22T10:15:00Z";

/// A generation by name.
pub(crate) fn generation(name: &str) -> &'static dyn Generation {
    restore_generations::by_name(name).unwrap_or_else(|| panic!("no generation {name}"))
}

#[expect(clippy::needless_pass_by_value, reason = "bodies are written in place")]
fn request(backup: &str, target: Value) -> RestoreRequest {
    let value = json!({"project_id": PROJECT, "source": {"backup_id": backup}, "target": target});
    restore_model::schema::parse_restore(value).unwrap()
}

/// The whole server, out of this backup.
pub(crate) fn server(backup: &str) -> RestoreRequest {
    request(
        backup,
        json!({"type": "server", "server_id": SERVER, "power_on": true, "volumes": [
            {"backup_id": SYSTEM_BACKUP, "volume_id": SYSTEM_DISK},
            {"backup_id": DATA_BACKUP, "volume_id": DATA_DISK},
        ]}),
    )
}

/// The data disk alone.
pub(crate) fn disk() -> RestoreRequest {
    request(DATA_BACKUP, json!({"type": "volume", "volume_id": DATA_DISK}))
}

/// A desktop.
pub(crate) fn resource() -> RestoreRequest {
    let target = json!({"type": "resource", "resource_id": SERVER, "destination_path": "/srv/restore"});
    request(SERVER_BACKUP, target)
}

/// A moment so many seconds after the send.
pub(crate) fn after(seconds: i64) -> Timestamp {
    SENT.parse::<Timestamp>().unwrap().plus_seconds(seconds)
}

/// An answer with a JSON body.
#[expect(clippy::needless_pass_by_value, reason = "bodies are written in place")]
pub(crate) fn ok(body: Value) -> Answer {
    answer(200, &body.to_string())
}

/// An error of shape E1.
pub(crate) fn error(status: u16, code: &str) -> Answer {
    answer(status, &json!({"error_code": code, "error_msg": "words"}).to_string())
}

/// Any answer.
pub(crate) fn answer(status: u16, body: &str) -> Answer {
    Ok(Reply { status, body: body.to_owned().into(), ..Reply::default() })
}

/// An example of docs/reference/cloud-apis.md.
pub(crate) fn wire(name: &str) -> Value {
    let path = format!("{}/tests/wire/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap()
}

/// Answers every read of a replaying function until it is done; tells what was asked, too. Paths
/// are given without the version and the project.
pub(crate) fn drive<T>(
    step: impl Fn(&[Answer]) -> Step<T>,
    upstream: impl Fn(&str) -> Answer,
) -> (T, Vec<String>) {
    let mut answers = Vec::new();
    let mut asked = Vec::new();
    loop {
        match step(&answers) {
            Step::Done(done) => return (done, asked),
            Step::Ask(call) => {
                assert!(!call.restores, "a read that restores");
                assert!(asked.len() < 200, "no end of reads: {asked:?}");
                let path = tail(&call);
                answers.push(upstream(&path));
                asked.push(path);
            }
        }
    }
}

fn tail(call: &Call) -> String {
    call.path.splitn(4, '/').nth(3).unwrap().to_owned()
}

/// No upstream: fails the test when it is asked.
pub(crate) fn nobody(path: &str) -> Answer {
    panic!("{path} was asked")
}

/// The reads before a send.
pub(crate) fn prepare(
    name: &str,
    request: &RestoreRequest,
    upstream: impl Fn(&str) -> Answer,
) -> (Result<Prepared, Problem>, Vec<String>) {
    let known = Known::default();
    let ask = Prepare { request, known: &known, baseline: true, server: None, now: after(-1) };
    drive(|answers| generation(name).prepare(&ask, answers), upstream)
}

/// The questions of a check: name, result, predicted code.
pub(crate) fn check(
    name: &str,
    request: &RestoreRequest,
    upstream: impl Fn(&str) -> Answer,
) -> Vec<(&'static str, &'static str, String)> {
    let known = Known::default();
    let ask = Prepare { request, known: &known, baseline: true, server: None, now: after(-1) };
    let (checks, _) = drive(|answers| generation(name).check(&ask, answers), upstream);
    checks
        .into_iter()
        .map(|check| (check.name, check.result.as_str(), check.upstream_code.unwrap_or_default()))
        .collect()
}

/// A restore that is being followed, with what differs between tests.
#[derive(Clone, Debug)]
pub(crate) struct Followed {
    pub(crate) request: RestoreRequest,
    pub(crate) task: Option<TaskRef>,
    pub(crate) notes: Value,
    pub(crate) accepted: bool,
    pub(crate) age: i64,
    pub(crate) clock_offset_ms: Option<i64>,
    pub(crate) request_id: Option<&'static str>,
    pub(crate) taken: Vec<String>,
    pub(crate) no_restore_read: bool,
    pub(crate) backup_shared: bool,
    pub(crate) target_shared: bool,
}

/// Seconds after the send that stand for "now, by the upstream's clock" in the date of an answer.
pub(crate) const UPSTREAM_NOW: i64 = 100_000;

impl Followed {
    pub(crate) fn new(request: RestoreRequest) -> Self {
        Self {
            request,
            task: None,
            notes: Value::Null,
            accepted: true,
            age: 10,
            clock_offset_ms: None,
            request_id: None,
            taken: Vec::new(),
            no_restore_read: false,
            backup_shared: false,
            target_shared: false,
        }
    }

    pub(crate) fn task(mut self, kind: &str, id: &str) -> Self {
        self.task = Some(TaskRef { kind: kind.to_owned(), id: id.to_owned() });
        self
    }

    pub(crate) fn notes(mut self, notes: Value) -> Self {
        self.notes = notes;
        self
    }

    pub(crate) fn age(mut self, age: i64) -> Self {
        self.age = age;
        self
    }

    pub(crate) fn unproven(mut self) -> Self {
        self.accepted = false;
        self
    }

    /// Others restore from the same backup.
    pub(crate) fn beside_others(mut self) -> Self {
        self.backup_shared = true;
        self
    }

    /// One round of reads; the grace window is 120 s.
    pub(crate) fn round(&self, name: &str, upstream: impl Fn(&str) -> Answer) -> (Reading, Vec<String>) {
        let watch = Watch {
            request: &self.request,
            task: self.task.as_ref(),
            notes: &self.notes,
            accepted: self.accepted,
            sent_at: after(0),
            now: after(self.age),
            clock_offset_ms: self.clock_offset_ms,
            request_id: self.request_id,
            taken: &self.taken,
            visibility_grace_seconds: 120,
            no_restore_read: self.no_restore_read,
            backup_shared: self.backup_shared,
            target_shared: self.target_shared,
        };
        // An answer that is dated `UPSTREAM_NOW` was made now, by the upstream's clock.
        let now = watch.now.plus_micros(self.clock_offset_ms.unwrap_or(0).saturating_mul(1_000));
        let dated = |path: &str| {
            upstream(path).map(|reply| Reply {
                date: reply.date.map(|date| if date == after(UPSTREAM_NOW) { now } else { date }),
                ..reply
            })
        };
        drive(|answers| generation(name).follow(&watch, answers), dated)
    }

    /// The same restore as it stands after a reading.
    pub(crate) fn then(mut self, reading: &Reading) -> Self {
        self.task = reading.task.clone().or(self.task);
        self.notes = reading.notes.clone().unwrap_or(self.notes);
        self.no_restore_read |= reading.no_restore_read;
        self
    }
}
