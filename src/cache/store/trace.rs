//! How well both tiers keep what is hot, through the real [`Cache`], beside simulations of LRU and LFU with as many
//! places: a Zipf trace with a crawl in its middle, one whose keys all change, and a loop over more than there is room
//! for.
//!
//! `cargo test --release --lib store::trace -- --ignored --nocapture` prints the tables of the full size, with
//! `PROXY_STONE_TRACE_PART=10` those of a tenth of everything.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;

use super::journeys::{lookup, new, settled, store};
use super::tests::entry;
use super::*;
use crate::cache::Settings;
use crate::clock::{Clock, Timestamp};

/// A trace, and crawled URLs that come once, mixed into its second quarter.
#[derive(Clone, Copy)]
struct Trace {
    keys: usize,
    places: usize,
    requests: usize,
    scan: usize,
    hot: Hot,
}

/// What is asked for.
#[derive(Clone, Copy)]
enum Hot {
    /// The same keys throughout, by Zipf's law.
    Stays,
    /// From the middle on none of the keys before.
    Shifts,
    /// Each of twice as many as there are places, in turn.
    Loops,
}

const QUICK: Trace = Trace { keys: 2_000, places: 200, requests: 16_000, scan: 40_000, hot: Hot::Stays };
const FULL: Trace =
    Trace { keys: 200_000, places: 20_000, requests: 800_000, scan: 1_000_000, hot: Hot::Stays };

enum Asked {
    Popular(usize),
    Once(usize),
}

/// Draws ranks with a probability of one over the rank (Zipf's law with exponent 0.9).
struct Zipf {
    cumulative: Vec<f64>,
    random: fastrand::Rng,
}

impl Zipf {
    fn new(keys: usize) -> Self {
        let mut sum = 0.0;
        let cumulative = (1..=keys)
            .map(|rank| {
                sum += (rank as f64).powf(-0.9);
                sum
            })
            .collect();
        Self { cumulative, random: fastrand::Rng::with_seed(4) }
    }

    fn draw(&mut self) -> usize {
        let last = self.cumulative.last().copied().unwrap_or(1.0);
        let at = self.random.f64() * last;
        self.cumulative.partition_point(|sum| *sum < at).min(self.cumulative.len() - 1)
    }
}

impl Trace {
    /// The requests of one quarter.
    fn quarter(self, number: usize) -> Range<usize> {
        self.requests / 4 * number..self.requests / 4 * (number + 1)
    }

    fn asked(self) -> impl Iterator<Item = Asked> {
        let mut zipf = Zipf::new(self.keys);
        let crawl = self.quarter(1);
        let (mut crawled, mut crawling) = (0, 0.0);
        (0..self.requests).flat_map(move |number| {
            if crawl.contains(&number) {
                crawling += self.scan as f64 / crawl.len() as f64;
            }
            let from = crawled;
            crawled = crawling as usize;
            let popular = match self.hot {
                Hot::Stays => zipf.draw(),
                Hot::Shifts => zipf.draw() + if number < self.requests / 2 { 0 } else { self.keys },
                Hot::Loops => number % (2 * self.places),
            };
            (from..crawled).map(Asked::Once).chain([Asked::Popular(popular)])
        })
    }
}

/// Something that keeps what it is asked for.
trait Places {
    async fn has(&mut self, asked: &Asked) -> bool;
    async fn keep(&mut self, asked: &Asked);
}

/// Hits of popular requests, by the quarter of the trace.
async fn run(trace: Trace, mut places: impl Places) -> [f64; 4] {
    let mut hits = [0_usize; 4];
    let mut popular = 0;
    for asked in trace.asked() {
        let hit = places.has(&asked).await;
        if !hit {
            places.keep(&asked).await;
        }
        if matches!(asked, Asked::Popular(_)) {
            hits[(popular * 4 / trace.requests).min(3)] += usize::from(hit);
            popular += 1;
        }
    }
    hits.map(|hits| hits as f64 / (trace.requests / 4) as f64)
}

/// LRU where every count is the same, LFU otherwise: what goes is the least, then the longest ago.
struct Simulated {
    counts: bool,
    places: usize,
    clock: u64,
    known: HashMap<usize, (u64, u64)>,
    order: BTreeSet<(u64, u64, usize)>,
}

impl Simulated {
    fn new(counts: bool, places: usize) -> Self {
        Self { counts, places, clock: 0, known: HashMap::new(), order: BTreeSet::new() }
    }

