//! Conditions of clients: answered from what is stored, or sent on (RFC 9111 4.3.2, RFC 9110 13).

use super::{Case, Table, case, tables};

tables!(tags, dates, precedence, not_modified, on_a_miss, for_the_origin);

const FRESH: &str = "Cache-Control: max-age=60";

fn stored(rule: &'static str, name: &str, fields: &[&str]) -> Case {
    case(rule, name).says(&[&[FRESH], fields].concat()).get().misses()
}

/// RFC 9110 13.1.2: `If-None-Match`, by weak comparison.
fn tags() -> Table {
    const RULE: &str = "RFC 9110 13.1.2";
    let mut cases = Vec::new();
    for (tag, condition, status) in [
        ("\"a\"", "\"a\"", 304),
        ("\"a\"", "W/\"a\"", 304),
        ("W/\"a\"", "\"a\"", 304),
        ("W/\"a\"", "W/\"a\"", 304),
        ("\"a\"", "\"b\"", 200),
        ("\"a\"", "\"A\"", 200),
        ("\"a\"", "\"a", 200),
        ("\"a\"", "a", 200),
        ("\"a\"", "w/\"a\"", 200),
        ("\"a\"", "\"b\", \"a\"", 304),
        ("\"a\"", "\"b\",W/\"a\" ,\"c\"", 304),
        ("\"a\"", ",, \"b\", ,\"a\"", 304),
        ("\"a\"", "\"b\", \"c\"", 200),
        ("\"a\"", "*", 304),
        ("\"a\"", " * ", 304),
        ("\"a\"", "\"*\"", 200),
        ("\"a\"", "", 200),
        ("\"a,b\"", "\"x\", \"a,b\"", 304),
        ("\"a,b\"", "\"a\", \"b\"", 200),
        ("\"\"", "\"\"", 304),
        ("\"\u{e4}\u{f6}\"", "\"x\", \"\u{e4}\u{f6}\"", 304),
        ("\"a\\\"", "\"a\\\"", 304),
        ("bare", "bare", 304),
        ("bare", "\"bare\"", 200),
    ] {
        let (tag, asked) = (format!("ETag: {tag}"), format!("If-None-Match: {condition}"));
        cases.push(
            stored(RULE, &format!("{tag} for {asked}"), &[&tag]).get_with(&[&asked]).hits().status(status),
        );
    }
    cases.push(
        stored(RULE, "over several lines", &["ETag: \"a\""])
            .get_with(&["If-None-Match: \"b\"", "If-None-Match: \"a\""])
            .hits()
            .status(304),
    );
    cases.push(
        stored(RULE, "anything at all, without a tag", &[])
            .get_with(&["If-None-Match: *"])
            .hits()
            .status(304),
    );
    cases.push(
        stored(RULE, "a tag, without one stored", &[]).get_with(&["If-None-Match: \"a\""]).hits().status(200),
    );
    cases.push(
        stored(RULE, "HEAD as well", &["ETag: \"a\""])
            .asks("HEAD", &["If-None-Match: \"a\""])
            .hits()
            .status(304),
    );
    for status in [301, 404, 410] {
        cases.push(
            case("RFC 9110 13.2.1", format!("a {status} is sent as it is"))
                .replies(status, &[FRESH, "ETag: \"a\""])
                .get()
                .misses()
                .get_with(&["If-None-Match: \"a\""])
                .hits()
                .status(status),
        );
    }
    Table::of(cases)
}

/// RFC 9110 13.1.3, RFC 9111 4.3.2: `If-Modified-Since`.
fn dates() -> Table {
    const RULE: &str = "RFC 9110 13.1.3";
    // A Sunday; what is stored changed in its last second but one.
    let modified = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT";
    let mut cases = Vec::new();
    for (since, status) in [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 304),
        ("Sun, 06 Nov 1994 08:49:38 GMT", 304),
        ("Sun, 06 Nov 1994 08:49:36 GMT", 200),
        ("Mon, 01 Jan 2035 00:00:00 GMT", 304),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 304),
        ("Sunday, 06-Nov-94 08:49:36 GMT", 200),
        ("Sun Nov  6 08:49:37 1994", 304),
        ("Sun Nov  6 08:49:36 1994", 200),
        ("sun, 06 nov 1994 08:49:37 gmt", 304),
        ("Mon, 06 Nov 1994 08:49:37 GMT", 200),
        ("Sun, 06 Nov 1994 08:49:37 UTC", 200),
        ("Sun, 06 Nov 1994 08:49:37 +0000", 200),
        ("1994-11-06T08:49:37Z", 200),
        ("784111777", 200),
        ("yesterday", 200),
        ("", 200),
        ("Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT", 200),
    ] {
        let asked = format!("If-Modified-Since: {since}");
        cases.push(stored(RULE, &asked, &[modified]).get_with(&[&asked]).hits().status(status));
    }
    let twice = "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT";
    cases.extend([
        stored(RULE, "a date that came twice is none", &[modified])
            .get_with(&[twice, twice])
            .hits()
            .status(200),
        stored(RULE, "a stored date that is none", &["Last-Modified: odd"])
            .get_with(&["If-Modified-Since: odd"])
            .hits()
            .status(200),
        stored("RFC 9111 4.3.2", "Date stands in for Last-Modified", &["Date: {-9}"])
            .get_with(&["If-Modified-Since: {-9}"])
            .hits()
            .status(304)
            .get_with(&["If-Modified-Since: {-10}"])
            .hits()
            .status(200),
        stored("RFC 9111 4.3.2", "and when it came for Date", &[])
            .pass(1)
            .get_with(&["If-Modified-Since: {-1}"])
            .hits()
            .status(304)
            .get_with(&["If-Modified-Since: {-2}"])
            .hits()
            .status(200),
        stored(RULE, "HEAD as well", &[modified]).asks("HEAD", &[twice]).hits().status(304),
    ]);
    Table::of(cases)
}

