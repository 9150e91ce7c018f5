//! `Range` and `Content-Range` (RFC 9110 14): byte ranges, read strictly and resolved against a length.

use std::fmt::Write as _;

use http::HeaderValue;

/// More ranges than this in one request are not worth the trouble: the field is ignored (RFC 9110 14.2).
const MAX_RANGES: usize = 32;

/// A satisfiable byte range of a representation; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// Offset of the first byte.
    pub first: u64,
    /// Offset of the last byte.
    pub last: u64,
}

/// A byte range as it was asked for (RFC 9110 14.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeSpec {
    /// `FIRST-LAST`; without a last one, up to the end.
    From {
        /// Offset of the first byte.
        first: u64,
        /// Offset of the last byte.
        last: Option<u64>,
    },
    /// `-LENGTH`: that many bytes at the end.
    Suffix(u64),
}

/// Asked-for ranges, resolved against a representation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// These, in the order asked for; never empty.
    Ranges(Vec<ByteRange>),
    /// None of them exists: 416.
    Unsatisfiable,
    /// Better answered whole: an empty representation's suffix, or ranges that overlap many times over.
    Whole,
}

/// A 206's `Content-Range` (RFC 9110 14.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// Which bytes it has.
    pub range: ByteRange,
    /// The length of the whole representation, where it is known.
    pub complete: Option<u64>,
}

impl ByteRange {
    /// Its length in bytes: at least one.
    pub const fn len(&self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }

    /// Never: a range has its last byte.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// `Content-Range: bytes FIRST-LAST/LENGTH`, or with `*` where the length is not known.
    pub fn content_range(&self, length: Option<u64>) -> HeaderValue {
        let mut value = String::with_capacity(40);
        let _ = match length {
            Some(length) => write!(value, "bytes {}-{}/{length}", self.first, self.last),
            None => write!(value, "bytes {}-{}/*", self.first, self.last),
        };
        HeaderValue::try_from(value).expect("digits are a valid field value")
    }
}

/// `Range: bytes=FIRST-LAST`; without a last one, up to the end.
pub fn field(first: u64, last: Option<u64>) -> HeaderValue {
    let mut value = format!("bytes={first}-");
    if let Some(last) = last {
        let _ = write!(value, "{last}");
    }
    HeaderValue::try_from(value).expect("digits are a valid field value")
}

/// The same bytes in ranges that don't overlap, each where the first of those that it is made of was (RFC 9110 15.3.7.2).
pub fn coalesced(ranges: Vec<ByteRange>) -> Vec<ByteRange> {
    let mut apart: Vec<ByteRange> = Vec::with_capacity(ranges.len());
    for mut range in ranges {
        let mut place = apart.len();
        // What it bridges becomes one with it, at the first one's place.
        while let Some(at) =
            apart.iter().position(|other| other.first <= range.last && range.first <= other.last)
        {
            let other = apart.remove(at);
            range = ByteRange { first: range.first.min(other.first), last: range.last.max(other.last) };
            place = place.min(at);
        }
        apart.insert(place.min(apart.len()), range);
    }
    apart
}

/// `Content-Range: bytes */LENGTH`, for a 416.
pub fn unsatisfied(length: u64) -> HeaderValue {
    HeaderValue::try_from(format!("bytes */{length}")).expect("digits are a valid field value")
}

/// Reads a `Range` field value; `None` if it is to be ignored: another unit, or not as the grammar says.
pub fn parse(value: &[u8]) -> Option<Vec<RangeSpec>> {
    let equals = value.iter().position(|&byte| byte == b'=')?;
    if !value[..equals].trim_ascii_start().eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let mut specs = Vec::new();
    for member in value[equals + 1..].split(|&byte| byte == b',') {
        let member = member.trim_ascii();
        if member.is_empty() {
            continue;
        }
        if specs.len() == MAX_RANGES {
            return None;
        }
        specs.push(spec(member)?);
    }
    (!specs.is_empty()).then_some(specs)
}

