//! One request on its way to its reply, and that on its way to the client.

use std::any::Any;
use std::cell::RefCell;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, DATE, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{Response, StatusCode};
use http_body::Body;
use parking_lot::Mutex;
use tracing::error;

use super::channel::Channel;
use super::session::Session;
use crate::clock::Clock;
use crate::http::content::FileContent;
use crate::http::decimal::Decimal;
use crate::http::head::Form;
use crate::http::{date, hpack};
use crate::server::activity::{InFlight, Offered, Reply};
use crate::server::connection::Connection;
use crate::server::frames::Code;
use crate::server::handler::{Answered, Answering, Handler, ReplyTo};
use crate::server::tunnelled;
use crate::tunnel::Handover;

/// What a handler makes of a request.
pub(super) type Answer<B> = Pin<Box<dyn Future<Output = Response<B>> + Send>>;

thread_local! {
    /// What a worker's exchanges write heads to that are sent at once.
    static BLOCK: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Ready when its stream needs nothing more.
pub(super) struct Exchange<H: Handler> {
    pub(super) session: Arc<Mutex<Session>>,
    pub(super) connection: Arc<Connection<H>>,
    pub(super) stream: u32,
    pub(super) stage: Stage<H::Body>,
}

/// How far it has come.
pub(super) enum Stage<B> {
    /// It was begun without a future.
    Begun { answering: Box<dyn Answering<B>>, in_flight: Option<InFlight> },
    /// The head of its reply is sent, and this is the content.
    Whole { content: Bytes, _offered: Offered },
    /// There is no reply yet. A CONNECT has a channel for the case that it is agreed to.
    Answering { answer: Answer<B>, in_flight: Option<InFlight>, channel: Option<Box<Channel>> },
    /// The reply has content; of which this was taken, and whether it is the last.
    Sending { body: Pin<Box<Reply<B>>>, taken: Bytes, ends: bool },
    /// The reply has what a file has, of which this was taken.
    Reading { file: Box<dyn FileContent>, taken: Bytes, offered: Offered },
    /// It carries another protocol.
    Tunnel(Pin<Box<dyn Future<Output = ()> + Send>>),
}

impl<H: Handler> Future for Exchange<H> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        match catch_unwind(AssertUnwindSafe(|| this.go_on(cx))) {
            Ok(polled) => polled,
            Err(panic) => {
                this.panicked(&*panic);
                Poll::Ready(())
            }
        }
    }
}

