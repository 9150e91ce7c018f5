//! When a stale reply may be sent (RFC 9111 4.2.4, RFC 5861), and what a failing origin does to what is stored (4.3.3).

use super::{Case, Table, case, tables};

tables!(forbidden, disconnected, on_request, while_revalidating, on_error, failing_origin);

const RULE: &str = "RFC 9111 4.2.4";

/// Stored with these fields; five seconds later the origin says nothing.
fn cut_off(rule: &'static str, name: &str, fields: &[&str]) -> Case {
    case(rule, name).says(fields).get().misses().pass(5).says_nothing()
}

/// RFC 9111 4.2.4: what forbids it, even to the disconnected.
fn forbidden() -> Table {
    let asks_for_it = "Cache-Control: max-stale=1000, stale-if-error=1000";
    let mut cases = Vec::new();
    for (rule, directives) in [
        ("RFC 9111 5.2.2.2", "max-age=2, must-revalidate"),
        ("RFC 9111 5.2.2.8", "max-age=2, proxy-revalidate"),
        ("RFC 9111 5.2.2.10", "s-maxage=2"),
        ("RFC 9111 5.2.2.2", "max-age=2, MUST-Revalidate, stale-if-error=60, stale-while-revalidate=60"),
        ("RFC 9111 5.2.2.10", "s-maxage=2, stale-if-error=60, stale-while-revalidate=60"),
    ] {
        let field = format!("Cache-Control: {directives}");
        let stored = || cut_off(rule, directives, &[&field]);
        // "If the cache is disconnected, the cache MUST generate an error response; it SHOULD be 504". What could not be
        // validated would not be kept for as long.
        let kept = || cut_off(rule, directives, &[&field, "ETag: \"a\""]);
        cases.push(kept().get().status(504).lacks("age"));
        cases.push(kept().get_with(&[asks_for_it]).status(504).lacks("age"));
        cases.push(stored().replies(503, &[]).get().status(503));
        cases.push(stored().replies(503, &[]).get_with(&[asks_for_it]).status(503));
        cases.push(stored().says(&[&field]).get().misses().status(200));
    }
    for directives in ["no-cache", "no-cache, max-age=60", "no-cache, max-age=60, stale-if-error=60"] {
        let field = format!("Cache-Control: {directives}");
        let stored = || cut_off("RFC 9111 5.2.2.4", directives, &[&field, "ETag: \"a\""]);
        cases.push(stored().get().status(502).lacks("age"));
        cases.push(stored().get_with(&[asks_for_it]).status(502).lacks("age"));
    }
    cases.push(
        case("RFC 9111 5.2.2.2", "what must be revalidated may be sent while it is fresh")
            .says(&["Cache-Control: max-age=9, must-revalidate"])
            .get()
            .misses()
            .pass(5)
            .says_nothing()
            .get()
            .hits(),
    );
    cases.push(
        cut_off(
            RULE,
            "an unconditional wish for an answer of the origin is not cheated",
            &["Cache-Control: max-age=2"],
        )
        .get_with(&["Cache-Control: no-cache"])
        .status(502),
    );
    Table::of(cases)
}

/// RFC 9111 4.2.4: "unless it is disconnected".
fn disconnected() -> Table {
    let stored = |name: &str| cut_off(RULE, name, &["Cache-Control: max-age=2", "ETag: \"a\""]);
    let sent = |case: Case| case.get().status(200).body("reply 1").field("age", "5");
    Table::of(vec![
        sent(stored("a connection closed without a reply")),
        sent(stored("half a head").says_and_closes("HTTP/1.1 200 OK\r\nCache-Con")),
        sent(stored("what is no HTTP").says_and_closes("garbage\r\n\r\n")),
        sent(stored("a gateway that has no reply either").replies(502, &[])),
        sent(stored("nobody there to answer").replies(503, &[])),
        sent(stored("a gateway that waited in vain").replies(504, &[])),
        stored("the application's own failure is its answer").replies(500, &[]).get().status(500),
        stored("as is every 4xx").replies(404, &[]).get().status(404),
        sent(
            case(RULE, "Expires counts like max-age")
                .says(&["Expires: {+2}"])
                .get()
                .misses()
                .pass(5)
                .says_nothing(),
        ),
        stored("what is stale says so")
            .get()
            .field("cache-status", "proxy-stone; fwd=stale; ttl=-3; detail=stale-if-error")
            .lacks("warning"),
        stored("HEAD as well").asks("HEAD", &[]).status(200).field("age", "5"),
        stored("conditions are answered from it").get_with(&["If-None-Match: \"a\""]).status(304),
        stored("once the origin is back it is asked again")
            .get()
            .status(200)
            .says(&["Cache-Control: max-age=9"])
            .get()
            .misses()
            .status(200)
            .get()
            .hits(),
    ])
}