fn spec(member: &[u8]) -> Option<RangeSpec> {
    let dash = member.iter().position(|&byte| byte == b'-')?;
    let (first, last) = (&member[..dash], &member[dash + 1..]);
    if first.is_empty() {
        return offset(last).map(RangeSpec::Suffix);
    }
    let first = offset(first)?;
    if last.is_empty() {
        return Some(RangeSpec::From { first, last: None });
    }
    let last = offset(last)?;
    (first <= last).then_some(RangeSpec::From { first, last: Some(last) })
}

/// Digits, saturating: an offset beyond any representation is as good as any other such.
fn offset(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, byte| {
        byte.is_ascii_digit().then(|| sum.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
    })
}

/// Resolves ranges against a representation of `length` bytes.
pub fn resolve(specs: &[RangeSpec], length: u64) -> Resolved {
    if length == 0 && specs.iter().any(|spec| matches!(spec, RangeSpec::Suffix(1..))) {
        // Satisfiable (RFC 9110 14.1.2), but Content-Range cannot say it.
        return Resolved::Whole;
    }
    let ranges: Vec<ByteRange> = specs.iter().filter_map(|spec| spec.resolve(length)).collect();
    let total = ranges.iter().fold(0u64, |sum, range| sum.saturating_add(range.len()));
    if ranges.is_empty() {
        Resolved::Unsatisfiable
    } else if ranges.len() > 1 && total > length {
        // More bytes than the whole has: overlapping (RFC 9110 17.15).
        Resolved::Whole
    } else {
        Resolved::Ranges(ranges)
    }
}

impl RangeSpec {
    /// The bytes it stands for in a representation of `length` bytes; `None` if it has none of them.
    pub fn resolve(&self, length: u64) -> Option<ByteRange> {
        let end = length.checked_sub(1)?;
        match *self {
            Self::Suffix(0) => None,
            Self::Suffix(wanted) => Some(ByteRange { first: length.saturating_sub(wanted), last: end }),
            Self::From { first, .. } if first > end => None,
            Self::From { first, last } => {
                Some(ByteRange { first, last: last.map_or(end, |last| last.min(end)) })
            }
        }
    }
}

impl ContentRange {
    /// Reads `bytes FIRST-LAST/LENGTH` or `bytes FIRST-LAST/*`; `None` for anything else.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (unit, rest) = value.split_at_checked(6)?;
        if !unit.eq_ignore_ascii_case(b"bytes ") {
            return None;
        }
        let slash = rest.iter().position(|&byte| byte == b'/')?;
        let RangeSpec::From { first, last: Some(last) } = spec(&rest[..slash])? else { return None };
        let complete = match &rest[slash + 1..] {
            b"*" => None,
            digits => Some(offset(digits)?),
        };
        let valid = last < u64::MAX && complete.is_none_or(|complete| last < complete);
        valid.then_some(Self { range: ByteRange { first, last }, complete })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resolved(value: &str, length: u64) -> Option<Resolved> {
        parse(value.as_bytes()).map(|specs| resolve(&specs, length))
    }

    fn ranges(pairs: &[(u64, u64)]) -> Option<Resolved> {
        Some(Resolved::Ranges(pairs.iter().map(|&(first, last)| ByteRange { first, last }).collect()))
    }

    #[test]
    fn the_examples_of_rfc_9110_14_1_2() {
        assert_eq!(resolved("bytes=0-499", 10_000), ranges(&[(0, 499)]));
        assert_eq!(resolved("bytes=500-999", 10_000), ranges(&[(500, 999)]));
        assert_eq!(resolved("bytes=-500", 10_000), ranges(&[(9500, 9999)]));
        assert_eq!(resolved("bytes=9500-", 10_000), ranges(&[(9500, 9999)]));
        assert_eq!(resolved("bytes=0-0,-1", 10_000), ranges(&[(0, 0), (9999, 9999)]));
        assert_eq!(resolved("bytes= 0-0, -1 ,", 10_000), ranges(&[(0, 0), (9999, 9999)]));
        assert_eq!(resolved("Bytes=500-600,601-999", 10_000), ranges(&[(500, 600), (601, 999)]));
    }

