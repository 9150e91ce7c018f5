//! The access log: a thread of its own formats and writes, so that a slow disk slows nothing else.
//!
//! Its queue is bounded in lines and bytes; what finds it full is dropped and counted, and so is what the disk
//! would not take. Nothing is written about that for each line: the first failure is reported, and its end.

mod file;
mod format;

#[cfg(test)]
pub(super) use format::line;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tracing::{info, warn};

use super::account::Account;
use super::batch::{Batch, weight};
use super::error::TelemetryError;
use super::settings::{AccessLog, LogFormat, LogTarget};
use crate::clock::{Clock, Timestamp};
use file::{Limits, LogFile};

/// Lines that may wait.
const MAX_LINES: usize = 65_536;
/// Bytes of events that may wait.
const MAX_BYTES: usize = 32 << 20;
/// Text is written in pieces of about this size.
const CHUNK: usize = 64 << 10;
/// How long closing waits for a disk that does not answer.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// What became of lines; outlives any one writer.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) written: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) failed: AtomicU64,
}

/// Where lines go and how they look; opened by whoever asks for it, so that errors reach them.
#[derive(Debug)]
pub(super) struct Output {
    format: LogFormat,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    Stderr,
    File(LogFile),
}

impl Output {
    /// Opens what the settings name.
    pub(super) fn open(settings: &AccessLog, clock: &Clock) -> Result<Self, TelemetryError> {
        let sink = match &settings.target {
            LogTarget::Stderr => Sink::Stderr,
            LogTarget::File { path, max_size, max_age, keep } => {
                let limits = Limits { max_size: *max_size, max_age: *max_age, keep: *keep };
                Sink::File(LogFile::open(path, limits, clock.now())?)
            }
        };
        Ok(Self { format: settings.format, sink })
    }
}

/// The handle of a writing thread.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Mutex<Queue>,
    filled: Condvar,
    ended: Condvar,
    /// Nobody waits any more: what is left is dropped, and counted.
    abandoned: AtomicBool,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Queue {
    items: Vec<Item>,
    lines: usize,
    bytes: usize,
    /// An empty one.
    spare: Batch,
    closing: bool,
    ended: bool,
}

#[derive(Debug)]
enum Item {
    Lines(Batch),
    Output(Box<Output>),
}

impl Writer {
    /// Starts a thread that writes to `output`.
    pub(super) fn start(
        output: Output,
        clock: Clock,
        counters: Arc<Counters>,
    ) -> Result<Arc<Self>, TelemetryError> {
        let writer = Arc::new(Self {
            queue: Mutex::default(),
            filled: Condvar::new(),
            ended: Condvar::new(),
            abandoned: AtomicBool::new(false),
            counters,
        });
        let of_thread = writer.clone();
        let mut work = Work {
            output,
            now: clock.now(),
            clock,
            buffer: Vec::with_capacity(CHUNK + CHUNK / 16),
            lines: 0,
            failing: false,
            counters: writer.counters.clone(),
        };
        std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || of_thread.run(&mut work))
            .map_err(TelemetryError::Thread)?;
        Ok(writer)
    }

    /// Queues lines; what does not fit is dropped and counted.
    pub(super) fn submit(&self, events: &Batch) {
        let mut dropped = 0;
        let mut queue = self.queue.lock();
        for account in events.from(0) {
            let size = weight(&account);
            if queue.closing || queue.lines >= MAX_LINES || queue.bytes + size > MAX_BYTES {
                dropped += 1;
            } else {
                queue.bytes += size;
                queue.lines += 1;
                queue.push(&account);
            }
        }
        drop(queue);
        self.counters.dropped.fetch_add(dropped, Ordering::Relaxed);
        self.filled.notify_one();
    }

    /// From here on lines go elsewhere.
    pub(super) fn switch(&self, output: Output) {
        self.queue.lock().items.push(Item::Output(Box::new(output)));
        self.filled.notify_one();
    }

    /// Lets the thread write what is queued and end; does not wait for it.
    pub(super) fn finish(&self) {
        self.queue.lock().closing = true;
        self.filled.notify_one();
    }

    /// As [`Self::finish`], and waits, but not for ever.
    pub(super) fn close(&self) {
        self.finish();
        let mut queue = self.queue.lock();
        let waited = self.ended.wait_while_for(&mut queue, |queue| !queue.ended, CLOSE_WAIT);
        if waited.timed_out() {
            self.abandoned.store(true, Ordering::Relaxed);
            self.ended.wait_while_for(&mut queue, |queue| !queue.ended, CLOSE_WAIT);
        }
    }

    fn run(&self, work: &mut Work) {
        let mut items = Vec::new();
        loop {
            let mut queue = self.queue.lock();
            self.filled.wait_while(&mut queue, |queue| queue.items.is_empty() && !queue.closing);
            std::mem::swap(&mut queue.items, &mut items);
            (queue.lines, queue.bytes) = (0, 0);
            if items.is_empty() {
                queue.ended = true;
                self.ended.notify_all();
                return;
            }
            drop(queue);
            work.now = work.clock.now();
            for item in items.drain(..) {
                match item {
                    Item::Lines(events) => {
                        self.write(&events, work);
                        self.queue.lock().reuse(events);
                    }
                    Item::Output(output) => work.switch(*output),
                }
            }
            work.flush();
        }
    }

    fn write(&self, events: &Batch, work: &mut Work) {
        for account in events.from(0) {
            if self.abandoned.load(Ordering::Relaxed) {
                self.counters.dropped.fetch_add(1, Ordering::Relaxed);
            } else {
                work.line(account);
            }
        }
    }
}

