//! `Age` (RFC 9111 5.1) and the seconds that it and cache directives are written in (1.2.2).

use http::HeaderMap;
use http::header::AGE;

/// What every larger number of seconds counts as (RFC 9111 1.2.2).
pub const MAX_SECONDS: u64 = 1 << 31;

/// Reads `delta-seconds`: digits only; what is larger than [`MAX_SECONDS`] counts as that. `None` for a sign,
/// a fraction, nothing at all or anything else.
pub fn delta_seconds(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |sum, byte| {
        byte.is_ascii_digit().then(|| (sum * 10 + u64::from(byte - b'0')).min(MAX_SECONDS))
    })
}

/// A response's `Age`. Of several the first counts; an invalid one is ignored (RFC 9111 5.1).
pub fn of(headers: &HeaderMap) -> Option<u64> {
    let first = headers.get(AGE)?.as_bytes().split(|&byte| byte == b',').next()?;
    delta_seconds(first.trim_ascii())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn age(lines: &[&str]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(AGE, line.parse().unwrap());
        }
        of(&headers)
    }

    #[test]
    fn rfc_9111_5_1_first_member_invalid_ignored() {
        let cases: [(&[&str], Option<u64>); 12] = [
            (&[], None),
            (&["0"], Some(0)),
            (&["30"], Some(30)),
            (&["30, 20"], Some(30)),
            (&["30", "abc"], Some(30)),
            (&["abc", "30"], None),
            (&["-30"], None),
            (&["+30"], None),
            (&["1.5"], None),
            (&[""], None),
            (&["2147483649"], Some(MAX_SECONDS)),
            (&["99999999999999999999999999999"], Some(MAX_SECONDS)),
        ];
        for (lines, expected) in cases {
            assert_eq!(age(lines), expected, "{lines:?}");
        }
    }

    proptest! {
        #[test]
        fn seconds_are_what_a_wider_number_says(text in "[-+0-9. ]{0,3}[0-9]{0,24}") {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let expected = digits.then(|| text.parse::<u128>().unwrap().min(u128::from(MAX_SECONDS)) as u64);
            prop_assert_eq!(delta_seconds(text.as_bytes()), expected);
        }

        #[test]
        fn seconds_round_trip_up_to_the_bound(value: u64) {
            prop_assert_eq!(delta_seconds(value.to_string().as_bytes()), Some(value.min(MAX_SECONDS)));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            delta_seconds(&bytes);
        }
    }
}
