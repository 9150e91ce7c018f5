//! HTTP/2 of clients (RFC 9113): reads and answers, ends a connection when it is idle, drains it.
//!
//! What can be answered at once is answered amid the reading, without a future, a map or a stream that anybody knows of. Any
//! other request becomes an exchange that the connection's task polls beside the others, each when it was woken. What all of
//! them have to say leaves in one write, once per turn.
//!
//! ```text
//! wire ─▶ judge (frames, meter) ─▶ session ─▶ request ─▶ at once? ─▶ outgoing ─▶ wire
//!                                     ▲                     └─▶ exchange ─▶ handler
//!                                     └──── content, windows ◀────┘
//! ```

mod channel;
mod content;
mod exchange;
mod outgoing;
mod request;
mod session;
mod stream;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{Method, Request};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

pub(super) use channel::Channel;
use content::Received;
use exchange::{Exchange, Stage as Reached};
use request::Assembly;
use session::{Bounds, Opened, Session};

use super::activity::Offered;
use super::connection::Connection;
use super::handler::{ClientRequest, Handler};
use super::meter::{Meter, Offence};
use super::prompt::Looks;
use super::refusal::RefusalReason;
use super::settings::Settings;
use super::shared::Phase;
use super::watch::{CLOSE_TIMEOUT, Stage, Watch};
use super::wire::{Socket, Wire};
use crate::http::RequestContent;
use crate::http::content::Content;
use crate::http::head::{Form, HeadWriter};

/// Turns in a row, after which others have theirs.
const ROUNDS: usize = 16;

/// A client that has said nothing for so long is asked whether it is there, and left if it does not answer.
const SILENCE: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_secs(20);

/// What is read at a time.
const READ: usize = 32 << 10;

/// What a worker's connections use in turn: nothing of it is needed between two turns.
struct Scratch {
    bytes: Box<[u8]>,
    request: Assembly,
    block: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        bytes: vec![0; READ].into(),
        request: Assembly::default(),
        block: Vec::new(),
    });
}

/// Serves the connection to its end.
pub(super) async fn serve<IO, H>(wire: Wire<IO>, connection: &Arc<Connection<H>>, watch: &mut Watch)
where
    IO: Socket,
    H: Handler,
{
    let mut driver = Driver::new(wire, connection);
    watch.expect_frames();
    if let Some(offence) = driver.drive(watch).await {
        connection.refused(0, offence.reason());
        driver.session.lock().go_away(offence);
        // What is still on its way is read, or its end would eat what we said last.
        connection.activity.set_head_begun();
        let closed = poll_fn(|cx| driver.poll_close(cx));
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, closed).await;
    }
}

fn session(settings: &Settings) -> Session {
    let http2 = settings.http2;
    let bounds = Bounds {
        streams: http2.max_streams,
        list: u32::try_from(settings.max_header_bytes).unwrap_or(u32::MAX / 2),
        window: http2.stream_window,
        windows: http2.stream_window.saturating_mul(4).clamp(1 << 20, 1 << 30),
    };
    // Streams that we reset for an error of the client's, or since they were too many.
    let own_resets = http2.max_streams.saturating_add(http2.max_resets);
    Session::new(bounds, Meter::new(http2.max_resets, own_resets))
}

/// Drives one connection.
struct Driver<'a, IO, H: Handler> {
    wire: Wire<IO>,
    session: Arc<Mutex<Session>>,
    exchanges: FuturesUnordered<Exchange<H>>,
    connection: &'a Arc<Connection<H>>,
    /// Requests in a row that could not be answered at once.
    looks: (Looks, Looks),
    /// Rings when the client was silent, if it was.
    silence: Pin<Box<Sleep>>,
    heard: bool,
}

