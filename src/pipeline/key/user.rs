//! Whose reply it is, where a route keeps replies apart by user.
//!
//! Nothing is verified here, so nobody is believed: a user is known by what the origin itself goes by (a credential, whose
//! hash is the key, so that who has not got it finds nothing), or by the word of a trusted peer. A token's claim says
//! that it is some user's and until when; the key is the token itself, since a forged one could make any claim.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, header};
use serde_json::Value;

use super::{CookieName, cookie};
use crate::cache::key::{FieldHash, Secret, field_hash};
use crate::cache::policy::RequestPolicy;
use crate::clock::Timestamp;

/// The longest token that is read.
const MAX_TOKEN: usize = 8 << 10;

/// How a route tells users apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserKey {
    /// By a field that a trusted peer sets, or by `Authorization`, whoever sends it.
    Header(HeaderName),
    /// By the cookie that the origin knows its users by.
    Cookie(CookieName),
    /// By the bearer token, if it has this claim and has not expired (RFC 6750, RFC 7519).
    Claim(Box<str>),
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum User {
    /// It says nothing of a user.
    Nobody,
    /// This one.
    Known(FieldHash),
    /// Somebody who is not to be believed: the request is the origin's alone.
    Doubtful,
}

impl UserKey {
    /// Who sent these fields; `trusted`: a peer that is believed did.
    pub(in crate::pipeline) fn user(
        &self,
        headers: &HeaderMap,
        trusted: bool,
        now: Timestamp,
        secret: &Secret,
    ) -> User {
        match self {
            Self::Header(name) => match field_hash(headers, name, secret) {
                None => User::Nobody,
                Some(user) if trusted || *name == header::AUTHORIZATION => User::Known(user),
                Some(_) => User::Doubtful,
            },
            Self::Cookie(name) => {
                cookie::value(headers, name.name(), secret).map_or(User::Nobody, User::Known)
            }
            Self::Claim(_) if !headers.contains_key(header::AUTHORIZATION) => User::Nobody,
            Self::Claim(claim) => match token(headers).filter(|token| holds(token, claim, now)) {
                Some(token) => User::Known(secret.hash([token.as_bytes()])),
                None => User::Doubtful,
            },
        }
    }

    /// What no longer makes the reply private to one client, once its user is in the key: the credential that the user is
    /// known by (which lifts RFC 9111 3.5, on the route's word), and with a trusted peer's word all of them.
    pub(in crate::pipeline) fn lift(&self, request: &mut RequestPolicy) {
        match self {
            Self::Header(name) if *name == header::AUTHORIZATION => request.authorization = false,
            Self::Header(_) => {
                request.authorization = false;
                request.cookie = false;
            }
            Self::Cookie(_) => request.cookie = false,
            Self::Claim(_) => request.authorization = false,
        }
    }
}

/// The one bearer token of a request.
fn token(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && token.len() <= MAX_TOKEN).then(|| token.trim())
}

/// Whether a token has the claim and has not expired; its signature is the origin's to check.
fn holds(token: &str, claim: &str, now: Timestamp) -> bool {
    let mut parts = token.split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let Some(bytes) = BASE64_URL_SAFE_NO_PAD.decode(payload).ok() else { return false };
    let Ok(Value::Object(claims)) = serde_json::from_slice(&bytes) else { return false };
    let named = match claims.get(claim) {
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Number(_)) => true,
        _ => false,
    };
    let expired = match claims.get("exp") {
        None => false,
        Some(at) => at.as_f64().is_none_or(|at| at <= now.secs() as f64),
    };
    named && !expired
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::test_headers::headers;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    fn bearer(claims: &str, signature: &str) -> String {
        format!("authorization: Bearer e30.{}.{signature}", BASE64_URL_SAFE_NO_PAD.encode(claims))
    }

    fn user(rule: &UserKey, lines: &[&str], trusted: bool) -> User {
        rule.user(&headers(lines), trusted, NOW, &Secret::new([1; 32]))
    }

    #[test]
    fn a_field_names_a_user_only_on_a_trusted_peer_s_word() {
        let rule = UserKey::Header(HeaderName::from_static("x-user-id"));
        assert_eq!(user(&rule, &[], false), User::Nobody);
        assert_eq!(user(&rule, &["x-user-id: 7"], false), User::Doubtful);
        assert!(matches!(user(&rule, &["x-user-id: 7"], true), User::Known(_)));
        let credential = UserKey::Header(header::AUTHORIZATION);
        assert!(matches!(user(&credential, &["authorization: Basic abc"], false), User::Known(_)));
    }

    #[test]
    fn a_token_is_known_by_itself_and_only_while_it_lasts() {
        let rule = UserKey::Claim("sub".into());
        let token = |claims: &str, signature: &str| user(&rule, &[&bearer(claims, signature)], false);
        let alice = token(r#"{"sub":"alice","exp":1001}"#, "good");
        assert!(matches!(alice, User::Known(_)));
        assert_eq!(token(r#"{"sub":"alice","exp":1001}"#, "good"), alice);
        for other in [
            token(r#"{"sub":"alice","exp":1001}"#, "forged"),
            token(r#"{"sub":"alice"}"#, ""),
            token(r#"{"sub":"bob","exp":1001}"#, "good"),
        ] {
            assert!(matches!(other, User::Known(_)) && other != alice);
        }
        for doubtful in [
            r#"{"sub":"alice","exp":1000}"#,
            r#"{"sub":"alice","exp":"soon"}"#,
            r#"{"sub":""}"#,
            r#"{"sub":["alice"]}"#,
            r#"{"name":"alice"}"#,
            "[]",
            "no json",
        ] {
            assert_eq!(token(doubtful, "good"), User::Doubtful, "{doubtful}");
        }
        let good = bearer(r#"{"sub":"alice"}"#, "good");
        assert_eq!(user(&rule, &["authorization: Basic abc"], true), User::Doubtful);
        assert_eq!(user(&rule, &[&good, "authorization: Basic abc"], true), User::Doubtful);
        assert_eq!(user(&rule, &["accept: */*"], false), User::Nobody);
    }

    proptest! {
        #[test]
        fn no_token_panics(text in "[ -~]{0,200}", claims in "\\PC{0,60}") {
            let rule = UserKey::Claim("sub".into());
            user(&rule, &[&format!("authorization: Bearer {}", text.trim())], false);
            user(&rule, &[&bearer(&claims, "x")], false);
        }
    }
}
