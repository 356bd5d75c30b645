//! The types of resolved values, and the conversion of each from and to a checked value.
//!
//! Reading cannot fail on a tree that [`super::reader`] accepted: only [`super::kinds::Kind`] decides about permitted
//! values, and this module only converts them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;
use restore_ledger::LedgerUrl;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

/// A resolved value, converted from and to a checked one.
pub(super) trait Setting: Sized {
    /// Converts a checked value; `None` means that kind and type of a key disagree.
    fn read(value: &Value) -> Option<Self>;
    /// Returns the value as it would be written.
    fn show(&self) -> Value;
}

/// A secret that a setting refers to. It is never shown, and is erased when its last copy is dropped. (A secret from a
/// variable also stays in the environment of the process. No other process inherits that: the gateway starts none.)
#[derive(Clone)]
pub struct Secret {
    text: SecretString,
    /// Its file, if it is in one.
    file: Option<PathBuf>,
}

impl Secret {
    /// Returns the secret, as it was when the configuration was read.
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }

    /// Returns its file, if it is in one: the content may change.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Reads the current secret, with the same checks as at the first read. A secret from a variable does not change.
    ///
    /// # Errors
    /// The reason why it is not usable, without any of its content.
    pub fn reread(&self) -> Result<SecretString, String> {
        match &self.file {
            Some(path) => super::secrets::read_file(path).map(Into::into).map_err(|wrong| wrong.message),
            None => Ok(self.text.clone()),
        }
    }

    /// Returns its form in a tree of checked values.
    pub(super) fn in_tree(text: String, file: Option<&str>) -> Value {
        // Moved instead of copied: a copy that remains would not be erased.
        let members = [("secret", Value::String(text)), ("file", file.into())];
        members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Returns the text of a secret in a tree of checked values.
    pub(super) fn text_of(value: &Value) -> Option<&str> {
        value["secret"].as_str()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(REDACTED)
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        // The same text from another file is different: that file may change.
        self.expose() == other.expose() && self.file == other.file
    }
}

/// The address of a receiver. Its path often is its credential, so it is shown as `https://host/<redacted>`.
#[derive(Clone, PartialEq, Eq)]
pub struct HookUrl(Uri);

impl HookUrl {
    /// Returns the whole address.
    pub fn expose(&self) -> &Uri {
        &self.0
    }

    /// Returns true if an address contains more than scheme, host and port.
    pub(super) fn hides(uri: &Uri) -> bool {
        !matches!(uri.path(), "" | "/") || uri.query().is_some()
    }

    fn shown(&self) -> String {
        let (scheme, authority) = (self.0.scheme_str().unwrap_or_default(), self.0.authority());
        let end = if Self::hides(&self.0) { format!("/{REDACTED}") } else { String::new() };
        format!("{scheme}://{}{end}", authority.map_or("", |authority| authority.as_str()))
    }
}

impl std::fmt::Debug for HookUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown())
    }
}

/// The replacement of a secret in output.
const REDACTED: &str = "<redacted>";

