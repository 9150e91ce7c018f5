//! The frames of an HTTP/2 connection found among its bytes, and what a client may not send.
//!
//! What is judged here ends the connection (RFC 9113 5.4.1), which a stream error may be taken for as well; `http2` never sees
//! the whole of such a frame. What takes the state of streams or of field compression to judge is left to it.

/// The client's connection preface (RFC 9113 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The largest frame that we take: what every endpoint must (RFC 9113 4.2), and what we announce.
pub(super) const LARGEST: u32 = 16_384;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;
pub(super) const WITH_PRIORITY: u8 = 0x20;

/// An error code (RFC 9113 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code(pub(super) u32);

impl Code {
    pub(super) const NONE: Self = Self(0);
    pub(super) const PROTOCOL: Self = Self(1);
    pub(super) const INTERNAL: Self = Self(2);
    pub(super) const FLOW_CONTROL: Self = Self(3);
    pub(super) const STREAM_CLOSED: Self = Self(5);
    pub(super) const FRAME_SIZE: Self = Self(6);
    pub(super) const COMPRESSION: Self = Self(9);
    pub(super) const REFUSED: Self = Self(7);
    pub(super) const CANCEL: Self = Self(8);
    pub(super) const ENHANCE_YOUR_CALM: Self = Self(11);

    /// Whether it tells of something that the other side did wrong.
    pub(super) fn blames_the_peer(self) -> bool {
        [Self::PROTOCOL, Self::FLOW_CONTROL, Self::STREAM_CLOSED, Self::FRAME_SIZE, Self::COMPRESSION]
            .contains(&self)
    }
}

/// The head of a frame (RFC 9113 4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    pub(super) const SIZE: usize = 9;

    pub(super) fn of(bytes: [u8; Self::SIZE]) -> Self {
        let [l1, l2, l3, kind, flags, s1, s2, s3, s4] = bytes;
        let length = u32::from_be_bytes([0, l1, l2, l3]);
        Self { length, kind, flags, stream: u32::from_be_bytes([s1 & 0x7f, s2, s3, s4]) }
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// What stands before a field block: the length of its padding, and a priority.
    fn preamble(&self) -> u32 {
        u32::from(self.has(PADDED)) + if self.has(WITH_PRIORITY) { 5 } else { 0 }
    }
}

/// So much of a payload is looked at.
const LOOKED_AT: usize = 16;

/// Judges what a client sends.
#[derive(Debug)]
pub(super) struct Judge {
    /// Bytes that are not looked at.
    skip: usize,
    head: [u8; Head::SIZE],
    filled: usize,
    frame: Head,
    /// The beginning of its payload, or one of its settings: so much of it is wanted, and has come.
    start: [u8; LOOKED_AT],
    wanted: usize,
    came: usize,
    streams: Streams,
    /// The connection's first settings have come.
    settled: bool,
    /// The stream whose field block is not whole.
    continues: Option<u32>,
}

/// What a piece was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// So many of its bytes may be passed on: no whole frame that is wrong.
    pub(super) passed: usize,
    pub(super) code: Code,
}

impl Judge {
    pub(super) fn new() -> Self {
        Self {
            skip: PREFACE.len(),
            head: [0; Head::SIZE],
            filled: 0,
            frame: Head::default(),
            start: [0; LOOKED_AT],
            wanted: 0,
            came: 0,
            streams: Streams::default(),
            settled: false,
            continues: None,
        }
    }

    /// The highest stream that the client has opened.
    pub(super) fn last_stream(&self) -> u32 {
        self.streams.last
    }

