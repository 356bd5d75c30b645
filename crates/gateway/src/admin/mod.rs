//! The admin listener: health, metrics, restores that need an operator, the console, and the decisions of operators. It
//! is on loopback by default.
//!
//! If the configuration names callers for this listener, each request needs one of them, and each change needs a policy
//! with the action `resolve`. Only health is public. Without callers, everybody on this machine is an operator, and
//! other machines see `/livez`, `/readyz` and `/metrics` only. A web page in an operator's browser is no operator: the
//! listener checks `Host` and `Origin`, and a change is a POST of JSON.

pub(crate) mod reload;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, IF_MATCH, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use restore_engine::{Caller, Engine, Page, Resolution};
use restore_ledger::{Entry, Query};
use restore_model::{Code, Problem, ProjectId, ResolvedAs, Restore, Status, Timestamp, json};
use restore_upstream::{BreakerState, Token};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use self::reload::{Loaded, Reload};
use crate::api::{self, App, Asked};
use crate::auth::same_site::SameSite;
use crate::auth::{Callers, Sender};
use crate::console;
use crate::dispatch::Action;
use crate::dispatch::usage::Usage;
use crate::middleware::shed::{Place, Places};
use crate::middleware::well_formed;
use crate::server::arrival::Arrived;
use crate::server::connections::Connections;
use crate::server::memory::Memory;
use crate::server::tls::Tls;
use crate::telemetry::logs::LogLevel;
use crate::telemetry::metrics::{LimitsReached, Metrics};
use crate::web::answer::{self, Answer, Failure};
use crate::web::names::is_seen;
use restore_config::Danger;

/// The admin pages.
pub(crate) struct Admin {
    pub(crate) engine: Engine,
    /// State for the handlers of the API, which answer here as well; with separate streams.
    pub(crate) app: App,
    pub(crate) metrics: Metrics,
    pub(crate) reached: LimitsReached,
    /// Of this listener alone, so that an operator gets in whatever is asked of the API.
    pub(crate) places: Places,
    pub(crate) config: Value,
    /// The names of the configured ones.
    pub(crate) webhooks: Vec<String>,
    pub(crate) stopping: Arc<AtomicBool>,
    pub(crate) same_site: SameSite,
    /// True where only this machine reaches it.
    pub(crate) is_loopback: bool,
    pub(crate) callers: Callers,
    /// Configuration in effect that take a protection away.
    pub(crate) dangers: Vec<Danger>,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) memory: Memory,
    /// Of the API and its compatibility endpoints.
    pub(crate) connections: Connections,
    pub(crate) usage: Usage,
    pub(crate) reload: Reload,
    pub(crate) log_level: LogLevel,
}

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
/// Largest body of a POST.
const BODY: usize = 16 * 1024;
/// Longest time for that body.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Restores on the page of those that need attention, more or less: enough to know that it is bad.
const ATTENTION: usize = 1000;
/// Restores per read for that.
const PAGE: usize = 500;

const PAGES: [&str; 15] = [
    "/console",
    "/livez",
    "/readyz",
    "/metrics",
    "/config",
    "/config/rejected",
    "/triage",
    "/recovery",
    "/recovery/audit",
    "/webhooks",
    "/compat-usage",
    "/log-level",
    "/restores",
    "/restores/{id}",
    "/restores/{id}/events",
];
/// Told to everybody: orchestrators ask without a credential.
const OPEN: [&str; 2] = ["/livez", "/readyz"];

/// True for a peer that is this machine itself.
const fn is_local(peer: IpAddr) -> bool {
    peer.to_canonical().is_loopback()
}

/// True for a page that shows nothing of restores and configuration.
fn tells_little(path: &str) -> bool {
    is_open(path) || path == "/metrics"
}
const ACTIONS: [&str; 5] = [
    "/restores/{id}/resolution",
    "/recovery/confirmation",
    "/webhooks/{name}/enablement",
    "/config/reload",
    "/log-level",
];

/// How a restore was resolved, as an operator writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResolutionBody {
    r#as: ResolvedAs,
    by: String,
    reason: String,
    /// True if to decide before the gateway asks for a decision.
    #[serde(default)]
    r#override: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfirmationBody {
    by: String,
    reason: String,
}

