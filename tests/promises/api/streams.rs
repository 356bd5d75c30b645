//! Streams of server-sent events: live to the end, each event once whatever cuts the stream, and never in the way
//! of anything else.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use restore_tests::{TestConfig, World, ids, requests};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Longest wait for something that must happen.
const DEADLINE: Duration = Duration::from_secs(30);
pub(crate) const LIST: &str = "/api/v1/restores";

/// One event as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) id: String,
    pub(crate) word: String,
    pub(crate) data: Value,
}

/// A reader of a stream, on a connection of its own.
pub(crate) struct Reader {
    status: u16,
    headers: HeaderMap,
    body: Incoming,
    text: String,
    connection: tokio::task::JoinHandle<()>,
}

impl Reader {
    /// Asks for a stream, with the token, going on after `seen`.
    pub(crate) async fn open(world: &World, path: &str, seen: Option<&str>) -> Self {
        Self::open_as(world, path, "text/event-stream", seen).await
    }

    async fn open_as(world: &World, path: &str, accept: &str, seen: Option<&str>) -> Self {
        let socket = TcpStream::connect(world.gateway.api()).await.expect("a connection");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.expect("http");
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        let mut request = Request::get(path)
            .header("host", "gateway")
            .header("accept", accept)
            .header("x-auth-token", ids::TOKEN);
        if let Some(seen) = seen {
            request = request.header("last-event-id", seen);
        }
        let request = request.body(Full::<Bytes>::default()).expect("a request");
        let answer = tokio::time::timeout(DEADLINE, sender.send_request(request)).await.expect("in time");
        let (head, body) = answer.expect("an answer").into_parts();
        Self { status: head.status.as_u16(), headers: head.headers, body, text: String::new(), connection }
    }

    /// Its next block, remarks and places among them; `None` at the end of the stream.
    async fn block(&mut self) -> Option<String> {
        let read = async {
            loop {
                if let Some(end) = self.text.find("\n\n") {
                    let block = self.text[..end].to_owned();
                    self.text.drain(..end + 2);
                    return Some(block);
                }
                let frame = self.body.frame().await?.expect("the stream does not break off");
                let part = frame.into_data().expect("data");
                self.text.push_str(std::str::from_utf8(&part).expect("text"));
            }
        };
        tokio::time::timeout(DEADLINE, read).await.expect("an event, or the end, in time")
    }

    /// Its next event; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Told> {
        loop {
            let block = self.block().await?;
            let field = |name: &str| {
                let mut lines = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                lines.next().unwrap_or_default().to_owned()
            };
            if !field("data").is_empty() {
                let data = serde_json::from_str(&field("data")).expect("JSON");
                return Some(Told { id: field("id"), word: field("event"), data });
            }
        }
    }

    /// All events up to the end of the stream, the message `end` not among them; whether that came.
    async fn rest(&mut self) -> (Vec<Told>, bool) {
        let mut all = Vec::new();
        while let Some(told) = self.next().await {
            if told.word == "end" {
                assert!(self.next().await.is_none(), "nothing follows the end");
                return (all, true);
            }
            all.push(told);
        }
        (all, false)
    }

    /// Goes away.
    pub(crate) fn cut(self) {
        self.connection.abort();
    }
}

fn id(restore: &Value) -> String {
    restore["id"].as_str().unwrap_or_else(|| panic!("no id in {restore}")).to_owned()
}

fn events_of(id: &str) -> String {
    format!("/api/v1/restores/{id}/events")
}

fn words(told: &[Told]) -> Vec<String> {
    told.iter().map(|told| told.word.clone()).collect()
}

/// The streams have paths of their own, for programs that cannot choose by `Accept`.
#[tokio::test]
async fn a_stream_has_a_path_of_its_own() {
    let world = World::new().await;
    let mut all = Reader::open_as(&world, "/api/v1/stream", "*/*", None).await;
    let submitted = world.post_with(LIST, &requests::free_disk(), &[("prefer", "wait=30")]).await.json();
    assert_eq!((&submitted["status"], &submitted["replayed"]), (&json!("succeeded"), &json!(false)));
    let own = format!("{LIST}/{}/stream", id(&submitted));
    let mut one = Reader::open_as(&world, &own, "*/*", None).await;
    let (history, ended) = one.rest().await;
    assert!(ended);
    assert_eq!(words(&history).last().map(String::as_str), Some("succeeded"));
    for told in &history {
        assert_eq!(all.next().await.expect("an event").word, told.word);
    }
    // A repetition says so in its body, and only the answer to a request does.
    let again = world.post(LIST, &requests::free_disk()).await.json();
    assert_eq!((&again["id"], &again["replayed"]), (&submitted["id"], &json!(true)));
    let shown = world.get(&format!("{LIST}/{}", id(&submitted))).await.json();
    assert!(shown["replayed"].is_null(), "{shown}");
    world.end().await;
}

