//! OCSP responses (RFC 6960 4.2.1) that are stapled to handshakes (RFC 6066 8): whose they are and how long they
//! hold. Their signature is for clients to verify.

use crate::clock::Timestamp;

/// A response for one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staple {
    /// What it says.
    pub status: Status,
    /// The certificate's serial number, hexadecimal.
    pub serial: Box<str>,
    /// When it was right.
    pub this_update: Timestamp,
    /// Until when it may be used, where it says.
    pub next_update: Option<Timestamp>,
}

/// What a response says of the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is not revoked.
    Good,
    /// It is revoked.
    Revoked,
    /// The responder does not know it.
    Unknown,
}

impl Staple {
    /// Reads a DER response. Where it holds several, the one of this serial number.
    ///
    /// # Errors
    /// With the reason, when it is not a response or says nothing of this certificate.
    pub fn parse(der: &[u8], serial: &str) -> Result<Self, &'static str> {
        const SHORT: &str = "it is not an OCSP response";
        let mut response = Der(der).take(SEQUENCE).ok_or(SHORT)?;
        if response.take(ENUMERATED).ok_or(SHORT)?.0 != [0] {
            return Err("the responder answered with an error");
        }
        let mut bytes = response.take(CONTEXT).and_then(|mut bytes| bytes.take(SEQUENCE)).ok_or(SHORT)?;
        bytes.take(OID).ok_or(SHORT)?;
        let mut basic = bytes.take(OCTETS).and_then(|mut basic| basic.take(SEQUENCE)).ok_or(SHORT)?;
        let mut data = basic.take(SEQUENCE).ok_or(SHORT)?;
        // An optional version, who the responder is (by name or by key), and when it was produced.
        while data.0.first().is_some_and(|tag| *tag != SEQUENCE) {
            data.skip().ok_or(SHORT)?;
        }
        let mut responses = data.take(SEQUENCE).ok_or(SHORT)?;
        while !responses.0.is_empty() {
            let single = single(&mut responses).ok_or(SHORT)?;
            if *single.serial == *serial {
                return Ok(single);
            }
        }
        Err("it is the response for another certificate")
    }

    /// Whether it may be sent at this time. A clock that lags by up to five minutes is forgiven.
    pub fn holds_at(&self, now: Timestamp) -> bool {
        const SKEW: std::time::Duration = std::time::Duration::from_secs(300);
        self.status == Status::Good
            && self.this_update <= now.plus(SKEW)
            && self.next_update.is_none_or(|until| now < until)
    }

    /// The word for tables.
    pub fn state(&self, now: Timestamp) -> &'static str {
        match self.status {
            Status::Revoked => "revoked",
            Status::Unknown => "unknown",
            Status::Good if self.holds_at(now) => "good",
            Status::Good => "expired",
        }
    }
}

/// Reads one `SingleResponse`.
fn single(responses: &mut Der<'_>) -> Option<Staple> {
    let mut single = responses.take(SEQUENCE)?;
    let mut id = single.take(SEQUENCE)?;
    // The hash algorithm, and the hashes of the issuer's name and key.
    for _ in 0..3 {
        id.skip()?;
    }
    let serial = super::x509::hex(id.take(INTEGER)?.0).into();
    let status = match single.skip()? {
        0x80 => Status::Good,
        0xa1 => Status::Revoked,
        _ => Status::Unknown,
    };
    let this_update = time(single.take(TIME)?.0)?;
    let next_update = match single.take(CONTEXT) {
        Some(mut next) => Some(time(next.take(TIME)?.0)?),
        None => None,
    };
    Some(Staple { status, serial, this_update, next_update })
}

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const ENUMERATED: u8 = 0x0a;
const TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const CONTEXT: u8 = 0xa0;

/// `GeneralizedTime` as DER has it: `YYYYMMDDHHMMSSZ`.
fn time(bytes: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix('Z')?;
    let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", text).ok()?;
    let seconds = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
    Some(Timestamp::from_secs(u64::try_from(seconds).ok()?))
}