/// RFC 9111 5.2.1.2: the client allows it.
fn on_request() -> Table {
    const RULE: &str = "RFC 9111 5.2.1.2";
    let stored = |name: &str| case(RULE, name).says(&["Cache-Control: max-age=2"]).get().misses().pass(5);
    let asked = |value: &str| stored(value).get_with(&[&format!("Cache-Control: {value}")]);
    let arrived = |field: &str| case(RULE, field).says(&[field, "Age: 2000"]).get().misses();
    let heard = |value: &str| {
        asked(value)
            .hits()
            .body("reply 1")
            .field("age", "5")
            .field("cache-status", "proxy-stone; hit; ttl=-3; detail=max-stale")
    };
    Table::of(vec![
        heard("max-stale"),
        heard("max-stale=3"),
        heard("max-stale=\"3\""),
        heard("MAX-STALE=99999999999999"),
        heard("max-age=9, max-stale=9"),
        heard("only-if-cached, max-stale=9"),
        asked("max-stale=2").misses(),
        asked("max-stale=0").misses(),
        asked("max-stale=-1").misses(),
        asked("max-stale=x").misses(),
        asked("max-stale=9, max-stale=1").misses(),
        asked("max-age=4, max-stale=9").misses(),
        asked("max-stale=9, min-fresh=1").misses(),
        asked("max-stale=9, no-cache").misses(),
        // Stale when it came already.
        arrived("Cache-Control: max-age=1500")
            .get_with(&["Cache-Control: max-stale=1000"])
            .hits()
            .body("reply 1"),
        arrived("Cache-Control: max-age=1500").get_with(&["Cache-Control: max-stale=400"]).misses(),
        arrived("Cache-Control: max-age=1500").get().misses(),
        arrived("Cache-Control: max-age=1500, must-revalidate")
            .get_with(&["Cache-Control: max-stale=1000"])
            .misses(),
        arrived("Cache-Control: s-maxage=1500").get_with(&["Cache-Control: max-stale=1000"]).misses(),
        arrived("Cache-Control: max-age=1500").says_nothing().get().status(200).body("reply 1"),
    ])
}

/// RFC 5861 3.
fn while_revalidating() -> Table {
    const RULE: &str = "RFC 5861 3";
    let field = "Cache-Control: max-age=2, stale-while-revalidate=10";
    let stored = |name: &str| case(RULE, name).says(&[field]).get().misses();
    let stale = "proxy-stone; hit; ttl=-3; detail=stale-while-revalidate";
    let sent = |case: Case| case.body("reply 1").field("age", "5").field("cache-status", stale);
    Table::of(vec![
        sent(stored("it answers at once and is refreshed behind").pass(5).get())
            .get()
            .hits()
            .body("reply 2")
            .field("age", "0"),
        sent(stored("what the client sent goes with the refresh").pass(5).get_with(&["X-Unknown: 7"]))
            .forwards("x-unknown", "7"),
        sent(stored("unless it is for one exchange").pass(5).get_with(&["X-Hop: 7", "Connection: X-Hop"]))
            .keeps_back("x-hop"),
        stored("nor does its condition")
            .pass(5)
            .get_with(&["If-None-Match: \"x\""])
            .status(200)
            .keeps_back("if-none-match"),
        stored("up to its last second").pass(12).get().body("reply 1"),
        stored("and no longer").pass(13).get().misses().body("reply 2"),
        stored("not for who wants it younger").pass(5).get_with(&["Cache-Control: max-age=4"]).misses(),
        stored("nor for who has said what age is right but not that stale is")
            .pass(5)
            .get_with(&["Cache-Control: max-age=99"])
            .misses(),
        stored("nor for who wants it fresh").pass(5).get_with(&["Cache-Control: min-fresh=1"]).misses(),
        sent(stored("a refresh that fails leaves it").pass(5).replies(500, &[]).get())
            .pass(2)
            .get()
            .body("reply 1"),
        sent(
            stored("also one that could be stored")
                .pass(5)
                .replies(503, &["Cache-Control: max-age=60"])
                .get(),
        )
        .pass(2)
        .get()
        .status(200)
        .body("reply 1"),
        sent(
            stored("a refresh that is refused storage leaves it too")
                .pass(5)
                .says(&["Cache-Control: no-store"])
                .get(),
        )
        .pass(2)
        .get()
        .body("reply 1"),
        case(RULE, "a refresh is conditional")
            .says(&[field, "ETag: \"a\""])
            .get()
            .misses()
            .pass(5)
            .get()
            .body("reply 1")
            .field("cache-status", stale)
            .forwards("if-none-match", "\"a\"")
            .get()
            .hits()
            .body("reply 1")
            .field("age", "0"),
        case(RULE, "a targeted field says it as well")
            .says(&["CDN-Cache-Control: max-age=2, stale-while-revalidate=10", "Cache-Control: no-store"])
            .get()
            .misses()
            .pass(5)
            .get()
            .body("reply 1")
            .field("cache-status", stale),
        case(RULE, "what it does not say holds")
            .says(&["CDN-Cache-Control: max-age=2", field])
            .get()
            .misses()
            .pass(5)
            .get()
            .misses(),
        case(RULE, "odd forms allow nothing")
            .says(&["Cache-Control: max-age=2, stale-while-revalidate=ten"])
            .get()
            .misses()
            .pass(5)
            .get()
            .misses(),
        case(RULE, "without a lifetime it is stale from the start")
            .says(&["Cache-Control: max-age=0, stale-while-revalidate=10"])
            .get()
            .misses()
            .pass(5)
            .get()
            .body("reply 1")
            .field("age", "5"),
    ])
}

