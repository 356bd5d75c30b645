//! Streams of server-sent events: the history of one restore, and the events of all restores that a list shows.
//!
//! Place: the routes of streams, and the list and history routes with `Accept: text/event-stream`. A stream is pulled:
//! the connection requests the next part when the reader has room for it, and only then the part is read from the
//! ledger. Between two parts a stream is only a position in the ledger. So a slow reader costs no memory, and a reader
//! whose connection ends continues with `Last-Event-ID`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, StatusCode};
use restore_engine::{Caller, Engine};
use restore_ledger::{Entry, Position, Query};
use restore_model::{Code, Event, Problem, Restore, RestoreId};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::{App, Asked, preferences};
use crate::auth::SignedUntil;
use crate::telemetry::links::link_to_submit;
use crate::web::answer::{self, Answer, EVENT_STREAM, Failure, HEARTBEAT};

/// Time that a browser waits before it reconnects.
const BEGINNING: &str = "retry: 2000\n\n";
/// After the last event of a restore: a reader need not come back.
const END: &str = "event: end\ndata: {}\n\n";
/// Events read at once.
const PAGE: usize = 64;

/// State that all streams share.
#[derive(Clone)]
pub(crate) struct Streams {
    pool: Arc<Pool>,
    lifetime: Duration,
    stop: CancellationToken,
}

/// The streams that are open, by caller. While there is room a caller may have any number. Once there is none, whoever has
/// clearly fewer than the one who has most gets a place of that one, whose newest stream ends.
struct Pool {
    most: usize,
    open: Mutex<HashMap<String, Vec<Arc<CancellationToken>>>>,
}

impl Pool {
    fn open(&self) -> MutexGuard<'_, HashMap<String, Vec<Arc<CancellationToken>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a caller, if there is one for it.
    fn take(self: &Arc<Self>, name: &str) -> Option<Seat> {
        let mut open = self.open();
        if open.values().map(Vec::len).sum::<usize>() >= self.most {
            let own = open.get(name).map_or(0, Vec::len);
            let (_, greediest) = open.iter_mut().max_by_key(|(_, streams)| streams.len())?;
            // With one more it has no more than the other keeps.
            if greediest.len() <= own + 1 {
                return None;
            }
            greediest.pop()?.cancel();
        }
        let token = Arc::new(CancellationToken::new());
        open.entry(name.to_owned()).or_default().push(Arc::clone(&token));
        Some(Seat { name: name.to_owned(), token, of: Arc::clone(self) })
    }
}

/// One stream's place.
struct Seat {
    name: String,
    /// Cancelled when somebody who has fewer gets the place.
    token: Arc<CancellationToken>,
    of: Arc<Pool>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.of.open();
        if let Some(own) = open.get_mut(&self.name) {
            own.retain(|token| !Arc::ptr_eq(token, &self.token));
            if own.is_empty() {
                open.remove(&self.name);
            }
        }
    }
}

impl Streams {
    /// At most `most` streams at once, each for `lifetime` at most, and none once `stop` is said.
    pub(crate) fn new(most: usize, lifetime: Duration, stop: CancellationToken) -> Self {
        Self { pool: Arc::new(Pool { most, open: Mutex::default() }), lifetime, stop }
    }

    /// Streams in the same places that can be ended by themselves.
    pub(crate) fn apart(&self) -> Self {
        Self { stop: self.stop.child_token(), ..self.clone() }
    }

    /// Ends them all. Their readers come back where they were, and must show anew who they are.
    pub(crate) fn end(&self) {
        self.stop.cancel();
    }

    /// A stream for a caller, that ends with the signature of the request if it has one.
    fn open(&self, caller: &Caller, signed: Option<SignedUntil>) -> Result<Terms, Failure> {
        if self.stop.is_cancelled() {
            return Err(Problem::new(Code::ShuttingDown, "streams of events end just now; come back")
                .after(1)
                .into());
        }
        // On a listener without callers, tokens distinguish the senders.
        let token = || caller.token.as_ref().map(|token| hex::encode(token.digest())).unwrap_or_default();
        let name = caller.name().map_or_else(token, str::to_owned);
        let seat = self.pool.take(&name).ok_or_else(|| {
            let detail =
                "as many streams of events are open as limits.max_streams allows, and no caller has many more";
            Failure::from(Problem::new(Code::Overloaded, detail).after(5)).at_limit("max_streams")
        })?;
        let end = Instant::now() + self.lifetime;
        let end = signed.map_or(end, |SignedUntil(until)| until.min(end));
        Ok(Terms { seat, end, stop: self.stop.clone() })
    }
}

/// How long one stream goes on.
struct Terms {
    seat: Seat,
    end: Instant,
    stop: CancellationToken,
}

