use std::time::Instant;

use http::{HeaderMap, StatusCode};
use http_body::Frame;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::*;

const IDLE: Duration = Duration::from_secs(10);

fn streaming(parts: &'static [&'static str]) -> StreamBody {
    let frames =
        parts.iter().map(|part| Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(part.as_bytes()))));
    StreamBody::boxed(http_body_util::StreamBody::new(futures_util::stream::iter(frames)), IDLE, None)
}

#[tokio::test]
async fn a_slow_head_times_out() {
    let origin = origin(async |mut peer: Peer| peer.closed().await).await;
    let first_byte_timeout = Duration::from_millis(50);
    let upstream = upstream(Settings { first_byte_timeout, ..settings(&[origin.address]) });
    let error = upstream.fetch(get()).await.unwrap_err();
    assert!(matches!(error.failure, Failure::FirstByteTimeout));
    assert_eq!((error.attempts, origin.connections()), (1, 1));
    until(|| only(&upstream).connections == 0).await;
    let seen = only(&upstream);
    assert_eq!((seen.failures, seen.last_error), (1, Some("http_response_timeout")));
}

#[tokio::test]
async fn a_deadline_ends_the_wait_for_a_head_and_for_a_body() {
    let origin = origin(async |mut peer: Peer| {
        let head = peer.head().await.unwrap();
        if head.contains("/body") {
            peer.say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsome").await;
        }
        peer.closed().await;
    })
    .await;
    let upstream = upstream(settings(&[origin.address]));
    let deadline = || Some(Instant::now() + Duration::from_millis(500));
    let error = upstream.fetch(FetchRequest { deadline: deadline(), ..get() }).await.unwrap_err();
    assert!(matches!(error.failure, Failure::Deadline));
    let asked = FetchRequest { deadline: deadline(), ..request(Method::GET, "/body") };
    let fetched = upstream.fetch(asked).await.unwrap();
    assert!(matches!(text(fetched).await, Err(BodyError::Deadline)));
}

#[tokio::test]
async fn the_clock_of_the_first_byte_rests_while_the_client_is_slow() {
    let origin = origin(async |mut peer: Peer| {
        peer.head().await;
        peer.through("0\r\n\r\n").await;
        peer.say(OK).await;
    })
    .await;
    let first_byte_timeout = Duration::from_millis(250);
    let upstream = upstream(Settings { first_byte_timeout, ..settings(&[origin.address]) });
    let frames = futures_util::stream::unfold(0, |count| async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        (count < 3).then(|| (Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"x"))), count + 1))
    });
    let body = StreamBody::boxed(http_body_util::StreamBody::new(frames), IDLE, None);
    let progress = body.progress();
    let asked = FetchRequest { body: RequestBody::from(body), ..request(Method::POST, "/") };
    assert_eq!(ask(&upstream, asked).await, "ok");
    assert_eq!((progress.bytes(), progress.ended()), (3, true));
}

#[tokio::test]
async fn what_is_no_reply_is_refused() {
    let replies = [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ];
    for reply in replies {
        let origin = origin(async move |mut peer: Peer| {
            peer.head().await;
            peer.say(reply).await;
            peer.closed().await;
        })
        .await;
        let error = upstream(settings(&[origin.address])).fetch(get()).await.unwrap_err();
        assert!(matches!(error.failure, Failure::InvalidResponse(_)), "{reply}: {error}");
    }
}

#[tokio::test]
async fn a_head_without_end_is_cut() {
    let origin = origin(async |mut peer: Peer| {
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\n").await;
        peer.say(&"x: y\r\n".repeat(100_000)).await;
        peer.closed().await;
    })
    .await;
    let error = upstream(settings(&[origin.address])).fetch(get()).await.unwrap_err();
    assert!(matches!(error.failure, Failure::InvalidResponse(_)), "{error}");
}

#[tokio::test]
async fn interim_replies_are_passed_on_as_they_come() {
    let (go, gone) = oneshot::channel::<()>();
    let gone = Mutex::new(Some(gone));
    let origin = origin(async move |mut peer: Peer| {
        peer.head().await;
        peer.say("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n").await;
        let gone = gone.lock().take().unwrap();
        let _ = gone.await;
        peer.say(OK).await;
    })
    .await;
    let (tell, mut told) = mpsc::unbounded_channel();
    let on_interim: OnInterim = Arc::new(move |status: StatusCode, headers: &HeaderMap| {
        let _ = tell.send((status.as_u16(), headers["link"].clone()));
    });
    let upstream = upstream(settings(&[origin.address]));
    let fetch = upstream.fetch(FetchRequest { on_interim: Some(on_interim), ..get() });
    let hear = async {
        assert_eq!(told.recv().await.unwrap(), (103, HeaderValue::from_static("</a.css>")));
        go.send(()).unwrap();
    };
    let (fetched, ()) = tokio::join!(fetch, hear);
    assert_eq!(text(fetched.unwrap()).await.unwrap(), "ok");
}

