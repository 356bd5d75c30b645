//! Permitted values of a key: types, bounds and words. This module checks and describes each, and defines it for the
//! schema.

use http::Uri;
use restore_generations::source_api;
use restore_ledger::{InvalidLedgerUrl, LedgerUrl};
use serde_json::{Value, json};

use super::faults::Code;
use super::keys::Key;
use super::nearest::nearest;

/// Permitted values of a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A table with these keys.
    Table(&'static [Key]),
    /// An array of tables with these keys.
    Tables(&'static [Key]),
    /// `true` or `false`.
    Flag,
    /// A whole number within bounds.
    Whole(u64, u64),
    /// Seconds, whole or decimal, within bounds.
    Seconds(f64, f64),
    /// A number from 0 to this.
    UpTo(f64),
    /// An IP address with a port.
    Address,
    /// An http or https URL without user, query or fragment.
    Url,
    /// The location of the ledger.
    LedgerAt,
    /// The name of an upstream.
    Name,
    /// Any non-empty text.
    Text,
    /// A reference to a secret: its variable or its file.
    Secret,
    /// `passthrough` or the name of a credential. Any other text may be a secret and is never shown.
    CredentialName,
    /// A built-in generation.
    Generation,
    /// A built-in source API.
    SourceApi,
    /// A list of inbound APIs: the canonical API, or built-in source APIs.
    WaysIn,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of these words.
    Words(&'static [&'static str]),
    /// The hash of an API key.
    KeyHash,
    /// A list of IDs.
    Ids,
    /// A list of texts.
    Texts,
    /// `0`, which means none, or a number of this kind.
    OrNone(&'static Kind),
}

use Kind::*;

/// The name of the canonical API among source APIs.
pub(super) const CANONICAL: &str = "canonical";

/// The error of a value.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Kind {
    /// Returns the value for a text of the environment or a default. Commas separate lists.
    pub(super) fn lex(&self, text: &str) -> Value {
        let number = || text.parse().map_or_else(|_| text.into(), Value::Number);
        match self {
            Flag => text.parse().map_or_else(|_| text.into(), Value::Bool),
            Whole(..) | Seconds(..) | UpTo(_) => number(),
            Words(_) | WaysIn | Ids | Texts => {
                text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()
            }
            Secret => match text.split_once(':') {
                Some((place @ ("env" | "file"), name)) => json!({ place: name }),
                _ => text.into(),
            },
            OrNone(kind) => kind.lex(text),
            _ => text.into(),
        }
    }

    /// Returns the value, if it is valid for a key of this kind.
    pub(super) fn check(&self, value: &Value, generations: &[&str]) -> Result<Value, Wrong> {
        let mistyped = || Wrong {
            code: Code::WrongType,
            message: format!("expected {}, found {}", self.describe(), found(value)),
            help: None,
        };
        match self {
            Table(_) | Tables(_) => Err(mistyped()),
            Flag => value.as_bool().map(Value::Bool).ok_or_else(mistyped),
            Whole(least, most) => {
                let number = value.as_i64().ok_or_else(mistyped)?;
                let fits = u64::try_from(number).is_ok_and(|number| (*least..=*most).contains(&number));
                if fits { Ok(value.clone()) } else { Err(outside(value, least, most)) }
            }
            Seconds(least, most) => {
                let number = value.as_f64().ok_or_else(mistyped)?;
                if (*least..=*most).contains(&number) {
                    Ok(value.clone())
                } else {
                    Err(outside(value, least, most))
                }
            }
            UpTo(most) => {
                let number = value.as_f64().ok_or_else(mistyped)?;
                if (0.0..=*most).contains(&number) { Ok(value.clone()) } else { Err(outside(value, 0, most)) }
            }
            OrNone(_) if value.as_f64() == Some(0.0) => Ok(Value::Null),
            OrNone(kind) => kind.check(value, generations),
            Words(_) | WaysIn | Ids | Texts => self.check_list(value.as_array().ok_or_else(mistyped)?),
            Secret => match super::secrets::Reference::read(value) {
                Some(_) => Ok(value.clone()),
                None => Err(Wrong {
                    code: Code::SecretInline,
                    message: "only a reference to a secret may stand here; what stands here is not shown"
                        .to_owned(),
                    help: Some(format!("write {}", self.describe())),
                }),
            },
            CredentialName => match value.as_str() {
                Some(name) if is_name(name) => Ok(value.clone()),
                _ => Err(Wrong {
                    code: Code::SecretInline,
                    message: "this is not the name of a credential; what stands here is not shown".to_owned(),
                    help: Some(SECRET_HELP.to_owned()),
                }),
            },
            _ => self.check_text(value.as_str().ok_or_else(mistyped)?, generations),
        }
    }

    fn check_text(&self, text: &str, generations: &[&str]) -> Result<Value, Wrong> {
        match self {
            Address => match text.parse::<std::net::SocketAddr>() {
                Ok(_) => Ok(text.into()),
                Err(_) => Err(bad(
                    format!("`{text}` is not an ip address with a port"),
                    "write it as `127.0.0.1:8080` or `[::1]:8080`",
                )),
            },
            Url => check_url(text),
            LedgerAt => check_ledger(text),
            Name => {
                if is_name(text) {
                    Ok(text.into())
                } else {
                    Err(bad(
                        format!("`{text}` is not a name"),
                        "use lower-case letters, digits and dashes, 40 at most",
                    ))
                }
            }
            KeyHash => match text.strip_prefix("sha256:").map(hex::decode) {
                Some(Ok(hash)) if hash.len() == 32 => Ok(text.into()),
                // The user may have written the API key itself here.
                _ => Err(Wrong {
                    code: Code::SecretInline,
                    message: "this is not the hash of a key; what stands here is not shown".to_owned(),
                    help: Some("`restore-gateway generate api-key` makes a key and its hash".to_owned()),
                }),
            },
            Generation => one_of(text, generations, "generation"),
            Word(words) => one_of(text, words, "word"),
            SourceApi => one_of(text, &source_api::names(), "word"),
            _ if text.trim().is_empty() => {
                Err(bad("this must not be empty".to_owned(), "write a value or leave out the key"))
            }
            _ => Ok(text.into()),
        }
    }

    fn check_list(&self, items: &[Value]) -> Result<Value, Wrong> {
        if items.is_empty() {
            return Err(bad("an empty list matches nothing".to_owned(), "leave out the key to match any"));
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        for item in items {
            match (self, item.as_str()) {
                (Words(words), Some(word)) => one_of(word, words, "word").map(drop)?,
                (WaysIn, Some(word)) => one_of(word, &ways_in(), "word").map(drop)?,
                (Texts, Some(text)) if text.trim() == text && !text.is_empty() => {}
                (Texts, Some(_)) => {
                    return Err(bad(
                        "a text in it is blank, or begins or ends with a blank".to_owned(),
                        "write it exactly",
                    ));
                }
                (_, Some(id)) if (1..=64).contains(&id.len()) && id.chars().all(legal) => {}
                (_, Some(id)) => {
                    return Err(bad(
                        format!("`{id}` is not an id"),
                        "an id has letters, digits, `-` and `_`, 64 at most",
                    ));
                }
                (_, None) => {
                    return Err(Wrong {
                        code: Code::WrongType,
                        message: format!("expected {}, found {} in it", self.describe(), found(item)),
                        help: None,
                    });
                }
            }
        }
        Ok(items.into())
    }

    /// Returns a description of the permitted values for people.
    pub(super) fn describe(&self) -> String {
        match self {
            Table(_) => "a table".to_owned(),
            Tables(_) => "an array of tables".to_owned(),
            Flag => "true or false".to_owned(),
            Whole(least, most) => format!("a whole number from {least} to {most}"),
            Seconds(least, most) => format!("seconds from {least} to {most}"),
            UpTo(most) => format!("a number from 0 to {most}"),
            Address => "an ip address with a port".to_owned(),
            Url => "an http or https url".to_owned(),
            LedgerAt => "`sqlite:PATH`, `postgres://user@host:port/database` or `memory:`".to_owned(),
            Secret => "`{ env = \"NAME\" }` or `{ file = \"PATH\" }`".to_owned(),
            Name => "a name".to_owned(),
            Text => "text".to_owned(),
            CredentialName => "`passthrough` or the name of a credential".to_owned(),
            Generation => "the name of a generation".to_owned(),
            Word(words) => format!("one of {}", words.join(", ")),
            Words(words) => format!("a list of {}", words.join(", ")),
            SourceApi => format!("one of {}", source_api::names().join(", ")),
            WaysIn => format!("a list of {}", ways_in().join(", ")),
            KeyHash => "`sha256:` and 64 hexadecimal digits".to_owned(),
            Ids => "a list of ids".to_owned(),
            Texts => "a list of texts".to_owned(),
            OrNone(kind) => format!("0, or {}", kind.describe()),
        }
    }

    /// Returns a description of the permitted values for JSON Schema.
    pub(super) fn schema(&self) -> Value {
        match self {
            Table(keys) => super::schema::of_table(keys),
            Tables(keys) => json!({"type": "array", "minItems": 1, "items": super::schema::of_table(keys)}),
            Flag => json!({"type": "boolean"}),
            Whole(least, most) => json!({"type": "integer", "minimum": least, "maximum": most}),
            Seconds(least, most) => {
                json!({"type": "number", "minimum": shortest(*least), "maximum": shortest(*most)})
            }
            UpTo(most) => json!({"type": "number", "minimum": 0, "maximum": shortest(*most)}),
            Address => {
                json!({"type": "string", "pattern": "^(\\d+(\\.\\d+){3}|\\[[0-9a-fA-F:.]+\\]):\\d{1,5}$"})
            }
            Url => json!({"type": "string", "pattern": "^https?://[^/@?#]+(/[^?#]*)?$"}),
            LedgerAt => {
                json!({"type": "string", "pattern": "^(memory:$|sqlite:(/?[^:/])|postgres(ql)?://[^:/@?#]+@[^/@?#]*/[^/@?#]+(\\?[^@#]*)?$)"})
            }
            Secret => {
                let reference = |place: &str, about: &str| {
                    json!({"type": "object", "additionalProperties": false, "required": [place],
                        "properties": {place: {"type": "string", "minLength": 1, "description": about}}})
                };
                json!({"oneOf": [
                    reference("env", "Name of the environment variable with the secret."),
                    reference("file", "Path of the file with the secret."),
                ]})
            }
            Name => json!({"type": "string", "pattern": "^[a-z0-9-]{1,40}$"}),
            Text | Generation => json!({"type": "string", "minLength": 1}),
            CredentialName => json!({"type": "string", "pattern": "^[a-z0-9-]{1,40}$"}),
            Word(words) => json!({"enum": words}),
            Words(words) => json!({"type": "array", "minItems": 1, "items": {"enum": words}}),
            SourceApi => json!({"enum": source_api::names()}),
            WaysIn => json!({"type": "array", "minItems": 1, "items": {"enum": ways_in()}}),
            Ids => {
                json!({"type": "array", "minItems": 1, "items": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}})
            }
            KeyHash => json!({"type": "string", "pattern": "^sha256:[0-9a-fA-F]{64}$"}),
            Texts => json!({"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}}),
            OrNone(kind) => json!({"anyOf": [{"const": 0}, kind.schema()]}),
        }
    }
}

/// Returns the APIs that accept restores: the canonical one, and the source APIs.
fn ways_in() -> Vec<&'static str> {
    std::iter::once(CANONICAL).chain(source_api::names()).collect()
}

fn is_name(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=40).contains(&text.len()) && text.chars().all(legal)
}

