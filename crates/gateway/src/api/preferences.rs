//! Headers and query parameters of callers, parsed strictly. An unknown value is rejected if ignoring it would change
//! the meaning of the request, and ignored if a standard says so.

use std::time::Duration;

use http::HeaderMap;
use restore_ledger::Query;
use restore_model::{Code, Id, Problem, ProjectId, RestoreId, Status};

/// Longest idempotency key, in characters.
const MAX_KEY: usize = 255;

fn refuse(detail: impl Into<String>) -> Problem {
    Problem::new(Code::InvalidParameter, detail)
}

/// `Idempotency-Key`, quoted as the IETF draft has it or bare as most clients send it.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let key = quoted.unwrap_or(text);
    // A structured string may hold spaces; a bare word may not. Escapes are not needed for a key.
    let lowest = if quoted.is_some() { b' ' } else { b'!' };
    let fits = (1..=MAX_KEY).contains(&key.len())
        && key.bytes().all(|byte| (lowest..=b'~').contains(&byte) && !matches!(byte, b'"' | b'\\'));
    if fits {
        Ok(Some(key.to_owned()))
    } else {
        Err(refuse(format!("header Idempotency-Key takes 1 to {MAX_KEY} visible characters")))
    }
}

/// `Prefer: wait=N` (RFC 7240), capped. Preferences that are not known are ignored, as the standard
/// says.
pub(super) fn wait(headers: &HeaderMap, cap: Duration) -> Option<Duration> {
    headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|preference| {
            let (name, value) = preference.split_once('=')?;
            let seconds: u64 = value.split(';').next()?.trim().trim_matches('"').parse().ok()?;
            name.trim().eq_ignore_ascii_case("wait").then(|| Duration::from_secs(seconds).min(cap))
        })
}

/// The filters of a list. An unknown one is refused: a list that silently ignores a filter lies.
pub(super) fn list(query: Option<&str>, max_page_size: usize) -> Result<Query, Problem> {
    let mut wanted = Query { limit: max_page_size, ..Query::default() };
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*name {
            "project_id" => {
                let project: ProjectId =
                    value.parse().map_err(|error| refuse(format!("query project_id: {error}")))?;
                wanted.project_id = Some(project);
            }
            "status" => {
                for word in value.split(',') {
                    let status = Status::from_word(word).ok_or_else(|| {
                        let words: Vec<_> = Status::ALL.iter().map(|status| status.as_str()).collect();
                        refuse(format!("query status is one of {}", words.join(", ")))
                    })?;
                    wanted.status.push(status);
                }
            }
            "target" => {
                let target: Id = value.parse().map_err(|error| refuse(format!("query target: {error}")))?;
                wanted.target = Some(target.folded());
            }
            "cursor" => {
                let before: RestoreId =
                    value.parse().map_err(|_| refuse("query cursor is what next said"))?;
                wanted.before = Some(before);
            }
            "limit" => {
                let limit: usize = value.parse().map_err(|_| refuse("query limit is a whole number"))?;
                if limit == 0 {
                    return Err(refuse("query limit is at least 1"));
                }
                wanted.limit = limit.min(max_page_size);
            }
            _ => return Err(refuse("query parameters are project_id, status, target, limit and cursor")),
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(name), HeaderValue::from_static(value))])
    }

    #[test]
    fn keys_come_quoted_or_bare() {
        let key = |value| idempotency_key(&headers("idempotency-key", value));
        assert_eq!(key("\"8e03978e-40d5\"").unwrap().as_deref(), Some("8e03978e-40d5"));
        assert_eq!(key("8e03978e-40d5").unwrap().as_deref(), Some("8e03978e-40d5"));
        assert_eq!(key("\"a key of words\"").unwrap().as_deref(), Some("a key of words"));
        for bad in ["", "\"\"", "a b", "a\"b", "\"a\\\\b\""] {
            assert!(key(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn waits_are_capped_and_other_preferences_ignored() {
        let wait = |value| wait(&headers("prefer", value), Duration::from_secs(60));
        assert_eq!(wait("wait=5"), Some(Duration::from_secs(5)));
        assert_eq!(wait("respond-async, wait=\"7\""), Some(Duration::from_secs(7)));
        assert_eq!(wait("Wait = 1000000000"), Some(Duration::from_secs(60)));
        assert_eq!(wait("return=minimal"), None);
        assert_eq!(wait("wait=-1"), None);
    }

    #[test]
    fn lists_are_filtered_strictly_and_capped() {
        let query = list(Some("status=running,unknown&limit=1000000000"), 100).unwrap();
        assert_eq!((query.status.len(), query.limit), (2, 100));
        for bad in
            ["limit=0", "limit=-1", "stat=running", "status=done", "cursor=1", "project_id=x", "target=a/b"]
        {
            assert!(list(Some(bad), 100).is_err(), "{bad}");
        }
    }
}
