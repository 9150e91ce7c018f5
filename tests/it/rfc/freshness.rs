//! How long a reply is fresh (RFC 9111 4.2, 4.2.1, 4.2.2, 5.2.2, 5.3; RFC 9213).

use super::{Case, Table, case, refetched, reused, tables, validated};

tables!(
    precedence,
    delta_seconds,
    conflicts,
    expires,
    dates,
    heuristics,
    targeted,
    targets_of_ones_own,
    policy_lifetimes,
    kept_past_freshness
);

/// RFC 9111 4.2.1: which of several lifetimes counts.
fn precedence() -> Table {
    const RULE: &str = "RFC 9111 4.2.1";
    Table::of(vec![
        reused(RULE, "s-maxage comes before max-age", &["Cache-Control: max-age=0, s-maxage=60"]),
        refetched(RULE, "and also where it is less", &["Cache-Control: s-maxage=0, max-age=60"]),
        reused(RULE, "s-maxage comes before Expires", &["Cache-Control: s-maxage=60", "Expires: {-60}"]),
        reused(
            "RFC 9111 5.3",
            "max-age comes before Expires",
            &["Cache-Control: max-age=60", "Expires: {-60}"],
        ),
        reused("RFC 9111 5.3", "also before an invalid one", &["Cache-Control: max-age=60", "Expires: 0"]),
        refetched(
            "RFC 9111 5.3",
            "also where Expires is later",
            &["Cache-Control: max-age=0", "Expires: {+60}"],
        ),
        refetched(
            "RFC 9111 5.3",
            "s-maxage=0 hides Expires",
            &["Cache-Control: s-maxage=0", "Expires: {+60}"],
        ),
        reused(RULE, "over several lines", &["Cache-Control: max-age=0", "Cache-Control: s-maxage=60"]),
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
        validated(RULE, "lifetime zero: stored where it can be validated", &["Cache-Control: max-age=0"]),
        refetched(RULE, "without a validator it is of no use", &[]),
        case("RFC 9111 4.2", "fresh as long as its lifetime is more than its age")
            .says(&["Cache-Control: max-age=60"])
            .get()
            .misses()
            .pass(59)
            .get()
            .hits()
            .pass(1)
            .get()
            .misses(),
    ])
}

/// RFC 9111 1.2.2, 4.2.1: the seconds of a directive; what is not right counts as nothing left.
fn delta_seconds() -> Table {
    const RULE: &str = "RFC 9111 1.2.2";
    const ODD: &str = "RFC 9111 4.2.1";
    let control = |value: &str| format!("Cache-Control: {value}");
    let fresh = |rule, value: &str| reused(rule, value, &[&control(value)]);
    let stale = |value: &str| validated(ODD, value, &[&control(value)]);
    let mut cases: Vec<Case> = [
        "max-age=3600",
        "max-age=003600",
        "max-age=2147483647",
        "max-age=2147483648",
        "max-age=4294967297",
        "max-age=99999999999",
        "max-age=18446744073709551617",
        "max-age=99999999999999999999999999999999999999",
        "s-maxage=99999999999",
    ]
    .map(|value| fresh(RULE, value))
    .into();
    cases.extend(
        [
            "max-age=3600",
            "MAX-AGE=3600",
            "mAx-AgE=3600",
            "S-MaxAge=3600",
            "max-age=\"3600\"",
            "s-maxage=\"3600\"",
            "max-age=3600,",
            ",max-age=3600",
            ", ,\tmax-age=3600\t,,",
            "public,max-age=3600",
            "foo, max-age=3600",
            "foo=bar, max-age=3600, baz=\"q\"",
            "foo=\"max-age=0\", max-age=3600",
            "foo=\"a, max-age=0\", max-age=3600",
            "foo=\"\\\"max-age=0, \", max-age=3600",
            "max-age=3600, max-agex=0",
            "max-age=3600, x-max-age=0",
            "max-age=3600, max-age=3600",
            "max-age=3600, xs-maxage=0",
        ]
        .map(|value| fresh("RFC 9111 5.2", value)),
    );
    cases.extend(
        [
            "max-age",
            "max-age=",
            "max-age=\"\"",
            "max-age=-3600",
            "max-age=+3600",
            "max-age=3600.0",
            "max-age=3600.5",
            "max-age=.5",
            "max-age=3600s",
            "max-age=a3600",
            "max-age=3600a",
            "max-age=0x3600",
            "max-age=3e3",
            "max-age='3600'",
            "max-age=\"3600",
            "max-age=3600\"",
            "max-age =3600",
            "max-age= 3600",
            "max-age = 3600",
            "max-age=36 00",
            "max-age=3600; foo",
            "max-age:3600",
            "max-age=3600=",
            "max-age==3600",
            "max-age=[3600]",
            "s-maxage=-1, max-age=3600",
            "s-maxage=1.5, max-age=3600",
            "s-maxage, max-age=3600",
        ]
        .map(stale),
    );
    cases.push(validated(
        ODD,
        "an invalid max-age hides Expires",
        &["Cache-Control: max-age=a", "Expires: {+60}"],
    ));
    cases.push(validated(
        ODD,
        "and forbids a guess",
        &["Cache-Control: max-age=a", "Last-Modified: {-1000}"],
    ));
    cases.push(reused(
        ODD,
        "foo=\"max-age=60\" is no lifetime",
        &["Cache-Control: foo=\"max-age=0\"", "Expires: {+60}"],
    ));
    Table::of(cases)
}