/// Returns a whole number without its `.0`.
fn shortest(number: f64) -> Value {
    if number.fract() == 0.0 { (number as i64).into() } else { number.into() }
}

/// Advice for a secret in the file.
pub(super) const SECRET_HELP: &str =
    "keep secrets out of the configuration: callers bring their own token with each request";

/// Returns true if a URL contains a user, and so perhaps a password.
pub(super) fn has_user(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@'))
}

fn check_ledger(text: &str) -> Result<Value, Wrong> {
    let (scheme, rest) = text.split_once(':').unwrap_or_default();
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    // A separate check, because parsing may find another error first.
    let holds_password = rest.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
        || form_urlencoded::parse(query.as_bytes()).any(|(name, _)| super::secrets::is_secret(&name));
    let password = || Wrong {
        code: Code::SecretInline,
        message: "the url holds a password, which is not shown".to_owned(),
        help: Some("leave it out of the url; `ledger.password` refers to it".to_owned()),
    };
    if scheme.starts_with("postgres") && holds_password {
        return Err(password());
    }
    // Other tools write `sqlite://…` and `sqlite::memory:`; here they would create files with that name.
    let foreign = text.starts_with("sqlite://") || text.starts_with("sqlite::");
    match text.parse::<LedgerUrl>() {
        Ok(_) if !foreign => Ok(text.into()),
        Err(InvalidLedgerUrl::Password) => Err(password()),
        Err(InvalidLedgerUrl::Postgres(why)) => {
            let help = "write it as `postgres://user@host:port/database?sslmode=verify-full`";
            Err(bad(format!("the url {why}"), help))
        }
        _ => {
            let help = "write `sqlite:PATH`, `postgres://user@host:port/database` or `memory:`";
            Err(bad("this is not where a ledger can be".to_owned(), help))
        }
    }
}