/// Nothing has to be said.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReloadBody {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogLevelBody {
    level: String,
    minutes: u32,
}

impl Admin {
    /// Answers one request.
    pub(crate) async fn answer(
        &self,
        mut request: Request<Arrived>,
    ) -> Result<Response<answer::Body>, Infallible> {
        let path = request.uri().path().to_owned();
        let (peer, changes) = (request.body().arrival.neighbour(), *request.method() == Method::POST);
        let answered = match self.places.enter(peer) {
            Err(failure) => Err(failure),
            Ok(place) => {
                let answered = match self.admitted(&mut request).await {
                    Err(failure) => Err(failure),
                    Ok(caller) if matches!(*request.method(), Method::GET | Method::HEAD) => {
                        self.page(&path, &request, &caller, &place).await
                    }
                    Ok(caller) if changes => self.act(&path, request, &caller).await,
                    Ok(_) => Err(other_method(&path)),
                };
                answered.and_then(|answer| self.places.answer(answer, place, changes))
            }
        };
        let mut answer = answered.unwrap_or_else(|mut failure| {
            self.places.refuse(&mut failure, peer);
            if let Some(limit) = failure.limit {
                self.reached.count(limit);
            }
            answer::failure(failure, &path)
        });
        // As on the API: words of strangers are among these, and an operator may look at them with a browser.
        answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        answer.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        Ok(answer)
    }

    /// The caller, if it may use this listener.
    async fn admitted(&self, request: &mut Request<Arrived>) -> Result<Caller, Failure> {
        well_formed::check(request, &request.body().arrival, &self.same_site)?;
        if self.callers.is_empty() && !self.is_trusted(request) {
            let detail = "operators are known by callers, and this listener has none: ask from the machine of the \
                          gateway, or add [[callers]] with listeners = [\"admin\"]; nothing was done";
            return Err(Failure::from(Problem::new(Code::Unauthenticated, detail)).closing());
        }
        if self.callers.is_empty() || is_open(request.uri().path()) {
            let token = request.headers_mut().remove("x-auth-token");
            return Ok(Caller::anyone(token.as_ref().and_then(Token::from_header)));
        }
        let arrival = &request.body().arrival;
        let certificate = arrival.certificate.clone();
        let request_context = arrival.request_context(request.headers(), None);
        match self.callers.identify(request.headers_mut(), certificate.as_deref(), request_context).await? {
            Sender::Known(caller) => {
                self.engine.permit_watch(&caller)?;
                Ok(caller)
            }
            // The configuration permits no such callers here.
            Sender::Signed(_) => {
                Err(Problem::new(Code::Unauthenticated, "signatures count on the API alone").into())
            }
        }
    }

    /// True for a request that may go on where there are no callers: it comes from this machine, or its page shows
    /// nothing of restores and configuration.
    fn is_trusted(&self, request: &Request<Arrived>) -> bool {
        self.is_loopback
            || is_local(request.body().arrival.peer.address.ip())
            || (matches!(*request.method(), Method::GET | Method::HEAD) && tells_little(request.uri().path()))
    }

    async fn page(
        &self,
        path: &str,
        request: &Request<Arrived>,
        caller: &Caller,
        place: &Place,
    ) -> Result<Answer, Failure> {
        if path == "/config" || path == "/config/rejected" {
            self.engine.permit_overview(caller)?;
        }
        Ok(match path {
            "/" => answer::json(StatusCode::OK, &json!({ "pages": PAGES, "actions": ACTIONS })),
            "/livez" => answer::json(StatusCode::OK, &json!({ "alive": true })),
            "/readyz" => self.ready().await,
            "/metrics" => answer::typed(StatusCode::OK, TEXT, self.metrics.page()),
            "/config" => answer::json(StatusCode::OK, &self.config),
            "/triage" => self.attention(caller).await?,
            "/recovery" => self.recovery(),
            "/recovery/audit" => self.unrecorded(request, caller).await?,
            "/webhooks" => self.webhooks().await?,
            "/config/rejected" => answer::json(StatusCode::OK, &json!({ "rejected": self.reload.refused() })),
            "/log-level" => answer::json(StatusCode::OK, &self.log_level.view()),
            "/compat-usage" => answer::json(StatusCode::OK, &self.usage.report(&self.engine, caller).await?),
            _ => match (console::file(path), of_restores(path)) {
                (Some(file), _) => file,
                (None, Some((action, id))) => {
                    let asked = Asked::elsewhere(request, id, caller.clone(), place.clone());
                    Box::pin(api::perform(&self.app, action, request.method(), asked)).await?
                }
                (None, None) => return Err(other_method(path)),
            },
        })
    }

