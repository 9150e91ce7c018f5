//! The opening handshake of a WebSocket (RFC 6455 4): what a client must have sent, and what may answer it.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Proves that the server has read the key.
pub const ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");
/// A nonce of the client's.
pub const KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
/// The version of the protocol.
pub const VERSION: HeaderName = HeaderName::from_static("sec-websocket-version");
/// What is spoken inside.
pub const PROTOCOL: HeaderName = HeaderName::from_static("sec-websocket-protocol");
/// How frames are changed.
pub const EXTENSIONS: HeaderName = HeaderName::from_static("sec-websocket-extensions");

/// The only version (RFC 6455 4.1).
pub const VERSION_13: HeaderValue = HeaderValue::from_static("13");

/// Appended to the key (RFC 6455 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why a request is no handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHandshake {
    /// There is not exactly one key of sixteen bytes.
    #[error("Sec-WebSocket-Key is missing, repeated, or not sixteen bytes in base64")]
    Key,
    /// It is for another version, or for none.
    #[error("Sec-WebSocket-Version is not 13")]
    Version,
    /// The same on a stream of HTTP/2, where nothing can be upgraded (RFC 9113 8.6).
    #[error("Sec-WebSocket-Version of an extended CONNECT is not 13")]
    OnStream,
}

/// Why a 101 is no answer to the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// The server has not read the key.
    #[error("Sec-WebSocket-Accept is not the key's")]
    Accept,
    /// It speaks what was not offered.
    #[error("Sec-WebSocket-Protocol is none of those that were offered")]
    Protocol,
    /// It changes frames as was not offered.
    #[error("Sec-WebSocket-Extensions has one that was not offered")]
    Extension,
}

/// A client's handshake.
#[derive(Clone, Debug)]
pub struct Handshake {
    accept: String,
    protocols: Vec<String>,
    extensions: Vec<String>,
}

impl Handshake {
    /// Checks a request's fields (RFC 6455 4.2.1).
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn of(headers: &HeaderMap) -> Result<Self, BadHandshake> {
        if only(headers, &VERSION) != Some("13") {
            return Err(BadHandshake::Version);
        }
        let key = only(headers, &KEY).ok_or(BadHandshake::Key)?;
        let nonce = BASE64_STANDARD.decode(key).map_err(|_| BadHandshake::Key)?;
        if nonce.len() != 16 {
            return Err(BadHandshake::Key);
        }
        let protocols = members(headers, &PROTOCOL).map(str::to_owned).collect();
        let extensions = members(headers, &EXTENSIONS).map(|one| name(one).to_owned()).collect();
        Ok(Self { accept: accept(key), protocols, extensions })
    }

    /// Checks the fields of the 101 that answers it (RFC 6455 4.1).
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), BadAnswer> {
        if only(headers, &ACCEPT) != Some(&*self.accept) {
            return Err(BadAnswer::Accept);
        }
        if headers.contains_key(&PROTOCOL) {
            let chosen = only(headers, &PROTOCOL).ok_or(BadAnswer::Protocol)?;
            if !self.protocols.iter().any(|offered| offered == chosen) {
                return Err(BadAnswer::Protocol);
            }
        }
        let offered = |one: &str| self.extensions.iter().any(|known| known.eq_ignore_ascii_case(name(one)));
        if members(headers, &EXTENSIONS).all(offered) { Ok(()) } else { Err(BadAnswer::Extension) }
    }
}

/// What proves that a key was read (RFC 6455 4.2.2).
pub fn accept(key: &str) -> String {
    let sum = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
    BASE64_STANDARD.encode(sum)
}

/// A new key.
pub fn new_key() -> HeaderValue {
    let key = BASE64_STANDARD.encode(fastrand::u128(..).to_be_bytes());
    // base64 has nothing that a value must not have.
    HeaderValue::try_from(key).unwrap_or_else(|_| HeaderValue::from_static("AAAAAAAAAAAAAAAAAAAAAA=="))
}

/// The only value of a field.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?.trim();
    values.next().is_none().then_some(value)
}

fn members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|member| !member.is_empty())
}

/// An extension without its parameters.
fn name(extension: &str) -> &str {
    extension.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::test_headers::headers;

    const KEY_LINE: &str = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT_LINE: &str = "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    #[test]
    fn rfc_6455_1_3_the_sample_key_has_the_sample_accept() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(BASE64_STANDARD.decode(new_key()).unwrap().len(), 16);
    }

    #[test]
    fn rfc_6455_4_2_1_what_a_handshake_must_have() {
        let version = "sec-websocket-version: 13";
        assert!(Handshake::of(&headers(&[KEY_LINE, version])).is_ok());
        for (given, expected) in [
            (&[KEY_LINE][..], BadHandshake::Version),
            (&[KEY_LINE, "sec-websocket-version: 8"], BadHandshake::Version),
            (&[KEY_LINE, "sec-websocket-version: 13, 8"], BadHandshake::Version),
            (&[KEY_LINE, version, version], BadHandshake::Version),
            (&[version], BadHandshake::Key),
            (&[version, KEY_LINE, KEY_LINE], BadHandshake::Key),
            (&[version, "sec-websocket-key: dGhlIHNhbXBsZQ=="], BadHandshake::Key),
            (&[version, "sec-websocket-key: not base64"], BadHandshake::Key),
            (&[version, "sec-websocket-key: "], BadHandshake::Key),
        ] {
            assert_eq!(Handshake::of(&headers(given)).unwrap_err(), expected, "{given:?}");
        }
    }

    #[test]
    fn rfc_6455_4_1_what_may_answer_it() {
        let asked = headers(&[
            KEY_LINE,
            "sec-websocket-version: 13",
            "sec-websocket-protocol: chat, super",
            "sec-websocket-extensions: permessage-deflate; client_max_window_bits",
        ]);
        let handshake = Handshake::of(&asked).unwrap();
        let chat = "sec-websocket-protocol: chat";
        for (given, expected) in [
            (&[ACCEPT_LINE][..], Ok(())),
            (&[ACCEPT_LINE, chat, "sec-websocket-extensions: permessage-deflate; x=1"], Ok(())),
            (&[], Err(BadAnswer::Accept)),
            (&[ACCEPT_LINE, ACCEPT_LINE], Err(BadAnswer::Accept)),
            (&["sec-websocket-accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo="], Err(BadAnswer::Accept)),
            (&[ACCEPT_LINE, "sec-websocket-protocol: other"], Err(BadAnswer::Protocol)),
            (&[ACCEPT_LINE, "sec-websocket-protocol: chat, super"], Err(BadAnswer::Protocol)),
            (&[ACCEPT_LINE, chat, chat], Err(BadAnswer::Protocol)),
            (&[ACCEPT_LINE, "sec-websocket-extensions: x-other"], Err(BadAnswer::Extension)),
        ] {
            assert_eq!(handshake.check(&headers(given)), expected, "{given:?}");
        }
    }
}