fn check_url(text: &str) -> Result<Value, Wrong> {
    if has_user(text) {
        return Err(Wrong {
            code: Code::SecretInline,
            message: "the url names a user, which is not shown".to_owned(),
            help: Some(SECRET_HELP.to_owned()),
        });
    }
    if text.contains(['?', '#']) {
        return Err(bad(
            "the url has a query or a fragment".to_owned(),
            "only scheme, host, port and a path may stand here",
        ));
    }
    let legal = |uri: &Uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|h| !h.is_empty())
    };
    match text.parse::<Uri>() {
        Ok(uri) if legal(&uri) => Ok(text.into()),
        _ => Err(bad(
            format!("`{text}` is not an http or https url"),
            "write it as `https://host` or `https://host:port/path`",
        )),
    }
}

fn one_of(text: &str, words: &[&str], what: &str) -> Result<Value, Wrong> {
    if words.contains(&text) {
        return Ok(text.into());
    }
    let allowed = format!("allowed: {}", words.join(", "));
    let help = match nearest(text, words.iter().copied()) {
        Some(word) => format!("did you mean `{word}`? {allowed}"),
        None => allowed,
    };
    let (code, message) = match what {
        "generation" => (Code::UnknownGeneration, format!("unknown generation `{text}`")),
        _ => (Code::BadValue, format!("`{text}` is not allowed here")),
    };
    Err(Wrong { code, message, help: Some(help) })
}

fn outside(value: &Value, least: impl std::fmt::Display, most: impl std::fmt::Display) -> Wrong {
    bad(format!("{value} is out of bounds"), &format!("from {least} to {most}"))
}

fn bad(message: String, help: &str) -> Wrong {
    Wrong { code: Code::BadValue, message, help: Some(help.to_owned()) }
}

/// Returns the type of a written value.
pub(super) fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "a date or a number that is not finite",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a decimal number",
        Value::Number(_) => "a whole number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}
