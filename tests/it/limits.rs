//! Rate limits: who gets how much, on whatever worker, and what the others are told.

use std::time::Duration;

use crate::support::{Answer, Client, Origin, Proxy, noon, pass, request, within};
use proxy_stone::clock::Clock;
use proxy_stone::limit::Standing;

async fn limited(clock: &Clock, limits: &str, route: &str) -> (Origin, Proxy) {
    let origin = Origin::always(Answer::ok("fine").field("cache-control", "max-age=600")).await;
    let proxy = Proxy::of(config(&origin, limits, route)).clock(clock).start().await;
    (origin, proxy)
}

fn config(origin: &Origin, limits: &str, route: &str) -> String {
    format!(
        "trusted_proxies = [\"127.0.0.1\"]\nworkers = 3\n[[routes]]\nname = \"api\"\nupstream = \"{}\"\n{route}\n{limits}",
        origin.url()
    )
}

/// The statuses of requests one after the other, each by a client of its own with these fields.
async fn statuses(proxy: &Proxy, target: &str, fields: &[&str], count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(proxy.ask("GET", target, fields, "").await.status);
    }
    statuses
}

async fn passing(proxy: &Proxy, target: &str, fields: &[&str], count: usize) -> usize {
    statuses(proxy, target, fields, count).await.into_iter().filter(|status| *status == 200).count()
}

fn near(proxy: &Proxy) -> Vec<Standing> {
    let site = proxy.instance.proxy.site();
    site.limits
        .iter()
        .flat_map(|limit| limit.limiter.nearest(proxy.instance.clock.now(), false, 100).0)
        .collect()
}

const PER_CLIENT: &str = "[rate_limits.per-client]\nrate = \"4/m\"\n";

#[tokio::test]
async fn who_has_used_the_quota_up_is_told_when_to_come_back() {
    let clock = noon();
    let (origin, proxy) = limited(&clock, PER_CLIENT, "cache = false\nrate_limits = [\"per-client\"]").await;
    for left in [3, 2, 1, 0] {
        let reply = proxy.get("/").await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.field("ratelimit-policy"), Some("\"per-client\";q=4;w=60"));
        let reset = (4 - left) * 15;
        assert_eq!(reply.field("ratelimit"), Some(&*format!("\"per-client\";r={left};t={reset}")));
    }
    let refused = proxy.get("/").await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.field("retry-after"), Some("15"));
    assert_eq!(refused.field("ratelimit"), Some("\"per-client\";r=0;t=15"));
    assert_eq!(refused.field("content-type"), Some("application/problem+json"));
    assert_eq!(refused.field("cache-control"), Some("no-store"));
    assert!(refused.text().contains("Too many requests"), "{}", refused.text());
    let finished = proxy.finished(5).await;
    // Workers finish in no order.
    for event in finished {
        assert_eq!(event.limit.as_deref(), (event.status == 429).then_some("per-client"));
    }
    assert_eq!(origin.hits(), 4);
    pass(&clock, 14);
    assert_eq!(passing(&proxy, "/", &[], 1).await, 0);
    pass(&clock, 1);
    assert_eq!(passing(&proxy, "/", &[], 3).await, 1);
    let metrics = proxy.instance.telemetry.openmetrics();
    assert!(metrics.contains("rate_limit_requests{limit=\"per-client\",outcome=\"limited\"} 4"), "{metrics}");
}

/// The counts are one for all workers: of many clients at once as many get through as may, and not one more.
#[tokio::test]
async fn many_clients_at_once_get_the_quota_and_not_one_more() {
    for algorithm in ["gcra", "fixed-window", "sliding-window"] {
        let clock = noon();
        let limits = format!(
            "[rate_limits.all]\nrate = \"100/h\"\nkey = []\nalgorithm = \"{algorithm}\"\n\
             [rate_limits.each]\nrate = \"1000/h\"\nkey = \"header:x-who\"\nalgorithm = \"{algorithm}\"\n"
        );
        let (_origin, proxy) = limited(&clock, &limits, "rate_limits = [\"each\", \"all\"]").await;
        let address = proxy.address;
        let clients = (0..32).map(|who| {
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                let mut passed = 0;
                for _ in 0..12 {
                    let who = format!("x-who: {who}");
                    passed += usize::from(client.ask("GET", "/", &[&who], "").await.status == 200);
                }
                passed
            })
        });
        let mut passed = 0;
        for client in clients.collect::<Vec<_>>() {
            passed += within(client).await.expect("a client that ends");
        }
        assert_eq!(passed, 100, "{algorithm}");
        // What `all` refused cost nothing of `each`.
        let taken: u32 = near(&proxy)
            .iter()
            .filter(|standing| standing.limit == 1000)
            .map(|standing| standing.limit - standing.now.remaining)
            .sum();
        assert_eq!(taken, 100, "{algorithm}");
    }
}

