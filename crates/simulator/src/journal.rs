//! The record of arrived requests, in order, for `GET /_sim/requests`. Beyond the maximum it drops the oldest entries.

use std::collections::VecDeque;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri, Version};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

#[derive(Debug)]
struct Line {
    seq: u64,
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    body: Bytes,
    status: Option<StatusCode>,
    answer: Bytes,
    at: Timestamp,
    connection: u64,
}

/// The record.
#[derive(Debug)]
pub(crate) struct Journal {
    lines: VecDeque<Line>,
    kept: usize,
    seq: u64,
    dropped: u64,
}

impl Journal {
    pub(crate) fn new(kept: usize) -> Self {
        Self { lines: VecDeque::new(), kept, seq: 0, dropped: 0 }
    }

    /// Records a request and returns its number.
    pub(crate) fn enter(
        &mut self,
        head: &http::request::Parts,
        body: &Bytes,
        at: Timestamp,
        connection: u64,
    ) -> u64 {
        self.seq += 1;
        self.lines.push_back(Line {
            seq: self.seq,
            method: head.method.clone(),
            uri: head.uri.clone(),
            version: head.version,
            headers: head.headers.clone(),
            body: body.clone(),
            status: None,
            answer: Bytes::new(),
            at,
            connection,
        });
        while self.lines.len() > self.kept {
            self.lines.pop_front();
            self.dropped += 1;
        }
        self.seq
    }

    /// Records the answer.
    pub(crate) fn answered(&mut self, seq: u64, status: StatusCode, answer: &Bytes) {
        let line = self.lines.iter_mut().rev().find(|line| line.seq == seq);
        if let Some(line) = line {
            line.status = Some(status);
            line.answer = answer.clone();
        }
    }

    pub(crate) fn shown(&self) -> Value {
        let requests: Vec<Value> = self.lines.iter().map(Line::shown).collect();
        json!({"requests": requests, "dropped": self.dropped})
    }
}

impl Line {
    fn shown(&self) -> Value {
        let path = self.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let mut headers = Map::new();
        for name in self.headers.keys() {
            let values = self.headers.get_all(name).iter();
            let mut values: Vec<Value> =
                values.map(|value| String::from_utf8_lossy(value.as_bytes()).into()).collect();
            let value = if values.len() == 1 { values.remove(0) } else { Value::Array(values) };
            headers.insert(name.as_str().to_owned(), value);
        }
        json!({
            "seq": self.seq, "method": self.method.as_str(), "path": path,
            "version": format!("{:?}", self.version), "headers": headers, "body": readable(&self.body),
            "status": self.status.map(|status| status.as_u16()), "answer": readable(&self.answer), "at": self.at.to_string(),
            "connection": self.connection,
        })
    }
}

/// Returns a body as JSON, as text, or null.
fn readable(body: &Bytes) -> Value {
    match serde_json::from_slice::<Value>(body) {
        _ if body.is_empty() => Value::Null,
        Ok(body) => body,
        Err(_) => Value::String(String::from_utf8_lossy(body).into_owned()),
    }
}
