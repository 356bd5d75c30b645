//! What went wrong, in one vocabulary for all generations: the class of every upstream code (wire
//! reference 1.8) and the gateway's own refusals. A problem always says whether anything was
//! changed in the cloud and whether one may try again.
//!
//! To add a code, add one row to the table below; its page, its `type` URL and the documentation
//! follow from the row.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether the refused or failed call changed anything in the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Nothing was changed.
    None,
    /// Nobody knows yet; the restore it belongs to is being reconciled.
    Possible,
    /// Disks were overwritten, at least in part.
    Done,
}

/// Whether sending the same request again makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retry {
    /// Not without a change to the request or the settings.
    Never,
    /// Once the state that refused it has passed.
    Later,
    /// At once.
    Now,
}

/// One fault of a request, with its place as a JSON Pointer (RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Where; `""` is the whole document. A missing or unknown member is named itself.
    pub pointer: String,
    /// What is wrong there. Never repeats the value.
    pub detail: String,
}

impl Fault {
    /// A fault at a place.
    pub fn at(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// What an upstream said, cleaned and cut; never a credential.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamError {
    /// HTTP status, when there was an answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// The upstream's own code, such as `BackupService.2010`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<String>,
    /// The upstream's own words, at most 512 characters.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// The id under which the upstream's support finds the call.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request_id: Option<String>,
}

/// One problem: RFC 9457 without the parts that only an HTTP exchange can fill in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The stable word.
    pub code: Code,
    /// What happened, in a sentence for a person.
    pub detail: String,
    /// Whether anything was changed in the cloud.
    pub effect: Effect,
    /// Whether the same request may be sent again.
    pub retry: Retry,
    /// Seconds after which a retry makes sense, where known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_after: Option<u32>,
    /// Every fault of the request, where the problem is one of the request.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub errors: Vec<Fault>,
    /// What the upstream said, where it said anything.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub upstream: Option<UpstreamError>,
}

impl Problem {
    /// A problem with the defaults of its code: nothing changed, the code's usual advice on retry.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            effect: Effect::None,
            retry: code.retry(),
            retry_after: None,
            errors: Vec::new(),
            upstream: None,
        }
    }

    /// The same problem with another effect.
    #[must_use]
    pub fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// The same problem with other advice on retrying.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// The same problem, to be tried again after so many seconds.
    #[must_use]
    pub fn after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The same problem with the faults of the request.
    #[must_use]
    pub fn faults(mut self, errors: Vec<Fault>) -> Self {
        self.errors = errors;
        self
    }

    /// The same problem with what the upstream said.
    #[must_use]
    pub fn upstream(mut self, upstream: UpstreamError) -> Self {
        self.upstream = Some(upstream);
        self
    }

    /// The HTTP status under which a caller of the canonical API sees this problem.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.code.status()
    }
}

impl Code {
    /// Whether it says that backup, target or their pairing stand against the restore itself, as
    /// against a question that nobody answered, a caller that may not ask or a limit.
    #[must_use]
    pub const fn is_obstacle(self) -> bool {
        matches!(
            self,
            Self::NotExpressible
                | Self::BackupUnresolved
                | Self::BackupNotFound
                | Self::BackupState
                | Self::TargetNotFound
                | Self::TargetState
                | Self::TargetTooSmall
                | Self::TargetIncompatible
                | Self::TargetBusy
                | Self::MappingInvalid
                | Self::MappingIncomplete
                | Self::ConflictBusy
                | Self::Unsupported
                | Self::GenerationRetired
                | Self::GenerationConflict
                | Self::VaultNotFound
                | Self::VaultState
                | Self::Migration
        )
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.detail)
    }
}

impl std::error::Error for Problem {}

macro_rules! codes {
    ($($variant:ident $word:literal $status:literal $retry:ident $title:literal $advice:literal;)*) => {
        /// The stable words. The HTTP status is the one of the canonical API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code {
            $(#[doc = $title] #[serde(rename = $word)] $variant,)*
        }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word that callers see.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// HTTP status on the canonical API.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// The usual advice; a problem may know better.
            #[must_use]
            pub const fn retry(self) -> Retry {
                match self { $(Self::$variant => Retry::$retry,)* }
            }

            /// One line for people.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// What to do about it.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice,)* }
            }
        }
    };
}

