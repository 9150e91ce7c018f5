//! Asking the origin whether what is stored still holds (RFC 9111 4.3.1), and what its answer does (4.3.3 - 4.3.5, 3.2).

use super::{Case, Table, case, tables};

tables!(asking, updating, choosing, other_variants, replacing, head);

const STALE: &str = "Cache-Control: max-age=2";
const FRESH: &str = "Cache-Control: max-age=60";

/// Stored with these fields, and stale.
fn stored(rule: &'static str, name: &str, fields: &[&str]) -> Case {
    case(rule, name).says(&[&[STALE], fields].concat()).get().misses().pass(5)
}

/// RFC 9111 4.3.1: the conditions of a validation.
fn asking() -> Table {
    const RULE: &str = "RFC 9111 4.3.1";
    let tag = "ETag: \"a\"";
    Table::of(vec![
        stored(RULE, "the tag is sent", &[tag])
            .get()
            .validates()
            .forwards("if-none-match", "\"a\"")
            .keeps_back("if-modified-since"),
        stored(RULE, "a weak one too", &["ETag: W/\"a\""])
            .get()
            .validates()
            .forwards("if-none-match", "W/\"a\""),
        stored(RULE, "the date is sent as it came", &["Last-Modified: Sunday, 06-Nov-94 08:49:37 GMT"])
            .get()
            .forwards("if-modified-since", "Sunday, 06-Nov-94 08:49:37 GMT")
            .keeps_back("if-none-match"),
        stored(RULE, "both are", &[tag, "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"])
            .get()
            .validates()
            .forwards("if-none-match", "\"a\"")
            .forwards("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"),
        stored(RULE, "nothing where there is neither", &[])
            .get()
            .misses()
            .keeps_back("if-none-match")
            .keeps_back("if-modified-since"),
        stored(RULE, "a tag may hold bytes beyond ASCII and commas", &["ETag: \"a,\u{e9}\""])
            .get()
            .validates()
            .forwards("if-none-match", "\"a,\u{e9}\""),
        stored(RULE, "the client's own conditions give way", &[tag])
            .get_with(&["If-None-Match: \"mine\"", "If-Modified-Since: {-9}"])
            .status(200)
            .forwards("if-none-match", "\"a\"")
            .keeps_back("if-modified-since"),
        stored(RULE, "its other fields go on", &[tag])
            .get_with(&["X-Own: 1", "Accept: a/b"])
            .forwards("x-own", "1")
            .forwards("accept", "a/b"),
        case(RULE, "each stored variant's tag is sent")
            .says(&[STALE, "Vary: Foo", "ETag: \"a\""])
            .get_with(&["Foo: 1"])
            .misses()
            .pass(1)
            .says(&[STALE, "Vary: Foo", "ETag: \"b\""])
            .get_with(&["Foo: 2"])
            .misses()
            .pass(5)
            .get_with(&["Foo: 2"])
            .validates()
            .forwards("if-none-match", "\"b\", \"a\""),
        case(RULE, "also where none of them could be chosen")
            .says(&[FRESH, "Vary: Foo", "ETag: \"a\""])
            .get_with(&["Foo: 1"])
            .misses()
            .says(&[FRESH, "Vary: Foo", "ETag: \"b\""])
            .get_with(&["Foo: 2"])
            .misses()
            .forwards("if-none-match", "\"a\"")
            .body("reply 2"),
        case(RULE, "but a weak tag of another variant is not")
            .says(&[FRESH, "Vary: Foo", "ETag: W/\"a\""])
            .get_with(&["Foo: 1"])
            .misses()
            .get_with(&["Foo: 2"])
            .misses()
            .keeps_back("if-none-match"),
    ])
}

