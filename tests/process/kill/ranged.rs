//! What is asked for in ranges: objects that are stored in parts, and others that are stored in slices. Each changes when
//! it is purged, and only then, so that its parts can be put together until then.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use serde_json::json;

use super::Counts;
use crate::support::{Answer, Asked, Client, Reply};

pub const CONFIG: &str = "\
[[routes]]
name = \"sliced\"
match = { path = \"/sliced/*\" }
cache = { slice = \"64KiB\" }

[[routes]]
name = \"rest\"
match = { path = \"/*\" }
";

/// Half of them are sliced.
const OBJECTS: usize = 16;

/// Every block of so many bytes says whose it is, of which version, and where it stands.
const BLOCK: usize = 20;

#[derive(Default)]
pub struct Ranged {
    /// What the origin has.
    versions: [AtomicU64; OBJECTS],
    /// The oldest version that a purge has left.
    oldest: [AtomicU64; OBJECTS],
}

fn target(number: usize) -> String {
    let route = if number.is_multiple_of(2) { "sliced" } else { "parts" };
    format!("/{route}/{number}")
}

/// From one slice to some.
fn length(number: usize) -> usize {
    [50_000, 70_000, 200_017, 400_001][number / 2 % 4]
}

fn bytes(number: usize, version: u64, range: Range<usize>) -> Vec<u8> {
    let blocks = range.start / BLOCK..range.end.div_ceil(BLOCK);
    let text: String = blocks.clone().map(|block| format!("{version:8}{number:4}{block:7};")).collect();
    let first = blocks.start * BLOCK;
    text.as_bytes()[range.start - first..range.end - first].to_vec()
}

/// How it ends to ask for a range.
pub enum Asking {
    /// With all of it.
    Whole,
    /// It broke off after its head.
    Cut,
    /// Nothing came.
    Nothing(io::Error),
}

impl Ranged {
    /// What the origin says of one of these.
    pub fn answer(&self, asked: &Asked<'_>) -> Option<Answer> {
        let number = asked.target.strip_prefix("/sliced/").or(asked.target.strip_prefix("/parts/"))?;
        let number: usize = number.parse().unwrap();
        let version = self.versions[number].load(SeqCst);
        let tag = format!("\"{number}-{version}\"");
        if asked.header("if-none-match").is_some_and(|tags| tags.contains(&tag)) {
            return Some(Answer { status: 304, ..Answer::fresh("", 3600) }.with("ETag", tag));
        }
        let whole = Answer::fresh(bytes(number, version, 0..length(number)), 3600);
        Some(whole.with("ETag", tag).ranged(asked))
    }

    /// Asks for a range or for all of one, and checks every byte that comes. What it is made of may be purged on the way:
    /// then it breaks off, and has had no wrong byte so far.
    pub fn ask(&self, client: &mut Client, counts: &Counts) -> Asking {
        let number = fastrand::usize(..OBJECTS);
        let oldest = self.oldest[number].load(SeqCst);
        let (range, field) = some_range(length(number));
        let request = format!("GET {} HTTP/1.1\r\nHost: stone.test\r\n{field}\r\n", target(number));
        let head = match client.send(request.as_bytes()).and_then(|()| client.head()) {
            Ok(head) => head,
            Err(error) => return Asking::Nothing(error),
        };
        let version = check_head(number, oldest, &range, !field.is_empty(), &head);
        let mut body = Vec::new();
        let ended = client.stream_body(&head, |bytes| body.extend_from_slice(bytes));
        let right = bytes(number, version, range.clone());
        assert!(right.starts_with(&body), "wrong bytes in {} {range:?} of version {version}", target(number));
        if ended.is_err() {
            counts.cut.fetch_add(1, SeqCst);
            return Asking::Cut;
        }
        assert_eq!(body.len(), right.len(), "{} {range:?}", target(number));
        counts.ranges.fetch_add(1, SeqCst);
        counts.range_hits.fetch_add(u64::from(head.is_hit()), SeqCst);
        Asking::Whole
    }

    /// Asks where nothing is purged meanwhile: at most once a reply breaks off, since slices of two versions had been
    /// stored before; these are gone then.
    pub fn verify(&self, client: &mut Client, address: SocketAddr, counts: &Counts) {
        for _ in 0..OBJECTS {
            match self.ask(client, counts) {
                Asking::Whole => return,
                Asking::Cut => *client = Client::connect(address).unwrap(),
                Asking::Nothing(error) => panic!("no reply: {error}"),
            }
        }
        panic!("replies break off again and again");
    }

    /// Changes one, and purges what was.
    pub fn purge(&self, admin: &mut Client) -> io::Result<()> {
        let number = fastrand::usize(..OBJECTS);
        let version = self.versions[number].fetch_add(1, SeqCst) + 1;
        let select = format!("url:http://stone.test{}", target(number));
        let reply = admin.post("/v1/cache/purge", &json!({ "select": select }))?;
        assert_eq!(reply.status, 200, "{select}: {}", reply.text());
        assert!(reply.text().contains("\"durable\":true"), "{select}: {}", reply.text());
        self.oldest[number].fetch_max(version, SeqCst);
        Ok(())
    }
}

fn some_range(length: usize) -> (Range<usize>, String) {
    let first = fastrand::usize(..length);
    let last = (first + fastrand::usize(..length / 2)).min(length - 1);
    match fastrand::u8(..10) {
        0 => (0..length, String::new()),
        1 => (first..length, format!("Range: bytes={first}-\r\n")),
        2 => (first..length, format!("Range: bytes=-{}\r\n", length - first)),
        _ => (first..last + 1, format!("Range: bytes={first}-{last}\r\n")),
    }
}

/// The head is that of what was asked for, in a version that is allowed: which one.
fn check_head(number: usize, oldest: u64, range: &Range<usize>, has_range: bool, head: &Reply) -> u64 {
    let told = format!("{} {range:?}: {}", target(number), head.header("cache-status"));
    let tag = head.header("etag").trim_matches('"').split_once('-');
    let version: u64 = tag.and_then(|(_, version)| version.parse().ok()).unwrap_or_else(|| panic!("{told}"));
    assert!(version >= oldest, "{told}: version {version} returned, purged up to {oldest}");
    assert_eq!(head.status, if has_range { 206 } else { 200 }, "{told}");
    if has_range {
        let place = format!("bytes {}-{}/{}", range.start, range.end - 1, length(number));
        assert_eq!(head.header("content-range"), place, "{told}");
    }
    version
}