/// RFC 9111 4.2.1: several values and directives that contradict each other.
fn conflicts() -> Table {
    const RULE: &str = "RFC 9111 4.2.1";
    Table::of(vec![
        validated(RULE, "two values of max-age", &["Cache-Control: max-age=60, max-age=70"]),
        validated(RULE, "over two lines", &["Cache-Control: max-age=60", "Cache-Control: max-age=0"]),
        validated(RULE, "one of them invalid", &["Cache-Control: max-age=60, max-age=a"]),
        validated(RULE, "two values of s-maxage", &["Cache-Control: s-maxage=60, s-maxage=5"]),
        reused(RULE, "one value twice", &["Cache-Control: max-age=60", "Cache-Control: max-age=060"]),
        validated(RULE, "two values of Expires", &["Expires: {+60}", "Expires: {+70}"]),
        reused(RULE, "one value of Expires twice", &["Expires: {+60}", "Expires: {+60}"]),
        validated(RULE, "a list in Expires", &["Expires: {+60}, {+60}"]),
        validated(RULE, "max-age and no-cache", &["Cache-Control: max-age=60, no-cache"]),
        refetched(RULE, "public and private", &["Cache-Control: max-age=60, public, private"]),
        refetched(RULE, "public and no-store", &["Cache-Control: max-age=60, public, no-store"]),
        refetched(
            "RFC 9111 4.2.1",
            "a semicolon hides no restriction",
            &["Cache-Control: private; max-age=60"],
        ),
    ])
}

