//! Claiming the directory, opening the tier, letting it go.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::time::{Duration, Instant};

use super::upkeep::Salvage;
use super::{RETRY, RETRY_LOCKED, SPACE_EVERY, Writer};
use crate::cache::purge::Criterion;
use crate::cache::purge::journal::{Contents, Journal};
use crate::cache::store::disk::directory::{ClaimError, Directory, free_space};
use crate::cache::store::disk::open::{self, LadderError};
use crate::cache::store::disk::trees::{Trees, guarded};
use crate::cache::store::engine::StoreError;
use crate::cache::store::files::Files;
use crate::cache::store::report::{Closed, Quarantine, State};
use crate::cache::store::shared::Tier;
use crate::clock::Clock;

/// How long a close waits for readers of the tier.
const LET_GO: Duration = Duration::from_secs(5);

impl Writer {
    /// Where sequences begin: later than any that an earlier process can have given out, even where its journal
    /// is lost, unless the clock went back.
    pub(in crate::cache::store) fn sequence_base(clock: &Clock) -> u64 {
        clock.now().millis() << 10
    }

    /// Takes over a claimed directory with its journal.
    pub(in crate::cache::store) fn adopt(&mut self, directory: Directory) -> io::Result<()> {
        let path = directory.path.join("purges");
        let contents = Journal::read(&path)?;
        let rules = &self.shared.rules;
        let late = !matches!(*self.shared.state.borrow(), State::Opening);
        let given = rules.active_len() > 0;
        rules.restore(contents.active, contents.retired, contents.forgotten, contents.latest + 1);
        if given {
            // Given while another process held the directory: they take what it stored, too.
            rules.renew(contents.latest);
        }
        let journal = Arc::new(Journal::create(&path, &self.journal_contents())?);
        self.shared.journal.store(Some(journal.clone()));
        if late {
            // Once more, with what was given between the two.
            journal.compact(|| self.journal_contents())?;
        }
        self.directory = Some(Arc::new(directory));
        if contents.damaged {
            self.shared.tell(
                "journal-damaged",
                "the journal of purges was damaged: all that was stored before is purged".to_owned(),
            );
            rules.add(Criterion::All, false, |rule| journal.append(rule));
            journal.commit_blocking()?;
        }
        Ok(())
    }

    pub(super) fn journal_contents(&self) -> Contents {
        let (active, retired, forgotten) = self.shared.rules.all();
        Contents { active, retired, forgotten, latest: self.shared.rules.latest(), damaged: false }.bounded()
    }

    /// Tells why the directory is not ours, and when to try again.
    pub(in crate::cache::store) fn refused(&self, refused: ClaimError) -> Option<Duration> {
        let pause = match &refused {
            ClaimError::Locked(pid) => {
                let who = pid.map_or("another process".to_owned(), |pid| format!("process {pid}"));
                self.shared.tell("locked", format!("the directory is in use by {who}; serving without it"));
                Some(RETRY_LOCKED)
            }
            ClaimError::Newer(version) => {
                let message = match version {
                    &u32::MAX => "the directory's format is unknown; left untouched".to_owned(),
                    version => format!("the directory has the newer format {version}; left untouched"),
                };
                self.shared.tell("newer-format", message);
                None
            }
            ClaimError::Io(error) => {
                self.shared.tell("directory", format!("the directory cannot be used: {error}"));
                Some(RETRY)
            }
        };
        self.shared.set_state(State::refused(&refused));
        pause
    }

    /// Opens the disk tier; otherwise says when to try again, if ever.
    pub(super) fn open(&mut self) -> Result<Arc<Tier>, Option<Duration>> {
        let Some(root) = self.shared.dir.clone() else { return Err(None) };
        if self.directory.is_none() {
            let claimed = Directory::claim(&root).map_err(|refused| self.refused(refused))?;
            self.adopt(claimed).map_err(|error| self.refused(ClaimError::Io(error)))?;
        }
        let Some(directory) = self.directory.clone() else { return Err(None) };
        if !matches!(*self.shared.state.borrow(), State::Opening) {
            self.shared.set_state(State::Opening);
        }
        let began = Instant::now();
        let tier = Arc::new(self.open_tier(&root, directory)?);
        self.damage = 0;
        self.clear_failures();
        self.space_checked = None;
        self.shared.disk.store(Some(tier.clone()));
        self.shared.epoch.fetch_add(1, AcqRel);
        let salvage = self.start_salvage(&root);
        self.shared.salvaging.store(salvage.is_some(), std::sync::atomic::Ordering::Release);
        self.upkeep.opened(salvage);
        self.shared.set_state(State::Open);
        self.check_space();
        tracing::info!(elapsed = ?began.elapsed(), entries = tier.store.usage().entries, "store open");
        Ok(tier)
    }

