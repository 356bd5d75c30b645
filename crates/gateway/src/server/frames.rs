//! Limits for HTTP/2 that hyper does not enforce in time: half-sent heads, responses that the peer does not take,
//! connections without requests. It reads only the beginning of each frame (RFC 9113, 4.1).

use std::time::Duration;

use tokio::time::Instant;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// How long a connection is kept that has asked and asks nothing more.
const IDLE: Duration = Duration::from_secs(120);

/// How long each may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// A head, and the first request of a connection.
    pub(crate) head: Duration,
    /// The peer, to take more of an answer.
    pub(crate) write: Duration,
}

/// One connection, both ways.
#[derive(Debug)]
pub(crate) struct Multiplexed {
    inbound: Frames,
    outbound: Frames,
    /// True if the head that came last goes on in another frame.
    continued: bool,
    /// Since when a frame or a head is half sent.
    half: Option<Instant>,
    /// Streams that are open, and when their answer began, if it has; or when its last bytes went out, where an answer of
    /// this connection may pause.
    streams: Vec<(u32, Option<Instant>)>,
    /// The greatest number of a stream so far; 0 before the first.
    last: u32,
    /// Since when no stream is open.
    idle: Instant,
}

/// The beginning of a frame.
#[derive(Clone, Copy)]
struct Begun {
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Multiplexed {
    /// A connection whose first byte was waited for since then.
    pub(crate) fn new(since: Instant) -> Self {
        Self {
            inbound: Frames::default(),
            outbound: Frames::default(),
            continued: false,
            half: None,
            streams: Vec::new(),
            last: 0,
            idle: since,
        }
    }

    /// Bytes have come in.
    pub(crate) fn received(&mut self, bytes: &[u8], now: Instant) {
        let was_open = !self.streams.is_empty();
        let Self { inbound, continued, streams, last, .. } = self;
        let mut whole = false;
        let begins = inbound.pass(bytes, |frame, begins| {
            // What came before a frame is at its end where that begins, unless it is a head that goes on.
            whole |= begins && !*continued;
            match frame.kind {
                HEADERS if frame.stream > *last => {
                    *last = frame.stream;
                    streams.push((frame.stream, None));
                }
                RST_STREAM => streams.retain(|(stream, _)| *stream != frame.stream),
                _ => {}
            }
            if matches!(frame.kind, HEADERS | CONTINUATION) {
                *continued = frame.flags & END_HEADERS == 0;
            }
        });
        whole |= begins && !*continued;
        let is_half = self.continued || self.inbound.is_within_a_frame();
        self.half = is_half.then(|| self.half.filter(|_| !whole).unwrap_or(now));
        self.rests(was_open, now);
    }

    /// True if the head that came last goes on in another frame.
    pub(crate) const fn is_continued(&self) -> bool {
        self.continued
    }

    /// Bytes have gone out.
    pub(crate) fn sent(&mut self, bytes: &[u8], has_pauses: bool, now: Instant) {
        let was_open = !self.streams.is_empty();
        let streams = &mut self.streams;
        self.outbound.pass(bytes, |frame, _| match frame.kind {
            HEADERS | DATA if frame.flags & END_STREAM == 0 => {
                if let Some((_, sent)) = streams.iter_mut().find(|(stream, _)| *stream == frame.stream) {
                    // A little of an answer now and then does not prolong the time for all of it.
                    if has_pauses || sent.is_none() {
                        *sent = Some(now);
                    }
                }
            }
            HEADERS | DATA | RST_STREAM => streams.retain(|(stream, _)| *stream != frame.stream),
            _ => {}
        });
        self.rests(was_open, now);
    }

    fn rests(&mut self, was_open: bool, now: Instant) {
        // Until the first request it has rested since it was opened.
        if was_open || !self.streams.is_empty() {
            self.idle = now;
        }
    }

    /// When it is to be closed if nothing happens until then, and the key of `limits` that says so.
    pub(crate) fn deadline(&self, patience: Patience) -> Option<(Instant, Option<&'static str>)> {
        let asks_nothing = match (self.last, self.streams.is_empty()) {
            (0, _) => Some((self.idle + patience.head, Some("header_timeout_seconds"))),
            (_, true) => Some((self.idle + IDLE, None)),
            (_, false) => None,
        };
        let half = self.half.map(|half| (half + patience.head, Some("header_timeout_seconds")));
        let unread = self.streams.iter().filter_map(|(_, sent)| *sent).min();
        let unread = unread.map(|sent| (sent + patience.write, Some("write_timeout_seconds")));
        let all = [asks_nothing, half, unread].into_iter().flatten();
        // Requests that are worked on have a time of their own.
        all.min_by_key(|(deadline, _)| *deadline)
    }
}

/// Where frames begin, in one direction.
#[derive(Debug, Default)]
struct Frames {
    beginning: [u8; 9],
    have: usize,
    /// Bytes of the present frame that are still to come.
    left: usize,
}

impl Frames {
    /// Tells of each frame whose beginning is whole, and whether its first byte is among these; returns that of the
    /// one whose beginning is not whole.
    fn pass(&mut self, mut bytes: &[u8], mut begun: impl FnMut(Begun, bool)) -> bool {
        let mut begins = self.have == 0;
        while !bytes.is_empty() {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = &bytes[skipped..];
            let taken = (9 - self.have).min(bytes.len());
            self.beginning[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == 9 {
                let [high, middle, low, kind, flags, a, b, c, d] = self.beginning;
                self.have = 0;
                self.left = u32::from_be_bytes([0, high, middle, low]) as usize;
                begun(Begun { kind, flags, stream: u32::from_be_bytes([a & 0x7f, b, c, d]) }, begins);
                begins = true;
            }
        }
        begins && self.have > 0
    }

    /// Bytes of a body are no part of this: they have a time of their own.
    const fn is_within_a_frame(&self) -> bool {
        self.have > 0 || (self.left > 0 && self.beginning[3] != DATA)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { head: Duration::from_secs(10), write: Duration::from_secs(30) };
    const SECOND: Duration = Duration::from_secs(1);

    fn frame(kind: u8, flags: u8, stream: u32, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(vec![0; usize::from(length)]);
        frame
    }

    /// Seconds after the beginning at which it would be closed, and why.
    fn left(connection: &Multiplexed, begun: Instant) -> Option<(u64, &'static str)> {
        let (deadline, why) = connection.deadline(PATIENCE)?;
        Some(((deadline - begun).as_secs(), why.unwrap_or_default()))
    }

    #[test]
    fn who_asks_nothing_has_the_time_of_a_head_and_pings_do_not_prolong_it() {
        let begun = Instant::now();
        let mut connection = Multiplexed::new(begun);
        for nth in 1..5 {
            connection.received(&frame(6, 0, 0, 8), begun + nth * SECOND);
            connection.sent(&frame(6, 1, 0, 8), false, begun + nth * SECOND);
        }
        assert_eq!(left(&connection, begun), Some((10, "header_timeout_seconds")));
        connection.received(&frame(HEADERS, END_HEADERS | END_STREAM, 1, 20), begun + 5 * SECOND);
        assert_eq!(left(&connection, begun), None, "it is worked on");
        connection.sent(&frame(HEADERS, END_HEADERS | END_STREAM, 1, 20), false, begun + 90 * SECOND);
        assert_eq!(left(&connection, begun), Some((210, "")));
    }

    #[test]
    fn half_a_head_has_its_time_however_it_is_cut_and_another_request_does_not_prolong_it() {
        let begun = Instant::now();
        let mut connection = Multiplexed::new(begun);
        connection.received(&frame(HEADERS, END_HEADERS | END_STREAM, 1, 20), begun);
        let head = frame(HEADERS, END_STREAM, 3, 20);
        for (nth, byte) in (2..).zip(&head) {
            connection.received(&[*byte], begun + nth * SECOND);
        }
        assert_eq!(left(&connection, begun), Some((12, "header_timeout_seconds")));
        connection.received(&frame(CONTINUATION, 0, 3, 20), begun + 40 * SECOND);
        assert_eq!(left(&connection, begun), Some((12, "header_timeout_seconds")));
        connection.received(&frame(CONTINUATION, END_HEADERS, 3, 0), begun + 41 * SECOND);
        assert_eq!(left(&connection, begun), None);
        // One that begins where another ends has a time of its own.
        let mut two = frame(HEADERS, END_STREAM | END_HEADERS, 5, 20);
        two.extend(&head[..4]);
        connection.received(&head[..4], begun + 50 * SECOND);
        connection.received(&head[4..], begun + 51 * SECOND);
        connection.received(&frame(CONTINUATION, END_HEADERS, 3, 0), begun + 52 * SECOND);
        connection.received(&two, begun + 55 * SECOND);
        assert_eq!(left(&connection, begun), Some((65, "header_timeout_seconds")));
    }

    #[test]
    fn an_answer_that_is_not_taken_has_its_time_and_a_body_that_comes_slowly_has_another() {
        let begun = Instant::now();
        let mut connection = Multiplexed::new(begun);
        connection.received(&frame(HEADERS, END_HEADERS, 1, 20), begun);
        connection.received(&frame(DATA, 0, 1, 20)[..12], begun + SECOND);
        assert_eq!(left(&connection, begun), None, "half a piece of a body");
        connection.received(&[0; 17], begun + SECOND);
        connection.sent(&frame(HEADERS, END_HEADERS, 1, 20), false, begun + 2 * SECOND);
        assert_eq!(left(&connection, begun), Some((32, "write_timeout_seconds")));
        connection.sent(&frame(DATA, 0, 1, 20), false, begun + 20 * SECOND);
        assert_eq!(
            left(&connection, begun),
            Some((32, "write_timeout_seconds")),
            "a little of it prolongs nothing"
        );
        connection.sent(&frame(DATA, 0, 1, 20), true, begun + 20 * SECOND);
        assert_eq!(
            left(&connection, begun),
            Some((50, "write_timeout_seconds")),
            "but it may be one that pauses"
        );
        connection.received(&frame(HEADERS, END_HEADERS | END_STREAM, 3, 20), begun + 30 * SECOND);
        connection.sent(&frame(HEADERS, END_HEADERS | END_STREAM, 3, 20), false, begun + 30 * SECOND);
        assert_eq!(left(&connection, begun), Some((50, "write_timeout_seconds")), "of the slowest of them");
        connection.received(&frame(RST_STREAM, 0, 1, 4), begun + 31 * SECOND);
        assert_eq!(left(&connection, begun), Some((151, "")));
    }
}
