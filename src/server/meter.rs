//! The frames of an HTTP/2 connection as they pass: what a client makes us do, against what it is good for.
//!
//! h2 bounds what it has to remember: streams, field sections, resets of streams that nobody took up, errors that it found
//! itself, small DATA frames. What is merely work it does at once and for ever: requests that are made only to be reset
//! (CVE-2023-44487), and frames that ask for an answer or say nothing. Those have a budget here, which useful traffic fills
//! again.

use std::time::Instant;

use super::refusal::RefusalReason;

/// The client's connection preface (RFC 9113 3.4).
const PREFACE: usize = 24;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const END_STREAM: u8 = 1;

/// Frames that carry nothing which may come without anything that does.
const CHATTER: u32 = 4_000;
const CHATTER_PER_SECOND: u32 = 200;
/// What a request, and so many bytes of content either way, are worth in such frames.
const PER_REQUEST: u32 = 32;
const PER_BYTES: u32 = 512;

const RESETS_PER_SECOND: u32 = 10;

/// What a connection is ended for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flood {
    /// Of requests that were reset.
    Resets,
    /// Of frames that carry nothing.
    Chatter,
}

impl Flood {
    pub(super) const fn reason(self) -> RefusalReason {
        match self {
            Self::Resets => RefusalReason::Http2Resets,
            Self::Chatter => RefusalReason::Http2Flood,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Resets => "too_many_resets",
            Self::Chatter => "too_many_frames",
        }
    }
}

/// Watches both directions of one connection.
#[derive(Debug)]
pub(super) struct Meter {
    inbound: Cursor,
    outbound: Cursor,
    resets: Budget,
    chatter: Budget,
    last_stream: u32,
    data_sent: u64,
    flood: Option<Flood>,
}

impl Meter {
    /// `resets`: requests that may be reset beyond those that are answered.
    pub(super) fn new(resets: u32) -> Self {
        Self {
            inbound: Cursor { skip: PREFACE, ..Cursor::default() },
            outbound: Cursor::default(),
            resets: Budget::new(resets, RESETS_PER_SECOND),
            chatter: Budget::new(CHATTER, CHATTER_PER_SECOND),
            last_stream: 0,
            data_sent: 0,
            flood: None,
        }
    }

    /// The client said this.
    pub(super) fn received(&mut self, bytes: &[u8]) {
        let Self { inbound, resets, chatter, last_stream, flood, .. } = self;
        inbound.feed(bytes, |frame| {
            let (ok, kind) = match frame.kind {
                HEADERS => {
                    *last_stream = frame.stream.max(*last_stream);
                    chatter.give(PER_REQUEST);
                    return;
                }
                DATA if frame.length > 0 || frame.flags & END_STREAM != 0 => {
                    chatter.give(frame.length / PER_BYTES);
                    return;
                }
                RST_STREAM => (resets.take(), Flood::Resets),
                _ => (chatter.take(), Flood::Chatter),
            };
            if !ok {
                flood.get_or_insert(kind);
            }
        });
    }

    /// This is on its way to the client.
    pub(super) fn sent(&mut self, bytes: &[u8]) {
        let Self { outbound, resets, chatter, data_sent, .. } = self;
        outbound.feed(bytes, |frame| {
            if frame.kind == DATA {
                *data_sent += u64::from(frame.length);
                chatter.give(frame.length / PER_BYTES);
            }
            if matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0 {
                resets.give(1);
            }
        });
    }

    /// Bytes of content that have been sent.
    pub(super) fn data_sent(&self) -> u64 {
        self.data_sent
    }

    pub(super) fn flood(&self) -> Option<Flood> {
        self.flood
    }

    /// The last frame of the connection (RFC 9113 6.8), if one can be said: not amid another.
    pub(super) fn goaway(&self, flood: Flood) -> Option<Vec<u8>> {
        const GOAWAY: u8 = 7;
        const ENHANCE_YOUR_CALM: u32 = 11;
        if !self.outbound.is_between() {
            return None;
        }
        let why = flood.as_str().as_bytes();
        let mut frame = vec![0, 0, 8 + why.len() as u8, GOAWAY, 0, 0, 0, 0, 0];
        frame.extend(self.last_stream.to_be_bytes());
        frame.extend(ENHANCE_YOUR_CALM.to_be_bytes());
        frame.extend(why);
        Some(frame)
    }
}

/// So much is allowed; what was taken comes back with time, or is given back.
#[derive(Debug)]
struct Budget {
    left: u32,
    most: u32,
    per_second: u32,
    since: Instant,
}