    /// Looks at a piece; `each` is told of the frames that may pass.
    pub(super) fn receive(&mut self, bytes: &[u8], mut each: impl FnMut(Head)) -> Result<(), Wrong> {
        let mut at = 0;
        while at < bytes.len() {
            let from = at;
            let wrong = |code| Wrong { passed: from, code };
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len() - at);
                self.skip -= skipped;
                at += skipped;
            } else if self.wanted > 0 {
                let taken = (self.wanted - self.came).min(bytes.len() - at);
                self.start[self.came..self.came + taken].copy_from_slice(&bytes[at..at + taken]);
                self.came += taken;
                at += taken;
                if self.came == self.wanted {
                    self.began().map_err(wrong)?;
                }
            } else {
                let taken = (Head::SIZE - self.filled).min(bytes.len() - at);
                self.head[self.filled..self.filled + taken].copy_from_slice(&bytes[at..at + taken]);
                self.filled += taken;
                at += taken;
                if self.filled == Head::SIZE {
                    self.filled = 0;
                    let head = Head::of(self.head);
                    self.judge(head).map_err(wrong)?;
                    self.enter(head);
                    each(head);
                }
            }
        }
        Ok(())
    }

    fn enter(&mut self, head: Head) {
        self.frame = head;
        self.came = 0;
        self.wanted = match head.kind {
            SETTINGS | WINDOW_UPDATE | DATA | HEADERS => wanted(head).min(head.length as usize),
            _ => 0,
        };
        self.skip = if self.wanted == 0 { head.length as usize } else { 0 };
    }

    /// By the head alone.
    fn judge(&mut self, head: Head) -> Result<(), Code> {
        let Head { length, kind, stream, .. } = head;
        // RFC 9113 3.4: settings come first.
        if !self.settled && (kind != SETTINGS || head.has(ACK)) {
            return Err(Code::PROTOCOL);
        }
        self.settled = true;
        sized(length <= LARGEST)?;
        // RFC 9113 4.3: nothing stands within a field block.
        if self.continues.is_some_and(|open| kind != CONTINUATION || stream != open) {
            return Err(Code::PROTOCOL);
        }
        match kind {
            DATA => {
                sized(length > 0 || !head.has(PADDED))?;
                self.streams.data(head)
            }
            HEADERS => {
                sized(length >= head.preamble())?;
                self.continues = (!head.has(END_HEADERS)).then_some(stream);
                self.streams.headers(head)
            }
            PRIORITY => {
                allowed(stream != 0)?;
                sized(length == 5)
            }
            RST_STREAM => {
                sized(length == 4)?;
                self.streams.reset(stream)
            }
            SETTINGS => {
                allowed(stream == 0)?;
                sized(if head.has(ACK) { length == 0 } else { length % 6 == 0 })
            }
            // Clients have nothing to push (RFC 9113 8.4).
            PUSH_PROMISE => Err(Code::PROTOCOL),
            PING => {
                allowed(stream == 0)?;
                sized(length == 8)
            }
            GOAWAY => {
                allowed(stream == 0)?;
                sized(length >= 8)
            }
            WINDOW_UPDATE => {
                sized(length == 4)?;
                allowed(stream == 0 || self.streams.is_known(stream))
            }
            CONTINUATION => {
                allowed(self.continues.is_some())?;
                if head.has(END_HEADERS) {
                    self.continues = None;
                }
                Ok(())
            }
            // RFC 9113 4.1: what is not known is ignored.
            _ => Ok(()),
        }
    }

    /// By the beginning of the payload.
    fn began(&mut self) -> Result<(), Code> {
        let (frame, start) = (self.frame, &self.start[..self.wanted]);
        let last = self.wanted;
        match (frame.kind, start) {
            (SETTINGS, [id @ .., a, b, c, d]) => {
                setting(u16::from_be_bytes([id[0], id[1]]), u32::from_be_bytes([*a, *b, *c, *d]))?;
                self.frame.length -= 6;
                self.wanted = if self.frame.length > 0 { 6 } else { 0 };
                self.came = 0;
                return Ok(());
            }
            // RFC 9113 6.9: a window does not grow by nothing.
            (WINDOW_UPDATE, [a, b, c, d]) => allowed(u32::from_be_bytes([a & 0x7f, *b, *c, *d]) != 0)?,
            (DATA, [padding, ..]) => allowed(u32::from(*padding) < frame.length)?,
            (HEADERS, _) => {
                if frame.has(PADDED) {
                    allowed(u32::from(start[0]) <= frame.length - frame.preamble())?;
                }
                let block = &start[(frame.preamble() as usize).min(last)..];
                // RFC 9113 8.1: trailers have no pseudo-fields.
                allowed(!self.streams.again || !begins_with_pseudo(block))?;
            }
            _ => {}
        }
        self.skip = frame.length as usize - last;
        self.wanted = 0;
        Ok(())
    }
}

