//! Reloading and ending without dropping what is under way.

use std::time::Duration;

use crate::support::{Answer, Call, Client, Gate, Origin, Proxy, until, within};

async fn held() -> (Origin, Gate) {
    let gate = Gate::new();
    let pass = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        pass.pass().await;
        call.answer(&Answer::ok("held")).await;
    })
    .await;
    (origin, gate)
}

#[tokio::test]
async fn draining_lets_what_is_in_flight_finish() {
    let (origin, gate) = held().await;
    let proxy = Proxy::passing(&origin).await;
    let mut busy = proxy.connect().await;
    let mut idle = proxy.connect().await;
    let h2 = proxy.connect_h2().await;
    busy.say("GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
    let stream = tokio::spawn(async move { h2.get("/").await });
    origin.hit(2).await;
    proxy.instance.drain();
    assert!(idle.closed().await.is_empty(), "an idle connection is closed");
    assert_eq!(proxy.instance.not_ready().as_deref(), Some("stopping"));
    until("nobody is accepted any more", || std::net::TcpStream::connect(proxy.address).is_err()).await;
    // The idle client may see its close a moment before the connection's task has ended.
    until("the busy connections alone are left", || proxy.instance.connections() == 2).await;
    gate.open_for(2);
    let reply = busy.reply("GET").await;
    assert_eq!((reply.text(), reply.field("connection")), ("held", Some("close")));
    assert!(busy.closed().await.is_empty());
    assert_eq!(within(stream).await.unwrap().text(), "held");
    assert_eq!(proxy.instance.drained(Duration::from_secs(10)).await, 0);
    proxy.close().await;
}

#[tokio::test]
async fn draining_lets_a_body_under_way_come_to_its_end() {
    let gate = Gate::new();
    let pass = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        call.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        call.chunk("first").await;
        pass.pass().await;
        call.chunk("second").await;
        call.say("0\r\n\r\n").await;
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
    let head = client.head().await;
    proxy.instance.drain();
    gate.open();
    let reply = client.rest_of(head).await;
    assert_eq!((reply.text(), reply.whole), ("firstsecond", true));
    assert_eq!(proxy.instance.drained(Duration::from_secs(10)).await, 0);
}

#[tokio::test]
async fn ending_cuts_what_has_not_finished_in_time() {
    let (origin, _gate) = held().await;
    let proxy = Proxy::passing(&origin).await;
    let mut busy = proxy.connect().await;
    busy.say("GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
    origin.hit(1).await;
    proxy.instance.drain();
    assert_eq!(proxy.instance.drained(Duration::from_millis(50)).await, 1);
    proxy.close().await;
    assert!(busy.closed().await.is_empty());
}

#[tokio::test]
async fn a_reload_keeps_connections_and_warm_pools() {
    let origin = Origin::answering(|request| Answer::ok(request.word(1).to_owned())).await;
    let url = origin.url();
    let config = |route: &str| {
        format!(
            "cache = false\n[[routes]]\nname = \"{route}\"\nupstream = \"api\"\nmatch = {{ path = \"/{route}\" }}\n[upstreams.api]\nurl = \"{url}\""
        )
    };
    let proxy = Proxy::of(config("before")).start().await;
    let mut client = proxy.connect().await;
    let h2 = proxy.connect_h2().await;
    assert_eq!(client.get("/before").await.text(), "/before");
    assert_eq!(h2.get("/before").await.text(), "/before");
    let warm = origin.connections();
    proxy.reload(&config("after")).unwrap();
    assert_eq!(client.get("/before").await.status, 404);
    assert_eq!(client.get("/after").await.text(), "/after");
    assert_eq!(h2.get("/after").await.text(), "/after");
    assert_eq!(origin.connections(), warm, "the pool is still warm");
    assert_eq!(proxy.instance.connections(), 2, "nobody was cut");
    assert_eq!(proxy.instance.generation(), 2);
}

#[tokio::test]
async fn an_exchange_ends_as_it_began_whatever_is_reloaded_meanwhile() {
    let (origin, gate) = held().await;
    let other = Origin::always(Answer::ok("other")).await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
    origin.hit(1).await;
    proxy.reload(&format!("upstream = \"{}\"\ncache = false", other.url())).unwrap();
    assert_eq!(proxy.get("/").await.text(), "other");
    gate.open();
    assert_eq!(client.reply("GET").await.text(), "held");
    assert_eq!(client.get("/").await.text(), "other");
}

#[tokio::test]
async fn a_bad_config_is_refused_and_the_old_one_goes_on() {
    let origin = Origin::always(Answer::ok("fine")).await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    for bad in [
        "upstream = 5",
        "upstream = \"nowhere\"",
        "upstreams = {",
        "listne = \":80\"\nupstream = \"http://a\"",
    ] {
        assert!(!proxy.reload(bad).unwrap_err().is_empty(), "{bad}");
        assert_eq!(client.get("/").await.text(), "fine");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let occupied = format!(
        "listen = [\"127.0.0.1:0\", \"{}\"]\nupstream = \"http://a.test\"",
        taken.local_addr().unwrap()
    );
    assert!(proxy.reload(&occupied).is_err());
    assert_eq!(client.get("/").await.text(), "fine");
    assert_eq!(proxy.get("/").await.text(), "fine");
    assert_eq!((proxy.instance.generation(), proxy.instance.local_addrs().len()), (1, 1));
}

#[tokio::test]
async fn listeners_come_and_go_with_a_reload() {
    let origin = Origin::always(Answer::ok("fine")).await;
    let url = origin.url();
    let proxy = Proxy::passing(&origin).await;
    let mut old = proxy.connect().await;
    assert_eq!(old.get("/").await.text(), "fine");
    proxy.reload(&format!("listen = [\"127.0.0.1:0\", \"127.0.0.2:0\"]\nupstream = \"{url}\"")).unwrap();
    let addresses = proxy.instance.local_addrs();
    assert_eq!((addresses.len(), addresses.contains(&proxy.address)), (2, true));
    let second = *addresses.iter().find(|address| **address != proxy.address).unwrap();
    let mut new = Client::connect(second).await;
    assert_eq!(new.get("/").await.text(), "fine");
    proxy.reload(&format!("upstream = \"{url}\"")).unwrap();
    until("the second listener is gone", || std::net::TcpStream::connect(second).is_err()).await;
    assert_eq!(new.get("/").await.text(), "fine", "its connections go on");
    assert_eq!(old.get("/").await.text(), "fine");
}

#[tokio::test]
async fn machines_are_told_whether_it_is_ready_and_what_it_counted() {
    let (origin, gate) = held().await;
    let config =
        format!("upstream = \"{}\"\ncache = false\n[telemetry]\nlisten = \"127.0.0.1:0\"", origin.url());
    let proxy = Proxy::of(config).start().await;
    let machine = proxy.instance.machine_addr().expect("a listener for machines");
    let ask = async |target: &str| Client::connect(machine).await.get(target).await;
    assert_eq!(ask("/livez").await.status, 200);
    assert_eq!(ask("/readyz").await.status, 200);
    gate.open();
    assert_eq!(proxy.get("/").await.status, 200);
    proxy.finished(1).await;
    let metrics = ask("/metrics").await;
    assert!(metrics.text().ends_with("# EOF\n"), "{}", metrics.text());
    assert!(metrics.text().contains("route=\"default\""), "{}", metrics.text());
    proxy.instance.drain();
    assert_eq!(ask("/livez").await.status, 200);
    assert_eq!(ask("/readyz").await.status, 503);
}

#[tokio::test]
async fn who_leaves_answers_one_more_request_of_each_connection() {
    let origin = Origin::always(Answer::ok("here")).await;
    let proxy = Proxy::passing(&origin).await;
    let (mut idle, mut quiet) = (proxy.connect().await, proxy.connect().await);
    let h2 = proxy.connect_h2().await;
    assert_eq!(h2.get("/").await.text(), "here");
    assert_eq!(idle.get("/").await.field("connection"), None);
    proxy.instance.leave();
    assert_eq!(proxy.instance.not_ready().as_deref(), Some("draining"));
    let reply = idle.get("/").await;
    assert_eq!((reply.text(), reply.field("connection")), ("here", Some("close")));
    assert!(idle.closed().await.is_empty());
    // Its GOAWAY has told it to go; a new one gets its first request answered, and is told then.
    until("the connection that has been used goes", || proxy.instance.connections() == 1).await;
    let h2 = proxy.connect_h2().await;
    assert_eq!(h2.get("/").await.text(), "here");
    until("and so does that one", || proxy.instance.connections() == 1).await;
    assert!(proxy.instance.stay());
    assert_eq!(proxy.instance.not_ready(), None);
    assert_eq!(quiet.get("/").await.field("connection"), None);
    proxy.instance.leave();
    proxy.instance.drain();
    assert!(!proxy.instance.stay(), "too late");
    assert!(quiet.closed().await.is_empty());
    assert_eq!(proxy.instance.drained(Duration::from_secs(10)).await, 0);
}
