//! A token in its compact form (RFC 7515 7.1), cut into parts. Nothing that it says is believed here.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Claims, Refused};

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN: usize = 8 << 10;

/// A token, cut.
#[derive(Debug)]
pub(super) struct Compact<'t> {
    /// Header and payload, over which it is signed.
    pub(super) signed: &'t str,
    /// The payload, encoded.
    payload: &'t str,
    /// The signature, encoded.
    pub(super) signature: &'t str,
    header: &'t str,
}

/// What counts of a header. Keys that it brings along or points to (`jwk`, `jku`, `x5c`, `x5u`) are never looked at
/// (RFC 8725 3.10); `kid` is only compared.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    pub(super) alg: String,
    #[serde(default)]
    pub(super) kid: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

impl<'t> Compact<'t> {
    pub(super) fn parse(token: &'t [u8]) -> Result<Self, Refused> {
        if token.len() > MAX_TOKEN {
            return Err(Refused::TooLong);
        }
        let token = std::str::from_utf8(token).map_err(|_| Refused::Malformed)?;
        let (signed, signature) = token.rsplit_once('.').ok_or(Refused::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(Refused::Malformed)?;
        // Five parts are an encrypted one (RFC 7516).
        if payload.contains('.') {
            Err(Refused::Malformed)
        } else {
            Ok(Self { signed, payload, signature, header })
        }
    }

    /// The header. What it calls critical is not known here, since nothing is (RFC 7515 4.1.11).
    pub(super) fn header(&self) -> Result<Header, Refused> {
        let json = decode(self.header)?;
        // A list would do for the fields in their order, and is no header.
        if json.trim_ascii_start().first() != Some(&b'{') {
            return Err(Refused::Malformed);
        }
        let header: Header = serde_json::from_slice(&json).map_err(|_| Refused::Malformed)?;
        if header.crit { Err(Refused::Critical) } else { Ok(header) }
    }

    /// What it claims, whoever wrote that.
    pub(super) fn claims(&self) -> Result<Claims, Refused> {
        Claims::parse(&decode(self.payload)?)
    }
}

/// That something is there, whatever it is.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(from).map(|_| true)
}

fn decode(part: &str) -> Result<Vec<u8>, Refused> {
    BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| Refused::Malformed)
}
