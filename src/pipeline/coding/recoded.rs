//! A body that is coded otherwise while it streams.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tokio::task::JoinHandle;

use super::head;
use crate::cache::store::BodyHash;
use crate::coding::{Change, Coder, CodingError};
use crate::pipeline::reply::{ReplyError, Source};
use crate::telemetry::{Recoding, Telemetry};

/// How much is coded on a worker: what takes longer than some tenths of a millisecond is done on the blocking pool.
const INLINE: u64 = 4 << 10;

/// A body that is coded otherwise while it streams. What is ready when the source has nothing more for now is flushed, so that
/// no event waits for the next one.
pub(in crate::pipeline) struct Recoded {
    source: Source,
    state: State,
    /// What came from the source and is to go in.
    input: Bytes,
    /// What went in since something came out.
    held: u64,
    /// The source has ended, so.
    end: Option<Option<HeaderMap>>,
    hash: blake3::Hasher,
    telemetry: Arc<Telemetry>,
    change: Change,
    /// What comes is to go on at once.
    flushes: bool,
    /// What has been counted of it.
    told: (u64, u64),
}

enum State {
    Idle(Box<Coder>),
    Busy(JoinHandle<Done>),
    /// All has come out but the trailers.
    Ended,
    Failed,
}

/// A piece of work, done.
struct Done {
    coder: Box<Coder>,
    input: Bytes,
    out: Result<Bytes, CodingError>,
    work: Work,
}

/// A piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Push,
    Flush,
    Finish,
}

impl Recoded {
    /// `flushes`: its source may pause, and what came before the pause is waited for.
    pub(super) fn new(source: Source, change: Change, flushes: bool, telemetry: Arc<Telemetry>) -> Self {
        Self {
            source,
            state: State::Idle(Box::new(Coder::new(change))),
            input: Bytes::new(),
            held: 0,
            end: None,
            hash: blake3::Hasher::new(),
            telemetry,
            change,
            flushes,
            told: (0, 0),
        }
    }

    /// The hash of what has come from the source.
    pub(super) fn source_hash(&self) -> BodyHash {
        *self.hash.finalize().as_bytes()
    }

    /// Nothing more will come.
    pub(in crate::pipeline) const fn is_end(&self) -> bool {
        matches!((&self.state, &self.end), (State::Ended, Some(None)) | (State::Failed, _))
    }

    pub(in crate::pipeline) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        loop {
            let work = match &mut self.state {
                State::Failed => return Poll::Ready(None),
                State::Ended => {
                    let trailers = self.end.as_mut().and_then(Option::take);
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                State::Busy(task) => {
                    let done = ready!(Pin::new(task).poll(cx));
                    match self.returned(done) {
                        Ok(out) if out.is_empty() => continue,
                        next => return Poll::Ready(Some(next.map(Frame::data))),
                    }
                }
                State::Idle(coder) if !self.input.is_empty() || coder.has_more() => Work::Push,
                State::Idle(_) if self.end.is_some() => Work::Finish,
                State::Idle(coder) => match self.source.poll_frame(cx) {
                    Poll::Ready(next) => {
                        if let Err(error) = self.take(next) {
                            self.state = State::Failed;
                            return Poll::Ready(Some(Err(error)));
                        }
                        continue;
                    }
                    Poll::Pending if coder.is_unflushed() && self.flushes => Work::Flush,
                    Poll::Pending => return Poll::Pending,
                },
            };
            if let Some(next) = self.begin(work) {
                match next {
                    Ok(out) if out.is_empty() => {}
                    next => return Poll::Ready(Some(next.map(Frame::data))),
                }
            }
        }
    }

    fn take(&mut self, next: Option<Result<Frame<Bytes>, ReplyError>>) -> Result<(), ReplyError> {
        match next {
            None => self.end = Some(None),
            Some(frame) => match frame?.into_data() {
                Ok(data) => {
                    self.hash.update(&data);
                    self.held += data.len() as u64;
                    self.input = data;
                }
                Err(frame) => {
                    let mut trailers = frame.into_trailers().unwrap_or_default();
                    head::forget_bytes(&mut trailers);
                    self.end = Some(Some(trailers).filter(|trailers| !trailers.is_empty()));
                }
            },
        }
        Ok(())
    }

    /// Does a piece of work here, or has it done.
    fn begin(&mut self, work: Work) -> Option<Result<Bytes, ReplyError>> {
        let State::Idle(coder) = std::mem::replace(&mut self.state, State::Failed) else { return None };
        let input = std::mem::take(&mut self.input);
        if self.held <= INLINE {
            return Some(self.received(Done::of(coder, input, work)));
        }
        let done = move || Done::of(coder, input, work);
        self.state = State::Busy(tokio::task::spawn_blocking(done));
        None
    }

    fn returned(&mut self, done: Result<Done, tokio::task::JoinError>) -> Result<Bytes, ReplyError> {
        self.state = State::Failed;
        match done {
            Ok(done) => self.received(done),
            Err(_) => Err(ReplyError::Coding(CodingError::Incomplete)),
        }
    }

    fn received(&mut self, Done { coder, input, out, work }: Done) -> Result<Bytes, ReplyError> {
        self.tell(&coder);
        let out = out.map_err(ReplyError::Coding)?;
        self.input = input;
        if !out.is_empty() || work != Work::Push {
            self.held = self.input.len() as u64;
        }
        self.state = if work == Work::Finish { State::Ended } else { State::Idle(coder) };
        Ok(out)
    }

    /// Counts what went through since it was counted last.
    fn tell(&mut self, coder: &Coder) {
        let (taken, given) = coder.counts();
        let (coding, way) = match self.change {
            Change::Encode(coding, _) => (coding, Recoding::Encode),
            Change::Decode(coding, _) => (coding, Recoding::Decode),
        };
        self.telemetry.recoded(coding, way, self.told == (0, 0), taken - self.told.0, given - self.told.1);
        self.told = (taken, given);
    }
}

impl Done {
    fn of(mut coder: Box<Coder>, mut input: Bytes, work: Work) -> Self {
        let out = match work {
            Work::Push => coder.push(&mut input),
            Work::Flush => coder.flush(),
            Work::Finish => coder.finish(),
        };
        Self { coder, input, out, work }
    }
}
