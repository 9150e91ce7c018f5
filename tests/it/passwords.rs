//! Routes that want a name and a password.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::support::{Answer, H2, Origin, Proxy, Reply, closed_address};

/// Of "right"; cost 4, so that tests are quick.
const HASH: &str = "$2y$04$NSobeDxQ.NcAavhVBT2H8OFIUl5TSvCtPW0DkS2/WoA/9cLEaPg2i";

fn basic(pair: &str) -> String {
    format!("Authorization: Basic {}", STANDARD.encode(pair))
}

fn cached() -> Answer {
    Answer::ok("origin").field("cache-control", "public, max-age=60")
}

async fn guarded(answer: Answer, more: &str) -> (Origin, Proxy) {
    let origin = Origin::always(answer).await;
    let config = format!(
        "upstream = \"{}\"\n[[routes]]\nname = \"all\"\n{more}\n[routes.basic_auth]\nrealm = \"staff\"\n\
         users = {{ alice = '{HASH}', bob = '{HASH}' }}\n",
        origin.url()
    );
    (origin, Proxy::of(config).start().await)
}

async fn ask(proxy: &Proxy, pair: &str) -> Reply {
    proxy.ask("GET", "/a", &[&basic(pair)], "").await
}

#[tokio::test]
async fn nothing_stored_is_sent_without_a_right_password_and_users_share_what_is() {
    let (origin, proxy) = guarded(cached(), "").await;
    for round in 0..2 {
        assert_eq!(proxy.get("/a").await.status, 401, "round {round}");
        for (pair, status) in [
            ("alice:right", 200),
            ("alice:wrong", 401),
            ("bob:right", 200),
            ("alice:", 401),
            ("nobody:right", 401),
            ("alice:right", 200),
        ] {
            let reply = ask(&proxy, pair).await;
            assert_eq!(reply.status, status, "{pair}");
            let challenge = (status == 401).then_some("Basic realm=\"staff\", charset=\"UTF-8\"");
            assert_eq!(reply.field("www-authenticate"), challenge);
            if status == 200 {
                assert_eq!(reply.fields.all("cache-control"), ["public, max-age=60", "private"]);
                proxy.stored(1).await;
            } else {
                assert_eq!(reply.field("cache-control"), Some("no-store"));
                assert!(!reply.cache_status().contains("hit"));
            }
        }
    }
    assert_eq!(origin.hits(), 1, "the credentials end here");
    assert!(!origin.last().fields.has("authorization"));
    let twice = proxy.ask("GET", "/a", &[&basic("alice:right"), &basic("alice:right")], "").await;
    assert_eq!(twice.status, 401);
    assert_eq!(proxy.ask("GET", "/a", &["Authorization: Bearer abc"], "").await.status, 401);

    let h2 = proxy.connect_h2().await;
    for (pair, status) in [("alice:right", 200), ("alice:wrong", 401)] {
        let mut request = H2::request("GET", "/a", "");
        let value = format!("Basic {}", STANDARD.encode(pair));
        request.headers_mut().insert("authorization", value.parse().unwrap());
        assert_eq!(h2.ask(request).await.status, status);
    }
}