impl<H: Handler> Exchange<H> {
    fn go_on(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut self.stage {
                Stage::Begun { .. } => match ready!(self.poll_begun(cx)) {
                    Some(stage) => self.stage = stage,
                    None => return Poll::Ready(()),
                },
                Stage::Whole { content, .. } => {
                    let sent = self.session.lock().poll_content_sent(self.stream, content, true, cx);
                    return sent.map(drop);
                }
                Stage::Answering { answer, in_flight, channel } => {
                    // The client may reset it while there is no reply.
                    if self.session.lock().poll_gone(self.stream, cx).is_err() {
                        return Poll::Ready(());
                    }
                    let response = ready!(answer.as_mut().poll(cx));
                    let (in_flight, channel) = (in_flight.take(), channel.take());
                    match self.reply(response, in_flight, channel) {
                        Some(stage) => self.stage = stage,
                        None => return Poll::Ready(()),
                    }
                }
                Stage::Sending { .. } => return self.poll_send(cx),
                Stage::Reading { .. } => return self.poll_file(cx),
                Stage::Tunnel(tunnel) => return tunnel.as_mut().poll(cx),
            }
        }
    }

    /// Goes on with what was begun without a future; `None`: it is over.
    fn poll_begun(&mut self, cx: &mut Context<'_>) -> Poll<Option<Stage<H::Body>>> {
        // The client may reset it while there is no reply.
        if self.session.lock().poll_gone(self.stream, cx).is_err() {
            return Poll::Ready(None);
        }
        BLOCK.with_borrow_mut(|block| {
            let Stage::Begun { answering, in_flight } = &mut self.stage else { return Poll::Ready(None) };
            block.clear();
            let answered = loop {
                // What ends a connection is no field of a reply's.
                let reply = ReplyTo { form: Form::Http2, out: block, closes: false, pipes: false };
                match ready!(answering.poll(cx, reply)) {
                    // Not in this form.
                    Answered::Interim => {}
                    answered => break answered,
                }
            };
            let in_flight = in_flight.take();
            Poll::Ready(match answered {
                Answered::Interim => None,
                Answered::Response(response) => self.reply(response, in_flight, None),
                Answered::Later(later) => {
                    Some(Stage::Answering { answer: later(None), in_flight, channel: None })
                }
                Answered::Content(body, _) => {
                    let sent = self.session.lock().reply(self.stream, block, false);
                    let more = in_flight.filter(|_| sent.is_ok());
                    more.map(|in_flight| {
                        let body = Box::pin(Reply::new(body, in_flight));
                        Stage::Sending { body, taken: Bytes::new(), ends: false }
                    })
                }
                Answered::Whole(content) => self.whole(block, content, in_flight),
            })
        })
    }

    /// Sends the head of a reply, and its content if there is room.
    fn whole(&self, block: &[u8], content: Bytes, in_flight: Option<InFlight>) -> Option<Stage<H::Body>> {
        let left = self.session.lock().reply_whole(self.stream, block, content).ok()??;
        in_flight.map(|in_flight| Stage::Whole { content: left, _offered: Offered::waiting(in_flight) })
    }

    /// Sends the head, and says what comes behind it.
    fn reply(
        &mut self,
        mut response: Response<H::Body>,
        in_flight: Option<InFlight>,
        channel: Option<Box<Channel>>,
    ) -> Option<Stage<H::Body>> {
        let tunnel = response.extensions_mut().remove::<Handover>().and_then(|handover| handover.take());
        if let Some((tunnel, channel)) = tunnel.zip(channel) {
            self.head(&response, None, false)?;
            let held = self.connection.activity.hold();
            let tunnel = tunnelled::stream(*channel, tunnel, self.connection.clone(), held);
            return Some(Stage::Tunnel(Box::pin(tunnel)));
        }
        let ends = response.body().is_end_stream();
        let length = response.body().size_hint().exact().filter(|_| !ends);
        self.head(&response, length, ends)?;
        let body = Reply::new(response.into_body(), in_flight?);
        (!ends).then(|| Stage::Sending { body: Box::pin(body), taken: Bytes::new(), ends: false })
    }

    fn head(&mut self, response: &Response<H::Body>, length: Option<u64>, ends: bool) -> Option<()> {
        let mut block = Vec::with_capacity(512);
        write_head(response.status(), response.headers(), length, &mut block);
        self.session.lock().reply(self.stream, &block, ends).ok()
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Stage::Sending { body, taken, ends } = &mut self.stage else { return Poll::Ready(()) };
        loop {
            if !taken.is_empty() || *ends {
                let sent = self.session.lock().poll_content_sent(self.stream, taken, *ends, cx);
                if ready!(sent).is_err() || *ends {
                    return Poll::Ready(());
                }
            }
            let next = match body.as_mut().poll_frame(cx) {
                Poll::Ready(next) => next,
                Poll::Pending => {
                    // The client may reset it meanwhile.
                    let gone = self.session.lock().poll_gone(self.stream, cx).is_err();
                    return if gone { Poll::Ready(()) } else { Poll::Pending };
                }
            };
            match next.map(|frame| frame.map(http_body::Frame::into_data)) {
                Some(Ok(Ok(data))) => {
                    *ends = body.is_end_stream();
                    *taken = data;
                }
                Some(Ok(Err(frame))) => {
                    let mut block = Vec::new();
                    write_fields(frame.trailers_ref().unwrap_or(&HeaderMap::new()), &mut block);
                    // Where it is gone, nobody is interested.
                    let _ = self.session.lock().reply(self.stream, &block, true);
                    return Poll::Ready(());
                }
                Some(Err(error)) => {
                    self.session.lock().reset(self.stream, code_of(&*error.into()));
                    return Poll::Ready(());
                }
                None => *ends = true,
            }
        }
    }

    fn poll_file(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Stage::Reading { file, taken, offered } = &mut self.stage else { return Poll::Ready(()) };
        loop {
            if taken.is_empty() {
                if self.session.lock().poll_gone(self.stream, cx).is_err() {
                    return Poll::Ready(());
                }
                let next = file.poll_read(cx);
                offered.set(matches!(next, Poll::Ready(Some(Ok(_)))));
                match ready!(next) {
                    Some(Ok(bytes)) => *taken = bytes,
                    None | Some(Err(_)) => {
                        self.session.lock().reset(self.stream, Code::INTERNAL);
                        return Poll::Ready(());
                    }
                }
            }
            let ends = file.remaining() == 0;
            let sent = self.session.lock().poll_content_sent(self.stream, taken, ends, cx);
            if ready!(sent).is_err() || ends {
                return Poll::Ready(());
            }
        }
    }

    fn panicked(&mut self, panic: &(dyn Any + Send)) {
        let said = panic.downcast_ref::<&str>().copied();
        let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or_default();
        error!(peer = %self.connection.client.peer, said, "answering a request panicked; its stream is reset");
        self.session.lock().reset(self.stream, Code::INTERNAL);
    }
}

