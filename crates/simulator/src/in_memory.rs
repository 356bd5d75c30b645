//! The clouds without a socket: each connection is a pipe in memory. For programs that run the clouds and their client
//! in one thread on a paused clock.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;
use tokio::io::DuplexStream;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::clock::CloudClock;
use crate::listener::{Options, behaviour, serve};
use crate::routes::Table;
use crate::service::{Clouds, Connection};
use crate::socket::Fuse;
use crate::{control, ids};

/// Capacity of a pipe in one direction.
const PIPE: usize = 64 * 1024;

/// Clouds whose only connection is [`InMemory::connect`]. Dropping it breaks its connections.
pub struct InMemory {
    clouds: Arc<Clouds>,
    numbers: AtomicU64,
    closing: CancellationToken,
    _closes: DropGuard,
}

impl InMemory {
    /// Creates the initial world. The seed determines the IDs of the clouds, as long as this thread runs no others.
    ///
    /// # Errors
    /// If the table of routes has a conflict.
    pub fn new(options: Options, seed: u64) -> io::Result<Self> {
        ids::play(Some(seed));
        let table = Table::build().map_err(io::Error::other)?;
        let first = behaviour(&options);
        let clock = CloudClock::new(options.clock);
        let clouds = Arc::new(Clouds::new(table, clock, first, options.kept_requests));
        let closing = CancellationToken::new();
        let closes = closing.clone().drop_guard();
        Ok(Self { clouds, numbers: AtomicU64::new(0), closing, _closes: closes })
    }

    /// Returns the client's end of a new connection. Call it on the runtime that serves the connection.
    #[must_use]
    pub fn connect(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let number = self.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let hang_up = self.closing.child_token();
        let connection = Connection { number, fuse: Fuse::new(), hang_up };
        tokio::spawn(serve(ours, Arc::clone(&self.clouds), connection));
        theirs
    }

    /// Executes a call without the network and without any fault, as from the cloud's own console.
    #[must_use]
    pub fn ask(&self, request: http::Request<Bytes>, request_id: &str) -> (StatusCode, Value) {
        let (head, body) = request.into_parts();
        let answer = self.clouds.answer_to(&head, &body, request_id);
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
    }

    /// Executes one call of `/_sim/*`, as over HTTP.
    #[must_use]
    pub fn control(&self, method: &Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let answer = control::answer(&self.clouds, method, path, &body);
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
    }
}
