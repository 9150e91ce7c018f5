use std::future::poll_fn;
use std::time::Instant;

use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, StatusCode, Version};
use tokio::sync::oneshot;

use super::*;
use crate::http::h1::Content;
use crate::upstream::discover::Resolver;

const MOST: usize = 4096;

fn begin_by(upstream: &Arc<Upstream>, method: Method, deadline: Option<Instant>) -> Result<Asking, Begun> {
    let (target, client) = (PathAndQuery::from_static("/a?b"), HeaderValue::from_static("shop.example"));
    let ask = Ask { method: &method, target: &target, client_host: &client, deadline, pipes: false };
    upstream.ask(&ask, Instant::now(), |out| out.extend_from_slice(b"x: 1\r\n"))
}

fn begin(upstream: &Arc<Upstream>, method: Method) -> Result<Asking, Begun> {
    begin_by(upstream, method, None)
}

/// Waits for the head; the interim ones that came before.
async fn head(asking: &mut Asking) -> Result<Vec<(u16, HeaderMap)>, Begun> {
    let mut interim = Vec::new();
    let mut told = |status: StatusCode, headers: &HeaderMap| interim.push((status.as_u16(), headers.clone()));
    poll_fn(|cx| asking.poll_head(cx, &mut told)).await.map(|()| interim)
}

/// An exchange whose head has come, on the connection that a fetch has left.
async fn headed(upstream: &Arc<Upstream>, method: Method) -> Asking {
    let mut asking = begin(upstream, method).unwrap();
    head(&mut asking).await.unwrap();
    asking
}

async fn go_on(upstream: &Upstream, begun: Begun) -> Result<Fetched, FetchError> {
    upstream.fetch(FetchRequest { begun: Some(begun), ..get() }).await
}

/// What becomes of a request for which the short way is tried first.
async fn answer(upstream: &Arc<Upstream>) -> String {
    let begun = match begin(upstream, Method::GET) {
        Ok(mut asking) => match head(&mut asking).await {
            Ok(_) => {
                let content = asking.take_content(MOST).unwrap();
                return String::from_utf8(content.to_vec()).unwrap();
            }
            Err(begun) => begun,
        },
        Err(begun) => begun,
    };
    text(go_on(upstream, begun).await.unwrap()).await.unwrap()
}

/// An origin that says `first` to what it is asked first on a connection, and then `then`, if anything.
async fn turning(first: &'static str, then: &'static str) -> Origin {
    origin(async move |mut peer: Peer| {
        if peer.head().await.is_some() {
            peer.say(first).await;
        }
        while peer.head().await.is_some() && !then.is_empty() {
            peer.say(then).await;
        }
    })
    .await
}

#[tokio::test]
async fn what_is_at_hand_is_asked_and_serves_on() {
    let origin = good().await;
    let upstream = upstream(settings(&[origin.address]));
    ask(&upstream, get()).await;
    for turn in 0..6 {
        let mut asking = headed(&upstream, Method::GET).await;
        let reply = asking.reply();
        assert_eq!((reply.status(), reply.version()), (StatusCode::OK, Version::HTTP_11));
        assert_eq!((reply.content(), reply.length()), (Content::Length(2), Some(2)));
        assert_eq!(reply.fields().collect::<Vec<_>>(), [(&b"Content-Length"[..], &b"2"[..])]);
        assert_eq!((asking.content(1), asking.content(2)), (None, Some(&b"ok"[..])));
        assert_eq!(only(&upstream).idle, 0);
        match turn % 2 {
            0 => asking.finish(),
            _ => assert_eq!(asking.take_content(2).as_deref(), Some(&b"ok"[..])),
        }
        let seen = only(&upstream);
        assert_eq!((seen.connections, seen.idle), (1, 1));
        assert_eq!((asking.reply().status(), asking.reply().fields().len()), (StatusCode::OK, 0));
        assert!(asking.content(MOST).is_none() && asking.take_content(MOST).is_none());
        assert_eq!((&**asking.endpoint(), asking.first_byte() > Duration::ZERO), (&*seen.endpoint, true));
        assert_eq!(&*asking.origin().authority, origin.address.to_string());
    }
    let seen = only(&upstream);
    assert_eq!((seen.connects, seen.requests, seen.reused, seen.failures), (1, 7, 6, 0));
    assert_eq!((origin.connections(), origin.requests()), (1, 7));
}

