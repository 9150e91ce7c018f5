//! The last finished exchanges, in memory: what `logs` reads and follows.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::event::Finished;
use super::filter::Filter;
use crate::clock::Timestamp;

/// What is looked for in the ring.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Not before this.
    pub since: Option<Timestamp>,
    /// Not after this.
    pub until: Option<Timestamp>,
    /// Only what the filter matches.
    pub filter: Option<Filter>,
    /// At most so many, the newest; `None`: all.
    pub limit: Option<usize>,
}

impl Query {
    pub(super) fn takes(&self, event: &Finished) -> bool {
        self.since.is_none_or(|since| event.at >= since)
            && self.until.is_none_or(|until| event.at <= until)
            && self.filter.as_ref().is_none_or(|filter| filter.matches(event))
    }
}

/// What a follower is told.
#[derive(Clone, Debug)]
pub enum Followed {
    /// An exchange has finished.
    Exchange(Arc<Finished>),
    /// The follower was too slow and has missed so many.
    Missed(u64),
}

/// Hears of exchanges as they finish.
#[derive(Debug)]
pub struct Follower {
    receiver: broadcast::Receiver<Arc<Finished>>,
}

impl Follower {
    pub(super) fn new(receiver: broadcast::Receiver<Arc<Finished>>) -> Self {
        Self { receiver }
    }

    /// The next exchange; `None` when telemetry was closed. May be cancelled and called again.
    pub async fn next(&mut self) -> Option<Followed> {
        match self.receiver.recv().await {
            Ok(finished) => Some(Followed::Exchange(finished)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Followed::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
