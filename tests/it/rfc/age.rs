//! How old a reply is (RFC 9111 4.2.3, 5.1).

use super::{Case, Table, case, tables, validated};

tables!(arithmetic, received);

/// RFC 9111 4, 4.2.3: `Age` on what is stored.
fn arithmetic() -> Table {
    const SENT: &str = "RFC 9111 4";
    const RULE: &str = "RFC 9111 4.2.3";
    let fresh = "Cache-Control: max-age=100";
    Table::of(vec![
        case(SENT, "every stored reply says its age")
            .says(&[fresh])
            .get()
            .misses()
            .lacks("age")
            .get()
            .hits()
            .field("age", "0")
            .pass(42)
            .get()
            .hits()
            .field("age", "42")
            .asks("HEAD", &[])
            .hits()
            .field("age", "42"),
        case(SENT, "also one that only says that nothing changed")
            .says(&[fresh, "ETag: \"a\""])
            .get()
            .misses()
            .pass(7)
            .get_with(&["If-None-Match: \"a\""])
            .hits()
            .status(304)
            .field("age", "7"),
        case(SENT, "and one that is stale")
            .says(&["Cache-Control: max-age=5"])
            .get()
            .misses()
            .pass(20)
            .get_with(&["Cache-Control: max-stale"])
            .hits()
            .field("age", "20"),
        case(SENT, "it replaces the one that came")
            .says(&[fresh, "Age: 30"])
            .get()
            .misses()
            .field("age", "30")
            .pass(5)
            .get()
            .hits()
            .field("age", "35"),
        case(RULE, "the age that came counts against the lifetime")
            .says(&[fresh, "Age: 90"])
            .get()
            .misses()
            .pass(9)
            .get()
            .hits()
            .pass(1)
            .get()
            .misses(),
        validated(RULE, "a reply that comes at the end of its life is stale", &[fresh, "Age: 100"]),
        case(RULE, "the reply's delay is part of its age")
            .says(&[fresh, "Age: 10"])
            .delayed(3)
            .get()
            .misses()
            .get()
            .hits()
            .field("age", "13"),
        case(RULE, "without Age from the origin, too")
            .says(&[fresh])
            .delayed(4)
            .get()
            .misses()
            .get()
            .hits()
            .field("age", "4"),
        case(RULE, "what Date tells counts where it is more")
            .says(&[fresh, "Age: 10", "Date: {-50}"])
            .delayed(3)
            .get()
            .misses()
            .get()
            .hits()
            .field("age", "50"),
        case(RULE, "what Age and delay tell counts where they are more")
            .says(&[fresh, "Age: 60", "Date: {-50}"])
            .delayed(3)
            .get()
            .misses()
            .get()
            .hits()
            .field("age", "63"),
        case(RULE, "a validation begins a new life")
            .says(&["Cache-Control: max-age=10", "ETag: \"a\""])
            .get()
            .misses()
            .pass(15)
            .get()
            .validates()
            .pass(4)
            .get()
            .hits()
            .field("age", "4"),
        case(RULE, "the 304's own age counts from there")
            .says(&["Cache-Control: max-age=10", "ETag: \"a\""])
            .get()
            .misses()
            .pass(15)
            .says(&["Cache-Control: max-age=10", "ETag: \"a\"", "Age: 3"])
            .get()
            .validates()
            .pass(4)
            .get()
            .hits()
            .field("age", "7"),
    ])
}

/// RFC 9111 5.1: the odd forms of an `Age` that came.
fn received() -> Table {
    const RULE: &str = "RFC 9111 5.1";
    let fresh = "Cache-Control: max-age=100";
    let counts = |lines: &[&str], age: &str| -> Case {
        let fields = [lines, &[fresh]].concat();
        case(RULE, format!("{lines:?}")).says(&fields).get().misses().pass(1).get().hits().field("age", age)
    };
    let ends = |line: &str| validated(RULE, line, &[line, fresh]);
    Table::of(vec![
        counts(&["Age: 0"], "1"),
        counts(&["Age: 30"], "31"),
        counts(&["Age: 030"], "31"),
        counts(&["Age: 30, 90"], "31"),
        counts(&["Age: 30", "Age: 90"], "31"),
        counts(&["Age: 30, abc"], "31"),
        counts(&["Age:"], "1"),
        counts(&["Age: abc"], "1"),
        counts(&["Age: -30"], "1"),
        counts(&["Age: +30"], "1"),
        counts(&["Age: 30.5"], "1"),
        counts(&["Age: 30s"], "1"),
        counts(&["Age: \"30\""], "1"),
        counts(&["Age: 30;foo=bar"], "1"),
        counts(&["Age: abc, 30"], "1"),
        counts(&["Age: 3 0"], "1"),
        ends("Age: 2147483647"),
        ends("Age: 2147483648"),
        ends("Age: 4294967296"),
        ends("Age: 99999999999"),
        ends("Age: 18446744073709551616"),
        ends("Age: 99999999999999999999999999999"),
        ends("Age: 7200, 0"),
        case("RFC 9111 1.2.2", "the largest age is told as the largest number that all understand")
            .says(&[fresh, "Age: 99999999999", "ETag: \"a\""])
            .get()
            .misses()
            .pass(10)
            .get_with(&["Cache-Control: max-stale"])
            .hits()
            .field("age", "2147483648"),
    ])
}
