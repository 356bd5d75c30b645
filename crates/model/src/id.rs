//! Identifiers that are safe by type: an existing [`Id`] can be part of a path, a log line or a lock key without
//! another check. They are parsed at the edge and never checked again.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::clock::Timestamp;

/// The error for a text that is not an ID. It does not contain the text, which comes from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Not `^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`.
    #[error("an id has 1 to 64 characters out of A-Z a-z 0-9 _ - and begins with a letter or digit")]
    Id,
    /// Not `^[0-9a-f]{32}$`.
    #[error("a project id has 32 lower-case hexadecimal digits")]
    Project,
    /// Not a UUID.
    #[error("a restore id is a UUID")]
    Restore,
}

/// A backup, checkpoint, server, volume or resource ID: `^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`.
///
/// The clouds' documentation says only "String" and shows UUIDs and 32 hexadecimal digits (cloud APIs 0). This is the
/// widest pattern that always stays one path segment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(Box<str>);

/// A project ID: 32 lower-case hexadecimal digits, as IAM creates them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProjectId(Box<str>);

impl Id {
    /// Returns the ID in a normalized form that all spellings share: lower case, no dashes. Locks use it, so that
    /// `C0FFEE00-…` and `c0ffee00…` exclude each other.
    #[must_use]
    pub fn folded(&self) -> String {
        let mut folded = String::with_capacity(self.0.len());
        folded.extend(self.folded_bytes().map(char::from));
        folded
    }

    /// Returns the ID in a normalized form with the usual spelling: a UUID with its dashes, anything else as in
    /// [`Id::folded`].
    #[must_use]
    pub fn usual(&self) -> String {
        let folded = self.folded();
        if folded.len() != 32 || !folded.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return folded;
        }
        [&folded[..8], &folded[8..12], &folded[12..16], &folded[16..20], &folded[20..]].join("-")
    }

    /// Returns true if both are spellings of the same ID. It equals a comparison of [`Id::folded`], without the copies.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.folded_bytes().eq(other.folded_bytes())
    }

    fn folded_bytes(&self) -> impl Iterator<Item = u8> + '_ {
        // An id is ASCII by type.
        self.0.bytes().filter(|byte| *byte != b'-').map(|byte| byte.to_ascii_lowercase())
    }
}

fn is_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=64).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

fn is_project(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

macro_rules! text_id {
    ($name:ident, $check:path, $error:expr) => {
        impl $name {
            /// Returns the text in its original spelling.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                if $check(text) { Ok(Self(text.into())) } else { Err($error) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

text_id!(Id, is_id, InvalidId::Id);
text_id!(ProjectId, is_project, InvalidId::Project);

/// The gateway's own ID of a restore: a UUID, version 7, so that a list sorts by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RestoreId(uuid::Uuid);

impl RestoreId {
    /// Creates a new ID for a restore that is accepted at `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        let micros = now.as_micros().max(0);
        let seconds = u64::try_from(micros / 1_000_000).unwrap_or(0);
        let nanos = u32::try_from(micros % 1_000_000).unwrap_or(0) * 1_000;
        Self(uuid::Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos)))
    }
}

impl RestoreId {
    /// Returns a lower bound for the IDs of restores that are accepted at `now` or later: for searches by time.
    #[must_use]
    pub fn least_at(now: Timestamp) -> Self {
        let millis = u64::try_from(now.as_micros() / 1_000).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid())
    }

    /// Returns a number that distributes restores evenly, from the random part of the ID.
    #[must_use]
    pub fn spread(&self) -> u16 {
        let bytes = self.0.as_bytes();
        u16::from_be_bytes([bytes[14], bytes[15]])
    }
}

impl FromStr for RestoreId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        // Only the dashed form: one restore has one URL.
        if text.len() != 36 {
            return Err(InvalidId::Restore);
        }
        uuid::Uuid::try_parse(text).map(Self).map_err(|_| InvalidId::Restore)
    }
}

impl fmt::Display for RestoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for RestoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_could_leave_their_path_segment_are_refused() {
        let hostile = [
            "",
            "../../x",
            "..%2f..%2fx",
            "%2e%2e/",
            "a/b",
            "a?b=c",
            "a#b",
            "a%00b",
            "a\0b",
            "a\u{2215}b",
            "a\u{ff0f}b",
            "-a",
            "_a",
            "a b",
            "a.b",
            "a\r\nb",
        ];
        for text in hostile {
            assert_eq!(text.parse::<Id>(), Err(InvalidId::Id), "{text:?}");
        }
        assert!("a".repeat(65).parse::<Id>().is_err());
        assert!("a".repeat(64).parse::<Id>().is_ok());
    }

    #[test]
    fn project_ids_are_32_lower_case_hex() {
        assert!("0a1b2c3d4e5f60718293a4b5c6d7e8f9".parse::<ProjectId>().is_ok());
        for text in ["0A1B2C3D4E5F60718293A4B5C6D7E8F9", "{0a1b2c3d4e5f60718293a4b5c6d7e8}", "0a1b"] {
            assert!(text.parse::<ProjectId>().is_err(), "{text}");
        }
    }

    #[test]
    fn two_spellings_of_one_id_fold_to_the_same() {
        let upper: Id = "C0FFEE00-1111-4222-8333-444455556666".parse().unwrap();
        let plain: Id = "c0ffee00111142228333444455556666".parse().unwrap();
        assert_eq!(upper.folded(), plain.folded());
    }

    #[test]
    fn restore_ids_sort_by_time() {
        let early = RestoreId::at(Timestamp::from_micros(1_700_000_000_000_000));
        let late = RestoreId::at(Timestamp::from_micros(1_700_000_000_002_000));
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!(early.to_string().parse::<RestoreId>(), Ok(early));
        let least = RestoreId::least_at(Timestamp::from_micros(1_700_000_000_002_000));
        assert!(early < least && least < late && least.to_string() < late.to_string());
        assert!(RestoreId::least_at(Timestamp::from_micros(-1)) < early);
    }
}