/// RFC 9111 3.2, 4.3.4: what a 304 changes. It is said by the bytes, since a real one seldom has all the fields.
fn updating() -> Table {
    const RULE: &str = "RFC 9111 3.2";
    let not_modified = |fields: &str| format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n\r\n");
    let base: &[&str] = &[
        "ETag: \"a\"",
        "Content-Type: text/plain",
        "Content-Encoding: x-odd",
        "Content-Language: de",
        "X-Kept: 1",
        "X-Twice: 1",
        "X-Twice: 2",
        "Set-Cookie: a=1",
        "Expires: {-9}",
    ];
    let updated = |name: &str, fields: &str| {
        stored(RULE, name, base).says_bytes(&not_modified(fields)).get().status(200).body("reply 1")
    };
    let tag = "ETag: \"a\"\r\nCache-Control: max-age=60\r\n";
    let with = |more: &str| format!("{tag}{more}");
    let again = |case: Case| case.get().hits().body("reply 1");
    let mut cases = vec![
        updated("its lifetime counts from now", tag.trim_end())
            .field("age", "0")
            .pass(59)
            .get()
            .hits()
            .pass(1)
            .get()
            .status(200),
        again(updated("what it does not have stays", tag.trim_end()))
            .field("x-kept", "1")
            .field("content-type", "text/plain"),
        again(updated("all lines of a field are replaced", &with("X-Twice: 3"))).fields("x-twice", &["3"]),
        again(updated("by as many", &with("X-Twice: 4\r\nX-Twice: 5\r\nX-Twice: 6")))
            .fields("x-twice", &["4", "5", "6"]),
        again(updated("a new field is added", &with("X-New: n"))).field("x-new", "n"),
        again(updated("its length is that of no body", &with("Content-Length: 9")))
            .field("content-length", "7"),
        again(updated("a range is of one message", &with("Content-Range: bytes 0-1/2")))
            .lacks("content-range"),
        again(updated(
            "what is for the connection is not stored",
            &with("Connection: X-Kept, close\r\nX-Kept: 2"),
        ))
        .field("x-kept", "1"),
        again(updated("nor what is for a proxy", &with("Proxy-Authenticate: x\r\nKeep-Alive: 5")))
            .lacks("proxy-authenticate"),
        again(updated("its Age counts", &with("Age: 20"))).field("age", "20"),
        again(updated("its Date is the reply's", &with("Date: {-10}")))
            .field("age", "10")
            .field("date", "{-10}"),
    ];
    for (field, value) in [
        ("Content-Type", "a/b"),
        ("Content-Encoding", "x-new"),
        ("Content-Language", "fr"),
        ("Content-Location", "/x"),
        ("Content-Security-Policy", "none"),
        ("Set-Cookie", "b=2"),
        ("X-Frame-Options", "deny"),
        ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("Expires", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("Content-MD5", "x"),
        ("X-Content-Foo", "y"),
    ] {
        cases.push(
            again(updated(
                &format!("{field} is replaced like any other"),
                &with(&format!("{field}: {value}")),
            ))
            .field(&field.to_ascii_lowercase(), value),
        );
    }
    cases.push(
        updated("it may forbid storing from now on", "ETag: \"a\"\r\nCache-Control: no-store")
            .get()
            .status(304),
    );
    Table::of(cases)
}

/// RFC 9111 4.3.4: which stored reply a 304 is about.
fn choosing() -> Table {
    const RULE: &str = "RFC 9111 4.3.4";
    let date = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT";
    let said = |fields: &str| format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n\r\n");
    let taken = |name: &str, own: &[&str], fields: &str| {
        stored(RULE, name, own)
            .says_bytes(&said(&format!("{FRESH}\r\n{fields}")))
            .get()
            .status(200)
            .body("reply 1")
            .get()
            .hits()
    };
    // The origin is asked again without conditions, and its full reply is the client's.
    let refused = |name: &str, own: &[&str], fields: &str| {
        stored(RULE, name, own)
            .says_bytes(&said(fields))
            .get()
            .keeps_back("if-none-match")
            .keeps_back("if-modified-since")
    };
    Table::of(vec![
        taken("the same strong tag", &["ETag: \"a\""], "ETag: \"a\""),
        taken("the same weak tag", &["ETag: W/\"a\""], "ETag: W/\"a\""),
        taken("a weak tag like the stored strong one", &["ETag: \"a\""], "ETag: W/\"a\""),
        taken("the same date", &[date], date),
        taken("no validator, and one stored reply", &["ETag: \"a\""], "X-Own: 1"),
        taken(
            "a strong tag that was not stored, beside the same date",
            &[date],
            &format!("ETag: \"new\"\r\n{date}"),
        )
        .field("etag", "\"new\""),
        refused("another strong tag", &["ETag: \"a\""], "ETag: \"b\""),
        refused("a strong tag like the stored weak one", &["ETag: W/\"a\""], "ETag: \"a\""),
        refused("another date", &[date], "Last-Modified: Sun, 06 Nov 1994 08:49:38 GMT"),
    ])
}

/// RFC 9111 4.1, 4.3.4: a 304 that names what another request stored, and one that varies otherwise than before.
fn other_variants() -> Table {
    const RULE: &str = "RFC 9111 4.1";
    let tagged: &[&str] = &[FRESH, "Vary: Foo", "ETag: \"a\""];
    Table::of(vec![
        case(RULE, "what is stored for another variant need not be sent again")
            .says(tagged)
            .get_with(&["Foo: 1"])
            .misses()
            .get_with(&["Foo: 2"])
            .validates()
            .body("reply 1")
            .field("cache-status", "proxy-stone; fwd=vary-miss; fwd-status=304; stored")
            .get_with(&["Foo: 2"])
            .hits()
            .body("reply 1")
            .get_with(&["Foo: 1"])
            .hits()
            .body("reply 1"),
        case(RULE, "each lives on by itself")
            .says(tagged)
            .get_with(&["Foo: 1"])
            .misses()
            .pass(30)
            .get_with(&["Foo: 2"])
            .validates()
            .pass(31)
            .get_with(&["Foo: 2"])
            .hits()
            .field("age", "31")
            .get_with(&["Foo: 1"])
            .validates(),
        case(RULE, "a client that has it already is told so")
            .says(tagged)
            .get_with(&["Foo: 1"])
            .misses()
            .get_with(&["Foo: 2", "If-None-Match: \"a\""])
            .status(304)
            .forwards("if-none-match", "\"a\""),
        case(RULE, "a 304 that varies on something else moves the reply there")
            .says(&[STALE, "Vary: Foo", "ETag: \"a\""])
            .get_with(&["Foo: 1", "Bar: 1"])
            .misses()
            .pass(5)
            .says(&[FRESH, "Vary: Bar", "ETag: \"a\""])
            .get_with(&["Foo: 1", "Bar: 1"])
            .validates()
            .get_with(&["Foo: 2", "Bar: 1"])
            .hits()
            .body("reply 1")
            .get_with(&["Foo: 1", "Bar: 2"])
            .forwards("bar", "2"),
        case(RULE, "one that varies on nothing any more answers all")
            .says(&[STALE, "Vary: Foo", "ETag: \"a\""])
            .get_with(&["Foo: 1"])
            .misses()
            .pass(5)
            .says_bytes(
                "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nCache-Control: max-age=60\r\nVary: \r\n\r\n",
            )
            .get_with(&["Foo: 1"])
            .status(200)
            .body("reply 1")
            .get_with(&["Foo: 2"])
            .hits()
            .body("reply 1"),
        case(RULE, "one that varies on everything ends it")
            .says(&[STALE, "ETag: \"a\""])
            .get()
            .misses()
            .pass(5)
            .says(&[FRESH, "Vary: *", "ETag: \"a\""])
            .get()
            .status(200)
            .body("reply 1")
            .get()
            .misses()
            .body("reply 3"),
    ])
}

/// RFC 9111 4.3.3: a full reply takes the stored one's place.
fn replacing() -> Table {
    const RULE: &str = "RFC 9111 4.3.3";
    Table::of(vec![
        stored(RULE, "a 200", &["ETag: \"a\"", "X-Old: 1"])
            .says(&[FRESH, "ETag: \"b\""])
            .get()
            .misses()
            .body("reply 2")
            .lacks("x-old")
            .get()
            .hits()
            .body("reply 2")
            .lacks("x-old"),
        stored(RULE, "any other status", &["ETag: \"a\""])
            .replies(404, &[FRESH])
            .get()
            .misses()
            .status(404)
            .get()
            .hits()
            .status(404),
        stored(RULE, "one that may not be stored is used all the same", &["ETag: \"a\""])
            .says(&["Cache-Control: no-store", "ETag: \"b\""])
            .get()
            .misses()
            .body("reply 2"),
    ])
}

/// RFC 9111 4.3.5: HEAD updates what is stored, or makes it stale.
fn head() -> Table {
    const RULE: &str = "RFC 9111 4.3.5";
    let date = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT";
    let stored = |name: &str| stored(RULE, name, &["ETag: \"a\"", date, "X-Own: old"]);
    let fresh =
        |name: &str| case(RULE, name).says(&[FRESH, "ETag: \"a\"", date, "X-Own: old"]).get().misses();
    let no_cache = &["Cache-Control: no-cache"];
    Table::of(vec![
        stored("the same validators freshen it")
            .says(&[FRESH, "ETag: \"a\"", date, "X-Own: new"])
            .asks("HEAD", &[])
            .status(200)
            .get()
            .hits()
            .body("reply 1")
            .field("x-own", "new")
            .field("age", "0"),
        fresh("another tag makes it stale")
            .says(&[FRESH, "ETag: \"b\""])
            .asks("HEAD", no_cache)
            .status(200)
            .get()
            .misses()
            .forwards("if-none-match", "\"a\""),
        fresh("another date does")
            .says(&[FRESH, "Last-Modified: Sun, 06 Nov 1994 08:49:38 GMT"])
            .asks("HEAD", no_cache)
            .status(200)
            .get()
            .status(200)
            .field("cache-status", "proxy-stone; fwd=stale; stored"),
        fresh("another length does")
            .says_bytes("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
            .asks("HEAD", no_cache)
            .status(200)
            .says(&[FRESH])
            .get()
            .misses(),
        stored("no validators at all freshen it")
            .says_bytes("HTTP/1.1 200 OK\r\nContent-Length: 7\r\nCache-Control: max-age=60\r\n\r\n")
            .asks("HEAD", &[])
            .status(200)
            .get()
            .hits()
            .body("reply 1")
            .field("etag", "\"a\""),
        fresh("an error says nothing of it")
            .replies(404, &[FRESH])
            .asks("HEAD", no_cache)
            .status(404)
            .get()
            .hits()
            .status(200),
        case(RULE, "only variants that the request asks for")
            .says(&[FRESH, "Vary: Foo", "ETag: \"a\""])
            .get_with(&["Foo: 1"])
            .misses()
            .says(&[FRESH, "Vary: Foo", "ETag: \"b\""])
            .asks("HEAD", &["Foo: 2"])
            .status(200)
            .get_with(&["Foo: 1"])
            .hits(),
        fresh("a stored GET answers it").asks("HEAD", &[]).hits().status(200).field("etag", "\"a\"").body(""),
        case("RFC 9110 9.3.2", "a HEAD's own reply answers no GET")
            .says(&[FRESH])
            .asks("HEAD", &[])
            .status(200)
            .get()
            .misses()
            .body("reply 2"),
    ])
}