    async fn act(&self, path: &str, request: Request<Arrived>, caller: &Caller) -> Result<Answer, Failure> {
        if path == "/recovery/confirmation" {
            self.engine.permit_operator(caller)?;
            let ConfirmationBody { by, reason } = body(request).await?;
            self.engine.end_recovery(&person(&by, caller)?, &named(&reason, "reason")?).await?;
            return Ok(self.recovery());
        }
        if path == "/config/reload" {
            self.engine.permit_operator(caller)?;
            let ReloadBody {} = body(request).await?;
            let (changed, on_removed_upstreams) = match self.reload.ask().await? {
                Loaded::Applied { on_removed_upstreams } => (true, json!(on_removed_upstreams)),
                Loaded::Same => (false, json!({})),
            };
            return Ok(answer::json(
                StatusCode::OK,
                &json!({ "changed": changed, "removed_upstreams": on_removed_upstreams, "config": self.reload.view() }),
            ));
        }
        if path == "/log-level" {
            self.engine.permit_operator(caller)?;
            let LogLevelBody { level, minutes } = body(request).await?;
            self.log_level.change(&level, minutes, self.engine.clock().now())?;
            tracing::warn!(level, minutes, by = caller.name(), "log level changed temporarily");
            return Ok(answer::json(StatusCode::OK, &self.log_level.view()));
        }
        if let Some(name) = within(path, "/webhooks/", "/enablement") {
            if !self.webhooks.iter().any(|known| known == name) {
                return Err(Problem::new(Code::NotFound, "no webhook has this name").into());
            }
            self.engine.permit_operator(caller)?;
            let name = name.to_owned();
            let ConfirmationBody { by, reason } = body(request).await?;
            let (by, reason) = (person(&by, caller)?, named(&reason, "reason")?);
            self.engine.enable_webhook(&name, &by, &reason).await?;
            return self.webhooks().await.map_err(Failure::from);
        }
        let Some(id) = within(path, "/restores/", "/resolution") else { return Err(other_method(path)) };
        let id = id
            .parse()
            .map_err(|_| Problem::new(Code::RestoreNotFound, "the path does not name a restore by its id"))?;
        let seen = seen(request.headers())?;
        let ResolutionBody { r#as, by, reason, r#override } = body(request).await?;
        let word = Resolution {
            outcome: r#as,
            by: person(&by, caller)?,
            reason: named(&reason, "reason")?,
            early: r#override,
            seen,
        };
        let entry =
            self.engine.resolve(id, word, caller).await.map_err(|p| Failure::from(p).about(Some(id)))?;
        Ok(answer::json(StatusCode::OK, &Restore::view(&entry.intent, &entry.state)))
    }

    /// Ready means: a restore could be accepted now. An unavailable upstream is reported, and does not
    /// make the gateway unready: others may be available, and restores can still be read.
    async fn ready(&self) -> Answer {
        let mut reasons = self.engine.not_ready().await;
        reasons.extend(self.memory.reason());
        reasons.extend(self.connections.reason());
        let (open, most) = self.connections.count();
        if self.stopping.load(Ordering::Relaxed) {
            reasons.push("the gateway is stopping".to_owned());
        }
        let upstreams: Vec<Value> = self
            .engine
            .breakers()
            .into_iter()
            .map(|(name, state)| {
                let breaker = match state {
                    BreakerState::Closed => "closed",
                    BreakerState::HalfOpen => "half_open",
                    BreakerState::Open => "open",
                };
                json!({ "name": name, "breaker": breaker })
            })
            .collect();
        // Told, and no reason: no replica has another list, and callers without a certificate are served.
        let overdue = self.tls.as_ref().and_then(|tls| tls.overdue_list());
        let client_crl = json!({ "current": overdue.is_none(), "why": overdue });
        let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        answer::json(
            status,
            &json!({
                "ready": reasons.is_empty(),
                "version": crate::version(),
                "reasons": reasons,
                "upstreams": upstreams,
                "connections": { "open": open, "max": most },
                "config": self.reload.view(),
                "dangers": self.dangers,
                "client_crl": client_crl,
            }),
        )
    }

    /// Restores that need an operator: those that wait for a decision, and overdue ones.
    async fn attention(&self, caller: &Caller) -> Result<Answer, Failure> {
        let mut shown = Vec::new();
        let mut before = None;
        while shown.len() < ATTENTION {
            let status = vec![Status::Running, Status::Unknown];
            let query = Query { status, before, limit: PAGE, ..Query::default() };
            let Page { entries, next } = self.engine.list(query, caller).await?;
            let waits = |entry: &Entry| entry.state.needs_operator || entry.state.overdue;
            shown.extend(entries.into_iter().filter(waits));
            before = next;
            if before.is_none() {
                break;
            }
        }
        let view = |wanted: fn(&Restore<'_>) -> bool| -> Vec<Value> {
            let all = shown.iter().map(|entry| Restore::view(&entry.intent, &entry.state));
            all.filter(wanted).map(|restore| json!(restore)).collect()
        };
        Ok(answer::json(
            StatusCode::OK,
            &json!({
                "needs_operator": view(|restore| restore.needs_operator),
                "overdue": view(|restore| restore.overdue),
                "recovery": self.engine.recovery().map(|recovery| recovery.reason),
            }),
        ))
    }

    /// Restores of the cloud that the ledger does not know.
    async fn unrecorded(&self, request: &Request<Arrived>, caller: &Caller) -> Result<Answer, Failure> {
        let mut upstream = None;
        let mut project: Option<ProjectId> = None;
        let mut since: Option<Timestamp> = None;
        for (name, value) in form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()) {
            match &*name {
                "upstream" => upstream = Some(value.into_owned()),
                "project_id" => project = value.parse().ok(),
                "since" => since = value.parse().ok(),
                _ => upstream = None,
            }
        }
        let (Some(upstream), Some(project), Some(since)) = (upstream, project, since) else {
            let detail =
                "query parameters are upstream, project_id and since, a time such as 2026-11-22T10:00:00Z";
            return Err(Problem::new(Code::InvalidParameter, detail).into());
        };
        self.engine.permit_audit(caller, &project, &upstream)?;
        let restores = self.engine.unrecorded(&upstream, &project, since, caller.token.clone()).await?;
        Ok(answer::json(StatusCode::OK, &json!({ "unknown_to_ledger": restores })))
    }

