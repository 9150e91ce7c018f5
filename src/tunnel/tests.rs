//! What an end of a tunnel sees, with pipes for sockets and a clock that is wound.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::*;

type Told = Arc<Mutex<Option<Ended>>>;

struct Listener(Told);

impl Witness for Listener {
    fn ended(self: Box<Self>, ended: Ended) {
        *self.0.lock() = Some(ended);
    }
}

/// A tunnel between two pipes of this size.
struct Between {
    client: DuplexStream,
    upstream: DuplexStream,
    stopping: Arc<AtomicBool>,
    tunnels: Arc<Tunnels>,
    told: Told,
    task: JoinHandle<()>,
}

const SHORT: Limits = Limits { idle: Duration::from_secs(100), whole: None };

fn between(size: usize, websocket: bool, limits: Limits) -> Between {
    let (client, mut near) = duplex(size);
    let (far, upstream) = duplex(size);
    let (stopping, tunnels, told) =
        (Arc::<AtomicBool>::default(), Arc::<Tunnels>::default(), Told::default());
    let place = tunnels.admit(Some(1)).unwrap();
    let mut tunnel = Tunnel::new(Box::new(far), websocket, limits, place, Box::new(Listener(told.clone())));
    let stop = stopping.clone();
    let task = tokio::spawn(async move {
        let reason = poll_fn(|cx| tunnel.poll(cx, &mut near, stop.load(Ordering::SeqCst))).await;
        tunnel.end(reason);
    });
    Between { client, upstream, stopping, tunnels, told, task }
}

