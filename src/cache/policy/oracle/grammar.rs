//! What heads are put together from: every odd form, and what it means.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::Heads;
use super::classes::Class;

/// Members of Cache-Control, and how the other one must hear them.
pub(super) const MEMBERS: [(&str, &str, Option<Class>); 46] = [
    ("max-age=10", "max-age=10", None),
    ("max-age=100", "max-age=100", None),
    ("max-age=0", "max-age=0", None),
    ("max-age=\"10\"", "max-age=10", None),
    ("max-age=010", "max-age=10", None),
    ("max-age=x", "max-age=0", None),
    ("max-age=-10", "max-age=0", None),
    ("max-age=10.5", "max-age=0", None),
    ("max-age=", "max-age=0", None),
    ("MAX-AGE=10", "max-age=10", Some(Class::Spelling)),
    ("max-age=+10", "max-age=0", Some(Class::Seconds)),
    ("max-age= 10", "max-age=0", Some(Class::Seconds)),
    ("max-age =10", "max-age=0", Some(Class::Seconds)),
    ("max-age", "max-age=0", Some(Class::Seconds)),
    ("max-age=99999999999", "max-age=2147483648", Some(Class::Seconds)),
    ("max-age=99999999999999999999999", "max-age=2147483648", Some(Class::Seconds)),
    ("s-maxage=20", "s-maxage=20", None),
    ("s-maxage=0", "s-maxage=0", None),
    ("S-MaxAge=20", "s-maxage=20", Some(Class::Spelling)),
    ("s-maxage=-1", "s-maxage=0", None),
    ("s-maxage", "s-maxage=0", Some(Class::Seconds)),
    ("no-store", "no-store", None),
    ("No-Store", "no-store", Some(Class::Spelling)),
    ("no-cache", "no-cache", None),
    ("NO-CACHE", "no-cache", Some(Class::Spelling)),
    ("no-cache=\"\"", "no-cache", None),
    ("no-cache=\"x-b\"", "", Some(Class::Qualified)),
    ("private", "private", None),
    ("Private", "private", Some(Class::Spelling)),
    ("private=\"x-b, x-c\"", "", Some(Class::Qualified)),
    ("public", "public", None),
    ("PUBLIC", "public", Some(Class::Spelling)),
    ("must-revalidate", "must-revalidate", None),
    ("Must-Revalidate", "must-revalidate", Some(Class::Spelling)),
    ("proxy-revalidate", "proxy-revalidate", None),
    ("must-understand", "must-understand", None),
    ("stale-while-revalidate=15", "stale-while-revalidate=15", None),
    ("stale-while-revalidate=x", "stale-while-revalidate=0", None),
    ("immutable", "immutable", None),
    ("foo", "foo", None),
    ("no-storex=1", "no-storex=1", None),
    ("foo=\"no-store, private\"", "", Some(Class::Spelling)),
    ("foo=\"a\\\", no-store, \"", "", Some(Class::Spelling)),
    ("private; max-age=10", "private, max-age=0", Some(Class::OpenText)),
    ("no-store public", "no-store", Some(Class::OpenText)),
    ("foo; bar", "", None),
];

/// Dates as they are said, and how many seconds from [`NOW`] they are; `None`: no date.
pub(super) const DATES: [(&str, Option<i64>); 16] = [
    ("Fri, 15 Jan 2027 08:01:00 GMT", Some(60)),
    ("Fri, 15 Jan 2027 08:00:12 GMT", Some(12)),
    ("Fri, 15 Jan 2027 08:00:00 GMT", Some(0)),
    ("Fri, 15 Jan 2027 07:59:57 GMT", Some(-3)),
    ("Fri, 15 Jan 2027 07:43:20 GMT", Some(-1000)),
    ("Sat, 01 Jan 2000 00:00:00 GMT", Some(-853_315_200)),
    ("Friday, 15-Jan-27 08:01:00 GMT", Some(60)),
    ("Friday, 15-Jan-27 07:59:57 GMT", Some(-3)),
    ("Fri Jan 15 08:01:00 2027", Some(60)),
    ("Fri Jan 15 07:43:20 2027", Some(-1000)),
    ("fri, 15 jan 2027 08:01:00 gmt", Some(60)),
    ("Fri, 15 Jan 2027 08:01:00 EST", None),
    ("Fri, 15 Jan 2027 08:01:00 +0000", None),
    ("Mon, 15 Jan 2027 08:01:00 GMT", None),
    ("0", None),
    ("soon", None),
];