#[tokio::test]
async fn the_head_is_the_one_that_a_fetch_would_have_written() {
    let origin = origin(async |mut peer: Peer| {
        while let Some(head) = peer.head().await {
            peer.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len())).await;
        }
    })
    .await;
    for (host, expected) in [
        (HostPolicy::Upstream, &*origin.address.to_string()),
        (HostPolicy::Client, "shop.example"),
        (HostPolicy::Fixed(HeaderValue::from_static("api.example")), "api.example"),
    ] {
        let upstream = upstream(Settings { host, base_path: "/v1".into(), ..settings(&[origin.address]) });
        let expected = format!("GET /v1/a?b HTTP/1.1\r\nhost: {expected}\r\nx: 1\r\n\r\n");
        let mut asked = request(Method::GET, "/a?b");
        asked.client_host = HeaderValue::from_static("shop.example");
        asked.headers.insert("x", HeaderValue::from_static("1"));
        assert_eq!(ask(&upstream, asked).await, expected);
        assert_eq!(answer(&upstream).await, expected);
    }
}

#[tokio::test]
async fn what_is_not_at_hand_is_left_to_a_fetch() {
    let origin = turning("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", "").await;
    let upstream = upstream(settings(&[origin.address]));
    for _ in 0..3 {
        let begun = begin(&upstream, Method::GET).unwrap_err();
        let fetched = go_on(&upstream, begun).await.unwrap();
        assert_eq!(fetched.attempts, 1);
        assert_eq!(text(fetched).await.unwrap(), "ok");
    }
    let seen = only(&upstream);
    assert_eq!((seen.requests, seen.reused, seen.connections), (3, 0, 0));

    let nobody = Upstream::nobody();
    let begun = begin(&nobody, Method::GET).unwrap_err();
    assert_eq!(go_on(&nobody, begun).await.unwrap_err().attempts, 0);
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_not_asked() {
    let origin = origin(async |mut peer: Peer| {
        peer.head().await;
        peer.say(OK).await;
    })
    .await;
    let upstream = upstream(settings(&[origin.address]));
    for _ in 0..3 {
        let begun = begin(&upstream, Method::GET).unwrap_err();
        let fetched = go_on(&upstream, begun).await.unwrap();
        assert_eq!(fetched.attempts, 1);
        text(fetched).await.unwrap();
        until(|| only(&upstream).connections == 0).await;
    }
    assert_eq!(only(&upstream).failures, 0);
}

#[tokio::test]
async fn a_connection_to_an_address_that_the_name_lost_is_not_asked() {
    let (old, new) = (good().await, good().await);
    let answers = Arc::new(parking_lot::Mutex::new(vec![old.address]));
    let told = Arc::clone(&answers);
    let control = Handle::current();
    let resolver = Resolver::with(control.clone(), move |_, _| Ok(told.lock().clone()));
    let upstreams = Upstreams::with_resolver(resolver, control);
    let mut named = settings(&[old.address]);
    named.endpoints[0].host = "origin.test".into();
    upstreams.apply(&[named]);
    let upstream = upstreams.get("api").unwrap();
    ask(&upstream, get()).await;
    assert_eq!(answer(&upstream).await, "ok");
    *answers.lock() = vec![new.address];
    upstream.members[0].endpoint.addresses.touch(Instant::now() + Duration::from_secs(60));
    until(|| only(&upstream).addresses == [new.address]).await;
    let begun = begin(&upstream, Method::GET).unwrap_err();
    assert_eq!(only(&upstream).connections, 0);
    assert_eq!(text(go_on(&upstream, begun).await.unwrap()).await.unwrap(), "ok");
    assert_eq!(answer(&upstream).await, "ok");
    assert_eq!((old.requests(), new.requests()), (2, 2));
}

#[test]
fn it_goes_where_its_owner_goes() {
    fn is_free<T: Send + Unpin>() {}
    is_free::<Asking>();
    is_free::<Begun>();
}

#[tokio::test]
async fn what_was_lost_on_a_kept_connection_is_sent_again_within_the_budget() {
    for (retries, attempts, connections) in [(1, 2, 2), (0, 1, 1)] {
        // The second request is read and never answered.
        let origin = origin(async |mut peer: Peer| {
            peer.head().await;
            peer.say(OK).await;
            peer.head().await;
        })
        .await;
        let upstream = upstream(Settings { retries, ..settings(&[origin.address]) });
        ask(&upstream, get()).await;
        let mut asking = begin(&upstream, Method::GET).unwrap();
        let begun = head(&mut asking).await.unwrap_err();
        let (seen, tried) = (only(&upstream), go_on(&upstream, begun).await);
        assert_eq!((seen.failures, seen.last_error), (1, Some("connection_terminated")));
        let tried = tried.map(|fetched| fetched.attempts).map_err(|error| error.attempts);
        assert_eq!(tried, if attempts == 2 { Ok(2) } else { Err(attempts) });
        assert_eq!((origin.connections(), origin.requests()), (connections, 1 + attempts as usize));
    }
}

#[tokio::test]
async fn a_slow_head_times_out_and_is_not_asked_for_again() {
    let origin = origin(async |mut peer: Peer| {
        peer.head().await;
        peer.say(OK).await;
        peer.closed().await;
    })
    .await;
    let soon = Duration::from_millis(50);
    for deadline in [false, true] {
        let first_byte_timeout = if deadline { Duration::from_secs(60) } else { soon };
        let upstream = upstream(Settings { first_byte_timeout, ..settings(&[origin.address]) });
        ask(&upstream, get()).await;
        let due = deadline.then(|| Instant::now() + soon);
        let mut asking = begin_by(&upstream, Method::GET, due).unwrap();
        let begun = head(&mut asking).await.unwrap_err();
        let request = FetchRequest { begun: Some(begun), deadline: due, ..get() };
        let error = upstream.fetch(request).await.unwrap_err();
        match deadline {
            true => assert!(matches!(error.failure, Failure::Deadline), "{error}"),
            false => assert!(matches!(error.failure, Failure::FirstByteTimeout), "{error}"),
        }
        assert_eq!((error.attempts, error.endpoint.as_ref()), (1, Some(asking.endpoint())));
        until(|| only(&upstream).connections == 0).await;
        assert_eq!((only(&upstream).failures, only(&upstream).requests), (1, 2));
    }
}

#[tokio::test]
async fn interim_heads_are_told_in_order() {
    let then = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n\
                HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let origin = turning(OK, then).await;
    let upstream = upstream(settings(&[origin.address]));
    ask(&upstream, get()).await;
    let mut asking = begin(&upstream, Method::GET).unwrap();
    let interim = head(&mut asking).await.unwrap();
    let told: Vec<_> = interim.iter().map(|(status, headers)| (*status, headers.get("link"))).collect();
    assert_eq!(told, [(100, None), (103, Some(&HeaderValue::from_static("</a.css>")))]);
    assert_eq!((asking.reply().status(), asking.content(MOST)), (StatusCode::OK, Some(&b"ok"[..])));
}

#[tokio::test]
async fn content_that_is_not_there_whole_streams_as_a_fetch_would_leave_it() {
    let long: &'static str = "x".repeat(MOST + 1).leak();
    let length: &'static str = format!("HTTP/1.1 200 OK\r\nContent-Length: 4097\r\n\r\n{long}").leak();
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    for (reply, content, expected) in [
        (chunked, Content::Chunked, "ok"),
        (length, Content::Length(4097), long),
        ("HTTP/1.1 204 No Content\r\n\r\n", Content::None, ""),
    ] {
        let origin = turning(OK, reply).await;
        let upstream = upstream(settings(&[origin.address]));
        ask(&upstream, get()).await;
        for _ in 0..3 {
            let mut asking = headed(&upstream, Method::GET).await;
            assert_eq!(asking.reply().content(), content);
            let is_whole = content == Content::None;
            assert_eq!((asking.content(MOST).is_some(), asking.content(MOST + 1).is_none()), {
                (is_whole, content == Content::Chunked)
            });
            if !is_whole {
                assert_eq!(asking.take_content(MOST), None);
            }
            let names: Vec<_> = asking.reply().fields().map(|(name, _)| name.to_vec()).collect();
            let fetched = asking.into_fetched().unwrap();
            let lower = |name: &Vec<u8>| HeaderName::from_bytes(name).unwrap();
            assert!(fetched.response.headers().keys().eq(names.iter().map(lower).collect::<Vec<_>>().iter()));
            assert_eq!((fetched.attempts, &*fetched.endpoint), (1, &*origin.address.to_string()));
            assert_eq!(text(fetched).await.unwrap(), expected);
            assert_eq!(only(&upstream).idle, 1);
        }
        assert_eq!((origin.connections(), only(&upstream).reused), (1, 3));
    }
}

#[tokio::test]
async fn content_that_ends_with_the_connection_streams() {
    let origin = origin(async |mut peer: Peer| {
        peer.head().await;
        peer.say(OK).await;
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\n\r\nuntil the end").await;
    })
    .await;
    let upstream = upstream(settings(&[origin.address]));
    ask(&upstream, get()).await;
    let asking = headed(&upstream, Method::GET).await;
    assert_eq!((asking.reply().content(), asking.content(MOST)), (Content::UntilClose, None));
    assert_eq!(text(asking.into_fetched().unwrap()).await.unwrap(), "until the end");
    assert_eq!(only(&upstream).connections, 0);
}

#[tokio::test]
async fn a_reply_to_head_has_a_length_and_no_content() {
    let origin = turning(OK, "HTTP/1.1 200 OK\r\nContent-Length: 005\r\n\r\n").await;
    let upstream = upstream(settings(&[origin.address]));
    ask(&upstream, get()).await;
    for _ in 0..3 {
        let mut asking = headed(&upstream, Method::HEAD).await;
        assert_eq!((asking.reply().content(), asking.reply().length()), (Content::None, Some(5)));
        assert_eq!(asking.take_content(MOST).as_deref(), Some(&b""[..]));
        assert_eq!(only(&upstream).idle, 1);
    }
    assert_eq!((origin.connections(), origin.requests()), (1, 4));
}

#[tokio::test]
async fn turns_are_exact_though_one_endpoint_never_has_a_connection_at_hand() {
    let closing = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    let (one, two) = (good().await, turning(closing, "").await);
    let upstream = upstream(settings(&[one.address, two.address]));
    for _ in 0..20 {
        assert_eq!((answer(&upstream).await, answer(&upstream).await), ("ok".into(), "ok".into()));
    }
    assert_eq!((one.requests(), two.requests()), (20, 20));
    assert_eq!((one.connections(), two.connections()), (1, 20));
}

#[tokio::test]
async fn a_connection_that_does_not_go_on_is_closed() {
    for then in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more",
    ] {
        let origin = turning(OK, then).await;
        let upstream = upstream(settings(&[origin.address]));
        ask(&upstream, get()).await;
        let mut asking = headed(&upstream, Method::GET).await;
        assert_eq!(asking.content(MOST), Some(&b"ok"[..]), "{then}");
        asking.finish();
        until(|| only(&upstream).connections == 0).await;
    }
}

