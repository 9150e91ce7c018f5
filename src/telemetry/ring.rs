//! The last finished exchanges, in memory: what `logs` reads and follows.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::broadcast;

use super::account::Account;
use super::batch::{Batch, clipped, weight};
use super::event::Finished;
use super::filter::Filter;
use crate::clock::Timestamp;

/// Bytes that the ring holds at most, whatever its number.
const MAX_WEIGHT: usize = 64 << 20;
/// Fewer that come together are put with others.
const FEW: usize = 64;
/// So many.
const TOGETHER: usize = 512;

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
    fn takes(&self, account: &Account<'_>) -> bool {
        self.since.is_none_or(|since| account.at >= since)
            && self.until.is_none_or(|until| account.at <= until)
            && self.filter.as_ref().is_none_or(|filter| filter.matches(account))
    }
}

/// The last finished exchanges, as far as there is room for them.
#[derive(Debug, Default)]
pub(super) struct Ring {
    stretches: VecDeque<Stretch>,
    count: usize,
    weight: usize,
    limit: usize,
}

/// Some of them.
#[derive(Clone, Debug)]
struct Stretch {
    batch: Arc<Batch>,
    /// Those before are forgotten.
    from: usize,
    /// The place of the seat that it came from; `None`: it was put together here.
    place: Option<u32>,
}

/// The ring as it was.
#[derive(Debug)]
pub(super) struct Remembered(Vec<Stretch>);

impl Ring {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.trim(|_, _| {});
    }

    /// Keeps what came from a seat; `spent` gets what can be used anew, and for which seat. A batch of many is kept as it is: to look
    /// at its events would have them come from the core that wrote them, and go back.
    pub(super) fn keep(&mut self, mut batch: Batch, place: u32, mut spent: impl FnMut(u32, Batch)) {
        if self.limit > 0 && batch.len() >= FEW && !batch.is_long() && !batch.is_sparse() {
            self.count += batch.len();
            self.weight += batch.weight();
            self.stretches.push_back(Stretch { batch: Arc::new(batch), from: 0, place: Some(place) });
        } else {
            if self.limit > 0 {
                batch.from(0).for_each(|account| clipped(&account, |account| self.add(account)));
            }
            // What had memory for many, and has it for few, leaves it to others.
            if !batch.is_sparse() {
                batch.clear();
                spent(place, batch);
            }
        }
        self.trim(spent);
    }

    /// Keeps one of few.
    fn add(&mut self, account: &Account<'_>) {
        let last = self.stretches.back_mut().filter(|last| last.place.is_none());
        // Somebody may be reading it.
        let open = last.and_then(|last| Arc::get_mut(&mut last.batch)).filter(|batch| batch.len() < TOGETHER);
        match open {
            Some(batch) => batch.push(account),
            None => {
                let mut batch = Batch::default();
                batch.push(account);
                self.stretches.push_back(Stretch { batch: Arc::new(batch), from: 0, place: None });
            }
        }
        self.count += 1;
        self.weight += weight(account);
    }

    /// Forgets the oldest of what is too much.
    fn trim(&mut self, mut spent: impl FnMut(u32, Batch)) {
        while self.count > self.limit || self.weight > MAX_WEIGHT {
            let Some(first) = self.stretches.front_mut() else { return };
            let left = first.batch.len() - first.from;
            let surplus = self.count.saturating_sub(self.limit);
            if surplus < left && self.weight <= MAX_WEIGHT {
                // It weighs what it did until all of it is forgotten.
                first.from += surplus;
                self.count -= surplus;
                return;
            }
            let Some(Stretch { batch, place, .. }) = self.stretches.pop_front() else { return };
            self.count -= left;
            self.weight -= batch.weight();
            if let (Some(place), Some(mut batch)) = (place, Arc::into_inner(batch)) {
                batch.clear();
                spent(place, batch);
            }
        }
    }

    /// All of it.
    pub(super) fn remembered(&self) -> Remembered {
        Remembered(self.stretches.iter().cloned().collect())
    }
}

impl Remembered {
    /// What is looked for, oldest first.
    pub(super) fn find(&self, query: &Query) -> Vec<Arc<Finished>> {
        let all = self.0.iter().flat_map(|stretch| stretch.batch.from(stretch.from));
        let mut found: Vec<_> = all.filter(|account| query.takes(account)).collect();
        // Threads are drained one after the other.
        found.sort_by_key(|account| account.at);
        let surplus = query.limit.map_or(0, |limit| found.len().saturating_sub(limit));
        found[surplus..].iter().map(|account| Arc::new(account.to_finished())).collect()
    }

    /// The newest with this id.
    pub(super) fn by_id(&self, id: &str) -> Option<Arc<Finished>> {
        let mut all = self.0.iter().rev().flat_map(|stretch| stretch.batch.from(stretch.from).rev());
        all.find(|account| account.id.is(id)).map(|account| Arc::new(account.to_finished()))
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