    /// How each webhook stands.
    async fn webhooks(&self) -> Result<Answer, Problem> {
        let mut shown = Vec::new();
        for name in &self.webhooks {
            let (letters, disabled) = self.engine.webhook(name).await?;
            shown.push(json!({
                "name": name,
                "pending_messages": letters.waiting,
                "dead_letters": letters.dead,
                "disabled": disabled,
            }));
        }
        Ok(answer::json(StatusCode::OK, &json!({ "webhooks": shown })))
    }

    fn recovery(&self) -> Answer {
        let recovery = self.engine.recovery();
        let reason = recovery.as_ref().map(|recovery| recovery.reason.as_str());
        answer::json(StatusCode::OK, &json!({ "recovery": recovery.is_some(), "reason": reason }))
    }
}

/// The state that a decision is about: the number in `If-Match`, as `ETag` gave it. `*`, and no such header, mean any state.
fn seen(headers: &HeaderMap) -> Result<Option<u32>, Problem> {
    let mut values = headers.get_all(IF_MATCH).iter();
    let (value, more) = (values.next(), values.next());
    match value.map(|value| value.to_str().unwrap_or_default().trim()) {
        None | Some("*") => Ok(None),
        Some(tag) => tag
            .strip_prefix('"')
            .and_then(|tag| tag.strip_suffix('"'))
            .and_then(|number| number.parse().ok())
            .filter(|_| more.is_none())
            .map(Some)
            .ok_or_else(|| Problem::new(Code::InvalidParameter, "If-Match is not one ETag of a restore")),
    }
}