impl Between {
    /// Lets the tunnel see that the instance is stopping, by something that moves.
    fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    async fn ended(self) -> Ended {
        self.task.await.unwrap();
        assert_eq!(self.tunnels.open(), 0);
        let ended = self.told.lock().take().unwrap();
        assert_eq!(self.tunnels.ended().find(|(_, count)| *count == 1).unwrap().0, ended.reason);
        assert_eq!(self.tunnels.moved(), (ended.to_client, ended.to_upstream));
        ended
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_pass_both_ways_and_each_side_closes_for_itself() {
    let mut between = between(64, false, SHORT);
    assert!(between.tunnels.admit(Some(1)).is_none(), "as many as there may be");
    let sent: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    let (mut read, mut write) = tokio::io::split(between.client);
    let bytes = sent.clone();
    let writer = tokio::spawn(async move {
        write.write_all(&bytes).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut got = Vec::new();
    between.upstream.read_to_end(&mut got).await.unwrap();
    assert!(got == sent);
    writer.await.unwrap();
    between.upstream.write_all(b"after the end").await.unwrap();
    between.upstream.shutdown().await.unwrap();
    let mut back = Vec::new();
    read.read_to_end(&mut back).await.unwrap();
    assert_eq!(back, b"after the end");
    between.task.await.unwrap();
    let ended = between.told.lock().take().unwrap();
    assert_eq!(ended, Ended { reason: Reason::ClientClosed, to_client: 13, to_upstream: 100_000 });
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_not_read_for() {
    let mut between = between(64, false, SHORT);
    let mut written = 0;
    // Until nothing more fits: two pipes and what one direction holds.
    while let Ok(more) =
        tokio::time::timeout(Duration::from_secs(1), between.upstream.write(&[7; 4096])).await
    {
        written += more.unwrap();
    }
    assert!(written <= 64 + 64 + (16 << 10), "{written}");
    assert_eq!(between.tunnels.moved(), (0, 0), "little is not counted at once");
    let mut got = vec![0; written];
    between.client.read_exact(&mut got).await.unwrap();
    between.upstream.write_all(b"on").await.unwrap();
    drop(between.client);
    between.task.await.unwrap();
    assert_eq!(between.told.lock().unwrap().reason, Reason::ClientBroke);
}

#[tokio::test(start_paused = true)]
async fn idle_and_old_ones_are_ended() {
    let between_bytes = between(64, false, SHORT);
    let begun = Instant::now();
    assert_eq!(between_bytes.ended().await.reason, Reason::Idle);
    assert_eq!(begun.elapsed().as_secs(), 100);

    let mut busy = between(64, false, Limits { whole: Some(Duration::from_secs(250)), ..SHORT });
    let begun = Instant::now();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(70)).await;
        busy.client.write_all(b"x").await.unwrap();
    }
    let Between { task, told, .. } = busy;
    task.await.unwrap();
    assert_eq!(told.lock().unwrap().reason, Reason::Expired);
    assert_eq!(begun.elapsed().as_secs(), 250);

    let mut half = between(64, false, Limits { idle: Duration::from_secs(10_000), whole: None });
    half.client.shutdown().await.unwrap();
    let begun = Instant::now();
    let Between { task, told, .. } = half;
    task.await.unwrap();
    assert_eq!(told.lock().unwrap().reason, Reason::ClientClosed);
    assert_eq!(begun.elapsed(), HALF_OPEN);
}

#[tokio::test(start_paused = true)]
async fn an_idle_websocket_is_told_before_it_is_ended() {
    let mut between = between(64, true, SHORT);
    let mut to_client = [0; 4];
    between.client.read_exact(&mut to_client).await.unwrap();
    assert_eq!(to_client, [0x88, 2, 0x03, 0xe9]);
    let mut to_upstream = [0; 8];
    between.upstream.read_exact(&mut to_upstream).await.unwrap();
    assert_eq!(to_upstream[..2], [0x88, 0x82]);
    between.client.write_all(&[0x88, 0x80, 1, 2, 3, 4]).await.unwrap();
    between.upstream.write_all(&[0x88, 0]).await.unwrap();
    let begun = Instant::now();
    let Between { task, told, .. } = between;
    task.await.unwrap();
    assert_eq!(told.lock().unwrap().reason, Reason::Idle);
    assert!(begun.elapsed() < FAREWELL, "both have answered");
}

#[tokio::test(start_paused = true)]
async fn stopping_waits_for_the_end_of_the_frame_and_for_the_answers() {
    let mut between = between(1 << 20, true, SHORT);
    // Half of a frame of 1000 bytes, then the rest with another frame behind it.
    let mut frame = vec![0x82, 126, 0x03, 0xe8];
    frame.extend([9; 1000]);
    between.upstream.write_all(&frame[..500]).await.unwrap();
    let mut got = vec![0; 500];
    between.client.read_exact(&mut got).await.unwrap();
    between.stop();
    frame.extend([0x82, 1, b'x']);
    between.upstream.write_all(&frame[500..]).await.unwrap();
    let mut rest = vec![0; 504 + 4];
    between.client.read_exact(&mut rest).await.unwrap();
    assert_eq!(rest[503..], [9, 0x88, 2, 0x03, 0xe9], "the frame is whole, and the next one does not come");
    let mut farewell = [0; 8];
    between.upstream.read_exact(&mut farewell).await.unwrap();
    // Neither answers.
    let begun = Instant::now();
    let Between { task, told, client, upstream, .. } = between;
    task.await.unwrap();
    assert_eq!(told.lock().unwrap().reason, Reason::Drained);
    assert_eq!(begun.elapsed(), FAREWELL);
    drop((client, upstream));
}

#[tokio::test(start_paused = true)]
async fn a_close_frame_that_has_passed_is_not_sent_twice() {
    let mut between = between(64, true, SHORT);
    between.upstream.write_all(&[0x88, 2, 0x03, 0xe8]).await.unwrap();
    let mut got = [0; 4];
    between.client.read_exact(&mut got).await.unwrap();
    between.stop();
    between.client.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]).await.unwrap();
    between.upstream.shutdown().await.unwrap();
    let mut more = Vec::new();
    let Between { task, told, mut client, .. } = between;
    task.await.unwrap();
    client.read_to_end(&mut more).await.unwrap();
    assert_eq!(more, b"");
    assert_eq!(told.lock().unwrap().reason, Reason::Drained);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_behind_its_close_frame_has_closed() {
    for (said, expected) in
        [(&b"\x88\x80abcd"[..], Reason::ClientClosed), (b"\x89\x80abcd", Reason::ClientBroke)]
    {
        let mut tunnel = between(1024, true, SHORT);
        tunnel.client.write_all(said).await.unwrap();
        let mut heard = [0; 6];
        tunnel.upstream.read_exact(&mut heard).await.unwrap();
        let (client, spare) = (std::mem::replace(&mut tunnel.client, duplex(1).0), &mut tunnel.upstream);
        drop(client);
        // Nobody is there to take it.
        spare.write_all(b"\x81\x01x").await.unwrap();
        assert_eq!(tunnel.ended().await.reason, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_no_frames_goes_on_until_it_is_cut() {
    for (websocket, bytes) in [(false, &b"anything"[..]), (true, &[0x88, 126, 0, 1])] {
        let mut between = between(64, websocket, SHORT);
        between.upstream.write_all(bytes).await.unwrap();
        let mut got = vec![0; bytes.len()];
        between.client.read_exact(&mut got).await.unwrap();
        between.stop();
        between.upstream.write_all(b"more").await.unwrap();
        let mut more = [0; 4];
        between.client.read_exact(&mut more).await.unwrap();
        assert_eq!(&more, b"more");
        assert!(!between.task.is_finished());
    }
}
