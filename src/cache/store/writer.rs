//! The one thread that opens, writes, purges, makes room and closes.
//!
//! Background work goes in slices of 64 entries or a millisecond. Operations come between any two, and after each it
//! rests for as long as the traffic asks ([`pace`]); only the room that writes need is made at once. What it cannot
//! write it drops: a cached reply is only worth a place in the queue.

mod examining;
mod lifecycle;
mod pace;
mod purging;
#[cfg(test)]
mod tests;
mod upkeep;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::EntryId;
use super::disk::directory::Directory;
use super::engine::StoreError;
use super::files::Pin;
use super::queue::{Op, Write};
use super::report::{Closed, State};
use super::shared::{Shared, Tier, Traffic};
use crate::cache::entry::{BodyRef, Entry, EntryHead};
use crate::cache::purge::Subject;
use crate::cache::purge::rules::Verdict;
use pace::{Pace, Work};
use purging::Batch;
use upkeep::Upkeep;

/// Entries that background work takes between two writes.
const SLICE: usize = 64;
/// How long it takes between two writes, where one entry does not take longer.
const SLICE_TIME: Duration = Duration::from_millis(1);
/// A closed tier is tried again after this long.
const RETRY: Duration = Duration::from_secs(5);
/// A directory that another process holds is tried again after this long.
const RETRY_LOCKED: Duration = Duration::from_secs(1);
/// How often free space is looked at, at most while writes come, at least while there is too little.
const SPACE_EVERY: Duration = Duration::from_secs(1);
/// Damage met while running beyond which the database is set aside.
const MAX_DAMAGE: u64 = 32;

/// The writer thread's own state.
pub(super) struct Writer {
    shared: Arc<Shared>,
    ops: Receiver<Op>,
    /// Held once claimed, until the cache closes.
    directory: Option<Arc<Directory>>,
    batch: Option<Batch>,
    upkeep: Upkeep,
    pace: Pace,
    /// Purges and upkeep take turns.
    upkeep_is_next: bool,
    space_checked: Option<Instant>,
    damage: u64,
    swept_memory: Option<(Instant, Duration)>,
}

