//! The state of one HTTP/2 connection: what frames make of it, and what is sent for it (RFC 9113). No I/O.

mod receiving;
mod sending;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::task::{Context, Waker};

use http::StatusCode;

use super::outgoing::Outgoing;
use super::request::{Assembly, Read};
use super::stream::{Receiving, Stream, Streams};
use crate::http::hpack::{self, Decoder};
use crate::server::frames::{
    ACK, CONTINUATION, Code, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Head, LARGEST, PADDED, PING,
    PREFACE, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, WITH_PRIORITY,
};
use crate::server::meter::{Meter, Offence};

/// A window, unless something else was agreed (RFC 9113 6.9.2), and the largest.
const WINDOW: i64 = 65_535;
const LARGEST_WINDOW: i64 = i32::MAX as i64;

/// What the answer to is waited for before the last stream is told (RFC 9113 6.8).
const FAREWELL: [u8; 8] = *b"farewell";
/// Asks whether anybody is there.
const ARE_YOU_THERE: [u8; 8] = *b"are you?";

/// Frames that a field block may be in, beyond those that it must be in.
const CONTINUED: u32 = 16;

/// Streams that we ended first, and of which more may be on its way.
const FORGOTTEN: usize = 256;

/// What a client may make of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) streams: u32,
    /// Of a list of fields, in bytes.
    pub(super) list: u32,
    /// Content ahead of its reader, of a stream and of all.
    pub(super) window: u32,
    pub(super) windows: u32,
}

/// A request whose head was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) stream: u32,
    /// It has no content.
    pub(super) ended: bool,
    /// Of its content, as it was told.
    pub(super) length: Option<u64>,
}

/// The stream is no more: the client has reset it, or broken its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// How far our leaving has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    No,
    Told,
    /// What is above this stream is not answered any more.
    After(u32),
}

/// DATA that has not come whole.
#[derive(Clone, Copy, Debug)]
struct Data {
    stream: u32,
    left: usize,
    padding: usize,
    ends: bool,
}

/// A field block that has not come whole.
#[derive(Debug)]
struct Block {
    stream: u32,
    ends: bool,
    frames: u32,
    bytes: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) out: Outgoing,
    meter: Meter,
    bounds: Bounds,
    /// Of the client's preface, what has come.
    preface: usize,
    /// The beginning of a frame.
    partial: Vec<u8>,
    data: Option<Data>,
    block: Option<Box<Block>>,
    /// A rule was broken: nothing more is read.
    broken: bool,
    decoder: Decoder,
    /// What is to be said of our own table.
    resize: Option<u32>,
    streams: Streams,
    /// The highest stream that the client has opened.
    last: u32,
    forgotten: VecDeque<u32>,
    /// What the client takes: of all streams, and of a new one.
    window: i64,
    initial: i64,
    /// What it may send: of all streams; what was read of it and not told; of a new stream.
    receiving: i64,
    unreleased: u32,
    granted: i64,
    /// Streams that wait for the connection's window, or for room.
    waiting: VecDeque<u32>,
    leaving: Leaving,
    peer_leaves: bool,
    /// A PING of ours has not been answered.
    asked: bool,
    /// The task that drives the connection, and whether it is at it.
    waker: Option<Waker>,
    driven: bool,
}