/// Neither to the origin nor to what is stored: other protocols, calls, methods of the proxy's own, preflights without a policy.
#[tokio::test]
async fn nothing_passes_without_a_right_password_whatever_it_asks_for() {
    let (origin, proxy) = guarded(cached(), "grpc_web = true\nupgrade = ['websocket', 'SPDY/3.1']").await;
    assert_eq!(ask(&proxy, "alice:right").await.status, 200);
    proxy.stored(1).await;
    let wrong = basic("alice:wrong");
    let websocket = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    let app = "Origin: https://app.example.com";
    for (method, fields) in [
        ("GET", &websocket[..]),
        ("POST", &["Connection: Upgrade", "Upgrade: SPDY/3.1"]),
        ("OPTIONS", &[app, "Access-Control-Request-Method: GET"]),
        ("OPTIONS", &[app, "Access-Control-Request-Method: OPTIONS"]),
        ("PURGE", &[]),
        ("HEAD", &[]),
        ("GET", &["Range: bytes=0-1"]),
        ("GET", &["If-None-Match: *"]),
        ("GET", &["Cache-Control: only-if-cached"]),
        ("TRACE", &["Max-Forwards: 0"]),
        ("OPTIONS", &["Max-Forwards: 0"]),
    ] {
        for credentials in [None, Some(&*wrong)] {
            let fields: Vec<_> = fields.iter().copied().chain(credentials).collect();
            let reply = proxy.ask(method, "/a", &fields, "").await;
            assert_eq!(reply.status, 401, "{method} {fields:?}");
        }
    }
    let h2 = proxy.connect_h2().await;
    for (content_type, told) in
        [("application/grpc", (200, Some("16"))), ("application/grpc-web+proto", (200, Some("16")))]
    {
        let mut call = H2::request("POST", "/a", "");
        call.headers_mut().insert("content-type", content_type.parse().unwrap());
        call.headers_mut().insert("te", "trailers".parse().unwrap());
        let reply = h2.ask(call).await;
        assert_eq!((reply.status, reply.field("grpc-status")), told, "{content_type}");
    }
    for credentials in [None, wrong.strip_prefix("Authorization: ")] {
        let mut connect = H2::request("CONNECT", "/a", "");
        connect.extensions_mut().insert(hyper::ext::Protocol::from_static("websocket"));
        connect.headers_mut().insert("sec-websocket-version", "13".parse().unwrap());
        if let Some(credentials) = credentials {
            connect.headers_mut().insert("authorization", credentials.parse().unwrap());
        }
        assert_eq!(h2.ask(connect).await.status, 401);
    }
    assert_eq!(origin.hits(), 1);
    assert_eq!(proxy.instance.proxy.tunnels().open(), 0);
}

/// RFC 9111 3.5: what the origin sees is the origin's, and shared only where it says so.
#[tokio::test]
async fn credentials_that_are_passed_on_are_the_origin_s() {
    let origin = Origin::always(Answer::ok("origin").field("cache-control", "max-age=60")).await;
    let config = format!(
        "upstream = \"{}\"\nbasic_auth = {{ users = {{ alice = '{HASH}' }}, forward = true }}",
        origin.url()
    );
    let proxy = Proxy::of(config).start().await;
    for hits in 1..=2 {
        assert_eq!(ask(&proxy, "alice:right").await.status, 200);
        assert_eq!(origin.hits(), hits);
    }
    let line = basic("alice:right");
    assert_eq!(origin.last().fields.get("authorization"), line.strip_prefix("Authorization: "));
}

#[tokio::test]
async fn the_user_s_name_is_in_fields_keys_limits_and_the_log() {
    let origin = Origin::always(cached()).await;
    let config = format!(
        "upstream = \"{}\"\n[rate_limits.each]\nrate = '2/h'\nkey = 'user'\n\
         [[routes]]\nname = 'all'\nrate_limits = ['each']\ncache = {{ key = {{ headers = ['x-user'] }} }}\n\
         request_headers = {{ set = {{ x-user = '{{user}}' }} }}\nresponse_headers = {{ set = {{ x-for = '{{user}}' }} }}\n\
         basic_auth = {{ users = {{ alice = '{HASH}', bob = '{HASH}' }} }}",
        origin.url()
    );
    let proxy = Proxy::of(config).start().await;
    for (pair, status, hits) in
        [("alice:right", 200, 1), ("alice:right", 200, 1), ("alice:right", 429, 1), ("bob:right", 200, 2)]
    {
        let fields = [basic(pair), "X-User: forged".to_owned()];
        let fields: Vec<_> = fields.iter().map(String::as_str).collect();
        let reply = proxy.ask("GET", "/a", &fields, "").await;
        let user = pair.split(':').next();
        assert_eq!((reply.status, reply.field("x-for")), (status, user), "{pair}");
        proxy.stored(hits).await;
        assert_eq!(origin.hits() as u64, hits);
        assert_eq!(origin.last().fields.get("x-user"), Some(if hits == 1 { "alice" } else { "bob" }));
    }
    let told = proxy.finished(4).await;
    let users: Vec<_> = told.iter().filter_map(|event| event.user.as_deref()).collect();
    assert_eq!(users.iter().filter(|user| **user == "alice").count(), 3);
    assert!(users.contains(&"bob"));
}