#[tokio::test]
async fn a_restore_is_streamed_live_to_its_end() {
    // A stream outlives what a request may take.
    let config = TestConfig::default()
        .set("limits.request_timeout_seconds", "1.5")
        .set("limits.max_wait_seconds", "1")
        .set("submit.sync_wait_seconds", "1");
    let world = World::with(config).await;
    world.behave(json!({"restore_seconds": 600})).await;
    let restore = world.submit(&requests::free_disk()).await.json();
    let path = events_of(&id(&restore));
    let mut reader = Reader::open(&world, &path, None).await;
    assert_eq!(reader.status, 200);
    for (name, value) in
        [("content-type", "text/event-stream"), ("cache-control", "no-store"), ("x-accel-buffering", "no")]
    {
        assert_eq!(reader.headers[name], value);
    }
    assert_eq!(reader.block().await.as_deref(), Some("retry: 2000"));
    let first = reader.next().await.expect("an event");
    assert_eq!((first.id.as_str(), first.word.as_str()), ("1", "accepted"));
    assert_eq!((&first.data["restore"]["id"], &first.data["event"]["seq"]), (&restore["id"], &json!(1)));
    // It waits, longer than a request could, and is told when there is something to tell.
    let longer = Instant::now() + Duration::from_secs(2);
    let mut told = vec![first];
    while Instant::now() < longer {
        match tokio::time::timeout_at(longer, reader.next()).await {
            Ok(more) => told.push(more.expect("the stream goes on")),
            Err(_) => break,
        }
    }
    world.advance(601).await;
    let (rest, ended) = reader.rest().await;
    told.extend(rest);
    assert!(ended, "{told:?}");
    assert_eq!(words(&told), world.history(&id(&restore)).await);
    assert_eq!(told.last().expect("events").data["restore"]["status"], "succeeded");
    let numbers: Vec<String> = (1..=told.len()).map(|n| n.to_string()).collect();
    assert_eq!(told.iter().map(|told| told.id.clone()).collect::<Vec<_>>(), numbers);

    // Whoever has seen it all need not come back; whoever has not is told at once.
    let seen = Reader::open(&world, &path, numbers.last().map(String::as_str)).await;
    assert_eq!(seen.status, 204);
    let (again, ended) = Reader::open(&world, &path, Some("2")).await.rest().await;
    assert_eq!((words(&again), ended), (words(&told[2..]), true));
    world.end().await;
}

#[tokio::test]
async fn a_stream_resumes_where_it_was_even_in_another_process() {
    let mut world = World::serve(TestConfig::default()).await;
    world.behave(json!({"restore_seconds": 600})).await;
    let mut all = Reader::open(&world, LIST, None).await;
    // The place at which it begins, for whoever is cut off before the first event.
    all.block().await.expect("retry");
    let begun = all.block().await.expect("a place");
    let begun = begun.strip_prefix("id: ").expect("a place").to_owned();
    let restore = world.submit(&requests::free_disk()).await.json();
    let path = events_of(&id(&restore));

    let mut one = Reader::open(&world, &path, None).await;
    let mut told = vec![one.next().await.expect("an event"), one.next().await.expect("an event")];
    one.cut();
    let mut told_of_all = vec![all.next().await.expect("an event")];
    all.cut();
    let (_, _, folder) = world.ended_by("KILL").await;
    world.again_in(folder).await;

    // The token that comes with the stream lets the restore be followed again.
    let mut one = Reader::open(&world, &path, Some(&told[1].id)).await;
    let mut all = Reader::open(&world, LIST, Some(&told_of_all[0].id)).await;
    told.push(one.next().await.expect("an event"));
    world.advance(601).await;
    let (rest, ended) = one.rest().await;
    told.extend(rest);
    assert!(ended);
    let history = world.history(&id(&restore)).await;
    assert_eq!(words(&told), history);
    while told_of_all.len() < history.len() {
        told_of_all.push(all.next().await.expect("an event"));
    }
    assert_eq!(words(&told_of_all), history);
    let mut places: Vec<_> = told_of_all.iter().map(|told| told.id.clone()).collect();
    places.dedup();
    assert_eq!(places.len(), history.len(), "each has a place of its own");

    // From the place at which the first stream began, all of it once more.
    let mut again = Reader::open(&world, LIST, Some(&begun)).await;
    for (word, place) in history.iter().zip(&places) {
        let told = again.next().await.expect("an event");
        assert_eq!((&told.word, &told.id), (word, place));
    }
    world.end().await;
}

