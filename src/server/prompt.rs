//! The short way of a request of HTTP/1.1: what the handler can answer at once, hyper never hears of.
//!
//! Between two exchanges of hyper's nothing of a connection is under way, and the wire may answer a request by itself:
//! a plain one (`http::h1::Plain`) that came alone, and whose reply the handler has at hand. It costs a third of what it
//! costs on the way through hyper. Whatever is not so goes that way, as if it had not been looked at here.

use std::cell::RefCell;
use std::{fmt, io};

use bytes::{Buf, Bytes};

use super::activity::InFlight;
use super::connection::Connection;
use super::handler::Handler;
use super::shared::Phase;
use crate::http::content::{Content, FileContent};
use crate::http::h1::Plain;
use crate::http::head::{Form, HeadWriter};

/// Answers requests at once.
pub(super) trait Prompt: std::marker::Send + Sync {
    /// Has `send` send the reply to the request that this head makes: all of it, or its beginning and what of its content
    /// comes behind. `false`: the request is to go the long way.
    fn answer(&self, head: &[u8], send: &mut Send<'_>) -> io::Result<bool>;
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
    /// What comes behind these.
    pub(super) file: Option<OnItsWay>,
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
        self.head.len() + self.body.len()
    }

    /// So much of it has been sent.
    pub(super) fn advance(&mut self, sent: usize) {
        let of_head = sent.min(self.head.len());
        self.head.advance(of_head);
        self.body.advance(sent - of_head);
    }
}

/// What a worker's connections use in turn: an answer is made without a pause.
#[derive(Default)]
struct Scratch {
    request: Plain,
    out: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl<H: Handler> Prompt for Connection<H> {
    fn answer(&self, head: &[u8], send: &mut Send<'_>) -> io::Result<bool> {
        let is_last = self.limits.is_last(self.activity.requests() + 1);
        if is_last || self.shared.phase() != Phase::Serving {
            return Ok(false);
        }
        SCRATCH.with_borrow_mut(|Scratch { request, out }| {
            let Some(request) = request.read(head) else { return Ok(false) };
            out.clear();
            let reply = HeadWriter::new(Form::Http1, out);
            let Some(rest) = self.handler.at_once(request, &self.client, reply, usize::MAX) else {
                return Ok(false);
            };
            self.activity.answered_at_once();
            send(out, rest)?;
            Ok(true)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_leaves_in_any_pieces() {
        let (head, body) = (Bytes::from_static(b"head"), Bytes::from_static(b"body"));
        let mut answer = Answer { head, body, file: None };
        for (sent, head, body) in [(1, "ead", "body"), (4, "", "ody"), (0, "", "ody"), (3, "", "")] {
            answer.advance(sent);
            assert_eq!((&answer.head[..], &answer.body[..]), (head.as_bytes(), body.as_bytes()));
        }
        assert_eq!(answer.len(), 0);
    }
}