/// Limits hold back who tries passwords out; a preflight cannot have any.
#[tokio::test]
async fn limits_come_before_passwords_and_preflights_before_both() {
    let origin = Origin::always(cached()).await;
    let config = format!(
        "upstream = \"{}\"\n[rate_limits.tries]\nrate = '2/h'\n[[routes]]\nrate_limits = ['tries']\n\
         cors = 'https://app.example.com'\nbasic_auth = {{ users = {{ alice = '{HASH}' }} }}",
        origin.url()
    );
    let proxy = Proxy::of(config).start().await;
    let app = "Origin: https://app.example.com";
    let preflight = proxy.ask("OPTIONS", "/a", &[app, "Access-Control-Request-Method: PUT"], "").await;
    assert_eq!(preflight.status, 204);
    for status in [401, 401, 429] {
        let reply = proxy.ask("GET", "/a", &[app, &basic("alice:wrong")], "").await;
        assert_eq!(reply.status, status);
        assert_eq!(reply.field("access-control-allow-origin"), Some("https://app.example.com"));
    }
    assert_eq!(ask(&proxy, "alice:right").await.status, 429);
    assert_eq!(origin.hits(), 0);
}

/// Who lets many passwords be checked at once is told to wait, and those who are known do not notice.
#[tokio::test]
async fn a_flood_of_wrong_passwords_keeps_nobody_out_who_is_known() {
    // Slow on purpose: the flood must outlast this test's other requests.
    let slow = "$argon2id$v=19$m=65536,t=8,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
    let origin = Origin::always(cached()).await;
    let config = format!(
        "upstream = \"{}\"\nbasic_auth = {{ users = {{ alice = '{HASH}', slow = '{slow}' }} }}",
        origin.url()
    );
    let proxy = Proxy::of(config).start().await;
    assert_eq!(ask(&proxy, "alice:right").await.status, 200);
    let mut flood = tokio::task::JoinSet::new();
    for n in 0..24 {
        let mut client = proxy.connect().await;
        client.say(crate::support::request("GET", "/a", &[&basic(&format!("slow:{n}"))], "")).await;
        flood.spawn(async move { client.reply("GET").await });
    }
    assert_eq!(ask(&proxy, "alice:right").await.status, 200);
    // Sixteen of one client may wait; who comes after that is told so at once.
    let refused = loop {
        let reply = flood.join_next().await.expect("one is refused").unwrap();
        if reply.status != 401 {
            break reply;
        }
    };
    assert_eq!((refused.status, refused.field("retry-after")), (429, Some("1")));
    assert_eq!(ask(&proxy, "alice:right").await.status, 200);
}

#[tokio::test]
async fn a_file_of_users_is_read_anew_and_routes_may_end_what_the_top_says() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users.txt");
    std::fs::write(&file, format!("# staff\nalice:{HASH}\n")).unwrap();
    let config = format!(
        "basic_auth = {{ file = '{}' }}\nupstream = 'http://{}'\n\
         [[routes]]\nmatch = {{ path = '/a' }}\nrespond = {{}}\n\
         [[routes]]\nmatch = {{ path = '/open' }}\nrespond = {{}}\nbasic_auth = false",
        file.display(),
        closed_address(),
    );
    let proxy = Proxy::of(config.clone()).start().await;
    for (pair, status) in [("alice:right", 200), ("bob:right", 401)] {
        assert_eq!(ask(&proxy, pair).await.status, status, "{pair}");
    }
    assert_eq!(proxy.get("/open").await.status, 200);
    assert_eq!(proxy.get("/elsewhere").await.status, 401, "the top holds for what no route takes, too");

    std::fs::write(&file, format!("bob:{HASH}\n")).unwrap();
    proxy.reload(&config).unwrap();
    for (pair, status) in [("alice:right", 401), ("bob:right", 200)] {
        assert_eq!(ask(&proxy, pair).await.status, status, "{pair}");
    }
    std::fs::write(&file, "bob:right\n").unwrap();
    let told = proxy.reload(&config).unwrap_err();
    assert!(told.contains("line 1: this hash is not taken") && !told.contains("bob:right"), "{told}");
    assert_eq!(ask(&proxy, "bob:right").await.status, 200, "what was in force is");
}
