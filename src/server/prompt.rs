//! The short way of a request of HTTP/1.1: what the handler can answer at once, hyper never hears of.
//!
//! Between two exchanges of hyper's nothing of a connection is under way, and the wire may answer a request by itself:
//! a plain one (`http::h1::Plain`) that came alone. If the handler has its reply at hand, that is sent at once, for a third
//! of what it costs on the way through hyper; else the wire waits for it ([`underway`](super::underway)). Whatever is not so
//! goes to hyper, as if it had not been looked at here.

use std::cell::RefCell;
use std::sync::Arc;
use std::{fmt, io};

use bytes::{Buf, Bytes};

use super::activity::InFlight;
use super::connection::Connection;
use super::handler::Handler;
use super::shared::Phase;
use super::underway::{Exchange, Underway};
use crate::http::content::{Content, FileContent};
use crate::http::h1::Plain;
use crate::http::head::{Form, HeadWriter};
use crate::piped::Piped;

/// Whether it is worth to look for a short way. It costs a tenth of the long one: who has had none a few times in a row is
/// looked at only now and then.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Looks(u32);

/// Looks in vain, after which that is so.
const FEW: u32 = 4;

/// Of so many more, one is taken.
const SELDOM: u32 = 16;

impl Looks {
    /// Asked once for each request.
    pub(super) fn are_worth_it(&mut self) -> bool {
        self.0 = self.0.wrapping_add(1);
        self.0 <= FEW || self.0.is_multiple_of(SELDOM)
    }

    /// There was one.
    pub(super) fn paid(&mut self) {
        self.0 = 0;
    }
}

/// Answers plain requests.
pub(super) trait Prompt: std::marker::Send + Sync {
    /// Has `send` send the reply to the request that this head makes, if it is at hand: all of it, or its beginning and what of
    /// its content comes behind. `false`: nothing has been done.
    fn answer(&self, head: &[u8], send: &mut Send<'_>) -> io::Result<bool>;

    /// Begins to answer the request that this head makes; `None` if it is no plain one. `looks` whether there is a short way for
    /// it.
    fn begin(self: Arc<Self>, head: &[u8], looks: &mut Looks) -> Option<Box<dyn Underway>>;
}

impl fmt::Debug for dyn Prompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prompt")
    }
}

/// See [`Prompt::answer`].
pub(super) type Send<'a> = dyn FnMut(&[u8], Content) -> io::Result<()> + 'a;

/// What has not been sent of a reply.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) head: Bytes,
    pub(super) body: Bytes,
    /// Frames that.
    pub(super) after: &'static [u8],
    /// What comes behind these, or is left of a piece that lies in a pipe.
    pub(super) file: Option<OnItsWay>,
    pub(super) piped: Option<Piped>,
}

/// Content that is read as it is sent; the exchange is in flight until then.
#[derive(Debug)]
pub(super) struct OnItsWay {
    pub(super) content: Box<dyn FileContent>,
    pub(super) _in_flight: InFlight,
}

impl Answer {
    /// What of it is in hand.
    pub(super) fn len(&self) -> usize {
        self.head.len() + self.body.len() + self.after.len()
    }

    /// So much of it has been sent.
    pub(super) fn advance(&mut self, sent: usize) {
        let of_head = sent.min(self.head.len());
        self.head.advance(of_head);
        let of_body = (sent - of_head).min(self.body.len());
        self.body.advance(of_body);
        self.after = &self.after[sent - of_head - of_body..];
    }
}

thread_local! {
    /// What a worker's connections write to in turn: an answer is made without a pause.
    static OUT: RefCell<Vec<u8>> = RefCell::default();
    /// Reads those of their requests whose replies are waited for.
    static PLAIN: RefCell<Plain> = RefCell::default();
}

impl<H: Handler> Prompt for Connection<H> {
    fn answer(&self, head: &[u8], send: &mut Send<'_>) -> io::Result<bool> {
        if !self.goes_on() {
            return Ok(false);
        }
        OUT.with_borrow_mut(|out| {
            out.clear();
            let reply = HeadWriter::new(Form::Http1, out);
            let Some(rest) = self.handler.at_once_by_text(head, &self.client, reply) else {
                return Ok(false);
            };
            self.activity.answered_at_once();
            send(out, rest)?;
            Ok(true)
        })
    }

    fn begin(self: Arc<Self>, head: &[u8], looks: &mut Looks) -> Option<Box<dyn Underway>> {
        if !self.goes_on() {
            return None;
        }
        PLAIN.with_borrow_mut(|plain| {
            let request = plain.read(head)?;
            Some(Box::new(Exchange::begin(self.clone(), request, looks)) as Box<dyn Underway>)
        })
    }
}

impl<H: Handler> Connection<H> {
    /// Whether another request follows the next one: else hyper has to end the connection behind it.
    fn goes_on(&self) -> bool {
        !self.limits.is_last(self.activity.requests() + 1) && self.shared.phase() == Phase::Serving
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_leaves_in_any_pieces() {
        let (head, body) = (Bytes::from_static(b"head"), Bytes::from_static(b"body"));
        let mut answer = Answer { head, body, after: b"\r\n", ..Answer::default() };
        for (sent, left) in [
            (1, ["ead", "body", "\r\n"]),
            (4, ["", "ody", "\r\n"]),
            (0, ["", "ody", "\r\n"]),
            (4, ["", "", "\n"]),
            (1, ["", "", ""]),
        ] {
            answer.advance(sent);
            assert_eq!([&answer.head[..], &answer.body[..], answer.after], left.map(str::as_bytes));
        }
        assert_eq!(answer.len(), 0);
    }
}