codes! {
    // The request, before anything else is looked at.
    MalformedRequest "malformed_request" 400 Never "the HTTP request is malformed" "Send each header once, without underscores in its name, and a body framed in one way.";
    InvalidJson "invalid_json" 400 Never "the body is not one JSON value" "Mend the body at the line and column named; duplicate members are refused.";
    InvalidRequest "invalid_request" 422 Never "the request does not follow its schema" "Each fault is listed with a JSON Pointer; the schema is served at /schemas/restore-request.";
    InvalidParameter "invalid_parameter" 400 Never "a path, query or header parameter is not usable" "The detail names the parameter and what it may be.";
    UnsupportedMediaType "unsupported_media_type" 415 Never "the body is not plain JSON" "Send Content-Type: application/json without a Content-Encoding.";
    BodyTooLarge "body_too_large" 413 Never "the body is larger than this gateway reads" "A restore request has a few kilobytes; limits.max_body_bytes sets the bound.";
    NotFound "not_found" 404 Never "there is nothing at this path" "GET /openapi.json lists every path.";
    MethodNotAllowed "method_not_allowed" 405 Never "this path does not take that method" "The Allow header lists the methods.";
    RestoreNotFound "restore_not_found" 404 Never "no restore has this id" "Ids are given out by POST /api/v1/restores; a restore of somebody else is not shown.";
    RequestTimeout "request_timeout" 408 Now "the request did not arrive in time" "Send head and body without pauses; nothing was started.";
    DeadlineExceeded "deadline_exceeded" 503 Later "the gateway did not finish in its own time" "Nothing is resent by itself. List the restores of the target before asking again.";
    // Who asks, and how often.
    CredentialMissing "credential_missing" 401 Never "no X-Auth-Token came with the request" "This upstream takes the caller's own token: send it in X-Auth-Token.";
    Unauthenticated "unauthenticated" 401 Never "this listener does not know who asks" "Send the credential that the gateway's operator gave you. Nothing was started.";
    IdentityUnavailable "identity_unavailable" 503 Later "who asks cannot be found out now" "IAM or the issuer of the token cannot be asked; wait as long as Retry-After says. Nothing was started.";
    NotAllowed "not_allowed" 403 Never "this caller may not do that" "A [[policies]] entry of the gateway allows a caller what it may do, and on what. Nothing was started.";
    ForeignOrigin "foreign_origin" 403 Never "this request was made by another site, or through another name" "Call the admin listener by the name of its machine, and not from a page of another site. Nothing was changed.";
    RateLimited "rate_limited" 429 Later "this caller sends faster than it may" "Wait as long as Retry-After says.";
    Overloaded "overloaded" 503 Later "the gateway has more work than it takes on" "Wait as long as Retry-After says; nothing was started.";
    ShuttingDown "shutting_down" 503 Later "the gateway is stopping" "Ask another replica, or wait until it is back; nothing was started.";
    SettingsRefused "settings_refused" 422 Never "the settings cannot be taken" "Mend what the detail names and load them again; those in effect stay, and no restore is touched.";
    // Routing and what a generation can say.
    NoRoute "no_route" 403 Never "no route takes this request" "Add a [[routes]] entry that matches, or ask for a project and target that one does.";
    NotExpressible "not_expressible" 422 Never "the routed generation cannot express this restore" "The detail names the generations that could; route the target there.";
    BackupUnresolved "backup_unresolved" 422 Never "it cannot be told what the routed generation calls this backup" "Nothing was sent. Write both ids into the file of id_mapping.file, or route this dialect to the generation that made the backup.";
    BackupUnread "backup_unread" 503 Later "which backup is meant cannot be told now" "Nothing was sent. A read that the proof of its name needs has failed: ask again as Retry-After says; if it stays so, write both ids into the file of id_mapping.file.";
    // At most once.
    TargetBusy "target_busy" 409 Later "an unfinished restore holds this target" "Wait for the restore that is linked; two restores of one disk are never run at once.";
    KeyConflict "key_conflict" 422 Never "this Idempotency-Key was used for another restore" "Use a new key for a new intent.";
    KeyRequired "key_required" 400 Never "this route needs an Idempotency-Key" "Send one key per intent, the same one with every repetition.";
    SignatureUsed "signature_used" 409 Never "this signature was used before" "A signed request that changes something counts once. Sign the request again; nothing was sent for this one.";
    NotCancellable "not_cancellable" 409 Never "this restore can no longer be cancelled" "Once sent, a restore cannot be stopped in any of the clouds.";
    NotResolvable "not_resolvable" 409 Never "this restore does not wait for an operator" "Reads may still settle it. To decide before needs_operator, override; a restore that was not sent or has ended cannot be resolved.";
    TooManyKeys "too_many_keys" 429 Later "this caller has as many idempotency keys as it may" "Keys are forgotten some time after their restores have ended; submit.max_keys_per_caller sets how many there may be.";
    InRecovery "in_recovery" 503 Later "the ledger may be an older copy of itself, so nothing is sent" "An operator looks at the admin listener's /recovery and confirms; nothing was started.";
    Withheld "withheld" 503 Now "the gateway was held up for too long before it could send" "Nothing was sent; ask again.";
    LedgerUnavailable "ledger_unavailable" 503 Later "the ledger cannot be written, so nothing is sent" "Nothing was started unless the effect says so; see /readyz for the reason.";
    Expired "expired" 409 Now "the restore was not sent in its time" "Nothing was sent; ask again.";
    // The road to the cloud.
    UpstreamTls "upstream_tls" 502 Never "the upstream's TLS certificate or handshake was refused" "Nothing was sent. Check the endpoint's name, its certificate and ca_file.";
    UpstreamUnreachable "upstream_unreachable" 503 Later "no connection to the upstream" "Nothing was sent. Check name, route and firewall of the endpoint.";
    BadUpstream "bad_upstream" 502 Never "the upstream answered with something that is no answer" "Redirects are never followed; check the endpoint.";
    RouteMisconfigured "route_misconfigured" 502 Never "the upstream does not know this API" "The endpoint, its version prefix or its region is wrong in the settings.";
    Throttled "throttled" 429 Later "the upstream throttles" "Wait; the gateway already waited as long as its own limits allow.";
    CredentialFailed "credential_failed" 503 Later "the gateway cannot log in to the cloud" "Nothing was sent. Check the user, the password and the project of the credential, and that IAM can be reached.";
    OutOfScope "out_of_scope" 403 Never "the gateway's credential is for another project" "Nothing was sent. Route this project to an upstream whose credential is for it.";
    Unauthorized "unauthorized" 401 Never "the upstream refused the credentials" "Get a new token for this project. Nothing was started.";
    Forbidden "forbidden" 403 Never "the upstream does not allow this user to do that" "Ask for the permission that the upstream names. Nothing was started.";
    UpstreamUnavailable "upstream_unavailable" 503 Later "the upstream says it is unavailable" "Look at the restore itself: its status says what is known.";
    UpstreamError "upstream_error" 502 Later "the upstream failed inside" "Look at the restore itself: its status says what is known.";
    // What the clouds say of backups and targets.
    BadRequest "bad_request" 422 Never "the upstream finds the request wrong" "The upstream's own words are in the detail.";
    BackupNotFound "backup_not_found" 404 Never "the backup does not exist there" "Check source.backup_id and which generation made that backup.";
    BackupState "backup_state" 409 Later "the backup's state does not allow a restore" "Wait until the backup is available.";
    TargetNotFound "target_not_found" 404 Never "the target does not exist there" "Check the ids in target.";
    TargetState "target_state" 409 Later "the target's state does not allow a restore" "A disk must usually be detached, a server must not be terminated; see the upstream's words.";
    TargetTooSmall "target_too_small" 422 Never "the target disk is smaller than the backup" "Choose a disk at least as large.";
    TargetIncompatible "target_incompatible" 422 Never "backup and target do not fit together" "Type, architecture, operating system or zone differ; see the upstream's words.";
    MappingInvalid "mapping_invalid" 422 Never "a disk backup is mapped onto a disk that cannot take it" "Check target.volumes against the backup's own list of disks.";
    MappingIncomplete "mapping_incomplete" 422 Never "not every disk of the backup is mapped" "Map every disk backup of the server backup.";
    ConflictBusy "conflict_busy" 409 Later "backup or target is busy with something else" "Wait until the other task has ended.";
    Unsupported "unsupported" 422 Never "this resource cannot be restored there" "See the upstream's words.";
    GenerationRetired "generation_retired" 409 Never "this project may no longer use that generation" "Route the project to a generation that is open to it. Nothing was started.";
    GenerationConflict "generation_conflict" 409 Never "the resource still belongs to the older service" "Route the target to the generation that protects it.";
    VaultNotFound "vault_not_found" 404 Never "the backup's vault does not exist" "Check the backup in the console.";
    VaultState "vault_state" 409 Later "the backup's vault does not allow a restore" "The vault must be available or locked.";
    Migration "migration" 409 Later "the tenant is being migrated between generations" "Wait for the migration to end.";
    UpstreamNotFound "upstream_not_found" 404 Later "the upstream does not know that task" "Task lists lag; the gateway keeps looking.";
    // How restores end badly.
    RestoreFailed "restore_failed" 502 Never "the restore was started and failed" "The disks may be overwritten in part. See the upstream's words, then restore again as a new intent.";
    OutcomeUnknown "outcome_unknown" 502 Never "nobody can say whether the restore took place" "Do not send it again. Look at the target, then resolve the restore as an operator.";
    ClockSkew "clock_skew" 502 Never "the gateway's clock and the upstream's differ too much" "Set the clock of this machine.";
    Internal "internal" 500 Never "the gateway has a fault" "Report it with the request id. If a restore was named, its own status is the truth.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_survive_a_round_trip() {
        let mut words = std::collections::HashSet::new();
        for code in Code::ALL {
            assert!(words.insert(code.as_str()), "{} twice", code.as_str());
            let json = serde_json::to_string(code).unwrap();
            assert_eq!(json, format!("\"{}\"", code.as_str()));
            assert_eq!(serde_json::from_str::<Code>(&json).unwrap(), *code);
            assert!((400..=599).contains(&code.status()));
            // SDKs resend a POST on 504 by themselves; a caller must never see one.
            assert_ne!(code.status(), 504);
        }
    }
}