impl Session {
    /// Says first what we take.
    pub(super) fn new(bounds: Bounds, meter: Meter) -> Self {
        let mut session = Self {
            out: Outgoing::default(),
            meter,
            bounds,
            preface: 0,
            partial: Vec::new(),
            data: None,
            block: None,
            broken: false,
            decoder: Decoder::default(),
            resize: None,
            streams: Streams::default(),
            last: 0,
            forgotten: VecDeque::new(),
            window: WINDOW,
            initial: WINDOW,
            receiving: i64::from(bounds.windows).max(WINDOW),
            unreleased: 0,
            granted: WINDOW,
            waiting: VecDeque::new(),
            leaving: Leaving::No,
            peer_leaves: false,
            asked: false,
            waker: None,
            driven: false,
        };
        let mut settings = Vec::with_capacity(24);
        // SETTINGS_ENABLE_CONNECT_PROTOCOL: RFC 8441 3.
        for (id, value) in [(3, bounds.streams), (4, bounds.window), (6, bounds.list), (8, 1)] {
            settings.extend_from_slice(&u16::to_be_bytes(id));
            settings.extend_from_slice(&value.to_be_bytes());
        }
        session.out.frame(SETTINGS, 0, 0, &settings);
        if let Ok(more @ 1..) = u32::try_from(session.receiving - WINDOW) {
            session.out.frame(WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        }
        session
    }

    pub(super) fn meter(&mut self) -> &mut Meter {
        &mut self.meter
    }

    /// The connection's task begins a turn, or has ended it: then it is to be woken when there is something to send.
    pub(super) fn set_driven(&mut self, by: Option<&Waker>) {
        self.driven = by.is_some();
        if let Some(waker) =
            by.filter(|waker| !self.waker.as_ref().is_some_and(|known| known.will_wake(waker)))
        {
            self.waker = Some(waker.clone());
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.as_ref().filter(|_| !self.driven) {
            waker.wake_by_ref();
        }
    }

    /// What the connection is to be ended for.
    fn offend(&mut self, code: Code) {
        self.broken = true;
        self.meter.offend(code);
    }

    /// Takes what has come, up to the next request, whose head is in `assembly` then.
    pub(super) fn read(&mut self, assembly: &mut Assembly, bytes: &mut &[u8]) -> Option<Opened> {
        while !self.broken && !bytes.is_empty() {
            if self.preface < PREFACE.len() {
                self.begin(bytes);
            } else if self.data.is_some() {
                self.more_data(bytes);
            } else if self.partial.is_empty() && bytes.len() >= wanted(bytes) {
                let (frame, rest) = bytes.split_at(wanted(bytes));
                *bytes = rest;
                if let Some(opened) = self.frame(assembly, frame) {
                    return Some(opened);
                }
            } else {
                let more = wanted(&self.partial).saturating_sub(self.partial.len()).min(bytes.len());
                self.partial.extend_from_slice(&bytes[..more]);
                *bytes = &bytes[more..];
                if self.partial.len() == wanted(&self.partial) {
                    let frame = std::mem::take(&mut self.partial);
                    if let Some(opened) = self.frame(assembly, &frame) {
                        return Some(opened);
                    }
                }
            }
        }
        None
    }

    /// RFC 9113 3.4.
    fn begin(&mut self, bytes: &mut &[u8]) {
        let expected = &PREFACE[self.preface..];
        let come = expected.len().min(bytes.len());
        if bytes[..come] != expected[..come] {
            return self.offend(Code::PROTOCOL);
        }
        self.preface += come;
        *bytes = &bytes[come..];
    }

    fn frame(&mut self, assembly: &mut Assembly, frame: &[u8]) -> Option<Opened> {
        let (head, payload) = frame.split_first_chunk::<{ Head::SIZE }>()?;
        let head = Head::of(*head);
        let stream = head.stream;
        match (head.kind, payload) {
            (DATA, _) => self.data(head, payload),
            (HEADERS, _) => match field_block(head, payload) {
                Some(block) if head.has(END_HEADERS) => {
                    return self.fields(assembly, stream, head.has(END_STREAM), block);
                }
                Some(block) => {
                    let bytes = block.to_vec();
                    let ends = head.has(END_STREAM);
                    self.block = Some(Box::new(Block { stream, ends, frames: 1, bytes }));
                }
                None => self.offend(Code::PROTOCOL),
            },
            (CONTINUATION, _) => return self.continued(assembly, head, payload),
            (PRIORITY, [a, b, c, d, ..]) if depends_on([*a, *b, *c, *d]) == stream => {
                self.offend(Code::PROTOCOL);
            }
            (RST_STREAM, _) => drop(self.end(stream)),
            (SETTINGS, _) => self.settings(head, payload),
            (PING, _) => self.ping(head, payload),
            (GOAWAY, _) => self.peer_leaves = true,
            (WINDOW_UPDATE, [a, b, c, d]) => self.opened(stream, u32::from_be_bytes([a & 0x7f, *b, *c, *d])),
            _ => {}
        }
        None
    }

    fn continued(&mut self, assembly: &mut Assembly, head: Head, payload: &[u8]) -> Option<Opened> {
        let block = self.block.as_mut()?;
        block.bytes.extend_from_slice(payload);
        block.frames += 1;
        if head.has(END_HEADERS) {
            let Block { stream, ends, bytes, .. } = *self.block.take()?;
            return self.fields(assembly, stream, ends, &bytes);
        }
        let most = self.bounds.list / LARGEST + 1;
        if block.frames > most + CONTINUED || block.bytes.len() > (most * LARGEST) as usize {
            self.offend(Code::ENHANCE_YOUR_CALM);
        }
        None
    }

    /// A whole field block.
    fn fields(&mut self, assembly: &mut Assembly, stream: u32, ends: bool, block: &[u8]) -> Option<Opened> {
        if self.streams.contains(stream) || stream <= self.last {
            self.trailers(assembly, stream, ends, block);
            return None;
        }
        self.last = stream;
        let Ok(read) = assembly.request(&mut self.decoder, block, self.bounds.list as usize) else {
            self.offend(Code::COMPRESSION);
            return None;
        };
        if matches!(self.leaving, Leaving::After(last) if stream > last) {
            self.forget(stream);
            return None;
        }
        match read {
            _ if self.streams.len() >= self.bounds.streams as usize => self.refuse(stream, Code::REFUSED),
            Read::TooLarge => {
                let mut block = Vec::new();
                hpack::write_status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, &mut block);
                self.head(stream, &block, true);
                if !ends {
                    self.out.frame(RST_STREAM, 0, stream, &Code::NONE.0.to_be_bytes());
                    self.forget(stream);
                }
                self.count_reset(Code::REFUSED);
            }
            // RFC 9113 8.1.1: what was told is not what came.
            Read::Well(Some(1..)) if ends => self.refuse(stream, Code::PROTOCOL),
            Read::Malformed => self.refuse(stream, Code::PROTOCOL),
            Read::Well(length) => return Some(Opened { stream, ended: ends, length }),
        }
        None
    }

    fn trailers(&mut self, assembly: &mut Assembly, stream: u32, ends: bool, block: &[u8]) {
        let Ok(trailers) = assembly.trailers(&mut self.decoder, block, self.bounds.list as usize) else {
            return self.offend(Code::COMPRESSION);
        };
        match self.streams.get(stream) {
            Some(open) if !open.is_open() => self.fail(stream, Code::STREAM_CLOSED),
            // RFC 9113 8.1: they are the end.
            Some(_) if trailers.is_none() || !ends => self.fail(stream, Code::PROTOCOL),
            Some(open) => {
                if let Some(content) = &mut open.content {
                    content.trailers = trailers.filter(|trailers| !trailers.is_empty());
                }
                self.content_ended(stream);
            }
            None if self.forgotten.contains(&stream) => {}
            None => self.offend(Code::STREAM_CLOSED),
        }
    }

    fn settings(&mut self, head: Head, payload: &[u8]) {
        if head.has(ACK) {
            // Ours are in force from here on (RFC 9113 6.5.3).
            let by = i64::from(self.bounds.window) - self.granted;
            self.granted += by;
            for content in self.streams.all().filter_map(|stream| stream.content.as_mut()) {
                content.window += by;
            }
            return;
        }
        for setting in payload.chunks_exact(6) {
            let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
            match u16::from_be_bytes([setting[0], setting[1]]) {
                // Our table is empty. One that takes less than it was taken to is told so.
                1 if value < hpack::TABLE => self.resize = Some(0),
                4 => self.resized(i64::from(value)),
                _ => {}
            }
        }
        self.out.frame(SETTINGS, ACK, 0, &[]);
    }

    fn ping(&mut self, head: Head, payload: &[u8]) {
        if !head.has(ACK) {
            return self.out.frame(PING, ACK, 0, payload);
        }
        if payload == FAREWELL && self.leaving == Leaving::Told {
            self.leaving = Leaving::After(self.last);
            self.goaway(self.last);
        }
    }

    /// Resets a stream that never began.
    fn refuse(&mut self, stream: u32, code: Code) {
        self.out.frame(RST_STREAM, 0, stream, &code.0.to_be_bytes());
        self.forget(stream);
        self.count_reset(code);
    }

    fn count_reset(&mut self, code: Code) {
        self.meter.reset(code);
        self.broken |= self.meter.offence().is_some();
    }

    /// Resets a stream for what the client did (RFC 9113 5.4.2).
    fn fail(&mut self, stream: u32, code: Code) {
        self.end(stream);
        self.refuse(stream, code);
    }

    /// Resets a stream for what came of its reply.
    pub(super) fn reset(&mut self, stream: u32, code: Code) {
        if self.end(stream).is_some() {
            self.out.frame(RST_STREAM, 0, stream, &code.0.to_be_bytes());
            self.forget(stream);
            self.wake();
        }
    }

    /// More may come on it, which is no fault.
    fn forget(&mut self, stream: u32) {
        self.forgotten.push_back(stream);
        if self.forgotten.len() > FORGOTTEN {
            self.forgotten.pop_front();
        }
    }

    fn remove(&mut self, stream: u32) -> Option<Stream> {
        let removed = self.streams.remove(stream)?;
        if removed.queued {
            self.waiting.retain(|waiting| *waiting != stream);
        }
        Some(removed)
    }

    fn end(&mut self, stream: u32) -> Option<Stream> {
        let mut ended = self.remove(stream)?;
        ended.wake();
        let unread = ended.content.as_ref().map_or(0, |content| content.bytes.len());
        self.release(unread);
        Some(ended)
    }

    /// Goes on with a request that takes longer.
    pub(super) fn begin_stream(&mut self, opened: Opened) {
        let content = (!opened.ended).then(|| {
            let (window, left) = (self.granted, opened.length);
            Box::new(Receiving { window, left, reading: true, ..Receiving::default() })
        });
        self.streams.push(opened.stream, Stream { window: self.initial, content, ..Stream::default() });
    }

    /// Has `cx` woken when the stream is no more.
    pub(super) fn poll_gone(&mut self, stream: u32, cx: &Context<'_>) -> Result<(), Gone> {
        let open = self.streams.get(stream).ok_or(Gone)?;
        wait(&mut open.waker, cx);
        Ok(())
    }

    /// Leaves, so that no request is lost (RFC 9113 6.8).
    pub(super) fn leave(&mut self) {
        if self.leaving == Leaving::No {
            self.leaving = Leaving::Told;
            self.goaway(i32::MAX as u32);
            self.out.frame(PING, 0, 0, &FAREWELL);
        }
    }

    fn goaway(&mut self, last: u32) {
        let payload = [last.to_be_bytes(), Code::NONE.0.to_be_bytes()].concat();
        self.out.frame(GOAWAY, 0, 0, &payload);
    }

    /// Ends with what the client did.
    pub(super) fn go_away(&mut self, offence: Offence) {
        let payload = self.meter.goaway(offence);
        self.out.frame(GOAWAY, 0, 0, &payload);
    }

    /// One of both leaves, and nothing is left to be done.
    pub(super) fn is_over(&self) -> bool {
        (self.peer_leaves || matches!(self.leaving, Leaving::After(_))) && self.streams.is_empty()
    }

    /// Asks whether anybody is there; `false`: that was asked already, and not answered.
    pub(super) fn ask(&mut self) -> bool {
        if self.asked {
            return false;
        }
        self.asked = true;
        self.out.frame(PING, 0, 0, &ARE_YOU_THERE);
        true
    }

    /// Somebody is.
    pub(super) fn heard(&mut self) {
        self.asked = false;
    }

    /// Nothing more comes, and nothing more is sent: has everybody know.
    pub(super) fn close(&mut self) {
        self.broken = true;
        let mut streams = std::mem::take(&mut self.streams);
        streams.all().for_each(Stream::wake);
    }
}

fn wait(place: &mut Option<Waker>, cx: &Context<'_>) {
    if !place.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
        *place = Some(cx.waker().clone());
    }
}

