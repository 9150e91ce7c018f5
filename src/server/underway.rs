//! A plain request of HTTP/1.1 whose reply has to be waited for, past hyper: from its head to the last byte of its reply.
//!
//! The wire has it in hand while hyper takes the connection for idle (see [`prompt`](super::prompt)): it sends what is next of
//! the reply, and drops it when the client has left.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRAILER, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body::Body;

use super::activity::InFlight;
use super::connection::Connection;
use super::handler::{Answered, Answering, ClientRequest, Handler, Later, ReplyTo};
use super::prompt::Looks;
use super::shared::Phase;
use crate::clock::Clock;
use crate::http::content::COPIED;
use crate::http::decimal::Decimal;
use crate::http::h1::{self, write_chunk_size, write_field, write_status};
use crate::http::head::Form;
use crate::http::{InterimQueue, RequestContent, date};
use crate::piped::Piped;

/// So much is put together before it is sent.
const ENOUGH: usize = 16 << 10;

/// An exchange, as the wire sees it.
pub(super) trait Underway: Send {
    /// Writes what is to be sent next; what of it is not copied there comes behind. With `pipes` some of it may lie in one.
    fn poll_next(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>, pipes: bool) -> Poll<Piece>;

    /// What is to be sent before the reply.
    fn interim(&self) -> Option<&Arc<InterimQueue>>;
}

impl std::fmt::Debug for dyn Underway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Underway")
    }
}

/// What comes behind what was written.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) content: Bytes,
    /// In place of that.
    pub(super) piped: Option<Piped>,
    pub(super) after: &'static [u8],
    pub(super) then: Then,
}

/// What comes behind a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Another piece.
    More,
    /// The next request.
    Next,
    /// The end of the connection.
    Close,
}

impl Piece {
    fn nothing(then: Then) -> Self {
        Self { content: Bytes::new(), piped: None, after: b"", then }
    }
}

/// How a reply's content ends (RFC 9112 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
}

/// A request, and then its reply.
pub(super) struct Exchange<H: Handler> {
    connection: Arc<Connection<H>>,
    /// Of the request, on its connection.
    number: u64,
    stage: Stage<H::Body>,
    /// Where one may be sent by who waits.
    interim: Option<Arc<InterimQueue>>,
    /// What follows the reply.
    then: Then,
    _in_flight: InFlight,
}

enum Stage<B> {
    Begun(Box<dyn Answering<B>>),
    Answering(Later<B>),
    Sending(Pin<Box<B>>, Framing),
    /// There is no more content.
    Over,
}

impl<H: Handler> Exchange<H> {
    /// Hands a request that has no content to the handler.
    pub(super) fn begin(connection: Arc<Connection<H>>, head: &Parts, looks: &mut Looks) -> Self {
        let (number, in_flight) = connection.activity.begin(false);
        connection.activity.begun_past_hyper();
        if looks.are_worth_it()
            && let Some(answering) = connection.handler.begin(head, &connection.client)
        {
            looks.paid();
            let stage = Stage::Begun(answering);
            return Self {
                connection,
                number,
                stage,
                interim: None,
                then: Then::Next,
                _in_flight: in_flight,
            };
        }
        let interim = InterimQueue::new();
        let request = ClientRequest {
            request: Request::from_parts(head.clone(), RequestContent::None),
            client: connection.client.clone(),
            interim: Some(interim.open(number)),
        };
        let answer = Box::pin(connection.handler.clone().handle(request));
        let stage = Stage::Answering(answer);
        let interim = Some(interim);
        Self { connection, number, stage, interim, then: Then::Next, _in_flight: in_flight }
    }

    /// Goes on with what has become of an exchange that was begun; what is to be sent at once is returned.
    fn answered(&mut self, answered: Answered<H::Body>, closes: bool, out: &mut Vec<u8>) -> Option<Piece> {
        match answered {
            Answered::Interim => return Some(Piece::nothing(Then::More)),
            Answered::Whole(content) => {
                let activity = &self.connection.activity;
                activity.set_answered(self.number, false);
                self.stage = Stage::Over;
                let then = if closes { Then::Close } else { Then::Next };
                return Some(Piece { content, ..Piece::nothing(then) });
            }
            Answered::Content(body, length) => {
                self.connection.activity.set_answered(self.number, false);
                if closes {
                    self.then = Then::Close;
                }
                self.stage = Stage::Sending(Box::pin(body), Framing::Length(length));
            }
            Answered::Response(response) => self.reply(response, out),
            Answered::Later(later) => {
                let interim = InterimQueue::new();
                self.stage = Stage::Answering(later(Some(interim.open(self.number))));
                self.interim = Some(interim);
            }
        }
        None
    }

