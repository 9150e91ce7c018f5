//! HTTP dates (RFC 9110 5.6.7): three forms to read, one to write.
//!
//! Names of days, months and the zone are read in any case, as RFC 9111 4.2 advises caches. Everything else is
//! strict: a zone other than GMT, a weekday that is not that date's, a day that the month has not, an hour of one
//! digit or a stray space make a date invalid, and what depends on it (mostly `Expires`) counts as past.

use std::cell::RefCell;

use bytes::Bytes;
use http::HeaderValue;

use crate::clock::Timestamp;

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
const DAYS: [&[u8]; 7] =
    [b"Sunday", b"Monday", b"Tuesday", b"Wednesday", b"Thursday", b"Friday", b"Saturday"];

/// Reads a date in any of the three forms; `None` if it is none of them.
///
/// `near` decides the century of a two-digit year: a date that would lie more than 50 years after it is in the
/// past. Dates before 1970 read as the epoch.
pub fn parse(value: &[u8], near: Timestamp) -> Option<Timestamp> {
    let value = value.trim_ascii();
    let comma = value.iter().position(|&byte| byte == b',');
    match comma {
        Some(3) => fixdate(value),
        Some(_) => rfc850(value, near),
        None => asctime(value),
    }
}

/// Writes a date in the preferred form (IMF-fixdate).
pub fn format(time: Timestamp) -> [u8; 29] {
    // The form has four digits for the year.
    let secs = time.secs().min(253_402_300_799);
    let (year, month, day) = civil((secs / 86_400) as i64);
    let weekday = DAYS[((secs / 86_400 + 4) % 7) as usize];
    let mut out = *b"Sun, 00 Jan 0000 00:00:00 GMT";
    out[..3].copy_from_slice(&weekday[..3]);
    digits(&mut out[5..7], u64::from(day));
    out[8..11].copy_from_slice(MONTHS[month as usize - 1]);
    digits(&mut out[12..16], year.unsigned_abs());
    digits(&mut out[17..19], secs / 3600 % 24);
    digits(&mut out[20..22], secs / 60 % 60);
    digits(&mut out[23..25], secs % 60);
    out
}

