//! Errors in one vocabulary for all generations: the class of every upstream code (cloud APIs 1.8) and the gateway's
//! own rejections. A problem always states its effect in the cloud and if a retry makes sense.
//!
//! To add a code, add one row to the table below. The row generates its page, its `type` URL and the documentation.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Effect of the rejected or failed call in the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Nothing was changed.
    None,
    /// Not known yet; the gateway reconciles the restore.
    Possible,
    /// Disks were overwritten, at least in part.
    Done,
}

/// Advice about sending the same request again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retry {
    /// Not without a change to the request or the configuration.
    Never,
    /// After the state that caused the rejection has changed.
    Later,
    /// At once.
    Now,
}

/// One error of a request, with its location as a JSON Pointer (RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The location; `""` is the whole document. The pointer of a missing or unknown member names that member.
    pub pointer: String,
    /// The description of the error. Never repeats the value.
    pub detail: String,
}

impl Fault {
    /// Creates an error at a location.
    pub fn at(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// The upstream's error, cleaned and shortened; never a credential.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamError {
    /// HTTP status, if there was an answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// The upstream's own code, such as `BackupService.2010`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<String>,
    /// The upstream's own message, at most 512 characters.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// The ID with which the upstream's support finds the call.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request_id: Option<String>,
}

/// One problem: RFC 9457 without the members that need an HTTP exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The stable code.
    pub code: Code,
    /// Description of the problem, in a sentence for a person.
    pub detail: String,
    /// Effect in the cloud.
    pub effect: Effect,
    /// Advice about sending the same request again.
    pub retry: Retry,
    /// Seconds after which a retry makes sense, if known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_after: Option<u32>,
    /// Every error of the request, if the request is invalid.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub errors: Vec<Fault>,
    /// The upstream's error, if it returned one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub upstream: Option<UpstreamError>,
}

impl Problem {
    /// Creates a problem with the defaults of its code: nothing changed, the code's usual advice about a retry.
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

    /// Sets another effect.
    #[must_use]
    pub fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// Sets another advice about a retry.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Sets the seconds after which to retry.
    #[must_use]
    pub fn after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Sets the errors of the request.
    #[must_use]
    pub fn faults(mut self, errors: Vec<Fault>) -> Self {
        self.errors = errors;
        self
    }

    /// Sets the upstream's error.
    #[must_use]
    pub fn upstream(mut self, upstream: UpstreamError) -> Self {
        self.upstream = Some(upstream);
        self
    }

    /// Returns the HTTP status of this problem in the canonical API.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.code.status()
    }
}

impl Code {
    /// Returns true if the backup, the target or their combination prevents the restore itself. Other problems are an
    /// unanswered read, a missing permission or a limit.
    #[must_use]
    pub const fn is_obstacle(self) -> bool {
        matches!(
            self,
            Self::UnsupportedByGeneration
                | Self::BackupIdUnmapped
                | Self::BackupNotFound
                | Self::BackupNotReady
                | Self::TargetNotFound
                | Self::TargetNotReady
                | Self::TargetTooSmall
                | Self::TargetIncompatible
                | Self::TargetBusy
                | Self::MappingInvalid
                | Self::MappingIncomplete
                | Self::UpstreamBusy
                | Self::UpstreamUnsupported
                | Self::GenerationRetired
                | Self::GenerationConflict
                | Self::VaultNotFound
                | Self::VaultNotReady
                | Self::UpstreamMigrating
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
        /// The stable codes. The HTTP status is the one of the canonical API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code {
            $(#[doc = $title] #[serde(rename = $word)] $variant,)*
        }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the code that callers see.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// Returns the HTTP status in the canonical API.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// Returns the default advice about a retry; a problem may override it.
            #[must_use]
            pub const fn retry(self) -> Retry {
                match self { $(Self::$variant => Retry::$retry,)* }
            }

            /// Returns one line for people.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// Returns the recommended action.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice,)* }
            }
        }
    };
}