/// RFC 9111 5.3, 4.2; RFC 9110 5.6.7: `Expires`.
fn expires() -> Table {
    const RULE: &str = "RFC 9111 5.3";
    const FORMS: &str = "RFC 9110 5.6.7";
    const CASE: &str = "RFC 9111 4.2";
    let expires = |value: &str| format!("Expires: {value}");
    let fresh = |rule, value: &str| reused(rule, value, &[&expires(value)]);
    let stale = |rule, value: &str| validated(rule, value, &[&expires(value)]);
    // The clock stands on Fri, 15 Jan 2027, 08:00:00 GMT.
    let mut cases = vec![
        fresh(RULE, "{+60}"),
        stale(RULE, "{+0}"),
        stale(RULE, "{-60}"),
        case(RULE, "until its second, and no longer")
            .says(&["Expires: {+60}"])
            .get()
            .misses()
            .pass(59)
            .get()
            .hits()
            .pass(1)
            .get()
            .misses(),
    ];
    cases.extend(
        ["0", "-1", "1", "", "now", "never", "2100-01-01T00:00:00Z", "4102444800"]
            .map(|value| stale(RULE, value)),
    );
    cases.extend(
        [
            "Fri, 01 Jan 2100 00:00:00 GMT",
            "Friday, 01-Jan-27 23:00:00 GMT",
            "Friday, 15-Jan-27 23:00:00 GMT",
            "Fri Jan  1 00:00:00 2100",
            "Fri Jan 15 23:00:00 2027",
        ]
        .map(|value| if value.contains("01-Jan-27") { stale(FORMS, value) } else { fresh(FORMS, value) }),
    );
    cases.extend(
        [
            "fri, 01 jan 2100 00:00:00 gmt",
            "FRI, 01 JAN 2100 00:00:00 GMT",
            "friday, 15-jan-27 23:00:00 gmt",
            "fri jan  1 00:00:00 2100",
        ]
        .map(|value| fresh(CASE, value)),
    );
    cases.extend(
        [
            "Fri, 01 Jan 2100 00:00:00 UTC",
            "Fri, 01 Jan 2100 00:00:00 EST",
            "Fri, 01 Jan 2100 00:00:00 AEST",
            "Fri, 01 Jan 2100 00:00:00 +0000",
            "Fri, 01 Jan 2100 00:00:00",
            "Fri Jan  1 00:00:00 2100 GMT",
        ]
        .map(|value| stale(CASE, value)),
    );
    cases.extend(
        [
            "Mon, 01 Jan 2100 00:00:00 GMT",
            "01 Jan 2100 00:00:00 GMT",
            "Fri 01 Jan 2100 00:00:00 GMT",
            "Fri, 01 Jan 2100 00:00 GMT",
            "Fri, 1 Jan 2100 00:00:00 GMT",
            "Fri, 01 January 2100 00:00:00 GMT",
            "Fri, 01  Jan 2100 00:00:00 GMT",
            "Fri, 01-Jan-2100 00:00:00 GMT",
            "Fri, 01 Jan 2100 0:00:00 GMT",
            "Fri, 01 Jan 2100 00.00.00 GMT",
            "Fri, 01 Jan 2100 24:00:00 GMT",
            "Fri, 01 Jan 2100 00:00:61 GMT",
            "Fri, 32 Jan 2100 00:00:00 GMT",
            "Fri, 30 Feb 2100 00:00:00 GMT",
            "Fri, 01 Xan 2100 00:00:00 GMT",
            "Fri, 01 Jan 00 00:00:00 GMT",
            "Fri, 01 Jan 2100 00:00:00 GMT foo",
            "foo Fri, 01 Jan 2100 00:00:00 GMT",
            "Friday, 15-Jan-2027 23:00:00 GMT",
        ]
        .map(|value| stale(RULE, value)),
    );
    // More than 50 years ahead is the past (RFC 9110 5.6.7); in 1978 that was a Sunday.
    cases.push(stale(FORMS, "Sunday, 01-Jan-78 00:00:00 GMT"));
    cases.push(fresh(FORMS, "Wednesday, 01-Jan-76 00:00:00 GMT"));
    cases.push(validated(
        RULE,
        "an invalid Expires forbids a guess",
        &["Expires: 0", "Last-Modified: {-1000}"],
    ));
    Table::of(cases)
}

