//! What is said beforehand is what happens: each request is explained, then sent, and both must agree.

use http::{HeaderName, HeaderValue, Request};
use proxy_stone::http::target::Target;
use proxy_stone::pipeline::explain::{Bypass, Explained, Verdict};

use crate::support::{Answer, Call, Origin, Proxy, Reply, http_date, noon, pass, until};

/// What the proxy says of a request that nobody sends.
pub async fn explained(proxy: &Proxy, method: &str, target: &str, fields: &[&str]) -> Option<Explained> {
    let mut request =
        Request::builder().method(method).uri(target).header("host", "api.test").body(()).unwrap();
    for field in fields {
        let (name, value) = field.split_once(": ").unwrap();
        request
            .headers_mut()
            .append(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
    }
    let (head, ()) = request.into_parts();
    let target = Target::of(&head, false).unwrap();
    proxy.instance.proxy.explain(&head, &target).await
}

/// The verdict that a reply speaks of.
pub fn happened(reply: &Reply) -> &'static str {
    let status = reply.cache_status();
    let says = |word: &str| status.split("; ").any(|part| part == word);
    match () {
        () if reply.status == 504 => "refused",
        () if status.contains("; hit") && status.contains("ttl=-") => "stale",
        () if status.contains("; hit") && status.contains("; ttl=0") => "stale",
        () if status.contains("; hit") => "hit",
        () if says("fwd-status=304") => "validate",
        () if says("fwd=bypass") || says("fwd=method") => "bypass",
        () => "miss",
    }
}

fn said(explained: &Option<Explained>) -> &'static str {
    word(explained.as_ref().map(|explained| explained.verdict))
}

pub fn word(verdict: Option<Verdict>) -> &'static str {
    match verdict {
        None => "no route",
        Some(Verdict::Hit) => "hit",
        Some(Verdict::Stale) => "stale",
        Some(Verdict::Validate) => "validate",
        Some(Verdict::Miss(_)) => "miss",
        Some(Verdict::Bypass(_)) => "bypass",
        Some(Verdict::Refused) => "refused",
    }
}

async fn origin() -> Origin {
    Origin::start(async move |call: &mut Call| {
        let asked = &call.request.fields;
        let tagged =
            |control: &str| Answer::ok("hello").field("Cache-Control", control).field("ETag", "\"v1\"");
        let answer = match call.target().split('?').next().unwrap() {
            "/tagged" | "/windowed" | "/strict" if asked.get("if-none-match") == Some("\"v1\"") => {
                Answer::new(304).field("ETag", "\"v1\"")
            }
            "/tagged" => tagged("max-age=60"),
            "/windowed" => tagged("max-age=60, stale-while-revalidate=30"),
            "/strict" => tagged("s-maxage=60, stale-while-revalidate=30"),
            "/no-cache" => tagged("no-cache"),
            "/private" => Answer::ok("mine").field("Cache-Control", "private"),
            "/bare" => Answer::ok("bare"),
            "/part" if asked.has("range") => Answer::new(206)
                .body("hello")
                .field("Content-Range", "bytes 0-4/9")
                .field("Cache-Control", "max-age=60")
                .field("ETag", "\"p\""),
            "/old" => Answer::ok("old").field("Last-Modified", http_date(-1000)),
            "/vary" => Answer::ok("v").field("Cache-Control", "max-age=60").field("Vary", "Accept-Language"),
            _ => Answer::ok("plain").field("Cache-Control", "max-age=60"),
        };
        call.answer(&answer).await;
    })
    .await
}

