//! Purges for the process that takes over (an upgrade of the binary): from the moment this one's journal is closed, each
//! rule is told to it, in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::criterion::Criterion;
use super::journal;
use super::rules::Rule;

/// Rules that may wait to be told; with more, one that takes everything stands for those that found no place.
const WAITING: usize = 65_536;

/// A rule on its way, as the journal writes it.
#[derive(Debug)]
pub struct Told {
    /// The rule.
    pub rule: Vec<u8>,
    /// Sent when the other process has it in its journal; dropped when that will not be known.
    pub done: Option<oneshot::Sender<()>>,
}

/// Where rules are told.
#[derive(Debug)]
pub(crate) struct Heir {
    queue: mpsc::Sender<Told>,
    /// A rule found no place.
    missed: AtomicBool,
}

impl Heir {
    /// An heir, and what it is told.
    pub(crate) fn new() -> (Arc<Self>, mpsc::Receiver<Told>) {
        let (queue, told) = mpsc::channel(WAITING);
        (Arc::new(Self { queue, missed: AtomicBool::new(false) }), told)
    }

    /// Tells a rule; the receiver hears when it is in the other's journal.
    pub(crate) fn tell(&self, rule: &Rule) -> oneshot::Receiver<()> {
        let (done, confirmed) = oneshot::channel();
        let stands_for_all = self.missed.swap(false, Ordering::Relaxed);
        let all = Rule { criterion: Criterion::All, soft: false, sequence: rule.sequence };
        let told = journal::encode_rule(if stands_for_all { &all } else { rule });
        if self.queue.try_send(Told { rule: told, done: Some(done) }).is_err() {
            self.missed.store(true, Ordering::Relaxed);
        }
        confirmed
    }
}

/// What the other process told: criterion, and whether it only marks stale.
pub(crate) fn understand(rule: &[u8]) -> Option<(Criterion, bool)> {
    journal::decode_rule(rule).map(|rule| (rule.criterion, rule.soft))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_without_a_place_is_made_up_for_by_one_that_takes_everything() {
        let (heir, mut told) = Heir::new();
        let rule = Rule { sequence: 1, soft: true, criterion: Criterion::Tag("red".into()) };
        let waiting: Vec<_> = (0..WAITING).map(|_| heir.tell(&rule)).collect();
        let mut lost = heir.tell(&rule);
        assert!(lost.try_recv().is_err());
        let first = told.try_recv().unwrap();
        assert_eq!(understand(&first.rule), Some((Criterion::Tag("red".into()), true)));
        drop(heir.tell(&rule));
        while let Ok(last) = told.try_recv() {
            if told.is_empty() {
                assert_eq!(understand(&last.rule), Some((Criterion::All, false)));
            }
        }
        drop(waiting);
        assert_eq!(understand(b"nonsense"), None);
    }
}
