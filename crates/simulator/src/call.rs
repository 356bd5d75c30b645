//! One request for a cloud's handler: already routed and authorised, its body not validated yet.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};
use jiff::Timestamp;
use serde::de::DeserializeOwned;

/// The cloud that a request goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Cloud {
    Csbs,
    Cbr,
    Vbs,
    Evs,
    Iam,
    Cinder,
}

impl Cloud {
    /// If paths collide, the first cloud in this list gets the request.
    pub(crate) const ALL: [Cloud; 6] =
        [Cloud::Csbs, Cloud::Cbr, Cloud::Vbs, Cloud::Evs, Cloud::Iam, Cloud::Cinder];

    /// The name in a path prefix and before the first dot of a host name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Cloud::Csbs => "csbs",
            Cloud::Cbr => "cbr",
            Cloud::Vbs => "vbs",
            Cloud::Evs => "evs",
            Cloud::Iam => "iam",
            Cloud::Cinder => "cinder",
        }
    }

    /// The name in fault plans.
    pub(crate) fn generation(self) -> &'static str {
        match self {
            Cloud::Csbs => "csbs-v1",
            Cloud::Cbr => "cbr-v3",
            Cloud::Vbs => "vbs-v2",
            Cloud::Cinder => "cinder-v3",
            other => other.name(),
        }
    }
}

/// A request for a handler.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: &'a Method,
    /// Without the cloud's prefix, without the query.
    pub(crate) path: &'a str,
    /// Path and query, unchanged.
    pub(crate) target: &'a str,
    pub(crate) params: Vec<(String, String)>,
    pub(crate) query: Query,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a Bytes,
    pub(crate) now: Timestamp,
    pub(crate) request_id: &'a str,
    /// `http://host:port` from the client's request, for the catalog and for links.
    pub(crate) base_url: &'a str,
}

impl Call<'_> {
    /// Returns a path parameter; empty if the route has none with that name.
    pub(crate) fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn project(&self) -> &str {
        self.param("project_id")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns true for `application/json` with any parameters, in any case.
    pub(crate) fn is_json(&self) -> bool {
        self.header(CONTENT_TYPE.as_str()).is_some_and(|value| {
            let essence = value.split(';').next().unwrap_or_default().trim();
            essence.eq_ignore_ascii_case("application/json")
        })
    }

    /// Parses the body as the documented type: unknown members, wrong types, missing members and duplicates are errors.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_slice(self.body).map_err(|error| error.to_string())
    }
}

/// A decoded query string, in order, repeated names kept.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(raw: &str) -> Self {
        let pair = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(name), decode(value))
        };
        Self(raw.split('&').filter(|part| !part.is_empty()).map(pair).collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns every value of a repeated name.
    pub(crate) fn all<'q>(&'q self, name: &'q str) -> impl Iterator<Item = &'q str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns true if the name is absent or one of its values is this one.
    pub(crate) fn admits(&self, name: &str, value: &str) -> bool {
        self.get(name).is_none() || self.all(name).any(|wanted| wanted == value)
    }

    /// Returns true if the name is absent or its value is a part of this one.
    pub(crate) fn admits_part(&self, name: &str, value: &str) -> bool {
        self.get(name).is_none_or(|wanted| value.contains(wanted))
    }
}

/// Start and maximum length of a page of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) limit: usize,
    pub(crate) offset: usize,
}

impl Page {
    /// `limit` 1..=1000 (default 1000), `offset` from 0.
    pub(crate) fn of(query: &Query) -> Result<Self, &'static str> {
        let number = |name: &str, default: usize| query.get(name).map_or(Ok(default), str::parse);
        let limit = number("limit", 1000).map_err(|_| "limit is not a number")?;
        let offset = number("offset", 0).map_err(|_| "offset is not a number")?;
        if limit == 0 || limit > 1000 {
            return Err("limit must be 1 to 1000");
        }
        Ok(Self { limit, offset })
    }

    pub(crate) fn cut<T>(self, rows: Vec<T>) -> Vec<T> {
        rows.into_iter().skip(self.offset).take(self.limit).collect()
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = match (first, tail) {
            (b'%', [high, low, after @ ..]) => hex(*high).zip(hex(*low)).map(|(h, l)| (h * 16 + l, after)),
            _ => None,
        };
        let (byte, after) = escaped.unwrap_or((if first == b'+' { b' ' } else { first }, tail));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// A dashed UUID of hex digits, in any case.
pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_and_keeps_repeats() {
        let query = Query::parse("name=nightly%20a+b&status=available&status=error&bad=%zz");
        assert_eq!(query.get("name"), Some("nightly a b"));
        assert!(query.admits("status", "error") && !query.admits("status", "deleting"));
        assert_eq!(query.get("bad"), Some("%zz"));
    }

    #[test]
    fn a_page_is_bounded() {
        assert_eq!(Page::of(&Query::parse("limit=5&offset=2")), Ok(Page { limit: 5, offset: 2 }));
        assert!(Page::of(&Query::parse("limit=0")).is_err());
        assert!(Page::of(&Query::parse("limit=1001")).is_err());
        assert!(Page::of(&Query::parse("offset=-1")).is_err());
    }

    #[test]
    fn only_dashed_uuids_are_ids() {
        assert!(is_uuid("0f9e8d7c-6b5a-4948-8372-615049382716"));
        assert!(!is_uuid("0f9e8d7c6b5a49488372615049382716"));
        assert!(!is_uuid("../../x"));
    }
}
