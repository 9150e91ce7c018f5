//! Replies of an origin, read strictly and at once into what the pipeline works with (RFC 9112).
//!
//! One line after the other is looked at as it comes, by the rules of this room; what breaks one is never handed on.
//! Values and content are slices of what was read. A head is handed on as a map, or by its lines to who needs no map: the
//! rules are the same.

mod lines;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use http_body::Frame;

use super::chunk;
use super::field::{Field, trimmed};
use super::head::{Content, Head};
use super::reader::Limits;
use super::violation::Violation;
use lines::Place;
pub use lines::{Fields, Outline};

/// Fields that are put into a head on its way, for which there is room at once.
const ROOM: usize = 4;

/// Longer heads are read anew each time.
const MAX_LAST: usize = 1 << 10;

/// The longest name that a map can hold.
const MAX_NAME: usize = u16::MAX as usize;

/// Reads the replies of one connection, one after the other.
#[derive(Debug)]
pub struct Replies {
    limits: Limits,
    state: State,
    head: Head,
    /// The request was HEAD.
    to_head: bool,
    /// The present head says that the connection ends with its reply.
    says_close: bool,
    /// Where the present line begins, and as far as its end has been looked for.
    line: usize,
    searched: usize,
    /// Of the present head or trailer section: where its fields stand.
    places: Vec<Place>,
    /// Chunk extensions of the present reply.
    extensions: usize,
    /// The last head that was read line by line. Boxed: it is looked at once a reply.
    last: Option<Box<Last>>,
    /// The present head is the same.
    again: bool,
}

