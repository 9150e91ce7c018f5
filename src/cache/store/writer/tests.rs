//! The writer step by step, without its thread: what gives way, and what does not.

use std::sync::mpsc::Sender;

use super::*;
use crate::cache::Settings;
use crate::cache::purge::Criterion;
use crate::cache::store::tests::{entry, id};
use crate::clock::{Clock, Timestamp};

const HOUR: Duration = Duration::from_secs(3600);
const NOW: Timestamp = Timestamp::from_secs(1_000_000);
const LATER: Timestamp = Timestamp::from_secs(2_000_000);

struct Scene {
    writer: Writer,
    tier: Arc<Tier>,
    queue: Sender<Op>,
    _dir: tempfile::TempDir,
}

impl Scene {
    fn new(max_entries: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { min_free: 0, max_entries, ..Settings::default() };
        let clock = Clock::manual(NOW);
        let secret = super::super::disk::directory::fresh_secret().unwrap();
        let base = Writer::sequence_base(&clock);
        let shared = Arc::new(Shared::new(settings, Some(dir.path().to_owned()), secret, clock, base));
        let (queue, ops) = std::sync::mpsc::channel();
        let mut writer = Writer::new(shared, ops);
        writer.adopt(Directory::claim(dir.path()).unwrap()).unwrap();
        let tier = writer.open().unwrap();
        let mut scene = Self { writer, tier, queue, _dir: dir };
        scene.finish();
        scene
    }

    fn rest(&mut self) {
        self.writer.pace.rest_until(Some(Instant::now() + HOUR));
    }

    /// As the thread does it, but for waiting.
    fn step(&mut self) {
        if let Ok(op) = self.writer.ops.try_recv() {
            self.writer.perform(&self.tier, op).unwrap();
        }
        self.writer.background(&self.tier).unwrap();
    }

    /// Ends the rest and does all that there is to do; in how many slices.
    fn finish(&mut self) -> u32 {
        let mut slices = 0;
        while self.writer.has_background_work() {
            self.writer.pace.rest_until(None);
            self.step();
            slices += 1;
        }
        slices
    }

    fn put(&mut self, target: &str, keep_until: Timestamp) {
        let entry = Arc::new(Entry { keep_until, sequence: self.sequence(), ..entry(target, b"") });
        let write = Write::Put { id: id(&entry), entry, file: None };
        assert!(self.writer.shared.submit(&self.queue, write, None));
        self.step();
        while self.writer.upkeep.is_pressing() {
            self.step();
        }
    }

    fn fill(&mut self, count: u64) {
        for number in 0..count {
            self.put(&format!("/{number}"), LATER);
        }
    }

    fn sequence(&self) -> u64 {
        self.writer.shared.rules.latest()
    }

    fn purge(&mut self, criterion: Criterion) {
        self.writer.shared.rules.add(criterion, false, |_| ());
        self.queue.send(Op::Wake).unwrap();
        self.step();
    }

    fn entries(&self) -> u64 {
        self.tier.store.usage().entries
    }

    fn waiting(&self) -> usize {
        self.writer.shared.rules.active_len()
    }
}

#[test]
fn while_it_rests_operations_are_done_and_no_removal() {
    let mut scene = Scene::new(1000);
    scene.fill(300);
    scene.rest();
    scene.purge(Criterion::Tag("red".into()));
    for number in 0..100 {
        scene.put(&format!("/new-{number}"), LATER);
    }
    assert_eq!((scene.entries(), scene.waiting()), (400, 1), "written at once, removed not yet");
    // The thread would not wait for the end of the rest, either.
    scene.queue.send(Op::Unwritten).unwrap();
    assert!(matches!(scene.writer.next(), Ok(Op::Unwritten)));

    let slices = scene.finish();
    assert_eq!((scene.entries(), scene.waiting()), (100, 0), "what came after the purge stays");
    assert!(slices > 300 / SLICE as u32, "{slices} slices");
}

