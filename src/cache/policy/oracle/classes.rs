//! Where the two policies differ, and who is right.

use super::Heads;

/// Where the two differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Spelling,
    OpenText,
    Qualified,
    Seconds,
    Conflict,
    Understanding,
    ProxyRevalidate,
    SharedStale,
    NoCacheStale,
    Immutable,
    Targeted,
    Status,
    VaryStar,
    SetCookie,
    Cookie,
    ResponsePragma,
    RequestPragma,
    AgeForms,
    ApparentAge,
    Delay,
    DateForms,
    SeveralExpires,
    Guess,
    MaxStale,
    RequestSeconds,
    WhileRevalidate,
}

/// Each class: the section, what we do and what the other does, and who is right.
pub(super) const CLASSES: &[(Class, &str, &str)] = &[
    (
        Class::Spelling,
        "RFC 9111 5.2",
        "directives have any case, and quoted strings may hold commas and directive names; it splits at every comma and \
         compares exactly. Ours is right.",
    ),
    (
        Class::OpenText,
        "RFC 9111 4.2.1",
        "text that is no directive (`private; max-age=60`) restricts by the words in it; it ignores it. Both may: ours \
         is the careful answer.",
    ),
    (
        Class::Qualified,
        "RFC 9111 5.2.2.4, 5.2.2.7",
        "no-cache and private that name fields withhold these; it takes them for the plain ones. Both may.",
    ),
    (
        Class::Seconds,
        "RFC 9111 1.2.2, 4.2.1",
        "what is too large counts as 2^31, what is no number as zero; it takes a sign and spaces, reads what overflows as \
         zero, has no bound below 2^64, and ignores a lifetime without a value. Ours is right.",
    ),
    (
        Class::Conflict,
        "RFC 9111 4.2.1",
        "two different values make the reply stale; it takes the first and adds must-revalidate. Both may.",
    ),
    (
        Class::Understanding,
        "RFC 9111 5.2.2.3",
        "must-understand sets no-store aside for statuses that are known; it does not know the directive (RFC 7234). Ours \
         is right.",
    ),
    (
        Class::ProxyRevalidate,
        "RFC 9111 5.2.2.8",
        "it forbids stale replies; the other calls them stale at once. Ours is right.",
    ),
    (
        Class::SharedStale,
        "RFC 9111 5.2.2.10",
        "s-maxage forbids stale replies too, whatever max-stale says; it allows them. Ours is right.",
    ),
    (
        Class::NoCacheStale,
        "RFC 9111 5.2.2.4",
        "no-cache forbids every reuse without validation; it takes it for stale and lets max-stale lift that. Ours is right.",
    ),
    (Class::Immutable, "RFC 8246 2", "immutable gives no lifetime; it takes it for a day. Ours is right."),
    (
        Class::Targeted,
        "RFC 9213 2.2",
        "CDN-Cache-Control replaces Cache-Control and Expires; it does not know it. Ours is right.",
    ),
    (
        Class::Status,
        "RFC 9111 3",
        "any final status may be stored with explicit freshness or public; it keeps to a list. Both may: ours takes what \
         is allowed.",
    ),
    (
        Class::VaryStar,
        "RFC 9111 4.1",
        "Vary: * never matches, so it is not stored; it stores it and validates always. Both may.",
    ),
    (
        Class::SetCookie,
        "RFC 9111 7.3",
        "Set-Cookie does not hinder explicit freshness, but a guess is not even stored; it wants public for either. Both \
         may.",
    ),
    (
        Class::Cookie,
        "RFC 9111 4.2.2",
        "a guess is neither stored nor reused for requests with Cookie (a caution of ours); it has none. Both may.",
    ),
    (
        Class::ResponsePragma,
        "RFC 9111 5.4",
        "Pragma in a reply only forbids a guess; it takes it for no-cache where Cache-Control is missing. Ours is right \
         in explicit lifetimes, careful in guesses.",
    ),
    (
        Class::RequestPragma,
        "RFC 9111 5.4",
        "Pragma in a request counts only without Cache-Control; it always counts it. Ours is right.",
    ),
    (
        Class::AgeForms,
        "RFC 9111 5.1",
        "the first member of Age counts, a sign makes it invalid, too much is 2^31; it takes a sign and ignores lists and \
         what overflows. Ours is right.",
    ),
    (
        Class::ApparentAge,
        "RFC 9111 4.2.3",
        "the time since Date is an age as well; it goes by Age alone. Ours is right.",
    ),
    (
        Class::Delay,
        "RFC 9111 4.2.3",
        "the reply's delay belongs to its age; it is not told when the request began. Ours is right.",
    ),
    (
        Class::DateForms,
        "RFC 9110 5.6.7, RFC 9111 4.2",
        "three forms of dates in any case, with GMT and nothing else; it reads those of mail, with their zones. Ours is \
         right.",
    ),
    (
        Class::SeveralExpires,
        "RFC 9111 4.2.1",
        "two different values of Expires make the reply stale; it takes the first. Both may.",
    ),
    (Class::Guess, "RFC 9111 4.2.2", "a guess is never for more than a day; it has no bound. Both may."),
    (
        Class::MaxStale,
        "RFC 9111 5.2.1.2",
        "stale by no more than so many seconds is allowed; it wants less than that, and takes an invalid number for none. \
         Ours is right.",
    ),
    (
        Class::RequestSeconds,
        "RFC 9111 5.2.1.1",
        "max-age=0 is never answered within the second either, and invalid numbers ask for the most; it answers, and \
         ignores them. Both may: ours is the careful answer.",
    ),
    (
        Class::WhileRevalidate,
        "RFC 5861 3",
        "stale-while-revalidate allows stale replies; it does not know it. Ours is right.",
    ),
];