/// What must have come before a frame that begins so can be taken. Of DATA that is its head, and its padding's length.
fn wanted(bytes: &[u8]) -> usize {
    match bytes.first_chunk() {
        None => Head::SIZE,
        Some(head) => match Head::of(*head) {
            head if head.kind == DATA => Head::SIZE + usize::from(head.has(PADDED)),
            head => Head::SIZE + head.length as usize,
        },
    }
}

/// The block in a HEADERS frame (RFC 9113 6.2).
fn field_block(head: Head, payload: &[u8]) -> Option<&[u8]> {
    let (mut block, mut padding) = (payload, 0);
    if head.has(PADDED) {
        let (first, rest) = block.split_first()?;
        (block, padding) = (rest, usize::from(*first));
    }
    if head.has(WITH_PRIORITY) {
        let (priority, rest) = block.split_first_chunk::<5>()?;
        let [a, b, c, d, _] = *priority;
        // RFC 7540 5.3.1: a stream does not depend on itself.
        if depends_on([a, b, c, d]) == head.stream {
            return None;
        }
        block = rest;
    }
    block.get(..block.len().checked_sub(padding)?)
}

fn depends_on(bytes: [u8; 4]) -> u32 {
    u32::from_be_bytes(bytes) & 0x7fff_ffff
}
