//! Location of a ledger, as configuration and command line write it.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Location of a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerUrl {
    /// `memory:`, lost with the process.
    Memory,
    /// `sqlite:PATH`.
    Sqlite(PathBuf),
    /// `postgres://USER@HOST:PORT/DATABASE?sslmode=…&sslrootcert=…`, or `postgresql:`.
    Postgres(PostgresUrl),
}

/// The error for a text that is not a ledger URL of this version. It does not contain the text, which may hold a
/// secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidLedgerUrl {
    /// Unknown kind.
    #[error("a ledger is \"memory:\", \"sqlite:PATH\" or \"postgres://USER@HOST/DATABASE\"")]
    Unknown,
    /// The URL contains a password.
    #[error(
        "a password does not belong into the ledger's URL, where it would be shown; give it by reference"
    )]
    Password,
    /// An invalid PostgreSQL URL.
    #[error("the ledger's PostgreSQL URL {0}")]
    Postgres(&'static str),
}

/// A PostgreSQL database. It holds no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    text: String,
    pub(crate) user: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) database: String,
    pub(crate) tls: Tls,
    pub(crate) root_certificate: Option<PathBuf>,
    pub(crate) client_certificate: Option<PathBuf>,
    pub(crate) client_key: Option<PathBuf>,
    pub(crate) application_name: Option<String>,
}

/// TLS requirement, with the names of libpq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl FromStr for LedgerUrl {
    type Err = InvalidLedgerUrl;

    fn from_str(text: &str) -> Result<Self, InvalidLedgerUrl> {
        match text.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            Some(("postgres" | "postgresql", rest)) => PostgresUrl::parse(text, rest).map(Self::Postgres),
            _ => Err(InvalidLedgerUrl::Unknown),
        }
    }
}

impl fmt::Display for LedgerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => f.write_str(&url.text),
        }
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PostgresUrl {
    fn parse(text: &str, rest: &str) -> Result<Self, InvalidLedgerUrl> {
        let wrong = |why| Err(InvalidLedgerUrl::Postgres(why));
        let Some(rest) = rest.strip_prefix("//") else { return wrong("has no // after its scheme") };
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = place.split_once('/').unwrap_or((place, ""));
        let (user, address) = authority.rsplit_once('@').unwrap_or(("", authority));
        // Also if it is empty: some programs use any place for a password.
        if user.contains(':') {
            return Err(InvalidLedgerUrl::Password);
        }
        let (host, port) = split_address(address)?;
        let mut url = Self {
            text: text.to_owned(),
            user: decode(user)?,
            host: decode(host.trim_start_matches('[').trim_end_matches(']'))?,
            port,
            database: decode(database)?,
            tls: Tls::Prefer,
            root_certificate: None,
            client_certificate: None,
            client_key: None,
            application_name: None,
        };
        let mut tls = None;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.into_owned();
            match &*name {
                "sslmode" => tls = Some(Tls::named(&value)?),
                "sslrootcert" => url.root_certificate = Some(value.into()),
                "sslcert" => url.client_certificate = Some(value.into()),
                "sslkey" => url.client_key = Some(value.into()),
                "host" => url.host = value,
                "application_name" => url.application_name = Some(value),
                "password" | "sslpassword" => return Err(InvalidLedgerUrl::Password),
                _ => {
                    return wrong(
                        "has a parameter that is none of sslmode, sslrootcert, sslcert, sslkey, host and \
                         application_name",
                    );
                }
            }
        }
        if url.user.is_empty() {
            return wrong("names no user");
        }
        if url.host.is_empty() {
            return wrong("names no host");
        }
        if url.database.is_empty() {
            return wrong("names no database");
        }
        url.tls = match tls {
            // As in libpq: a named root certificate must be used.
            Some(Tls::Require) if url.root_certificate.is_some() => Tls::VerifyCa,
            Some(tls) => tls,
            None if url.is_local() => Tls::Prefer,
            None => Tls::VerifyFull,
        };
        Ok(url)
    }

    /// Returns the protection that a connection to a database on another machine lacks, if it lacks one.
    #[must_use]
    pub fn weak_tls(&self) -> Option<&'static str> {
        match self.tls {
            _ if self.is_local() => None,
            Tls::Disable => Some("sslmode is `disable`: the password and the ledger travel in clear"),
            Tls::Allow | Tls::Prefer => Some(
                "this sslmode goes on without TLS where the server offers none: the password and the ledger may travel in clear",
            ),
            Tls::Require => {
                Some("sslmode is `require`, which does not check whose certificate the server shows")
            }
            Tls::VerifyCa | Tls::VerifyFull => None,
        }
    }

    /// Returns true if the host is the folder of a Unix socket.
    pub(crate) fn is_socket(&self) -> bool {
        self.host.starts_with('/')
    }

    fn is_local(&self) -> bool {
        let is_loopback = |host: &str| host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        self.is_socket() || self.host == "localhost" || is_loopback(&self.host)
    }
}