codes! {
    // The request, before all other checks.
    MalformedRequest "malformed_request" 400 Never "The HTTP request is malformed" "Send each header once and without underscores in its name. Send one of Content-Length or Transfer-Encoding.";
    InvalidJson "invalid_json" 400 Never "The body is not one JSON value" "Fix the body at the line and column in the detail. Duplicate members are rejected.";
    InvalidRequest "invalid_request" 422 Never "The request does not match its schema" "The member `errors` lists each error with a JSON Pointer. GET /schemas/restore-request returns the schema.";
    InvalidParameter "invalid_parameter" 400 Never "A path, query or header parameter is invalid" "The detail names the parameter and its allowed values.";
    UnsupportedMediaType "unsupported_media_type" 415 Never "The body is not plain JSON" "Send Content-Type: application/json without Content-Encoding.";
    BodyTooLarge "body_too_large" 413 Never "The body exceeds the size limit" "A restore request has a few kilobytes. limits.max_body_bytes sets the limit.";
    NotFound "not_found" 404 Never "No resource at this path" "GET /openapi.json lists all paths.";
    MethodNotAllowed "method_not_allowed" 405 Never "The path does not support this method" "The Allow header lists the supported methods.";
    RestoreNotFound "restore_not_found" 404 Never "No restore has this ID" "POST /api/v1/restores returns IDs. Restores of other callers are not shown.";
    RequestTimeout "request_timeout" 408 Now "The request did not arrive in time" "Nothing was started. Send header and body without pauses.";
    DeadlineExceeded "deadline_exceeded" 503 Later "The request exceeded its time limit" "A restore may have been accepted. List the restores of the target before you send the request again.";
    // Callers and their limits.
    CredentialMissing "credential_missing" 401 Never "The request has no X-Auth-Token" "This upstream uses the caller's own token. Send it in X-Auth-Token.";
    Unauthenticated "unauthenticated" 401 Never "The caller is not authenticated" "Nothing was started. Send the credential that the gateway's operator gave you.";
    IdentityUnavailable "identity_unavailable" 503 Later "The identity provider is unavailable" "Nothing was started. Retry after Retry-After. The gateway could not reach IAM or the issuer of the token.";
    Forbidden "forbidden" 403 Never "The caller is not allowed to do this" "Nothing was started. A [[policies]] entry of the gateway must allow this caller the action on this target.";
    CrossSiteRequest "cross_site_request" 403 Never "The request came from another site or used an unknown host name" "Nothing was changed. Call the listener by the name of its machine, or add the name to listen.allowed_hosts.";
    RateLimited "rate_limited" 429 Later "The caller exceeded its rate limit" "Retry after Retry-After.";
    Overloaded "overloaded" 503 Later "The gateway is at its capacity limit" "Nothing was started. Retry after Retry-After.";
    ShuttingDown "shutting_down" 503 Later "The gateway is shutting down" "Nothing was started. Use another replica, or retry later.";
    InvalidConfiguration "invalid_configuration" 422 Never "The new configuration is invalid" "Fix the listed errors and reload. The previous configuration stays active and no restore is affected.";
    // Routing, and the capabilities of a generation.
    NoRoute "no_route" 403 Never "No route matches the request" "Add a [[routes]] entry that matches, or request a project and target that a route covers.";
    UnsupportedByGeneration "unsupported_by_generation" 422 Never "The API generation of the route does not support this restore" "The detail names the generations that do. Route the target to one of them.";
    BackupIdUnmapped "backup_id_unmapped" 422 Never "No verified ID mapping for this backup" "Nothing was sent. Add both IDs to the file of id_mapping.file, or route these requests to the generation that made the backup.";
    BackupLookupFailed "backup_lookup_failed" 503 Later "The backup lookup failed temporarily" "Nothing was sent. Retry after Retry-After. If the error persists, add both IDs to the file of id_mapping.file.";
    // At most once.
    TargetBusy "target_busy" 409 Later "Another restore of this target has not ended" "Wait for the linked restore. The gateway never runs two restores of one disk at the same time.";
    IdempotencyKeyConflict "idempotency_key_conflict" 422 Never "The Idempotency-Key belongs to another restore" "Use a new key for a new restore.";
    IdempotencyKeyRequired "idempotency_key_required" 400 Never "This route requires an Idempotency-Key" "Send one key per restore, and the same key with every repetition.";
    SignatureReplayed "signature_replayed" 409 Never "The signature was used before" "Nothing was sent for this request. A signature is valid for one change. Sign the request again.";
    NotCancellable "not_cancellable" 409 Never "The restore can no longer be cancelled" "None of the clouds can stop a restore after it was sent.";
    NotResolvable "not_resolvable" 409 Never "The restore cannot be resolved by an operator" "Only a restore with `needs_operator: true` can be resolved. To decide earlier, set `override`. A restore that was not sent or has ended cannot be resolved.";
    RestoreChanged "restore_changed" 412 Now "The restore has changed since the state in If-Match" "Nothing was decided. Read the restore again, then decide about its present state.";
    TooManyIdempotencyKeys "too_many_idempotency_keys" 429 Later "The caller has too many idempotency keys" "The gateway deletes keys some time after their restores have ended. submit.max_keys_per_caller sets the limit.";
    RecoveryMode "recovery_mode" 503 Later "The gateway is in recovery mode and sends nothing" "Nothing was started. The ledger may come from an older backup. An operator must check /recovery on the admin listener and confirm.";
    SendWindowMissed "send_window_missed" 503 Now "The gateway missed the time window for sending" "Nothing was sent. Retry now.";
    LedgerUnavailable "ledger_unavailable" 503 Later "The ledger is unavailable" "Nothing was started unless `effect` says otherwise. /readyz shows the reason.";
    Expired "expired" 409 Now "The restore expired before it was sent" "Nothing was sent. Send the request again.";
    // The connection to the upstream.
    UpstreamTls "upstream_tls" 502 Never "The TLS handshake with the upstream failed" "Nothing was sent. Check the endpoint's name, its certificate and `ca_file`.";
    UpstreamUnreachable "upstream_unreachable" 503 Later "The upstream is unreachable" "Nothing was sent. Check DNS, network route and firewall of the endpoint.";
    UpstreamInvalidResponse "upstream_invalid_response" 502 Never "The upstream sent an invalid response" "Check the endpoint. The gateway does not follow redirects.";
    UpstreamMisconfigured "upstream_misconfigured" 502 Never "The upstream does not serve this API" "Check endpoint, version prefix and region of the upstream in the configuration.";
    UpstreamThrottled "upstream_throttled" 429 Later "The upstream throttles requests" "Wait. The gateway has already waited as long as its own limits allow.";
    CredentialFailed "credential_failed" 503 Later "The gateway could not authenticate to the cloud" "Nothing was sent. Check user, password and project of the credential, and the connection to IAM.";
    CredentialOutOfScope "credential_out_of_scope" 403 Never "The gateway's credential is for another project" "Nothing was sent. Route this project to an upstream with a credential for it.";
    UpstreamUnauthorized "upstream_unauthorized" 401 Never "The upstream rejected the credentials" "Nothing was started. Get a new token for this project.";
    UpstreamForbidden "upstream_forbidden" 403 Never "The upstream does not allow this user to do this" "Nothing was started. Ask for the permission that the upstream names.";
    UpstreamUnavailable "upstream_unavailable" 503 Later "The upstream is unavailable" "Check the restore itself. Its status shows what is known.";
    UpstreamError "upstream_error" 502 Later "The upstream failed with an internal error" "Check the restore itself. Its status shows what is known.";
    // The upstream's errors about backups and targets.
    UpstreamBadRequest "upstream_bad_request" 422 Never "The upstream rejected the request as invalid" "The detail contains the upstream's own message.";
    BackupNotFound "backup_not_found" 404 Never "The upstream has no such backup" "Check source.backup_id, and which generation made the backup.";
    BackupNotReady "backup_not_ready" 409 Later "The state of the backup does not allow a restore" "Wait until the backup is available.";
    TargetNotFound "target_not_found" 404 Never "The upstream has no such target" "Check the IDs in target.";
    TargetNotReady "target_not_ready" 409 Later "The state of the target does not allow a restore" "A disk must usually be detached; a server must not be terminated. The detail contains the upstream's own message.";
    TargetTooSmall "target_too_small" 422 Never "The target disk is smaller than the backup" "Choose a disk at least as large as the backup.";
    TargetIncompatible "target_incompatible" 422 Never "Backup and target are incompatible" "Type, architecture, operating system or zone differ. The detail contains the upstream's own message.";
    MappingInvalid "mapping_invalid" 422 Never "A disk backup is mapped to a disk that cannot receive it" "Compare target.volumes with the list of disks in the backup.";
    MappingIncomplete "mapping_incomplete" 422 Never "Some disks of the backup are not mapped" "Map every disk backup of the server backup.";
    UpstreamBusy "upstream_busy" 409 Later "Another task in the cloud uses the backup or the target" "Wait until the other task has ended.";
    UpstreamUnsupported "upstream_unsupported" 422 Never "The upstream cannot restore this resource" "The detail contains the upstream's own message.";
    GenerationRetired "generation_retired" 409 Never "The API generation is closed for this project" "Nothing was started. Route the project to a generation that is open to it.";
    GenerationConflict "generation_conflict" 409 Never "The resource still belongs to the older backup service" "Route the target to the generation that protects it.";
    VaultNotFound "vault_not_found" 404 Never "The vault of the backup does not exist" "Check the backup in the cloud console.";
    VaultNotReady "vault_not_ready" 409 Later "The state of the vault does not allow a restore" "The vault must be available or locked.";
    UpstreamMigrating "upstream_migrating" 409 Later "The cloud is migrating the tenant between generations" "Wait until the migration has ended.";
    UpstreamNotFound "upstream_not_found" 404 Later "The upstream does not know the task" "Task lists can lag. The gateway continues to poll.";
    // Unsuccessful ends of a restore.
    RestoreFailed "restore_failed" 502 Never "The restore started and failed" "The disks may be partly overwritten. Read the upstream's message, then start a new restore.";
    OutcomeUnknown "outcome_unknown" 502 Never "The outcome of the restore is unknown" "Do not send it again. Inspect the target, then resolve the restore as an operator.";
    ClockSkew "clock_skew" 502 Never "The clocks of gateway and upstream differ too much" "Set the clock of the gateway's machine.";
    Internal "internal" 500 Never "Internal error of the gateway" "Report it with the request ID. If the response names a restore, its own status is correct.";
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
            // SDKs automatically resend a POST after a 504, so a caller must never get one.
            assert_ne!(code.status(), 504);
        }
    }
}