#[tokio::test]
async fn a_body_waits_for_the_origins_100() {
    let origin = origin(async |mut peer: Peer| {
        let head = peer.head().await.unwrap();
        assert!(head.contains("expect: 100-continue\r\n"), "{head}");
        assert_eq!(peer.beyond(), 0);
        peer.say("HTTP/1.1 100 Continue\r\n\r\n").await;
        peer.through("0\r\n\r\n").await;
        peer.say(OK).await;
        peer.closed().await;
    })
    .await;
    let upstream = upstream(settings(&[origin.address]));
    let body = RequestBody::from(streaming(&["a", "b"]));
    let asked = FetchRequest { body, expect_continue: true, ..request(Method::POST, "/") };
    assert_eq!(ask(&upstream, asked).await, "ok");
    until(|| only(&upstream).idle == 1).await;
}

#[tokio::test]
async fn a_final_reply_instead_of_100_leaves_the_body_unread_and_closes() {
    let origin = origin(async |mut peer: Peer| {
        peer.head().await;
        peer.say("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno").await;
        peer.closed().await;
    })
    .await;
    let upstream = upstream(settings(&[origin.address]));
    let body = streaming(&["a"]);
    let progress = body.progress();
    let asked =
        FetchRequest { body: RequestBody::from(body), expect_continue: true, ..request(Method::POST, "/") };
    assert_eq!(ask(&upstream, asked).await, "no");
    until(|| only(&upstream).connections == 0).await;
    assert_eq!((progress.bytes(), progress.failure()), (0, Some(RequestBodyError::NotWanted)));
}

#[tokio::test]
async fn a_body_that_fails_is_the_clients_doing() {
    let origin = origin(async |mut peer: Peer| peer.closed().await).await;
    let upstream = upstream(settings(&[origin.address]));
    let frames = [Ok(Frame::data(Bytes::from_static(b"x"))), Err(std::io::Error::other("gone"))];
    let body = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
    let body = RequestBody::from(StreamBody::boxed(body, IDLE, None));
    let error = upstream.fetch(FetchRequest { body, ..request(Method::PUT, "/") }).await.unwrap_err();
    assert!(matches!(error.failure, Failure::RequestBody(RequestBodyError::Aborted)), "{error}");
}

#[tokio::test]
async fn an_early_reply_is_heard_though_the_origin_hangs_up() {
    let origin = origin(async |mut peer: Peer| {
        peer.head().await;
        peer.say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig").await;
    })
    .await;
    let upstream = upstream(settings(&[origin.address]));
    for _ in 0..20 {
        let frames = futures_util::stream::repeat_with(|| {
            Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(&[0; 16 * 1024])))
        });
        let body = http_body_util::StreamBody::new(frames.take(1000));
        let body = RequestBody::from(StreamBody::boxed(body, IDLE, None));
        let fetched = upstream.fetch(FetchRequest { body, ..request(Method::POST, "/") }).await.unwrap();
        assert_eq!(fetched.response.status(), 413);
    }
}

#[tokio::test]
async fn a_get_keeps_its_body() {
    let origin = origin(async |mut peer: Peer| {
        while let Some(head) = peer.head().await {
            assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
            assert_eq!(peer.through("0\r\n\r\n").await.unwrap(), "1\r\na\r\n1\r\nb\r\n0\r\n\r\n");
            peer.say(if head.starts_with("HEAD") { "HTTP/1.1 200 OK\r\n\r\n" } else { OK }).await;
        }
    })
    .await;
    let upstream = upstream(settings(&[origin.address]));
    for method in [Method::GET, Method::HEAD, Method::DELETE] {
        let body = RequestBody::from(streaming(&["a", "b"]));
        upstream.fetch(FetchRequest { body, ..request(method, "/") }).await.map(drop).unwrap();
    }
}

#[tokio::test]
async fn dropping_the_fetch_cancels_the_request() {
    let (told, heard) = oneshot::channel();
    let told = Mutex::new(Some(told));
    let origin = origin(async move |mut peer: Peer| {
        peer.head().await;
        peer.closed().await;
        let _ = told.lock().take().unwrap().send(());
    })
    .await;
    let upstream = upstream(settings(&[origin.address]));
    let fetching = Arc::clone(&upstream);
    let fetch = tokio::spawn(async move { fetching.fetch(get()).await.map(drop) });
    until(|| origin.requests() == 1).await;
    fetch.abort();
    tokio::time::timeout(IDLE, heard).await.unwrap().unwrap();
    until(|| only(&upstream).connections == 0).await;
}

use futures_util::StreamExt;