#[tokio::test]
async fn a_stream_of_a_list_has_the_events_of_the_restores_in_it() {
    let world = World::new().await;
    let disk = ids::FREE.1.to_uppercase();
    let mut of_disk = Reader::open(&world, &format!("{LIST}?target={disk}"), None).await;
    let mut ended = Reader::open(&world, &format!("{LIST}?status=succeeded,failed"), None).await;
    let mut of_part = Reader::open(&world, &format!("{LIST}?target={}", ids::DATA.1), None).await;
    let mut of_nobody = Reader::open(&world, &format!("{LIST}?project_id={}", "0".repeat(32)), None).await;
    let server = id(&world.submit(&requests::cbr_server()).await.json());
    let free = id(&world.submit(&requests::free_disk()).await.json());
    for id in [&server, &free] {
        world.until_status(id, "succeeded").await;
    }
    for (reader, restore) in [(&mut of_disk, &free), (&mut of_part, &server)] {
        for word in world.history(restore).await {
            let told = reader.next().await.expect("an event");
            assert_eq!((&told.word, told.data["restore"]["id"].as_str()), (&word, Some(restore.as_str())));
        }
    }
    let mut both = Vec::new();
    while both.len() < 2 {
        let told = ended.next().await.expect("an event");
        assert_eq!(told.data["restore"]["status"], "succeeded");
        if told.word == "succeeded" {
            both.push(told.data["restore"]["id"].as_str().unwrap_or_default().to_owned());
        }
    }
    both.sort();
    let mut wanted = [server, free];
    wanted.sort();
    assert_eq!(both, wanted);

    // Without asking for a stream, and where one makes no sense, all is as ever.
    assert!(world.get(LIST).await.json()["restores"].is_array());
    let headers = [("accept", "text/event-stream"), ("x-auth-token", ids::TOKEN)];
    let head = world.http.send(Method::HEAD, &world.url(LIST), &headers, "").await;
    assert_eq!((head.status, head.header("content-type")), (200, "application/json"));
    world.end().await;
    assert!(of_nobody.rest().await.0.is_empty(), "nothing was for this one");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let world = World::new().await;
    let restore = id(&world.submit(&requests::free_disk()).await.json());
    let code = async |path: &str, seen: Option<&str>| {
        let mut headers = vec![("accept", "text/event-stream"), ("x-auth-token", ids::TOKEN)];
        headers.extend(seen.map(|seen| ("last-event-id", seen)));
        let answer = world.http.send(Method::GET, &world.url(path), &headers, "").await;
        (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
    };
    let refused = |code: &str| (400, code.to_owned());
    for seen in ["x", "-1", "1-2", "\"1\""] {
        assert_eq!(code(&events_of(&restore), Some(seen)).await, refused("invalid_parameter"), "{seen}");
    }
    for seen in ["x", "1", "-1-2", "9999999999999999999999-0"] {
        assert_eq!(code(LIST, Some(seen)).await, refused("invalid_parameter"), "{seen}");
    }
    for query in ["limit=5", "cursor=0199a7c4-8d5e-7c21-9f0e-5b1f3a2d4c6e", "status=done", "stat=running"] {
        assert_eq!(code(&format!("{LIST}?{query}"), None).await, refused("invalid_parameter"), "{query}");
    }
    let nobody = code(&events_of("0199a7c4-8d5e-7c21-9f0e-5b1f3a2d4c6e"), None).await;
    assert_eq!(nobody, (404, "restore_not_found".to_owned()));
    world.end().await;
}

#[tokio::test]
async fn streams_have_a_bound_of_their_own_and_take_nobodys_place() {
    let config = TestConfig::default().set("limits.max_streams", "3").set("limits.max_in_flight", "1");
    let world = World::with(config).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let reader = Reader::open(&world, LIST, None).await;
        assert_eq!(reader.status, 200);
        open.push(reader);
    }
    let over = Reader::open(&world, LIST, None).await;
    assert_eq!((over.status, &over.headers["retry-after"]), (503, &http::HeaderValue::from_static("5")));
    // The one place for requests is free all the while.
    assert_eq!(world.get(LIST).await.status, 200);
    open.pop().expect("a stream").cut();
    let end = Instant::now() + DEADLINE;
    while Reader::open(&world, LIST, None).await.status != 200 {
        assert!(Instant::now() < end, "the place of a stream that is gone is not free");
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    world.end().await;
}

#[tokio::test]
async fn a_stream_ends_when_its_time_is_over_and_when_the_gateway_stops() {
    let world = World::with(TestConfig::default().set("limits.stream_max_age_seconds", "1")).await;
    let mut reader = Reader::open(&world, LIST, None).await;
    assert!(reader.next().await.is_none(), "it ends, and does not break off");
    world.end().await;

    let mut world = World::serve(TestConfig::default().set("limits.shutdown_timeout_seconds", "20")).await;
    world.behave(json!({"restore_seconds": 600})).await;
    let restore = id(&world.submit(&requests::free_disk()).await.json());
    let mut one = Reader::open(&world, &events_of(&restore), None).await;
    one.next().await.expect("an event");
    let mut open = vec![one];
    for _ in 0..5 {
        open.push(Reader::open(&world, LIST, None).await);
    }
    let (status, log, _folder) = world.ended_by("TERM").await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("\"in_time\":true") && !log.contains("still open"), "{log}");
    for mut reader in open {
        let (_, told_the_end) = reader.rest().await;
        assert!(!told_the_end, "the restore has not ended");
    }
    world.end().await;
}
