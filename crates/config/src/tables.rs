//! The list of all configuration keys, each once. The documentation of [`super`] says how to add one.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use restore_ledger::LedgerUrl;

use super::keys::{Key, Preset, bare, preset, preset_doc, tables};
use super::kinds::Kind::*;
use super::values;
use super::values::{
    AgencyMember, CallerKind, ClientAuth, CredentialKind, IdempotencyKey, Listener, LogFormat, Setting,
    Target,
};

/// The listeners of the process.
const LISTENERS: &[&str] = &["api", "admin"];
/// The longest duration of any key, in seconds: 30 days.
const LONGEST: f64 = 2_592_000.0;
const MEBIBYTE: u64 = 1_048_576;
/// The actions that a policy can allow.
const ACTIONS: &[&str] = restore_engine::Action::WORDS;
/// The signature algorithms of JSON Web Tokens that the gateway verifies.
const ALGORITHMS: &[&str] =
    &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
/// The occasions on which a webhook sends a message.
const OCCASIONS: &[&str] = restore_webhooks::OCCASIONS;

tables! {
    /// The configuration of one gateway: checked, complete, ready to use.
    Config {
        /// Addresses on which the gateway listens.
        listen: Listen = Table(Listen::KEYS) => absent;
        /// TLS of the gateway's own listeners.
        tls: Tls = Table(Tls::KEYS) => absent;
        /// Limits for each caller and for all callers together.
        limits: Limits = Table(Limits::KEYS) => absent;
        /// The ledger: the durable journal of restores.
        ledger: Ledger = Table(Ledger::KEYS) => absent;
        /// How the gateway sends a restore.
        submit: Submit = Table(Submit::KEYS) => absent;
        /// How the gateway polls the clouds until a restore has ended.
        polling: Polling = Table(Polling::KEYS) => absent;
        /// Logs, traces and metrics.
        telemetry: Telemetry = Table(Telemetry::KEYS) => absent;
        /// The cloud APIs that can carry out a restore. At least one.
        upstreams: Vec<Upstream> = Tables(Upstream::KEYS) => absent;
        /// Cloud identities of the gateway itself. Absent = callers bring their own tokens.
        credentials: Vec<Credential> = Tables(Credential::KEYS) => absent;
        /// Clients that the gateway authenticates. Absent = no authentication; the listener then accepts this machine only.
        callers: Vec<Caller> = Tables(Caller::KEYS) => absent;
        /// Permissions of callers. With callers, every request that no policy allows is denied.
        policies: Vec<Policy> = Tables(Policy::KEYS) => absent;
        /// Receivers of signed messages about restores. Absent = no messages.
        webhooks: Vec<Webhook> = Tables(Webhook::KEYS) => absent;
        /// Mapping between the IDs that different generations give to the same backup.
        id_mapping: IdMapping = Table(IdMapping::KEYS) => absent;
        /// Endpoints that accept the request format of an existing cloud API. Absent = none.
        compat_endpoints: Vec<CompatEndpoint> = Tables(CompatEndpoint::KEYS) => absent;
        /// Routing rules. The first rule that matches a restore selects its upstream; a restore that matches no rule is
        /// rejected. At least one.
        routes: Vec<Route> = Tables(Route::KEYS) => absent;
    }

    /// Addresses on which the gateway listens.
    Listen {
        /// Address and port of the API listener.
        api: SocketAddr = Address => "127.0.0.1:8080";
        /// Address and port of the admin listener: health, metrics, configuration, operator actions.
        admin: SocketAddr = Address => "127.0.0.1:8081";
        /// Additional `Host` headers that the gateway accepts on a listener without callers and on an admin listener on
        /// loopback. Such listeners reject every other host, which protects against DNS rebinding. The names of this machine
        /// are always accepted, and so is any IP address on a listener that other machines can reach. With this key, a signed
        /// request must be for one of these hosts or for the listener's address. Absent = none.
        allowed_hosts: Option<Vec<String>> = Texts => absent;
        /// Permits the API or a compatibility endpoint to listen, without `callers`, on an address that other machines can
        /// reach: everybody can then restore with their own token. The admin listener needs no permission: without callers it
        /// serves only `/livez`, `/readyz` and `/metrics` to other machines.
        allow_unauthenticated_remote: bool = Flag => "false";
    }

    /// TLS 1.2 and 1.3 of the gateway's own listeners, HTTP/2 by ALPN. The gateway reloads files that change.
    Tls {
        /// PEM file of the certificate chain. Absent = no TLS.
        certificate_file: Option<PathBuf> = Text => absent;
        /// Reference to the private key of the certificate, PEM.
        key: Option<values::Secret> = Secret => absent;
        /// PEM file of the certificate authorities that issue client certificates. Absent = the gateway asks for no client
        /// certificate.
        client_ca_file: Option<PathBuf> = Text => absent;
        /// PEM file of certificate revocation lists (CRLs) of these authorities. Absent = no revocation check. After the
        /// `nextUpdate` date of a list the gateway rejects the client certificates of its issuer, and does not start with it.
        client_crl_file: Option<PathBuf> = Text => absent;
        /// Accepts client certificates although the CRL of their issuer is out of date. Certificates that were revoked since
        /// then are accepted too.
        allow_expired_crl: bool = Flag => "false";
        /// `required`: the gateway refuses connections without a client certificate.
        client_auth: ClientAuth = Word(&["optional", "required"]) => "optional";
        /// Listeners that use TLS.
        listeners: Vec<Listener> = Words(LISTENERS) => "api";
    }

    /// Limits for each caller and for all callers together.
    Limits {
        /// Maximum of open connections of the API and the compatibility endpoints together. At the maximum, a new connection
        /// replaces the longest idle connection of the address with the most connections, or waits if none is idle. At the
        /// start the gateway lowers the value to the number of files the process may open (`ulimit -n`), less a reserve.
        max_connections: usize = Whole(1, 1_000_000) => "16384";
        /// Maximum size of the header section of a request, in bytes.
        max_header_bytes: usize = Whole(8192, MEBIBYTE) => "65536";
        /// Time limit for receiving the header section of a request, in seconds.
        header_timeout_seconds: Duration = Seconds(0.1, 3600.0) => "10";
        /// Maximum size of the body of a request, in bytes. A restore of the maximum number of disks needs half the default.
        max_body_bytes: usize = Whole(1024, 64 * MEBIBYTE) => "65536";
        /// Time limit for receiving the body of a request, in seconds.
        body_timeout_seconds: Duration = Seconds(0.1, 3600.0) => "10";
        /// Time limit for writing a response to a client, in seconds.
        write_timeout_seconds: Duration = Seconds(0.1, 3600.0) => "30";
        /// Time limit for a whole request, from its first byte to the response, in seconds. It must be longer than
        /// `max_wait_seconds` and `submit.sync_wait_seconds`.
        request_timeout_seconds: Duration = Seconds(0.1, 3600.0) => "90";
        /// Maximum nesting depth of JSON.
        max_json_depth: usize = Whole(8, 120) => "32";
        /// Maximum resident memory of the process, in bytes. Above it, the API and the compatibility endpoints reject requests
        /// with 503 and accept connections slowly; the admin listener keeps working. A quarter of it is for responses that
        /// clients have not read yet, an eighth for incomplete request headers. Linux only. 0 = no limit.
        max_memory_bytes: usize = Whole(0, 1_048_576 * MEBIBYTE) => "1073741824";
        /// Maximum of concurrent requests, each counted until its response is written. Further requests get 503.
        max_in_flight: usize = Whole(1, 1_000_000) => "1024";
        /// Largest part of `max_connections`, `max_in_flight` and `max_waits` that one client address may use, from 0 to 1. An
        /// IPv6 network of 64 bits counts as one address. 1 = no limit per address: for a gateway behind one proxy, which
        /// must then limit its clients itself.
        max_share_per_address: f64 = UpTo(1.0) => "0.5";
        /// Maximum of requests that wait for a restore with `Prefer: wait`. Further ones are answered at once.
        max_waits: usize = Whole(0, 1_000_000) => "4096";
        /// Maximum of rejections per second without delay: invalid requests (400, 408, 413, 415, 422) and requests without
        /// a valid identity (401, and 503 while the identity provider is unavailable). Further rejections are delayed by up to
        /// one second. 0 = no limit.
        rejections_per_second: u32 = Whole(0, 1_000_000) => "200";
        /// Maximum of the seconds that a client may ask for with `Prefer: wait`.
        max_wait_seconds: Duration = Seconds(0.0, 3600.0) => "60";
        /// Maximum of restores or events on one page of a list.
        max_page_size: usize = Whole(1, 1000) => "100";
        /// Delay between a stop signal and the closing of the listeners, in seconds. Meanwhile `/readyz` answers 503, so that
        /// a load balancer stops sending requests.
        shutdown_delay_seconds: Duration = Seconds(0.0, 3600.0) => "0";
        /// Time limit for running requests to complete after that delay, in seconds.
        shutdown_timeout_seconds: Duration = Seconds(0.0, 3600.0) => "30";
        /// Maximum of open event streams. Further ones get 503.
        max_streams: usize = Whole(1, 1_000_000) => "256";
        /// Maximum age of an event stream, in seconds. A client reconnects and resumes after the last event that it received.
        stream_max_age_seconds: Duration = Seconds(1.0, 86_400.0) => "3600";
        /// Maximum of requests per second of one caller. 0 = no limit.
        rate_per_second: u32 = Whole(0, 1_000_000) => "0";
        /// Number of requests that one caller may send at once before the rate limit applies.
        rate_burst: u32 = Whole(1, 1_000_000) => "50";
    }

    /// The ledger: the durable journal of restores.
    Ledger {
        /// Database: `sqlite:PATH` for one gateway, `postgres://user@host:port/database?sslmode=verify-full` for several
        /// replicas, or `memory:` for trials. A ledger in memory loses all restores when the process ends.
        url: LedgerUrl = LedgerAt => "sqlite:restore-gateway.db";
        /// Reference to the password of the user in a PostgreSQL `url`. Absent = none.
        password: Option<values::Secret> = Secret => absent;
        /// Seconds without a heartbeat after which another replica takes over the restores of a replica. PostgreSQL only.
        lease_seconds: Duration = Seconds(3.0, 300.0) => "30";
        /// Days for which a restore is kept after its end. 0 = no deletion.
        retention_days: u32 = Whole(0, 36_500) => "0";
    }

    /// How the gateway sends a restore.
    Submit {
        /// Time for which a submit waits for the cloud's answer, in seconds. After that the client gets 202 with the status
        /// `submitting`.
        sync_wait_seconds: Duration = Seconds(0.0, 3600.0) => "15";
        /// Time after the first attempt of a restore within which another attempt may begin, in seconds.
        retry_deadline_seconds: Duration = Seconds(1.0, 3600.0) => "120";
        /// Maximum of attempts per restore. A second attempt needs proof that the first was not applied.
        max_attempts: u32 = Whole(1, 3) => "3";
        /// Maximum of a cloud's `Retry-After` that the gateway waits for, in seconds.
        max_retry_after_seconds: Duration = Seconds(0.0, 3600.0) => "30";
        /// Time after the end of a restore during which an identical request without an `Idempotency-Key` returns that restore
        /// and starts no new one, in seconds. For a caller that signs its requests it is at least 900, because a signature can
        /// be repeated for that long.
        dedup_window_seconds: Duration = Seconds(0.0, LONGEST) => "900";
        /// Time during which a repeated `Idempotency-Key` returns its first restore, in seconds.
        idempotency_key_ttl_seconds: Duration = Seconds(60.0, LONGEST) => "86400";
        /// Maximum of stored idempotency keys per caller. A key is stored for 30 days after the end of its restore, whatever
        /// its lifetime is; several replicas may exceed the maximum by a few.
        max_keys_per_caller: usize = Whole(1, 10_000_000) => "100000";
    }

    /// How the gateway polls the clouds until a restore has ended.
    Polling {
        /// Interval between two polls of a running restore, in seconds. Absent = the interval of the generation: 5 seconds at first, then 15. csbs-v1: a tenth of the age, from 10 to 60 seconds.
        interval_seconds: Option<Duration> = Seconds(0.5, 3600.0) => absent;
        /// Time for which a polled status is cached, in seconds.
        status_cache_ttl_seconds: Duration = Seconds(0.0, 3600.0) => "2";
        /// Time after the send deadline before a missing task can count as proof that a restore was not applied, in seconds.
        absence_confirmation_seconds: Duration = Seconds(1.0, LONGEST) => "180";
        /// Time that a cloud may take to show a restore that it accepted, in seconds.
        visibility_grace_seconds: Duration = Seconds(0.0, LONGEST) => "120";
        /// Time after which a running restore is marked as overdue, in seconds. The gateway continues to poll it.
        overdue_seconds: Duration = Seconds(1.0, LONGEST) => "7200";
        /// Time after which a restore with the status `unknown` is marked with `needs_operator`, in seconds.
        operator_escalation_seconds: Duration = Seconds(1.0, LONGEST) => "3600";
    }

    /// Logs, traces and metrics.
    Telemetry {
        /// Service name in traces and metrics.
        service_name: String = Text => "restore-gateway";
        /// URL of an OpenTelemetry collector for traces and metrics over OTLP/HTTP, such as `http://127.0.0.1:4318`. Absent =
        /// no export.
        otlp_endpoint: Option<Uri> = Url => absent;
        /// Interval between two exports of metrics to that collector, in seconds. 0 = no export of metrics; `/metrics` serves
        /// them in any case.
        otlp_metrics_interval_seconds: Option<Duration> = OrNone(&Seconds(0.5, 3600.0)) => "60";
        /// Part of the traces that is sampled where the client made no decision, from 0 to 1.
        sample_ratio: f64 = UpTo(1.0) => "0.05";
        /// If true, the gateway follows the sampling decision of a client. On a listener with callers it ignores the decision
        /// of an unauthenticated client in any case.
        trust_remote_sampling: bool = Flag => "true";
        /// Time limit of one export, in seconds.
        export_timeout_seconds: Duration = Seconds(0.1, 300.0) => "5";
        /// Maximum of spans that wait for export. Further spans are dropped and counted.
        max_queued_spans: usize = Whole(1, 1_000_000) => "2048";
        /// Minimum severity of log lines.
        log_level: tracing::Level = Word(&["error", "warn", "info", "debug", "trace"]) => "info";
        /// Format of log lines: `json` for machines, `text` for people.
        log_format: LogFormat = Word(&["json", "text"]) => "json";
        /// If true, the gateway logs each request.
        access_log: bool = Flag => "false";
        /// Part of the requests that `access_log` covers, from 0 to 1. Responses of 5xx are always logged.
        access_log_ratio: f64 = UpTo(1.0) => "1.0";
    }

    /// One cloud API that can carry out a restore.
    Upstream {
        /// Name that routes refer to: lower-case letters, digits and dashes, at most 40.
        name: String = Name => required;
        /// API generation that the upstream implements.
        generation: String = Generation => required;
        /// Base URL of the API, with or without a path in front of the API's own. Absent = taken from the service catalog in
        /// the token of its credential, and so is `evs_endpoint`; only a credential of IAM has a catalog.
        endpoint: Option<Uri> = Url => absent;
        /// Region in the service catalog, where `endpoint` is absent. Absent = the only region of the catalog.
        region: Option<String> = Text => absent;
        /// Base URL of the block storage API (Elastic Volume Service, EVS) of the same cloud, which the disk checks read.
        /// Absent = no disk checks.
        evs_endpoint: Option<Uri> = Url => absent;
        /// Token that the gateway sends: `passthrough` is the caller's own, anything else the name of a credential.
        credential: String = CredentialName => "passthrough";
        /// Time limit for a connection including TLS, in seconds.
        connect_timeout_seconds: Duration = Seconds(0.1, 300.0) => "5";
        /// Time limit for one restore call, from its first byte to the end of the response, in seconds.
        send_timeout_seconds: Duration = Seconds(0.1, 3600.0) => "30";
        /// Time limit for one status read, in seconds.
        read_timeout_seconds: Duration = Seconds(0.1, 3600.0) => "15";
        /// Maximum of concurrent calls. Further calls wait.
        max_concurrency: usize = Whole(1, 100_000) => "64";
        /// Maximum of status reads per minute. Restore calls take precedence and count. 0 = no limit.
        polls_per_minute: u32 = Whole(0, 1_000_000) => "600";
        /// Maximum size of a response body, in bytes.
        max_body_bytes: usize = Whole(1024, 64 * MEBIBYTE) => "1048576";
        /// Circuit breaker of this upstream.
        circuit_breaker: CircuitBreaker = Table(CircuitBreaker::KEYS) => absent;
        /// PEM file of certificate authorities to trust in addition to the system's. Absent = none.
        ca_file: Option<PathBuf> = Text => absent;
        /// PEM file of the client certificate for this upstream, followed by its intermediate certificates. Absent = none.
        client_certificate_file: Option<PathBuf> = Text => absent;
        /// Reference to the private key of the client certificate, PEM.
        client_key: Option<values::Secret> = Secret => absent;
        /// If true, the gateway uses HTTP/2.
        http2: bool = Flag => "false";
    }

    /// The circuit breaker of an upstream: it stops calls to an upstream that fails again and again.
    CircuitBreaker {
        /// Number of consecutive failures that open the circuit. 0 = no circuit breaker.
        failure_threshold: u32 = Whole(0, 1_000_000) => "5";
        /// Time for which the circuit stays open before one call is tried, in seconds.
        open_seconds: Duration = Seconds(0.1, 3600.0) => "10";
    }

    /// One cloud identity of the gateway itself. It is used in place of the callers' tokens. Its type decides which keys it has.
    Credential {
        /// Name that upstreams refer to: lower-case letters, digits and dashes, at most 40; not `passthrough`.
        name: String = Name => required;
        /// Authentication method: the password of a user, an agency that such a user assumes, a token that the gateway exchanges
        /// for a scoped one, or an access key that signs each call.
        r#type: CredentialKind = Word(&["iam-password", "iam-agency", "iam-token", "aksk"]) => required;
        /// Base URL of Identity and Access Management (IAM), without `/v3`. All types except `aksk`.
        iam_endpoint: Option<Uri> = Url => absent;
        /// PEM file of certificate authorities to trust for IAM in addition to the system's. Absent = none. Not for `aksk`.
        ca_file: Option<PathBuf> = Text => absent;
        /// Name of the user. For `iam-password` and `iam-agency`.
        user: Option<String> = Text => absent;
        /// Name of the user's domain. For `iam-password` and `iam-agency`.
        domain: Option<String> = Text => absent;
        /// Reference to the user's password. For `iam-password` and `iam-agency`.
        password: Option<values::Secret> = Secret => absent;
        /// Name of the agency. For `iam-agency`.
        agency_name: Option<String> = Text => absent;
        /// Name of the domain that created the agency. For `iam-agency`.
        agency_domain: Option<String> = Text => absent;
        /// JSON member that carries the agency's name in the request: `agency_name`, or `xrole_name` where IAM requires it.
        /// Absent = `agency_name`. For `iam-agency`.
        agency_member: Option<AgencyMember> = Word(&["agency_name", "xrole_name"]) => absent;
        /// Reference to the token that is exchanged for a project token. For `iam-token`.
        token: Option<values::Secret> = Secret => absent;
        /// Reference to the access key. For `aksk`.
        access_key: Option<values::Secret> = Secret => absent;
        /// Reference to the secret key. For `aksk`.
        secret_key: Option<values::Secret> = Secret => absent;
        /// Reference to the security token of a temporary access key. For `aksk`. Absent = the key is permanent.
        security_token: Option<values::Secret> = Secret => absent;
        /// Name of the project, such as `eu-de`. Absent = `project_id` selects it. Not for `aksk`.
        project: Option<String> = Text => absent;
        /// ID of the project. It takes precedence over the name. Required for `aksk`.
        project_id: Option<String> = Text => absent;
    }

    /// One client, or one group of clients, that the gateway authenticates.
    Caller {
        /// Name in policies and logs: lower-case letters, digits and dashes, at most 40.
        name: String = Name => required;
        /// Authentication method.
        r#type: CallerKind = Word(&["api-key", "jwt", "mtls", "iam-token", "aksk"]) => required;
        /// Listeners that accept the caller.
        listeners: Vec<Listener> = Words(LISTENERS) => "api";
        /// api-key: `sha256:` and the hexadecimal SHA-256 hash of the key. `restore-gateway generate api-key` makes both.
        key_hash: Option<String> = KeyHash => absent;
        /// api-key: reference to the key itself, instead of its hash. At least 32 characters. Reloaded when it changes.
        key: Option<values::Secret> = Secret => absent;
        /// api-key: hash of the previous key, while it stays valid during a rotation.
        previous_key_hash: Option<String> = KeyHash => absent;
        /// jwt: required value of the claim `iss`.
        issuer: Option<String> = Text => absent;
        /// jwt: required value of the claim `aud`.
        audience: Option<String> = Text => absent;
        /// jwt: URL of the issuer's JSON Web Key Set (JWKS).
        jwks_url: Option<Uri> = Url => absent;
        /// jwt: file of the issuer's JWKS, instead of a URL. Reloaded when it changes.
        jwks_file: Option<PathBuf> = Text => absent;
        /// jwt: accepted signature algorithms. Absent = RS256 and ES256.
        algorithms: Option<Vec<String>> = Words(ALGORITHMS) => absent;
        /// jwt: accepted values of the claim `sub`; mtls: accepted certificate subjects, such as `CN=nightly,O=Example`.
        /// Absent = any for jwt, none for mtls.
        subjects: Option<Vec<String>> = Texts => absent;
        /// mtls: accepted subject alternative names of the certificate: `dns:`, `uri:`, `email:` or `ip:` and the name.
        subject_alt_names: Option<Vec<String>> = Texts => absent;
        /// iam-token: base URL of IAM, without `/v3`.
        iam_endpoint: Option<Uri> = Url => absent;
        /// iam-token: names of the domains whose tokens are accepted. Absent = `project_ids` decides.
        domains: Option<Vec<String>> = Texts => absent;
        /// iam-token: projects whose tokens are accepted. aksk: projects of the key.
        project_ids: Option<Vec<String>> = Ids => absent;
        /// aksk: reference to the access key.
        access_key: Option<values::Secret> = Secret => absent;
        /// aksk: reference to the secret key.
        secret_key: Option<values::Secret> = Secret => absent;
        /// jwt, iam-token: PEM file of certificate authorities to trust for the issuer or IAM in addition to the system's.
        ca_file: Option<PathBuf> = Text => absent;
        /// Maximum of requests per second of this caller. Absent = `limits.rate_per_second`.
        rate_per_second: Option<u32> = Whole(1, 1_000_000) => absent;
        /// Number of requests that this caller may send at once before the rate limit applies. Absent = `limits.rate_burst`.
        rate_burst: Option<u32> = Whole(1, 1_000_000) => absent;
    }

    /// Permissions of some callers.
    Policy {
        /// Names of the callers.
        callers: Vec<String> = Texts => required;
        /// Allowed actions: `restore` (submit and cancel restores), `read` (read own restores), `read-any` (read all restores),
        /// `check`, `preview` and, on the admin listener, `resolve`. Actions on the whole gateway (reload, log level, recovery,
        /// webhooks) need a `resolve` without `match` and `upstreams`.
        actions: Vec<String> = Words(ACTIONS) => required;
        /// Names of the upstreams that the policy covers. Absent = all.
        upstreams: Option<Vec<String>> = Texts => absent;
        /// Restores that the policy covers. Absent = all.
        r#match: Match = Table(Match::KEYS) => absent;
    }

    /// One receiver of signed messages about restores, as <https://www.standardwebhooks.com> specifies.
    Webhook {
        /// Name in logs, metrics and the ledger: lower-case letters, digits and dashes, at most 40.
        name: String = Name => required;
        /// URL that receives the messages, https. The gateway does not follow redirects. The path may be a credential and is
        /// never shown.
        url: values::HookUrl = Url => required;
        /// Reference to the signing secret: `whsec_` and the base64 of 24 to 64 bytes.
        secret: values::Secret = Secret => required;
        /// Occasions that cause a message. Absent = all.
        events: Option<Vec<String>> = Words(OCCASIONS) => absent;
        /// Projects whose restores cause messages. Absent = all.
        project_ids: Option<Vec<String>> = Ids => absent;
        /// Time limit of one delivery, from the DNS lookup to the response, in seconds.
        timeout_seconds: Duration = Seconds(1.0, 60.0) => "15";
        /// Permits receivers on private, loopback and link-local addresses, and plain http.
        allow_private_addresses: bool = Flag => "false";
    }

    /// One routing rule.
    Route {
        /// Restores that match the rule. Absent = all.
        r#match: Match = Table(Match::KEYS) => absent;
        /// APIs through which a restore must arrive to match: `canonical` is the gateway's own API, the others are those of
        /// compatibility endpoints. Absent = any.
        source_apis: Option<Vec<String>> = WaysIn => absent;
        /// Name of the upstream.
        upstream: String = Text => required;
        /// Percentage of the matching targets that take this route, 0 to 100. A target always gets the same decision; the
        /// others continue with the next rule that matches.
        traffic_percent: f64 = UpTo(100.0) => "100";
        /// Name of an upstream of another generation that carries out the restore if this upstream's cloud answers that its
        /// generation is closed for the project (`BackupService.4003`, `BackupService.4008`). That answer proves that nothing
        /// was started. Absent = the restore is rejected.
        fallback_upstream: Option<String> = Text => absent;
        /// If true, the gateway reads the state of backup and target before the send. Later evidence is compared with it.
        baseline_read: bool = Flag => "true";
        /// If true, the gateway restores a server as one disk restore after another, where the upstream restores only single
        /// disks (VBS). This is not atomic: the server must be off and its disks detached, `power_on` has no effect, and some
        /// disks may be restored while others are not. The restore shows the status of each disk.
        per_disk_restore: bool = Flag => "false";
        /// `required`: a request must have an `Idempotency-Key`.
        idempotency_key: IdempotencyKey = Word(&["optional", "required"]) => "optional";
        /// Time after which a running restore of this route is marked as overdue, in seconds. Absent =
        /// `polling.overdue_seconds`.
        overdue_seconds: Duration = Seconds(1.0, LONGEST) => absent;
        /// Lifetime of an idempotency key of this route, in seconds. Absent = `submit.idempotency_key_ttl_seconds`.
        idempotency_key_ttl_seconds: Duration = Seconds(60.0, LONGEST) => absent;
        /// Deduplication window of this route, in seconds. Absent = `submit.dedup_window_seconds`.
        dedup_window_seconds: Duration = Seconds(0.0, LONGEST) => absent;
    }

    /// Mapping between the IDs that different generations give to the same backup.
    IdMapping {
        /// CSV file of known pairs with the columns `from`, `from_id`, `to`, `to_id`: two generations and the ID of one backup
        /// in each. Reloaded when it changes. Absent = the gateway asks the clouds, and rejects a request whose backup it
        /// cannot identify.
        file: Option<PathBuf> = Text => absent;
    }

    /// One compatibility endpoint: it accepts the request format of an existing cloud API on a separate listener, under a
    /// host name or behind a path prefix, because some of these APIs share their paths.
    CompatEndpoint {
        /// API that the endpoint accepts.
        api: String = SourceApi => required;
        /// Path prefix in front of the API's own paths on the API listener, such as `/csbs`.
        prefix: Option<String> = Text => absent;
        /// Value of the `Host` header that selects the endpoint on the API listener: no IP address, and no name of the API
        /// itself. It takes precedence over the prefixes of other endpoints.
        host: Option<String> = Text => absent;
        /// Address and port of a separate listener. TLS, callers and limits are those of the API.
        listen: Option<SocketAddr> = Address => absent;
        /// Name of an upstream of the same generation that answers reads the gateway cannot answer, and that identifies backups
        /// when another generation restores them. Absent = the only upstream of that generation, if there is one. Required if
        /// there are several.
        upstream: Option<String> = Text => absent;
        /// If true, responses have a `Deprecation` header where a date for it is known.
        announce_deprecation: bool = Flag => "true";
        /// Date in the `Deprecation` header, such as `2025-07-28`. Absent = the date on which the generation was closed to new
        /// projects (2025-07-28 for CSBS and VBS), or no header where it is open.
        deprecated_since: Option<String> = Text => absent;
        /// Date in the `Sunset` header: the planned end of the endpoint. The gateway does not close it. Absent = no header.
        sunset: Option<String> = Text => absent;
        /// URL in the `Link` header: a page that explains the migration. Sent with `Deprecation` or `Sunset`. Absent = none.
        link: Option<Uri> = Url => absent;
    }

    /// Conditions of a route or a policy. Each list that is present must contain the value of the restore.
    Match {
        /// Project IDs. Absent = any.
        project_ids: Option<Vec<String>> = Ids => absent;
        /// Types of target. Absent = any.
        target_types: Option<Vec<Target>> = Words(&["server", "volume", "resource"]) => absent;
        /// IDs of backups to restore from. A backup of one generation has another ID in another. Absent = any.
        backup_ids: Option<Vec<String>> = Ids => absent;
        /// IDs of servers to restore. With this key only restores of a server match. Absent = any.
        server_ids: Option<Vec<String>> = Ids => absent;
        /// IDs of disks to restore. With this key only restores of a single disk match. A policy with `server_ids` or
        /// `target_types` also matches restores of a server if every mapped disk is in the list. Absent = any.
        volume_ids: Option<Vec<String>> = Ids => absent;
    }
}
