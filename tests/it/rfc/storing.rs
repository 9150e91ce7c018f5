//! What is stored (RFC 9111 3, 3.1, 3.5, 5.2.2, 7.3; RFC 9110 9.3.3, 15.1).

use super::{Case, Table, case, refetched, reused, tables, validated};

tables!(
    methods,
    statuses,
    guessed_statuses,
    forbidding,
    understanding,
    credentials,
    cookies,
    qualified,
    fields,
    posts,
    too_large
);

/// RFC 9111 3, 4: which methods' replies are stored, and whom they answer.
fn methods() -> Table {
    const RULE: &str = "RFC 9111 3";
    let fresh = &["Cache-Control: max-age=60"][..];
    let never = |method: &str| {
        case(RULE, format!("{method} is neither stored nor answered"))
            .says(fresh)
            .asks(method, &[])
            .misses()
            .asks(method, &[])
            .misses()
            .get()
            .misses()
            .asks(method, &[])
            .misses()
    };
    let mut cases = vec![
        reused(RULE, "GET", fresh),
        case("RFC 9110 9.3.2", "HEAD is answered by a stored GET")
            .says(fresh)
            .get()
            .misses()
            .asks("HEAD", &[])
            .hits()
            .status(200)
            .field("content-length", "7")
            .body(""),
        case(RULE, "GET is never answered by HEAD")
            .says(fresh)
            .asks("HEAD", &[])
            .misses()
            .get()
            .misses()
            .body("reply 2"),
        case("RFC 9111 4", "a method that is close to GET is another one")
            .says(fresh)
            .get()
            .misses()
            .asks("get", &[])
            .misses(),
        case("RFC 9111 4", "a query makes another URI")
            .says(fresh)
            .get()
            .misses()
            .get()
            .at("?a")
            .misses()
            .get()
            .at("?")
            .misses()
            .get()
            .at("?a")
            .hits()
            .body("reply 2"),
        case("RFC 9111 4", "a path below makes another URI")
            .says(fresh)
            .get()
            .misses()
            .get()
            .at("/x")
            .misses(),
    ];
    cases.extend(["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "M-SEARCH", "QUERY", "FOO"].map(never));
    Table::of(cases)
}

/// RFC 9111 3: any final status may be stored where the origin gives a lifetime, known or not.
fn statuses() -> Table {
    const RULE: &str = "RFC 9111 3";
    let stored = [
        200, 201, 202, 203, 204, 205, 207, 226, 299, 300, 301, 302, 303, 307, 308, 399, 400, 401, 402, 403,
        404, 405, 406, 409, 410, 411, 413, 414, 415, 418, 421, 422, 425, 426, 428, 429, 431, 451, 499, 500,
        501, 502, 503, 504, 505, 511, 599,
    ];
    let with = |field: &'static str| {
        stored.map(move |status| {
            case(RULE, format!("{status} with {field}"))
                .replies(status, &[field])
                .get()
                .misses()
                .status(status)
                .pass(1)
                .get()
                .hits()
                .status(status)
                .field("age", "1")
        })
    };
    let mut cases: Vec<Case> = Vec::new();
    cases.extend(with("Cache-Control: max-age=60"));
    cases.extend(with("Cache-Control: s-maxage=60"));
    cases.extend(with("Expires: {+60}"));
    cases.push(
        case(RULE, "304 to a request without a condition is not stored")
            .replies(304, &["Cache-Control: max-age=60"])
            .get()
            .misses()
            .get()
            .misses(),
    );
    Table::of(cases)
}

/// RFC 9110 15.1, RFC 9111 4.2.2: a lifetime is guessed for some statuses alone, and for all that are `public`.
fn guessed_statuses() -> Table {
    const RULE: &str = "RFC 9111 4.2.2";
    let guessed = |status: u16, fields: &[&str]| {
        case(RULE, format!("{status} {fields:?}")).replies(status, fields).get().misses().pass(1)
    };
    let modified = "Last-Modified: {-1000}";
    let mut cases = Vec::new();
    for status in [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
        cases.push(guessed(status, &[modified]).get().hits().status(status));
    }
    for status in [201, 202, 299, 302, 303, 307, 399, 400, 401, 403, 406, 418, 499, 500, 502, 503, 504, 599] {
        cases.push(guessed(status, &[modified]).get().misses());
        cases.push(guessed(status, &[modified, "Cache-Control: public"]).get().hits().status(status));
    }
    Table::of(cases)
}

/// RFC 9111 5.2.2: directives that forbid storing, in whatever form and place.
fn forbidding() -> Table {
    let no_store = |name: &str, fields: &[&str]| {
        refetched("RFC 9111 5.2.2.5", name, &[fields, &["ETag: \"tag\""]].concat())
    };
    let private = |name: &str, fields: &[&str]| {
        refetched("RFC 9111 5.2.2.7", name, &[fields, &["ETag: \"tag\""]].concat())
    };
    Table::of(vec![
        no_store("no-store", &["Cache-Control: no-store"]),
        no_store("beside a lifetime", &["Cache-Control: max-age=60, no-store"]),
        no_store("on a line of its own", &["Cache-Control: max-age=60", "Cache-Control: no-store"]),
        no_store("before the others", &["Cache-Control: no-store, public, s-maxage=60"]),
        no_store("upper case", &["Cache-Control: No-StoRE, max-age=60"]),
        no_store("with an argument", &["Cache-Control: no-store=\"x\", max-age=60"]),
        no_store("with spaces and empty members", &["Cache-Control: , ,\t no-store ,max-age=60,"]),
        no_store("beside Expires", &["Cache-Control: no-store", "Expires: {+60}"]),
        no_store("behind a quoted string with a comma", &["Cache-Control: x=\"a, b\", max-age=60, no-store"]),
        no_store("behind an open quote", &["Cache-Control: max-age=60, x=\"a, no-store"]),
        no_store("beside a valueless unknown directive", &["Cache-Control: foo, no-store, max-age=60"]),
        reused(
            "RFC 9111 5.2.3",
            "within a quoted string it is none",
            &["Cache-Control: x=\"no-store\", max-age=60"],
        ),
        reused(
            "RFC 9111 5.2.3",
            "nor behind a comma in one",
            &["Cache-Control: x=\"a, no-store\", max-age=60"],
        ),
        reused(
            "RFC 9111 5.2.3",
            "nor behind an escaped quote",
            &["Cache-Control: x=\"a\\\", no-store\", max-age=60"],
        ),
        reused(
            "RFC 9111 5.2.3",
            "a longer word is another directive",
            &["Cache-Control: no-storex, max-age=60"],
        ),
        reused("RFC 9111 5.2.3", "and so is one with a prefix", &["Cache-Control: x-no-store, max-age=60"]),
        reused(
            "RFC 9111 5.2.3",
            "unknown directives are ignored",
            &["Cache-Control: foo, bar=1, baz=\"x\", max-age=60"],
        ),
        reused(
            "RFC 9111 5.2.3",
            "known ones in unknown ones' arguments too",
            &["Cache-Control: foo=no-store, max-age=60"],
        ),
        reused(
            "RFC 9111 5.2",
            "another field of this name's kind says nothing",
            &["X-Cache-Control: no-store", "Cache-Control: max-age=60"],
        ),
        reused(
            "RFC 9111 5.4",
            "Pragma in a reply means nothing",
            &["Pragma: no-cache", "Cache-Control: max-age=60"],
        ),
        private("private", &["Cache-Control: private, max-age=60"]),
        private("upper case", &["Cache-Control: PRIVATE, max-age=60"]),
        private("on a line of its own", &["Cache-Control: max-age=60", "Cache-Control: private"]),
        private("beside s-maxage and public", &["Cache-Control: private, public, s-maxage=60"]),
        private("with an empty list", &["Cache-Control: private=\"\", max-age=60"]),
        private("with a list that is none", &["Cache-Control: private=\"a b\", max-age=60"]),
        private("with and without a list", &["Cache-Control: private=\"x-a\", private, max-age=60"]),
        case("RFC 9111 5.2.1.5", "no-store in the request")
            .says(&["Cache-Control: max-age=60"])
            .get_with(&["Cache-Control: no-store"])
            .misses()
            .get()
            .misses()
            .body("reply 2")
            .get_with(&["Cache-Control: no-store"])
            .hits(),
        case("RFC 9111 5.2.1.5", "it does not end what is stored")
            .says(&["Cache-Control: max-age=1", "ETag: \"a\""])
            .get()
            .misses()
            .pass(5)
            .get_with(&["Cache-Control: no-store"])
            .misses()
            .get()
            .validates(),
    ])
}

/// RFC 9111 5.2.2.3: `must-understand`.
fn understanding() -> Table {
    const RULE: &str = "RFC 9111 5.2.2.3";
    let says = |status: u16, control: &str| {
        case(RULE, format!("{status} {control}"))
            .replies(status, &[&format!("Cache-Control: {control}")])
            .get()
            .misses()
    };
    let mut cases: Vec<Case> = Vec::new();
    for status in [200, 203, 204, 301, 302, 404, 410, 500, 503] {
        cases.push(says(status, "must-understand, no-store, max-age=60").get().hits().status(status));
        cases.push(says(status, "must-understand, max-age=60").get().hits().status(status));
    }
    for status in [299, 399, 499, 599] {
        cases.push(says(status, "must-understand, no-store, max-age=60").get().misses());
        cases.push(says(status, "must-understand, max-age=60").get().misses());
    }
    cases.push(says(200, "MUST-UNDERSTAND, No-Store, max-age=60").get().hits());
    cases.push(says(200, "must-understand=1, no-store, max-age=60").get().misses());
    cases.push(says(200, "must-understand, private, max-age=60").get().misses());
    Table::of(cases)
}

/// RFC 9111 3.5: replies to requests with `Authorization`.
fn credentials() -> Table {
    const RULE: &str = "RFC 9111 3.5";
    const WHO: &[&str] = &["Authorization: Basic dTpw"];
    let asked =
        |fields: &[&str]| case(RULE, format!("{fields:?}")).says(fields).get_with(WHO).misses().pass(1);
    let private = |fields: &[&str]| asked(fields).get_with(WHO).misses().get().misses();
    let shared = |fields: &[&str]| asked(fields).get_with(WHO).hits().get().hits();
    Table::of(vec![
        private(&["Cache-Control: max-age=60"]),
        private(&["Expires: {+60}"]),
        private(&["Last-Modified: {-1000}"]),
        private(&["Cache-Control: max-age=60, proxy-revalidate"]),
        private(&["Cache-Control: max-age=60, no-cache=\"x\""]),
        private(&["Cache-Control: max-age=60, x-public, foo=\"public\""]),
        private(&["Cache-Control: max-age=60, public=1"]),
        shared(&["Cache-Control: max-age=60, public"]),
        shared(&["Cache-Control: s-maxage=60"]),
        shared(&["Cache-Control: max-age=60, must-revalidate"]),
        shared(&["Cache-Control: public", "Last-Modified: {-1000}"]),
        shared(&["Expires: {+60}", "Cache-Control: PUBLIC"]),
        case(RULE, "must-revalidate holds for it: stale, it is validated")
            .says(&["Cache-Control: max-age=5, must-revalidate", "ETag: \"a\""])
            .get_with(WHO)
            .misses()
            .pass(10)
            .get_with(WHO)
            .validates()
            .forwards("authorization", "Basic dTpw"),
        case(RULE, "a request with credentials takes what was stored for one without")
            .says(&["Cache-Control: max-age=60"])
            .get()
            .misses()
            .get_with(WHO)
            .hits(),
        case(RULE, "and what was not stored for it does not end that")
            .says(&["Cache-Control: max-age=5"])
            .get_with(WHO)
            .misses()
            .get()
            .misses()
            .body("reply 2")
            .get()
            .hits(),
    ])
}

/// RFC 9111 7.3 and the careful lifetimes of ours.
fn cookies() -> Table {
    const RULE: &str = "RFC 9111 7.3";
    const COOKIE: &[&str] = &["Cookie: id=7"];
    Table::of(vec![
        case(RULE, "Set-Cookie does not stop storing where the origin gives a lifetime, and is stored")
            .says(&["Cache-Control: max-age=60", "Set-Cookie: a=1", "Set-Cookie: b=2"])
            .get()
            .misses()
            .get()
            .hits()
            .fields("set-cookie", &["a=1", "b=2"]),
        reused(RULE, "nor where it says Expires", &["Expires: {+60}", "Set-Cookie: a=1"]),
        refetched(
            RULE,
            "but it does where the lifetime were a guess",
            &["Last-Modified: {-1000}", "Set-Cookie: a=1", "ETag: \"\""],
        ),
        reused(
            RULE,
            "one field is kept back where the origin asks for that",
            &["Cache-Control: max-age=60, no-cache=\"set-cookie\"", "Set-Cookie: a=1"],
        )
        .lacks("set-cookie"),
        case(RULE, "a request with Cookie takes what the origin gave a lifetime, and stores it")
            .says(&["Cache-Control: max-age=60"])
            .get_with(COOKIE)
            .misses()
            .get()
            .hits()
            .get_with(&["Cookie: id=8"])
            .hits(),
        case(RULE, "but neither takes nor stores a guess")
            .says(&["Last-Modified: {-1000}"])
            .get_with(COOKIE)
            .misses()
            .get()
            .misses()
            .get()
            .hits()
            .get_with(COOKIE)
            .misses(),
    ])
}

/// RFC 9111 5.2.2.4, 5.2.2.7: `no-cache` and `private`, plain and qualified.
fn qualified() -> Table {
    const NO_CACHE: &str = "RFC 9111 5.2.2.4";
    const PRIVATE: &str = "RFC 9111 5.2.2.7";
    let withheld = |rule, name: &str, directive: &str| {
        case(rule, name)
            .says(&[&format!("Cache-Control: max-age=60, {directive}"), "X-A: 1", "X-B: 2", "X-C: 3"])
            .get()
            .misses()
            .field("x-a", "1")
            .field("x-b", "2")
            .get()
            .hits()
            .lacks("x-a")
    };
    Table::of(vec![
        validated(
            NO_CACHE,
            "no-cache is stored and always validated",
            &["Cache-Control: no-cache, max-age=60"],
        ),
        validated(NO_CACHE, "upper case", &["Cache-Control: No-Cache, max-age=60"]),
        validated(
            NO_CACHE,
            "on a line of its own",
            &["Cache-Control: max-age=60", "Cache-Control: no-cache"],
        ),
        validated(NO_CACHE, "beside s-maxage", &["Cache-Control: no-cache, s-maxage=60"]),
        validated(NO_CACHE, "beside Expires", &["Cache-Control: no-cache", "Expires: {+60}"]),
        validated(NO_CACHE, "without a lifetime", &["Cache-Control: no-cache"]),
        validated(NO_CACHE, "with an empty list", &["Cache-Control: no-cache=\"\", max-age=60"]),
        validated(NO_CACHE, "with a list that is none", &["Cache-Control: no-cache=\"(\", max-age=60"]),
        validated(
            NO_CACHE,
            "with and without a list",
            &["Cache-Control: no-cache=\"x\", no-cache, max-age=60"],
        ),
        refetched(
            NO_CACHE,
            "without a validator it is asked for anew",
            &["Cache-Control: no-cache, max-age=60"],
        ),
        case(NO_CACHE, "max-stale does not lift it")
            .says(&["Cache-Control: no-cache, max-age=60", "ETag: \"a\""])
            .get()
            .misses()
            .get_with(&["Cache-Control: max-stale"])
            .validates(),
        withheld(NO_CACHE, "a list keeps its fields back", "no-cache=\"x-a\"").field("x-b", "2"),
        withheld(NO_CACHE, "of several fields", "no-cache=\"X-A, x-b\"").lacks("x-b").field("x-c", "3"),
        withheld(NO_CACHE, "as a token", "no-cache=x-a").field("x-b", "2"),
        withheld(NO_CACHE, "in two directives", "no-cache=\"x-a\", no-cache=\"x-b\"")
            .lacks("x-b")
            .field("x-c", "3"),
        withheld(PRIVATE, "a list keeps its fields out of the store", "private=\"x-a\"").field("x-b", "2"),
        withheld(PRIVATE, "of several fields", "private=\"x-a,X-B\"").lacks("x-b").field("x-c", "3"),
        withheld(PRIVATE, "as a token", "private=x-a").field("x-b", "2"),
        withheld(PRIVATE, "beside a list of no-cache", "private=\"x-a\", no-cache=\"x-b\"")
            .lacks("x-b")
            .field("x-c", "3"),
    ])
}

/// RFC 9111 3.1, RFC 9110 7.6.1: which fields are stored.
fn fields() -> Table {
    const RULE: &str = "RFC 9111 3.1";
    const HOP: &str = "RFC 9110 7.6.1";
    let fresh = "Cache-Control: max-age=60";
    let kept = |name: &str, value: &str| {
        case(RULE, format!("{name}: {value}"))
            .says(&[fresh, &format!("{name}: {value}")])
            .get()
            .misses()
            .field(&name.to_lowercase(), value)
            .get()
            .hits()
            .field(&name.to_lowercase(), value)
    };
    let dropped = |rule, name: &str, value: &str| {
        case(rule, format!("{name} is not stored"))
            .says(&[fresh, &format!("{name}: {value}")])
            .get()
            .misses()
            .get()
            .hits()
            .lacks(&name.to_lowercase())
    };
    let mut cases: Vec<Case> = [
        ("Content-Type", "text/plain;charset=utf-8"),
        ("Content-Encoding", "x-test"),
        ("Content-Language", "de,  en"),
        ("Content-Location", "/elsewhere"),
        ("Content-MD5", "Q2hlY2sgSW50ZWdyaXR5IQ=="),
        ("Content-Range", "x 1-2"),
        ("Content-Disposition", "attachment"),
        ("Content-Security-Policy", "default-src 'self'"),
        ("Content-Foo", "bar"),
        ("Clear-Site-Data", "\"cookies\""),
        ("ETag", "W/\"a , b\""),
        ("Last-Modified", "Tue, 01 Jan 2019 00:00:00 GMT"),
        ("Expires", "Fri, 01 Jan 2100 00:00:00 GMT"),
        ("Date", "Fri, 01 Jan 2100 00:00:00 GMT"),
        ("Link", "<a>; rel=next, <b>"),
        ("Location", "/there"),
        ("Pragma", "no-cache"),
        ("Public-Key-Pins", "x"),
        ("Retry-After", "120"),
        ("Server", "test/1.0 (x)"),
        ("Set-Cookie", "a=b; Path=/, c"),
        ("Set-Cookie2", "a=b"),
        ("Strict-Transport-Security", "max-age=1"),
        ("Warning", "299 - \"x\""),
        ("WWW-Authenticate", "Basic realm=\"a, b\", Digest x=\"y\""),
        ("Authentication-Info", "x"),
        ("X-Frame-Options", "DENY"),
        ("X-Test", "\"quoted, string\" ; a=1 ,,b"),
        ("Cache-Foo", "bar"),
        ("Surrogate-Key", "a b"),
    ]
    .map(|(name, value)| kept(name, value))
    .into();
    cases.extend([
        case(RULE, "several lines of one name stay in their order")
            .says(&[fresh, "X-A: 1", "X-B: x", "X-A: 2", "X-A: 1"])
            .get()
            .misses()
            .get()
            .hits()
            .fields("x-a", &["1", "2", "1"]),
        case(RULE, "an empty value stays")
            .says(&[fresh, "X-A:"])
            .get()
            .misses()
            .get()
            .hits()
            .field("x-a", ""),
        case(RULE, "bytes beyond ASCII stay")
            .says(&[fresh, "X-A: Grüße"])
            .get()
            .misses()
            .get()
            .hits()
            .field("x-a", "Grüße"),
        case(HOP, "what Connection names is not stored")
            .says(&[fresh, "Connection: a, X-B", "Connection: x-c", "A: 1", "X-B: 2", "X-C: 3", "X-D: 4"])
            .get()
            .misses()
            .lacks("a")
            .lacks("x-b")
            .get()
            .hits()
            .lacks("a")
            .lacks("x-b")
            .lacks("x-c")
            .field("x-d", "4"),
        dropped(HOP, "Keep-Alive", "timeout=5"),
        dropped(HOP, "Proxy-Connection", "keep-alive"),
        dropped(HOP, "TE", "trailers"),
        dropped(HOP, "Upgrade", "h2c"),
        dropped(RULE, "Proxy-Authenticate", "Basic"),
        dropped(RULE, "Proxy-Authentication-Info", "x"),
        dropped(RULE, "Proxy-Authorization", "Basic eA=="),
        case("RFC 9110 6.6.1", "a reply without Date gets the time it came, and keeps it")
            .says(&[fresh])
            .get()
            .misses()
            .field("date", "{+0}")
            .pass(10)
            .get()
            .hits()
            .field("date", "{-10}"),
        case("RFC 9111 5.2", "Cache-Control goes on as it came, known or not, on a hit as on a miss")
            .says(&[
                "Cache-Control: max-age=60, foo=\"a,b\"",
                "Cache-Control: no-cache=x-a",
                "CDN-Cache-Control: max-age=70",
            ])
            .get()
            .misses()
            .fields("cache-control", &["max-age=60, foo=\"a,b\"", "no-cache=x-a"])
            .get()
            .hits()
            .fields("cache-control", &["max-age=60, foo=\"a,b\"", "no-cache=x-a"])
            .field("cdn-cache-control", "max-age=70"),
    ]);
    Table::of(cases)
}

/// RFC 9110 9.3.3, RFC 9111 4, 4.4: replies to POST.
fn posts() -> Table {
    const RULE: &str = "RFC 9110 9.3.3";
    // The tables' cases know their own path by `.`, which is what it resolves to.
    let posted = |name: &str, fields: &[&str]| {
        case(RULE, name).says(fields).asks("POST", &[]).at("/").sending("what").misses().body("reply 1")
    };
    let own = "Content-Location: .";
    let fresh = "Cache-Control: max-age=60";
    let stored = |name: &str, fields: &[&str]| {
        posted(name, fields).pass(1).get().at("/").hits().body("reply 1").field("age", "1")
    };
    let not_stored =
        |name: &str, fields: &[&str]| posted(name, fields).get().at("/").misses().body("reply 2");
    Table::of(vec![
        stored("a lifetime and its own Content-Location: it answers GET", &[fresh, own]),
        stored("s-maxage", &["Cache-Control: s-maxage=60", own]),
        stored("Expires", &["Expires: {+60}", own]),
        stored("a targeted lifetime", &["CDN-Cache-Control: max-age=60", own]),
        posted("it answers HEAD", &[fresh, own]).asks("HEAD", &[]).at("/").hits().field("content-length", "7"),
        posted("it answers no POST", &[fresh, own])
            .asks("POST", &[])
            .at("/")
            .sending("what")
            .misses()
            .body("reply 2")
            .get()
            .at("/")
            .hits()
            .body("reply 2"),
        posted("it does not answer GET for another URI", &[fresh, own]).get().at("/?x").misses(),
        posted("it goes when its life ends", &[fresh, own]).pass(60).get().at("/").misses(),
        posted("it can be validated", &[fresh, own, "ETag: \"a\""])
            .pass(60)
            .get()
            .at("/")
            .validates()
            .body("reply 1"),
        posted("an unsafe request ends it", &[fresh, own])
            .asks("PUT", &[])
            .at("/")
            .sending("x")
            .misses()
            .get()
            .at("/")
            .misses(),
        case(RULE, "it replaces what GET had stored")
            .says(&[fresh, own])
            .get()
            .at("/")
            .misses()
            .asks("POST", &[])
            .at("/")
            .sending("what")
            .misses()
            .get()
            .at("/")
            .hits()
            .body("reply 2"),
        case("RFC 9111 4.4", "one that is not stored ends what GET had stored")
            .says(&[fresh])
            .get()
            .at("/")
            .misses()
            .asks("POST", &[])
            .at("/")
            .sending("what")
            .misses()
            .get()
            .at("/")
            .misses(),
        case("RFC 9111 4.1", "it varies as its own request did")
            .says(&[fresh, own, "Vary: X-A"])
            .asks("POST", &["X-A: 1"])
            .at("/")
            .sending("what")
            .misses()
            .get_with(&["X-A: 2"])
            .at("/")
            .misses()
            .get_with(&["X-A: 1"])
            .at("/")
            .hits()
            .body("reply 1"),
        not_stored("no lifetime", &[own]),
        not_stored("only a guess", &[own, "Last-Modified: {-1000}"]),
        not_stored("no Content-Location", &[fresh]),
        not_stored("another Content-Location", &[fresh, "Content-Location: x"]),
        not_stored("one of another origin", &[fresh, "Content-Location: http://other.test/"]),
        not_stored("two of them", &[fresh, own, own]),
        not_stored("no-store", &["Cache-Control: max-age=60, no-store", own]),
        not_stored("private", &["Cache-Control: max-age=60, private", own]),
        not_stored("Vary: *", &[fresh, own, "Vary: *"]),
        case(RULE, "no-store in the request")
            .says(&[fresh, own])
            .asks("POST", &["Cache-Control: no-store"])
            .at("/")
            .sending("what")
            .misses()
            .get()
            .at("/")
            .misses(),
        case("RFC 9111 3.5", "credentials")
            .says(&[fresh, own])
            .asks("POST", &["Authorization: x"])
            .at("/")
            .sending("what")
            .misses()
            .get()
            .at("/")
            .misses(),
        case(RULE, "another status says what was done, not what is there")
            .replies(201, &[fresh, own])
            .asks("POST", &[])
            .at("/")
            .sending("what")
            .misses()
            .get()
            .at("/")
            .misses(),
        case("RFC 9111 3.3", "one that breaks off is not stored")
            .says_and_closes(
                "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Location: .\r\nContent-Length: 9\r\n\r\nabc",
            )
            .asks("POST", &[])
            .at("/")
            .sending("what")
            .breaks()
            .says(&[fresh])
            .get()
            .at("/")
            .misses(),
    ])
}

/// A reply larger than the route stores goes on whole, by whatever method it was asked for.
fn too_large() -> Table {
    const RULE: &str = "RFC 9111 3";
    let fields: &[&str] = &["Cache-Control: max-age=60", "Content-Location: ."];
    let chunked = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Location: .\r\n\
                   Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n";
    Table::under(
        "{ max_body = \"4B\" }",
        vec![
            case(RULE, "GET").says(fields).get().misses().body("reply 1").get().misses(),
            case(RULE, "GET of unknown length").says_bytes(chunked).get().body("abcdef").get().misses(),
            case(RULE, "POST")
                .says(fields)
                .asks("POST", &[])
                .at("/")
                .misses()
                .body("reply 1")
                .get()
                .at("/")
                .misses(),
            case(RULE, "POST of unknown length")
                .says_bytes(chunked)
                .asks("POST", &[])
                .at("/")
                .body("abcdef")
                .get()
                .at("/")
                .misses(),
            case(RULE, "what fits is stored").says(fields).with_body("abcd").get().misses().get().hits(),
        ],
    )
}
