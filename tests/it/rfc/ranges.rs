//! Ranges and parts: RFC 9110 13.1.5, 14 and 15.3.7, RFC 9111 3.3, 3.4 and 4.3.1.

use super::{Case, Table, case, tables};

tables!(parts_are_stored, parts_are_combined, parts_are_kept_apart, parts_are_validated, ranges_of_a_whole);

const FRESH: &str = "Cache-Control: max-age=60";
const TAG: &str = "ETag: \"v1\"";

/// A part is stored, whose origin says 206 with these fields and this body.
fn part(rule: &'static str, name: &str, range: &str, fields: &[&str], body: &str) -> Case {
    let asked = format!("Range: bytes={range}");
    case(rule, name).replies(206, fields).with_body(body).get_with(&[&asked]).misses().status(206).body(body)
}

fn first_half(rule: &'static str, name: &str) -> Case {
    part(rule, name, "0-4", &[FRESH, TAG, "Content-Range: bytes 0-4/10"], "01234")
}

fn parts_are_stored() -> Table {
    const RULE: &str = "RFC 9111 3.3";
    let half = |name: &str| first_half(RULE, name);
    let again = |name: &str, range: &str, body: &str, got: &str| {
        half(name)
            .pass(1)
            .get_with(&[&format!("Range: bytes={range}")])
            .hits()
            .status(206)
            .body(body)
            .field("content-range", got)
            .field("content-length", &body.len().to_string())
            .field("age", "1")
    };
    let passed = |name: &str, range: &str| {
        half(name)
            .get_with(&[&format!("Range: bytes={range}")])
            .misses()
            .forwards("range", &format!("bytes={range}"))
    };
    Table::of(vec![
        again("the same range", "0-4", "01234", "bytes 0-4/10"),
        again("a range within", "1-2", "12", "bytes 1-2/10"),
        again("its first byte", "0-0", "0", "bytes 0-0/10"),
        again("its last byte", "4-4", "4", "bytes 4-4/10"),
        passed("a range beside it", "5-9"),
        passed("an open range", "6-"),
        passed("a suffix", "-3"),
        passed("nothing that there is", "10-"),
        passed("several, not all within", "0-1,7-8"),
        half("the end, as a suffix")
            .replies(206, &[FRESH, TAG, "Content-Range: bytes 6-9/10"])
            .with_body("6789")
            .get_with(&["Range: bytes=-4"])
            .misses()
            .get_with(&["Range: bytes=-4"])
            .hits()
            .body("6789")
            .get_with(&["Range: bytes=7-"])
            .hits()
            .body("789")
            .get_with(&["Range: bytes=-1"])
            .hits()
            .body("9")
            .field("content-range", "bytes 9-9/10"),
        part(RULE, "of unknown length", "0-4", &[FRESH, "Content-Range: bytes 0-4/*"], "01234")
            .get_with(&["Range: bytes=1-3"])
            .hits()
            .body("123")
            .field("content-range", "bytes 1-3/*")
            .get_with(&["Range: bytes=1-"])
            .misses()
            .get_with(&["Range: bytes=-1"])
            .misses(),
        part(RULE, "without a validator", "0-4", &[FRESH, "Content-Range: bytes 0-4/10"], "01234")
            .get_with(&["Range: bytes=1-3"])
            .hits()
            .body("123"),
        half("several ranges within")
            .get_with(&["Range: bytes=0-1,4-4"])
            .hits()
            .status(206)
            .lacks("content-range"),
        half("not for who wants the whole")
            .says(&[FRESH])
            .with_body("whole")
            .get()
            .misses()
            .status(200)
            .body("whole"),
        half("not for HEAD").says(&[FRESH]).asks("HEAD", &[]).misses().status(200),
        half("not for HEAD with a range").says(&[FRESH]).asks("HEAD", &["Range: bytes=0-1"]).misses(),
        half("not with an unknown unit")
            .says(&[FRESH])
            .with_body("whole")
            .get_with(&["Range: lines=0-1"])
            .misses()
            .status(200),
        half("not where only what is stored is wanted")
            .get_with(&["Cache-Control: only-if-cached"])
            .hits()
            .status(504),
        half("but its own range is, where only that is wanted")
            .get_with(&["Cache-Control: only-if-cached", "Range: bytes=0-1"])
            .hits()
            .status(206),
        part(
            RULE,
            "no-store",
            "0-4",
            &["Cache-Control: no-store, max-age=60", "Content-Range: bytes 0-4/10"],
            "01234",
        )
        .get_with(&["Range: bytes=0-4"])
        .misses(),
        part(
            RULE,
            "private",
            "0-4",
            &["Cache-Control: private, max-age=60", "Content-Range: bytes 0-4/10"],
            "01234",
        )
        .get_with(&["Range: bytes=0-4"])
        .misses(),
        part(RULE, "a body of another length", "0-4", &[FRESH, "Content-Range: bytes 0-4/10"], "0123")
            .get_with(&["Range: bytes=0-3"])
            .misses(),
        part(RULE, "no Content-Range", "0-4", &[FRESH], "01234").get_with(&["Range: bytes=0-4"]).misses(),
        part(
            "RFC 9110 15.3.7.2",
            "several parts in one body are passed on, and not stored",
            "0-0,9-9",
            &[FRESH, "Content-Type: multipart/byteranges; boundary=x", "Content-Range: bytes 0-4/10"],
            "--x--",
        )
        .get_with(&["Range: bytes=0-0,9-9"])
        .misses(),
        case(RULE, "a 206 that nobody asked for is not stored")
            .replies(206, &[FRESH, TAG, "Content-Range: bytes 0-4/10"])
            .with_body("01234")
            .get()
            .misses()
            .get_with(&["Range: bytes=0-4"])
            .misses(),
        case("RFC 9110 14.2", "a whole reply to a range is stored whole and the range cut from it")
            .says(&[FRESH])
            .with_body("0123456789")
            .get_with(&["Range: bytes=2-4"])
            .misses()
            .status(206)
            .body("234")
            .get()
            .hits()
            .body("0123456789"),
        case("RFC 9110 15.5.17", "a 416 is passed on and not stored")
            .replies(416, &[FRESH, "Content-Range: bytes */10"])
            .get_with(&["Range: bytes=10-"])
            .misses()
            .status(416)
            .field("content-range", "bytes */10")
            .says(&[FRESH])
            .get()
            .misses()
            .status(200),
        half("its fields, but not its length").get_with(&["Range: bytes=0-4"]).hits().field("etag", "\"v1\""),
        half("and is stale in the end")
            .pass(60)
            .get_with(&["Range: bytes=0-4"])
            .validates()
            .status(206)
            .body("01234"),
    ])
}