/// A head that was read: one that is the same to the byte says the same.
#[derive(Debug, Default)]
struct Last {
    text: Vec<u8>,
    to_head: bool,
    head: Head,
    outline: Outline,
    says_close: bool,
    places: Vec<Place>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No reply is awaited, or it is over.
    Rest,
    StatusLine,
    Fields,
    /// A head stands whole at the beginning of what was read.
    Head(Outline),
    /// So many bytes of content are to come.
    Length(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    /// The content ends with the connection.
    UntilClose,
    /// It is not HTTP/1 any more.
    Switched,
}

/// The head of a reply, interim ones included.
#[derive(Debug)]
pub struct ReplyHead {
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// Its status.
    pub status: StatusCode,
    /// All its fields.
    pub headers: HeaderMap,
}

impl Replies {
    /// With no reply awaited yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Rest,
            head: Head::default(),
            to_head: false,
            says_close: false,
            line: 0,
            searched: 0,
            places: Vec::new(),
            extensions: 0,
            last: None,
            again: false,
        }
    }

    /// A request is being sent, whose reply may come from now on.
    pub fn expect(&mut self, to_head: bool) {
        self.to_head = to_head;
        self.extensions = 0;
        self.begin(State::StatusLine);
    }

    /// Whether the last reply is over, or none was awaited yet.
    pub fn is_over(&self) -> bool {
        self.state == State::Rest
    }

    /// How much content is to come, where that is known.
    pub fn left(&self) -> Option<u64> {
        match self.state {
            State::Rest => Some(0),
            State::Length(left) => Some(left),
            _ => None,
        }
    }

    /// The other side has closed. Whether that ends the reply; else it is cut short.
    pub fn close(&mut self) -> bool {
        if self.state == State::UntilClose {
            self.state = State::Rest;
        }
        self.is_over()
    }

    /// The next head, once all of it has come.
    pub fn head(&mut self, bytes: &mut BytesMut) -> Result<Option<ReplyHead>, Violation> {
        match self.outline(bytes)? {
            Some(outline) => self.take_head(outline, bytes).map(Some),
            None => Ok(None),
        }
    }

    /// The same in short. The head stays where it is, at the beginning of `bytes`, until it is taken with [`Self::head`] or
    /// its reply is [finished](Self::finish).
    pub fn outline(&mut self, bytes: &BytesMut) -> Result<Option<Outline>, Violation> {
        if self.state == State::StatusLine && self.searched == 0 {
            self.recall(bytes);
        }
        loop {
            if let State::Head(outline) = self.state {
                return Ok(Some(outline));
            }
            let Some(line) = self.line(bytes, Violation::HeadTooLarge)? else { return Ok(None) };
            if self.state == State::StatusLine {
                self.head = Head::of_reply(line)?;
                self.says_close = false;
                self.state = State::Fields;
            } else if line.is_empty() {
                self.state = State::Head(self.sum_up()?);
                self.remember(bytes);
            } else {
                let field = Field::parse(line)?;
                let place = Place::of(&field, self.line, line);
                self.says_close |= says_close(&field);
                self.head.note(field)?;
                self.keep(place, Violation::HeadTooLarge)?;
            }
            self.line = self.searched;
        }
    }

    /// Takes the head that `bytes` begin with for read, if it is the last one.
    fn recall(&mut self, bytes: &[u8]) {
        let Some(last) = &self.last else { return };
        if last.to_head == self.to_head && bytes.starts_with(&last.text) {
            (self.head, self.says_close, self.again) = (last.head, last.says_close, true);
            (self.line, self.searched) = (last.text.len(), last.text.len());
            self.state = State::Head(last.outline);
        }
    }

    /// Keeps the head that was read, if many may be like it.
    fn remember(&mut self, bytes: &[u8]) {
        let State::Head(outline) = self.state else { return };
        if outline.is_interim() || self.searched > MAX_LAST {
            return;
        }
        let last = self.last.get_or_insert_default();
        last.text.clear();
        last.text.extend_from_slice(&bytes[..self.searched]);
        (last.to_head, last.head, last.says_close) = (self.to_head, self.head, self.says_close);
        last.outline = outline;
        last.places.clone_from(&self.places);
    }

    fn places(&self) -> &[Place] {
        match &self.last {
            Some(last) if self.again => &last.places,
            _ => &self.places,
        }
    }

    /// The fields of the head that stands at the beginning of `bytes`.
    pub fn fields<'a>(&'a self, bytes: &'a [u8]) -> Fields<'a> {
        match self.state {
            State::Head(_) => Fields::new(&bytes[..self.searched], self.places()),
            _ => Fields::default(),
        }
    }

    /// Whether the connection goes on after the reply whose head has come (RFC 9112 9.3). What HTTP/1.0 says of that is not
    /// believed.
    pub fn goes_on(&self) -> bool {
        let ends_by_itself = match self.state {
            State::Head(outline) => {
                outline.content != Content::UntilClose && outline.status != StatusCode::SWITCHING_PROTOCOLS
            }
            state => !matches!(state, State::UntilClose | State::Switched),
        };
        ends_by_itself && !self.says_close && !self.head.is_1_0()
    }

    /// The content of the reply whose head stands at the beginning of `bytes`, where all of it is there and its length was
    /// known.
    pub fn whole<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let State::Head(outline) = self.state else { return None };
        let length = match outline.content {
            Content::None if outline.status.is_informational() => return None,
            Content::None => 0,
            Content::Length(length) => usize::try_from(length).ok()?,
            Content::Chunked | Content::UntilClose => return None,
        };
        bytes.get(self.searched..self.searched.checked_add(length)?)
    }

    /// Takes what is [whole](Self::whole), which ends the reply.
    pub fn take_whole(&mut self, bytes: &mut BytesMut) -> Option<Bytes> {
        let length = self.whole(bytes)?.len();
        if length == 0 {
            return self.finish(bytes).then(Bytes::new);
        }
        bytes.advance(self.searched);
        let content = bytes.split_to(length).freeze();
        self.begin(State::Rest);
        Some(content)
    }

    /// The same, but nobody wants it any more: what held it is used for the next. `false`: there is no such thing.
    pub fn finish(&mut self, bytes: &mut BytesMut) -> bool {
        let Some(length) = self.whole(bytes).map(<[u8]>::len) else { return false };
        let end = self.searched + length;
        if end == bytes.len() {
            bytes.clear()
        } else {
            bytes.advance(end)
        }
        self.begin(State::Rest);
        true
    }

    /// Goes on behind the final head that stands at the beginning of `bytes`, which nobody takes; `false`: there is none.
    pub fn skip_head(&mut self, bytes: &mut BytesMut) -> bool {
        match self.state {
            State::Head(outline) if !outline.is_interim() => {
                bytes.advance(self.searched);
                self.begin(behind(outline));
                true
            }
            _ => false,
        }
    }

    /// So many bytes of content of known length were taken from where they came.
    pub fn passed(&mut self, bytes: u64) {
        if let State::Length(left) = self.state {
            self.state = match left.saturating_sub(bytes) {
                0 => State::Rest,
                left => State::Length(left),
            };
        }
    }

    /// The next piece of content, or its trailers; `None` where there is none yet. [`Self::is_over`] tells the end.
    pub fn content(&mut self, bytes: &mut BytesMut) -> Result<Option<Frame<Bytes>>, Violation> {
        while !bytes.is_empty() {
            match self.state {
                State::Length(left) => {
                    return Ok(Some(self.take(left, bytes, State::Length, State::Rest)));
                }
                State::Chunk(left) => {
                    return Ok(Some(self.take(left, bytes, State::Chunk, State::ChunkEnd)));
                }
                State::UntilClose => return Ok(Some(Frame::data(bytes.split().freeze()))),
                State::ChunkEnd => match &bytes[..] {
                    [b'\r', b'\n', ..] => {
                        bytes.advance(2);
                        self.state = State::ChunkSize;
                    }
                    [b'\r'] => break,
                    _ => return Err(Violation::ChunkEnd),
                },
                State::ChunkSize => {
                    if !self.chunk_size(bytes)? {
                        break;
                    }
                }
                State::Trailers => return Ok(self.trailers(bytes)?.map(Frame::trailers)),
                State::Rest | State::Switched | State::StatusLine | State::Fields | State::Head(_) => break,
            }
        }
        Ok(None)
    }

    fn begin(&mut self, state: State) {
        self.state = state;
        (self.line, self.searched, self.again) = (0, 0, false);
        self.places.clear();
    }

    /// The present line without its end; `None`: there is more to come of it.
    fn line<'a>(&mut self, bytes: &'a BytesMut, too_large: Violation) -> Result<Option<&'a [u8]>, Violation> {
        let most = if self.state == State::ChunkSize { chunk::MAX_LINE } else { self.limits.bytes };
        match memchr::memchr(b'\n', &bytes[self.searched..]) {
            None => {
                // The least that is missing is the line feed.
                self.searched = bytes.len();
                if self.searched < most { Ok(None) } else { Err(too_large) }
            }
            Some(at) => {
                let end = self.searched + at;
                self.searched = end + 1;
                if self.searched > most {
                    return Err(too_large);
                }
                bytes[self.line..end].strip_suffix(b"\r").ok_or(Violation::BareLineFeed).map(Some)
            }
        }
    }

    fn keep(&mut self, place: Place, too_many: Violation) -> Result<(), Violation> {
        if place.name_length > MAX_NAME {
            return Err(Violation::FieldName);
        }
        self.places.push(place);
        if self.places.len() > self.limits.fields { Err(too_many) } else { Ok(()) }
    }

    /// What the head says whose last line has come.
    fn sum_up(&self) -> Result<Outline, Violation> {
        let content = match self.head.reply_content(self.to_head)? {
            Content::Length(0) => Content::None,
            content => content,
        };
        let status = StatusCode::from_u16(self.head.status).map_err(|_| Violation::StatusLine)?;
        let version = if self.head.is_1_0() { Version::HTTP_10 } else { Version::HTTP_11 };
        Ok(Outline { status, version, content, length: self.head.length() })
    }

    fn take_head(&mut self, outline: Outline, bytes: &mut BytesMut) -> Result<ReplyHead, Violation> {
        let section = bytes.split_to(self.searched).freeze();
        let Outline { status, version, .. } = outline;
        let head = ReplyHead { version, status, headers: self.map(&section, ROOM)? };
        self.begin(behind(outline));
        Ok(head)
    }

    /// The fields of a section, which were looked at line by line.
    fn map(&self, section: &Bytes, room: usize) -> Result<HeaderMap, Violation> {
        let places = self.places();
        let mut headers = HeaderMap::with_capacity(places.len() + room);
        for place in places {
            let name = &section[place.name..place.name + place.name_length];
            let name = HeaderName::from_bytes(name).map_err(|_| Violation::FieldName)?;
            let value = section.slice(place.value..place.value + place.value_length);
            let value = HeaderValue::from_maybe_shared(value).map_err(|_| Violation::ControlCharacter)?;
            headers.append(name, value);
        }
        Ok(headers)
    }

    fn take(&mut self, left: u64, bytes: &mut BytesMut, same: fn(u64) -> State, next: State) -> Frame<Bytes> {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left - taken as u64;
        self.state = if left == 0 { next } else { same(left) };
        let data = if taken == bytes.len() { bytes.split() } else { bytes.split_to(taken) };
        Frame::data(data.freeze())
    }

    /// Takes the line before a chunk; `false`: there is more to come of it.
    fn chunk_size(&mut self, bytes: &mut BytesMut) -> Result<bool, Violation> {
        let Some(line) = self.line(bytes, Violation::ChunkExtensionsTooLarge)? else { return Ok(false) };
        let (size, extensions) = chunk::size(line)?;
        self.extensions += extensions;
        if self.extensions > chunk::MAX_EXTENSIONS {
            return Err(Violation::ChunkExtensionsTooLarge);
        }
        bytes.advance(self.searched);
        self.begin(if size == 0 { State::Trailers } else { State::Chunk(size) });
        Ok(true)
    }

    /// The trailer section, once all of it has come; `None` also where it is empty.
    fn trailers(&mut self, bytes: &mut BytesMut) -> Result<Option<HeaderMap>, Violation> {
        loop {
            let Some(line) = self.line(bytes, Violation::TrailersTooLarge)? else { return Ok(None) };
            if line.is_empty() {
                break;
            }
            let place = Place::of(&Field::parse(line)?, self.line, line);
            self.keep(place, Violation::TrailersTooLarge)?;
            self.line = self.searched;
        }
        let section = bytes.split_to(self.searched).freeze();
        let trailers = match self.places.is_empty() {
            true => None,
            false => Some(self.map(&section, 0)?),
        };
        self.begin(State::Rest);
        Ok(trailers)
    }
}

/// What comes behind a head.
fn behind(outline: Outline) -> State {
    match outline.content {
        _ if outline.status == StatusCode::SWITCHING_PROTOCOLS => State::Switched,
        _ if outline.is_interim() => State::StatusLine,
        Content::None => State::Rest,
        Content::Length(length) => State::Length(length),
        Content::Chunked => State::ChunkSize,
        Content::UntilClose => State::UntilClose,
    }
}

/// Whether it is a `Connection` with `close` among its options (RFC 9112 9.6).
fn says_close(field: &Field<'_>) -> bool {
    let is_close = |option: &[u8]| trimmed(option).eq_ignore_ascii_case(b"close");
    field.name.len() == 10 && field.is("connection") && field.value.split(|&byte| byte == b',').any(is_close)
}

#[cfg(test)]
mod tests;
