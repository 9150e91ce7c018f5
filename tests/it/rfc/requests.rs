//! Directives of requests (RFC 9111 5.2.1, 5.4).

use super::{Case, Table, case, tables};

tables!(no_cache, no_store, ages, only_if_cached, pragma, unheard);

const FRESH: &str = "Cache-Control: max-age=60";

/// Stored, fresh and ten seconds old.
fn stored(rule: &'static str, name: &str) -> Case {
    case(rule, name).says(&[FRESH, "ETag: \"a\""]).get().misses().pass(10)
}

/// RFC 9111 5.2.1.4.
fn no_cache() -> Table {
    const RULE: &str = "RFC 9111 5.2.1.4";
    let mut cases: Vec<Case> =
        ["no-cache", "No-Cache", "foo, no-cache", "no-cache=\"x\"", "max-stale, no-cache"]
            .into_iter()
            .map(|value| {
                let field = format!("Cache-Control: {value}");
                stored(RULE, value)
                    .get_with(&[&field])
                    .validates()
                    .forwards("cache-control", value)
                    .field("cache-status", "proxy-stone; fwd=request; fwd-status=304; stored")
            })
            .collect();
    cases.extend([
        stored(RULE, "on a second line")
            .get_with(&["Cache-Control: foo", "Cache-Control: no-cache"])
            .validates(),
        stored(RULE, "what comes is for everyone")
            .says(&[FRESH, "ETag: \"b\""])
            .get_with(&["Cache-Control: no-cache"])
            .misses()
            .body("reply 2")
            .get()
            .hits()
            .body("reply 2"),
        stored(RULE, "what is stale anyway is so whatever the client says")
            .pass(60)
            .get_with(&["Cache-Control: no-cache"])
            .field("cache-status", "proxy-stone; fwd=stale; fwd-status=304; stored"),
        stored(RULE, "a word in a quoted string is none")
            .get_with(&["Cache-Control: foo=\"no-cache, x\""])
            .hits(),
        stored(RULE, "nor a longer one").get_with(&["Cache-Control: no-cache-ish"]).hits(),
    ]);
    Table::of(cases)
}

/// RFC 9111 5.2.1.5: nothing of the exchange is stored; what is stored already may answer it.
fn no_store() -> Table {
    const RULE: &str = "RFC 9111 5.2.1.5";
    let field = &["Cache-Control: no-store"];
    Table::of(vec![
        stored(RULE, "a stored reply may answer").get_with(field).hits(),
        case(RULE, "the reply is not stored")
            .says(&[FRESH])
            .get_with(field)
            .misses()
            .field("cache-status", "proxy-stone; fwd=uri-miss; detail=request-no-store")
            .get()
            .misses()
            .body("reply 2"),
        stored(RULE, "nor does it replace what is stored")
            .pass(60)
            .says(&[FRESH, "ETag: \"b\""])
            .get_with(field)
            .misses()
            .body("reply 2")
            .says(&[FRESH, "ETag: \"a\""])
            .get()
            .validates()
            .body("reply 1"),
    ])
}

/// RFC 9111 5.2.1.1, 5.2.1.3.
fn ages() -> Table {
    const MAX: &str = "RFC 9111 5.2.1.1";
    const MIN: &str = "RFC 9111 5.2.1.3";
    let mut cases = Vec::new();
    for (rule, value, hits) in [
        (MAX, "max-age=11", true),
        (MAX, "max-age=10", true),
        (MAX, "max-age=9", false),
        (MAX, "max-age=0", false),
        (MAX, "MAX-AGE=9", false),
        (MAX, "max-age=\"9\"", false),
        (MAX, "max-age=\"11\"", true),
        (MAX, "max-age=99999999999999999999", true),
        (MAX, "max-age=-1", false),
        (MAX, "max-age=9.9", false),
        (MAX, "max-age=x", false),
        (MAX, "max-age=", false),
        (MAX, "max-age", false),
        (MAX, "max-age=99, max-age=9", false),
        (MIN, "min-fresh=49", true),
        (MIN, "min-fresh=50", true),
        (MIN, "min-fresh=51", false),
        (MIN, "min-fresh=\"51\"", false),
        (MIN, "min-fresh=99999999999999999999", false),
        (MIN, "min-fresh=0", true),
        (MIN, "min-fresh=x", false),
        (MIN, "min-fresh=1, min-fresh=51", false),
        (MAX, "max-age=11, min-fresh=50", true),
        (MAX, "max-age=11, min-fresh=51", false),
    ] {
        let field = format!("Cache-Control: {value}");
        let asked = stored(rule, value).get_with(&[&field]);
        cases.push(if hits { asked.hits().field("age", "10") } else { asked.validates() });
    }
    Table::of(cases)
}

