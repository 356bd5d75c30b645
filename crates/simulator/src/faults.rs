//! Fault plans: the affected requests, the number of faults, and their effect. `service` plays the faults that this
//! module selects.

use std::collections::BTreeMap;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, LOCATION};
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::Answer;

/// The body of `POST /_sim/faults`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanBody {
    faults: Vec<Fault>,
}

/// One fault. Several actions may be combined.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    #[serde(rename = "match", default)]
    pattern: Pattern,
    /// Number of times that it is played; 0 means always.
    #[serde(default = "once")]
    times: u32,
    /// Number of matching requests that pass first.
    #[serde(default)]
    after: u32,
    /// True if the call is really carried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    applied: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<FaultAnswer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect: Option<Redirect>,
    #[serde(default)]
    pub(crate) delay_ms: u64,
    #[serde(default)]
    pub(crate) stall: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reset: Option<Reset>,
    #[serde(default)]
    pub(crate) close_idle: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) truncate_body: Option<usize>,
    /// Compresses the answer, even if the client does not accept it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) coding: Option<Coding>,
    /// Headers that replace those of any answer, as from a proxy, or from a cloud with a wrong clock.
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

fn once() -> u32 {
    1
}

/// Selects requests. A missing member matches everything.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pattern {
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    /// A path with `*` for any run of characters; the query counts only if the pattern has a `?`.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<String>,
    /// Only the n-th request that matches the other members, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    nth: Option<u32>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultAnswer {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_raw: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Redirect {
    url: String,
    #[serde(default = "temporary")]
    status: u16,
}

fn temporary() -> u16 {
    307
}

/// Point at which a connection is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reset {
    Before,
    AfterApply,
    MidHead,
    MidBody,
}

/// Compression of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Coding {
    Gzip,
    Deflate,
    /// Without zlib's frame, which some servers send under the name `deflate`.
    RawDeflate,
    /// Brotli, in a block that is not compressed.
    Br,
}

impl Coding {
    /// Returns its name in `Content-Encoding`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate | Self::RawDeflate => "deflate",
            Self::Br => "br",
        }
    }

    pub(crate) fn encode(self, body: &[u8]) -> Vec<u8> {
        use flate2::Compression;
        use flate2::read::{DeflateEncoder, GzEncoder, ZlibEncoder};
        use std::io::Read;
        let mut coded = Vec::new();
        // Reading a slice never fails.
        let _ = match self {
            Self::Gzip => GzEncoder::new(body, Compression::fast()).read_to_end(&mut coded),
            Self::Deflate => ZlibEncoder::new(body, Compression::fast()).read_to_end(&mut coded),
            Self::RawDeflate => DeflateEncoder::new(body, Compression::fast()).read_to_end(&mut coded),
            Self::Br => {
                // Blocks of at most 65,536 bytes, each with: not the last block, four nibbles of length, not
                // compressed.
                for (number, block) in body.chunks(65_536).enumerate() {
                    let length = block.len() - 1;
                    if number == 0 {
                        // One more bit precedes the first block: a window of 16 bits.
                        coded.extend_from_slice(&((length << 4) | (1 << 20)).to_le_bytes()[..3]);
                    } else {
                        coded.extend_from_slice(&((length << 3) | (1 << 19)).to_le_bytes()[..3]);
                    }
                    coded.extend_from_slice(block);
                }
                // The last block, which is empty; the window precedes it if there was no other block.
                coded.push(if body.is_empty() { 6 } else { 3 });
                Ok(0)
            }
        };
        coded
    }
}

impl Fault {
    /// Returns true if the call is carried out: as configured, otherwise unless the fault replaces the answer.
    pub(crate) fn is_applied(&self) -> bool {
        let replaced = self.answer.is_some() || self.redirect.is_some() || self.stall;
        match self.reset {
            Some(Reset::Before) => false,
            Some(Reset::AfterApply) => true,
            _ => self.applied.unwrap_or(!replaced),
        }
    }

    /// Returns the answer that replaces the cloud's own.
    pub(crate) fn instead(&self) -> Option<Answer> {
        if let Some(answer) = &self.answer {
            return Some(answer.spoken());
        }
        let redirect = self.redirect.as_ref()?;
        Some(Answer::empty(status(redirect.status)).with_header(LOCATION, &redirect.url))
    }

