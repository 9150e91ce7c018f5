//! Goes over everything that is stored while it is served and written: `verify` looks for damage, `gc` for what is
//! of no more use.
//!
//! The walk has a thread of its own, at low priority, and may be held to a rate. What it takes for wrong it hands,
//! a few at a time, to the writer thread, which alone can tell what is wrong from what is just changing, and which
//! puts it right where that is asked for.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Release};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use super::EntryId;
use super::disk::open;
use super::engine::{Fault, FaultKind, StoreError};
use super::queue::Op;
use super::shared::{Shared, Tier};
use super::tiered::Cache;
use crate::cache::entry::FileBody;
use crate::clock::Timestamp;

/// Entries or rows that are looked at in one go.
const PART: usize = 256;
/// Faults that the writer takes between two writes.
const AT_ONCE: usize = 64;
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// Events that may wait for a slow listener, who then holds up the walk.
const EVENTS: usize = 256;
/// How much less than others the walk gets of a busy processor.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// What a walk over the store is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inspection {
    /// Look at every record and body against its checksum, and at what finds them.
    Verify {
        /// Remove what is damaged, so that the origin is asked again, and put right what finds entries.
        repair: bool,
        /// Bytes a second that are read at most.
        rate: Option<u64>,
    },
    /// Remove what is of no more use.
    Gc {
        /// Only say what it would remove.
        dry_run: bool,
        /// Also delete databases that were set aside longer ago than this.
        quarantines: Option<Duration>,
    },
}

/// What a walk tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inspected {
    /// How far it is.
    Progress(Progress),
    /// Something wrong.
    Found(Found),
    /// It has come to its end.
    Done(Progress, Reclaimed),
    /// It cannot go on.
    Failed(String),
}

/// How far a walk is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Entries that were looked at.
    pub entries: u64,
    /// Entries that there were when it began.
    pub of: u64,
    /// Body files that were read.
    pub bodies: u64,
    /// Bytes that were read.
    pub bytes: u64,
}

/// Something wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What.
    pub kind: FaultKind,
    /// With which entry.
    pub id: Option<EntryId>,
    /// Its URL, where its record can be read.
    pub url: Option<String>,
    /// With which body.
    pub body: Option<[u8; 32]>,
    /// Whether it was put right.
    pub mended: bool,
}

/// What was removed, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// How many of each kind.
    pub faults: BTreeMap<FaultKind, u64>,
    /// Temporary files that a killed process left.
    pub temporary: u64,
    /// Purge rules whose removal was finished.
    pub rules: u64,
    /// Databases that were set aside.
    pub quarantines: u64,
    /// Bytes of all that.
    pub bytes: u64,
}

/// Faults for the writer thread to be sure of.
#[derive(Debug)]
pub(super) struct Examine {
    pub faults: Vec<Fault>,
    pub mend: bool,
    pub now: Timestamp,
    pub reply: Sender<Vec<(Found, u64)>>,
}

/// Why a walk ended before its end.
enum Ended {
    /// Nobody listens.
    Unheard,
    Failed(String),
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl Cache {
    /// Begins a walk over what is stored on disk; `None` while there is another. It ends when its events are no
    /// longer listened to.
    pub fn inspect(&self, how: Inspection) -> Option<tokio::sync::mpsc::Receiver<Inspected>> {
        if self.shared.inspecting.swap(true, AcqRel) {
            return None;
        }
        let only = Only(self.shared.clone());
        let (out, events) = tokio::sync::mpsc::channel(EVENTS);
        let mut walk = Walk::new(only, self.queue.clone(), out, how);
        let walking = move || {
            #[cfg(target_os = "linux")]
            let _ = rustix::process::nice(NICE);
            walk.run();
        };
        // Without a thread the events end at once.
        if let Err(error) = std::thread::Builder::new().name("store-inspect".to_owned()).spawn(walking) {
            tracing::warn!(%error, "store: no thread to look through it");
        }
        Some(events)
    }
}

/// Held by the only walk there is.
struct Only(Arc<Shared>);

impl Drop for Only {
    fn drop(&mut self) {
        self.0.inspecting.store(false, Release);
    }
}

struct Walk {
    shared: Arc<Shared>,
    only: Option<Only>,
    queue: Sender<Op>,
    out: tokio::sync::mpsc::Sender<Inspected>,
    how: Inspection,
    progress: Progress,
    reclaimed: Reclaimed,
    began: Instant,
    told: Instant,
}

impl Walk {
    fn new(
        only: Only,
        queue: Sender<Op>,
        out: tokio::sync::mpsc::Sender<Inspected>,
        how: Inspection,
    ) -> Self {
        let now = Instant::now();
        Self {
            shared: only.0.clone(),
            only: Some(only),
            queue,
            out,
            how,
            progress: Progress::default(),
            reclaimed: Reclaimed::default(),
            began: now,
            told: now,
        }
    }