impl<'a, IO: Socket, H: Handler> Driver<'a, IO, H> {
    fn new(wire: Wire<IO>, connection: &'a Arc<Connection<H>>) -> Self {
        Self {
            wire,
            session: Arc::new(Mutex::new(session(&connection.limits.settings))),
            exchanges: FuturesUnordered::new(),
            connection,
            looks: Default::default(),
            silence: Box::pin(sleep_until(Instant::now() + SILENCE)),
            heard: false,
        }
    }

    /// Goes on until the connection has ended, or must be ended for what the client did.
    async fn drive(&mut self, watch: &mut Watch) -> Option<Offence> {
        let connection = self.connection;
        let settings = &connection.limits.settings;
        let mut told = false;
        let spent = || connection.limits.is_last(connection.activity.requests());
        // A connection that was opened just now may send what it was opened for: many clients would not do so behind a GOAWAY.
        let is_last = |phase| match phase {
            Phase::Leaving => connection.activity.requests() > 0,
            phase => phase == Phase::Draining,
        };
        poll_fn(|cx| {
            loop {
                let ended = self.poll_turns(cx);
                let blamed = self.session.lock().meter().take_blamed();
                for _ in 0..blamed {
                    connection.refused(0, RefusalReason::Http2Stream);
                }
                let offence = self.session.lock().meter().offence();
                if offence.is_some() || ended.is_ready() {
                    return Poll::Ready(offence);
                }
                connection.activity.set_data_sent(self.session.lock().meter().data_sent());
                let stage = watch.note(&connection.activity);
                let phase = connection.shared.phase();
                if phase == Phase::Aborted || self.is_silent(cx) {
                    return Poll::Ready(None);
                }
                let idle = if told { CLOSE_TIMEOUT } else { settings.keepalive };
                let over = watch.poll_over(cx, Watch::limit(stage, settings, idle)).is_ready();
                match over {
                    _ if !told && (is_last(phase) || spent() || (over && stage == Stage::Idle)) => {
                        told = true;
                        watch.restart();
                        self.session.lock().leave();
                    }
                    true if stage == Stage::Closing && !connection.activity.abandoned() => {
                        connection.activity.abandon();
                    }
                    true => return Poll::Ready(None),
                    false => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// Ready when the connection is over.
    fn poll_turns(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.session.lock().set_driven(Some(cx.waker()));
        for _ in 0..ROUNDS {
            let Ok(read) = self.poll_read(cx) else { return Poll::Ready(()) };
            while let Poll::Ready(Some(())) = self.exchanges.poll_next_unpin(cx) {}
            let mut session = self.session.lock();
            // Everybody who was ready has had their say: now it leaves, in one write.
            let sent = session.out.poll_send(cx, &mut self.wire);
            if matches!(sent, Poll::Ready(Err(_))) {
                return Poll::Ready(());
            }
            if session.meter().offence().is_some() {
                return Poll::Pending;
            }
            let stuck = sent.is_pending() && session.out.is_full();
            if sent.is_ready() && session.is_over() && self.exchanges.is_empty() {
                session.set_driven(None);
                return Pin::new(&mut self.wire).poll_shutdown(cx).map(drop);
            }
            if stuck || (!session.wake_waiting() && !read) {
                session.set_driven(None);
                return Poll::Pending;
            }
        }
        self.session.lock().set_driven(None);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes what has come; whether there may be more. An error: there is nothing more to come.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        // Who does not read is not read.
        if self.session.lock().out.is_full() {
            return Ok(true);
        }
        SCRATCH.with_borrow_mut(|Scratch { bytes, request, block }| {
            let mut buffer = ReadBuf::new(bytes);
            match Pin::new(&mut self.wire).poll_read(cx, &mut buffer)? {
                Poll::Pending => return Ok(false),
                Poll::Ready(()) if buffer.filled().is_empty() => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Poll::Ready(()) => self.heard = true,
            }
            let passed = self.session.lock().meter().received(buffer.filled());
            let mut rest = &buffer.filled()[..passed];
            loop {
                let opened = self.session.lock().read(request, &mut rest);
                let Some(opened) = opened else { return Ok(true) };
                if !self.answer_at_once(opened, request, block) {
                    self.begin(opened, request);
                }
            }
        })
    }

    /// Answers a request if that can be done at once. Of those who ask for nothing that is at hand few are looked at.
    fn answer_at_once(&mut self, opened: Opened, request: &mut Assembly, block: &mut Vec<u8>) -> bool {
        if !opened.ended || !self.looks.0.are_worth_it() {
            return false;
        }
        let Some(room) = self.session.lock().room() else { return false };
        let Connection { handler, client, activity, .. } = &**self.connection;
        block.clear();
        let head = HeadWriter::new(Form::Http2, block);
        let Some(content) = handler.at_once(&request.head, client, head, room) else { return false };
        self.looks.0.paid();
        let file = match content {
            Content::Bytes(content) => {
                activity.answered_at_once();
                self.session.lock().answer(opened.stream, block, content);
                return true;
            }
            Content::File(file) => file,
        };
        let (_, in_flight) = activity.begin(false);
        let mut session = self.session.lock();
        session.begin_stream(opened);
        if session.reply(opened.stream, block, false).is_ok() {
            drop(session);
            let offered = Offered::new(in_flight);
            self.push(opened.stream, Reached::Reading { file, taken: Bytes::new(), offered });
        }
        true
    }

    /// Hands a request to the handler.
    fn begin(&mut self, opened: Opened, request: &mut Assembly) {
        let Opened { stream, ended, .. } = opened;
        let Connection { handler, client, activity, .. } = &**self.connection;
        let (_, in_flight) = activity.begin(!ended);
        self.session.lock().begin_stream(opened);
        if ended
            && self.looks.1.are_worth_it()
            && let Some(answering) = handler.begin(&request.head, client)
        {
            self.looks.1.paid();
            return self.push(stream, Reached::Begun { answering, in_flight: Some(in_flight) });
        }
        let head = request.take();
        let received = || Received { session: self.session.clone(), stream };
        // What a CONNECT has behind its head is no content (RFC 9113 8.5).
        let (content, channel) = match (ended, &head.method) {
            (_, &Method::CONNECT) => (RequestContent::None, Some(Box::new(Channel::new(received())))),
            (true, _) => (RequestContent::None, None),
            (false, _) => (RequestContent::Http2(Box::pin(received())), None),
        };
        let request = Request::from_parts(head, content);
        let request = ClientRequest { request, client: client.clone(), interim: None };
        let answer = Box::pin(handler.clone().handle(request));
        self.push(stream, Reached::Answering { answer, in_flight: Some(in_flight), channel });
    }

    fn push(&self, stream: u32, stage: Reached<H::Body>) {
        let (session, connection) = (self.session.clone(), self.connection.clone());
        self.exchanges.push(Exchange { session, connection, stream, stage });
    }

    /// Whether the client has said nothing for too long, although it was asked.
    fn is_silent(&mut self, cx: &mut Context<'_>) -> bool {
        while self.silence.as_mut().poll(cx).is_ready() {
            let mut session = self.session.lock();
            let patience = match std::mem::take(&mut self.heard) {
                true => {
                    session.heard();
                    SILENCE
                }
                false if session.ask() => ANSWER,
                false => return true,
            };
            // The question is to be sent.
            cx.waker().wake_by_ref();
            self.silence.as_mut().reset(Instant::now() + patience);
        }
        false
    }

    /// Sends what is left, and closes.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let _ = ready!(self.session.lock().out.poll_send(cx, &mut self.wire));
        Pin::new(&mut self.wire).poll_shutdown(cx).map(drop)
    }
}

impl<IO, H: Handler> Drop for Driver<'_, IO, H> {
    fn drop(&mut self) {
        self.exchanges.clear();
        self.session.lock().close();
    }
}