fn parts_are_combined() -> Table {
    const RULE: &str = "RFC 9111 3.4";
    let both = |name: &str| {
        first_half(RULE, name)
            .pass(5)
            .replies(206, &[FRESH, TAG, "X-New: 1", "Content-Range: bytes 5-9/10"])
            .with_body("56789")
            .get_with(&["Range: bytes=5-9"])
            .misses()
            .status(206)
    };
    Table::of(vec![
        both("over the border")
            .pass(1)
            .get_with(&["Range: bytes=3-6"])
            .hits()
            .status(206)
            .body("3456")
            .field("content-range", "bytes 3-6/10")
            .field("age", "1"),
        both("all of it is the whole")
            .get()
            .hits()
            .status(200)
            .body("0123456789")
            .field("content-length", "10")
            .lacks("content-range")
            .field("x-new", "1"),
        both("also to HEAD").asks("HEAD", &[]).hits().status(200).field("content-length", "10"),
        both("and its length is known")
            .get_with(&["Range: bytes=10-"])
            .hits()
            .status(416)
            .field("content-range", "bytes */10"),
        both("and its suffix").get_with(&["Range: bytes=-6"]).hits().body("456789"),
        both("and its tag").get_with(&["If-None-Match: \"v1\""]).hits().status(304),
        both("fresh for as long as the newer one")
            .pass(58)
            .get()
            .hits()
            .pass(2)
            .get()
            .validates()
            .body("0123456789"),
        first_half(RULE, "the rest is asked for and makes it whole")
            .replies(206, &[FRESH, TAG, "Content-Range: bytes 5-9/10"])
            .with_body("56789")
            .get()
            .misses()
            .forwards("range", "bytes=5-")
            .forwards("if-range", "\"v1\"")
            .status(200)
            .body("0123456789")
            .lacks("content-range")
            .field("content-length", "10")
            .get()
            .hits()
            .body("0123456789"),
        first_half(RULE, "what is missing of a range is asked for")
            .replies(206, &[FRESH, TAG, "Content-Range: bytes 5-7/10"])
            .with_body("567")
            .get_with(&["Range: bytes=3-7"])
            .misses()
            .forwards("range", "bytes=5-7")
            .status(206)
            .body("34567")
            .field("content-range", "bytes 3-7/10")
            .get_with(&["Range: bytes=0-7"])
            .hits()
            .body("01234567"),
        first_half(RULE, "a stale part is made whole, and fresh, by the rest")
            .pass(90)
            .replies(206, &[FRESH, TAG, "Content-Range: bytes 5-9/10"])
            .with_body("56789")
            .get()
            .misses()
            .forwards("range", "bytes=5-")
            .body("0123456789")
            .field("age", "0")
            .get()
            .hits(),
        first_half(RULE, "a changed representation comes whole in its place")
            .says(&[FRESH, "ETag: \"v2\""])
            .with_body("changed")
            .get()
            .misses()
            .forwards("if-range", "\"v1\"")
            .status(200)
            .body("changed")
            .get_with(&["Range: bytes=0-1"])
            .hits()
            .body("ch"),
        first_half(RULE, "where the origin says that the rest is not there, it is asked for the whole")
            .replies(416, &["Content-Range: bytes */5"])
            .get()
            .misses()
            .keeps_back("range")
            .keeps_back("if-range"),
        first_half(RULE, "the part before")
            .replies(206, &[FRESH, TAG, "Content-Range: bytes 0-9/10"])
            .with_body("0123456789")
            .get_with(&["Range: bytes=0-9"])
            .misses()
            .get()
            .hits()
            .body("0123456789"),
        part(
            RULE,
            "by date",
            "0-4",
            &[FRESH, "Last-Modified: {-3600}", "Content-Range: bytes 0-4/10"],
            "01234",
        )
        .replies(206, &[FRESH, "Last-Modified: {-3600}", "Content-Range: bytes 5-9/10"])
        .with_body("56789")
        .get()
        .misses()
        .forwards("if-range", "{-3600}")
        .body("0123456789"),
    ])
}