impl Queue {
    fn push(&mut self, account: &Account<'_>) {
        if let Some(Item::Lines(last)) = self.items.last_mut() {
            return last.push(account);
        }
        let mut events = std::mem::take(&mut self.spare);
        events.push(account);
        self.items.push(Item::Lines(events));
    }

    /// Has the next lines gather where these did, unless they were few for it.
    fn reuse(&mut self, mut events: Batch) {
        if !events.is_sparse() {
            events.clear();
            self.spare = events;
        }
    }
}

/// What the writing thread has to itself.
struct Work {
    output: Output,
    clock: Clock,
    /// As it was when the lines at hand were taken.
    now: Timestamp,
    buffer: Vec<u8>,
    lines: u64,
    failing: bool,
    counters: Arc<Counters>,
}

impl Work {
    fn switch(&mut self, output: Output) {
        self.flush();
        self.output = output;
        if let Sink::File(file) = &mut self.output.sink
            && let Err(error) = file.settle(self.clock.now())
        {
            warn!(%error, "the access log was moved away and could not be opened anew");
        }
    }

    fn line(&mut self, event: Account<'_>) {
        format::line(&mut self.buffer, event, self.output.format);
        self.lines += 1;
        let now = self.now;
        let due = matches!(&self.output.sink, Sink::File(file) if file.is_due(self.buffer.len(), now));
        if due || self.buffer.len() >= CHUNK {
            self.flush();
        }
        if let Sink::File(file) = &mut self.output.sink
            && due
            && let Err(error) = file.rotate(now)
        {
            warn!(%error, "the access log could not be rotated; writing goes on to the same file");
        }
    }

    fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let result = match &mut self.output.sink {
            Sink::Stderr => io::stderr().lock().write_all(&self.buffer),
            Sink::File(file) => file.write(&self.buffer),
        };
        let lines = std::mem::take(&mut self.lines);
        self.buffer.clear();
        match result {
            Ok(()) => {
                self.counters.written.fetch_add(lines, Ordering::Relaxed);
                if std::mem::take(&mut self.failing) {
                    info!("the access log can be written again");
                }
            }
            Err(error) => {
                self.counters.failed.fetch_add(lines, Ordering::Relaxed);
                if !std::mem::replace(&mut self.failing, true) {
                    warn!(%error, "the access log cannot be written; lines are lost until it can");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::telemetry::testing::finished;

    fn settings(path: &Path, format: LogFormat, max_size: u64) -> AccessLog {
        let target = LogTarget::File { path: path.to_owned(), max_size, max_age: Duration::ZERO, keep: 3 };
        AccessLog { format, target }
    }

    fn start(settings: &AccessLog) -> (Arc<Writer>, Arc<Counters>) {
        let counters = Arc::new(Counters::default());
        let output = Output::open(settings, &Clock::System).unwrap();
        (Writer::start(output, Clock::System, counters.clone()).unwrap(), counters)
    }

    fn events(count: usize) -> Batch {
        let mut batch = Batch::default();
        (0..count).for_each(|_| batch.push(&(&finished()).into()));
        batch
    }

    fn count(path: &Path) -> usize {
        std::fs::read_to_string(path).unwrap().lines().count()
    }

    #[test]
    fn closing_writes_every_line_that_was_queued() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (writer, counters) = start(&settings(&path, LogFormat::Text, 0));
        for _ in 0..100 {
            writer.submit(&events(10));
        }
        writer.close();
        assert_eq!(count(&path), 1000);
        assert_eq!(counters.written.load(Ordering::Relaxed), 1000);
        writer.submit(&events(1));
        assert_eq!(counters.dropped.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_switch_divides_lines_exactly() {
        let dir = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| dir.path().join(name));
        let (writer, _) = start(&settings(&first, LogFormat::Text, 0));
        writer.submit(&events(3));
        writer.switch(Output::open(&settings(&second, LogFormat::Json, 0), &Clock::System).unwrap());
        writer.submit(&events(2));
        writer.close();
        assert_eq!((count(&first), count(&second)), (3, 2));
        assert!(std::fs::read_to_string(&second).unwrap().starts_with('{'));
    }

    #[test]
    fn no_line_is_lost_or_cut_by_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut one = Vec::new();
        format::line(&mut one, &finished(), LogFormat::Text);
        let (writer, _) = start(&settings(&path, LogFormat::Text, one.len() as u64 * 2));
        writer.submit(&events(7));
        writer.close();
        let counts = ["log", "log.1", "log.2", "log.3"].map(|name| count(&dir.path().join(name)));
        assert_eq!(counts, [1, 2, 2, 2]);
    }

    #[test]
    fn a_full_disk_loses_lines_and_counts_them() {
        let (writer, counters) = start(&settings(Path::new("/dev/full"), LogFormat::Text, 0));
        writer.submit(&events(5));
        writer.close();
        assert_eq!(counters.failed.load(Ordering::Relaxed), 5);
        assert_eq!(counters.written.load(Ordering::Relaxed), 0);
    }
}
