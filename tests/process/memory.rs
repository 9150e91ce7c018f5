//! Large bodies stream: they arrive as they were sent, and memory does not grow with them.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::support::{Client, Origin, Place, Proxy};

const ROOM: u64 = 32 << 20;
const BLOCK: usize = 256 << 10;

/// Bytes to send, in blocks.
fn size() -> u64 {
    if std::env::var_os("PROXY_STONE_BIG").is_some() { 1 << 30 } else { 256 << 20 }
}

/// Block `number` of a body: each is another.
fn block(random: &[u8], number: u64) -> Vec<u8> {
    let mut block = random.to_vec();
    block[..8].copy_from_slice(&number.to_be_bytes());
    block
}

fn resident(pid: u32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() << 10
}

/// By how much the process grew above what it had at first, while this ran.
fn growth(pid: u32, run: impl FnOnce()) -> u64 {
    let before = resident(pid, "VmRSS:");
    let (done, most) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(before)));
    let watching = thread::spawn({
        let (done, most) = (done.clone(), most.clone());
        move || {
            while !done.load(SeqCst) {
                let now = resident(pid, "VmRSS:");
                let mut most = most.lock().unwrap();
                *most = now.max(*most);
                drop(most);
                thread::sleep(Duration::from_millis(5));
            }
        }
    });
    run();
    done.store(true, SeqCst);
    watching.join().unwrap();
    let most = *most.lock().unwrap();
    println!("resident memory: {} KiB before, {} KiB at most", before >> 10, most >> 10);
    most - before
}

/// Downloads and uploads through a warm proxy.
fn streams(cache: &str, answer: &'static str) {
    let random: Arc<Vec<u8>> = Arc::new((0..BLOCK).map(|_| fastrand::u8(..)).collect());
    let received = Arc::new(Mutex::new(blake3::Hasher::new()));
    let origin = Origin::raw({
        let (random, received) = (random.clone(), received.clone());
        move |mut asked| {
            let mut hasher = blake3::Hasher::new();
            asked.read_body(|bytes| {
                hasher.update(bytes);
            })?;
            *received.lock().unwrap() = hasher;
            if !asked.target.starts_with("/big") {
                return asked.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwarm");
            }
            let size = size();
            asked.write(format!("HTTP/1.1 200 OK\r\n{answer}Content-Length: {size}\r\n\r\n").as_bytes())?;
            (0..size / BLOCK as u64).try_for_each(|number| asked.write(&block(&random, number)))
        }
    });
    let place = Place::new();
    let proxy = Proxy::configured(&place, &format!("upstream = \"{}\"\n{cache}", origin.url()));
    proxy.store_is(&place, "open");
    let mut client = Client::connect(proxy.address).unwrap();
    assert_eq!(client.get("/warm").unwrap().text(), "warm");
    let sent = (0..size() / BLOCK as u64).fold(blake3::Hasher::new(), |mut hasher, number| {
        hasher.update(&block(&random, number));
        hasher
    });
    let sent = sent.finalize();

    let down = growth(proxy.pid(), || {
        let mut hasher = blake3::Hasher::new();
        client.send(b"GET /big HTTP/1.1\r\nHost: stone.test\r\n\r\n").unwrap();
        let reply = client
            .stream_reply(|bytes| {
                hasher.update(bytes);
            })
            .unwrap();
        assert_eq!(reply.status, 200);
        assert_eq!(hasher.finalize(), sent);
    });
    assert!(down < ROOM, "a download took {} KiB", down >> 10);

    for head in [format!("Content-Length: {}", size()), "Transfer-Encoding: chunked".to_owned()] {
        let chunked = head.starts_with('T');
        let up = growth(proxy.pid(), || {
            client
                .send(format!("POST /upload HTTP/1.1\r\nHost: stone.test\r\n{head}\r\n\r\n").as_bytes())
                .unwrap();
            for number in 0..size() / BLOCK as u64 {
                if chunked {
                    client.send(format!("{BLOCK:x}\r\n").as_bytes()).unwrap();
                }
                client.send(&block(&random, number)).unwrap();
                if chunked {
                    client.send(b"\r\n").unwrap();
                }
            }
            if chunked {
                client.send(b"0\r\n\r\n").unwrap();
            }
            assert_eq!(client.reply().unwrap().status, 200);
            assert_eq!(received.lock().unwrap().finalize(), sent);
        });
        assert!(up < ROOM, "an upload with {head} took {} KiB", up >> 10);
    }
}

#[test]
fn large_bodies_stream_in_little_memory() {
    streams("cache = false\n", "");
}

#[test]
fn large_bodies_that_are_stored_stream_in_little_memory() {
    streams("[store]\nmemory = \"8MiB\"\n", "Cache-Control: max-age=600\r\n");
}