fn parts_are_kept_apart() -> Table {
    const RULE: &str = "RFC 9111 3.4";
    let second = |name: &str, first: &[&str], second: &[&str]| {
        let first = [first, &[FRESH, "Content-Range: bytes 0-4/10"]].concat();
        let second = [second, &[FRESH, "Content-Range: bytes 5-9/10"]].concat();
        part(RULE, name, "0-4", &first, "01234")
            .replies(206, &second)
            .with_body("56789")
            .get_with(&["Range: bytes=5-9"])
            .misses()
            .says(&[FRESH])
            .with_body("whole")
            .get_with(&["Range: bytes=3-6"])
            .misses()
    };
    let weak = "ETag: W/\"v1\"";
    Table::of(vec![
        second("weak tags", &[weak], &[weak]),
        second("different tags", &[TAG], &["ETag: \"v2\""]),
        second("no validators", &[], &[]),
        second("a tag and none", &[TAG], &[]),
        second("dates of this very second", &["Last-Modified: {+0}"], &["Last-Modified: {+0}"]),
        first_half(RULE, "different lengths")
            .replies(206, &[TAG, FRESH, "Content-Range: bytes 5-9/11"])
            .with_body("56789")
            .get_with(&["Range: bytes=5-9"])
            .misses()
            .get_with(&["Range: bytes=0-4"])
            .misses(),
        first_half(RULE, "a newer part ends the older one's")
            .replies(206, &[FRESH, "ETag: \"v2\"", "Content-Range: bytes 5-9/10"])
            .with_body("FGHIJ")
            .get_with(&["Range: bytes=5-9"])
            .misses()
            .get_with(&["Range: bytes=5-9"])
            .hits()
            .body("FGHIJ")
            .get_with(&["Range: bytes=0-4"])
            .misses(),
        first_half("RFC 9111 4.1", "variants")
            .pass(1)
            .replies(206, &[FRESH, TAG, "Vary: Accept", "Content-Range: bytes 5-9/10"])
            .with_body("56789")
            .get_with(&["Range: bytes=5-9", "Accept: a"])
            .misses()
            .get_with(&["Range: bytes=5-9", "Accept: b"])
            .misses()
            .get_with(&["Range: bytes=5-9", "Accept: a"])
            .hits(),
        first_half("RFC 9111 4.4", "an unsafe request ends them")
            .says(&[])
            .asks("POST", &[])
            .misses()
            .get_with(&["Range: bytes=0-4"])
            .misses(),
        first_half("RFC 9111 5.2.1.5", "no-store in the request: nothing is")
            .replies(206, &[FRESH, TAG, "Content-Range: bytes 5-9/10"])
            .with_body("56789")
            .get_with(&["Range: bytes=5-9", "Cache-Control: no-store"])
            .misses()
            .get_with(&["Range: bytes=5-9"])
            .misses(),
    ])
}