impl Budget {
    fn new(most: u32, per_second: u32) -> Self {
        Self { left: most, most, per_second, since: Instant::now() }
    }

    fn give(&mut self, count: u32) {
        self.left = self.left.saturating_add(count).min(self.most);
    }

    /// The clock is looked at only when nothing is left.
    fn take(&mut self) -> bool {
        if self.left == 0 {
            let passed = u32::try_from(self.since.elapsed().as_millis()).unwrap_or(u32::MAX);
            let back = passed.saturating_mul(self.per_second) / 1000;
            if back == 0 {
                return false;
            }
            self.since = Instant::now();
            self.give(back);
        }
        self.left = self.left.saturating_sub(1);
        true
    }
}

/// The head of a frame (RFC 9113 4.1).
#[derive(Clone, Copy, Debug)]
struct Head {
    length: u32,
    kind: u8,
    flags: u8,
    stream: u32,
}

/// Finds the frames in bytes that come in whatever pieces.
#[derive(Debug, Default)]
struct Cursor {
    /// Bytes until the next head.
    skip: usize,
    head: [u8; 9],
    filled: usize,
}

impl Cursor {
    fn is_between(&self) -> bool {
        self.skip == 0 && self.filled == 0
    }

    fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Head)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return;
            }
            let taken = (self.head.len() - self.filled).min(bytes.len());
            self.head[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled < self.head.len() {
                return;
            }
            let [l1, l2, l3, kind, flags, s1, s2, s3, s4] = self.head;
            let length = u32::from_be_bytes([0, l1, l2, l3]);
            self.filled = 0;
            self.skip = length as usize;
            each(Head { length, kind, flags, stream: u32::from_be_bytes([s1 & 0x7f, s2, s3, s4]) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, length: u8) -> Vec<u8> {
        let mut bytes = vec![0, 0, length, kind, flags, 0, 0, 0, stream];
        bytes.resize(9 + usize::from(length), 0);
        bytes
    }

    fn meter(resets: u32) -> Meter {
        let mut meter = Meter::new(resets);
        meter.received(&[0; PREFACE]);
        meter
    }

    #[test]
    fn frames_are_found_in_whatever_pieces() {
        let bytes = [frame(HEADERS, 4, 1, 20), frame(DATA, 0, 1, 0), frame(6, 0, 0, 8)].concat();
        for size in [1, 2, 8, 9, 10, 30, 100] {
            let mut cursor = Cursor::default();
            let mut found = Vec::new();
            for piece in bytes.chunks(size) {
                cursor.feed(piece, |head| found.push((head.kind, head.length, head.stream)));
            }
            assert_eq!(found, [(1, 20, 1), (0, 0, 1), (6, 8, 0)], "{size}");
            assert!(cursor.is_between());
        }
    }

    #[test]
    fn resets_are_paid_for_by_answers() {
        let mut meter = meter(3);
        let (reset, answer) = (frame(RST_STREAM, 0, 1, 4), frame(DATA, END_STREAM, 1, 1));
        for _ in 0..100 {
            meter.received(&reset);
            meter.sent(&answer);
        }
        assert_eq!(meter.flood(), None);
        (0..4).for_each(|_| meter.received(&reset));
        assert_eq!(meter.flood(), Some(Flood::Resets));
    }

    #[test]
    fn chatter_is_paid_for_by_content() {
        for (kind, length) in [(6, 8), (4, 0), (2, 5), (8, 4), (0x77, 0), (DATA, 0)] {
            let mut meter = meter(3);
            let chatter = frame(kind, 0, 0, length);
            for _ in 0..CHATTER * 2 {
                meter.received(&chatter);
                meter.received(&frame(HEADERS, 5, 1, 3));
            }
            assert_eq!(meter.flood(), None);
            (0..CHATTER + 200).for_each(|_| meter.received(&chatter));
            assert_eq!(meter.flood(), Some(Flood::Chatter), "{kind}");
        }
    }

    #[test]
    fn goaway_stands_between_frames() {
        let mut meter = meter(1);
        meter.received(&frame(HEADERS, 5, 7, 3));
        let goaway = meter.goaway(Flood::Resets).unwrap();
        assert_eq!(goaway[..17], [0, 0, 23, 7, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 11]);
        meter.sent(&frame(DATA, 0, 1, 50)[..20]);
        assert_eq!(meter.goaway(Flood::Resets), None);
    }
}
