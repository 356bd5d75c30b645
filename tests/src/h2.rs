//! HTTP/2 by hand, frame by frame (RFC 9113), for what no well-behaved client would send.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest wait for bytes or for the end of a connection.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a frame is.
pub mod kind {
    /// Bytes of a body.
    pub const DATA: u8 = 0;
    /// A head, or its beginning.
    pub const HEADERS: u8 = 1;
    /// The end of a stream before its time.
    pub const RST_STREAM: u8 = 3;
    /// Terms of the connection.
    pub const SETTINGS: u8 = 4;
    /// A question for a sign of life.
    pub const PING: u8 = 6;
    /// The end of the connection, with a reason.
    pub const GOAWAY: u8 = 7;
    /// More of a head.
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub mod flag {
    /// Nothing more comes on this stream.
    pub const END_STREAM: u8 = 1;
    /// The answer to a PING or to SETTINGS.
    pub const ACK: u8 = 1;
    /// The head is whole.
    pub const END_HEADERS: u8 = 4;
}

/// A frame.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A header as HPACK writes it without any table.
#[must_use]
pub fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        assert!(text.len() < 127, "longer ones are counted differently");
        bytes.push(u8::try_from(text.len()).expect("a short text"));
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

/// The head of a request with these further headers.
#[must_use]
pub fn head(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let own = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "gateway")];
    own.iter().chain(more).flat_map(|(name, value)| literal(name, value)).collect()
}

/// One frame that came.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What it is.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What it holds.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The reason that a GOAWAY gives.
    #[must_use]
    pub fn reason(&self) -> Option<u32> {
        let bytes = self.payload.get(4..8)?.try_into().ok()?;
        (self.kind == kind::GOAWAY).then(|| u32::from_be_bytes(bytes))
    }
}

/// One connection.
pub struct Http2 {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Http2 {
    /// Connects, and says that it speaks HTTP/2, with this configuration (each an id and a value).
    ///
    /// # Panics
    /// When nobody listens.
    pub async fn open(addr: SocketAddr, config: &[(u16, u32)]) -> Self {
        let mut socket = TcpStream::connect(addr).await.expect("a connection");
        let terms: Vec<u8> = config
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        hello.extend(frame(kind::SETTINGS, 0, 0, &terms));
        hello.extend(frame(kind::SETTINGS, flag::ACK, 0, &[]));
        socket.write_all(&hello).await.expect("the first bytes are taken");
        Self { socket, buffer: Vec::new() }
    }

    /// Sends bytes; whether they were taken before the peer closed.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        matches!(tokio::time::timeout(PATIENCE, self.socket.write_all(bytes)).await, Ok(Ok(())))
    }

    /// The next frame; `None` when the peer closes.
    ///
    /// # Panics
    /// When neither comes in time.
    pub async fn frame(&mut self) -> Option<Frame> {
        tokio::time::timeout(PATIENCE, self.read()).await.expect("a frame or the end")
    }

    async fn read(&mut self) -> Option<Frame> {
        loop {
            if let Some(&[high, middle, low, kind, flags, a, b, c, d]) = self.buffer.first_chunk::<9>() {
                let length = u32::from_be_bytes([0, high, middle, low]) as usize;
                if self.buffer.len() >= 9 + length {
                    let payload = self.buffer[9..9 + length].to_vec();
                    self.buffer.drain(..9 + length);
                    return Some(Frame { kind, flags, stream: u32::from_be_bytes([a, b, c, d]), payload });
                }
            }
            let mut chunk = [0; 16 * 1024];
            match self.socket.read(&mut chunk).await {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
            }
        }
    }

    /// Sends the same bytes again and again, so many times at most, and reads meanwhile: how the peer ended it.
    ///
    /// # Panics
    /// When it is never ended.
    pub async fn flood(self, times: usize, mut bytes: impl FnMut(usize) -> Vec<u8> + Send) -> Ended {
        let (reading, mut writing) = self.socket.into_split();
        let reader = tokio::spawn(async move {
            let mut reading = reading;
            let (mut buffer, mut all, mut reset) = (vec![0; 64 * 1024], Vec::new(), false);
            loop {
                match reading.read(&mut buffer).await {
                    Ok(0) => break,
                    Err(_) => {
                        reset = true;
                        break;
                    }
                    Ok(count) => all.extend_from_slice(&buffer[..count]),
                }
            }
            (all, reset)
        });
        let flood = async {
            for number in 0..times {
                if writing.write_all(&bytes(number)).await.is_err() {
                    return number;
                }
            }
            times
        };
        let taken = tokio::time::timeout(PATIENCE, flood).await.expect("it is taken or ended");
        let (all, reset) =
            tokio::time::timeout(PATIENCE, reader).await.expect("the peer ends it").expect("a reader");
        let mut reason = None;
        let mut rest = all.as_slice();
        while let Some((&[high, middle, low, kind, _, ..], _)) = rest.split_first_chunk::<9>() {
            let length = 9 + u32::from_be_bytes([0, high, middle, low]) as usize;
            let Some(whole) = rest.get(..length) else { break };
            let told = Frame { kind, flags: 0, stream: 0, payload: whole[9..].to_vec() };
            reason = told.reason().or(reason);
            rest = &rest[length..];
        }
        Ended { taken, reason, reset }
    }
}

/// How a flood was ended by the peer.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// So many writes were taken.
    pub taken: usize,
    /// The reason that a GOAWAY gave, if one came before the end.
    pub reason: Option<u32>,
    /// The connection was reset and not closed.
    pub reset: bool,
}