/// RFC 9110 6.6.1, RFC 9111 4.2.3: `Date` that is not there, not right or not yet.
fn dates() -> Table {
    const RULE: &str = "RFC 9111 4.2.3";
    Table::of(vec![
        case(RULE, "an old Date is an age")
            .says(&["Cache-Control: max-age=60", "Date: {-50}"])
            .get()
            .misses()
            .pass(9)
            .get()
            .hits()
            .field("age", "59")
            .pass(1)
            .get()
            .misses(),
        validated(RULE, "older than its lifetime", &["Cache-Control: max-age=60", "Date: {-61}"]),
        case(RULE, "a Date to come makes no negative age and no longer life")
            .says(&["Cache-Control: max-age=60", "Date: {+600}"])
            .get()
            .misses()
            .get()
            .hits()
            .field("age", "0")
            .pass(60)
            .get()
            .misses(),
        case(RULE, "Expires counts from a Date to come")
            .says(&["Expires: {+660}", "Date: {+600}"])
            .get()
            .misses()
            .pass(59)
            .get()
            .hits()
            .pass(1)
            .get()
            .misses(),
        validated(RULE, "Expires before a Date to come", &["Expires: {+60}", "Date: {+600}"]),
        case(RULE, "an invalid Date counts as the time it came")
            .says(&["Expires: {+60}", "Date: yesterday"])
            .get()
            .misses()
            .pass(59)
            .get()
            .hits()
            .field("age", "59")
            .pass(1)
            .get()
            .misses(),
        case("RFC 9110 6.6.1", "so does a missing one")
            .says(&["Expires: {+60}"])
            .get()
            .misses()
            .pass(59)
            .get()
            .hits()
            .pass(1)
            .get()
            .misses(),
    ])
}

/// RFC 9111 4.2.2: a tenth of the time since `Last-Modified`.
fn heuristics() -> Table {
    const RULE: &str = "RFC 9111 4.2.2";
    Table::of(vec![
        case(RULE, "a tenth of the time since it changed")
            .says(&["Last-Modified: {-1000}"])
            .get()
            .misses()
            .pass(99)
            .get()
            .hits()
            .field("age", "99")
            .pass(1)
            .get()
            .misses(),
        case(RULE, "measured from Date")
            .says(&["Last-Modified: {-1100}", "Date: {-100}"])
            .get()
            .misses()
            .get()
            .validates(),
        validated(RULE, "changed just now", &["Last-Modified: {+0}"]),
        validated(RULE, "changed in the future", &["Last-Modified: {+1000}"]),
        validated(RULE, "not a date", &["Last-Modified: long ago"]),
        validated(RULE, "explicit lifetime zero", &["Last-Modified: {-1000}", "Cache-Control: max-age=0"]),
        validated(RULE, "explicit Expires", &["Last-Modified: {-1000}", "Expires: {-10}"]),
        validated(RULE, "no-cache", &["Last-Modified: {-1000}", "Cache-Control: no-cache"]),
        refetched(RULE, "no-store", &["Last-Modified: {-1000}", "Cache-Control: no-store"]),
        reused(
            RULE,
            "must-revalidate forbids no guess",
            &["Last-Modified: {-1000}", "Cache-Control: must-revalidate"],
        ),
        case(RULE, "not for more than a day")
            .says(&["Last-Modified: {-100000000}"])
            .get()
            .misses()
            .pass(86_399)
            .get()
            .hits()
            .pass(1)
            .get()
            .misses(),
    ])
}

