//! Cross-origin requests: preflights are answered here, and one stored reply serves every origin.

use crate::support::{Answer, H2, Origin, Proxy, Reply, closed_address};

const APP: &str = "Origin: https://app.example.com";
const OTHER: &str = "Origin: https://evil.example";

/// The origin has ideas of its own of who may.
fn cached() -> Answer {
    let answer = Answer::ok("origin").field("cache-control", "max-age=60").field("etag", "\"1\"");
    answer.field("access-control-allow-origin", "https://own.example").field("access-control-max-age", "9")
}

async fn policed(answer: Answer, route: &str) -> (Origin, Proxy) {
    let origin = Origin::always(answer).await;
    let config = format!("upstream = \"{}\"\n[[routes]]\nname = \"all\"\n{route}", origin.url());
    (origin, Proxy::of(config).start().await)
}

fn granted(reply: &Reply) -> Vec<&str> {
    reply.fields.all("access-control-allow-origin")
}

#[tokio::test]
async fn preflights_are_answered_without_the_origin() {
    let route = "cors = { origins = ['https://*.example.com', 'http://localhost:*'], methods = ['PUT'], \
                 credentials = true, max_age = '10m' }\nrate_limits = ['one']\nallow_methods = ['PUT']\n\
                 [rate_limits.one]\nrate = '1/h'";
    let (origin, proxy) = policed(cached(), route).await;
    let asked = ["Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x-b,content-type"];
    for _ in 0..3 {
        let reply = proxy.ask("OPTIONS", "/a", &[APP, asked[0], asked[1]], "").await;
        assert_eq!((reply.status, granted(&reply)), (204, vec!["https://app.example.com"]));
        for (name, value) in [
            ("access-control-allow-methods", Some("PUT")),
            ("access-control-allow-headers", Some("x-b, content-type")),
            ("access-control-allow-credentials", Some("true")),
            ("access-control-max-age", Some("600")),
            ("content-length", None),
            ("ratelimit", None),
        ] {
            assert_eq!(reply.field(name), value, "{name}");
        }
        assert!(reply.field("vary").unwrap().starts_with("Origin, Access-Control-Request-Method"));
        assert!(reply.cache_status().contains("preflight"));
    }
    let refused = proxy.ask("OPTIONS", "/a", &[OTHER, asked[0]], "").await;
    assert_eq!((refused.status, granted(&refused).len()), (403, 0));
    assert_eq!(refused.field("vary"), Some("Origin"));
    assert_eq!(origin.hits(), 0);
    for (fields, status) in [(&[APP][..], 405), (&[asked[0]], 405)] {
        assert_eq!(proxy.ask("OPTIONS", "/a", fields, "").await.status, status, "no preflight: {fields:?}");
    }

    let h2 = proxy.connect_h2().await;
    let mut request = H2::request("OPTIONS", "/a", "");
    request.headers_mut().insert("origin", "http://localhost:3000".parse().unwrap());
    request.headers_mut().insert("access-control-request-method", "PUT".parse().unwrap());
    let reply = h2.ask(request).await;
    assert_eq!((reply.status, granted(&reply)), (204, vec!["http://localhost:3000"]));
}