    fn number(asked: &Asked) -> usize {
        match asked {
            Asked::Popular(rank) => *rank,
            Asked::Once(number) => usize::MAX / 2 + number,
        }
    }

    fn set(&mut self, key: usize, count: u64) {
        self.clock += 1;
        self.known.insert(key, (count, self.clock));
        self.order.insert((count, self.clock, key));
    }
}

impl Places for Simulated {
    async fn has(&mut self, asked: &Asked) -> bool {
        let key = Self::number(asked);
        let Some((count, at)) = self.known.get(&key).copied() else { return false };
        self.order.remove(&(count, at, key));
        self.set(key, count + u64::from(self.counts));
        true
    }

    async fn keep(&mut self, asked: &Asked) {
        self.set(Self::number(asked), 0);
        if self.known.len() > self.places
            && let Some((_, _, coldest)) = self.order.pop_first()
        {
            self.known.remove(&coldest);
        }
    }
}

/// The real cache; `in_memory` says which tier has the places.
struct Real {
    cache: std::sync::Arc<Cache>,
    /// On disk: the longest that its queue may be.
    queue: u64,
}

impl Real {
    async fn in_memory(places: usize) -> Self {
        let cache = Cache::in_memory(Settings::default(), Clock::System).unwrap();
        store(&cache, new(&target(&Asked::Popular(0)), 0), BODY).await;
        let each = cache.stats().memory_bytes;
        drop(cache);
        let memory = each * places as u64;
        Self {
            cache: Cache::in_memory(Settings { memory, ..Settings::default() }, Clock::System).unwrap(),
            queue: u64::MAX,
        }
    }

    async fn on_disk(places: usize, dir: &Path) -> Self {
        // RAM for next to nothing.
        let settings =
            Settings { memory: 64 << 10, max_entries: places as u64, min_free: 0, ..Settings::default() };
        let cache = Cache::open(settings, Some(dir.to_owned()), Clock::System).unwrap();
        assert_eq!(cache.wait_open().await, State::Open);
        // What waits is found as well, and would count as further places.
        Self { cache, queue: (places as u64 / 100).min(256) }
    }
}

/// The store without a disk, with the rules of the real one.
impl Places for super::Simulated {
    async fn has(&mut self, asked: &Asked) -> bool {
        !self.lookup(entry(&target(asked), b"").key.digest()).is_empty()
    }

    async fn keep(&mut self, asked: &Asked) {
        self.insert(entry(&target(asked), BODY), Timestamp::from_secs(1_000));
    }
}

fn simulated(places: usize) -> super::Simulated {
    super::Simulated::new(Settings { memory: 64 << 10, max_entries: places as u64, ..Settings::default() })
}

const BODY: &[u8] = &[b'x'; 1000];

fn target(asked: &Asked) -> String {
    match asked {
        Asked::Popular(rank) => format!("/popular/{rank:08}"),
        Asked::Once(number) => format!("/crawled/{number:08}"),
    }
}

impl Places for Real {
    async fn has(&mut self, asked: &Asked) -> bool {
        lookup(&self.cache, &target(asked)).is_some()
    }

    async fn keep(&mut self, asked: &Asked) {
        let new = new(&target(asked), self.cache.sequence());
        let body = crate::cache::spool::SpooledBody::from_bytes(Bytes::from_static(BODY));
        self.cache.insert(new, body);
        if self.cache.stats().queue_depth > self.queue {
            settled(&self.cache).await;
        }
    }
}

/// Runs a trace through fresh places, with its crawl and without, and prints both.
async fn both<P: Places>(name: &str, trace: Trace, mut fresh: impl AsyncFnMut() -> P) -> [[f64; 4]; 2] {
    let mut crawled = [0.0; 4];
    if trace.scan > 0 {
        crawled = run(trace, fresh().await).await;
        print_row(&format!("{name}, crawled"), crawled);
    }
    let calm = run(Trace { scan: 0, ..trace }, fresh().await).await;
    print_row(name, calm);
    [crawled, calm]
}

fn print_row(name: &str, ratios: [f64; 4]) {
    println!("{name:<20}{}", ratios.map(|ratio| format!("{:>8.1}", ratio * 100.0)).concat());
}

fn print_head(trace: Trace) {
    let Trace { keys, places, requests, scan, hot } = trace;
    let hot = match hot {
        Hot::Stays => "Zipf",
        Hot::Shifts => "Zipf, other keys from the middle on",
        Hot::Loops => "loop over twice the places",
    };
    println!(
        "{hot}: {keys} keys, {places} places, {requests} requests, {scan} crawled in the second quarter"
    );
}

