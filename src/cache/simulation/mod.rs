//! A seeded simulation of the cache: lookups, fetches, validations, purges, evictions and aborts interleave on a fake
//! clock, and a simple [`model`] knows what may be served at any moment.
//!
//! What is held: no reply crosses keys or variants; none is served after a purge that came after its fetch began; none
//! is called fresh past its life; what is stored and not purged is found (where nothing has to make room); accounting
//! equals content. Each run prints its seed; `PROXY_STONE_SEED` repeats it, `PROXY_STONE_STEPS` makes it longer.

mod model;
mod world;

use std::time::Duration;

use super::{Cache, Settings};
use crate::clock::{Clock, Timestamp};
use world::{Actor, World};

/// Fits into a test's time; what is found by more is found by a longer run.
const STEPS: u64 = 40_000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn steps() -> u64 {
    number("PROXY_STONE_STEPS").unwrap_or(STEPS)
}

fn seed() -> u64 {
    let seed = number("PROXY_STONE_SEED").unwrap_or_else(|| fastrand::u64(..));
    eprintln!("PROXY_STONE_SEED={seed} PROXY_STONE_STEPS={}", steps());
    seed
}

fn clock() -> Clock {
    Clock::manual(Timestamp::from_secs(1_800_000_000))
}

fn roomy() -> Settings {
    Settings { memory: 512 << 20, min_free: 0, keep: Duration::from_secs(600), ..Settings::default() }
}

fn cramped() -> Settings {
    Settings { memory: 200 << 10, disk: 2 << 20, max_entries: 300, max_variants: 2, ..roomy() }
}

async fn run(world: &World, seed: u64) {
    let mut actor = Actor::new(seed);
    for _ in 0..steps() {
        actor.step(world).await;
    }
}

#[tokio::test]
async fn in_ram_with_room_for_everything() {
    let (seed, clock) = (seed(), clock());
    let world = World::new(Cache::in_memory(roomy(), clock.clone()).unwrap(), clock).complete();
    run(&world, seed).await;
    world.settle().await;
    let seen = world.seen();
    assert!(seen.fresh * 20 > steps() && seen.stale > 0 && seen.missed > 0, "{seen:?}");
    assert!(seen.freshened > 0 && seen.purged_in_flight > 0 && seen.aborted > 0, "{seen:?}");
    eprintln!("{seen:?}");
}

#[tokio::test]
async fn in_ram_that_must_make_room() {
    let (seed, clock) = (seed(), clock());
    let world = World::new(Cache::in_memory(cramped(), clock.clone()).unwrap(), clock);
    run(&world, seed).await;
    world.settle().await;
    let seen = world.seen();
    assert!(seen.fresh > 0 && seen.missed > 0, "{seen:?}");
}

#[tokio::test]
async fn on_disk_under_ram_that_both_must_make_room() {
    let (seed, clock) = (seed(), clock());
    let dir = tempfile::tempdir().unwrap();
    let open = || Cache::open(cramped(), Some(dir.path().to_owned()), clock.clone()).unwrap();
    let mut actor = Actor::new(seed);
    let world = World::new(open(), clock.clone());
    world.cache.wait_open().await;
    for _ in 0..steps() / 4 {
        actor.step(&world).await;
    }
    world.settle().await;
    let before = world.cache.stats();
    world.cache.close().await;

    let world = world.reopened(open());
    world.cache.wait_open().await;
    let after = world.cache.stats();
    assert_eq!((before.disk_entries, before.disk_bytes), (after.disk_entries, after.disk_bytes));
    // What was under way belongs to the old instance.
    let mut actor = Actor::new(seed.wrapping_add(1));
    for _ in 0..steps() / 8 {
        actor.step(&world).await;
    }
    world.settle().await;
    assert_eq!(world.cache.stats().corrupt, 0);
}

/// Several threads at once, as workers are.
#[test]
fn from_several_threads() {
    let (seed, clock) = (seed(), clock());
    let world = World::new(Cache::in_memory(cramped(), clock.clone()).unwrap(), clock);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let world = &world;
            scope.spawn(move || runtime().block_on(run(world, seed.wrapping_add(thread))));
        }
    });
    runtime().block_on(world.settle());
    assert!(world.seen().fresh > 0);
}
