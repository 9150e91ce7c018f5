use std::sync::mpsc;

use tokio::sync::oneshot;

use super::*;

#[tokio::test]
async fn a_connection_serves_again_once_its_reply_was_read() {
    let origin = good().await;
    let upstream = upstream(settings(&[origin.address]));
    for _ in 0..5 {
        assert_eq!(ask(&upstream, get()).await, "ok");
    }
    assert_eq!((origin.connections(), origin.requests()), (1, 5));
    let seen = only(&upstream);
    assert_eq!((seen.connections, seen.idle, seen.connects, seen.requests, seen.reused), (1, 1, 1, 5, 4));
}

#[tokio::test]
async fn replies_without_a_body_leave_the_connection_usable_at_once() {
    let origin = origin(async |mut peer: Peer| {
        while let Some(head) = peer.head().await {
            let reply = match head.split(' ').next() {
                Some("HEAD") => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
                Some("DELETE") => "HTTP/1.1 204 No Content\r\n\r\n",
                _ => "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            };
            peer.say(reply).await;
        }
    })
    .await;
    let upstream = upstream(settings(&[origin.address]));
    for method in [Method::HEAD, Method::DELETE, Method::GET, Method::HEAD] {
        let fetched = upstream.fetch(request(method, "/")).await.unwrap();
        assert!(http_body::Body::is_end_stream(fetched.response.body()));
    }
    assert_eq!((origin.connections(), origin.requests()), (1, 4));
}

#[tokio::test]
async fn a_connection_that_the_origin_closed_is_not_used_again() {
    let origin = origin(async |mut peer: Peer| {
        peer.head().await;
        peer.say(OK).await;
    })
    .await;
    let upstream = upstream(settings(&[origin.address]));
    for _ in 0..3 {
        let fetched = upstream.fetch(post("x")).await.unwrap();
        assert_eq!(fetched.attempts, 1);
        text(fetched).await.unwrap();
        until(|| only(&upstream).connections == 0).await;
    }
}

#[tokio::test]
async fn a_request_lost_on_a_kept_connection_is_sent_again_only_if_idempotent() {
    let origin = origin(async |mut peer: Peer| {
        peer.head().await;
        peer.say(OK).await;
        // The second request is read and never answered.
        if peer.nth.is_multiple_of(2) {
            peer.head().await;
        } else {
            peer.closed().await;
        }
    })
    .await;
    let upstream = upstream(settings(&[origin.address]));
    ask(&upstream, get()).await;
    let fetched = upstream.fetch(get()).await.unwrap();
    assert_eq!(fetched.attempts, 2);
    // Dropped unread: the connection is closed, the next one is the third.
    drop(fetched);
    until(|| only(&upstream).connections == 0).await;

    ask(&upstream, get()).await;
    let error = upstream.fetch(post("x")).await.unwrap_err();
    assert!(matches!(error.failure, Failure::ResetBeforeHead(_)), "{error}");
    assert_eq!((error.attempts, error.failure.as_str()), (1, "connection_terminated"));
}

#[tokio::test]
async fn no_retries_means_none() {
    let origin = origin(async |mut peer: Peer| {
        peer.head().await;
        peer.say(OK).await;
        peer.head().await;
    })
    .await;
    let upstream = upstream(Settings { retries: 0, ..settings(&[origin.address]) });
    ask(&upstream, get()).await;
    assert_eq!(upstream.fetch(get()).await.unwrap_err().attempts, 1);
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_keepalive() {
    let (told, heard) = oneshot::channel();
    let told = parking_lot::Mutex::new(Some(told));
    let origin = origin(async move |mut peer: Peer| {
        peer.head().await;
        peer.say(OK).await;
        peer.closed().await;
        let _ = told.lock().take().unwrap().send(());
    })
    .await;
    let keepalive = Duration::from_millis(20);
    let upstream = upstream(Settings { keepalive, ..settings(&[origin.address]) });
    ask(&upstream, get()).await;
    tokio::time::timeout(Duration::from_secs(20), heard).await.unwrap().unwrap();
}

#[tokio::test]
async fn who_waits_gets_the_connection_that_is_given_back() {
    let origin = good().await;
    let capped = Settings { max_connections: 1, max_pending: 1, ..settings(&[origin.address]) };
    let upstream = upstream(capped);
    let held = upstream.fetch(get()).await.unwrap();
    let waiter = Arc::clone(&upstream);
    let waiting = tokio::spawn(async move { ask(&waiter, get()).await });
    until(|| only(&upstream).pending == 1).await;
    let error = upstream.fetch(get()).await.unwrap_err();
    assert!(matches!(error.failure, Failure::QueueFull));
    text(held).await.unwrap();
    assert_eq!(waiting.await.unwrap(), "ok");
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_wait_for_a_connection_is_bounded() {
    let origin = good().await;
    let connect_timeout = Duration::from_millis(300);
    let upstream = upstream(Settings { max_connections: 1, connect_timeout, ..settings(&[origin.address]) });
    let held = upstream.fetch(get()).await.unwrap();
    let error = upstream.fetch(get()).await.unwrap_err();
    assert!(matches!(error.failure, Failure::QueueTimeout));
    drop(held);
    assert_eq!(ask(&upstream, get()).await, "ok");
}

/// Runs what it is sent on a thread and runtime of its own, as a worker does.
struct Worker(tokio::sync::mpsc::UnboundedSender<FetchRequest>, mpsc::Receiver<String>);

fn worker(upstream: Arc<Upstream>) -> Worker {
    let (requests, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let (answers, answered) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            while let Some(request) = asked.recv().await {
                answers.send(ask(&upstream, request).await).unwrap();
            }
        });
    });
    Worker(requests, answered)
}

