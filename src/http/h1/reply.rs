//! Replies of an origin, read strictly and at once into what the pipeline works with (RFC 9112).
//!
//! One line after the other is looked at as it comes, by the rules of this room; what breaks one is never handed on.
//! Values and content are slices of what was read.

use bytes::{Buf, Bytes, BytesMut};
use http::header::CONNECTION;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use http_body::Frame;

use super::chunk;
use super::field::{Field, trimmed};
use super::head::{Content, Head};
use super::reader::Limits;
use super::violation::Violation;

/// Fields that are put into a head on its way, for which there is room at once.
const ROOM: usize = 4;

/// Reads the replies of one connection, one after the other.
#[derive(Debug)]
pub struct Replies {
    limits: Limits,
    state: State,
    head: Head,
    /// The request was HEAD.
    to_head: bool,
    /// Where the present line begins, and as far as its end has been looked for.
    line: usize,
    searched: usize,
    /// Of the present head or trailer section: where its fields stand.
    places: Vec<Place>,
    /// Chunk extensions of the present reply.
    extensions: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No reply is awaited, or it is over.
    Rest,
    StatusLine,
    Fields,
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

/// A field, by the bytes of its section.
#[derive(Clone, Copy, Debug)]
struct Place {
    name: usize,
    name_length: usize,
    value: usize,
    value_length: usize,
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

impl ReplyHead {
    /// Whether another follows for the same request.
    pub fn is_interim(&self) -> bool {
        self.status.is_informational() && self.status != StatusCode::SWITCHING_PROTOCOLS
    }

    /// Whether the connection goes on after this reply (RFC 9112 9.3). What HTTP/1.0 says of that is not believed.
    pub fn keeps_alive(&self) -> bool {
        let says_close = |value: &HeaderValue| {
            value
                .as_bytes()
                .split(|&byte| byte == b',')
                .any(|option| trimmed(option).eq_ignore_ascii_case(b"close"))
        };
        self.version == Version::HTTP_11 && !self.headers.get_all(CONNECTION).iter().any(says_close)
    }
}

impl Replies {
    /// With no reply awaited yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Rest,
            head: Head::default(),
            to_head: false,
            line: 0,
            searched: 0,
            places: Vec::new(),
            extensions: 0,
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

    /// Whether it is known where the present reply ends, and that another may follow it.
    pub fn ends_by_itself(&self) -> bool {
        !matches!(self.state, State::UntilClose | State::Switched)
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
        loop {
            let Some(line) = self.line(bytes, Violation::HeadTooLarge)? else { return Ok(None) };
            if self.state == State::StatusLine {
                self.head = Head::of_reply(line)?;
                self.state = State::Fields;
            } else if line.is_empty() {
                return self.end_head(bytes).map(Some);
            } else {
                let field = Field::parse(line)?;
                let place = Place::of(&field, self.line, line);
                self.head.note(field)?;
                self.keep(place, Violation::HeadTooLarge)?;
            }
            self.line = self.searched;
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
                State::Rest | State::Switched | State::StatusLine | State::Fields => break,
            }
        }
        Ok(None)
    }

    fn begin(&mut self, state: State) {
        self.state = state;
        (self.line, self.searched) = (0, 0);
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
        self.places.push(place);
        if self.places.len() > self.limits.fields { Err(too_many) } else { Ok(()) }
    }

    fn end_head(&mut self, bytes: &mut BytesMut) -> Result<ReplyHead, Violation> {
        let content = self.head.reply_content(self.to_head)?;
        let section = bytes.split_to(self.searched).freeze();
        let status = StatusCode::from_u16(self.head.status).map_err(|_| Violation::StatusLine)?;
        let version = if self.head.is_1_0() { Version::HTTP_10 } else { Version::HTTP_11 };
        let head = ReplyHead { version, status, headers: self.fields(&section, ROOM)? };
        self.begin(match content {
            _ if status == StatusCode::SWITCHING_PROTOCOLS => State::Switched,
            _ if head.is_interim() => State::StatusLine,
            Content::None | Content::Length(0) => State::Rest,
            Content::Length(length) => State::Length(length),
            Content::Chunked => State::ChunkSize,
            Content::UntilClose => State::UntilClose,
        });
        Ok(head)
    }

    /// The fields of a section, which were looked at line by line.
    fn fields(&self, section: &Bytes, room: usize) -> Result<HeaderMap, Violation> {
        let mut headers = HeaderMap::with_capacity(self.places.len() + room);
        for place in &self.places {
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
            false => Some(self.fields(&section, 0)?),
        };
        self.begin(State::Rest);
        Ok(trailers)
    }
}

impl Place {
    /// Of a field of the line that begins at `start`.
    fn of(field: &Field<'_>, start: usize, line: &[u8]) -> Self {
        let behind_colon = field.name.len() + 1;
        let space = line[behind_colon..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        // Where there is nothing but white space, the value is empty wherever it stands.
        let value = start + if field.value.is_empty() { behind_colon } else { behind_colon + space };
        Self { name: start, name_length: field.name.len(), value, value_length: field.value.len() }
    }
}

#[cfg(test)]
mod tests;