#[tokio::test]
async fn one_stored_reply_serves_every_origin() {
    let route = "cors = { origins = ['https://app.example.com', 'https://two.example'], expose = 'etag' }\n\
                 response_headers = { add = { vary = 'Accept' } }";
    let (origin, proxy) = policed(cached(), route).await;
    for (asked, expected) in [
        (&[APP][..], Some("https://app.example.com")),
        (&["Origin: https://two.example"], Some("https://two.example")),
        (&[OTHER], None),
        (&[], None),
        (&["Origin: null"], None),
        (&[APP, "If-None-Match: \"1\""], Some("https://app.example.com")),
    ] {
        let reply = proxy.ask("GET", "/a", asked, "").await;
        proxy.stored(1).await;
        assert_eq!(granted(&reply), Vec::from_iter(expected), "{asked:?}");
        assert_eq!(reply.fields.all("vary"), ["Accept", "Origin"]);
        assert_eq!(reply.field("access-control-expose-headers"), expected.map(|_| "etag"));
        assert!(!reply.fields.has("access-control-max-age"), "the origin server's own go");
    }
    assert_eq!(origin.hits(), 1);

    // What is stored is what the origin server said.
    proxy.reload(&format!("upstream = \"{}\"\n[[routes]]\nname = \"all\"", origin.url())).unwrap();
    let reply = proxy.ask("GET", "/a", &[APP], "").await;
    assert_eq!((granted(&reply), origin.hits()), (vec!["https://own.example"], 1));
}

#[tokio::test]
async fn any_origin_is_told_so_without_vary() {
    let (origin, proxy) = policed(cached(), "cors = '*'").await;
    for asked in [&[OTHER][..], &[]] {
        let reply = proxy.ask("GET", "/a", asked, "").await;
        assert_eq!((granted(&reply), reply.fields.has("vary")), (vec!["*"], false));
        assert!(!reply.fields.has("access-control-allow-credentials"));
        proxy.stored(1).await;
    }
    assert_eq!(origin.hits(), 1);
}

/// A script must be able to read why it failed.
#[tokio::test]
async fn replies_of_ours_carry_the_fields_too() {
    let config = format!(
        "cors = 'https://app.example.com'\n\
         [[routes]]\nmatch = {{ path = '/off' }}\nupstream = 'http://{}'\n\
         [[routes]]\nmatch = {{ path = '/own' }}\nrespond = {{}}\n\
         [[routes]]\nmatch = {{ path = '/denied' }}\nrespond = {{}}\ndeny = '127.0.0.1'\n\
         [[routes]]\nmatch = {{ path = '/closed' }}\nrespond = {{}}\ncors = false\n\
         [[routes]]\nmatch = {{ path = '/limited' }}\nrespond = {{}}\nrate_limits = ['one']\n\
         [rate_limits.one]\nrate = '1/h'",
        closed_address(),
    );
    let proxy = Proxy::of(config).start().await;
    for (target, status, told) in [
        ("/off", 502, true),
        ("/own", 200, true),
        ("/denied", 403, true),
        ("/closed", 200, false),
        ("/limited", 200, true),
        ("/limited", 429, true),
    ] {
        let reply = proxy.ask("GET", target, &[APP], "").await;
        assert_eq!((reply.status, granted(&reply).len() == 1), (status, told), "{target}");
    }
}

/// The route that would take the request decides, not one for OPTIONS.
#[tokio::test]
async fn a_preflight_is_of_the_route_that_its_request_would_be_of() {
    let origin = Origin::always(Answer::new(204).field("x-origin", "asked")).await;
    let config = format!(
        "[[routes]]\nname = 'write'\nmatch = {{ path = '/a', methods = 'PUT' }}\nupstream = \"{0}\"\n\
         cors = 'https://app.example.com'\n\
         [[routes]]\nname = 'rest'\nupstream = \"{0}\"",
        origin.url(),
    );
    let proxy = Proxy::of(config).start().await;
    let preflight = |method: &str| [APP.to_owned(), format!("Access-Control-Request-Method: {method}")];
    for (target, method, answered_here) in
        [("/a", "PUT", true), ("/a", "DELETE", false), ("/b", "PUT", false)]
    {
        let fields = preflight(method);
        let fields: Vec<_> = fields.iter().map(String::as_str).collect();
        let reply = proxy.ask("OPTIONS", target, &fields, "").await;
        assert_eq!(reply.status, 204);
        assert_eq!(!reply.fields.has("x-origin"), answered_here, "{method} {target}");
        assert_eq!(granted(&reply).len() == 1, answered_here);
    }
}