/// So much of the payload tells something.
fn wanted(head: Head) -> usize {
    match head.kind {
        SETTINGS => 6,
        WINDOW_UPDATE => 4,
        DATA => usize::from(head.has(PADDED)),
        _ => LOOKED_AT,
    }
}

fn allowed(is: bool) -> Result<(), Code> {
    if is { Ok(()) } else { Err(Code::PROTOCOL) }
}

fn sized(is: bool) -> Result<(), Code> {
    if is { Ok(()) } else { Err(Code::FRAME_SIZE) }
}

/// What values settings may have (RFC 9113 6.5.2, RFC 8441 3).
fn setting(id: u16, value: u32) -> Result<(), Code> {
    match id {
        2 | 8 => allowed(value <= 1),
        4 if value > i32::MAX as u32 => Err(Code::FLOW_CONTROL),
        5 => allowed((LARGEST..1 << 24).contains(&value)),
        _ => Ok(()),
    }
}

/// Whether a field block begins with one of the static table's pseudo-fields, or with a new name that begins with a colon
/// (RFC 7541 6). Behind other fields `http2` finds them.
fn begins_with_pseudo(mut block: &[u8]) -> bool {
    // The table may be resized first (RFC 7541 4.2).
    while let [first @ 0x20..=0x3f, rest @ ..] = block {
        block = rest;
        if first & 0x1f == 0x1f {
            let end = block.iter().position(|byte| byte & 0x80 == 0).map_or(block.len(), |at| at + 1);
            block = &block[end..];
        }
    }
    let (index, name) = match block {
        [first @ 0x80..=0xff, ..] => return (1..=14).contains(&(first & 0x7f)),
        [first @ 0x40..=0x7f, name @ ..] => (first & 0x3f, name),
        [first, name @ ..] => (first & 0x0f, name),
        [] => return false,
    };
    match (index, name) {
        // A colon as it is, and in Huffman's code (RFC 7541 B).
        (0, [0..=0x7e, b':', ..]) => true,
        (0, [0x80..=0xfe, first, ..]) => first >> 1 == 0b101_1100,
        (index, _) => (1..=14).contains(&index),
    }
}

/// Streams that are remembered for being ended, and ranges of them for being passed over.
const ENDED: usize = 16;
const PASSED_OVER: usize = 8;

/// What the client has done with its streams, as far as it takes little to know.
#[derive(Debug, Default)]
struct Streams {
    /// The highest that was opened.
    last: u32,
    /// The last frame was another field block of a stream.
    again: bool,
    /// The last that the client has ended: nothing may come on them any more.
    ended: [u32; ENDED],
    next_ended: usize,
    /// The last that cannot be opened any more (RFC 9113 5.1.1).
    passed_over: [(u32, u32); PASSED_OVER],
    next_passed_over: usize,
}

impl Streams {
    /// Whether it is, or was, open.
    fn is_known(&self, stream: u32) -> bool {
        stream % 2 == 1 && stream <= self.last
    }

    fn has_ended(&self, stream: u32) -> bool {
        self.ended.contains(&stream)
    }

    fn end(&mut self, stream: u32) {
        self.ended[self.next_ended] = stream;
        self.next_ended = (self.next_ended + 1) % ENDED;
    }

    fn data(&mut self, head: Head) -> Result<(), Code> {
        allowed(self.is_known(head.stream))?;
        self.on_open(head)
    }

