//! The list: every key, once. See the documentation of [`super`] for how to add one.

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

/// What can be listened on.
const LISTENERS: &[&str] = &["api", "admin"];
/// The longest time that can be set anywhere, in seconds: 30 days.
const LONGEST: f64 = 2_592_000.0;
const MEBIBYTE: u64 = 1_048_576;
/// What a caller can be allowed.
const ACTIONS: &[&str] = restore_engine::Action::WORDS;
/// Signatures of tokens that can be checked.
const ALGORITHMS: &[&str] =
    &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
/// What a webhook can be told.
const OCCASIONS: &[&str] = restore_webhooks::OCCASIONS;

tables! {
    /// The settings of one gateway: checked, complete, ready to use.
    Settings {
        /// Where the gateway listens.
        listen: Listen = Table(Listen::KEYS) => absent;
        /// TLS for those who call the gateway.
        tls: Tls = Table(Tls::KEYS) => absent;
        /// What one caller, and all of them together, may take.
        limits: Limits = Table(Limits::KEYS) => absent;
        /// Where restores are recorded.
        ledger: Ledger = Table(Ledger::KEYS) => absent;
        /// How a restore is sent.
        submit: Submit = Table(Submit::KEYS) => absent;
        /// How a restore is followed to its end.
        follow: Follow = Table(Follow::KEYS) => absent;
        /// What the gateway tells about itself.
        telemetry: Telemetry = Table(Telemetry::KEYS) => absent;
        /// The clouds a restore can be sent to. At least one.
        upstreams: Vec<Upstream> = Tables(Upstream::KEYS) => absent;
        /// Identities of the gateway's own. None = callers bring their tokens.
        credentials: Vec<Credential> = Tables(Credential::KEYS) => absent;
        /// Who may talk to the gateway. None = whoever reaches it, which then only this machine can.
        callers: Vec<Caller> = Tables(Caller::KEYS) => absent;
        /// What callers may do. Once there are callers, what no policy allows is denied.
        policies: Vec<Policy> = Tables(Policy::KEYS) => absent;
        /// Who is told what becomes of restores, by signed messages. None = nobody.
        webhooks: Vec<Webhook> = Tables(Webhook::KEYS) => absent;
        /// What backups are called by other generations than the one that made them.
        ids: Ids = Table(Ids::KEYS) => absent;
        /// Where programs that speak a native dialect are let in. None = nowhere.
        doors: Vec<Door> = Tables(Door::KEYS) => absent;
        /// Which restore goes to which upstream: the first that matches wins, no match is refused. At least one.
        routes: Vec<Route> = Tables(Route::KEYS) => absent;
    }

    /// Where the gateway listens.
    Listen {
        /// Address and port of the API for callers.
        api: SocketAddr = Address => "127.0.0.1:8080";
        /// Address and port of the admin pages: health, metrics, settings, operator actions.
        admin: SocketAddr = Address => "127.0.0.1:8081";
        /// Further hosts that requests may name on a listener without callers, or on the admin listener on loopback: such a
        /// listener refuses requests for another host, so that a page in a browser reaches it by no name of its own. Names
        /// of this machine count always, and any IP address where other machines can reach the listener. Where there are
        /// names, a signed request must be for one of them, or for the listener's address. Absent = none.
        names: Option<Vec<String>> = Texts => absent;
        /// Permits an address that other machines can reach for the API, or for a door, without `callers`: everybody can
        /// then restore with the token they bring. The admin listener needs no permission: without callers it shows other
        /// machines `/livez`, `/readyz` and `/metrics` alone.
        dangerous_allow_remote: bool = Flag => "false";
    }

    /// TLS for those who call the gateway: 1.2 and 1.3, HTTP/2 by ALPN. Files are read again when they change.
    Tls {
        /// PEM file of the certificate chain. Absent = no TLS.
        certificate: Option<PathBuf> = Text => absent;
        /// PEM of its private key: where it is.
        key: Option<values::Secret> = Secret => absent;
        /// PEM file of the authorities that sign client certificates. Absent = none are asked for.
        client_ca: Option<PathBuf> = Text => absent;
        /// PEM file of their revocation lists. Absent = none are looked at. Past the date of a list (`nextUpdate`), client
        /// certificates of its issuer are refused, and a start with it fails.
        client_crl: Option<PathBuf> = Text => absent;
        /// Accept client certificates by a revocation list that is past its date: who was withdrawn since gets in.
        dangerous_allow_expired_crl: bool = Flag => "false";
        /// Whether a client without a certificate gets a connection.
        client_auth: ClientAuth = Word(&["optional", "required"]) => "optional";
        /// Which listeners speak TLS.
        listener: Vec<Listener> = Words(LISTENERS) => "api";
    }

    /// What one caller, and all of them together, may take.
    Limits {
        /// Connections open at once, of the API and the doors together. For one more, the one is closed that has been idle
        /// longest, of the address that has most; where none is idle it waits. Lowered at the start to what the process may
        /// open files for (`ulimit -n`), less what ledger, clouds and admin pages need.
        connections: usize = Whole(1, 1_000_000) => "16384";
        /// Bytes of the header section of a request.
        header_bytes: usize = Whole(8192, MEBIBYTE) => "65536";
        /// Seconds a caller may take to send the header section.
        header_seconds: Duration = Seconds(0.1, 3600.0) => "10";
        /// Bytes of the body of a request. A restore of as many disks as there may be has half of this.
        body_bytes: usize = Whole(1024, 64 * MEBIBYTE) => "65536";
        /// Seconds a caller may take to send the body.
        body_seconds: Duration = Seconds(0.1, 3600.0) => "10";
        /// Seconds a caller may take to read an answer.
        write_seconds: Duration = Seconds(0.1, 3600.0) => "30";
        /// Seconds for a whole request, from its first byte to the answer. Longer than `wait_seconds` and
        /// `submit.answer_seconds`.
        request_seconds: Duration = Seconds(0.1, 3600.0) => "90";
        /// How deeply JSON may nest.
        json_depth: usize = Whole(8, 120) => "32";
        /// Bytes of memory the process may hold; above that, the API and the doors turn every request away with 503 and
        /// connections are accepted slowly, while the admin listener serves on. A quarter of it is for answers that nobody has
        /// read yet, an eighth for heads of requests that are not whole. Linux only. 0 = no ceiling.
        memory_bytes: usize = Whole(0, 1_048_576 * MEBIBYTE) => "1073741824";
        /// Requests at once that are worked on or whose answer is not yet written; more are turned away with 503.
        in_flight: usize = Whole(1, 1_000_000) => "1024";
        /// Share of `connections`, of `in_flight` and of `waits` that one address may have, from 0 to 1; of IPv6, one network
        /// of 64 bits. What is over it is turned away, so that others find room. 1 = no share: for a gateway that all
        /// callers reach through one proxy, which then must see to it that nobody takes all.
        peer_share: f64 = Ratio => "0.5";
        /// Requests at once that wait for a restore by `Prefer: wait`; who comes when there are more is answered at once.
        waits: usize = Whole(0, 1_000_000) => "4096";
        /// Requests per second that are refused at once for what they are (400, 408, 413, 415, 422) or for who
        /// sends them (401, and 503 where nobody can say who it is); more wait for their refusal, up to a second, so that a hostile crowd is slowed down. 0 = no limit.
        refusals_per_second: u32 = Whole(0, 1_000_000) => "200";
        /// Seconds that `Prefer: wait` can ask for at most.
        wait_seconds: Duration = Seconds(0.0, 3600.0) => "60";
        /// Restores or events on one page of a list at most.
        page_size: usize = Whole(1, 1000) => "100";
        /// Seconds for which everything is still served after a stop was asked for, while `/readyz` says no and answers
        /// close their connections, so that a balancer turns elsewhere before the listeners close.
        unready_seconds: Duration = Seconds(0.0, 3600.0) => "0";
        /// Seconds that running requests have to end after that.
        drain_seconds: Duration = Seconds(0.0, 3600.0) => "30";
        /// Streams of events open at once; more are turned away with 503.
        streams: usize = Whole(1, 1_000_000) => "256";
        /// Seconds that one stream lives; its reader comes back and goes on after the last event it has seen.
        stream_seconds: Duration = Seconds(1.0, 86_400.0) => "3600";
        /// Requests per second of one caller. 0 = no limit.
        rate_per_second: u32 = Whole(0, 1_000_000) => "0";
        /// Requests one caller may make at once before the rate counts.
        rate_burst: u32 = Whole(1, 1_000_000) => "50";
    }

    /// Where restores are recorded.
    Ledger {
        /// `sqlite:PATH` for one gateway, `postgres://user@host:port/database?sslmode=verify-full` for several, or
        /// `memory:` for trials: a ledger in memory forgets every restore at the end of the process.
        url: LedgerUrl = LedgerAt => "sqlite:restore-gateway.db";
        /// Password of the user in a postgresql `url`: where it is, never the password itself. Absent = none.
        password: Option<values::Secret> = Secret => absent;
        /// Seconds after which another gateway on the same postgresql ledger takes over the restores of one that
        /// is gone.
        lease_seconds: Duration = Seconds(3.0, 300.0) => "30";
        /// Days that a restore is kept after its end. 0 = for ever.
        retention_days: u32 = Whole(0, 36_500) => "0";
    }

    /// How a restore is sent.
    Submit {
        /// Seconds a caller waits for the cloud's answer before 202 `submitting` is given.
        answer_seconds: Duration = Seconds(0.0, 3600.0) => "15";
        /// Seconds from the first send of one restore within which another may begin.
        deadline_seconds: Duration = Seconds(1.0, 3600.0) => "120";
        /// Sends of one restore at most. A second send needs proof that the first was not applied.
        sends: u32 = Whole(1, 3) => "3";
        /// Seconds of a cloud's `Retry-After` that are honoured at most.
        retry_after_cap_seconds: Duration = Seconds(0.0, 3600.0) => "30";
        /// Seconds after the end of a restore during which an identical request without a key gets the same one.
        duplicate_window_seconds: Duration = Seconds(0.0, LONGEST) => "900";
        /// Seconds during which an idempotency key stands for its restore.
        key_window_seconds: Duration = Seconds(60.0, LONGEST) => "86400";
        /// Idempotency keys of one caller that are remembered at most. Each is remembered for 30 days after the end of
        /// its restore, whatever the window; several replicas may exceed it by a few.
        keys_per_caller: usize = Whole(1, 10_000_000) => "100000";
    }

    /// How a restore is followed to its end.
    Follow {
        /// Seconds between two reads of a running restore. 0 = the rhythm of its generation.
        interval_seconds: Option<Duration> = OrNone(&Seconds(0.5, 3600.0)) => "0";
        /// Seconds that a status read from a cloud is shared by all who ask.
        status_cache_seconds: Duration = Seconds(0.0, 3600.0) => "2";
        /// Seconds past the send's deadline after which absence from a cloud's list counts as proof.
        settle_seconds: Duration = Seconds(1.0, LONGEST) => "180";
        /// Seconds that a cloud has to show a restore it accepted.
        grace_seconds: Duration = Seconds(0.0, LONGEST) => "120";
        /// Seconds after which a running restore is marked overdue. It goes on being followed.
        overdue_seconds: Duration = Seconds(1.0, LONGEST) => "7200";
        /// Seconds after which an unknown outcome is marked as needing an operator.
        unknown_seconds: Duration = Seconds(1.0, LONGEST) => "3600";
    }

    /// What the gateway tells about itself.
    Telemetry {
        /// Name of the service in traces.
        service_name: String = Text => "restore-gateway";
        /// Collector of traces and metrics over OTLP/HTTP, such as `http://127.0.0.1:4318`. Empty = none is told.
        otlp_endpoint: Option<Uri> = OrNone(&Url) => "";
        /// Seconds between two exports of metrics to that collector. 0 = they are only shown, at `/metrics`.
        otlp_metrics_seconds: Option<Duration> = OrNone(&Seconds(0.5, 3600.0)) => "60";
        /// Share of traces that are kept, where the caller has not decided.
        sample_ratio: f64 = Ratio => "0.05";
        /// Whether a caller's decision to trace is followed. A stranger's never is on a listener with callers.
        trust_parent: bool = Flag => "true";
        /// Seconds for one export.
        export_timeout_seconds: Duration = Seconds(0.1, 300.0) => "5";
        /// Spans that wait for export at most; more are dropped and counted.
        queue: usize = Whole(1, 1_000_000) => "2048";
        /// The least severe line that is logged.
        log_level: tracing::Level = Word(&["error", "warn", "info", "debug", "trace"]) => "info";
        /// How a line is written: `json` for machines, `text` for people.
        log_format: LogFormat = Word(&["json", "text"]) => "json";
        /// Whether requests are logged.
        access_log: bool = Flag => "false";
        /// Share of requests that are logged where `access_log` is on; what ends with 5xx is logged in any case.
        access_log_ratio: f64 = Ratio => "1.0";
    }

    /// One cloud a restore can be sent to.
    Upstream {
        /// What routes call it: lower-case letters, digits and dashes, 40 at most.
        name: String = Name => required;
        /// Which API it speaks.
        generation: String = Generation => required;
        /// Its address, with or without a path in front of the API's own. Absent = where the catalog of its credential's
        /// token says, block storage too; only a credential of IAM has a catalog.
        endpoint: Option<Uri> = Url => absent;
        /// Region in the catalog, where `endpoint` is absent. Absent = the only one that there is.
        region: Option<String> = Text => absent;
        /// Address of the same cloud's block storage API, read to check disks. Empty = those checks do not run.
        volumes_endpoint: Option<Uri> = OrNone(&Url) => "";
        /// Whose token is used: `passthrough` is the caller's own, anything else the name of a credential.
        credential: String = CredentialName => "passthrough";
        /// Seconds to connect, TLS included.
        connect_seconds: Duration = Seconds(0.1, 300.0) => "5";
        /// Seconds for one restore call, from its first byte to the end of the answer.
        send_seconds: Duration = Seconds(0.1, 3600.0) => "30";
        /// Seconds for one read of a status.
        read_seconds: Duration = Seconds(0.1, 3600.0) => "15";
        /// Calls at once; more wait.
        concurrency: usize = Whole(1, 100_000) => "64";
        /// Reads of running restores per minute; sends come first and count. 0 = no limit.
        reads_per_minute: u32 = Whole(0, 1_000_000) => "600";
        /// Bytes of an answer that are read at most.
        body_bytes: usize = Whole(1024, 64 * MEBIBYTE) => "1048576";
        /// Failures in a row after which calls are held back. 0 = never.
        breaker_failures: u32 = Whole(0, 1_000_000) => "5";
        /// Seconds that calls are held back before one is tried.
        breaker_seconds: Duration = Seconds(0.1, 3600.0) => "10";
        /// PEM file of certificate authorities to trust besides the system's. Empty = none.
        ca_file: Option<PathBuf> = OrNone(&Text) => "";
        /// PEM file of the certificate that is shown to it, those that issued it after it. Empty = none.
        client_certificate: Option<PathBuf> = OrNone(&Text) => "";
        /// The key of that certificate, PEM: where it is.
        client_key: Option<values::Secret> = Secret => absent;
        /// Whether HTTP/2 is spoken.
        http2: bool = Flag => "false";
    }

    /// One identity of the gateway's own, with which upstreams are called instead of with callers' tokens. Which keys it
    /// has depends on its kind.
    Credential {
        /// What upstreams call it: lower-case letters, digits and dashes, 40 at most; not `passthrough`.
        name: String = Name => required;
        /// How it proves who it is: a user's password, an agency that such a user assumes, a token that is scoped anew, or
        /// an access key that calls are signed with.
        kind: CredentialKind = Word(&["iam-password", "iam-agency", "iam-token", "aksk"]) => required;
        /// Address of IAM, without `/v3`. Of every kind but `aksk`.
        iam: Option<Uri> = Url => absent;
        /// PEM file of certificate authorities to trust, besides the system's, for IAM. Absent = none. Not of `aksk`.
        ca_file: Option<PathBuf> = Text => absent;
        /// Name of the user. Of `iam-password` and `iam-agency`.
        user: Option<String> = Text => absent;
        /// Name of the user's domain. Of `iam-password` and `iam-agency`.
        domain: Option<String> = Text => absent;
        /// The user's password: where it is, never the password itself. Of `iam-password` and `iam-agency`.
        password: Option<values::Secret> = Secret => absent;
        /// Name of the agency. Of `iam-agency`.
        agency_name: Option<String> = Text => absent;
        /// Name of the domain that created the agency. Of `iam-agency`.
        agency_domain: Option<String> = Text => absent;
        /// What the agency's name is called in the request: `agency_name`, or `xrole_name` for an IAM that wants that.
        /// Absent = `agency_name`. Of `iam-agency`.
        agency_member: Option<AgencyMember> = Word(&["agency_name", "xrole_name"]) => absent;
        /// The token that is scoped to the project: where it is. Of `iam-token`.
        token: Option<values::Secret> = Secret => absent;
        /// The access key: where it is. Of `aksk`.
        access_key: Option<values::Secret> = Secret => absent;
        /// The secret key: where it is. Of `aksk`.
        secret_key: Option<values::Secret> = Secret => absent;
        /// The security token of a temporary access key: where it is. Of `aksk`. Absent = the key is permanent.
        security_token: Option<values::Secret> = Secret => absent;
        /// Name of the project it is for, such as `eu-de`. Absent = `project_id` says it. Not of `aksk`.
        project: Option<String> = Text => absent;
        /// Id of that project, which counts before its name. `aksk` must have it.
        project_id: Option<String> = Text => absent;
    }

    /// One caller, or one kind of callers, that the gateway knows.
    Caller {
        /// What policies and the log call it: lower-case letters, digits and dashes, 40 at most.
        name: String = Name => required;
        /// How it shows who it is.
        kind: CallerKind = Word(&["api-key", "jwt", "mtls", "iam-token", "aksk"]) => required;
        /// On which listeners.
        listener: Vec<Listener> = Words(LISTENERS) => "api";
        /// api-key: `sha256:` and the hexadecimal hash of the key; `restore-gateway api-key` makes both.
        hash: Option<String> = KeyHash => absent;
        /// api-key: the key itself, instead of its hash: where it is. At least 32 characters. Read again when it changes.
        key: Option<values::Secret> = Secret => absent;
        /// api-key: the hash of the key before, while it is still good.
        previous_hash: Option<String> = KeyHash => absent;
        /// jwt: the `iss` that its tokens have.
        issuer: Option<String> = Text => absent;
        /// jwt: the `aud` that its tokens have.
        audience: Option<String> = Text => absent;
        /// jwt: address of the issuer's keys (JWKS).
        jwks: Option<Uri> = Url => absent;
        /// jwt: file of the issuer's keys, instead of an address. Read again when it changes.
        jwks_file: Option<PathBuf> = Text => absent;
        /// jwt: the algorithms that are taken. Absent = RS256 and ES256.
        algorithms: Option<Vec<String>> = Words(ALGORITHMS) => absent;
        /// jwt: the `sub` that are taken; mtls: the subject of the certificate, such as `CN=nightly,O=Example`.
        /// Absent = any of jwt, none of mtls.
        subject: Option<Vec<String>> = Texts => absent;
        /// mtls: alternative names of the certificate that are taken: `dns:`, `uri:`, `email:` or `ip:` and the name.
        san: Option<Vec<String>> = Texts => absent;
        /// iam-token: address of IAM, without `/v3`.
        iam: Option<Uri> = Url => absent;
        /// iam-token: names of the domains whose tokens are taken. Absent = `project_id` says it.
        domain: Option<Vec<String>> = Texts => absent;
        /// iam-token: the projects whose tokens are taken. aksk: the projects of the key.
        project_id: Option<Vec<String>> = Ids => absent;
        /// aksk: the access key: where it is.
        access_key: Option<values::Secret> = Secret => absent;
        /// aksk: the secret key: where it is.
        secret_key: Option<values::Secret> = Secret => absent;
        /// jwt, iam-token: PEM file of certificate authorities to trust, besides the system's, for the issuer or IAM.
        ca_file: Option<PathBuf> = Text => absent;
        /// Requests per second of one such caller. Absent = `limits.rate_per_second`.
        rate_per_second: Option<u32> = Whole(1, 1_000_000) => absent;
        /// Requests one such caller may make at once before the rate counts. Absent = `limits.rate_burst`.
        rate_burst: Option<u32> = Whole(1, 1_000_000) => absent;
    }

    /// What some callers may do.
    Policy {
        /// Names of callers.
        callers: Vec<String> = Texts => required;
        /// What they may do: submit and call off `restore`s, `read` their own, `read-any` restore, `check`,
        /// `preview`, and, on the admin listener, `resolve`. What touches the gateway as a whole (reload, log level, recovery,
        /// webhooks) takes a `resolve` without any limit.
        allow: Vec<String> = Words(ACTIONS) => required;
        /// Through which upstreams. Absent = any.
        upstreams: Option<Vec<String>> = Texts => absent;
        /// On what. Absent = on anything.
        r#match: Match = Table(Match::KEYS) => absent;
    }

    /// One receiver of signed messages about restores, after <https://www.standardwebhooks.com>.
    Webhook {
        /// What logs and metrics call it, and what the ledger keeps its messages under: lower-case letters, digits
        /// and dashes, 40 at most.
        name: String = Name => required;
        /// Where messages are posted to, over https. Redirects are not followed. Its path may be a credential and is shown
        /// nowhere.
        url: values::HookUrl = Url => required;
        /// The secret that messages are signed with: where it is. `whsec_` and the base64 of 24 to 64 bytes.
        secret: values::Secret = Secret => required;
        /// What is told. Absent = all of it.
        events: Option<Vec<String>> = Words(OCCASIONS) => absent;
        /// Projects whose restores are told of. Absent = all.
        project_id: Option<Vec<String>> = Ids => absent;
        /// Seconds for one delivery, from the look-up of the name to the answer.
        timeout_seconds: Duration = Seconds(1.0, 60.0) => "15";
        /// Permits receivers on private, loopback and link-local addresses, and plain http.
        dangerous_allow_private: bool = Flag => "false";
    }

    /// Which restores go to an upstream.
    Route {
        /// What a restore must be to take this route. Absent = any.
        r#match: Match = Table(Match::KEYS) => absent;
        /// Dialects of the native doors that a restore may come through to take this route; `canonical` is the API itself.
        /// Absent = any.
        dialect: Option<Vec<String>> = WaysIn => absent;
        /// Name of the upstream.
        upstream: String = Text => required;
        /// Share of the targets that match which takes this route, 0 to 1: always the same ones. The others go on to the
        /// next route that matches.
        share: f64 = Ratio => "1";
        /// Name of an upstream of another generation that a restore goes to instead when this one's cloud says that the
        /// project may no longer use it (`BackupService.4003`, `BackupService.4008`), which starts nothing. Absent = it is
        /// refused.
        on_retired: Option<String> = Text => absent;
        /// Whether the state that later evidence is compared with is read before the send.
        baseline: bool = Flag => "true";
        /// Whether a server may be restored disk by disk, where the upstream restores disks alone (VBS). Such a restore
        /// is not one act: the server must be off and its disks detached, `power_on` does nothing, and some disks may be
        /// restored while others are not. Its status tells each.
        fan_out: bool = Flag => "false";
        /// Whether a request must bring an `Idempotency-Key`.
        idempotency_key: IdempotencyKey = Word(&["optional", "required"]) => "optional";
        /// Seconds after which a running restore of this route is marked overdue. Absent = `follow.overdue_seconds`.
        overdue_seconds: Duration = Seconds(1.0, LONGEST) => absent;
        /// Seconds during which an idempotency key of this route stands for its restore. Absent =
        /// `submit.key_window_seconds`.
        key_window_seconds: Duration = Seconds(60.0, LONGEST) => absent;
        /// Seconds after the end of a restore of this route during which an identical request without a key gets
        /// the same one. Absent = `submit.duplicate_window_seconds`.
        duplicate_window_seconds: Duration = Seconds(0.0, LONGEST) => absent;
    }

    /// What backups are called by other generations than the one that made them.
    Ids {
        /// CSV file of pairs that are known, with the columns `from`, `from_id`, `to`, `to_id`: two generations and what
        /// each calls one backup. Read again when it changes. Empty = none are known, and ids are found by what the
        /// clouds tell, or not at all.
        map_file: Option<PathBuf> = OrNone(&Text) => "";
    }

    /// Where programs are let in that speak a native dialect: on a listener of its own, under a Host name or behind a
    /// prefix, for some dialects share their paths.
    Door {
        /// What is spoken there.
        dialect: String = Dialect => required;
        /// Path in front of the dialect's own, on the listener of the API, such as `/csbs`.
        prefix: Option<String> = Text => absent;
        /// Name in the `Host` header by which programs call it, on the listener of the API: no address, and no name by which
        /// the API is called. It counts before the prefixes of other doors.
        host: Option<String> = Text => absent;
        /// Address and port of a listener of its own. TLS, callers and limits are those of the API.
        listen: Option<SocketAddr> = Address => absent;
        /// Name of the upstream, of the dialect's own generation, that knows what the gateway does not: reads are passed on to
        /// it, and it tells which backup is meant where another generation restores. Absent = the only one of that
        /// generation, or none where there is none; where there are several, one must be named.
        upstream: Option<String> = Text => absent;
        /// The day since which programs should speak something else, such as `2025-07-28`: told in `Deprecation` with every
        /// answer. `no` = it is not old. Absent = as the dialect is: CSBS and VBS were closed to new projects on 2025-07-28.
        deprecated: Option<String> = Text => absent;
        /// The day on which this door is to be closed: told in `Sunset` with every answer. The gateway does not close it.
        /// Absent = no day is known.
        sunset: Option<String> = Text => absent;
        /// Page that tells how to move: told in `Link` where the door is old or ends. Absent = none.
        link: Option<Uri> = Url => absent;
    }

    /// What a restore must be for a route or a policy: every list that is present must hold it.
    Match {
        /// Projects. Absent = any.
        project_id: Option<Vec<String>> = Ids => absent;
        /// Kinds of target. Absent = any.
        target: Option<Vec<Target>> = Words(&["server", "volume", "resource"]) => absent;
        /// Backups that are restored from: what was backed up by one generation stays with it. Absent = any.
        backup_id: Option<Vec<String>> = Ids => absent;
        /// Servers that are restored. Absent = any; present, only restores of a server match.
        server_id: Option<Vec<String>> = Ids => absent;
        /// Disks that are restored. Absent = any; present, only restores of a single disk match, and in a policy also those
        /// of a server that `server_id` or `target` names, if every disk it is mapped to is listed.
        volume_id: Option<Vec<String>> = Ids => absent;
    }
}