impl Terms {
    /// Waits for news; `None` when the stream's time is over.
    async fn during<T>(&self, news: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            () = self.seat.token.cancelled() => None,
            () = tokio::time::sleep_until(self.end) => None,
            news = news => Some(news),
        }
    }
}

/// What a stream reads, in a task of its own; `None` where it cannot be read, which ends the stream: the reader comes back.
/// A stream is looked at when its reader has room for more. What waits for its turn at the ledger must be looked at always,
/// or everybody behind it waits as well.
async fn apart<T: Send + 'static>(
    read: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Option<T> {
    AbortOnDropHandle::new(tokio::spawn(read)).await.ok()?.ok()
}

/// Where the reader was; `None` at its first visit.
fn last_seen<T: FromStr>(headers: &HeaderMap) -> Result<Option<T>, Problem> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let seen = value.to_str().ok().and_then(|text| text.parse().ok());
    let wrong =
        || Problem::new(Code::InvalidParameter, "header Last-Event-ID is the id of an event of this stream");
    seen.map(Some).ok_or_else(wrong)
}

/// The answer to `HEAD`.
pub(super) fn head() -> Answer {
    answer::typed(StatusCode::OK, HeaderValue::from_static(EVENT_STREAM), "")
}

/// `GET /api/v1/restores/{id}/events` as a stream: the whole history, or what follows the last event the reader
/// has seen, and then what comes until the restore has ended.
pub(super) async fn one(app: &App, asked: Asked) -> Result<Answer, Failure> {
    let id = asked.restore_id()?;
    let seen: Option<u32> = last_seen(&asked.headers)?;
    // As a GET does: where nobody follows the restore, this caller's token lets it be followed.
    let caller = asked.caller;
    let entry = app.engine.refresh_and_wait(id, &caller, asked.trace, None).await?;
    link_to_submit(&entry.intent);
    if entry.state.status.is_final() && seen.is_some_and(|seen| seen >= entry.state.seq) {
        // A browser does not reconnect after this.
        let mut answer = answer::typed(StatusCode::NO_CONTENT, HeaderValue::from_static(EVENT_STREAM), "");
        answer.headers_mut().remove(http::header::CONTENT_TYPE);
        return Ok(answer);
    }
    let terms = app.streams.open(&caller, asked.signed_until)?;
    let one = One { engine: app.engine.clone(), id, seen: seen.unwrap_or(0), ended: false, terms };
    Ok(streamed(BEGINNING.to_owned(), one, One::next))
}

/// One restore's stream.
struct One {
    engine: Engine,
    id: RestoreId,
    seen: u32,
    ended: bool,
    terms: Terms,
}

impl One {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if self.ended {
            return None;
        }
        let until = Instant::now() + HEARTBEAT;
        let (engine, id, seen) = (self.engine.clone(), self.id, self.seen);
        let news = apart(async move { engine.news(id, seen, until).await });
        let entry = self.terms.during(news).await??;
        let mut text = String::new();
        if entry.state.seq > self.seen {
            let engine = self.engine.clone();
            for event in apart(async move { engine.events(id).await }).await? {
                if event.seq > self.seen {
                    self.seen = event.seq;
                    tell(&mut text, event.seq, &entry, &event);
                }
            }
        } else {
            text.push_str(":\n\n");
        }
        // Nothing but a remark may follow the final event.
        if entry.state.status.is_final() && self.seen >= entry.state.seq {
            text.push_str(END);
            self.ended = true;
        }
        Some((text.into(), self))
    }
}

/// `GET /api/v1/restores` as a stream: what happens from now on, or after the last event the reader has seen, to
/// the restores that the filters let through as they stand when it is told. Nothing is read from a cloud for it.
pub(super) async fn all(app: &App, asked: &Asked) -> Result<Answer, Failure> {
    let query = preferences::list(asked.query.as_deref(), app.max_page_size)?;
    let paged = |(name, _): (_, _)| name == "cursor" || name == "limit";
    if form_urlencoded::parse(asked.query.as_deref().unwrap_or_default().as_bytes()).any(paged) {
        let detail = "a stream has no pages: query parameters are project_id, status and target";
        return Err(Problem::new(Code::InvalidParameter, detail).into());
    }
    let seen: Option<Position> = last_seen(&asked.headers)?;
    app.engine.permit_list(&asked.caller)?;
    let terms = app.streams.open(&asked.caller, asked.signed_until)?;
    let changed = app.engine.changed();
    let at = match seen {
        Some(seen) => seen,
        None => app.engine.position().await?,
    };
    // The position goes first, so that a reader that disconnects before the first event misses none.
    let caller = asked.caller.clone();
    let all = All { engine: app.engine.clone(), caller, query, at, changed, terms };
    Ok(streamed(format!("{BEGINNING}id: {at}\n\n"), all, All::next))
}

