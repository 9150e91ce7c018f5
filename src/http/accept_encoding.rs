//! `Accept-Encoding` (RFC 9110 12.5.3), and the content codings that we speak (RFC 9110 8.4.1, RFC 7932, RFC 8878).

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{HeaderMap, HeaderValue};

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// `gzip`, which `x-gzip` means too (RFC 9110 8.4.1.3).
    Gzip = 0,
    /// `br` (RFC 7932).
    Brotli = 1,
    /// `zstd` (RFC 8878, RFC 9659).
    Zstd = 2,
}

impl Coding {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Gzip, Self::Brotli, Self::Zstd];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// Its name as a field's value.
    pub const fn value(self) -> HeaderValue {
        HeaderValue::from_static(self.as_str())
    }

    /// By its name, in any case (RFC 9110 8.4.1).
    pub fn named(name: &[u8]) -> Option<Self> {
        if name.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Self::Gzip);
        }
        Self::ALL.into_iter().find(|coding| name.eq_ignore_ascii_case(coding.as_str().as_bytes()))
    }
}

/// How a message's content is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coded {
    /// Not at all.
    Plain,
    /// Once, in a way that we can undo.
    By(Coding),
    /// Several times, or in a way that we do not know.
    Otherwise,
}

impl Coded {
    /// As the message's `Content-Encoding` says. `identity` should not be there (RFC 9110 8.4.1), and means nothing.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut found = Self::Plain;
        let lines = headers.get_all(CONTENT_ENCODING).iter();
        let members =
            lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
        for member in members.filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case(b"identity")) {
            found = match (found, Coding::named(member)) {
                (Self::Plain, Some(coding)) => Self::By(coding),
                _ => return Self::Otherwise,
            };
        }
        found
    }
}

/// What is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The content as it is.
    Identity,
    /// Coded so.
    By(Coding),
    /// The client takes neither it as it is, nor any coding that was offered.
    Neither,
}

/// The codings that a client takes, with their weights in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    weights: [Option<u16>; 3],
    identity: Option<u16>,
    any: Option<u16>,
}

impl Accepted {
    /// As the request says, over all lines of the field. What cannot be read says nothing. Without the field everything is
    /// acceptable; what the client can read it has not said, though, so that nothing is taken to be.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut accepted = Self::default();
        let lines = headers.get_all(ACCEPT_ENCODING).iter();
        for member in lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')) {
            accepted.note(member);
        }
        accepted
    }

    fn note(&mut self, member: &[u8]) {
        let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let Some(weight) = parts.try_fold(1000, |weight, part| parameter(part, weight)) else { return };
        let slot = match Coding::named(name) {
            Some(coding) => &mut self.weights[coding as usize],
            None if name == b"*" => &mut self.any,
            None if name.eq_ignore_ascii_case(b"identity") => &mut self.identity,
            None => return,
        };
        *slot = Some(match *slot {
            // Who says it twice and means no once, means no.
            Some(0) => 0,
            Some(before) if weight > 0 => before.max(weight),
            _ => weight,
        });
    }

    /// Whether the client said that it takes this coding.
    pub fn takes(&self, coding: Coding) -> bool {
        self.weight(coding) > 0
    }

    /// Whether the content may be sent as it is: it may, unless the client rules that out (RFC 9110 12.5.3).
    pub fn takes_identity(&self) -> bool {
        self.identity.or(self.any) != Some(0)
    }

    fn weight(&self, coding: Coding) -> u16 {
        self.weights[coding as usize].or(self.any).unwrap_or_default()
    }

    /// The best of what is offered: by weight, then in the order of the offer. The content as it is comes behind every
    /// coding that the client likes no less.
    pub fn choose(&self, offered: &[Coding]) -> Choice {
        let best = offered.iter().rev().max_by_key(|coding| self.weight(**coding));
        match best.filter(|coding| self.takes(**coding)) {
            Some(coding) if self.identity.is_none_or(|identity| self.weight(*coding) >= identity) => {
                Choice::By(*coding)
            }
            _ if self.takes_identity() => Choice::Identity,
            Some(coding) => Choice::By(*coding),
            None => Choice::Neither,
        }
    }
}

/// The weight, after a parameter; `None`: the member cannot be read.
fn parameter(part: &[u8], before: u16) -> Option<u16> {
    let (name, value) = match part.iter().position(|byte| *byte == b'=') {
        Some(at) => (part[..at].trim_ascii(), part[at + 1..].trim_ascii()),
        None if part.is_empty() => return Some(before),
        None => return None,
    };
    if name.eq_ignore_ascii_case(b"q") { weight(value) } else { Some(before) }
}