    fn run(&mut self) {
        let ended = self.walk().and_then(|()| match self.how {
            Inspection::Verify { .. } => Ok(()),
            Inspection::Gc { dry_run, quarantines } => self.reclaim(dry_run, quarantines),
        });
        let last = match ended {
            Ok(()) => Inspected::Done(self.progress, std::mem::take(&mut self.reclaimed)),
            Err(Ended::Failed(why)) => Inspected::Failed(why),
            Err(Ended::Unheard) => return,
        };
        // Whoever hears of the end may begin another.
        self.only = None;
        let _ = self.out.blocking_send(last);
    }

    fn walk(&mut self) -> Result<(), Ended> {
        self.progress.of = self.tier()?.store.usage().entries;
        let mut after: Option<Vec<u8>> = None;
        loop {
            let now = self.shared.clock.now();
            // Let go of between two parts: closing waits for whoever holds it.
            let tier = self.tier()?;
            let mut part = tier.store.inspect(now, after.as_deref(), PART)?;
            self.progress.entries += part.entries;
            self.read(part.bytes)?;
            let verify = matches!(self.how, Inspection::Verify { .. });
            part.faults.retain(|fault| fault.kind.is_for(verify));
            if verify {
                for (id, body) in part.bodies {
                    part.faults.extend(self.verify_body(&tier, id, &body)?);
                }
            }
            drop(tier);
            for faults in part.faults.chunks(AT_ONCE) {
                self.examine(faults, now)?;
            }
            match part.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    fn verify_body(
        &mut self,
        tier: &Arc<Tier>,
        id: EntryId,
        body: &FileBody,
    ) -> Result<Option<Fault>, Ended> {
        let mut stopped = None;
        let read = tier.files.verify(body, |bytes| match self.read(bytes) {
            Ok(()) => self.tier().is_ok(),
            Err(ended) => {
                stopped = Some(ended);
                false
            }
        });
        if let Some(ended) = stopped {
            return Err(ended);
        }
        self.progress.bodies += 1;
        let kind = match read {
            Ok(()) => return Ok(None),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound => FaultKind::BodyMissing,
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => FaultKind::BodyDamaged,
                _ => return Err(Ended::Failed(format!("a body cannot be read: {error}"))),
            },
        };
        // An engine of its own needs no place for what it is asked by name.
        Ok(Some(Fault { kind, id: Some(id), body: Some(body.hash), place: vec![0] }))
    }

    /// Lets the writer thread be sure of them, and put them right.
    fn examine(&mut self, faults: &[Fault], now: Timestamp) -> Result<(), Ended> {
        let (reply, examined) = std::sync::mpsc::channel();
        let mend = match self.how {
            Inspection::Verify { repair, .. } => repair,
            Inspection::Gc { dry_run, .. } => !dry_run,
        };
        let examine = Examine { faults: faults.to_vec(), mend, now, reply };
        let _ = self.queue.send(Op::Examine(Box::new(examine)));
        let examined = examined.recv().map_err(|_| closed())?;
        for (found, freed) in examined {
            *self.reclaimed.faults.entry(found.kind).or_default() += 1;
            self.reclaimed.bytes += freed;
            if matches!(self.how, Inspection::Verify { .. }) {
                self.tell(Inspected::Found(found))?;
            }
        }
        Ok(())
    }

    /// What is of no more use beside entries and rows.
    fn reclaim(&mut self, dry_run: bool, quarantines: Option<Duration>) -> Result<(), Ended> {
        let (count, bytes) = self
            .tier()?
            .files
            .sweep_temporary(dry_run)
            .map_err(|error| Ended::Failed(format!("temporary files cannot be read: {error}")))?;
        self.reclaimed.temporary = count;
        self.reclaimed.bytes += bytes;
        let (reply, forgotten) = std::sync::mpsc::channel();
        let _ = self.queue.send(Op::Forget { dry_run, reply });
        self.reclaimed.rules = forgotten.recv().map_err(|_| closed())?;
        if let Some(age) = quarantines {
            self.remove_quarantines(age, dry_run);
        }
        Ok(())
    }

    /// Deletes databases set aside longer ago than `age`, but none that is being copied from.
    fn remove_quarantines(&mut self, age: Duration, dry_run: bool) {
        let Some(root) = self.shared.store_dir().map(std::path::Path::to_owned) else { return };
        let before = self.shared.clock.now().minus(age);
        for path in open::quarantines(&root) {
            let old = open::set_aside_at(&path).is_some_and(|at| at <= before);
            if !old || self.shared.salvaging.load(std::sync::atomic::Ordering::Acquire) {
                continue;
            }
            let bytes = directory_bytes(&path);
            if dry_run || std::fs::remove_dir_all(&path).is_ok() {
                self.reclaimed.quarantines += 1;
                self.reclaimed.bytes += bytes;
                if !dry_run {
                    self.shared.quarantines.lock().retain(|quarantine| quarantine.path != path);
                }
            }
        }
    }

    /// Counts what was read, keeps to the rate, and tells how far it is.
    fn read(&mut self, bytes: u64) -> Result<(), Ended> {
        self.progress.bytes += bytes;
        if let Inspection::Verify { rate: Some(rate), .. } = self.how {
            let due = Duration::from_secs_f64(self.progress.bytes as f64 / rate.max(1) as f64);
            // In short sleeps: whoever stops listening need not be waited for.
            while let Some(early) = due.checked_sub(self.began.elapsed()).filter(|early| !early.is_zero()) {
                std::thread::sleep(early.min(TELL_EVERY));
                if self.out.is_closed() {
                    return Err(Ended::Unheard);
                }
                if self.told.elapsed() >= TELL_EVERY {
                    self.told = Instant::now();
                    self.tell(Inspected::Progress(self.progress))?;
                }
            }
        }
        if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            self.tell(Inspected::Progress(self.progress))?;
        }
        Ok(())
    }

    fn tell(&self, event: Inspected) -> Result<(), Ended> {
        self.out.blocking_send(event).map_err(|_| Ended::Unheard)
    }

    fn tier(&self) -> Result<Arc<Tier>, Ended> {
        self.shared.disk.load_full().ok_or_else(closed)
    }
}

impl FaultKind {
    /// Whether verifying looks for it; what is merely of no more use is gc's, a row or file without an entry both's.
    const fn is_for(self, verify: bool) -> bool {
        match self {
            Self::Expired => !verify,
            Self::StrayRow | Self::StrayChunk | Self::StrayBody => true,
            _ => verify,
        }
    }
}

fn closed() -> Ended {
    Ended::Failed("the disk tier is not open".to_owned())
}

/// Bytes of the files in a directory and below.
fn directory_bytes(path: &std::path::Path) -> u64 {
    let Ok(files) = std::fs::read_dir(path) else { return 0 };
    files
        .filter_map(Result::ok)
        .map(|file| match file.metadata() {
            Ok(meta) if meta.is_dir() => directory_bytes(&file.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}