/// Why the writer stopped serving an open tier.
enum Leave {
    /// The cache is gone.
    End,
    /// Asked to close.
    Close(tokio::sync::oneshot::Sender<()>),
    /// The system refuses.
    Io(String),
    /// The database is too damaged to go on with.
    Damaged(String),
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, ops: Receiver<Op>) -> Self {
        Self {
            shared,
            ops,
            directory: None,
            batch: None,
            upkeep: Upkeep::default(),
            pace: Pace::default(),
            upkeep_is_next: false,
            space_checked: None,
            damage: 0,
            swept_memory: None,
        }
    }

    /// Starts the thread.
    pub(super) fn start(mut self) -> std::io::Result<()> {
        std::thread::Builder::new().name("store".to_owned()).spawn(move || self.run()).map(drop)
    }

    fn run(&mut self) {
        let mut wait = None;
        loop {
            if let Some(pause) = wait.take() {
                match self.stand_by(pause) {
                    StandBy::TryAgain => {}
                    StandBy::End => return,
                }
            }
            wait = Some(match self.open() {
                Ok(tier) => match self.serve(&tier) {
                    Leave::End => {
                        self.let_go(tier, true);
                        return;
                    }
                    Leave::Close(done) => {
                        self.let_go(tier, true);
                        self.stopped(done);
                        None
                    }
                    Leave::Io(why) => {
                        self.shared
                            .tell("disk-failed", format!("closed after an error, and tried again: {why}"));
                        self.shared.set_state(State::Closed(Closed::Io(why)));
                        self.let_go(tier, false);
                        Some(RETRY)
                    }
                    Leave::Damaged(why) => {
                        self.shared.set_state(State::Opening);
                        self.let_go(tier, false);
                        self.quarantine(&why);
                        Some(Duration::ZERO)
                    }
                },
                Err(pause) => pause,
            });
        }
    }

    /// Without a disk tier: only purge rules in RAM and the end matter. Returns after `pause`, if there is one.
    fn stand_by(&mut self, pause: Option<Duration>) -> StandBy {
        let until = pause.map(|pause| Instant::now() + pause);
        loop {
            let op = match until {
                None => self.ops.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(until) => self.ops.recv_timeout(until.saturating_duration_since(Instant::now())),
            };
            match op {
                Ok(Op::Write(write, weight)) => self.shared.waiting.leave(write.id().digest, weight),
                Ok(Op::Wake) => {
                    self.shared.woken.store(false, Release);
                    self.purge_memory();
                }
                // Without a disk tier there is nothing to look at: whoever asked hears that nobody answers.
                Ok(Op::Unwritten | Op::Examine(_) | Op::Forget { .. }) => {}
                Ok(Op::Failed) => self.clear_failures(),
                Ok(Op::Open) => return StandBy::TryAgain,
                Ok(Op::Close(done)) => {
                    self.stopped(done);
                    return self.stand_by(None);
                }
                Err(RecvTimeoutError::Timeout) => return StandBy::TryAgain,
                Err(RecvTimeoutError::Disconnected) => return StandBy::End,
            }
        }
    }

    fn serve(&mut self, tier: &Tier) -> Leave {
        // Rules that came from the journal, or while the tier was closed.
        self.begin_batch();
        self.upkeep.due = true;
        loop {
            let op = match self.next() {
                Ok(op) => Some(op),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Leave::End,
            };
            let did = match op {
                Some(Op::Close(done)) => return Leave::Close(done),
                Some(op) => self.perform(tier, op),
                None => Ok(()),
            };
            let did = did.and_then(|()| self.background(tier));
            if let Err(leave) = did.or_else(|error| self.judge(error)) {
                return leave;
            }
            self.check_space();
        }
    }

    /// The next operation, unless something else is to be done before one comes.
    fn next(&self) -> Result<Op, RecvTimeoutError> {
        let until = if self.upkeep.is_pressing() {
            Some(Duration::ZERO)
        } else if self.has_background_work() {
            Some(self.pace.left(Instant::now()))
        } else if *self.shared.state.borrow() == State::Full {
            Some(SPACE_EVERY)
        } else {
            None
        };
        match until {
            Some(until) => self.ops.recv_timeout(until),
            None => self.ops.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn perform(&mut self, tier: &Tier, op: Op) -> Result<(), StoreError> {
        match op {
            Op::Write(write, weight) => {
                let digest = write.id().digest;
                let written = self.write(tier, write);
                self.shared.waiting.leave(digest, weight);
                written
            }
            Op::Wake => {
                self.shared.woken.store(false, Release);
                self.begin_batch();
                self.upkeep.due = true;
                Ok(())
            }
            Op::Failed => {
                let failures = &self.shared.read_failures;
                self.damage += failures.corrupt.swap(0, Relaxed);
                match failures.io.swap(0, Relaxed) {
                    0 => Ok(()),
                    _ => Err(StoreError::Io(std::io::Error::other("reads of the index fail"))),
                }
            }
            Op::Unwritten => {
                // Looked at after this operation, however short ago it was.
                self.space_checked = None;
                Ok(())
            }
            Op::Examine(examine) => self.examine(tier, &examine),
            Op::Forget { dry_run, reply } => {
                let _ = reply.send(self.forget_retired(dry_run));
                Ok(())
            }
            Op::Open | Op::Close(_) => Ok(()),
        }
    }

    fn write(&mut self, tier: &Tier, write: Write) -> Result<(), StoreError> {
        match write {
            Write::Put { id, entry, file } => self.put(tier, id, &entry, file),
            Write::Freshen { id, entry, old } => self.freshen(tier, id, &entry, &old),
            Write::Remove { id, body } => {
                if let Some(hash) = body {
                    let stands = standing(tier, id)?;
                    let same =
                        |entry: &Entry| matches!(&entry.body, BodyRef::File(file) if file.hash == hash);
                    if !stands.as_ref().is_some_and(same) {
                        return Ok(());
                    }
                }
                tier.store.remove(id).map(drop)
            }
        }
    }

    fn put(&mut self, tier: &Tier, id: EntryId, entry: &Entry, file: Option<Pin>) -> Result<(), StoreError> {
        let verdict = self.shared.rules.read().test_new(&Subject::of(id.digest, entry), entry.sequence);
        let soft = verdict == Verdict::Soft;
        if verdict == Verdict::Gone || !self.shared.storing.load(Relaxed) {
            // What stood there before is older still, and must not come back in its place.
            return tier.store.remove(id).map(drop);
        }
        let written = match &file {
            None if soft == entry.soft_purged => tier.store.put(id, entry),
            None => tier.store.put(id, &Entry { soft_purged: true, ..entry.clone() }),
            Some(pin) => {
                let body = BodyRef::File(pin.body.clone());
                let soft_purged = soft || entry.soft_purged;
                tier.store.put(id, &Entry { body, soft_purged, ..entry.clone() })
            }
        };
        match written {
            Ok(()) => {
                file.into_iter().for_each(Pin::named);
                self.upkeep.wrote();
                Ok(())
            }
            // Not even its old version is right any more.
            Err(StoreError::TooLarge) => tier.store.remove(id).map(drop),
            Err(error) => Err(error),
        }
    }

    fn freshen(
        &mut self,
        tier: &Tier,
        id: EntryId,
        entry: &Entry,
        old: &EntryHead,
    ) -> Result<(), StoreError> {
        let Some(stands) = standing(tier, id)? else { return Ok(()) };
        // Another response's body under this head would be a lie: its own write was dropped.
        if stands.head != *old || stands.body.len() != entry.body.len() {
            return tier.store.remove(id).map(drop);
        }
        let verdict = self.shared.rules.read().test(&Subject::of(id.digest, entry), entry.sequence);
        if verdict == Verdict::Gone {
            return tier.store.remove(id).map(drop);
        }
        let soft_purged = entry.soft_purged || verdict == Verdict::Soft;
        match tier.store.put(id, &Entry { body: stands.body, soft_purged, ..entry.clone() }) {
            Err(StoreError::TooLarge) => tier.store.remove(id).map(drop),
            other => other,
        }
    }

    fn has_background_work(&self) -> bool {
        self.batch.is_some() || self.upkeep.has_work()
    }

    /// What cannot wait, and one slice of what can, unless it is to rest.
    fn background(&mut self, tier: &Tier) -> Result<(), StoreError> {
        for hash in tier.files.take_loose() {
            tier.store.release(&hash)?;
        }
        self.make_room_at_once(tier)?;
        let began = Instant::now();
        if !self.has_background_work() || !self.pace.left(began).is_zero() {
            return Ok(());
        }
        let did = self.slice(tier);
        let now = Instant::now();
        self.pace.worked(now - began, now, self.traffic(), self.shared.rules.backlog());
        did
    }

    fn slice(&mut self, tier: &Tier) -> Result<(), StoreError> {
        let upkeep = self.upkeep.has_work() && (self.upkeep_is_next || self.batch.is_none());
        self.upkeep_is_next = !upkeep;
        if upkeep { self.upkeep_slice(tier) } else { self.purge_slice(tier) }
    }

    fn traffic(&self) -> Work {
        let (busy, workers) = self
            .shared
            .traffic
            .get()
            .map_or((Duration::ZERO, 0), |Traffic { workers, busy }| (busy(), *workers));
        Work { busy, workers }
    }

    /// What an error of the store means for going on.
    fn judge(&mut self, error: StoreError) -> Result<(), Leave> {
        match error {
            StoreError::TooLarge => Ok(()),
            StoreError::Io(error) => Err(Leave::Io(error.to_string())),
            StoreError::Corrupt(why) => {
                self.damage += 1;
                tracing::warn!(why, "store: damage in the index");
                self.shared.counters.corrupt_before.fetch_add(1, Relaxed);
                if self.damage > MAX_DAMAGE { Err(Leave::Damaged(why)) } else { Ok(()) }
            }
        }
    }

    fn clear_failures(&self) {
        self.shared.read_failures.io.store(0, Relaxed);
        self.shared.read_failures.corrupt.store(0, Relaxed);
    }

    fn index(&self) -> Option<PathBuf> {
        self.shared.store_dir().map(|dir| dir.join("index"))
    }
}

enum StandBy {
    TryAgain,
    End,
}

fn standing(tier: &Tier, id: EntryId) -> Result<Option<Entry>, StoreError> {
    let all = tier.store.get(id.digest)?;
    Ok(all.into_iter().find(|entry| EntryId::of(id.digest, entry) == id))
}
