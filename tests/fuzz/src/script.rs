//! Inputs that tell of several things: parts between lines of `---`, so that a seed can be read, written and mutated
//! as text. The first part of a conversation says how the restore stands; each other part is an answer of the
//! cloud: its status, headers that are read, an empty line, the body.

use bytes::Bytes;
use restore_generations::{Answer, Generation, Known, Prepare, Reply, Step, Unread, Watch, by_name};
use restore_model::{RestoreRequest, TaskRef, Timestamp, schema};
use serde_json::{Value, json};

pub(crate) const PROJECT: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
pub(crate) const SERVER: &str = "7d2f6c1e-3b0a-4c55-9a51-0f6c2b9e8d14";
const DISK: &str = "c0ffee01-1111-4222-8333-444455556666";
const DISK_BACKUP: &str = "5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b02";
pub(crate) const BACKUP: &str = "0f9e8d7c-6b5a-4948-8372-615049382716";
/// 2026-11-22T10:15:00Z: when every restore here was sent.
const SENT: Timestamp = Timestamp::from_micros(1_795_342_500_000_000);
/// Answers that are read at most; a generation asks for fewer in one round.
const MAX_ANSWERS: usize = 40;

/// The parts of an input.
pub(crate) fn parts(data: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut rest = data;
    while let Some(at) = rest.windows(5).position(|window| window == b"\n---\n") {
        parts.push(&rest[..at]);
        rest = &rest[at + 5..];
    }
    parts.push(rest);
    parts
}

/// An answer as it is written down: what is not written so is a body under 200.
pub(crate) fn reply(part: &[u8]) -> Reply {
    let (head, body) = match part.windows(2).position(|window| window == b"\n\n") {
        Some(at) => (&part[..at], &part[at + 2..]),
        None => (part, &[] as &[u8]),
    };
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let Some(status) = lines.next().and_then(|line| line.trim().parse().ok()) else {
        return Reply { status: 200, body: Bytes::copy_from_slice(part), ..Reply::default() };
    };
    let mut reply = Reply { status, body: Bytes::copy_from_slice(body), ..Reply::default() };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        // As the way out reads headers: visible characters, and no more than 128.
        let value: String = value.trim().chars().filter(|c| (' '..='~').contains(c)).take(128).collect();
        let value = (!value.is_empty()).then_some(value);
        match name {
            "x-request-id" => reply.request_id = value,
            "retry-after" => reply.retry_after = value,
            "date" => reply.date = value.and_then(|value| value.parse().ok()),
            _ => {}
        }
    }
    reply
}

fn answer(part: &[u8]) -> Answer {
    let reply = reply(part);
    match reply.status {
        // In words of our own.
        0 => Err(Unread::NoAnswer("the connection was refused".to_owned())),
        1 => Err(Unread::NoEndpoint),
        2 => Err(Unread::NoCredential),
        _ => Ok(reply),
    }
}

/// A restore of one generation, and everything that its cloud answers.
pub(crate) struct Conversation {
    pub(crate) generation: &'static dyn Generation,
    pub(crate) request: RestoreRequest,
    pub(crate) answers: Vec<Answer>,
    task: Option<TaskRef>,
    notes: Value,
    request_id: Option<String>,
    accepted: bool,
    age: i64,
    no_restore_read: bool,
    backup_shared: bool,
    target_shared: bool,
}

impl Conversation {
    /// `server accepted age=30 handle=operation_log:abc` in the first line, notes as JSON after it; then the answers.
    pub(crate) fn read(name: &str, data: &[u8]) -> Self {
        let parts = parts(data);
        let standing = String::from_utf8_lossy(parts[0]);
        let (words, notes) = standing.split_once('\n').unwrap_or((&standing, ""));
        let mut kind = "volume";
        let mut told = Self {
            generation: by_name(name).unwrap_or_else(|| panic!("no generation {name}")),
            request: request(kind),
            answers: parts[1..].iter().take(MAX_ANSWERS).map(|part| answer(part)).collect(),
            task: None,
            notes: serde_json::from_str(notes).unwrap_or_default(),
            request_id: None,
            accepted: false,
            age: 10,
            no_restore_read: false,
            backup_shared: false,
            target_shared: false,
        };
        for word in words.split(' ') {
            match word.split_once('=') {
                Some(("age", age)) => told.age = age.parse::<i32>().unwrap_or(10).into(),
                Some(("request", id)) => told.request_id = Some(id.to_owned()),
                Some(("task", task)) => {
                    let (kind, id) = task.split_once(':').unwrap_or(("", task));
                    told.task = Some(TaskRef { kind: kind.to_owned(), id: id.to_owned() });
                }
                _ => match word {
                    "server" | "volume" | "resource" => kind = word,
                    "accepted" => told.accepted = true,
                    "no_restore_read" => told.no_restore_read = true,
                    "backup_shared" => told.backup_shared = true,
                    "target_shared" => told.target_shared = true,
                    _ => {}
                },
            }
        }
        told.request = request(kind);
        told
    }

    /// Whether any answer says what it says under 200: without one, nothing is known.
    pub(crate) fn any_success(&self) -> bool {
        self.answers.iter().flatten().any(|reply| (200..300).contains(&reply.status))
    }

    pub(crate) fn is_accepted(&self) -> bool {
        self.accepted
    }

    pub(crate) fn watch(&self) -> Watch<'_> {
        Watch {
            request: &self.request,
            task: self.task.as_ref(),
            notes: &self.notes,
            accepted: self.accepted,
            sent_at: SENT,
            now: SENT.plus_seconds(self.age),
            clock_offset_ms: None,
            request_id: self.request_id.as_deref(),
            taken: &[],
            visibility_grace_seconds: 120,
            no_restore_read: self.no_restore_read,
            backup_shared: self.backup_shared,
            target_shared: self.target_shared,
        }
    }

    pub(crate) fn question<'a>(&'a self, known: &'a Known) -> Prepare<'a> {
        Prepare { request: &self.request, known, baseline: self.accepted, server: None, now: SENT }
    }

    pub(crate) fn since(&self) -> Timestamp {
        SENT.plus_seconds(-self.age.abs())
    }

    /// Answers read after read, the given answers over and over, until the reader is done.
    pub(crate) fn drive<T>(&self, step: impl Fn(&[Answer]) -> Step<T>) -> T {
        let mut told = Vec::new();
        loop {
            match step(&told) {
                Step::Done(done) => return done,
                Step::Ask(call) => {
                    assert!(!call.restores, "a read that restores: {call:?}");
                    crate::wording::safe_path(&call);
                    assert!(told.len() < MAX_ANSWERS, "no end of reads");
                    let next = self.answers.get(told.len() % self.answers.len().max(1)).cloned();
                    told.push(next.unwrap_or_else(|| Err(Unread::NoAnswer("nothing more".to_owned()))));
                }
            }
        }
    }
}

fn request(kind: &str) -> RestoreRequest {
    let target = match kind {
        "server" => json!({"type": kind, "server_id": SERVER, "power_on": true,
            "volumes": [{"backup_id": DISK_BACKUP, "volume_id": DISK}]}),
        "resource" => json!({"type": kind, "resource_id": SERVER}),
        _ => json!({"type": "volume", "volume_id": DISK}),
    };
    let backup = if kind == "volume" { DISK_BACKUP } else { BACKUP };
    let value = json!({"project_id": PROJECT, "source": {"backup_id": backup}, "target": target});
    schema::parse_restore(value).unwrap_or_else(|problem| panic!("the request itself: {problem:?}"))
}