#[test]
fn a_walk_by_url_removes_what_each_rule_takes_and_no_more() {
    let mut scene = Scene::new(1000);
    scene.fill(300);
    let long = format!("/long/{}", "x".repeat(600));
    scene.put(&long, LATER);
    scene.rest();
    let number = |n: u32| Criterion::Url { authority: "example.com".into(), target: format!("/{n}").into() };
    scene.purge(Criterion::Glob("/1*9".into()));
    scene.put("/109", LATER);
    scene.purge(number(7));
    scene.purge(Criterion::Key(entry("/8", b"").key.digest()));
    scene.purge(Criterion::Prefix { authority: None, target: "/28".into() });
    scene.purge(Criterion::Glob(format!("*/{}", "x".repeat(600)).into()));
    scene.finish();
    assert_eq!(scene.waiting(), 0);
    let has = |target: &str| !self::has(&scene, target).is_empty();
    // 19, 109 (which came back), 119 ... 199; 28 and 280 ... 289.
    assert_eq!(scene.entries(), 301 - 11 + 1 - 2 - 11 - 1);
    for (target, stands) in
        [("/19", false), ("/109", true), ("/199", false), ("/190", true), ("/7", false), ("/8", false)]
    {
        assert_eq!(has(target), stands, "{target}");
    }
    assert!(!has("/28") && !has("/285") && has("/29") && !has(&long));
}

fn has(scene: &Scene, target: &str) -> Vec<Entry> {
    scene.tier.store.get(entry(target, b"").key.digest()).unwrap()
}

#[test]
fn how_busy_the_workers_are_is_what_it_gives_way_to() {
    let mut scene = Scene::new(1000);
    scene.fill(100);
    let began = Instant::now();
    let busy = move || Duration::from_secs(10) + began.elapsed();
    scene.writer.shared.traffic.set(Traffic { workers: 1, busy: Box::new(busy) }).unwrap();
    scene.writer.pace = Pace::default();
    // Ten seconds ago they had not been busy at all.
    let before = began.checked_sub(Duration::from_secs(10)).unwrap();
    scene.writer.pace.worked(Duration::ZERO, before, Work { busy: Duration::ZERO, workers: 1 }, 0.0);
    scene.purge(Criterion::Tag("red".into()));
    let load = scene.writer.pace.load();
    assert!((0.99..1.01).contains(&load), "{load}");
}

#[test]
fn a_removal_does_not_keep_from_upkeep() {
    let mut scene = Scene::new(1000);
    scene.fill(300);
    scene.writer.upkeep.opened(None);
    scene.purge(Criterion::Tag("red".into()));
    scene.writer.pace.rest_until(None);
    scene.step();
    scene.step();
    assert!(scene.entries() < 300, "some are removed");
    assert!(!scene.writer.upkeep.due, "and the limits looked at");
    assert_eq!(scene.waiting(), 1);
}

#[test]
fn room_for_what_is_written_is_made_at_once() {
    let mut scene = Scene::new(100);
    scene.rest();
    scene.fill(400);
    assert!(scene.entries() <= 100, "{} entries", scene.entries());
    assert!(scene.entries() > 50, "{} entries", scene.entries());
}

#[test]
fn what_a_lowered_limit_takes_goes_in_time() {
    let mut scene = Scene::new(1000);
    scene.fill(400);
    let settings = Settings { max_entries: 100, ..(*scene.writer.shared.settings.load_full()).clone() };
    scene.writer.shared.settings.store(Arc::new(settings));
    scene.rest();
    scene.queue.send(Op::Wake).unwrap();
    scene.step();
    assert_eq!(scene.entries(), 400);
    scene.put("/one-more", LATER);
    let left = scene.entries();
    assert!((350..=400).contains(&left), "what a write adds goes, and no more: {left}");
    scene.finish();
    assert!(scene.entries() <= 100, "{} entries", scene.entries());
}

#[test]
fn expired_entries_go_at_the_pace_of_the_writes_at_least() {
    let mut scene = Scene::new(10_000);
    scene.rest();
    for number in 0..300 {
        scene.put(&format!("/old-{number}"), Timestamp::from_secs(1));
    }
    let count = |scene: &Scene| scene.writer.shared.counters.expired.load(Relaxed);
    let before = count(&scene);
    assert!(before < 300);
    for number in 0..96 {
        scene.put(&format!("/new-{number}"), LATER);
    }
    assert!(count(&scene) >= (before + 128).min(300), "{before}, {}", count(&scene));
    scene.finish();
}
