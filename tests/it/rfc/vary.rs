//! Which stored variant answers (RFC 9111 4.1, RFC 9110 12.5).

use super::{Case, Table, case, tables};

tables!(matching, normal_forms, several, limits);

const RULE: &str = "RFC 9111 4.1";
const FRESH: &str = "Cache-Control: max-age=60";

/// What is stored for the first request answers the second, or does not.
fn two(name: &str, vary: &[&str], first: &[&str], second: &[&str], same: bool) -> Case {
    let stored = case(RULE, name).says(&[&[FRESH], vary].concat()).get_with(first).misses();
    match same {
        true => stored.get_with(second).hits().body("reply 1"),
        false => stored.get_with(second).misses().body("reply 2").get_with(first).hits().body("reply 1"),
    }
}

/// RFC 9111 4.1: every nominated field must match.
fn matching() -> Table {
    let (one, other) = (&["Foo: 1"][..], &["Foo: 2"][..]);
    Table::of(vec![
        two("the same value", &["Vary: Foo"], one, one, true),
        two("another value", &["Vary: Foo"], one, other, false),
        two("names in any case", &["Vary: fOO"], one, &["FOO: 1"], true),
        two("values as they are", &["Vary: Foo"], &["Foo: a"], &["Foo: A"], false),
        two("absent in both", &["Vary: Foo"], &[], &[], true),
        two("absent in one", &["Vary: Foo"], one, &[], false),
        two("absent in the other", &["Vary: Foo"], &[], one, false),
        two("absent is not empty", &["Vary: Foo"], &[], &["Foo: "], false),
        two("nor is empty absent", &["Vary: Foo"], &["Foo: "], &[], false),
        two("empty in both", &["Vary: Foo"], &["Foo: "], &["Foo:"], true),
        two("fields that are not named", &["Vary: Foo"], &["Foo: 1", "Bar: 1"], &["Foo: 1", "Bar: 2"], true),
        two("two names", &["Vary: Foo, Bar"], &["Foo: 1", "Bar: 1"], &["Bar: 1", "Foo: 1"], true),
        two("the second differs", &["Vary: Foo, Bar"], &["Foo: 1", "Bar: 1"], &["Foo: 1", "Bar: 2"], false),
        two("the second is absent", &["Vary: Foo, Bar"], &["Foo: 1", "Bar: 1"], one, false),
        two(
            "names over several lines",
            &["Vary: Foo", "Vary: Bar"],
            &["Foo: 1", "Bar: 1"],
            &["Foo: 1", "Bar: 2"],
            false,
        ),
        two(
            "three names",
            &["Vary: Foo, Bar", "Vary: Baz"],
            &["Foo: 1", "Bar: 1", "Baz: 1"],
            &["Foo: 1", "Bar: 1", "Baz: 2"],
            false,
        ),
        two("empty members", &["Vary: , Foo,, "], one, one, true),
        two("no names at all", &["Vary: "], one, other, true),
        two("HEAD asks for a variant, too", &["Vary: Foo"], one, one, true)
            .asks("HEAD", one)
            .hits()
            .asks("HEAD", other)
            .status(200)
            .field("cache-status", "proxy-stone; fwd=vary-miss"),
        case(RULE, "anything").says(&[FRESH, "Vary: *"]).get().misses().get().misses().body("reply 2"),
        case(RULE, "anything among others")
            .says(&[FRESH, "Vary: Foo, *"])
            .get_with(one)
            .misses()
            .get_with(one)
            .misses(),
        case(RULE, "anything on another line")
            .says(&[FRESH, "Vary: Foo", "Vary: *"])
            .get_with(one)
            .misses()
            .get_with(one)
            .misses(),
        case(RULE, "anything before others")
            .says(&[FRESH, "Vary: *, Foo"])
            .get_with(one)
            .misses()
            .get_with(one)
            .misses(),
        case(RULE, "what is no name could be anything")
            .says(&[FRESH, "Vary: F o o"])
            .get_with(one)
            .misses()
            .get_with(one)
            .misses(),
        case("RFC 9211 2.2", "a miss of all variants says so")
            .says(&[FRESH, "Vary: Foo"])
            .get_with(one)
            .misses()
            .field("cache-status", "proxy-stone; fwd=uri-miss; stored")
            .get_with(other)
            .misses()
            .field("cache-status", "proxy-stone; fwd=vary-miss; stored"),
    ])
}