#[tokio::test]
async fn dropping_it_cancels_the_request_and_so_does_finishing_too_early() {
    for step in 0..3 {
        let (told, heard) = oneshot::channel();
        let told = parking_lot::Mutex::new(Some(told));
        let origin = origin(async move |mut peer: Peer| {
            peer.head().await;
            peer.say(OK).await;
            peer.head().await;
            peer.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no").await;
            peer.closed().await;
            let _ = told.lock().take().unwrap().send(());
        })
        .await;
        let upstream = upstream(settings(&[origin.address]));
        ask(&upstream, get()).await;
        let mut asking = begin(&upstream, Method::GET).unwrap();
        if step > 0 {
            head(&mut asking).await.unwrap();
        }
        if step > 1 {
            asking.finish();
        } else {
            assert!(step > 0 || head(&mut asking).now_or_never().is_none());
            drop(asking);
        }
        tokio::time::timeout(Duration::from_secs(20), heard).await.unwrap().unwrap();
        assert_eq!(only(&upstream).connections, 0);
    }
}

#[tokio::test]
async fn what_a_fetch_refuses_is_refused_for_the_same_reason() {
    for reply in [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nX : 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let (fresh, kept) = (turning(reply, "").await, turning(OK, reply).await);
        let (fetching, asked) = (upstream(settings(&[fresh.address])), upstream(settings(&[kept.address])));
        let fetched = fetching.fetch(get()).await.unwrap_err();
        ask(&asked, get()).await;
        let mut asking = begin(&asked, Method::GET).unwrap();
        let begun = head(&mut asking).await.unwrap_err();
        let error = go_on(&asked, begun).await.unwrap_err();
        assert!(matches!(error.failure, Failure::InvalidResponse(_)), "{reply}: {error}");
        assert_eq!((error.to_string(), error.attempts), (fetched.to_string(), fetched.attempts), "{reply}");
        assert_eq!(only(&asked).violations, only(&fetching).violations, "{reply}");
        assert_eq!((only(&asked).failures, only(&asked).connections), (1, 0), "{reply}");
    }
}