/// The stream of a list.
struct All {
    engine: Engine,
    caller: Caller,
    query: Query,
    at: Position,
    changed: watch::Receiver<u64>,
    terms: Terms,
}

impl All {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        let until = Instant::now() + HEARTBEAT;
        loop {
            self.changed.mark_unchanged();
            let (engine, at) = (self.engine.clone(), self.at);
            let told = self.terms.during(apart(async move { engine.feed(at, PAGE).await })).await??;
            let mut text = String::new();
            for told in &told {
                self.at = told.position;
                if self.caller.sees(&told.entry) && shows(&self.query, &told.entry) {
                    tell(&mut text, told.position, &told.entry, &told.event);
                }
            }
            if !text.is_empty() {
                return Some((text.into(), self));
            }
            if Instant::now() >= until {
                // With the place, for much may have passed that this reader does not want.
                return Some((format!(":\nid: {}\n\n", self.at).into(), self));
            }
            if told.is_empty() {
                self.terms.during(self.engine.commits(&mut self.changed, until)).await?;
            }
        }
    }
}

/// True if a list with these filters shows a restore.
fn shows(query: &Query, entry: &Entry) -> bool {
    let request = &entry.intent.request;
    let targets = || {
        let disks = request.target.mappings().iter().map(|mapping| &mapping.volume_id);
        std::iter::once(request.target.id()).chain(disks)
    };
    query.project_id.as_ref().is_none_or(|project| *project == request.project_id)
        && (query.status.is_empty() || query.status.contains(&entry.state.status))
        && query.target.as_ref().is_none_or(|target| targets().any(|id| id.folded() == *target))
}

/// Data of one message: the event, and the restore in its present state.
#[derive(Serialize)]
struct Data<'a> {
    restore: Restore<'a>,
    event: &'a Event,
}

fn tell(text: &mut String, id: impl std::fmt::Display, entry: &Entry, event: &Event) {
    let data = Data { restore: Restore::view(&entry.intent, &entry.state), event };
    // JSON of our own types: it can be written, and has no line feed in it.
    let data = serde_json::to_string(&data).unwrap_or_default();
    let _ = write!(text, "id: {id}\nevent: {}\ndata: {data}\n\n", event.kind.as_str());
}

/// The answer whose body begins with `first` and goes on with what `next` makes of `state`, part by part.
fn streamed<S, F>(first: String, state: S, next: fn(S) -> F) -> Answer
where
    S: Send + 'static,
    F: Future<Output = Option<(Bytes, S)>> + Send + 'static,
{
    use futures_util::StreamExt;
    let first = stream::once(std::future::ready(Bytes::from(first)));
    let mut answer =
        answer::stream(HeaderValue::from_static(EVENT_STREAM), first.chain(stream::unfold(state, next)));
    // A proxy that gathers what passes would keep events from their reader.
    answer.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f53_whoever_has_fewer_gets_a_place_of_whoever_has_most() {
        let pool = Arc::new(Pool { most: 8, open: Mutex::default() });
        let greedy: Vec<Seat> = (0..8).map(|_| pool.take("greedy").expect("there is room")).collect();
        assert!(pool.take("greedy").is_none(), "it has all there are");
        let mut others: Vec<Seat> = (0..4).map(|_| pool.take("other").expect("its share")).collect();
        assert!(pool.take("other").is_none(), "both have as many");
        let ended: Vec<bool> = greedy.iter().map(|seat| seat.token.is_cancelled()).collect();
        assert_eq!(ended, [false, false, false, false, true, true, true, true], "the newest end");
        assert!(pool.take("greedy").is_none());
        others.push(pool.take("third").expect("its share"));
        drop(greedy);
        assert_eq!(
            pool.open().values().map(Vec::len).sum::<usize>(),
            others.iter().filter(|seat| !seat.token.is_cancelled()).count()
        );
        drop(others);
        assert!(pool.open().is_empty(), "nothing is left behind");
    }

    #[test]
    fn a_place_that_is_none_is_refused() {
        let headers = |value: &'static str| {
            HeaderMap::from_iter([(
                http::HeaderName::from_static("last-event-id"),
                HeaderValue::from_static(value),
            )])
        };
        assert_eq!(last_seen::<u32>(&HeaderMap::new()).unwrap(), None);
        assert_eq!(last_seen(&headers("7")).unwrap(), Some(7_u32));
        assert_eq!(
            last_seen(&headers("12-34")).unwrap().map(|at: Position| at.to_string()),
            Some("12-34".into())
        );
        for bad in ["", "-1", "x", "12-34", "4294967296"] {
            assert!(last_seen::<u32>(&headers(bad)).is_err(), "{bad}");
        }
        for bad in ["", "7", "7-", "1-2-3"] {
            assert!(last_seen::<Position>(&headers(bad)).is_err(), "{bad}");
        }
    }
}
