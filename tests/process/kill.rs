//! `kill -9` under write load, again and again on one state directory: every reply afterwards has the right bytes,
//! nothing that was purged returns, the store opens. Ranges,
//! of stored parts and of slices, are among them.

mod ranged;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use ranged::{Asking, Ranged};

use crate::support::{Answer, Client, Origin, Place, Proxy, Reply};

/// Distinct URLs; each round writes some of them again.
const URLS: u32 = 400;
const CLIENTS: usize = 3;

/// What the origin says at present, and what a reply may no longer be.
#[derive(Default)]
struct World {
    /// Stamped into every body that the origin makes.
    generation: AtomicU64,
    /// The oldest generation that is still allowed, by number of the URL.
    oldest: Mutex<HashMap<u32, u64>>,
    /// What is asked for in ranges.
    ranged: Ranged,
}

impl World {
    fn oldest(&self, number: u32) -> u64 {
        self.oldest.lock().unwrap().get(&number).copied().unwrap_or(0)
    }

    /// What was fetched before this generation has been purged, for these URLs.
    fn purged(&self, generation: u64, takes: impl Fn(u32) -> bool) {
        let mut oldest = self.oldest.lock().unwrap();
        for number in (0..URLS).filter(|number| takes(*number)) {
            oldest.insert(number, generation);
        }
    }
}

/// 100 bytes, some KiB in the record, in a small file, in one of several chunks.
fn size(number: u32) -> usize {
    [100, 3_500, 20_000, 200 << 10][number as usize % 4] + number as usize
}

fn target(number: u32) -> String {
    format!("/group{}/{number}", number % 10)
}

/// The bytes of a URL in a generation: no other URL or generation has any line of them.
fn body(number: u32, generation: u64) -> Vec<u8> {
    let line = format!("{generation} {} {};", target(number), number.wrapping_mul(2_654_435_761));
    line.bytes().cycle().take(size(number)).collect()
}

fn origin(world: &Arc<World>) -> Origin {
    let world = world.clone();
    Origin::new(move |asked| {
        if let Some(answer) = world.ranged.answer(asked) {
            return answer;
        }
        let number: u32 = asked.target.rsplit('/').next().unwrap().parse().unwrap();
        let generation = world.generation.load(SeqCst);
        Answer::fresh(body(number, generation), 3600)
            .with("Surrogate-Key", format!("tag{} all", number % 7))
            .with("X-Generation", generation.to_string())
    })
}

#[derive(Default)]
struct Counts {
    replies: AtomicU64,
    hits: AtomicU64,
    purges: AtomicU64,
    torn: AtomicU64,
    /// Replies to ranges, hits among them, and those that broke off since what they were made of was purged.
    ranges: AtomicU64,
    range_hits: AtomicU64,
    cut: AtomicU64,
}

/// A whole reply has the right bytes, and is of no purged generation.
fn check(number: u32, oldest: u64, reply: &Reply, counts: &Counts) {
    assert_eq!(reply.status, 200, "{}: {}", target(number), reply.text());
    let stamp = reply.body.split(|byte| *byte == b' ').next().and_then(|word| std::str::from_utf8(word).ok());
    let generation: u64 =
        stamp.and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{}", target(number)));
    assert!(reply.body == body(number, generation), "wrong bytes for {} of {generation}", target(number));
    assert_eq!(reply.header("x-generation"), generation.to_string(), "{}", target(number));
    assert!(
        generation >= oldest,
        "{} of generation {generation} returned, purged up to {oldest}: {}",
        target(number),
        reply.header("cache-status")
    );
    counts.replies.fetch_add(1, SeqCst);
    counts.hits.fetch_add(u64::from(reply.is_hit()), SeqCst);
}

/// Asks for URLs at random until the proxy is gone.
fn load(address: std::net::SocketAddr, world: &World, counts: &Counts, killed: &AtomicBool) {
    while !killed.load(SeqCst) {
        let Ok(mut client) = Client::connect(address) else { continue };
        loop {
            if fastrand::u8(..3) == 0 {
                match world.ranged.ask(&mut client, counts) {
                    Asking::Whole => continue,
                    Asking::Cut => break,
                    Asking::Nothing(error) => {
                        assert!(killed.load(SeqCst), "a range failed while the proxy lived: {error}");
                        break;
                    }
                }
            }
            let number = fastrand::u32(..URLS);
            let oldest = world.oldest(number);
            match client.get(&target(number)) {
                Ok(reply) => check(number, oldest, &reply, counts),
                Err(error) => {
                    assert!(killed.load(SeqCst), "{} failed while the proxy lived: {error}", target(number));
                    break;
                }
            }
        }
        counts.torn.fetch_add(1, SeqCst);
    }
}