impl Tls {
    fn named(word: &str) -> Result<Self, InvalidLedgerUrl> {
        Ok(match word {
            "disable" => Self::Disable,
            "allow" => Self::Allow,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => {
                return Err(InvalidLedgerUrl::Postgres(
                    "has an sslmode that is none of disable, allow, prefer, require, verify-ca, verify-full",
                ));
            }
        })
    }
}

/// Splits host and port; an IPv6 address keeps its brackets.
fn split_address(address: &str) -> Result<(&str, u16), InvalidLedgerUrl> {
    const DEFAULT: u16 = 5432;
    let after_brackets = address.rfind(']').map_or(0, |end| end + 1);
    match address[after_brackets..].find(':') {
        None => Ok((address, DEFAULT)),
        Some(colon) => {
            let (host, port) = address.split_at(after_brackets + colon);
            let port =
                port[1..].parse().map_err(|_| InvalidLedgerUrl::Postgres("has a port that is none"))?;
            Ok((host, port))
        }
    }
}

/// Decodes percent signs. Unlike in a form, a plus is a plus.
fn decode(text: &str) -> Result<String, InvalidLedgerUrl> {
    let strange = InvalidLedgerUrl::Postgres("has characters that must be written with percent signs");
    if text.contains(['&', '=', '#']) {
        return Err(strange);
    }
    let plus_kept = text.replace('+', "%2B");
    let decoded = form_urlencoded::parse(plus_kept.as_bytes()).next().map(|(name, _)| name.into_owned());
    decoded.or(Some(String::new())).filter(|text| !text.contains('\0')).ok_or(strange)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn postgres(text: &str) -> PostgresUrl {
        match text.parse() {
            Ok(LedgerUrl::Postgres(url)) => url,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn what_is_written_is_what_is_shown() {
        for text in [
            "memory:",
            "sqlite:restore-gateway.db",
            "sqlite:/var/lib/x y.db",
            "postgres://gateway@db.internal:5433/ledger?sslmode=verify-full&sslrootcert=/etc/ca.pem",
            "postgresql://gateway@localhost/ledger",
        ] {
            assert_eq!(text.parse::<LedgerUrl>().unwrap().to_string(), text);
        }
        for text in ["", "memory", "memory:x", "sqlite:", "mysql://h/db", "restore-gateway.db"] {
            assert_eq!(text.parse::<LedgerUrl>(), Err(InvalidLedgerUrl::Unknown), "{text}");
        }
    }

    #[test]
    fn a_postgres_url_is_taken_apart() {
        let url = postgres("postgres://g%40way@[::1]:6000/my%2Fledger?application_name=a+b");
        assert_eq!((&*url.user, &*url.host, url.port, &*url.database), ("g@way", "::1", 6000, "my/ledger"));
        assert_eq!((url.application_name.as_deref(), url.tls), (Some("a b"), Tls::Prefer));
        let url = postgres("postgres://u@%2Frun%2Fpostgresql/db");
        assert_eq!((&*url.host, url.port, url.tls), ("/run/postgresql", 5432, Tls::Prefer));
        let url = postgres("postgres://u+x@/db?host=/run/postgresql");
        assert_eq!((&*url.user, url.is_socket()), ("u+x", true));
    }

    #[test]
    fn another_machine_is_verified_unless_the_url_says_otherwise() {
        let tls = |host: &str, query: &str| postgres(&format!("postgres://u@{host}/db{query}")).tls;
        for host in ["127.0.0.1", "localhost", "[::1]"] {
            assert_eq!(tls(host, ""), Tls::Prefer, "{host}");
        }
        for host in ["db.internal", "10.0.0.7", "[fd00::1]", "localhost.evil.example"] {
            assert_eq!(tls(host, ""), Tls::VerifyFull, "{host}");
            assert_eq!(tls(host, "?sslrootcert=/ca.pem"), Tls::VerifyFull, "{host}");
            assert_eq!(tls(host, "?sslmode=require"), Tls::Require, "{host}");
            assert_eq!(tls(host, "?sslmode=require&sslrootcert=/ca.pem"), Tls::VerifyCa, "{host}");
        }
        assert_eq!(tls("localhost", "?sslmode=verify-ca"), Tls::VerifyCa);
    }

    #[test]
    fn a_password_is_refused_and_not_repeated() {
        for text in [
            "postgres://u:hunter2@h/db",
            "postgresql://:hunter2@h/db",
            "postgres://u@h/db?password=hunter2",
            "postgres://u:hunter2@h:99999/db",
            "postgres://u:hunter%40x@y@h/db",
        ] {
            let error = text.parse::<LedgerUrl>().unwrap_err();
            assert_eq!(error, InvalidLedgerUrl::Password, "{text}");
            assert!(!format!("{error} {error:?}").contains("hunter"));
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, word) in [
            ("postgres:h/db", "//"),
            ("postgres://h/db", "user"),
            ("postgres://u@/db", "host"),
            ("postgres://u@h", "database"),
            ("postgres://u@h:port/db", "port"),
            ("postgres://u@h/db?sslmode=maybe", "sslmode"),
            ("postgres://u@h/db?pool=3", "parameter"),
            ("postgres://u@h/db#x", "percent"),
        ] {
            let error = text.parse::<LedgerUrl>().unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