/// An enum whose variants are the words of a [`Word`](super::kinds::Kind::Word) key.
macro_rules! words {
    ($( $(#[doc = $about:literal])+ $name:ident { $( $(#[doc = $doc:literal])+ $member:ident = $word:literal, )+ } )+) => {$(
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $( $(#[doc = $doc])+ $member, )+
        }

        impl $name {
            /// The word in the file.
            pub fn as_str(self) -> &'static str {
                match self {
                    $( Self::$member => $word, )+
                }
            }
        }

        impl Setting for $name {
            fn read(value: &Value) -> Option<Self> {
                match value.as_str()? {
                    $( $word => Some(Self::$member), )+
                    _ => None,
                }
            }

            fn show(&self) -> Value {
                self.as_str().into()
            }
        }
    )+};
}

words! {
    /// Format of a log line.
    LogFormat {
        /// One JSON object per line.
        Json = "json",
        /// Text for people.
        Text = "text",
    }

    /// Authentication method of the gateway.
    CredentialKind {
        /// A user of IAM logs in with a password.
        IamPassword = "iam-password",
        /// A user of IAM logs in with a password and assumes an agency of another account.
        IamAgency = "iam-agency",
        /// An existing token is exchanged for a project token.
        IamToken = "iam-token",
        /// Calls are signed with an access key.
        Aksk = "aksk",
    }

    /// Name of the JSON member for an agency.
    AgencyMember {
        /// As in the table of the documentation.
        AgencyName = "agency_name",
        /// As in an example of the documentation.
        XroleName = "xrole_name",
    }

    /// Authentication method of a caller.
    CallerKind {
        /// A key that the operator gave it.
        ApiKey = "api-key",
        /// A token that an issuer signed.
        Jwt = "jwt",
        /// A client certificate.
        Mtls = "mtls",
        /// Its `X-Auth-Token`, verified by IAM.
        IamToken = "iam-token",
        /// A signature with an access key.
        Aksk = "aksk",
    }

    /// A listener.
    Listener {
        /// The API.
        Api = "api",
        /// The admin listener.
        Admin = "admin",
    }

    /// States if every caller must present a client certificate.
    ClientAuth {
        /// A caller without a certificate may authenticate in another way.
        Optional = "optional",
        /// A client without a certificate gets no connection.
        Required = "required",
    }

    /// States if a request must have an `Idempotency-Key`.
    IdempotencyKey {
        /// The key is optional.
        Optional = "optional",
        /// The key is required.
        Required = "required",
    }

    /// Type of the restored resource.
    Target {
        /// A server with its disks.
        Server = "server",
        /// A single disk.
        Volume = "volume",
        /// Another resource of CBR.
        Resource = "resource",
    }
}

/// Implements [`Setting`] from two closures.
macro_rules! config_of {
    ($( $type:ty: $read:expr, $show:expr; )+) => {$(
        impl Setting for $type {
            fn read(value: &Value) -> Option<Self> {
                let read: fn(&Value) -> Option<Self> = $read;
                read(value)
            }

            fn show(&self) -> Value {
                let show: fn(&Self) -> Value = $show;
                show(self)
            }
        }
    )+};
}

config_of! {
    bool: Value::as_bool, |flag| (*flag).into();
    u32: |value| value.as_u64()?.try_into().ok(), |number| (*number).into();
    usize: |value| value.as_u64()?.try_into().ok(), |number| (*number).into();
    f64: Value::as_f64, |number| (*number).into();
    String: |value| value.as_str().map(str::to_owned), |text| text.as_str().into();
    Secret: secret, |_| REDACTED.into();
    PathBuf: |value| value.as_str().map(Self::from), |path| path.display().to_string().into();
    Uri: |value| value.as_str()?.parse().ok(), |uri| uri.to_string().trim_end_matches('/').into();
    HookUrl: |value| value.as_str()?.parse().ok().map(HookUrl), |url| url.shown().into();
    SocketAddr: |value| value.as_str()?.parse().ok(), |address| address.to_string().into();
    LedgerUrl: |value| value.as_str()?.parse().ok(), |url| url.to_string().into();
    tracing::Level: |value| value.as_str()?.parse().ok(), |level| level.as_str().to_ascii_lowercase().into();
    Duration: |value| Self::try_from_secs_f64(value.as_f64()?).ok(), seconds;
}

fn secret(value: &Value) -> Option<Secret> {
    let text = Secret::text_of(value)?.to_owned().into();
    Some(Secret { text, file: value["file"].as_str().map(PathBuf::from) })
}

/// Whole seconds as a whole number.
fn seconds(duration: &Duration) -> Value {
    match duration.subsec_nanos() {
        0 => duration.as_secs().into(),
        _ => duration.as_secs_f64().into(),
    }
}

impl<T: Setting> Setting for Option<T> {
    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::read(value).map(Some),
        }
    }

    fn show(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::show)
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn read(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(T::read).collect()
    }

    fn show(&self) -> Value {
        self.iter().map(T::show).collect()
    }
}