/// RFC 9110 13.2.2: which condition counts.
fn precedence() -> Table {
    const RULE: &str = "RFC 9110 13.2.2";
    let both = &["ETag: \"a\"", "Last-Modified: {-50}"];
    let stored = |name: &str| stored(RULE, name, both);
    Table::of(vec![
        stored("a tag that differs hides a date that holds")
            .get_with(&["If-None-Match: \"b\"", "If-Modified-Since: {0}"])
            .hits()
            .status(200),
        stored("a tag that holds hides a date that does not")
            .get_with(&["If-None-Match: \"a\"", "If-Modified-Since: {-99}"])
            .hits()
            .status(304),
        stored("a list that cannot be read hides it, too")
            .get_with(&["If-None-Match: odd", "If-Modified-Since: {0}"])
            .hits()
            .status(200),
        stored("If-Match that holds, then If-None-Match")
            .get_with(&["If-Match: \"a\"", "If-None-Match: \"a\""])
            .hits()
            .status(304),
        stored("If-Match hides If-Unmodified-Since")
            .get_with(&["If-Match: \"a\"", "If-Unmodified-Since: {-99}"])
            .hits()
            .status(200),
        stored("a range comes last")
            .get_with(&["If-None-Match: \"a\"", "Range: bytes=0-1"])
            .hits()
            .status(304)
            .get_with(&["If-None-Match: \"b\"", "Range: bytes=0-1"])
            .hits()
            .status(206),
        case(RULE, "freshness comes first: what is stale is validated before it is compared")
            .says(&["Cache-Control: max-age=2", "ETag: \"a\""])
            .get()
            .misses()
            .pass(5)
            .says(&[FRESH, "ETag: \"b\""])
            .get_with(&["If-None-Match: \"a\""])
            .status(200)
            .body("reply 2"),
        case(RULE, "and a client that has the new one is told so")
            .says(&["Cache-Control: max-age=2", "ETag: \"a\""])
            .get()
            .misses()
            .pass(5)
            .says(&[FRESH, "ETag: \"b\""])
            .get_with(&["If-None-Match: \"b\""])
            .status(304)
            .get()
            .hits()
            .body("reply 2"),
        case("RFC 9111 4.3.2", "a 304 to the cache becomes a 200 for a client that has something else")
            .says(&["Cache-Control: max-age=2", "ETag: \"a\""])
            .get()
            .misses()
            .pass(5)
            .get_with(&["If-None-Match: \"mine\""])
            .validates()
            .status(200)
            .body("reply 1"),
    ])
}