#[tokio::test]
async fn what_is_said_beforehand_is_what_happens() {
    let origin = origin().await;
    let clock = noon();
    let config = format!(
        "upstream = \"{}\"\n[[routes]]\nname = \"off\"\nmatch = {{ path = \"/off\" }}\ncache = false\n\
         [[routes]]\nname = \"timed\"\nmatch = {{ path = \"/bare\" }}\ncache = \"60s\"\n\
         [[routes]]\nname = \"keyed\"\nmatch = {{ path = \"/keyed\" }}\n\
         cache = {{ key = {{ headers = [\"x-tenant\"], ignore_query = [\"utm_*\"] }} }}\n",
        origin.url()
    );
    let proxy = Proxy::of(config).clock(&clock).start().await;
    let targets = [
        "/plain",
        "/tagged",
        "/windowed",
        "/strict",
        "/no-cache",
        "/private",
        "/bare",
        "/old",
        "/vary",
        "/off",
        "/keyed?utm_source=a",
        "/part",
    ];
    let requests: [(&str, &[&str]); 16] = [
        ("GET", &[]),
        ("HEAD", &[]),
        ("POST", &[]),
        ("GET", &["Accept-Language: de"]),
        ("GET", &["X-Tenant: one"]),
        ("GET", &["Cookie: a=b"]),
        ("GET", &["Cache-Control: no-cache"]),
        ("GET", &["Cache-Control: no-store"]),
        ("GET", &["Cache-Control: max-age=5"]),
        ("GET", &["Cache-Control: max-stale=7"]),
        ("GET", &["Cache-Control: min-fresh=50"]),
        ("GET", &["Cache-Control: only-if-cached"]),
        ("GET", &["If-None-Match: \"v1\""]),
        ("GET", &["Pragma: no-cache"]),
        ("GET", &["Range: bytes=0-4"]),
        ("GET", &["Range: bytes=2-3"]),
    ];
    let mut seen = std::collections::BTreeMap::<_, usize>::new();
    for (round, seconds) in [0, 0, 20, 70, 200].into_iter().enumerate() {
        pass(&clock, seconds);
        for target in targets {
            for (method, fields) in requests {
                let before = explained(&proxy, method, target, fields).await;
                let reply = proxy.ask(method, target, fields, "").await;
                // What it left behind is there before the next question.
                until("fetches end", || proxy.instance.proxy.flights() == 0).await;
                let (said, happened) = (said(&before), happened(&reply));
                let told = format!("{method} {target} {fields:?} in round {round}: {}", reply.cache_status());
                // The origin may say something else than that what is stored holds.
                let same = said == happened || (said == "validate" && happened == "miss");
                assert!(same, "said {said}, happened {happened}: {told}");
                *seen.entry(said).or_default() += 1;
            }
        }
    }
    for verdict in ["hit", "stale", "validate", "miss", "bypass", "refused"] {
        assert!(seen.contains_key(verdict), "{verdict} was never said: {seen:?}");
    }
}

#[tokio::test]
async fn explaining_leaves_nothing_behind() {
    let origin = origin().await;
    let proxy = Proxy::caching(&origin).await;
    proxy.get("/plain").await;
    proxy.stored(1).await;
    let before = proxy.instance.cache.stats();
    for target in ["/plain", "/other", "/plain?x=1"] {
        explained(&proxy, "GET", target, &[]).await.unwrap();
    }
    assert_eq!(proxy.instance.cache.stats(), before, "no look-up is counted");
    assert_eq!(origin.hits(), 1, "and the origin is not asked");
}

#[tokio::test]
async fn what_the_leak_guard_would_do_is_said_beforehand() {
    let origin = Origin::answering(|request| {
        let who = request.fields.get("authorization").unwrap_or("nobody");
        Answer::ok(format!("about {who}")).field("Cache-Control", "public, max-age=60")
    })
    .await;
    let clock = noon();
    let config = format!("upstream = \"{}\"\ncache = {{ leak_guard = true }}", origin.url());
    let proxy = Proxy::of(config).clock(&clock).start().await;
    let [alice, bob, carol] =
        ["Authorization: alice", "Authorization: bob", "Authorization: carol"].map(|who| [who]);
    let leaks = proxy.instance.cache.leaks();
    let verdict = async |who: &[&str]| explained(&proxy, "GET", "/me", who).await.unwrap().verdict;
    proxy.ask("GET", "/me", &alice, "").await;
    assert_eq!(verdict(&alice).await, Verdict::Hit);
    assert_eq!(verdict(&bob).await, Verdict::Bypass(Bypass::Unseen));
    proxy.ask("GET", "/me", &bob, "").await;
    until("the key is suspect", || leaks.suspects(clock.now()) == 1).await;
    assert_eq!(verdict(&alice).await, Verdict::Bypass(Bypass::Suspect));
    proxy.ask("GET", "/me", &carol, "").await;
    until("the key is marked", || leaks.found() == 1).await;
    assert!(matches!(verdict(&alice).await, Verdict::Bypass(Bypass::Leaking(_))));
    let asked = ["Authorization: alice", "Cache-Control: only-if-cached"];
    assert_eq!(verdict(&asked).await, Verdict::Refused);
}