fn parts_are_validated() -> Table {
    const RULE: &str = "RFC 9111 4.3.1";
    let stale = |name: &str| first_half(RULE, name).pass(61);
    Table::of(vec![
        stale("where it has all that is wanted, with the range")
            .get_with(&["Range: bytes=1-2"])
            .validates()
            .forwards("if-none-match", "\"v1\"")
            .forwards("range", "bytes=1-2")
            .status(206)
            .body("12")
            .get_with(&["Range: bytes=0-4"])
            .hits(),
        stale("where it has not, without its tag")
            .replies(206, &[FRESH, "ETag: \"v2\"", "Content-Range: bytes 6-9/10"])
            .with_body("6789")
            .get_with(&["Range: bytes=6-9"])
            .misses()
            .keeps_back("if-none-match")
            .keeps_back("if-range"),
        stale("changed meanwhile")
            .replies(206, &[FRESH, "ETag: \"v2\"", "Content-Range: bytes 1-2/8"])
            .with_body("BC")
            .get_with(&["Range: bytes=1-2"])
            .misses()
            .status(206)
            .body("BC")
            .get_with(&["Range: bytes=1-2"])
            .hits()
            .body("BC")
            .field("content-range", "bytes 1-2/8"),
        stale("changed meanwhile, and whole")
            .says(&[FRESH, "ETag: \"v2\""])
            .with_body("changed")
            .get_with(&["Range: bytes=1-2"])
            .misses()
            .status(206)
            .body("ha")
            .get()
            .hits()
            .body("changed"),
        first_half("RFC 9111 5.2.1.4", "no-cache")
            .get_with(&["Range: bytes=1-2", "Cache-Control: no-cache"])
            .validates()
            .status(206)
            .body("12"),
        first_half("RFC 9111 4.3.2", "the client's own condition, on a range within")
            .get_with(&["Range: bytes=1-2", "If-None-Match: \"v1\""])
            .hits()
            .status(304),
        first_half("RFC 9110 13.1.5", "If-Range that holds")
            .get_with(&["Range: bytes=1-2", "If-Range: \"v1\""])
            .hits()
            .status(206),
        first_half("RFC 9110 13.1.5", "If-Range that does not wants the whole")
            .replies(206, &[FRESH, TAG, "Content-Range: bytes 5-9/10"])
            .with_body("56789")
            .get_with(&["Range: bytes=1-2", "If-Range: \"v0\""])
            .misses()
            .status(200)
            .body("0123456789"),
        first_half("RFC 9111 4.2.4", "stale on error")
            .pass(61)
            .says_nothing()
            .get_with(&["Range: bytes=1-2"])
            .status(206)
            .body("12"),
        first_half("RFC 9111 4.3.5", "HEAD with another length makes it stale")
            .says(&[TAG])
            .with_body("0123456789A")
            .asks("HEAD", &[])
            .misses()
            .get_with(&["Range: bytes=1-2"])
            .validates(),
    ])
}