/// The text between two parts of a path.
fn within<'a>(path: &'a str, before: &str, after: &str) -> Option<&'a str> {
    path.strip_prefix(before)?.strip_suffix(after).filter(|name| !name.contains('/'))
}

/// Told to everybody: what orchestrators ask without a credential, and the console, which says nothing until it has one.
fn is_open(path: &str) -> bool {
    OPEN.contains(&path) || console::has(path)
}

/// The action of the API for a read of restores, and the ID of the restore.
fn of_restores(path: &str) -> Option<(Action, Option<&str>)> {
    let rest = path.strip_prefix("/restores")?;
    if rest.is_empty() {
        return Some((Action::List, None));
    }
    match rest.strip_prefix('/')?.split_once('/') {
        None => Some((Action::Show, rest.get(1..))),
        Some((id, "events")) => Some((Action::Events, Some(id))),
        Some(_) => None,
    }
}

fn is_action(path: &str) -> bool {
    matches!(path, "/recovery/confirmation" | "/config/reload" | "/log-level")
        || within(path, "/restores/", "/resolution").is_some()
        || within(path, "/webhooks/", "/enablement").is_some()
}

fn other_method(path: &str) -> Failure {
    let allow = if path == "/log-level" {
        "GET, HEAD, POST"
    } else if is_action(path) {
        "POST"
    } else if path == "/" || PAGES.contains(&path) || console::has(path) || of_restores(path).is_some() {
        "GET, HEAD"
    } else {
        return Problem::new(Code::NotFound, "GET / lists the pages").into();
    };
    let mut failure = Failure::from(Problem::new(Code::MethodNotAllowed, format!("this path takes {allow}")));
    failure.allow = Some(allow);
    failure
}

async fn body<T: DeserializeOwned>(request: Request<Arrived>) -> Result<T, Failure> {
    if !is_json(request.headers()) {
        return Err(Problem::new(Code::UnsupportedMediaType, "send Content-Type: application/json").into());
    }
    let read = Limited::new(request.into_body().body, BODY).collect();
    let late = || Problem::new(Code::RequestTimeout, "the body did not arrive in time; nothing was changed");
    let body: Bytes = tokio::time::timeout(BODY_TIME, read)
        .await
        .map_err(|_| late())?
        .map_err(|_| Problem::new(Code::BodyTooLarge, format!("more than {BODY} bytes, or cut off")))?
        .to_bytes();
    let value = json::read(&body).map_err(|fault| Problem::new(Code::InvalidJson, fault.to_string()))?;
    serde_json::from_value(value).map_err(|error| {
        // Serde names members and words, never a value that could be a secret.
        Problem::new(Code::InvalidRequest, error.to_string()).into()
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

/// A text that stands in the history for ever: there must be one, on one line, and not a long one.
fn named(text: &str, member: &str) -> Result<String, Problem> {
    let text = text.trim().to_owned();
    if text.is_empty() || text.chars().count() > 500 || !text.chars().all(is_seen) {
        let detail = format!("`{member}` has 1 to 500 visible characters, on one line");
        return Err(Problem::new(Code::InvalidRequest, detail));
    }
    Ok(text)
}

/// The person who decides: the given name, and the name of the caller if it is known.
fn person(by: &str, caller: &Caller) -> Result<String, Problem> {
    let by = named(by, "by")?;
    Ok(caller.name().map_or_else(|| by.clone(), |caller| format!("{by} (caller {caller})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S53: on a listener that others can reach, without callers.
    #[test]
    fn s53_other_machines_see_no_page_that_shows_or_changes_anything() {
        for local in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            assert!(is_local(local.parse().unwrap()), "{local}");
        }
        for other in ["10.0.0.7", "172.18.0.1", "::ffff:10.0.0.7", "fe80::1", "0.0.0.0"] {
            assert!(!is_local(other.parse().unwrap()), "{other}");
        }
        let little: Vec<&str> = PAGES.into_iter().filter(|page| tells_little(page)).collect();
        // The files of the console say nothing by themselves.
        assert_eq!(little, ["/console", "/livez", "/readyz", "/metrics"]);
        assert!(!ACTIONS.into_iter().any(tells_little));
    }
}