/// RFC 5861 4.
fn on_error() -> Table {
    const RULE: &str = "RFC 5861 4";
    let field = "Cache-Control: max-age=2, stale-if-error=10";
    let stored = |name: &str| case(RULE, name).says(&[field]).get().misses();
    let mut cases: Vec<Case> = [500, 502, 503, 504]
        .into_iter()
        .map(|status| {
            let said = format!("proxy-stone; fwd=stale; fwd-status={status}; ttl=-10; detail=stale-if-error");
            stored(&format!("an error with {status}"))
                .pass(12)
                .replies(status, &[])
                .get()
                .status(200)
                .body("reply 1")
                .field("age", "12")
                .field("cache-status", &said)
        })
        .collect();
    cases.extend([400, 404, 501, 505, 599].map(|status| {
        stored(&format!("{status} is none")).pass(5).replies(status, &[]).get().status(status)
    }));
    cases.extend([
        stored("no reply at all").pass(12).says_nothing().get().status(200).body("reply 1"),
        stored("past the window the error is told").pass(13).replies(503, &[]).get().status(503),
        stored("and so is no reply").pass(13).says_nothing().get().status(502),
        case(RULE, "a window of nothing forbids it")
            .says(&["Cache-Control: max-age=2, stale-if-error=0"])
            .get()
            .misses()
            .pass(5)
            .says_nothing()
            .get()
            .status(502),
        case(RULE, "a targeted field says it as well")
            .says(&["CDN-Cache-Control: max-age=2, stale-if-error=10", "Cache-Control: no-store"])
            .get()
            .misses()
            .pass(5)
            .replies(500, &[])
            .get()
            .status(200)
            .body("reply 1"),
        case(RULE, "a request may ask for it")
            .says(&["Cache-Control: max-age=2"])
            .get()
            .misses()
            .pass(5)
            .replies(500, &[])
            .get_with(&["Cache-Control: stale-if-error=2"])
            .status(500)
            .get_with(&["Cache-Control: stale-if-error=3"])
            .status(200)
            .body("reply 1"),
    ]);
    Table::of(cases)
}

/// RFC 9111 4.3.3: a 5xx to a validation may be passed on or taken for no reply; it never ends what could still serve.
fn failing_origin() -> Table {
    const RULE: &str = "RFC 9111 4.3.3";
    let storable = "Cache-Control: max-age=60";
    Table::of(vec![
        case(RULE, "a storable 503 does not replace what may stand in for it")
            .says(&["Cache-Control: max-age=2, stale-if-error=60", "ETag: \"a\""])
            .get()
            .misses()
            .pass(5)
            .replies(503, &[storable])
            .get()
            .status(200)
            .body("reply 1")
            .get()
            .status(200)
            .body("reply 1")
            .says(&[storable, "ETag: \"a\""])
            .get()
            .validates()
            .body("reply 1"),
        case(RULE, "nor what is fresh, when a client wants to hear from the origin")
            .says(&["Cache-Control: max-age=60"])
            .get()
            .misses()
            .replies(503, &[storable])
            .get_with(&["Cache-Control: no-cache"])
            .status(503)
            .get()
            .hits()
            .status(200)
            .body("reply 1"),
        case(RULE, "it does where what is stored can answer nobody any more")
            .says(&["Cache-Control: max-age=2, must-revalidate"])
            .get()
            .misses()
            .pass(5)
            .replies(503, &[storable])
            .get()
            .misses()
            .status(503)
            .get()
            .hits()
            .status(503),
        case(RULE, "one that is not storable leaves it for later validation")
            .says(&["Cache-Control: max-age=2, must-revalidate", "ETag: \"a\""])
            .get()
            .misses()
            .pass(5)
            .replies(503, &[])
            .get()
            .status(503)
            .says(&["Cache-Control: max-age=60", "ETag: \"a\""])
            .get()
            .validates()
            .body("reply 1"),
        case(RULE, "no 4xx is an outage: it replaces what is stored")
            .says(&["Cache-Control: max-age=2, stale-if-error=60"])
            .get()
            .misses()
            .pass(5)
            .replies(410, &[storable])
            .get()
            .status(410)
            .get()
            .hits()
            .status(410),
    ])
}
