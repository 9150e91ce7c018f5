//! Where the frames of a WebSocket end (RFC 6455 5.2). Payloads are not looked at, nor unmasked.

/// The opcode of a Close frame.
const CLOSE: u8 = 0x8;

/// The longest header: two bytes, a length of eight, a mask of four.
const LONGEST: usize = 14;

/// Follows the frames of one direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frames {
    state: State,
    closed: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// So much of a header has come.
    Header { bytes: [u8; LONGEST], length: usize },
    /// So much of a payload is to come; `closes`: of a Close frame.
    Payload { left: u64, closes: bool },
    /// What came is no frame: nobody can tell where the next one begins.
    Lost,
}

/// A header that has come to its end.
struct Header {
    payload: u64,
    closes: bool,
}

impl State {
    const BOUNDARY: Self = Self::Header { bytes: [0; LONGEST], length: 0 };
}

impl Frames {
    pub(super) fn new() -> Self {
        Self { state: State::BOUNDARY, closed: false }
    }

    /// Whether a whole Close frame has come.
    pub(super) fn closed(&self) -> bool {
        self.closed
    }

    /// Whether no frame is under way.
    pub(super) fn at_boundary(&self) -> bool {
        matches!(self.state, State::Header { length: 0, .. })
    }

    /// Whether frames cannot be told any more.
    pub(super) fn lost(&self) -> bool {
        matches!(self.state, State::Lost)
    }

    /// Follows these bytes.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = &bytes[self.take(bytes)..];
        }
    }

    /// How many of these bytes belong to the frame under way, or to the one that they begin.
    pub(super) fn of_this_frame(mut self, bytes: &[u8]) -> usize {
        self.take(bytes)
    }

    /// Follows these bytes to the end of one frame at most.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            match &mut self.state {
                State::Lost => return bytes.len(),
                State::Header { bytes: header, length } => {
                    header[*length] = bytes[at];
                    *length += 1;
                    at += 1;
                    self.state = match parse(&header[..*length]) {
                        Ok(None) => continue,
                        Ok(Some(Header { payload, closes })) => State::Payload { left: payload, closes },
                        Err(Malformed) => State::Lost,
                    };
                }
                State::Payload { left, .. } => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    *left -= taken as u64;
                    at += taken;
                }
            }
            if let State::Payload { left: 0, closes } = self.state {
                self.closed |= closes;
                self.state = State::BOUNDARY;
                return at;
            }
        }
        at
    }
}

struct Malformed;

/// A header, once it is complete.
fn parse(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    let (short, masked) = (second & 0x7f, second & 0x80 != 0);
    let extended = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let control = first & 0x8 != 0;
    // RFC 6455 5.5: control frames are short and whole.
    if control && (extended > 0 || first & 0x80 == 0) {
        return Err(Malformed);
    }
    if rest.len() < extended + if masked { 4 } else { 0 } {
        return Ok(None);
    }
    let payload = match extended {
        0 => u64::from(short),
        _ => rest[..extended].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
    };
    // RFC 6455 5.2: the most significant bit must be 0.
    if payload >> 63 != 0 {
        return Err(Malformed);
    }
    Ok(Some(Header { payload, closes: first & 0xf == CLOSE }))
}

/// A Close frame that says 1001, going away (RFC 6455 7.4.1).
#[derive(Clone, Copy, Debug)]
pub(super) struct Farewell {
    bytes: [u8; 8],
    length: usize,
}

impl Farewell {
    const STATUS: [u8; 2] = 1001_u16.to_be_bytes();

    /// As a server sends it.
    pub(super) fn to_client() -> Self {
        let [high, low] = Self::STATUS;
        Self { bytes: [0x80 | CLOSE, 2, high, low, 0, 0, 0, 0], length: 4 }
    }

    /// As a client sends it: masked (RFC 6455 5.3).
    pub(super) fn to_upstream() -> Self {
        let [high, low] = Self::STATUS;
        let [a, b, c, d] = fastrand::u32(..).to_be_bytes();
        Self { bytes: [0x80 | CLOSE, 0x80 | 2, a, b, c, d, high ^ a, low ^ b], length: 8 }
    }

    /// What is left of it.
    pub(super) fn rest(&self, written: usize) -> &[u8] {
        &self.bytes[written.min(self.length)..self.length]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(first: u8, length: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut bytes = vec![first];
        match length {
            0..=125 => bytes.push(mask | length as u8),
            126..=0xffff => {
                bytes.push(mask | 126);
                bytes.extend_from_slice(&(length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(mask | 127);
                bytes.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        bytes.extend(std::iter::repeat_n(0x88, length + if masked { 4 } else { 0 }));
        bytes
    }

    #[test]
    fn frames_end_where_they_end_however_they_come() {
        let whole = [
            frame(0x82, 0, false),
            frame(0x01, 125, true),
            frame(0x89, 4, true),
            frame(0x80, 126, false),
            frame(0xc2, 70_000, true),
        ];
        let all = whole.concat();
        for step in [1, 2, 3, 7, 100, all.len()] {
            let mut frames = Frames::new();
            all.chunks(step).for_each(|part| frames.follow(part));
            assert!(frames.at_boundary() && !frames.closed() && !frames.lost(), "{step}");
        }
        let (mut frames, mut rest) = (Frames::new(), &all[..]);
        for one in &whole {
            assert!(frames.at_boundary());
            assert_eq!(frames.of_this_frame(rest), one.len());
            assert_eq!(frames.take(rest), one.len());
            rest = &rest[one.len()..];
        }
    }

    #[test]
    fn a_close_frame_counts_once_it_is_whole() {
        let close = Farewell::to_upstream();
        let bytes = close.rest(0);
        let mut frames = Frames::new();
        frames.follow(&bytes[..bytes.len() - 1]);
        assert!(!frames.closed() && !frames.at_boundary());
        frames.follow(&bytes[bytes.len() - 1..]);
        assert!(frames.closed() && frames.at_boundary());
        assert_eq!([bytes[6] ^ bytes[2], bytes[7] ^ bytes[3]], 1001_u16.to_be_bytes());
        assert_eq!(Farewell::to_client().rest(0), [0x88, 2, 0x03, 0xe9]);
    }

    #[test]
    fn what_is_no_frame_is_passed_over() {
        for (malformed, why) in [
            (&[0x89, 126, 0, 1][..], "a long ping"),
            (&[0x08, 0][..], "a Close in parts"),
            (&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0][..], "a length beyond 63 bits"),
        ] {
            let mut frames = Frames::new();
            frames.follow(malformed);
            assert!(frames.lost(), "{why}");
            assert_eq!(frames.of_this_frame(b"anything"), 8);
            frames.follow(b"anything");
            assert!(!frames.at_boundary(), "{why}");
        }
    }

    proptest! {
        #[test]
        fn nothing_stops_it(bytes: Vec<u8>, at in 0_usize..64) {
            let mut frames = Frames::new();
            let at = at.min(bytes.len());
            frames.follow(&bytes[..at]);
            frames.follow(&bytes[at..]);
            let mut again = Frames::new();
            again.follow(&bytes);
            prop_assert_eq!(frames.at_boundary(), again.at_boundary());
            prop_assert_eq!(frames.closed(), again.closed());
        }
    }
}