fn ranges_of_a_whole() -> Table {
    const RULE: &str = "RFC 9110 14.1.2";
    let whole = |rule, name: &str| {
        let modified = "Last-Modified: {-3600}";
        case(rule, name).says(&[FRESH, TAG, modified]).with_body("0123456789").get().misses()
    };
    let range = |name: &str, range: &str, body: &str, got: &str| {
        whole(RULE, name)
            .get_with(&[&format!("Range: {range}")])
            .hits()
            .status(206)
            .body(body)
            .field("content-range", got)
            .field("content-length", &body.len().to_string())
    };
    let ignored = |rule, name: &str, fields: &[&str]| {
        whole(rule, name).get_with(fields).hits().status(200).body("0123456789").lacks("content-range")
    };
    let refused = |name: &str, range: &str| {
        whole("RFC 9110 15.5.17", name)
            .get_with(&[&format!("Range: bytes={range}")])
            .hits()
            .status(416)
            .field("content-range", "bytes */10")
    };
    Table::of(vec![
        range("first and last", "bytes=2-4", "234", "bytes 2-4/10"),
        range("open", "bytes=7-", "789", "bytes 7-9/10"),
        range("a suffix", "bytes=-3", "789", "bytes 7-9/10"),
        range("a suffix longer than it is", "bytes=-30", "0123456789", "bytes 0-9/10"),
        range("beyond its end", "bytes=8-100", "89", "bytes 8-9/10"),
        range("the unit in upper case", "BYTES=2-4", "234", "bytes 2-4/10"),
        range("one of several that exists", "bytes=2-4,20-", "234", "bytes 2-4/10"),
        range("two that overlap are one", "bytes=2-5,4-6", "23456", "bytes 2-6/10"),
        refused("behind its end", "10-"),
        refused("an empty suffix", "-0"),
        refused("none of several", "10-,20-30"),
        ignored("RFC 9110 14.2", "another unit", &["Range: lines=0-1"]),
        ignored("RFC 9110 14.1.1", "the last before the first", &["Range: bytes=4-2"]),
        ignored("RFC 9110 14.1.1", "no number", &["Range: bytes=a-b"]),
        ignored("RFC 9110 14.2", "many times the whole", &["Range: bytes=0-,0-,0-"]),
        whole("RFC 9110 14.2", "HEAD")
            .asks("HEAD", &["Range: bytes=2-4"])
            .hits()
            .status(200)
            .field("content-length", "10"),
        whole("RFC 9110 13.1.5", "If-Range with the tag")
            .get_with(&["Range: bytes=2-4", "If-Range: \"v1\""])
            .hits()
            .status(206),
        whole("RFC 9110 13.1.5", "If-Range with the date")
            .get_with(&["Range: bytes=2-4", "If-Range: {-3600}"])
            .hits()
            .status(206),
        ignored("RFC 9110 13.1.5", "If-Range with another tag", &["Range: bytes=2-4", "If-Range: \"v2\""]),
        ignored("RFC 9110 13.1.5", "If-Range with a weak tag", &["Range: bytes=2-4", "If-Range: W/\"v1\""]),
        ignored("RFC 9110 13.1.5", "If-Range with a later date", &["Range: bytes=2-4", "If-Range: {-3500}"]),
        whole("RFC 9110 13.2.2", "If-None-Match comes first")
            .get_with(&["Range: bytes=2-4", "If-None-Match: \"v1\""])
            .hits()
            .status(304),
        whole("RFC 9110 15.3.7.2", "several")
            .get_with(&["Range: bytes=0-1,8-9"])
            .hits()
            .status(206)
            .lacks("content-range"),
    ])
}