impl Worker {
    fn ask(&self) -> String {
        self.0.send(get()).unwrap();
        self.1.recv_timeout(Duration::from_secs(20)).unwrap()
    }
}

#[tokio::test]
async fn the_cap_holds_over_workers_and_idle_connections_change_hands() {
    let origin = good().await;
    let upstream = upstream(Settings { max_connections: 1, ..settings(&[origin.address]) });
    let (a, b) = (worker(Arc::clone(&upstream)), worker(Arc::clone(&upstream)));
    for _ in 0..20 {
        assert_eq!((a.ask(), b.ask()), ("ok".into(), "ok".into()));
    }
    assert_eq!((origin.connections(), origin.requests()), (1, 40));
}

#[tokio::test]
async fn a_reload_keeps_connections_of_what_stays_and_closes_the_rest() {
    let (one, two) = (good().await, good().await);
    let upstreams = Upstreams::new(Handle::current());
    upstreams.apply(&[settings(&[one.address, two.address])]);
    let upstream = upstreams.get("api").unwrap();
    assert_eq!((ask(&upstream, get()).await, ask(&upstream, get()).await), ("ok".into(), "ok".into()));

    upstreams.apply(&[Settings { retries: 7, ..settings(&[one.address]) }]);
    let reloaded = upstreams.get("api").unwrap();
    assert_eq!(ask(&reloaded, get()).await, "ok");
    assert_eq!((one.connections(), only(&reloaded).requests), (1, 2));
    until(|| upstream.snapshot().endpoints[1].connections == 0).await;
    upstreams.apply(&[]);
    assert!(upstreams.get("api").is_none() && upstreams.all().is_empty());
    until(|| only(&reloaded).connections == 0).await;
}

#[tokio::test]
async fn an_origin_that_hangs_up_at_once_is_not_asked_for_ever() {
    let origin = origin(async |_: Peer| {}).await;
    let upstream = upstream(settings(&[origin.address]));
    for asked in [get(), post("x")] {
        let error = upstream.fetch(asked).await.unwrap_err();
        assert!(matches!(error.failure, Failure::ResetBeforeHead(_)), "{error}");
    }
    assert!(origin.connections() <= 6);
}

#[tokio::test]
async fn an_early_reply_gives_its_connection_back_once_the_request_was_sent() {
    let origin = origin(async |mut peer: Peer| {
        while peer.head().await.is_some() {
            peer.say(OK).await;
            peer.through("0\r\n\r\n").await;
        }
    })
    .await;
    let upstream = upstream(settings(&[origin.address]));
    let (finish, finished) = oneshot::channel::<()>();
    let last = futures_util::stream::once(async {
        let _ = finished.await;
        Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from_static(b"x")))
    });
    let body = StreamBody::boxed(http_body_util::StreamBody::new(last), Duration::from_secs(20), None);
    let asked = FetchRequest { body: RequestBody::from(body), ..request(Method::POST, "/") };
    assert_eq!(ask(&upstream, asked).await, "ok");
    assert_eq!((only(&upstream).connections, only(&upstream).idle), (1, 0));
    finish.send(()).unwrap();
    until(|| only(&upstream).idle == 1).await;
    assert_eq!(ask(&upstream, get()).await, "ok");
    assert_eq!(origin.connections(), 1);
}
