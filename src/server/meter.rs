//! The frames of an HTTP/2 connection as they pass: what a client makes us do, against what it is good for, and what it may not
//! send (`frames`).
//!
//! `http2` bounds what it has to remember: streams, field blocks, content. What is merely work it does at once and for ever:
//! requests that are made only to be reset (CVE-2023-44487), or so that we must reset them (CVE-2025-8671), and frames that ask
//! for an answer or say nothing. Those have a budget here, which useful traffic fills again.

use std::time::Instant;

use super::frames::{Code, DATA, END_STREAM, HEADERS, Judge, RST_STREAM, Wrong};
use super::refusal::RefusalReason;

/// Frames that carry nothing which may come without anything that does.
const CHATTER: u32 = 4_000;
const CHATTER_PER_SECOND: u32 = 200;
/// What a request, and so many bytes of content either way, are worth in such frames.
const PER_REQUEST: u32 = 32;
const PER_BYTES: u32 = 512;

const RESETS_PER_SECOND: u32 = 10;

/// What a connection is ended for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offence {
    /// A flood of requests that were reset.
    Resets,
    /// A flood of frames that carry nothing.
    Chatter,
    /// What may not be sent at all.
    Wrong(Code),
}

impl Offence {
    pub(super) const fn reason(self) -> RefusalReason {
        match self {
            Self::Resets => RefusalReason::Http2Resets,
            Self::Chatter => RefusalReason::Http2Flood,
            Self::Wrong(_) => RefusalReason::Http2Violation,
        }
    }

    const fn code(self) -> Code {
        match self {
            Self::Resets | Self::Chatter => Code::ENHANCE_YOUR_CALM,
            Self::Wrong(code) => code,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Resets => "too_many_resets",
            Self::Chatter => "too_many_frames",
            Self::Wrong(_) => "",
        }
    }
}

/// Watches both directions of one connection.
#[derive(Debug)]
pub(super) struct Meter {
    inbound: Judge,
    resets: Budget,
    own_resets: Budget,
    chatter: Budget,
    data_sent: u64,
    /// Streams that were reset for what the client did, until that is told.
    blamed: u32,
    offence: Option<Offence>,
}

impl Meter {
    /// `resets`: requests that may be reset beyond those that are answered; `own_resets`: that we may have to.
    pub(super) fn new(resets: u32, own_resets: u32) -> Self {
        Self {
            inbound: Judge::new(),
            resets: Budget::new(resets, RESETS_PER_SECOND),
            own_resets: Budget::new(own_resets, RESETS_PER_SECOND),
            chatter: Budget::new(CHATTER, CHATTER_PER_SECOND),
            data_sent: 0,
            blamed: 0,
            offence: None,
        }
    }

    /// The client said this; so much of it may be passed on.
    pub(super) fn received(&mut self, bytes: &[u8]) -> usize {
        let Self { inbound, resets, chatter, offence, .. } = self;
        let judged = inbound.receive(bytes, |frame| {
            let (ok, kind) = match frame.kind {
                HEADERS => {
                    chatter.give(PER_REQUEST);
                    return;
                }
                DATA if frame.length > 0 || frame.has(END_STREAM) => {
                    chatter.give(frame.length / PER_BYTES);
                    return;
                }
                RST_STREAM => (resets.take(), Offence::Resets),
                _ => (chatter.take(), Offence::Chatter),
            };
            if !ok {
                offence.get_or_insert(kind);
            }
        });
        let Err(Wrong { passed, code }) = judged else { return bytes.len() };
        offence.get_or_insert(Offence::Wrong(code));
        passed
    }

    /// So much content is on its way to the client.
    pub(super) fn sent(&mut self, length: usize) {
        self.data_sent += length as u64;
        self.chatter.give(u32::try_from(length).unwrap_or(u32::MAX) / PER_BYTES);
    }