    #[test]
    fn ends_are_clamped_and_what_is_beyond_is_unsatisfiable() {
        assert_eq!(resolved("bytes=0-", 5), ranges(&[(0, 4)]));
        assert_eq!(resolved("bytes=2-99", 5), ranges(&[(2, 4)]));
        assert_eq!(resolved("bytes=-99", 5), ranges(&[(0, 4)]));
        assert_eq!(resolved("bytes=1-2,7-8", 5), ranges(&[(1, 2)]));
        assert_eq!(resolved("bytes=0-99999999999999999999999", 5), ranges(&[(0, 4)]));
        for value in ["bytes=5-", "bytes=5-9", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(resolved(value, 5), Some(Resolved::Unsatisfiable), "{value}");
        }
        assert_eq!(resolved("bytes=0-", 0), Some(Resolved::Unsatisfiable));
        assert_eq!(resolved("bytes=-1", 0), Some(Resolved::Whole));
    }

    #[test]
    fn invalid_or_abusive_ranges_are_ignored() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=a-b",
            "bytes=2-1",
            "bytes=1",
            "bytes=-",
            "lines=1-2",
            "bytes=1-2-3",
            "bytes=--1",
            "bytes 0-1",
            "bytes=0 -1",
            "bytes=+1-2",
        ] {
            assert_eq!(resolved(value, 10), None, "{value}");
        }
        assert_eq!(resolved(&format!("bytes={}", "0-0,".repeat(33)), 10), None);
        assert_eq!(resolved("bytes=0-,0-,0-", 10), Some(Resolved::Whole));
    }

    #[test]
    fn content_range_is_read_and_written() {
        let range = ByteRange { first: 2, last: 4 };
        assert_eq!(range.content_range(Some(10)), "bytes 2-4/10");
        assert_eq!(range.content_range(None), "bytes 2-4/*");
        assert_eq!(
            (field(2, Some(4)), field(2, None)),
            ("bytes=2-4".parse().unwrap(), "bytes=2-".parse().unwrap())
        );
        assert_eq!(ContentRange::parse(b"bytes 2-4/10"), Some(ContentRange { range, complete: Some(10) }));
        assert_eq!(ContentRange::parse(b"bytes 2-4/*"), Some(ContentRange { range, complete: None }));
        for value in [
            "bytes */10",
            "bytes 4-2/10",
            "bytes 2-4/4",
            "bytes 2-4",
            "bytes 2-/10",
            "bytes -2/10",
            "items 2-4/10",
        ] {
            assert_eq!(ContentRange::parse(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn overlapping_ranges_become_one_at_the_first_one_s_place() {
        let apart = |pairs: &[(u64, u64)]| {
            let ranges = pairs.iter().map(|&(first, last)| ByteRange { first, last }).collect();
            coalesced(ranges).iter().map(|range| (range.first, range.last)).collect::<Vec<_>>()
        };
        assert_eq!(apart(&[(5, 6), (0, 1)]), [(5, 6), (0, 1)]);
        assert_eq!(apart(&[(0, 4), (5, 9)]), [(0, 4), (5, 9)]);
        assert_eq!(apart(&[(0, 4), (8, 9), (4, 6)]), [(0, 6), (8, 9)]);
        assert_eq!(apart(&[(8, 9), (0, 1), (1, 8)]), [(0, 9)]);
        assert_eq!(apart(&[(3, 4), (0, 1), (6, 7), (1, 6)]), [(0, 7)]);
    }

    proptest! {
        #[test]
        fn ranges_lie_within(value in "bytes=([0-9]{0,4}-[0-9]{0,4},){0,5}", length in 0u64..5000) {
            if let Some(Resolved::Ranges(ranges)) = resolved(&value, length) {
                prop_assert!(!ranges.is_empty());
                prop_assert!(ranges.iter().all(|range| range.first <= range.last && range.last < length));
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), length: u64) {
            ContentRange::parse(&bytes);
            let mut value = b"bytes=".to_vec();
            value.extend(&bytes);
            if let Some(specs) = parse(&value) {
                resolve(&specs, length);
            }
        }
    }
}