    fn headers(&mut self, head: Head) -> Result<(), Code> {
        let stream = head.stream;
        allowed(stream % 2 == 1)?;
        self.again = stream <= self.last;
        if self.again {
            let within = |(from, to): &(u32, u32)| (*from..=*to).contains(&stream);
            allowed(!self.passed_over.iter().any(within))?;
        } else {
            let next = if self.last == 0 { 1 } else { self.last + 2 };
            if stream > next {
                self.passed_over[self.next_passed_over] = (next, stream - 2);
                self.next_passed_over = (self.next_passed_over + 1) % PASSED_OVER;
            }
            self.last = stream;
        }
        self.on_open(head)
    }

    /// RFC 9113 5.1: who has ended a stream sends nothing more on it.
    fn on_open(&mut self, head: Head) -> Result<(), Code> {
        if self.has_ended(head.stream) {
            return Err(Code::STREAM_CLOSED);
        }
        if head.has(END_STREAM) {
            self.end(head.stream);
        }
        Ok(())
    }

    fn reset(&mut self, stream: u32) -> Result<(), Code> {
        allowed(self.is_known(stream))?;
        if !self.has_ended(stream) {
            self.end(stream);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    /// What comes of these frames behind the first settings, and how many bytes pass.
    fn judged(frames: &[Vec<u8>], size: usize) -> (Result<(), Code>, usize) {
        let bytes = [PREFACE.to_vec(), frame(SETTINGS, 0, 0, &[]), frames.concat()].concat();
        let mut judge = Judge::new();
        let mut passed = 0;
        for piece in bytes.chunks(size) {
            match judge.receive(piece, |_| {}) {
                Ok(()) => passed += piece.len(),
                Err(Wrong { passed: more, code }) => return (Err(code), passed + more),
            }
        }
        (Ok(()), passed)
    }

    const WHOLE: u8 = END_HEADERS | END_STREAM;

    #[test]
    fn what_may_not_be_sent() {
        let get = |stream| frame(HEADERS, WHOLE, stream, &[0x82]);
        let post = |stream| frame(HEADERS, END_HEADERS, stream, &[0x83]);
        let setting = |id: u8, value: u32| {
            frame(SETTINGS, 0, 0, &[&[0, 3, 0, 0, 0, 1, 0, id][..], &value.to_be_bytes()].concat())
        };
        let (protocol, size, closed) = (Err(Code::PROTOCOL), Err(Code::FRAME_SIZE), Err(Code::STREAM_CLOSED));
        for (frames, verdict) in [
            (vec![get(1), get(3), post(5), frame(DATA, END_STREAM, 5, b"x")], Ok(())),
            (vec![frame(HEADERS, 1, 1, b""), frame(CONTINUATION, 4, 1, b""), get(3)], Ok(())),
            (vec![post(1), frame(HEADERS, WHOLE, 1, b"\x40\x01x\x01y")], Ok(())),
            (vec![frame(0xfa, 0, 9, b"?"), frame(PING, 0, 0, &[0; 8]), frame(GOAWAY, 0, 0, &[0; 9])], Ok(())),
            (vec![frame(PRIORITY, 0, 7, &[0; 5]), setting(4, i32::MAX as u32), setting(5, 16_384)], Ok(())),
            (vec![get(0)], protocol),
            (vec![get(2)], protocol),
            (vec![get(5), get(3)], protocol),
            (vec![get(5), get(5)], closed),
            (vec![post(1), frame(RST_STREAM, 0, 1, &[0; 4]), frame(DATA, 0, 1, b"x")], closed),
            (vec![get(1), frame(DATA, 0, 1, b"x")], closed),
            (vec![frame(DATA, 0, 1, b"x")], protocol),
            (vec![frame(DATA, 0, 0, b"x")], protocol),
            (vec![post(1), frame(DATA, PADDED, 1, &[3, 0, 0])], protocol),
            (vec![post(1), frame(DATA, PADDED, 1, &[2, 0, 0])], Ok(())),
            (vec![post(1), frame(DATA, PADDED, 1, b"")], size),
            (vec![frame(HEADERS, WHOLE | PADDED, 1, &[2, 0x82])], protocol),
            (vec![frame(HEADERS, WHOLE | PADDED, 1, &[1, 0x82])], Ok(())),
            (vec![frame(HEADERS, WHOLE | WITH_PRIORITY, 1, &[0; 4])], size),
            (vec![frame(HEADERS, 1, 1, b""), get(3)], protocol),
            (vec![frame(HEADERS, 1, 1, b""), frame(CONTINUATION, 4, 3, b"")], protocol),
            (vec![get(1), frame(CONTINUATION, 4, 1, b"")], protocol),
            (vec![post(1), frame(HEADERS, WHOLE, 1, &[0x82])], protocol),
            (vec![post(1), frame(HEADERS, WHOLE, 1, b"\x3f\xe1\x1f\x00\x05:path\x01/")], protocol),
            (vec![post(1), frame(HEADERS, WHOLE, 1, &[0x00, 0x85, 0xb9, 0x58, 0xd3, 0x3f, 0x7f])], protocol),
            (vec![frame(RST_STREAM, 0, 1, &[0; 4])], protocol),
            (vec![post(1), frame(RST_STREAM, 0, 1, &[0; 5])], size),
            (vec![frame(PRIORITY, 0, 1, &[0; 4])], size),
            (vec![frame(PRIORITY, 0, 0, &[0; 5])], protocol),
            (vec![frame(SETTINGS, ACK, 0, &[0; 6])], size),
            (vec![frame(SETTINGS, 0, 0, &[0; 7])], size),
            (vec![frame(SETTINGS, 0, 1, b"")], protocol),
            (vec![setting(2, 2)], protocol),
            (vec![setting(8, 2)], protocol),
            (vec![setting(4, 1 << 31)], Err(Code::FLOW_CONTROL)),
            (vec![setting(5, 16_383)], protocol),
            (vec![setting(5, 1 << 24)], protocol),
            (vec![frame(PUSH_PROMISE, 4, 1, &[0; 5])], protocol),
            (vec![frame(PING, 0, 1, &[0; 8])], protocol),
            (vec![frame(PING, 0, 0, &[0; 7])], size),
            (vec![frame(GOAWAY, 0, 1, &[0; 8])], protocol),
            (vec![frame(GOAWAY, 0, 0, &[0; 7])], size),
            (vec![frame(WINDOW_UPDATE, 0, 0, &[0x80, 0, 0, 0])], protocol),
            (vec![frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])], protocol),
            (vec![frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1])], size),
            (vec![frame(DATA, 0, 1, &[0; 16_385])], size),
        ] {
            for size in [1, 2, 5, 9, 10, 1 << 20] {
                let (found, passed) = judged(&frames, size);
                assert_eq!(found, verdict, "{frames:?} in pieces of {size}");
                let all = PREFACE.len() + 9 + frames.concat().len();
                let last = frames.last().unwrap().len();
                match verdict {
                    Ok(()) => assert_eq!(passed, all),
                    Err(_) => assert!(passed < all && passed >= all - last, "{passed} of {all}"),
                }
            }
        }
    }

    #[test]
    fn settings_come_first() {
        for first in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, ACK, 0, b""), frame(0xfa, 0, 0, b"")] {
            let mut judge = Judge::new();
            let bytes = [PREFACE.to_vec(), first].concat();
            let wrong = Wrong { passed: PREFACE.len(), code: Code::PROTOCOL };
            assert_eq!(judge.receive(&bytes, |_| {}), Err(wrong));
        }
    }

    proptest! {
        /// However bytes are cut, the verdict is the same, and so is what passes up to the frame that is wrong.
        #[test]
        fn pieces_change_nothing(
            frames in prop::collection::vec(
                (0_u8..11, any::<u8>(), 0_u32..8, prop::collection::vec(any::<u8>(), 0..24)), 0..8),
            size in 1_usize..40,
        ) {
            let frames: Vec<_> =
                frames.iter().map(|(kind, flags, stream, payload)| frame(*kind, *flags, *stream, payload)).collect();
            let (whole, passed) = judged(&frames, usize::MAX);
            let (cut, passed_cut) = judged(&frames, size);
            prop_assert_eq!(whole, cut);
            prop_assert!(passed <= passed_cut && passed_cut < passed + 9 + LOOKED_AT);
        }
    }
}
