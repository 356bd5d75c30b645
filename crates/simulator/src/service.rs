//! The path of one request: read, record, select a fault, call the cloud, answer (or not).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, DATE, HOST, HeaderName};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

use crate::access::admit;
use crate::answer::Answer;
use crate::behaviour::Behaviour;
use crate::call::{Call, Cloud, Query};
use crate::clock::{CloudClock, http_date};
use crate::control;
use crate::faults::{Fault, Plan, Reset, Sight};
use crate::journal::Journal;
use crate::outgoing::{Cut, Outgoing};
use crate::routes::{Found, Table};
use crate::socket::Fuse;
use crate::world::World;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The API gateway rejects larger bodies.
const BODY_LIMIT: usize = 12 * 1024 * 1024;
/// Number of bytes of a head that are sent before a reset in its middle.
const PART_OF_HEAD: u64 = 24;
/// Time after an answer at which a fault plan closes an idle connection.
const IDLE: Duration = Duration::from_millis(25);

/// State that all connections share.
pub(crate) struct Clouds {
    table: Table,
    pub(crate) clock: CloudClock,
    pub(crate) first: Behaviour,
    world: Mutex<World>,
    plan: Mutex<Plan>,
    journal: Mutex<Journal>,
    kept_requests: usize,
    pub(crate) stopping: CancellationToken,
}