/// RFC 9213: `CDN-Cache-Control`.
fn targeted() -> Table {
    const FIRST: &str = "RFC 9213 2.2";
    const FORM: &str = "RFC 9213 2.1";
    let cdn = |value: &str| format!("CDN-Cache-Control: {value}");
    let over =
        |value: &str| validated(FORM, format!("{value} holds"), &[&cdn(value), "Cache-Control: max-age=60"]);
    let under = |value: &str| {
        reused(FORM, format!("{value} is ignored"), &[&cdn(value), "Cache-Control: max-age=60"])
    };
    let holds = |value: &str| {
        reused(FORM, format!("{value} is a lifetime"), &[&cdn(value), "Cache-Control: max-age=0"])
    };
    let mut cases = vec![
        reused(
            FIRST,
            "it comes before Cache-Control",
            &["CDN-Cache-Control: max-age=60", "Cache-Control: max-age=0"],
        ),
        validated(
            FIRST,
            "also where it is less",
            &["CDN-Cache-Control: max-age=0", "Cache-Control: max-age=60"],
        ),
        reused(FIRST, "before no-store", &["CDN-Cache-Control: max-age=60", "Cache-Control: no-store"]),
        reused(FIRST, "before private", &["CDN-Cache-Control: max-age=60", "Cache-Control: private"]),
        reused(FIRST, "before no-cache", &["CDN-Cache-Control: max-age=60", "Cache-Control: no-cache"]),
        reused(FIRST, "before s-maxage", &["CDN-Cache-Control: max-age=60", "Cache-Control: s-maxage=0"]),
        reused(FIRST, "before Expires", &["CDN-Cache-Control: max-age=60", "Expires: 0"]),
        validated(FIRST, "Expires is ignored", &["CDN-Cache-Control: must-revalidate", "Expires: {+60}"]),
        validated(
            FIRST,
            "max-age is ignored",
            &["CDN-Cache-Control: must-revalidate", "Cache-Control: max-age=60"],
        ),
        validated(
            FIRST,
            "and not replaced by a guess",
            &["CDN-Cache-Control: must-revalidate", "Expires: {+60}", "Last-Modified: {-1000}"],
        ),
        reused(
            FIRST,
            "a guess stands where nobody gives a lifetime",
            &["CDN-Cache-Control: public", "Last-Modified: {-1000}"],
        ),
        refetched(FIRST, "no-store in it", &["CDN-Cache-Control: no-store", "Cache-Control: max-age=60"]),
        refetched(
            FIRST,
            "private in it",
            &["CDN-Cache-Control: private, max-age=60", "Cache-Control: max-age=60"],
        ),
        validated(
            FIRST,
            "no-cache in it",
            &["CDN-Cache-Control: no-cache, max-age=60", "Cache-Control: max-age=60"],
        ),
        reused(FIRST, "s-maxage comes first in it too", &["CDN-Cache-Control: s-maxage=60, max-age=0"]),
        case("RFC 9213 3.1", "it goes on to the client, on a hit too")
            .says(&["CDN-Cache-Control: max-age=60", "Cache-Control: max-age=0"])
            .get()
            .misses()
            .field("cdn-cache-control", "max-age=60")
            .get()
            .hits()
            .field("cdn-cache-control", "max-age=60"),
        case("RFC 9111 3.5", "it may share what credentials got")
            .says(&["CDN-Cache-Control: public, max-age=60"])
            .get_with(&["Authorization: x"])
            .misses()
            .get()
            .hits(),
        case("RFC 9111 3.5", "and withdraws what Cache-Control would share")
            .says(&["CDN-Cache-Control: max-age=60", "Cache-Control: public"])
            .get_with(&["Authorization: x"])
            .misses()
            .get()
            .misses(),
    ];
    cases.extend(
        [
            "max-age=60",
            "max-age=60;foo",
            "max-age=60;foo=bar;a=1.5",
            "foo, max-age=60",
            "foo=\"a, b\", max-age=60",
            "foo=(a b), max-age=60",
            "foo=@60, bar=%\"x\", max-age=60",
            "max-age=0, max-age=60",
            "max-age=60, no-store=?0",
            "max-age=000060",
            "max-age=999999999999999",
        ]
        .map(holds),
    );
    cases.extend(
        [
            "max-age=60.0",
            "max-age=60.5",
            "max-age=\"60\"",
            "max-age=a60",
            "max-age=-60",
            "max-age",
            "max-age=?1",
            "max-age=(60)",
            "max-age=:AAAA:",
            "max-age=60, max-age=0",
            "foo",
            "max-agex=60",
        ]
        .map(over),
    );
    cases.extend(
        [
            "",
            " ",
            "max-age=",
            "max-age=0,",
            ",max-age=0",
            "MAX-AGE=0",
            "max-age=0, &",
            "max-age=0; A",
            "max-age =0",
            "max-age= 0",
            "max-age=0 no-store",
            "no-store; max-age=0; ?",
            "max-age=\"0",
            "no-store, No-Cache",
            "max-age=1000000000000000",
            "max-age=+0",
            "max-age='0'",
        ]
        .map(under),
    );
    cases.push(reused(
        FORM,
        "several lines are one dictionary",
        &["CDN-Cache-Control: foo", "CDN-Cache-Control: max-age=60"],
    ));
    cases.push(reused(
        FORM,
        "one broken line spoils them all",
        &["CDN-Cache-Control: no-store", "CDN-Cache-Control: &", "Cache-Control: max-age=60"],
    ));
    cases.push(reused(
        FIRST,
        "another target is not ours",
        &["Other-Cache-Control: no-store", "Cache-Control: max-age=60"],
    ));
    Table::of(cases)
}