/// Values in DER (X.690), one behind the other.
struct Der<'a>(&'a [u8]);

impl Der<'_> {
    /// The content of the next value, if it has this tag.
    fn take(&mut self, tag: u8) -> Option<Self> {
        (*self.0.first()? == tag).then(|| self.next()).flatten().map(|(_, content)| content)
    }

    /// Passes over the next value; its tag.
    fn skip(&mut self) -> Option<u8> {
        self.next().map(|(tag, _)| tag)
    }

    fn next(&mut self) -> Option<(u8, Self)> {
        let (&[tag, first], rest) = self.0.split_first_chunk::<2>()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
                (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, Self(content)))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn value(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
        let content = parts.concat();
        let mut all = vec![tag, 0x82];
        all.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
        all.extend(content);
        all
    }

    /// A response as a responder would make it, but for its signature.
    pub(in crate::tls) fn response(status: u8, serial: &[u8], times: [&str; 2]) -> Vec<u8> {
        let time = |text: &str| value(TIME, &[text.as_bytes().to_vec()]);
        let oid = value(OID, &[vec![0x2b, 0x0e, 3, 2, 0x1a]]);
        let hash = value(OCTETS, &[vec![7; 20]]);
        let id = value(
            SEQUENCE,
            &[
                value(SEQUENCE, std::slice::from_ref(&oid)),
                hash.clone(),
                hash,
                value(INTEGER, &[serial.to_vec()]),
            ],
        );
        let next = value(CONTEXT, &[time(times[1])]);
        let single = value(SEQUENCE, &[id, vec![status, 0], time(times[0]), next]);
        let by_key = value(0xa2, &[value(OCTETS, &[vec![1; 20]])]);
        let data = value(SEQUENCE, &[by_key, time(times[0]), value(SEQUENCE, &[single])]);
        let basic =
            value(SEQUENCE, &[data, value(SEQUENCE, std::slice::from_ref(&oid)), value(0x03, &[vec![0, 1]])]);
        let bytes = value(SEQUENCE, &[oid, value(OCTETS, &[basic])]);
        value(SEQUENCE, &[vec![ENUMERATED, 1, 0], value(CONTEXT, &[bytes])])
    }

    const TIMES: [&str; 2] = ["20240101000000Z", "20240108000000Z"];

    #[test]
    fn a_response_says_whose_it_is_and_how_long_it_holds() {
        let staple = Staple::parse(&response(0x80, &[0x0a, 0xff], TIMES), "0aff").unwrap();
        let at = |day: u64| Timestamp::from_secs(1_704_067_200 + day * 86_400);
        assert_eq!(staple.this_update, at(0));
        assert_eq!(staple.next_update, Some(at(7)));
        for (day, state) in [(0, "good"), (6, "good"), (7, "expired"), (9, "expired")] {
            assert_eq!(staple.state(at(day)), state, "{day}");
            assert_eq!(staple.holds_at(at(day)), state == "good");
        }
        assert!(!staple.holds_at(Timestamp::from_secs(1_704_067_200 - 3600)), "not yet");
    }

    #[test]
    fn a_revoked_certificate_and_another_one_are_told() {
        let revoked = Staple::parse(&response(0xa1, &[1], TIMES), "01").unwrap();
        assert_eq!(revoked.status, Status::Revoked);
        assert!(Staple::parse(&response(0x80, &[1], TIMES), "02").is_err());
        assert!(Staple::parse(&[0x30, 3, ENUMERATED, 1, 6], "02").is_err(), "try later");
    }

    #[test]
    fn what_is_cut_short_is_no_response() {
        let whole = response(0x80, &[1], TIMES);
        for length in 0..whole.len() {
            let _ = Staple::parse(&whole[..length], "01");
            assert!(Staple::parse(&whole[..length], "01").is_err(), "{length} bytes");
        }
    }
}