    fn open_tier(&mut self, root: &Path, directory: Arc<Directory>) -> Result<Tier, Option<Duration>> {
        for second in [false, true] {
            let mut told = Vec::new();
            let opened = open::open(root, self.shared.clock.now(), &mut told);
            for step in told {
                self.shared.tell(step.code, step.message);
            }
            let db = match opened {
                Ok(db) => db,
                Err(LadderError::Locked) => return Err(self.refused(ClaimError::Locked(None))),
                Err(LadderError::Io(error)) => return Err(self.closed(&error)),
            };
            let files = Files::open(root).map_err(|error| self.closed(&error))?;
            if let Err(error) = files.sweep_temporary(false) {
                tracing::warn!(%error, "store: cannot clean up temporary files");
            }
            match guarded(|| Trees::new(db, files.clone())) {
                Ok(trees) => return Ok(Tier { store: Box::new(trees), files, _directory: directory }),
                Err(StoreError::Io(error)) => return Err(self.closed(&error)),
                // It opens, but its trees do not: nothing of it can be used.
                Err(error) if !second => self.quarantine(&error.to_string()),
                Err(error) => return Err(self.closed(&io::Error::other(error.to_string()))),
            }
        }
        Err(Some(RETRY))
    }

    fn closed(&self, error: &io::Error) -> Option<Duration> {
        self.shared.tell("disk-failed", format!("the store cannot be opened, and is tried again: {error}"));
        self.shared.set_state(State::Closed(Closed::Io(error.to_string())));
        Some(RETRY)
    }

    /// Sets the database aside; it must have been let go of.
    pub(super) fn quarantine(&self, why: &str) {
        let Some((root, index)) = self.shared.store_dir().zip(self.index()) else { return };
        let mut told = Vec::new();
        if let Err(error) = open::set_aside(root, &index, self.shared.clock.now(), why, &mut told) {
            tracing::warn!(?error, "store: a damaged index could not be set aside");
        }
        for step in told {
            self.shared.tell(step.code, step.message);
        }
    }

    /// Closes the tier once its readers are through.
    pub(super) fn let_go(&mut self, tier: Arc<Tier>, in_order: bool) {
        self.shared.storing.store(false, std::sync::atomic::Ordering::Release);
        self.upkeep.closing();
        self.shared.salvaging.store(false, std::sync::atomic::Ordering::Release);
        self.batch = None;
        if in_order {
            if let Err(error) = tier.store.seal() {
                tracing::warn!(%error, "store: not closed in order");
            }
            if let Some(journal) = self.shared.journal.load_full()
                && let Err(error) = journal.commit_blocking()
            {
                tracing::warn!(%error, "store: the journal of purges is not complete");
            }
        }
        let usage = tier.store.usage();
        self.shared.counters.corrupt_before.fetch_add(usage.corrupt, Relaxed);
        self.shared.counters.orphans_before.fetch_add(usage.orphans, Relaxed);
        self.shared.disk.store(None);
        let until = Instant::now() + LET_GO;
        let mut tier = tier;
        // Whoever still reads drops the last handle instead, if this takes too long.
        while Instant::now() < until {
            match Arc::try_unwrap(tier) {
                Ok(tier) => {
                    drop(tier);
                    return;
                }
                Err(shared) => tier = shared,
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Closed on purpose: the directory is free for the next process.
    pub(super) fn stopped(&mut self, done: tokio::sync::oneshot::Sender<()>) {
        self.shared.journal.store(None);
        self.directory = None;
        if self.shared.dir.is_some() {
            self.shared.set_state(State::Closed(Closed::Stopped));
        }
        let _ = done.send(());
    }

    /// Stops storing below the floor of free space, and resumes above it.
    pub(super) fn check_space(&mut self) {
        if self.space_checked.is_some_and(|last| last.elapsed() < SPACE_EVERY) {
            return;
        }
        self.space_checked = Some(Instant::now());
        let Some(Ok(free)) = self.shared.store_dir().map(free_space) else { return };
        let floor = self.shared.settings.load().min_free;
        let now = self.shared.state.borrow().clone();
        match now {
            State::Open if free < floor => {
                let floor = floor.div_ceil(1 << 20);
                self.shared.tell(
                    "low-space",
                    format!("nothing is stored on disk while less than {floor} MiB (store.min_free) are free there"),
                );
                self.shared.set_state(State::Full);
            }
            State::Full if free >= floor => {
                self.shared.tell("space-again", "there is enough free space to store again".to_owned());
                self.shared.set_state(State::Open);
            }
            _ => {}
        }
    }

    /// Starts to copy from what stands aside.
    fn start_salvage(&self, root: &Path) -> Option<Salvage> {
        let found = open::quarantines(root);
        let mut known = self.shared.quarantines.lock();
        known.retain(|quarantine| found.contains(&quarantine.path));
        for path in &found {
            if !known.iter().any(|quarantine| quarantine.path == *path) {
                known.push(Quarantine { path: path.clone(), salvaged: 0 });
            }
        }
        drop(known);
        Salvage::start(found)
    }
}