    /// Returns the answer as an intermediary between the cloud and its client changes it.
    pub(crate) fn changed(&self, mut answer: Answer) -> Answer {
        for (name, value) in &self.headers {
            if let Ok(name) = HeaderName::try_from(name) {
                answer.headers.retain(|(own, _)| *own != name);
                answer = answer.with_header(name, value);
            }
        }
        if let Some(coding) = self.coding {
            answer.body = coding.encode(&answer.body).into();
            answer = answer.with_header(CONTENT_ENCODING, coding.name());
        }
        answer
    }

    fn check(&self) -> Result<(), String> {
        let does_something = self.answer.is_some()
            || self.redirect.is_some()
            || self.delay_ms > 0
            || self.stall
            || self.reset.is_some()
            || self.close_idle
            || !self.headers.is_empty()
            || self.truncate_body.is_some()
            || self.coding.is_some();
        if !does_something {
            return Err("a fault has no action".to_owned());
        }
        let statuses = self.answer.iter().map(|answer| answer.status);
        for code in statuses.chain(self.redirect.iter().map(|redirect| redirect.status)) {
            if !(200..=599).contains(&code) {
                return Err(format!("status {code} is not one of 200 to 599"));
            }
        }
        let answers = self.answer.iter().flat_map(|answer| &answer.headers);
        for (name, value) in answers.chain(&self.headers) {
            if HeaderName::try_from(name).is_err() || HeaderValue::from_str(value).is_err() {
                return Err(format!("headers: {name:?} can not be sent"));
            }
        }
        if self.answer.as_ref().is_some_and(|answer| answer.body.is_some() && answer.body_raw.is_some()) {
            return Err("body and body_raw exclude each other".to_owned());
        }
        if let Some(generation) = &self.pattern.generation {
            let known = ["csbs-v1", "cbr-v3", "vbs-v2", "cinder-v3", "evs", "iam"];
            if !known.contains(&generation.as_str()) {
                return Err(format!("generation {generation:?} is not one of {}", known.join(", ")));
            }
        }
        match (self.reset, self.applied) {
            (Some(Reset::Before), Some(true)) => Err("reset before excludes applied".to_owned()),
            (Some(Reset::AfterApply), Some(false)) => Err("reset after_apply is applied".to_owned()),
            _ => Ok(()),
        }
    }
}

impl FaultAnswer {
    fn spoken(&self) -> Answer {
        let code = status(self.status);
        let mut answer = match (&self.body, &self.body_raw) {
            (Some(Value::String(text)), _) => Answer::typed(code, "text/plain", text.clone()),
            (Some(body), _) => Answer::json(code, body),
            (None, Some(raw)) => Answer { body: raw.clone().into(), ..Answer::empty(code) },
            (None, None) => Answer::empty(code),
        };
        for (name, value) in &self.headers {
            if let Ok(name) = HeaderName::try_from(name) {
                if name == CONTENT_TYPE {
                    answer = answer.without_content_type();
                }
                answer = answer.with_header(name, value);
            }
        }
        answer
    }
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_GATEWAY)
}

/// A request in the form that patterns match.
#[derive(Debug)]
pub(crate) struct Sight<'a> {
    pub(crate) method: &'a str,
    /// The original path, with the cloud's prefix.
    pub(crate) full_path: &'a str,
    /// Without the prefix.
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    pub(crate) generation: Option<&'a str>,
}

#[derive(Debug, Clone)]
struct Entry {
    fault: Fault,
    seen: u32,
    played: u32,
}

/// The active faults. The first that is due is played; every matching fault counts the request.
#[derive(Debug, Default)]
pub(crate) struct Plan(Vec<Entry>);

impl Plan {
    /// Parses a plan; the error names the invalid member.
    pub(crate) fn read(body: &[u8]) -> Result<Self, String> {
        let body: PlanBody = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        for (number, fault) in body.faults.iter().enumerate() {
            fault.check().map_err(|why| format!("faults[{number}]: {why}"))?;
        }
        let entry = |fault| Entry { fault, seen: 0, played: 0 };
        Ok(Self(body.faults.into_iter().map(entry).collect()))
    }

    pub(crate) fn pick(&mut self, sight: &Sight<'_>) -> Option<Fault> {
        let mut picked = None;
        for entry in &mut self.0 {
            if !entry.fault.pattern.fits(sight) {
                continue;
            }
            entry.seen += 1;
            let nth = entry.fault.pattern.nth.is_none_or(|nth| nth == entry.seen);
            let left = entry.fault.times == 0 || entry.played < entry.fault.times;
            if picked.is_none() && nth && left && entry.seen > entry.fault.after {
                entry.played += 1;
                picked = Some(entry.fault.clone());
            }
        }
        picked
    }