/// RFC 9213 2.2: a target list of the route's own.
fn targets_of_ones_own() -> Table {
    const RULE: &str = "RFC 9213 2.2";
    Table::under(
        "{ targets = [\"Stone-Cache-Control\", \"CDN-Cache-Control\"] }",
        vec![
            reused(
                RULE,
                "the first that is there",
                &["Stone-Cache-Control: max-age=60", "CDN-Cache-Control: no-store"],
            ),
            refetched(
                RULE,
                "in the list's order",
                &["CDN-Cache-Control: max-age=60", "Stone-Cache-Control: no-store"],
            ),
            reused(
                RULE,
                "an invalid one is passed over",
                &["Stone-Cache-Control: no-store,", "CDN-Cache-Control: max-age=60"],
            ),
            reused(
                RULE,
                "and an empty one",
                &["Stone-Cache-Control:", "CDN-Cache-Control: max-age=60", "Cache-Control: no-store"],
            ),
            reused(
                RULE,
                "and then Cache-Control",
                &["Stone-Cache-Control: &", "CDN-Cache-Control: &", "Cache-Control: max-age=60"],
            ),
        ],
    )
}

/// Where the origin says nothing, a policy's TTL holds, carefully.
fn policy_lifetimes() -> Table {
    const RULE: &str = "RFC 9111 4.2.2";
    Table::under(
        "\"60s\"",
        vec![
            reused(RULE, "no word of the origin", &[]),
            validated(RULE, "the origin's word comes first", &["Cache-Control: max-age=0"]),
            validated(RULE, "and an invalid one", &["Expires: 0"]),
            refetched("RFC 9111 7.3", "Set-Cookie is not covered", &["Set-Cookie: a=1"]),
            reused(
                "RFC 9111 7.3",
                "but with the origin's lifetime it is",
                &["Set-Cookie: a=1", "Cache-Control: max-age=60"],
            ),
            refetched(RULE, "no-store", &["Cache-Control: no-store"]),
            refetched(RULE, "private", &["Cache-Control: private"]),
            validated(RULE, "no-cache", &["Cache-Control: no-cache"]),
            case(RULE, "an error is not covered").replies(503, &[]).get().misses().get().misses(),
            case("RFC 9111 3.5", "credentials are not covered")
                .says(&[])
                .get_with(&["Authorization: x"])
                .misses()
                .get()
                .misses(),
            case("RFC 9111 7.3", "a cookie is not covered")
                .says(&[])
                .get_with(&["Cookie: a=1"])
                .misses()
                .get()
                .misses()
                .get_with(&["Cookie: a=1"])
                .misses()
                .get()
                .hits(),
        ],
    )
}

/// RFC 9111 4.2.4: what is stale is kept as long as it may be of use.
fn kept_past_freshness() -> Table {
    const RULE: &str = "RFC 9111 4.2.4";
    Table::of(vec![
        case(RULE, "without a validator, for the disconnected")
            .says(&["Cache-Control: max-age=5"])
            .get()
            .misses()
            .pass(60)
            .says_nothing()
            .get()
            .body("reply 1")
            .field("age", "60"),
        case(RULE, "without a validator, for who takes it stale")
            .says(&["Cache-Control: max-age=5"])
            .get()
            .misses()
            .pass(60)
            .get_with(&["Cache-Control: max-stale"])
            .hits()
            .field("age", "60"),
        case(RULE, "with one, to be validated")
            .says(&["Cache-Control: max-age=5, must-revalidate", "ETag: \"a\""])
            .get()
            .misses()
            .pass(80_000)
            .get()
            .validates(),
        case(RULE, "but not for the disconnected where the origin forbids it")
            .says(&["Cache-Control: max-age=5, must-revalidate", "ETag: \"a\""])
            .get()
            .misses()
            .pass(60)
            .says_nothing()
            .get()
            .status(504),
    ])
}