    /// Writes the reply's head.
    fn reply(&mut self, response: Response<H::Body>, out: &mut Vec<u8>) {
        let connection = &self.connection;
        if let Some(interim) = &self.interim {
            interim.close();
        }
        connection.activity.set_answered(self.number, false);
        connection.activity.set_last_status(response.status().as_u16());
        // The handler ends it behind what may not be what it seems.
        let ended = response.headers().get(CONNECTION).is_some_and(|value| value == "close");
        let ends = connection.shared.phase() != Phase::Serving;
        if ended || ends {
            self.then = Then::Close;
        }
        let framing = write_head(&response, ends && !ended, out);
        self.stage = match framing {
            Some(framing) => Stage::Sending(Box::pin(response.into_body()), framing),
            None => Stage::Over,
        };
    }
}

impl<H: Handler> Underway for Exchange<H> {
    fn poll_next(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>, pipes: bool) -> Poll<Piece> {
        if let Stage::Begun(answering) = &mut self.stage {
            let closes = self.connection.shared.phase() != Phase::Serving;
            let answered = ready!(answering.poll(cx, ReplyTo { form: Form::Http1, out, closes, pipes }));
            if let Some(piece) = self.answered(answered, closes, out) {
                return Poll::Ready(piece);
            }
        }
        if let Stage::Answering(answer) = &mut self.stage {
            if let Some(interim) = &self.interim {
                interim.set_task(cx.waker());
            }
            let response = ready!(answer.as_mut().poll(cx));
            self.reply(response, out);
        }
        let Stage::Sending(body, framing) = &mut self.stage else {
            return Poll::Ready(Piece::nothing(self.then));
        };
        let pipe = |body: Pin<&mut H::Body>, cx: &mut Context<'_>| H::pipe(body, cx);
        let pipe = Some(pipe).filter(|_| pipes);
        match poll_content(body.as_mut(), framing, cx, out, pipe) {
            Poll::Ready(piece) => {
                let then = if piece.then == Then::Next { self.then } else { piece.then };
                Poll::Ready(Piece { then, ..piece })
            }
            // What there is leaves at once.
            Poll::Pending if !out.is_empty() => Poll::Ready(Piece::nothing(Then::More)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn interim(&self) -> Option<&Arc<InterimQueue>> {
        self.interim.as_ref()
    }
}

/// The next piece of a body. Many small ones are put together, so that each does not cost a system call, and so is the
/// beginning of what goes on in a pipe.
fn poll_content<B>(
    mut body: Pin<&mut B>,
    framing: &mut Framing,
    cx: &mut Context<'_>,
    out: &mut Vec<u8>,
    pipe: Option<impl Fn(Pin<&mut B>, &mut Context<'_>) -> Option<Piped>>,
) -> Poll<Piece>
where
    B: Body<Data = Bytes>,
{
    loop {
        // Around chunks something would have to be written.
        if let (Some(pipe), Framing::Length(left)) = (&pipe, &mut *framing)
            && let Some(piped) = pipe(body.as_mut(), cx)
        {
            return Poll::Ready(piece_of(piped, left, body.is_end_stream()));
        }
        let mut data =
            match ready!(body.as_mut().poll_frame(cx)).map(|frame| frame.map(|frame| frame.into_data())) {
                Some(Ok(Ok(data))) => data,
                // Trailers are for who asks for them, which is no plain request.
                None | Some(Ok(Err(_))) => return Poll::Ready(end(*framing, out)),
                // What has left must not look whole.
                Some(Err(_)) => return Poll::Ready(Piece::nothing(Then::Close)),
            };
        let is_end = body.is_end_stream();
        if data.is_empty() {
            // A chunk without content would be the last one (RFC 9112 7.1).
            if is_end {
                return Poll::Ready(end(*framing, out));
            }
            continue;
        }
        let (after, then) = frame(&mut data, framing, is_end, out);
        if data.len() > COPIED {
            return Poll::Ready(Piece { content: data, after, ..Piece::nothing(then) });
        }
        out.extend_from_slice(&data);
        out.extend_from_slice(after);
        if then != Then::More || out.len() >= ENOUGH {
            return Poll::Ready(Piece::nothing(then));
        }
    }
}

/// What lies in a pipe, and what comes then.
fn piece_of(piped: Piped, left: &mut u64, is_end: bool) -> Piece {
    // More than was said would be taken for the next reply, and a pipe gives all or nothing.
    let Some(rest) = left.checked_sub(piped.len() as u64) else { return Piece::nothing(Then::Close) };
    *left = rest;
    Piece { piped: Some(piped), ..Piece::nothing(after_length(rest, is_end)) }
}

/// What comes then, where so much is left of what was said.
fn after_length(left: u64, is_end: bool) -> Then {
    match (left, is_end) {
        (0, _) => Then::Next,
        (_, true) => Then::Close,
        (_, false) => Then::More,
    }
}

/// What stands around a piece of content, and what comes then.
fn frame(data: &mut Bytes, framing: &mut Framing, is_end: bool, out: &mut Vec<u8>) -> (&'static [u8], Then) {
    match framing {
        Framing::Chunked => {
            write_chunk_size(data.len(), out);
            if is_end { (b"\r\n0\r\n\r\n", Then::Next) } else { (b"\r\n", Then::More) }
        }
        Framing::Length(left) => {
            // More than was said would be taken for the next reply.
            data.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= data.len() as u64;
            (b"", after_length(*left, is_end))
        }
    }
}

/// The body says that it is over.
fn end(framing: Framing, out: &mut Vec<u8>) -> Piece {
    match framing {
        Framing::Chunked => out.extend_from_slice(b"0\r\n\r\n"),
        Framing::Length(0) => {}
        // It is less than was said: the client must see that.
        Framing::Length(_) => return Piece::nothing(Then::Close),
    }
    Piece::nothing(Then::Next)
}

/// The head of a reply, and how its content ends, if it has any. `closes`: it says that the connection ends.
fn write_head<B: Body>(response: &Response<B>, closes: bool, out: &mut Vec<u8>) -> Option<Framing> {
    let (status, headers) = (response.status(), response.headers());
    // RFC 9112 6.3: these have none, whatever their fields say.
    let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    write_status(status, out);
    for (name, value) in headers {
        match *name {
            // Said below.
            CONTENT_LENGTH | TRANSFER_ENCODING => {}
            TRAILER if bodiless => {}
            _ => write_field(name, value.as_bytes(), out),
        }
    }
    if !headers.contains_key(DATE) {
        write_field(&DATE, date::header_value(Clock::System.now()).as_bytes(), out);
    }
    let length = || response.body().size_hint().exact().or_else(|| h1::length(headers));
    let framing = if bodiless {
        None
    } else if response.body().is_end_stream() {
        Some(Framing::Length(0))
    } else {
        Some(length().map_or(Framing::Chunked, Framing::Length))
    };
    match framing {
        Some(Framing::Length(length)) => {
            write_field(&CONTENT_LENGTH, Decimal::of(length).as_bytes(), out);
        }
        Some(Framing::Chunked) => write_field(&TRANSFER_ENCODING, b"chunked", out),
        None => {}
    }
    if closes {
        write_field(&CONNECTION, b"close", out);
    }
    out.extend_from_slice(b"\r\n");
    framing.filter(|framing| *framing != Framing::Length(0))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::task::Waker;

    use http::HeaderMap;
    use http_body::{Frame, SizeHint};

    use super::*;

    /// What a body says, one after the other; with a length it says that, and knows its end.
    #[derive(Default)]
    struct Script {
        says: VecDeque<Option<Result<Frame<Bytes>, &'static str>>>,
        length: Option<u64>,
    }

    impl Body for Script {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            match self.says.pop_front() {
                None => Poll::Ready(None),
                Some(None) => Poll::Pending,
                Some(says) => Poll::Ready(says),
            }
        }

        fn is_end_stream(&self) -> bool {
            self.length.is_some() && self.says.is_empty()
        }

        fn size_hint(&self) -> SizeHint {
            self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
        }
    }

    fn no_pipe(_: Pin<&mut Script>, _: &mut Context<'_>) -> Option<Piped> {
        None
    }

    fn data(text: &str) -> Option<Result<Frame<Bytes>, &'static str>> {
        Some(Ok(Frame::data(Bytes::copy_from_slice(text.as_bytes()))))
    }

    /// The reply as it leaves, head and then piece by piece, and what comes behind it.
    fn sent(
        status: u16,
        fields: &[(&'static str, &'static str)],
        body: Script,
    ) -> (String, Vec<String>, Then) {
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        for (name, value) in [("date", "now")].iter().chain(fields) {
            response.headers_mut().append(*name, value.parse().unwrap());
        }
        let mut out = Vec::new();
        let framing = write_head(&response, false, &mut out);
        let head = String::from_utf8(std::mem::take(&mut out)).unwrap();
        let head = head.strip_suffix("\r\n\r\n").unwrap().split_once("date: now").unwrap().1;
        let head = head.trim_start().replace("\r\n", "; ");
        let Some(mut framing) = framing else { return (head, Vec::new(), Then::Next) };
        let (mut body, mut pieces) = (Box::pin(response.into_body()), Vec::new());
        loop {
            let polled = poll_content(
                body.as_mut(),
                &mut framing,
                &mut Context::from_waker(Waker::noop()),
                &mut out,
                Some(no_pipe),
            );
            let Poll::Ready(piece) = polled else {
                pieces.push("...".to_owned());
                continue;
            };
            let text = [&std::mem::take(&mut out), &piece.content[..], piece.after].concat();
            pieces.push(String::from_utf8(text).unwrap());
            if piece.then != Then::More {
                return (head, pieces, piece.then);
            }
        }
    }

    #[test]
    fn replies_end_as_they_say() {
        let (a, b) = (|| data("abc"), || data("de"));
        let trailers = || Some(Ok(Frame::trailers(HeaderMap::new())));
        let script = |says: Vec<_>, length| Script { says: says.into(), length };
        let cases = [
            (200, vec![], script(vec![a(), b()], Some(5)), "content-length: 5", vec!["abcde"], Then::Next),
            (
                200,
                vec![("content-length", "5")],
                script(vec![a(), b()], None),
                "content-length: 5",
                vec!["abcde"],
                Then::Next,
            ),
            (
                200,
                vec![],
                script(vec![a(), b()], None),
                "transfer-encoding: chunked",
                vec!["3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"],
                Then::Next,
            ),
            (
                200,
                vec![],
                script(vec![a(), data(""), trailers()], None),
                "transfer-encoding: chunked",
                vec!["3\r\nabc\r\n0\r\n\r\n"],
                Then::Next,
            ),
            (
                200,
                vec![("transfer-encoding", "gzip")],
                script(vec![], Some(0)),
                "content-length: 0",
                vec![],
                Then::Next,
            ),
            (
                204,
                vec![("content-length", "3"), ("trailer", "x")],
                script(vec![], Some(0)),
                "",
                vec![],
                Then::Next,
            ),
            (
                304,
                vec![("content-length", "3"), ("etag", "x")],
                script(vec![a()], None),
                "etag: x",
                vec![],
                Then::Next,
            ),
            (200, vec![], script(vec![a()], Some(9)), "content-length: 9", vec!["abc"], Then::Close),
            (
                200,
                vec![("content-length", "9")],
                script(vec![a()], None),
                "content-length: 9",
                vec!["abc"],
                Then::Close,
            ),
            (
                200,
                vec![("content-length", "4")],
                script(vec![a(), b()], None),
                "content-length: 4",
                vec!["abcd"],
                Then::Next,
            ),
            (
                200,
                vec![],
                script(vec![a(), Some(Err("broken"))], None),
                "transfer-encoding: chunked",
                vec!["3\r\nabc\r\n"],
                Then::Close,
            ),
            (
                200,
                vec![("connection", "close")],
                script(vec![], Some(0)),
                "connection: close; content-length: 0",
                vec![],
                Then::Next,
            ),
        ];
        for (status, fields, body, head, pieces, then) in cases {
            let told = format!("{status} {fields:?} {head}");
            assert_eq!(
                sent(status, &fields, body),
                (head.to_owned(), pieces.into_iter().map(str::to_owned).collect(), then),
                "{told}"
            );
        }
    }

    #[test]
    fn small_pieces_leave_together_and_large_ones_as_they_are() {
        let (small, large) = ("s".repeat(COPIED), "l".repeat(COPIED + 1));
        let says: Vec<_> = (0..6).map(|_| data(&small)).chain([None, data(&large), data("x")]).collect();
        let length = (6 * small.len() + large.len() + 1) as u64;
        let (_, pieces, then) = sent(200, &[], Script { says: says.into(), length: Some(length) });
        assert_eq!(
            pieces.iter().map(String::len).collect::<Vec<_>>(),
            [4 * COPIED, 3, 2 * COPIED + COPIED + 1, 1]
        );
        assert_eq!(then, Then::Next);
    }
}