async fn in_memory(trace: Trace) -> [[f64; 4]; 2] {
    both("RAM", trace, async || Real::in_memory(trace.places).await).await
}

async fn on_disk(trace: Trace) -> [[f64; 4]; 2] {
    let mut dirs = Vec::new();
    both("disk", trace, async || {
        dirs.push(tempfile::tempdir().unwrap());
        Real::on_disk(trace.places, dirs[dirs.len() - 1].path()).await
    })
    .await
}

async fn on_simulated_disk(trace: Trace) -> [[f64; 4]; 2] {
    both("disk, simulated", trace, async || simulated(trace.places)).await
}

async fn lru(trace: Trace) -> [[f64; 4]; 2] {
    both("LRU", trace, async || Simulated::new(false, trace.places)).await
}

async fn lfu(trace: Trace) -> [[f64; 4]; 2] {
    both("LFU", trace, async || Simulated::new(true, trace.places)).await
}

/// What a crawl costs at most, and where the rest stands beside LRU.
fn is_spared([crawled, calm]: [[f64; 4]; 2], [_, lru]: [[f64; 4]; 2]) {
    for quarter in 1..4 {
        let (crawled, calm) = (crawled[quarter], calm[quarter]);
        assert!(crawled > calm - 0.03, "quarter {quarter}: {crawled} beside {calm} without a crawl");
        assert!(calm > lru[quarter] + 0.03, "quarter {quarter}: {calm}, LRU {}", lru[quarter]);
    }
}

#[tokio::test]
async fn a_crawl_does_not_flush_what_is_hot() {
    print_head(QUICK);
    let [crawled, _] = in_memory(QUICK).await;
    let least_recent = lru(QUICK).await;
    let [lru, _] = least_recent;
    assert!(crawled[1] > lru[1] + 0.1 && crawled[1] > crawled[0] * 0.85, "RAM: while it is crawled");
    assert!(crawled[2] > lru[2] && crawled[3] > lru[3], "RAM: afterwards");
    let disk = on_disk(QUICK).await;
    is_spared(disk, least_recent);
    let simulated = on_simulated_disk(QUICK).await;
    for quarter in 0..4 {
        assert!((simulated[0][quarter] - disk[0][quarter]).abs() < 0.02, "simulated as it is");
    }
}

#[tokio::test]
async fn what_is_hot_may_change_and_a_loop_does_not_empty_the_disk() {
    let part = Trace { keys: 10_000, places: 1_000, requests: 40_000, scan: 50_000, hot: Hot::Stays };
    print_head(part);
    is_spared(on_simulated_disk(part).await, lru(part).await);
    let shifts = Trace { scan: 0, hot: Hot::Shifts, ..part };
    print_head(shifts);
    let ([_, ours], [_, lru_]) = (on_simulated_disk(shifts).await, lru(shifts).await);
    assert!(ours[1] > lru_[1] + 0.03, "before");
    assert!(ours[2] > lru_[2] - 0.04, "a new key must be asked for twice: {} beside {}", ours[2], lru_[2]);
    assert!(ours[3] > lru_[3] + 0.03, "later");
    let loops = Trace { scan: 0, hot: Hot::Loops, ..part };
    print_head(loops);
    let ([_, ours], [_, lru]) = (on_simulated_disk(loops).await, lru(loops).await);
    assert!(ours[3] > lru[3] + 0.05, "{ours:?}, LRU {lru:?}");
}

#[tokio::test]
#[ignore = "minutes; prints the tables that ARCHITECTURE.md cites"]
async fn a_crawl_of_a_million_urls() {
    let part = std::env::var("PROXY_STONE_TRACE_PART").map_or(1, |part| part.parse().unwrap());
    let Trace { keys, places, requests, scan, hot } = FULL;
    let part =
        Trace { keys: keys / part, places: places / part, requests: requests / part, scan: scan / part, hot };
    print_head(part);
    let disk = on_disk(part).await;
    let [crawled, calm] = in_memory(part).await;
    on_simulated_disk(part).await;
    let least_recent = lru(part).await;
    lfu(part).await;
    for hot in [Hot::Shifts, Hot::Loops] {
        let calm = Trace { scan: 0, hot, ..part };
        print_head(calm);
        lru(calm).await;
        lfu(calm).await;
        on_simulated_disk(calm).await;
    }
    is_spared(disk, least_recent);
    assert!(crawled[1] > calm[1] - 0.06 && crawled[2] > calm[2] - 0.06, "RAM");
}