#[tokio::test]
async fn hits_count_unless_only_the_origin_is_guarded() {
    let clock = noon();
    let (_origin, proxy) = limited(&clock, PER_CLIENT, "rate_limits = [\"per-client\"]").await;
    assert_eq!(passing(&proxy, "/", &[], 9).await, 4);
    let guarded = format!("{PER_CLIENT}counts = \"origin\"\n");
    let (origin, proxy) = limited(&clock, &guarded, "rate_limits = [\"per-client\"]").await;
    assert_eq!(passing(&proxy, "/", &[], 9).await, 9);
    assert_eq!(statuses(&proxy, "/1", &[], 1).await, [200]);
    let post = proxy.ask("POST", "/2", &[], "x").await;
    assert_eq!(post.field("ratelimit"), Some("\"per-client\";r=1;t=45"));
    assert_eq!(statuses(&proxy, "/3", &[], 1).await, [200]);
    assert_eq!(statuses(&proxy, "/4", &[], 1).await, [429]);
    assert_eq!(origin.hits(), 4);
    let hit = proxy.get("/3").await;
    assert_eq!((hit.status, hit.field("ratelimit")), (200, None));
}

#[tokio::test]
async fn requests_are_counted_by_what_the_key_says() {
    let clock = noon();
    let limits = |key: &str| format!("[rate_limits.keyed]\nrate = \"2/h\"\nkey = {key}\n");
    let route = "match = { path = [\"/users/{id}/posts\", \"/*\"] }\nrate_limits = [\"keyed\"]";
    // The key, two requests that it tells apart, and one that is the same as the first.
    for (key, one, other, same) in [
        ("\"header:x-key\"", ("/", "x-key: a"), ("/", "x-key: b"), ("/other", "x-key: a")),
        ("\"cookie:sid\"", ("/", "cookie: sid=a; x=1"), ("/", "cookie: sid=b"), ("/", "cookie: y=2; sid=a")),
        ("\"query:key\"", ("/?key=a", "x: y"), ("/?key=b", "x: y"), ("/?z=1&k%65y=%61", "x: y")),
        ("\"path:id\"", ("/users/7/posts", "x: y"), ("/users/8/posts", "x: y"), ("/users/%37/posts", "x: z")),
        (
            "\"header:authorization\"",
            ("/", "authorization: Bearer t"),
            ("/", "authorization: Bearer T"),
            ("/", "authorization: bearer   t"),
        ),
        ("[\"host\", \"method\"]", ("/", "x: y"), ("/", "host: other.test"), ("/a", "x: z")),
        (
            "\"client\"",
            ("/", "x-forwarded-for: 2001:db8::1"),
            ("/", "x-forwarded-for: 2001:db8:0:1::1"),
            ("/", "x-forwarded-for: 2001:db8::ffff:0:2"),
        ),
    ] {
        let (_origin, proxy) = limited(&clock, &limits(key), route).await;
        let ask = async |(target, field): (&str, &str)| statuses(&proxy, target, &[field], 1).await[0];
        let told = [ask(one).await, ask(same).await, ask(one).await, ask(same).await, ask(other).await];
        assert_eq!(told, [200, 200, 429, 429, 200], "{key}");
        // Where the request has it not, or twice, its client's address stands in.
        let (lacking, twice): (&str, &[&str]) = match key {
            "\"header:x-key\"" => ("/", &["x-key: c", "x-key: d"]),
            "\"cookie:sid\"" => ("/", &["cookie: sid=c; sid=d"]),
            "\"query:key\"" => ("/?key=c&key=d", &[]),
            _ => continue,
        };
        assert_eq!(statuses(&proxy, lacking, twice, 1).await, [200], "{key}");
        assert_eq!(statuses(&proxy, "/", &[], 3).await, [200, 429, 429], "{key}");
        assert_eq!(statuses(&proxy, lacking, twice, 1).await, [429], "{key}");
    }
}

#[tokio::test]
async fn secrets_are_shown_as_hashes_only() {
    let clock = noon();
    let limits =
        "[rate_limits.keyed]\nrate = \"2/h\"\nkey = [\"route\", \"header:authorization\", \"cookie:sid\"]\n";
    let (_origin, proxy) = limited(&clock, limits, "rate_limits = [\"keyed\"]").await;
    let secret = ["authorization: Bearer hunter2", "cookie: sid=s3cr3t"];
    proxy.ask("GET", "/", &secret, "").await;
    let label = near(&proxy)[0].label.to_string();
    assert!(label.starts_with("route=api header:authorization=#"), "{label}");
    assert!(!label.contains("hunter2") && !label.contains("s3cr3t"), "{label}");
}