/// A case for each class in which the two differ, and in nothing else.
pub(super) fn example(class: Class) -> Heads {
    let plain = Heads { status: 200, ..Heads::default() };
    let with = |members: &[&'static str]| Heads { members: members.to_vec(), ..plain.clone() };
    let saying = |fields: &[(&'static str, &str)], members: &[&'static str]| Heads {
        said: fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
        ..with(members)
    };
    let asking = |fields: &[(&'static str, &str)], heads: Heads| Heads {
        asks: fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
        ..heads
    };
    let modified = ("last-modified", "Fri, 15 Jan 2027 07:43:20 GMT");
    match class {
        Class::Spelling => with(&["MAX-AGE=10"]),
        Class::OpenText => with(&["private; max-age=10"]),
        Class::Qualified => with(&["max-age=10", "private=\"x-b, x-c\""]),
        Class::Seconds => with(&["max-age=+10"]),
        Class::Conflict => with(&["max-age=10", "max-age=100"]),
        Class::Understanding => with(&["must-understand", "no-store", "max-age=10"]),
        Class::ProxyRevalidate => with(&["max-age=10", "proxy-revalidate"]),
        Class::SharedStale => {
            Heads { after: 22, ..asking(&[("cache-control", "max-stale")], with(&["s-maxage=20"])) }
        }
        Class::NoCacheStale => asking(&[("cache-control", "max-stale")], with(&["max-age=10", "no-cache"])),
        Class::Immutable => with(&["immutable"]),
        Class::Targeted => saying(&[("cdn-cache-control", "no-store")], &["max-age=10"]),
        Class::Status => Heads { status: 599, ..with(&["max-age=10"]) },
        Class::VaryStar => saying(&[("vary", "*")], &["max-age=10"]),
        Class::SetCookie => saying(&[("set-cookie", "a=b")], &["max-age=10"]),
        Class::Cookie => asking(&[("cookie", "a=b")], saying(&[modified], &[])),
        Class::ResponsePragma => {
            saying(&[("pragma", "no-cache"), ("expires", "Fri, 15 Jan 2027 08:01:00 GMT")], &[])
        }
        Class::RequestPragma => {
            asking(&[("pragma", "no-cache"), ("cache-control", "max-age=5")], with(&["max-age=10"]))
        }
        Class::AgeForms => saying(&[("age", "4, 90")], &["max-age=10"]),
        Class::ApparentAge => saying(&[("date", "Fri, 15 Jan 2027 07:59:57 GMT")], &["max-age=10"]),
        Class::Delay => Heads { delay: 2, ..with(&["max-age=10"]) },
        Class::DateForms => saying(&[("expires", "Friday, 15-Jan-27 08:01:00 GMT")], &[]),
        Class::SeveralExpires => saying(
            &[("expires", "Fri, 15 Jan 2027 08:01:00 GMT"), ("expires", "Fri, 15 Jan 2027 08:00:12 GMT")],
            &[],
        ),
        Class::Guess => saying(&[("last-modified", "Sat, 01 Jan 2000 00:00:00 GMT")], &[]),
        Class::MaxStale => {
            Heads { after: 17, ..asking(&[("cache-control", "max-stale=7")], with(&["max-age=10"])) }
        }
        Class::RequestSeconds => asking(&[("cache-control", "max-age=0")], with(&["max-age=10"])),
        Class::WhileRevalidate => Heads { after: 12, ..with(&["max-age=10", "stale-while-revalidate=15"]) },
    }
}
