//! A socket on which a test says every byte itself, for what no well-behaved client would send.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::ids;

/// Longest wait for bytes or for the end of a connection.
const PATIENCE: Duration = Duration::from_secs(30);

/// One connection.
pub struct Raw {
    socket: TcpStream,
    buffer: Vec<u8>,
}

/// One answer, head and body.
#[derive(Clone, Debug)]
pub struct RawAnswer {
    /// HTTP status.
    pub status: u16,
    /// The head, in lower case.
    pub head: String,
    /// The body.
    pub body: String,
}

impl RawAnswer {
    /// Whether the peer says that it closes the connection.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.head.contains("\r\nconnection: close\r\n")
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.body))
    }
}

impl Raw {
    /// Connects.
    ///
    /// # Panics
    /// When nobody listens.
    pub async fn open(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect(addr).await.expect("a connection"))
    }

    /// Speaks over a socket that is open.
    #[must_use]
    pub fn over(socket: TcpStream) -> Self {
        Self { socket, buffer: Vec::new() }
    }

    /// Sends bytes; that the peer has closed meanwhile is seen by reading.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let sent = tokio::time::timeout(PATIENCE, self.socket.write_all(bytes.as_ref())).await;
        matches!(sent, Ok(Ok(())))
    }

    /// The next answer; `None` when the peer closes before a whole one.
    ///
    /// # Panics
    /// When neither comes in time.
    pub async fn answer(&mut self) -> Option<RawAnswer> {
        tokio::time::timeout(PATIENCE, self.read_answer()).await.expect("an answer or the end")
    }

    async fn read_answer(&mut self) -> Option<RawAnswer> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).to_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let length = head.split("\r\ncontent-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let length: usize = length.map_or(0, |length| length.parse().expect("a length"));
        while self.buffer.len() < end + length {
            self.more().await?;
        }
        let body = String::from_utf8_lossy(&self.buffer[end..end + length]).into_owned();
        self.buffer.drain(..end + length);
        Some(RawAnswer { status, head, body })
    }

    async fn more(&mut self) -> Option<()> {
        let mut chunk = [0; 16 * 1024];
        match self.socket.read(&mut chunk).await {
            Ok(0) | Err(_) => None,
            Ok(count) => {
                self.buffer.extend_from_slice(&chunk[..count]);
                Some(())
            }
        }
    }

    /// Whether the peer closes, with nothing more to say.
    pub async fn closed(&mut self) -> bool {
        let end = async {
            while self.more().await.is_some() {}
            self.buffer.is_empty()
        };
        tokio::time::timeout(PATIENCE, end).await.unwrap_or(false)
    }
}

/// A restore request as bytes: its request line, a host, a token, and these further header lines
/// (each with its line end), then the body.
#[must_use]
pub fn post(lines: &str, body: &str) -> Vec<u8> {
    format!(
        "POST /api/v1/restores HTTP/1.1\r\nHost: gateway\r\nX-Auth-Token: {}\r\nContent-Type: application/json\r\n{lines}\r\n{body}",
        ids::TOKEN
    )
    .into_bytes()
}