#[tokio::test]
async fn a_dry_run_refuses_nobody_and_says_whom_it_would() {
    let clock = noon();
    let limits = format!("{PER_CLIENT}dry_run = true\n");
    let (_origin, proxy) = limited(&clock, &limits, "rate_limits = [\"per-client\"]").await;
    assert_eq!(passing(&proxy, "/", &[], 6).await, 6);
    let finished = proxy.finished(6).await;
    let would = finished.iter().filter(|event| event.limit_dry_run.as_deref() == Some("per-client")).count();
    assert_eq!((would, finished.iter().filter(|event| event.limit.is_some()).count()), (2, 0));
    assert_eq!(proxy.get("/").await.field("ratelimit"), None);
    let counts = proxy.instance.proxy.site().limits[0].limiter.counts();
    assert_eq!((counts.allowed, counts.dry_run, counts.limited), (4, 3, 0));
}

#[tokio::test]
async fn some_have_more_and_some_have_no_limit() {
    let clock = noon();
    let limits = format!(
        "{PER_CLIENT}exempt = [{{ clients = [\"192.0.2.0/24\"] }}, {{ headers = {{ x-probe = \"s3cr3t\" }} }}]\n\
         [rate_limits.per-client.tiers.gold]\nrate = \"6/m\"\nheaders = {{ x-plan = \"gold\" }}\n\
         [rate_limits.per-client.tiers.partner]\nrate = \"8/m\"\nclients = [\"198.51.100.0/24\"]\n"
    );
    let (_origin, proxy) = limited(&clock, &limits, "rate_limits = [\"per-client\"]").await;
    for (fields, wanted) in [
        (&["x-plan: tin"][..], 4),
        (&["x-plan: gold"], 6),
        (&["x-forwarded-for: 198.51.100.7"], 8),
        (&["x-forwarded-for: 198.51.100.8", "x-plan: gold"], 6),
        (&["x-forwarded-for: 192.0.2.1"], 10),
        (&["x-probe: s3cr3t"], 10),
        (&["x-probe: guess", "x-forwarded-for: 203.0.113.1"], 4),
    ] {
        assert_eq!(passing(&proxy, "/", fields, 10).await, wanted, "{fields:?}");
    }
}

#[tokio::test]
async fn counts_survive_a_reload_that_leaves_the_limit_as_it_is() {
    let clock = noon();
    let route = "rate_limits = [\"per-client\"]";
    let (origin, proxy) = limited(&clock, PER_CLIENT, route).await;
    assert_eq!(passing(&proxy, "/", &[], 3).await, 3);
    let status = format!("{PER_CLIENT}status = 503\n");
    proxy.reload(&config(&origin, &status, &format!("{route}\ncache = false"))).expect("taken over");
    assert_eq!(statuses(&proxy, "/", &[], 2).await, [200, 503]);
    let faster = PER_CLIENT.replace("4/m", "5/m");
    let changes = proxy.reload(&config(&origin, &faster, route)).expect("taken over");
    assert!(changes.contains(&"rate limit `per-client` changed".to_owned()), "{changes:?}");
    assert_eq!(passing(&proxy, "/", &[], 9).await, 5);
}

#[tokio::test]
async fn a_limit_may_hold_for_every_route() {
    let clock = noon();
    let limits =
        "[rate_limits.all]\nrate = \"3/h\"\nkey = []\nstatus = 420\nfields = false\nevery_route = true\n";
    let (_origin, proxy) = limited(&clock, limits, "").await;
    assert_eq!(statuses(&proxy, "/", &[], 4).await, [200, 200, 200, 420]);
    let refused = proxy.get("/").await;
    assert_eq!((refused.field("ratelimit"), refused.field("retry-after")), (None, Some("1200")));
    let over_h2 = proxy.connect_h2().await.get("/").await;
    assert_eq!(over_h2.status, 420);
}

/// The refusal of a request that is still being sent reaches its client, and no reset overtakes it.
#[tokio::test]
async fn a_refusal_reaches_a_client_that_goes_on_sending() {
    let clock = noon();
    let limits = "[rate_limits.all]\nrate = \"1/h\"\nkey = []\n";
    let (origin, proxy) = limited(&clock, limits, "rate_limits = [\"all\"]").await;
    assert_eq!(statuses(&proxy, "/", &[], 1).await, [200]);
    let mut client = proxy.connect().await;
    let head = request("POST", "/", &["content-length: 200000"], "");
    client.say(head).await;
    for _ in 0..3 {
        client.say("x".repeat(50_000)).await;
    }
    let refused = client.head().await;
    assert_eq!(refused.status(), 429);
    client.say("x".repeat(40_000)).await;
    let reply = client.rest_of(refused).await;
    assert!(reply.text().contains("Too many requests"));
    client.closed().await;
    assert_eq!(origin.hits(), 1);
    tokio::time::timeout(Duration::from_secs(10), proxy.finished(2)).await.expect("both told");
}