    /// A reply is on its way to its end.
    pub(super) fn answered(&mut self) {
        self.resets.give(1);
    }

    /// The client does what only ends the connection; nothing more of it is taken.
    pub(super) fn offend(&mut self, code: Code) {
        self.offence.get_or_insert(Offence::Wrong(code));
    }

    /// We reset a stream for what the client did, or since there are too many (CVE-2025-8671).
    pub(super) fn reset(&mut self, code: Code) {
        self.blamed += u32::from(code.blames_the_peer());
        if !self.own_resets.take() {
            self.offend(Code::ENHANCE_YOUR_CALM);
        }
    }

    /// Bytes of content that have been sent.
    pub(super) fn data_sent(&self) -> u64 {
        self.data_sent
    }

    pub(super) fn offence(&self) -> Option<Offence> {
        self.offence
    }

    /// Streams that were reset for what the client did, asked once.
    pub(super) fn take_blamed(&mut self) -> u32 {
        std::mem::take(&mut self.blamed)
    }

    /// What the connection's last frame says (RFC 9113 6.8).
    pub(super) fn goaway(&self, offence: Offence) -> Vec<u8> {
        let mut payload = self.inbound.last_stream().to_be_bytes().to_vec();
        payload.extend(offence.code().0.to_be_bytes());
        payload.extend(offence.as_str().as_bytes());
        payload
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

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, length: u8) -> Vec<u8> {
        let mut bytes = vec![0, 0, length, kind, flags];
        bytes.extend(stream.to_be_bytes());
        bytes.resize(9 + usize::from(length), 1);
        bytes
    }

    fn meter(resets: u32) -> Meter {
        let mut meter = Meter::new(resets, 1);
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        meter.received(&[&[0; 24][..], &settings].concat());
        // Streams that the frames of tests are on.
        meter.received(&frame(HEADERS, 4, 1, 0));
        meter
    }

    #[test]
    fn resets_are_paid_for_by_answers() {
        let mut meter = meter(3);
        let reset = frame(RST_STREAM, 0, 1, 4);
        for _ in 0..100 {
            meter.received(&reset);
            meter.answered();
        }
        assert_eq!(meter.offence(), None);
        for _ in 0..4 {
            meter.received(&reset);
        }
        assert_eq!(meter.offence(), Some(Offence::Resets));
    }

    #[test]
    fn chatter_is_paid_for_by_content() {
        for (kind, length) in [(6, 8), (4, 0), (2, 5), (8, 4), (0x77, 0), (DATA, 0)] {
            let mut meter = meter(3);
            let on_stream = matches!(kind, DATA | 2);
            let chatter = frame(kind, 0, u32::from(on_stream), length);
            for nth in 1..=CHATTER * 2 {
                meter.received(&chatter);
                meter.received(&frame(HEADERS, 5, 1 + 2 * nth, 3));
            }
            assert_eq!(meter.offence(), None);
            for _ in 0..CHATTER + 200 {
                meter.received(&chatter);
            }
            assert_eq!(meter.offence(), Some(Offence::Chatter), "{kind}");
        }
    }

    #[test]
    fn resets_that_we_are_made_to_send_have_an_end() {
        let mut meter = Meter::new(1, 3);
        for code in [Code::PROTOCOL, Code::REFUSED, Code::FLOW_CONTROL] {
            meter.reset(code);
        }
        assert_eq!((meter.take_blamed(), meter.offence()), (2, None));
        meter.reset(Code::REFUSED);
        assert_eq!(meter.offence(), Some(Offence::Wrong(Code::ENHANCE_YOUR_CALM)));
    }

    #[test]
    fn a_connection_ends_with_its_last_stream_and_a_reason() {
        let mut meter = meter(1);
        meter.received(&frame(HEADERS, 5, 7, 3));
        assert_eq!(meter.goaway(Offence::Resets), b"\0\0\0\x07\0\0\0\x0btoo_many_resets");
    }
}