/// A date as a field value; the last one is kept per thread, so that a second's worth of replies share it.
pub fn header_value(time: Timestamp) -> HeaderValue {
    thread_local! {
        static LAST: RefCell<Option<(u64, HeaderValue)>> = const { RefCell::new(None) };
    }
    LAST.with_borrow_mut(|last| match last {
        Some((secs, value)) if *secs == time.secs() => value.clone(),
        _ => {
            let value = HeaderValue::from_maybe_shared(Bytes::copy_from_slice(&format(time)))
                .expect("a date is printable ASCII");
            *last = Some((time.secs(), value.clone()));
            value
        }
    })
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn fixdate(value: &[u8]) -> Option<Timestamp> {
    if value.len() != 29 || value[16] != b' ' || !is_gmt(&value[25..]) {
        return None;
    }
    if &value[3..5] != b", " || value[7] != b' ' || value[11] != b' ' {
        return None;
    }
    let weekday = DAYS.iter().position(|name| name[..3].eq_ignore_ascii_case(&value[..3]))?;
    let year = number(&value[12..16])?;
    build(weekday, year, month(&value[8..11])?, number(&value[5..7])?, time_of_day(&value[17..25])?)
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn rfc850(value: &[u8], near: Timestamp) -> Option<Timestamp> {
    let comma = value.iter().position(|&byte| byte == b',')?;
    let weekday = DAYS.iter().position(|name| name.eq_ignore_ascii_case(&value[..comma]))?;
    let rest = &value[comma + 1..];
    if rest.len() != 23 || rest[0] != b' ' || rest[3] != b'-' || rest[7] != b'-' || rest[10] != b' ' {
        return None;
    }
    if !is_gmt(&rest[19..]) {
        return None;
    }
    let (day, month, time) = (number(&rest[1..3])?, month(&rest[4..7])?, time_of_day(&rest[11..19])?);
    let (near_year, ..) = civil((near.secs() / 86_400) as i64);
    let near_year = near_year.unsigned_abs();
    let mut year = near_year - near_year % 100 + number(&rest[8..10])?;
    if year < near_year.saturating_sub(50) {
        year += 100;
    }
    if year > near_year + 50 {
        year -= 100;
    }
    build(weekday, year, month, day, time)
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(value: &[u8]) -> Option<Timestamp> {
    if value.len() != 24 || value[3] != b' ' || value[7] != b' ' || value[10] != b' ' || value[19] != b' ' {
        return None;
    }
    let weekday = DAYS.iter().position(|name| name[..3].eq_ignore_ascii_case(&value[..3]))?;
    let day = if value[8] == b' ' { number(&value[9..10])? } else { number(&value[8..10])? };
    build(weekday, number(&value[20..24])?, month(&value[4..7])?, day, time_of_day(&value[11..19])?)
}

fn is_gmt(zone: &[u8]) -> bool {
    zone.eq_ignore_ascii_case(b" GMT")
}

fn month(name: &[u8]) -> Option<u64> {
    MONTHS.iter().position(|month| month.eq_ignore_ascii_case(name)).map(|index| index as u64 + 1)
}

fn number(digits: &[u8]) -> Option<u64> {
    digits
        .iter()
        .try_fold(0, |sum: u64, byte| byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0')))
}

/// `08:49:37` as seconds; a leap second is allowed.
fn time_of_day(value: &[u8]) -> Option<u64> {
    let (hour, minute, second) = (number(&value[..2])?, number(&value[3..5])?, number(&value[6..8])?);
    let valid = value[2] == b':' && value[5] == b':' && hour < 24 && minute < 60 && second <= 60;
    valid.then_some(hour * 3600 + minute * 60 + second)
}

fn build(weekday: usize, year: u64, month: u64, day: u64, seconds: u64) -> Option<Timestamp> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if day == 0 || day > length {
        return None;
    }
    let days = days_from_civil(year as i64, month as i64, day as i64);
    if (days + 4).rem_euclid(7) != weekday as i64 {
        return None;
    }
    Some(Timestamp::from_secs(u64::try_from(days * 86_400 + seconds as i64).unwrap_or(0)))
}

/// Days since the Unix epoch of a date in the proleptic Gregorian calendar (Howard Hinnant's algorithm).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil(days: i64) -> (i64, u8, u8) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month as u8, day as u8)
}

fn digits(out: &mut [u8], mut value: u64) {
    for byte in out.iter_mut().rev() {
        *byte = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000); // January 2027

    fn secs(value: &str) -> Option<u64> {
        parse(value.as_bytes(), NOW).map(Timestamp::secs)
    }

    #[test]
    fn the_three_forms_of_rfc_9110_5_6_7_agree() {
        for value in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "sun, 06 nov 1994 08:49:37 gmt",
            " Sun, 06 Nov 1994 08:49:37 GMT ",
        ] {
            assert_eq!(secs(value), Some(784_111_777), "{value}");
        }
    }

    #[test]
    fn odd_dates_are_invalid() {
        for value in [
            "",
            "0",
            "-1",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 PST",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Son, 06 Nov 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun 06 Nov 1994 08:49:37 GMT",
            "Sun,  06 Nov 1994 08:49:37 GMT",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08.49.37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994 GMT",
        ] {
            assert_eq!(secs(value), None, "{value}");
        }
    }

    #[test]
    fn a_two_digit_year_is_at_most_50_years_ahead() {
        assert_eq!(secs("Wednesday, 01-Jan-70 00:00:00 GMT"), secs("Wed, 01 Jan 2070 00:00:00 GMT"));
        assert_eq!(secs("Friday, 01-Jan-77 00:00:00 GMT"), secs("Fri, 01 Jan 2077 00:00:00 GMT"));
        assert_eq!(secs("Sunday, 01-Jan-78 00:00:00 GMT"), secs("Sun, 01 Jan 1978 00:00:00 GMT"));
        assert_eq!(secs("Friday, 01-Jan-99 00:00:00 GMT"), secs("Fri, 01 Jan 1999 00:00:00 GMT"));
        // Read in 1999, the year 01 lies ahead.
        let then = Timestamp::from_secs(930_000_000);
        let year_2001 = parse(b"Mon, 01 Jan 2001 00:00:00 GMT", then);
        assert_eq!(parse(b"Monday, 01-Jan-01 00:00:00 GMT", then), year_2001);
        assert!(year_2001.is_some());
    }

    #[test]
    fn leap_seconds_and_times_before_1970_are_read() {
        assert_eq!(secs("Sat, 31 Dec 2016 23:59:60 GMT"), Some(1_483_228_800));
        assert_eq!(secs("Fri, 01 Jan 1960 00:00:00 GMT"), Some(0));
        assert_eq!(secs("Fri, 31 Dec 9999 23:59:59 GMT"), Some(253_402_300_799));
    }

    /// Year, month, day and weekday by counting days one by one, as nobody would in earnest.
    fn counted(days: u64) -> (u64, usize, u64, usize) {
        let (mut year, mut left) = (1970, days);
        loop {
            let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
            let months = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            for (month, length) in months.into_iter().enumerate() {
                if left < length {
                    return (year, month, left + 1, ((days + 4) % 7) as usize);
                }
                left -= length;
            }
            year += 1;
        }
    }

    fn mangled(text: String, flags: u32) -> String {
        let upper = |(at, letter): (usize, char)| match (flags >> (at % 32)) & 1 {
            0 => letter,
            _ => letter.to_ascii_uppercase(),
        };
        text.chars().enumerate().map(upper).collect()
    }

    proptest! {
        #[test]
        fn every_form_is_what_a_calendar_says(days in 0u64..60_000, second in 0u64..86_400, flags: u32) {
            let (year, month, day, weekday) = counted(days);
            let (name, month) = (std::str::from_utf8(DAYS[weekday]).unwrap(), std::str::from_utf8(MONTHS[month]).unwrap());
            let clock = format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
            let at = Timestamp::from_secs(days * 86_400 + second);
            let short = &name[..3];
            let forms = [
                format!("{short}, {day:02} {month} {year} {clock} GMT"),
                format!("{name}, {day:02}-{month}-{:02} {clock} GMT", year % 100),
                format!("{short} {month} {day:2} {clock} {year}"),
            ];
            let written = format(at);
            prop_assert_eq!(&written[..], forms[0].as_bytes());
            for form in forms {
                prop_assert_eq!(parse(mangled(form.clone(), flags).as_bytes(), at), Some(at), "{}", form);
                // One day off, and the weekday is wrong.
                let other = std::str::from_utf8(DAYS[(weekday + 1) % 7]).unwrap();
                let lying = form.replacen(name, other, 1).replacen(short, &other[..3], 1);
                prop_assert_eq!(parse(lying.as_bytes(), at), None, "{}", lying);
            }
        }

        #[test]
        fn what_is_written_is_read_back(at in 0u64..253_402_300_799) {
            let time = Timestamp::from_secs(at);
            prop_assert_eq!(parse(&format(time), NOW), Some(time));
            prop_assert_eq!(httpdate::parse_http_date(std::str::from_utf8(&format(time)).unwrap()).ok(), Some(time.into()));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40), near: u64) {
            parse(&bytes, Timestamp::from_millis(near));
        }

        #[test]
        fn no_near_date_panics(at in 0u64..4_102_444_800, position in 0usize..29, byte: u8, near: u64) {
            let mut value = format(Timestamp::from_secs(at));
            value[position] = byte;
            parse(&value, Timestamp::from_millis(near));
        }
    }
}