/// RFC 9111 4.1: white space, lines, and what a field's own definition calls the same.
fn normal_forms() -> Table {
    let same = |field: &str, one: &str, other: &str, same: bool| {
        let (vary, one, other) =
            (format!("Vary: {field}"), format!("{field}: {one}"), format!("{field}: {other}"));
        two(&format!("{one} and {other}"), &[&vary], &[&one], &[&other], same)
    };
    let mut cases = vec![
        two("lines of a list are one list", &["Vary: Foo"], &["Foo: 1, 2"], &["Foo: 1", "Foo: 2"], true),
        two("and the other way round", &["Vary: Foo"], &["Foo: 1", "Foo: 2"], &["Foo: 1,2"], true),
        two("in their order", &["Vary: Foo"], &["Foo: 1", "Foo: 2"], &["Foo: 2", "Foo: 1"], false),
        two(
            "Accept-Language over lines",
            &["Vary: Accept-Language"],
            &["Accept-Language: de", "Accept-Language: en"],
            &["Accept-Language: de, en"],
            true,
        ),
    ];
    for (field, one, other, equal) in [
        ("Foo", "1,2", "1, 2", true),
        ("Foo", "1,2", " 1 ,\t2 ", true),
        ("Foo", "1 2", "12", false),
        ("Foo", "1;a=b", "1; a=b", false),
        ("Foo", "\"1, 2\"", "\"1,2\"", false),
        ("Accept-Encoding", "gzip, br", "br,gzip", true),
        ("Accept-Encoding", "GZIP", "gzip;q=1.0", true),
        ("Accept-Encoding", "gzip;q=0.5, br", "br, gzip;q=0.50", true),
        ("Accept-Encoding", "gzip;q=0.5, br", "br;q=0.5, gzip", false),
        ("Accept-Encoding", "gzip;q=0", "gzip", false),
        ("Accept-Encoding", "gzip", "", false),
        ("Accept-Encoding", "identity", "", true),
        ("Accept-Language", "en-GB, de", "EN-gb,DE;q=1", true),
        ("Accept-Language", "en;q=0.5, de", "de, en;q=0.5", true),
        ("Accept-Language", "en, de", "de, en", false),
        ("Accept-Language", "en-GB", "en", false),
        ("Accept", "text/html, a/b;q=0.5", "a/b; q=0.5,TEXT/HTML", true),
        ("Accept", "text/html, a/b", "text/html", false),
        ("Accept", "a/b;v=A", "a/b;v=a", false),
        ("User-Agent", "a (b, c)", "a (b,c)", false),
        ("Cookie", "a=1; b=2", "b=2; a=1", false),
    ] {
        cases.push(same(field, one, other, equal));
    }
    Table::of(cases)
}

/// RFC 9111 4, 4.1: several that match.
fn several() -> Table {
    let both = &["Foo: 1", "Bar: 1"];
    Table::of(vec![
        case(RULE, "each has its own life")
            .says(&["Cache-Control: max-age=10", "Vary: Foo"])
            .get_with(&["Foo: 1"])
            .misses()
            .pass(6)
            .says(&["Cache-Control: max-age=90", "Vary: Foo"])
            .get_with(&["Foo: 2"])
            .misses()
            .pass(6)
            .get_with(&["Foo: 2"])
            .hits()
            .field("age", "6")
            .get_with(&["Foo: 1"])
            .misses(),
        case("RFC 9111 4", "the newest by Date is the one to use")
            .says(&[FRESH, "Vary: Foo", "Date: {-10}"])
            .get_with(both)
            .misses()
            .says(&[FRESH, "Vary: Bar", "Date: {-20}"])
            .get_with(&["Foo: 2", "Bar: 1"])
            .misses()
            .body("reply 2")
            .get_with(both)
            .hits()
            .body("reply 1"),
        case("RFC 9111 4", "also where it came later")
            .says(&[FRESH, "Vary: Foo"])
            .get_with(both)
            .misses()
            .pass(5)
            .says(&[FRESH, "Vary: Bar"])
            .get_with(&["Foo: 2", "Bar: 1"])
            .misses()
            .get_with(both)
            .hits()
            .body("reply 2"),
        case("RFC 9111 4", "but what is fresh before what is stale")
            .says(&[FRESH, "Vary: Foo"])
            .get_with(both)
            .misses()
            .pass(5)
            .says(&["Cache-Control: max-age=1", "Vary: Bar"])
            .get_with(&["Foo: 2", "Bar: 1"])
            .misses()
            .pass(5)
            .get_with(both)
            .hits()
            .body("reply 1"),
        case(RULE, "a reply without Vary answers whom none with it does")
            .says(&[FRESH, "Vary: Foo"])
            .get_with(&["Foo: 1"])
            .misses()
            .pass(5)
            .says(&[FRESH])
            .get_with(&["Foo: 2"])
            .misses()
            .get_with(&["Foo: 3"])
            .hits()
            .body("reply 2")
            .get()
            .hits()
            .body("reply 2"),
        case(RULE, "and not those whom one with it does, though it is newer")
            .says(&[FRESH, "Vary: Foo"])
            .get_with(&["Foo: 1"])
            .misses()
            .pass(5)
            .says(&[FRESH])
            .get_with(&["Foo: 2"])
            .misses()
            .get_with(&["Foo: 1"])
            .hits()
            .body("reply 1"),
        case(RULE, "an origin that varies no more is believed once the old reply is stale")
            .says(&["Cache-Control: max-age=10", "Vary: Foo"])
            .get_with(&["Foo: 1"])
            .misses()
            .pass(11)
            .says(&[FRESH])
            .get_with(&["Foo: 1"])
            .misses()
            .get_with(&["Foo: 1"])
            .hits()
            .body("reply 2"),
    ])
}

/// Variants are bounded; the oldest goes first.
fn limits() -> Table {
    let mut many = case(RULE, "the newest are kept").says(&[FRESH, "Vary: Foo"]);
    for at in 0..66 {
        many = many.pass(0).get_with(&[&format!("Foo: {at}")]).misses();
        if at == 1 {
            many = many.pass(1);
        }
    }
    Table::of(vec![
        many.get_with(&["Foo: 65"]).hits().get_with(&["Foo: 2"]).hits().get_with(&["Foo: 0"]).misses(),
    ])
}