/// What a stream is reset with whose reply broke off: what the origin reset its own with, if it did.
fn code_of(error: &(dyn Error + Send + Sync + 'static)) -> Code {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(reason) = error.downcast_ref::<h2::Error>().and_then(h2::Error::reason) {
            return Code(reason.into());
        }
        cause = error.source();
    }
    Code::INTERNAL
}

/// What the head of every reply has. HTTP/2 has other means for what connections say in HTTP/1.1 (RFC 9113 8.2.2).
fn write_head(status: StatusCode, headers: &HeaderMap, length: Option<u64>, block: &mut Vec<u8>) {
    hpack::write_status(status, block);
    write_fields(headers, block);
    if !headers.contains_key(DATE) {
        hpack::write_field(&DATE, date::header_value(Clock::System.now()).as_bytes(), false, block);
    }
    if let Some(length) = length.filter(|_| !headers.contains_key(CONTENT_LENGTH)) {
        hpack::write_field(&CONTENT_LENGTH, Decimal::of(length).as_bytes(), false, block);
    }
}

fn write_fields(headers: &HeaderMap, block: &mut Vec<u8>) {
    let named = headers.get(CONNECTION).map_or(&b""[..], HeaderValue::as_bytes);
    for (name, value) in headers {
        if !is_of_connection(name, named) {
            hpack::write_field(name, value.as_bytes(), value.is_sensitive(), block);
        }
    }
}

fn is_of_connection(name: &HeaderName, named: &[u8]) -> bool {
    match *name {
        CONNECTION | TE | TRANSFER_ENCODING | UPGRADE => true,
        _ if matches!(name.as_str(), "keep-alive" | "proxy-connection") => true,
        _ => {
            let mut named = named.split(|byte| *byte == b',').filter(|named| !named.is_empty());
            named.any(|named| named.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::hpack::{Decoder, Field, Text};

    #[test]
    fn what_is_the_connections_is_left_out() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "x-own, close"),
            ("x-own", "1"),
            ("keep-alive", "2"),
            ("te", "trailers"),
            ("date", "now"),
            ("x", "y"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let mut block = Vec::new();
        write_head(StatusCode::OK, &headers, Some(7), &mut block);
        assert_eq!(block.remove(0), 0x88);
        let mut names = Vec::new();
        let each = |field, _| {
            let Field::Field(name, value) = field else { panic!("{field:?}") };
            names.push(format!("{name}: {}", value.to_str().unwrap()));
        };
        Decoder::default().decode(&block, &mut Text::default(), each).unwrap();
        assert_eq!(names, ["date: now", "x: y", "content-length: 7"]);
    }

    #[test]
    fn an_origins_own_code_is_passed_on() {
        let reset = h2::Error::from(h2::Reason::ENHANCE_YOUR_CALM);
        assert_eq!(
            code_of(&std::io::Error::other(reset)),
            Code::INTERNAL,
            "an `io::Error` is not its content"
        );
        assert_eq!(code_of(&h2::Error::from(h2::Reason::CANCEL)), Code::CANCEL);
    }
}