/// One connection, as its requests use it.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub(crate) number: u64,
    pub(crate) fuse: Arc<Fuse>,
    /// Closes it.
    pub(crate) hang_up: CancellationToken,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Clouds {
    pub(crate) fn new(table: Table, clock: CloudClock, first: Behaviour, kept_requests: usize) -> Self {
        Self {
            table,
            clock,
            world: Mutex::new(World::new(first.clone())),
            first,
            plan: Mutex::new(Plan::default()),
            journal: Mutex::new(Journal::new(kept_requests)),
            kept_requests,
            stopping: CancellationToken::new(),
        }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        locked(&self.world)
    }

    pub(crate) fn plan(&self) -> MutexGuard<'_, Plan> {
        locked(&self.plan)
    }

    pub(crate) fn journal(&self) -> MutexGuard<'_, Journal> {
        locked(&self.journal)
    }

    /// Resets everything to the initial world, including its start time.
    pub(crate) fn reset(&self) {
        *self.world() = World::new(self.first.clone());
        *self.plan() = Plan::default();
        self.forget_requests();
        self.clock.reset();
    }

    pub(crate) fn forget_requests(&self) {
        *self.journal() = Journal::new(self.kept_requests);
    }

    /// Answers one request, or breaks its connection.
    pub(crate) async fn serve(
        self: Arc<Self>,
        connection: Connection,
        request: Request<Incoming>,
    ) -> Result<Response<Outgoing>, Cut> {
        let (head, body) = request.into_parts();
        let limited = Limited::new(body, BODY_LIMIT).collect().await;
        let request_id = format!("req-{}", crate::ids::uuid());
        let body = match limited {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                let status = StatusCode::PAYLOAD_TOO_LARGE;
                let answer = Answer::gateway(status, "APIGW.0201", "The request body is too large.");
                return Ok(self.respond(answer, &request_id));
            }
            // The client has disconnected in the middle of its own request.
            Err(_) => return Err(Cut),
        };
        if head.uri.path() == "/_sim" || head.uri.path().starts_with("/_sim/") {
            let answer = control::answer(&self, &head.method, head.uri.path(), &body);
            return Ok(self.respond(answer, &request_id));
        }
        self.ask_cloud(&connection, &head, &body, &request_id).await
    }

    async fn ask_cloud(
        &self,
        connection: &Connection,
        head: &Parts,
        body: &Bytes,
        request_id: &str,
    ) -> Result<Response<Outgoing>, Cut> {
        let seq = self.journal().enter(head, body, self.clock.now(), connection.number);
        let host = host_of(head);
        let found = self.table.find(&head.method, &host, head.uri.path());
        let sight = Sight {
            method: head.method.as_str(),
            full_path: head.uri.path(),
            path: found.path,
            query: head.uri.query(),
            generation: found.cloud.map(Cloud::generation),
        };
        let fault = self.plan().pick(&sight);
        let Some(fault) = fault else {
            let answer = self.carry_out(found, head, body, request_id, &host);
            self.journal().answered(seq, answer.status, &answer.body);
            return Ok(self.respond(answer, request_id));
        };
        let own = fault.is_applied().then(|| self.carry_out(found, head, body, request_id, &host));
        let answer = fault.instead().or(own);
        let answer = fault.changed(answer.unwrap_or_else(|| Answer::ok(&serde_json::json!({}))));
        self.play(&fault, answer, connection, seq, request_id).await
    }

    /// Returns the clouds' answer without faults and without a record.
    pub(crate) fn answer_to(&self, head: &Parts, body: &Bytes, request_id: &str) -> Answer {
        let host = host_of(head);
        let found = self.table.find(&head.method, &host, head.uri.path());
        self.carry_out(found, head, body, request_id, &host)
    }

    /// Returns the cloud's answer without faults.
    fn carry_out(
        &self,
        found: Found<'_>,
        head: &Parts,
        body: &Bytes,
        request_id: &str,
        host: &str,
    ) -> Answer {
        let (Some(route), Some(cloud)) = (found.route, found.cloud) else {
            return Answer::no_such_api();
        };
        // The clock is read once under the lock, so that restores are applied in the order of their times.
        let mut world = self.world();
        let call = Call {
            method: &head.method,
            path: found.path,
            target: head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str),
            params: found.params,
            query: Query::parse(head.uri.query().unwrap_or_default()),
            headers: &head.headers,
            body,
            now: self.clock.now(),
            request_id,
            base_url: &format!("http://{host}"),
        };
        match admit(&mut world, &call, route.access, cloud) {
            Ok(()) => (route.handle)(&call, &mut world),
            Err(answer) => answer,
        }
    }

    /// Applies a fault to an answer.
    async fn play(
        &self,
        fault: &Fault,
        answer: Answer,
        connection: &Connection,
        seq: u64,
        request_id: &str,
    ) -> Result<Response<Outgoing>, Cut> {
        tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
        if fault.stall {
            self.stopping.cancelled().await;
            return Err(Cut);
        }
        let fuse = &connection.fuse;
        let whole = answer.body.len();
        let (status, body) = (answer.status, answer.body.clone());
        let response = match fault.reset {
            Some(Reset::Before | Reset::AfterApply) => {
                fuse.blow();
                return Err(Cut);
            }
            Some(Reset::MidHead) => {
                fuse.blow_after(PART_OF_HEAD);
                return Ok(self.respond(answer, request_id));
            }
            Some(Reset::MidBody) => {
                self.respond_in_part(answer, whole / 2, whole.max(64), Some(Arc::clone(fuse)), request_id)
            }
            None => match fault.truncate_body {
                Some(bytes) => {
                    let sent = bytes.min(whole);
                    self.respond_in_part(answer, sent, whole.max(sent + 1), None, request_id)
                }
                None => self.respond(answer, request_id),
            },
        };
        self.journal().answered(seq, status, &body);
        if fault.close_idle {
            let hang_up = connection.hang_up.clone();
            tokio::spawn(async move {
                tokio::time::sleep(IDLE).await;
                hang_up.cancel();
            });
        }
        Ok(response)
    }

    fn respond(&self, answer: Answer, request_id: &str) -> Response<Outgoing> {
        let Answer { status, headers, body, chunked } = answer;
        let body = if chunked { Outgoing::chunked(body) } else { Outgoing::whole(body) };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        for (name, value) in headers {
            response.headers_mut().append(name, value);
        }
        let date = http_date(self.clock.now());
        for (name, value) in [(REQUEST_ID, request_id), (DATE, &date)] {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().entry(name).or_insert(value);
            }
        }
        response
    }

    /// Declares `length` bytes and sends `sent` of them.
    fn respond_in_part(
        &self,
        mut answer: Answer,
        sent: usize,
        length: usize,
        fuse: Option<Arc<Fuse>>,
        request_id: &str,
    ) -> Response<Outgoing> {
        let part = answer.body.split_to(sent);
        let mut response = self.respond(answer, request_id).map(|_| Outgoing::broken(part, fuse));
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        response
    }
}

/// Returns the host and port in the client's request, in HTTP/1 or HTTP/2.
fn host_of(head: &Parts) -> String {
    let header = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = head.uri.authority().map(http::uri::Authority::as_str);
    header.or(authority).unwrap_or("localhost").to_owned()
}