    pub(crate) fn shown(&self) -> Value {
        let lines = self.0.iter().map(|entry| {
            let left = entry.fault.times.saturating_sub(entry.played);
            let remaining = (entry.fault.times > 0).then_some(left);
            let mut line = json!(entry.fault);
            line["seen"] = json!(entry.seen);
            line["played"] = json!(entry.played);
            line["remaining"] = json!(remaining);
            line
        });
        json!({"faults": lines.collect::<Vec<_>>()})
    }
}

impl Pattern {
    fn fits(&self, sight: &Sight<'_>) -> bool {
        let path = self.path.as_deref().is_none_or(|pattern| {
            [sight.full_path, sight.path].into_iter().any(|path| match sight.query {
                Some(query) if pattern.contains('?') => glob(pattern, &format!("{path}?{query}")),
                _ => glob(pattern, path),
            })
        });
        path && self.method.as_deref().is_none_or(|method| method.eq_ignore_ascii_case(sight.method))
            && self.generation.as_deref().is_none_or(|wanted| sight.generation == Some(wanted))
    }
}

/// Matches text; `*` matches any run of characters, slashes included.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(head) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or_default();
    for part in parts {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(path: &str) -> Sight<'_> {
        Sight { method: "POST", full_path: path, path, query: None, generation: Some("cbr-v3") }
    }

    #[test]
    fn a_glob_spans_slashes_and_is_anchored() {
        assert!(glob("/v3/*/restore", "/v3/p/backups/b/restore"));
        assert!(glob("*", "/anything") && glob("/a*b*c", "/a-b-b-c"));
        assert!(!glob("/v3/*/restore", "/v3/p/backups/b/restores"));
        assert!(!glob("/v3", "/v3/p") && !glob("/a*a", "/a"));
    }

    #[test]
    fn times_after_and_nth_are_counted_by_matches() {
        let plan = r#"{"faults":[
            {"match":{"path":"/x"},"after":1,"times":2,"answer":{"status":502}},
            {"match":{"path":"/y","nth":3},"stall":true}]}"#;
        let mut plan = Plan::read(plan.as_bytes()).unwrap();
        let picked: Vec<_> = (0..5).map(|_| plan.pick(&sight("/x")).is_some()).collect();
        assert_eq!(picked, [false, true, true, false, false]);
        let picked: Vec<_> = (0..4).map(|_| plan.pick(&sight("/y")).is_some()).collect();
        assert_eq!(picked, [false, false, true, false]);
        assert_eq!(plan.shown()["faults"][0]["remaining"], 0);
        assert!(plan.pick(&sight("/z")).is_none());
    }

    #[test]
    fn what_a_plan_does_not_know_is_named() {
        let wrong = |plan: &str| Plan::read(plan.as_bytes()).unwrap_err();
        assert!(wrong(r#"{"faults":[{"stal":true}]}"#).contains("stal"));
        assert!(wrong(r#"{"faults":[{"match":{"host":"x"},"stall":true}]}"#).contains("host"));
        assert!(wrong(r#"{"faults":[{}]}"#).contains("faults[0]"));
        assert!(wrong(r#"{"faults":[{"answer":{"status":99}}]}"#).contains("99"));
        assert!(wrong(r#"{"faults":[{"reset":"before","applied":true}]}"#).contains("applied"));
        assert!(wrong(r#"{"faults":[{"match":{"generation":"cbr"},"stall":true}]}"#).contains("cbr"));
    }

    #[test]
    fn a_call_is_carried_out_unless_something_answers_in_its_place() {
        let applied = |fault: &str| serde_json::from_str::<Fault>(fault).unwrap().is_applied();
        assert!(applied(r#"{"delay_ms":5}"#) && applied(r#"{"reset":"mid_body"}"#));
        assert!(applied(r#"{"truncate_body":3}"#) && applied(r#"{"reset":"after_apply"}"#));
        assert!(!applied(r#"{"answer":{"status":502}}"#) && !applied(r#"{"stall":true}"#));
        assert!(!applied(r#"{"reset":"before"}"#) && !applied(r#"{"redirect":{"url":"http://x/"}}"#));
        assert!(applied(r#"{"answer":{"status":502},"applied":true}"#));
        assert!(!applied(r#"{"reset":"mid_head","applied":false}"#));
    }
}