/// A weight in thousandths (RFC 9110 12.4.2).
fn weight(value: &[u8]) -> Option<u16> {
    let (whole, rest) = value.split_first()?;
    let digits = match rest {
        [] => &[][..],
        [b'.', digits @ ..] if digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) => digits,
        _ => return None,
    };
    let thousandths =
        [100, 10, 1].iter().zip(digits).map(|(place, digit)| place * u16::from(digit - b'0')).sum();
    match whole {
        b'0' => Some(thousandths),
        b'1' if thousandths == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn accepted(lines: &[&str]) -> Accepted {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT_ENCODING, line.parse().unwrap());
        }
        Accepted::of(&headers)
    }

    #[test]
    fn the_best_of_what_is_offered_is_chosen() {
        use Choice::{By, Identity, Neither};
        use Coding::{Brotli, Gzip, Zstd};
        let all = &[Zstd, Brotli, Gzip][..];
        for (lines, offered, expected) in [
            (&[][..], all, Identity),
            (&[""], all, Identity),
            (&["gzip"], all, By(Gzip)),
            (&["GZIP"], all, By(Gzip)),
            (&["x-gzip"], all, By(Gzip)),
            (&["gzip, deflate, br, zstd"], all, By(Zstd)),
            (&["gzip, deflate, br, zstd"], &[Gzip, Brotli], By(Gzip)),
            (&["gzip", "br"], all, By(Brotli)),
            (&["gzip;q=1.0, br;q=0.9"], all, By(Gzip)),
            (&["gzip ; q = 0.5 , br ; Q=0.501"], all, By(Brotli)),
            (&["gzip;q=0"], all, Identity),
            (&["gzip;q=0.000, br;q=0.001"], all, By(Brotli)),
            (&["*"], all, By(Zstd)),
            (&["*;q=0"], all, Neither),
            (&["*;q=0, gzip"], all, By(Gzip)),
            (&["gzip;q=0, *"], &[Gzip], Identity),
            (&["zstd;q=0, *;q=0.1"], all, By(Brotli)),
            (&["identity"], all, Identity),
            (&["identity, gzip"], all, By(Gzip)),
            (&["identity;q=1, gzip;q=0.5"], all, Identity),
            (&["identity;q=0.2, gzip;q=0.5"], all, By(Gzip)),
            (&["identity;q=0"], all, Neither),
            (&["identity;q=0, gzip"], all, By(Gzip)),
            (&["identity;q=0, gzip;q=0"], all, Neither),
            (&["identity;q=0, deflate"], all, Neither),
            (&["deflate, compress"], all, Identity),
            (&["gzip;q=2"], all, Identity),
            (&["gzip;q=0.5555"], all, Identity),
            (&["gzip;q=,br"], all, By(Brotli)),
            (&["gzip;q=1.001"], all, Identity),
            (&["gzip;q"], all, Identity),
            (&["gzip;level=9"], all, By(Gzip)),
            (&["gzip;"], all, By(Gzip)),
            (&["gzip;q=0, gzip"], all, Identity),
            (&["gzip, gzip;q=0"], all, Identity),
            (&["gzip;q=0.2, x-gzip;q=0.8, br;q=0.5"], all, By(Gzip)),
            (&[",, ,gzip,"], all, By(Gzip)),
            (&["gzip br"], all, Identity),
            (&["gzip"], &[], Identity),
            (&["gzip, br"], &[Zstd], Identity),
        ] {
            assert_eq!(accepted(lines).choose(offered), expected, "{lines:?} {offered:?}");
        }
    }

    #[test]
    fn what_a_client_takes_is_what_it_says() {
        let accepted = accepted(&["gzip;q=0.1, br;q=0, *;q=0.3"]);
        assert!(
            accepted.takes(Coding::Gzip) && !accepted.takes(Coding::Brotli) && accepted.takes(Coding::Zstd)
        );
        assert!(accepted.takes_identity());
        assert!(!Accepted::default().takes(Coding::Gzip) && Accepted::default().takes_identity());
    }

    #[test]
    fn contents_are_coded_as_they_say() {
        for (lines, expected) in [
            (&[][..], Coded::Plain),
            (&["identity"], Coded::Plain),
            (&["GZip"], Coded::By(Coding::Gzip)),
            (&["x-gzip"], Coded::By(Coding::Gzip)),
            (&["identity, br"], Coded::By(Coding::Brotli)),
            (&["gzip, gzip"], Coded::Otherwise),
            (&["gzip", "br"], Coded::Otherwise),
            (&["deflate"], Coded::Otherwise),
            (&["aws-chunked"], Coded::Otherwise),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(CONTENT_ENCODING, line.parse().unwrap());
            }
            assert_eq!(Coded::of(&headers), expected, "{lines:?}");
        }
    }

    proptest! {
        /// Nothing is sent that the client does not take.
        #[test]
        fn nothing_is_chosen_that_was_refused(
            lines in prop::collection::vec("[a-z*;=, .0-9\t]{0,40}|(gzip|br|zstd|\\*|identity)(;q=(0|1|0\\.[0-9]{1,3}))?(, ?(gzip|br|zstd|\\*|identity)(;q=(0|1|0\\.[0-9]{1,3}))?){0,5}", 0..3),
            offered in prop::sample::subsequence(Coding::ALL.to_vec(), 0..=3),
        ) {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let accepted = accepted(&lines);
            match accepted.choose(&offered) {
                Choice::Identity => prop_assert!(accepted.takes_identity()),
                Choice::By(coding) => {
                    prop_assert!(accepted.takes(coding) && offered.contains(&coding));
                    prop_assert!(offered.iter().all(|other| accepted.weight(*other) <= accepted.weight(coding)));
                }
                Choice::Neither => {
                    prop_assert!(!accepted.takes_identity());
                    prop_assert!(offered.iter().all(|coding| !accepted.takes(*coding)));
                }
            }
        }
    }
}
