use std::io;

use super::*;
use crate::upstream::discover::Resolver;

#[tokio::test]
async fn shares_are_exact() {
    let (one, two) = (good().await, good().await);
    let mut weighted = settings(&[one.address, two.address]);
    weighted.endpoints[0].weight = 3;
    let upstream = upstream(weighted);
    for _ in 0..40 {
        ask(&upstream, get()).await;
    }
    assert_eq!((one.requests(), two.requests()), (30, 10));
}

#[tokio::test]
async fn a_refused_connect_tries_the_next_and_three_leave_it_out() {
    let (refusing, origin) = (closed(), good().await);
    let upstream = upstream(settings(&[refusing, origin.address]));
    for _ in 0..20 {
        let fetched = upstream.fetch(post("x")).await.unwrap();
        assert_eq!(&*fetched.endpoint, origin.address.to_string());
        text(fetched).await.unwrap();
    }
    let seen = only(&upstream);
    assert_eq!((seen.state, seen.connect_failures), (EndpointState::Skipped, 3));
    assert_eq!(seen.last_error, Some("connection_refused"));
    assert_eq!(origin.requests(), 20);
}

#[tokio::test]
async fn the_only_endpoint_is_never_left_out() {
    let refusing = closed();
    let upstream = upstream(settings(&[refusing]));
    for _ in 0..5 {
        let error = upstream.fetch(get()).await.unwrap_err();
        assert!(matches!(error.failure, Failure::ConnectRefused));
        assert_eq!(error.endpoint.as_deref(), Some(&*refusing.to_string()));
    }
    assert_eq!(only(&upstream).connect_failures, 5);
}

#[tokio::test]
async fn a_backup_serves_only_when_no_primary_does() {
    let (primary, backup) = (good().await, good().await);
    let mut both = settings(&[backup.address, primary.address]);
    both.endpoints[0].backup = true;
    let upstream = upstream(both.clone());
    ask(&upstream, get()).await;
    assert_eq!((primary.requests(), backup.requests()), (1, 0));
    both.endpoints[1] = endpoint(closed());
    let upstream = self::upstream(both);
    ask(&upstream, get()).await;
    assert_eq!(backup.requests(), 1);
}

#[tokio::test]
async fn a_streaming_body_survives_a_refused_connect() {
    let origin = origin(async |mut peer: Peer| {
        peer.head().await;
        assert_eq!(peer.through("0\r\n\r\n").await.unwrap(), "4\r\nbody\r\n0\r\n\r\n");
        peer.say(OK).await;
    })
    .await;
    let upstream = upstream(settings(&[closed(), origin.address]));
    let body = http_body_util::Full::new(Bytes::from_static(b"body"));
    let body = StreamBody::boxed(body, Duration::from_secs(5), None);
    let fetched = upstream
        .fetch(FetchRequest { body: RequestBody::from(body), ..request(Method::PATCH, "/") })
        .await
        .unwrap();
    assert_eq!(fetched.attempts, 2);
    assert_eq!(text(fetched).await.unwrap(), "ok");
}

fn named(host: &str, port: u16) -> Settings {
    let mut settings = settings(&[SocketAddr::from(([127, 0, 0, 1], port))]);
    settings.endpoints[0].host = host.into();
    settings
}

#[tokio::test]
async fn a_name_without_address_is_a_finding_and_a_dns_failure() {
    let control = Handle::current();
    let resolver = Resolver::with(control.clone(), |_, _| Err(io::Error::other("no such host")));
    let upstreams = Upstreams::with_resolver(resolver, control);
    upstreams.apply(&[named("nowhere.test", 80)]);
    let unresolved = upstreams.unresolved().await;
    assert_eq!((&*unresolved[0].endpoint, &*unresolved[0].why), ("nowhere.test:80", "no such host"));
    let error = upstreams.get("api").unwrap().fetch(get()).await.unwrap_err();
    assert!(matches!(error.failure, Failure::Dns(_)));
    assert_eq!(error.failure.as_str(), "dns_error");
}

#[tokio::test]
async fn all_addresses_of_a_name_are_tried() {
    let (refusing, origin) = (closed(), good().await);
    let addresses = vec![refusing, origin.address];
    let control = Handle::current();
    let resolver = Resolver::with(control.clone(), move |_, _| Ok(addresses.clone()));
    let upstreams = Upstreams::with_resolver(resolver, control);
    upstreams.apply(&[named("origin.test", 8080)]);
    let upstream = upstreams.get("api").unwrap();
    let fetched = upstream.fetch(get()).await.unwrap();
    assert_eq!((fetched.attempts, &*fetched.origin.authority), (1, "origin.test:8080"));
    assert_eq!(text(fetched).await.unwrap(), "ok");
    assert_eq!(only(&upstream).addresses.len(), 2);
}

async fn echo_head() -> Origin {
    origin(async |mut peer: Peer| {
        while let Some(head) = peer.head().await {
            peer.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len())).await;
        }
    })
    .await
}

#[tokio::test]
async fn the_head_is_origin_form_with_the_host_that_was_chosen_and_the_base_path() {
    let origin = echo_head().await;
    let cases = [
        (HostPolicy::Upstream, origin.address.to_string()),
        (HostPolicy::Client, "shop.example".to_owned()),
        (HostPolicy::Fixed(HeaderValue::from_static("api.example")), "api.example".to_owned()),
    ];
    for (host, expected) in cases {
        let upstream = upstream(Settings { host, base_path: "/v1".into(), ..settings(&[origin.address]) });
        let mut asked = request(Method::GET, "/users?q=1");
        asked.client_host = HeaderValue::from_static("shop.example");
        asked.headers.insert("accept", HeaderValue::from_static("*/*"));
        let head = ask(&upstream, asked).await;
        assert_eq!(head, format!("GET /v1/users?q=1 HTTP/1.1\r\nhost: {expected}\r\naccept: */*\r\n\r\n"));
    }
}

#[tokio::test]
async fn a_connection_to_an_address_that_the_name_lost_is_not_used_again() {
    let (old, new) = (good().await, good().await);
    let answer = Arc::new(parking_lot::Mutex::new(vec![old.address]));
    let told = Arc::clone(&answer);
    let control = Handle::current();
    let resolver = Resolver::with(control.clone(), move |_, _| Ok(told.lock().clone()));
    let upstreams = Upstreams::with_resolver(resolver, control);
    upstreams.apply(&[named("origin.test", 80)]);
    let upstream = upstreams.get("api").unwrap();
    ask(&upstream, get()).await;
    *answer.lock() = vec![new.address];
    upstream.members[0].endpoint.addresses.touch(std::time::Instant::now() + Duration::from_secs(60));
    until(|| only(&upstream).addresses == [new.address]).await;
    ask(&upstream, get()).await;
    assert_eq!((old.requests(), new.requests()), (1, 1));
}
