//! `kill -9` under write load: the bytes are right, no purged entry returns, the store opens.
//!
//! The test runs itself again as the process to be killed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::journeys::{body, lookup, new, open, store};
use crate::cache::Cache;
use crate::cache::purge::Criterion;

const DIR: &str = "PROXY_STONE_KILL_DIR";
const ROUNDS: &str = "PROXY_STONE_KILL_ROUNDS";
const NAMES: u32 = 300;

fn content(name: u32, generation: u32) -> Vec<u8> {
    let line = format!("{name} {generation};");
    // Inline, in a small file, in a large one.
    let len = [50, 3_000, 20_000, 200_000][(name % 4) as usize];
    line.bytes().cycle().take(len).collect()
}

/// Whether these bytes are what some generation of the name had; says which.
fn generation(name: u32, bytes: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (_, rest) = text.split_once(' ')?;
    let generation = rest.split_once(';')?.0.parse().ok()?;
    (content(name, generation) == bytes).then_some(generation)
}

fn url(name: u32) -> Criterion {
    Criterion::Url { authority: "example.com".into(), target: format!("/{name}").into() }
}

/// Stores and purges for ever; says on stdout which generations of which names are purged for good.
async fn be_killed(dir: &Path) {
    let cache = open(dir).await;
    let start = std::env::var("PROXY_STONE_KILL_FROM").unwrap().parse::<u32>().unwrap();
    for generation in start.. {
        let name = fastrand::u32(..NAMES);
        store(&cache, new(&format!("/{name}"), cache.sequence()), &content(name, generation)).await;
        if generation % 5 == 0 {
            let name = fastrand::u32(..NAMES);
            cache.purge(url(name), false).await.unwrap();
            println!("purged {name} {generation}");
        }
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the child for a while; returns what it promised.
fn run_and_kill(dir: &Path, from: u32) -> Vec<(u32, u32)> {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "cache::store::crash::nothing_wrong_or_purged_survives_kill_9", "--nocapture"])
        .env(DIR, dir)
        .env("PROXY_STONE_KILL_FROM", from.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut killed = Killed(child);
    let out = BufReader::new(killed.0.stdout.take().unwrap());
    let pid = killed.0.id();
    // Some rounds end while it opens or has just begun, others in the midst of things.
    let lines = if fastrand::u8(..5) == 0 { 0 } else { fastrand::usize(1..150) };
    let mut promised = Vec::new();
    if lines == 0 {
        std::thread::sleep(Duration::from_millis(fastrand::u64(..60)));
        killed.0.kill().unwrap();
    }
    let mut seen = 0;
    for line in out.lines() {
        let Ok(line) = line else { break };
        if let Some((name, generation)) =
            line.split_once("purged ").and_then(|(_, promise)| promise.split_once(' '))
            && let (Ok(name), Ok(generation)) = (name.parse(), generation.parse())
        {
            promised.push((name, generation));
            seen += 1;
        }
        if seen == lines && lines > 0 {
            // SIGKILL by id; what it wrote before is still read.
            let _ = rustix::process::kill_process(
                rustix::process::Pid::from_raw(pid as i32).unwrap(),
                rustix::process::Signal::KILL,
            );
        }
    }
    promised
}

async fn check(cache: &Cache, promised: &[(u32, u32)], round: u32) -> u32 {
    let mut highest = 0;
    for name in 0..NAMES {
        let Some(found) = lookup(cache, &format!("/{name}")) else { continue };
        let Ok(bytes) = body(cache, &found.variants[0]).await else { continue };
        let generation =
            generation(name, &bytes).unwrap_or_else(|| panic!("round {round}: wrong bytes of {name}"));
        highest = highest.max(generation);
        let purged = promised.iter().filter(|(purged, _)| *purged == name).map(|(_, at)| *at).max();
        assert!(
            purged.is_none_or(|purged| generation > purged),
            "round {round}: {name} of {generation} was purged at {purged:?}"
        );
    }
    highest
}

#[test]
fn nothing_wrong_or_purged_survives_kill_9() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if let Some(dir) = std::env::var_os(DIR) {
        runtime.block_on(be_killed(Path::new(&dir)));
        return;
    }
    let rounds = std::env::var(ROUNDS).ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(10);
    let dir = tempfile::tempdir().unwrap();
    let mut promised: Vec<(u32, u32)> = Vec::new();
    let mut from = 1;
    for round in 0..rounds {
        promised.extend(run_and_kill(dir.path(), from));
        from = promised.iter().map(|(_, generation)| *generation).max().unwrap_or(from) + 100_000;
        runtime.block_on(async {
            // Before it has opened, and after.
            let early = Cache::open(
                super::journeys::settings(),
                Some(dir.path().to_owned()),
                crate::clock::Clock::System,
            )
            .unwrap();
            check(&early, &promised, round).await;
            assert_eq!(early.wait_open().await, super::State::Open);
            check(&early, &promised, round).await;
            let told = early.findings();
            assert!(told.iter().all(|finding| finding.code == "snapshot-unfinished"), "{told:?}");
            early.close().await;
        });
    }
}