/// RFC 9110 15.4.5: the fields of a 304.
fn not_modified() -> Table {
    const RULE: &str = "RFC 9110 15.4.5";
    let all = &[
        "ETag: \"a\"",
        "Last-Modified: {-50}",
        "Date: {-1}",
        "Expires: {+50}",
        "Vary: Accept",
        "Content-Location: /x",
        "Content-Type: text/plain",
        "Content-Encoding: x-odd",
        "Content-Language: de",
        "X-Own: 1",
    ];
    let told =
        |name: &str| stored(RULE, name, all).get_with(&["If-None-Match: \"a\""]).hits().status(304).body("");
    Table::of(vec![
        told("what a 200 would have had is there")
            .field("etag", "\"a\"")
            .field("date", "{-1}")
            .field("cache-control", "max-age=60")
            .field("expires", "{+50}")
            .field("vary", "Accept")
            .field("content-location", "/x")
            .field("x-own", "1")
            .field("age", "1"),
        told("what describes the content is not")
            .lacks("content-type")
            .lacks("content-encoding")
            .lacks("content-language")
            .lacks("content-length")
            .lacks("last-modified"),
        stored(
            RULE,
            "a date is told where there is no tag",
            &["Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"],
        )
        .get_with(&["If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT"])
        .hits()
        .status(304)
        .field("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ])
}

/// RFC 9111 4.3.2: where nothing is stored, conditions are meant for the origin.
fn on_a_miss() -> Table {
    const RULE: &str = "RFC 9111 4.3.2";
    let tagged: &[&str] = &[FRESH, "ETag: \"a\""];
    Table::of(vec![
        case(RULE, "they are sent on, and a 304 is the client's (RFC 9110 15.4.5)")
            .says(tagged)
            .get_with(&["If-None-Match: \"a\""])
            .status(304)
            .forwards("if-none-match", "\"a\""),
        case(RULE, "dates too")
            .says(&[FRESH, "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"])
            .get_with(&["If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT"])
            .status(304)
            .forwards("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"),
        case(RULE, "a 200 fills the cache")
            .says(tagged)
            .get_with(&["If-None-Match: \"old\""])
            .misses()
            .status(200)
            .body("reply 1")
            .get()
            .hits()
            .body("reply 1"),
        case(RULE, "what the origin has judged is not judged again")
            .says_bytes(
                "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nCache-Control: max-age=60\r\nContent-Length: 1\r\n\r\nx",
            )
            .get_with(&["If-None-Match: \"a\""])
            .misses()
            .status(200)
            .body("x"),
        case(RULE, "a 304 stores nothing that could answer others")
            .says(tagged)
            .get_with(&["If-None-Match: \"a\""])
            .status(304)
            .get()
            .misses()
            .status(200)
            .body("reply 2"),
        case(RULE, "after it the whole is fetched, and answers")
            .says(tagged)
            .get_with(&["If-None-Match: \"a\""])
            .status(304)
            .get_with(&["If-None-Match: \"a\""])
            .status(304)
            .keeps_back("if-none-match")
            .get()
            .hits()
            .body("reply 2"),
        case(RULE, "HEAD is sent on with them")
            .says(tagged)
            .asks("HEAD", &["If-None-Match: \"a\""])
            .status(304)
            .forwards("if-none-match", "\"a\""),
        case("RFC 9110 13.2.1", "other methods are none of a cache's business")
            .replies(412, &[])
            .asks("PUT", &["If-None-Match: *"])
            .status(412)
            .forwards("if-none-match", "*"),
        case("RFC 9110 15.5.13", "a 412 is no reply for others")
            .replies(412, &[FRESH])
            .get_with(&["If-Match: \"x\""])
            .status(412)
            .says(&[FRESH])
            .get()
            .misses()
            .status(200),
    ])
}

/// RFC 9110 13.1.1, 13.1.4: `If-Match` and `If-Unmodified-Since` are the origin's to judge; a cache never says 412.
fn for_the_origin() -> Table {
    let changed = &["ETag: \"a\"", "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"];
    let mut cases = Vec::new();
    for (rule, asked, holds) in [
        ("RFC 9110 13.1.1", "If-Match: \"a\"", true),
        ("RFC 9110 13.1.1", "If-Match: *", true),
        ("RFC 9110 13.1.1", "If-Match: \"b\", \"a\"", true),
        ("RFC 9110 13.1.1", "If-Match: \"b\"", false),
        ("RFC 9110 13.1.1", "If-Match: W/\"a\"", false),
        ("RFC 9110 13.1.4", "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT", true),
        ("RFC 9110 13.1.4", "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT", false),
        ("RFC 9110 13.1.4", "If-Unmodified-Since: odd", false),
    ] {
        let stored = stored(rule, asked, changed);
        let (name, value) = asked.split_once(": ").expect("a field");
        cases.push(match holds {
            true => stored.get_with(&[asked]).hits().status(200),
            false => stored
                .replies(412, &[])
                .get_with(&[asked])
                .misses()
                .status(412)
                .forwards(&name.to_lowercase(), value),
        });
    }
    cases.push(
        case("RFC 9110 13.1.1", "what is stale is not validated in its place")
            .says(&["Cache-Control: max-age=2", "ETag: \"a\""])
            .get()
            .misses()
            .pass(5)
            .replies(412, &[])
            .get_with(&["If-Match: \"b\""])
            .status(412)
            .forwards("if-match", "\"b\"")
            .keeps_back("if-none-match"),
    );
    cases.push(
        case("RFC 9110 13.1.1", "a full reply to it is one for all")
            .says(&[FRESH, "ETag: \"a\""])
            .get_with(&["If-Match: \"a\""])
            .misses()
            .status(200)
            .get()
            .hits(),
    );
    Table::of(cases)
}