/// Purges at random until the proxy is gone; what was answered holds from then on.
fn purge(place: &Place, world: &World, counts: &Counts, killed: &AtomicBool) {
    while !killed.load(SeqCst) {
        let Ok(mut admin) = Client::admin(&place.socket()) else { continue };
        loop {
            if fastrand::u8(..4) == 0 {
                match world.ranged.purge(&mut admin) {
                    Ok(()) => {
                        counts.purges.fetch_add(1, SeqCst);
                        continue;
                    }
                    Err(error) => {
                        assert!(killed.load(SeqCst), "a purge failed while the proxy lived: {error}");
                        break;
                    }
                }
            }
            let number = fastrand::u32(..URLS);
            let (select, takes): (String, Box<dyn Fn(u32) -> bool>) = match fastrand::u8(..4) {
                0 => (format!("tag:tag{}", number % 7), Box::new(move |other| other % 7 == number % 7)),
                1 => (
                    format!("prefix:/group{}/", number % 10),
                    Box::new(move |other| other % 10 == number % 10),
                ),
                _ => (
                    format!("url:http://stone.test{}", target(number)),
                    Box::new(move |other| other == number),
                ),
            };
            // Whatever is fetched from here on is younger than the purge may take.
            let generation = world.generation.fetch_add(1, SeqCst) + 1;
            let reply = match admin.post("/v1/cache/purge", &json!({ "select": select })) {
                Ok(reply) => reply,
                Err(error) => {
                    assert!(killed.load(SeqCst), "{select} failed while the proxy lived: {error}");
                    break;
                }
            };
            assert_eq!(reply.status, 200, "{select}: {}", reply.text());
            assert!(reply.text().contains("\"durable\":true"), "{select}: {}", reply.text());
            world.purged(generation, takes);
            counts.purges.fetch_add(1, SeqCst);
            thread::sleep(Duration::from_millis(fastrand::u64(..15)));
        }
    }
}

/// Loads the proxy and kills it at a moment of chance.
fn round(proxy: Proxy, place: &Place, world: &World, counts: &Counts) {
    let killed = AtomicBool::new(false);
    let address = proxy.address;
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| load(address, world, counts, &killed));
        }
        scope.spawn(|| purge(place, world, counts, &killed));
        // Some die while the store still opens.
        let moment = if fastrand::u8(..4) == 0 { fastrand::u64(..30) } else { fastrand::u64(30..600) };
        thread::sleep(Duration::from_millis(moment));
        killed.store(true, SeqCst);
        proxy.kill();
    });
}

#[test]
fn nothing_wrong_or_purged_is_served_after_kill_9() {
    let rounds = std::env::var("PROXY_STONE_KILL_ROUNDS").map_or(10, |rounds| rounds.parse().unwrap());
    let (place, world, counts) = (Place::new(), Arc::new(World::default()), Counts::default());
    let origin = origin(&world);
    let (began, mut after, mut after_ranges) = (Instant::now(), 0, 0);
    let mut repairs = 0;
    let config = format!("upstream = \"{}\"\n{}", origin.url(), ranged::CONFIG);
    for number in 0..rounds {
        round(Proxy::configured(&place, &config), &place, &world, &counts);

        let proxy = Proxy::configured(&place, &config);
        // At once, while the store may still be opening, and once it has opened.
        let mut client = Client::connect(proxy.address).unwrap();
        let mut verify = |count: u32| {
            for _ in 0..count {
                let number = fastrand::u32(..URLS);
                let oldest = world.oldest(number);
                check(number, oldest, &client.get(&target(number)).unwrap(), &counts);
                if fastrand::u8(..3) == 0 {
                    world.ranged.verify(&mut client, proxy.address, &counts);
                }
            }
        };
        verify(20);
        let status = proxy.store_is(&place, "open");
        if let Some(detail) = status["store"]["detail"].as_str() {
            println!("round {number}: {detail}");
            repairs += 1;
        }
        let before = [&counts.hits, &counts.range_hits].map(|hits| hits.load(SeqCst));
        verify(60);
        after += counts.hits.load(SeqCst) - before[0];
        after_ranges += counts.range_hits.load(SeqCst) - before[1];
        if number % 50 == 49 {
            eprintln!("{} rounds in {:?}", number + 1, began.elapsed());
        }
        if number % 2 == 0 { proxy.kill() } else { drop(proxy.stop()) }
    }
    println!(
        "{rounds} rounds in {:?}: {counts}, {after} hits and {after_ranges} hits of ranges right after a restart, \
         {repairs} repairs",
        began.elapsed(),
        counts = format_args!(
            "{} replies, {} of them hits, {} of ranges, {} of them hits, {} cut, {} purges, {} connections torn",
            counts.replies.load(SeqCst),
            counts.hits.load(SeqCst),
            counts.ranges.load(SeqCst),
            counts.range_hits.load(SeqCst),
            counts.cut.load(SeqCst),
            counts.purges.load(SeqCst),
            counts.torn.load(SeqCst)
        )
    );
    assert!(after > 0 && after_ranges > 0, "nothing outlasted a restart");
}
