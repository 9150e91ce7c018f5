//! Follows the requests of a connection.

use super::chunk;
use super::field::{Field, token_length};
use super::head::{Content, Head};
use super::known;
use super::violation::Violation;

/// Empty lines that may precede a request (RFC 9112 2.2 asks for one at least: old clients send one behind a body).
const MAX_EMPTY_LINES: u8 = 4;

/// How much a head may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From its first byte to the empty line behind it.
    pub bytes: usize,
    /// Field lines; as many again in the trailers.
    pub fields: usize,
}

/// Why the rest of what was read does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A head is refused: nothing of its message is handed on, as far as it is not gone already.
    Head(Violation),
    /// The content of a message is refused, behind a head that is gone already.
    Content(Violation),
    /// What follows a request that asks for another protocol is read once that has been answered ([`Reader::resume`]).
    Undecided,
}

/// Reads along.
#[derive(Debug)]
pub struct Reader {
    limits: Limits,
    state: State,
    head: Head,
    /// Of the present head or trailer section.
    bytes: usize,
    fields: usize,
    empty_lines: u8,
    /// Chunk extensions of the present message.
    extensions: usize,
    /// Heads read to their end.
    heads: u64,
    /// Where the end of the present line has been looked for already.
    searched: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a head.
    Start,
    /// Behind its first line.
    Fields,
    /// So many bytes of content are to come.
    Length(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    /// It is not HTTP/1 any more.
    Opaque,
    /// See [`Stop::Undecided`].
    Undecided,
}

impl Reader {
    /// Of a client.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Start,
            head: Head::default(),
            bytes: 0,
            fields: 0,
            empty_lines: 0,
            extensions: 0,
            heads: 0,
            searched: 0,
        }
    }

    /// Heads read to their end so far.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether what comes next belongs to a head.
    pub fn is_in_head(&self) -> bool {
        matches!(self.state, State::Start | State::Fields)
    }

    /// Whether a message is over and the next has not begun.
    pub fn is_between(&self) -> bool {
        self.state == State::Start && self.bytes == 0
    }

    /// Whether the last request's head waits for what its reply says.
    pub fn is_undecided(&self) -> bool {
        self.state == State::Undecided
    }

    /// The request that asked for another protocol was answered. `switched`: with that protocol.
    pub fn resume(&mut self, switched: bool) {
        self.begin(if switched { State::Opaque } else { State::Start });
    }

    /// What was read of the present head will be read once more.
    pub fn rewind(&mut self) {
        self.begin(State::Start);
    }

    /// See [`Inlet::turn_to`](super::Inlet::turn_to).
    pub(super) fn turn_to(&mut self, limits: Limits, heads: u64) {
        (self.limits, self.heads) = (limits, heads);
    }

    fn begin(&mut self, state: State) {
        self.state = state;
        self.head = Head::default();
        (self.bytes, self.fields, self.empty_lines, self.extensions, self.searched) = (0, 0, 0, 0, 0);
    }

    /// How many of these bytes may go on, and why not all of them. `None` with fewer than all: the rest is the
    /// beginning of a line, and has to be given again together with what follows it.
    pub fn feed(&mut self, bytes: &[u8]) -> (usize, Option<Stop>) {
        let heads = self.heads;
        let begins = self.is_between() && self.empty_lines == 0;
        if begins && known::is_whole(bytes, self.limits) {
            self.heads += 1;
            self.begin(State::Start);
            return (bytes.len(), None);
        }
        let (passed, stop) = self.follow(bytes);
        if begins && passed == bytes.len() && self.heads == heads + 1 && self.is_between() {
            known::keep_whole(bytes, self.limits);
        }
        (passed, stop)
    }

    /// The same where nothing is known of them, or not of all of them together.
    fn follow(&mut self, bytes: &[u8]) -> (usize, Option<Stop>) {
        // Where the message began of which something has not gone on yet, and its fields.
        let (mut at, mut message, mut fields) = (0, 0, None);
        while at < bytes.len() {
            if self.state == State::Start && self.bytes == 0 {
                message = at;
            }
            if self.state == State::Fields && self.fields == 0 {
                if known::has(&bytes[at..], self.judged_by()) {
                    self.heads += 1;
                    self.end();
                    return (bytes.len(), None);
                }
                fields = Some((at, self.judged_by(), self.heads));
            }
            let in_head = matches!(self.state, State::Start | State::Fields);
            match self.step(&bytes[at..]) {
                Ok(Some(taken)) => at += taken,
                Ok(None) => break,
                Err(Stop::Content(violation)) if in_head => return (message, Some(Stop::Head(violation))),
                Err(stop) => return (at, Some(stop)),
            }
        }
        if let Some((begin, by, heads)) = fields
            && at == bytes.len()
            && self.heads == heads + 1
            && self.is_between()
        {
            known::keep(&bytes[begin..], by);
        }
        (at, None)
    }

    /// What the verdict on the fields of a request depends on beside them.
    fn judged_by(&self) -> known::By {
        known::By { limits: self.limits, before: self.bytes, head: self.head }
    }

    /// Takes what belongs together; `None`: there is more to come of it.
    fn step(&mut self, rest: &[u8]) -> Result<Option<usize>, Stop> {
        match self.state {
            State::Opaque => Ok(Some(rest.len())),
            State::Length(left) => Ok(Some(self.skip(left, rest.len(), State::Length, None))),
            State::Chunk(left) => Ok(Some(self.skip(left, rest.len(), State::Chunk, Some(State::ChunkEnd)))),
            State::ChunkEnd => match rest {
                [b'\r', b'\n', ..] => {
                    self.state = State::ChunkSize;
                    Ok(Some(2))
                }
                [b'\r'] => Ok(None),
                _ => Err(Stop::Content(Violation::ChunkEnd)),
            },
            State::Undecided => Err(Stop::Undecided),
            State::Start | State::Fields | State::ChunkSize | State::Trailers => {
                self.line(rest).map_err(Stop::Content)
            }
        }
    }

    fn skip(&mut self, left: u64, given: usize, same: fn(u64) -> State, next: Option<State>) -> usize {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(given);
        match (left - taken as u64, next) {
            (0, Some(next)) => self.state = next,
            (0, None) => self.end(),
            (left, _) => self.state = same(left),
        }
        taken
    }

    /// Takes a line.
    fn line(&mut self, rest: &[u8]) -> Result<Option<usize>, Violation> {
        let end = memchr::memchr(b'\n', &rest[self.searched..]).map(|at| self.searched + at);
        let length = end.map_or(rest.len(), |at| at + 1);
        self.searched = 0;
        self.check_beginning(&rest[..length])?;
        let Some(end) = end else {
            // The least that is missing is the line feed.
            self.check_length(length + 1)?;
            self.searched = length;
            return Ok(None);
        };
        self.check_length(length)?;
        let line = rest[..end].strip_suffix(b"\r").ok_or(Violation::BareLineFeed)?;
        if self.state != State::ChunkSize {
            self.bytes += length;
        }
        match self.state {
            State::Start => self.first_line(line)?,
            State::Fields if line.is_empty() => self.end_head()?,
            State::Fields => {
                self.count_field(Violation::HeadTooLarge)?;
                self.head.note(Field::parse(line)?)?;
            }
            State::Trailers if line.is_empty() => self.end(),
            State::Trailers => {
                self.count_field(Violation::TrailersTooLarge)?;
                Field::parse(line)?;
            }
            _ => self.chunk_line(line)?,
        }
        Ok(Some(length))
    }

    /// What does not begin like a request is not waited for.
    fn check_beginning(&self, line: &[u8]) -> Result<(), Violation> {
        if self.state != State::Start {
            return Ok(());
        }
        match (token_length(line), line) {
            (0, [b'\r'] | [b'\r', b'\n', ..] | [b'\n', ..]) => Ok(()),
            (0, [b'\r', ..]) => Err(Violation::BareCarriageReturn),
            (0, _) => Err(Violation::Method),
            (length, line) if matches!(line.get(length), None | Some(b' ' | b'\r' | b'\n')) => Ok(()),
            _ => Err(Violation::Method),
        }
    }

    fn check_length(&self, line: usize) -> Result<(), Violation> {
        let (most, violation) = match self.state {
            State::ChunkSize => (chunk::MAX_LINE, Violation::ChunkExtensionsTooLarge),
            State::Trailers => (self.limits.bytes, Violation::TrailersTooLarge),
            State::Start => (self.limits.bytes, Violation::TargetTooLong),
            _ => (self.limits.bytes, Violation::HeadTooLarge),
        };
        if self.bytes + line > most { Err(violation) } else { Ok(()) }
    }

    fn count_field(&mut self, too_many: Violation) -> Result<(), Violation> {
        self.fields += 1;
        if self.fields > self.limits.fields { Err(too_many) } else { Ok(()) }
    }

    fn first_line(&mut self, line: &[u8]) -> Result<(), Violation> {
        if line.is_empty() {
            self.empty_lines += 1;
            return if self.empty_lines > MAX_EMPTY_LINES { Err(Violation::RequestLine) } else { Ok(()) };
        }
        self.head = Head::of_request(line)?;
        self.state = State::Fields;
        Ok(())
    }

    fn end_head(&mut self) -> Result<(), Violation> {
        let content = self.head.request_content()?;
        self.heads += 1;
        (self.bytes, self.fields) = (0, 0);
        match content {
            Content::None => self.end(),
            Content::Length(length) => self.state = State::Length(length),
            Content::Chunked => self.state = State::ChunkSize,
            // A request's content does not end with the connection.
            Content::UntilClose => return Err(Violation::TransferCoding),
        }
        Ok(())
    }

    fn chunk_line(&mut self, line: &[u8]) -> Result<(), Violation> {
        let (size, extensions) = chunk::size(line)?;
        self.extensions += extensions;
        if self.extensions > chunk::MAX_EXTENSIONS {
            return Err(Violation::ChunkExtensionsTooLarge);
        }
        self.state = if size == 0 { State::Trailers } else { State::Chunk(size) };
        Ok(())
    }

    /// The message is complete.
    fn end(&mut self) {
        self.begin(if self.head.switches { State::Undecided } else { State::Start });
    }
}

#[cfg(test)]
mod tests;