/// Values of Age, and what they mean.
pub(super) const AGES: [(&str, u64); 10] = [
    ("4", 4),
    ("0", 0),
    ("004", 4),
    ("4, 90", 4),
    ("+4", 0),
    ("-4", 0),
    ("4.5", 0),
    ("x", 0),
    ("99999999999", 1 << 31),
    ("99999999999999999999999", 1 << 31),
];

/// Targeted fields, and the Cache-Control that they stand for; `None`: they are invalid.
pub(super) const TARGETED: [(&str, Option<&str>); 6] = [
    ("max-age=30", Some("max-age=30")),
    ("no-store", Some("no-store")),
    ("must-revalidate", Some("must-revalidate")),
    ("max-age=30;a, foo=(1 2)", Some("max-age=30")),
    ("", None),
    ("No-Store", None),
];

fn one_of(name: &'static str, values: Vec<&'static str>) -> impl Strategy<Value = (&'static str, String)> {
    select(values).prop_map(move |value| (name, value.to_owned()))
}

fn said() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let dates = || DATES.iter().map(|(said, _)| *said).collect::<Vec<_>>();
    let maybe = proptest::option::weighted::<_>;
    (
        proptest::collection::vec(one_of("expires", dates()), 0..3),
        maybe(0.5, one_of("date", dates())),
        maybe(0.4, one_of("last-modified", dates())),
        maybe(0.3, one_of("age", AGES.iter().map(|(said, _)| *said).collect())),
        maybe(0.2, one_of("cdn-cache-control", TARGETED.iter().map(|(said, _)| *said).collect())),
        maybe(0.3, one_of("vary", vec!["*", "x-a", "X-A, accept"])),
        maybe(0.2, one_of("set-cookie", vec!["a=b"])),
        maybe(0.2, one_of("pragma", vec!["no-cache"])),
        maybe(0.5, one_of("etag", vec!["\"t\""])),
    )
        .prop_map(|(expires, date, modified, age, targeted, vary, cookie, pragma, etag)| {
            let others = [date, modified, age, targeted, vary, cookie, pragma, etag];
            expires.into_iter().chain(others.into_iter().flatten()).collect()
        })
}

fn asks() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let directives = vec![
        "no-cache",
        "no-store",
        "max-age=5",
        "max-age=0",
        "max-age=x",
        "max-stale",
        "max-stale=7",
        "max-stale=x",
        "min-fresh=3",
        "min-fresh=x",
    ];
    let others = vec![
        ("cookie", "a=b"),
        ("authorization", "x"),
        ("pragma", "no-cache"),
        ("x-a", "1"),
        ("accept", "*/*"),
    ];
    (subsequence(directives, 0..3), subsequence(others, 0..4)).prop_map(|(directives, others)| {
        // One of each name: what several values mean is shown elsewhere.
        let mut seen = Vec::new();
        let directives = directives.into_iter().filter(|directive| {
            let name = directive.split('=').next().unwrap();
            !seen.contains(&name) && {
                seen.push(name);
                true
            }
        });
        let directives: Vec<_> =
            directives.map(|directive| ("cache-control", directive.to_owned())).collect();
        directives
            .into_iter()
            .chain(others.into_iter().map(|(name, value)| (name, value.to_owned())))
            .collect()
    })
}

/// Exchanges of every kind.
pub(super) fn heads() -> impl Strategy<Value = Heads> {
    let members: Vec<_> = MEMBERS.iter().map(|(said, ..)| *said).collect();
    let status = select(vec![200u16, 200, 200, 203, 204, 299, 301, 302, 404, 410, 500, 501, 503, 599]);
    let members = proptest::collection::vec(select(members), 0..4);
    ((asks(), status, members, any::<bool>()), said(), (0u64..3, asks(), 0u64..40)).prop_map(
        |((asked, status, members, lines), said, (delay, asks, after))| Heads {
            // What was asked for first only matters in what it forbids.
            asked: asked.into_iter().filter(|(_, value)| !value.contains("stale")).collect(),
            status,
            members,
            lines,
            said,
            delay,
            asks,
            after,
        },
    )
}
