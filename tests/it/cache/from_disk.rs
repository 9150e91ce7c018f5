//! Hits whose content is in a file of the store: sent right from there, and as right as any.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use proxy_stone::http::content::Content;
use proxy_stone::telemetry::event::End;

use super::at_once::{LONG_WAY, at_once, content, lasting, without_times};
use crate::support::{Answer, Client, H2, Origin, Proxy, noon, numbered, until};

/// Several chunks, the last one not whole.
const SIZE: usize = 300_007;

async fn origin_of(size: usize) -> Origin {
    let answer = Answer::ok(numbered(size)).field("Cache-Control", "max-age=60").field("ETag", "\"1\"");
    Origin::always(answer).await
}

/// A proxy with `/a` on disk; with `memory = "1KiB"` that holds nothing else.
async fn stored(origin: &Origin, store: &str) -> Proxy {
    let config = format!("upstream = \"{}\"\n[store]\n{store}", origin.url());
    let proxy = Proxy::of(config).clock(&noon()).on_disk().start().await;
    assert!(proxy.get("/a").await.whole);
    proxy.stored(1).await;
    proxy.written().await;
    proxy
}

/// The one body file.
fn body_file(proxy: &Proxy) -> PathBuf {
    let folders = fs::read_dir(proxy.store_dir().join("bodies")).unwrap();
    let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    files[0].clone()
}

/// Turns a byte over, in a way that every file system tells of.
fn damage(path: &Path, at: u64) {
    let mut file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[byte[0] ^ 1]).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
}

#[tokio::test]
async fn nobody_can_tell_which_way_a_body_in_a_file_went() {
    let origin = origin_of(SIZE).await;
    let proxy = stored(&origin, "memory = '1KiB'").await;
    assert!(!at_once(&proxy, "/a", &[]), "nobody has opened it");
    let hits = proxy.instance.cache.stats().disk_hits;
    // The first one opens the file.
    let first = proxy.get("/a").await;
    assert!(at_once(&proxy, "/a", &[]));
    let mut client = Client::connect(proxy.address).await;
    let short = client.get("/a").await;
    let long = client.ask("GET", "/a", &[LONG_WAY], "").await;
    let again = client.get("/a").await;
    for reply in [&first, &short, &long, &again] {
        assert!(reply.status == 200 && reply.whole && reply.body == numbered(SIZE));
        assert_eq!(lasting(&reply.fields), lasting(&first.fields));
    }
    assert_eq!(short.fields.all("cache-status"), ["proxy-stone; hit; ttl=60"]);
    // The one that was only looked at counts like the rest.
    assert_eq!(proxy.instance.cache.stats().disk_hits - hits, 5);
    let http_2 = proxy.connect_h2().await.ask(H2::request("GET", "/a", "")).await;
    assert!(http_2.whole && http_2.body == numbered(SIZE));
    let finished = proxy.finished(7).await;
    let told = |id: Option<&str>| {
        let this = finished.iter().find(|finished| Some(finished.id.to_string().as_str()) == id);
        this.map(|finished| without_times(finished)).expect("it is told")
    };
    let of_long = told(long.field("x-request-id"));
    assert_eq!(told(short.field("x-request-id")), of_long);
    assert_eq!(told(again.field("x-request-id")), of_long);
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn slow_clients_and_such_as_leave_hold_up_nothing() {
    let size = 3_000_000;
    let body = numbered(size);
    let origin = origin_of(size).await;
    let proxy = stored(&origin, "memory = '1KiB'").await;
    // Every chunk has been read once then.
    assert!(proxy.get("/a").await.body == body);
    let mut slow = Client::connect_narrow(proxy.address).await;
    for _ in 0..2 {
        slow.say("GET /a HTTP/1.1\r\nHost: api.test\r\n\r\n").await;
        assert!(proxy.get("/a").await.body == body);
        let reply = slow.reply("GET").await;
        assert!(reply.status == 200 && reply.whole && reply.body == body);
    }
    let told = proxy.finished(6).await.len();
    let mut gone = Client::connect_narrow(proxy.address).await;
    gone.say("GET /a HTTP/1.1\r\nHost: api.test\r\n\r\n").await;
    assert!(proxy.get("/a").await.whole);
    drop(gone);
    let finished = proxy.finished(told + 2).await;
    let aborted: Vec<_> = finished.iter().filter(|finished| finished.end == End::ClientAborted).collect();
    assert!(aborted.len() == 1 && aborted[0].sent < size as u64, "{aborted:?}");
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn damage_to_a_file_that_is_open_reaches_nobody() {
    let origin = origin_of(SIZE).await;
    let proxy = stored(&origin, "memory = '1KiB'").await;
    for round in 1..4_usize {
        assert!(proxy.get("/a").await.body == numbered(SIZE));
        assert!(at_once(&proxy, "/a", &[]));
        let file = body_file(&proxy);
        match round {
            1 => damage(&file, 10),
            2 => fs::remove_file(&file).unwrap(),
            _ => OpenOptions::new().write(true).open(&file).unwrap().set_len(70_000).unwrap(),
        }
        assert!(!at_once(&proxy, "/a", &[]));
        let reply = proxy.get("/a").await;
        assert!(reply.status == 200 && reply.whole && reply.body == numbered(SIZE));
        assert_eq!(origin.hits(), 1 + round, "{}", reply.cache_status());
        proxy.stored(1 + round as u64).await;
        proxy.written().await;
    }
    assert_eq!(proxy.instance.cache.stats().corrupt, 3);
}

#[tokio::test]
async fn what_ram_holds_goes_from_its_file_as_long_as_that_is_whole() {
    let origin = origin_of(SIZE).await;
    let proxy = stored(&origin, "").await;
    let in_file = || matches!(content(&proxy, "/a", &[]), Some(Content::File(_)));
    let is_right = async || {
        let reply = proxy.get("/a").await;
        assert!(reply.status == 200 && reply.whole && reply.body == numbered(SIZE));
        assert!(reply.cache_status().contains("; hit; "));
    };
    is_right().await;
    until("its file has been verified", in_file).await;
    is_right().await;
    damage(&body_file(&proxy), 200_000);
    assert!(!in_file());
    is_right().await;
    fs::remove_file(body_file(&proxy)).unwrap();
    is_right().await;
    assert!(!in_file());
    assert_eq!(origin.hits(), 1);
}
