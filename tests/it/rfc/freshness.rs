//! How long a reply is fresh (RFC 9111 4.2, 5.2.2, 5.3; RFC 9213).

use super::{Case, Table, case, refetched, reused, tables, validated};

tables!(precedence, delta_seconds);

/// RFC 9111 4.2.1: which of several lifetimes counts.
fn precedence() -> Table {
    const RULE: &str = "RFC 9111 4.2.1";
    Table::of(vec![
        reused(RULE, "s-maxage comes before max-age", &["Cache-Control: max-age=0, s-maxage=60"]),
        refetched(RULE, "and also where it is less", &["Cache-Control: s-maxage=0, max-age=60"]),
        reused(RULE, "s-maxage comes before Expires", &["Cache-Control: s-maxage=60", "Expires: {-60}"]),
        reused(RULE, "max-age comes before Expires", &["Cache-Control: max-age=60", "Expires: {-60}"]),
        refetched(RULE, "also where Expires is later", &["Cache-Control: max-age=0", "Expires: {+60}"]),
        reused(RULE, "Expires minus Date", &["Expires: {+60}", "Date: {+0}"]),
        case(RULE, "Expires minus Date, not minus now")
            .says(&["Expires: {+60}", "Date: {-30}"])
            .get()
            .misses()
            .pass(59)
            .get()
            .hits()
            .field("age", "89")
            .pass(1)
            .get()
            .misses(),
        validated(RULE, "none of them: stored where it can be validated", &[]),
    ])
}

/// RFC 9111 1.2.2, 4.2.1: the seconds of a directive.
fn delta_seconds() -> Table {
    const RULE: &str = "RFC 9111 1.2.2";
    let control = |value: &str| format!("Cache-Control: {value}");
    let fresh = |name: &str, value: &str| reused(RULE, name, &[&control(value)]);
    let stale = |name: &str, value: &str| validated(RULE, name, &[&control(value)]);
    let cases: Vec<Case> = vec![
        fresh("digits", "max-age=3600"),
        fresh("upper case", "MAX-AGE=3600"),
        fresh("leading zeros", "max-age=003600"),
        fresh("the largest signed number of 32 bits", "max-age=2147483647"),
        fresh("one more", "max-age=2147483648"),
        fresh("more than 64 bits have", "max-age=99999999999999999999999"),
        stale("none", "max-age="),
        stale("a sign", "max-age=-3600"),
        stale("another sign", "max-age=+3600"),
    ];
    Table::of(cases)
}