/// RFC 9111 5.2.1.7.
fn only_if_cached() -> Table {
    const RULE: &str = "RFC 9111 5.2.1.7";
    let field = &["Cache-Control: only-if-cached"];
    Table::of(vec![
        stored(RULE, "what is fresh is sent").get_with(field).hits().status(200),
        case(RULE, "where nothing is stored it is 504").says(&[FRESH]).get_with(field).hits().status(504),
        stored(RULE, "where it is stale it is 504").pass(60).get_with(field).hits().status(504),
        stored(RULE, "where it is too old it is 504")
            .get_with(&["Cache-Control: only-if-cached, max-age=9"])
            .hits()
            .status(504),
        stored(RULE, "HEAD as well").asks("HEAD", field).hits().status(200),
        stored(RULE, "a 504 is not stored").pass(60).get_with(field).status(504).get().validates(),
        stored(RULE, "conditions are answered")
            .get_with(&["Cache-Control: only-if-cached", "If-None-Match: \"a\""])
            .hits()
            .status(304),
    ])
}

/// RFC 9111 5.4: `Pragma` speaks where `Cache-Control` does not.
fn pragma() -> Table {
    const RULE: &str = "RFC 9111 5.4";
    Table::of(vec![
        stored(RULE, "no-cache of old").get_with(&["Pragma: no-cache"]).validates(),
        stored(RULE, "among other words").get_with(&["Pragma: foo, No-Cache"]).validates(),
        stored(RULE, "Cache-Control hides it")
            .get_with(&["Pragma: no-cache", "Cache-Control: max-age=20"])
            .hits(),
        stored(RULE, "other words say nothing").get_with(&["Pragma: foo"]).hits(),
        case(RULE, "in a reply it means nothing")
            .says(&[FRESH, "Pragma: no-cache"])
            .get()
            .misses()
            .get()
            .hits(),
        stored(RULE, "it goes on to the origin")
            .get_with(&["Pragma: no-cache"])
            .forwards("pragma", "no-cache"),
    ])
}

/// A route that does not let clients force misses.
fn unheard() -> Table {
    const RULE: &str = "RFC 9111 5.2.1";
    let mut cases: Vec<Case> = ["no-cache", "max-age=0", "min-fresh=99", "no-store"]
        .into_iter()
        .map(|value| stored(RULE, value).get_with(&[&format!("Cache-Control: {value}")]).hits())
        .collect();
    cases.push(stored(RULE, "Pragma").get_with(&["Pragma: no-cache"]).hits());
    cases.push(
        stored(RULE, "nor get stale replies").pass(60).get_with(&["Cache-Control: max-stale"]).validates(),
    );
    cases.push(
        case(RULE, "what they do not want stored is")
            .says(&[FRESH])
            .get_with(&["Cache-Control: no-store"])
            .misses()
            .get()
            .hits(),
    );
    cases.push(
        case(RULE, "they are not kept from the origin")
            .says(&[FRESH])
            .get_with(&["Cache-Control: only-if-cached"])
            .misses()
            .status(200),
    );
    Table::under("{ honor_request_directives = false }", cases)
}
