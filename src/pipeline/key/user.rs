//! Whose reply it is, where a route keeps replies apart by user.
//!
//! Nobody is believed on his own word: a user is known by what the origin itself goes by (a credential, whose hash is
//! the key, so that who has not got it finds nothing), by the word of a trusted peer, or by what a token claims whose
//! signature has been verified here: then all tokens of that user share. Where the config gives no keys to verify tokens with, a
//! claim says only that a token is some user's and until when, and the key is the token itself, since a forged one could
//! make any claim.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, header};
use serde_json::Value;

use super::{CookieName, cookie};
use crate::auth::jwt::{self, Claims, Refused, Remembered, Verified, Verifier};
use crate::cache::key::{FieldHash, Secret, field_hash};
use crate::cache::policy::RequestPolicy;
use crate::clock::Timestamp;
use crate::http::bearer::Credentials;

/// How a route tells users apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserKey {
    /// By a field that a trusted peer sets, or by `Authorization`, whoever sends it.
    Header(HeaderName),
    /// By the cookie that the origin knows its users by.
    Cookie(CookieName),
    /// By the bearer token (RFC 6750, RFC 7519).
    Claim(ClaimKey),
}

/// What of a bearer token tells users apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimKey {
    /// The claim that names the user, which a token must have; then others that replies depend on.
    pub names: Box<[Box<str>]>,
    /// Who verifies tokens; without it each token has replies of its own.
    pub tokens: Option<Arc<Verifier>>,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum User {
    /// It says nothing of a user.
    Nobody,
    /// This one.
    Known(FieldHash),
    /// Somebody who is not to be believed: the request is the origin's alone.
    Doubtful(Doubt),
}

/// Why somebody is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The field that names the user came from a peer that is not trusted.
    Peer,
    /// There are credentials, but not one bearer token.
    Credentials,
    /// The token is not accepted.
    Token(Refused),
}

impl Doubt {
    /// The word for metrics and `Cache-Status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Peer => "untrusted-peer",
            Self::Credentials => "no-bearer-token",
            Self::Token(refused) => refused.as_str(),
        }
    }

    /// The doubt that has this word.
    pub fn of(word: &str) -> Option<Self> {
        let tokens = Refused::ALL.into_iter().map(Self::Token);
        [Self::Peer, Self::Credentials].into_iter().chain(tokens).find(|doubt| doubt.as_str() == word)
    }

    /// The section that says so, and what it says.
    pub fn ground(self) -> (&'static str, String) {
        match self {
            Self::Peer => {
                ("policy", "the field that names its user came from a peer that is not trusted".into())
            }
            Self::Credentials => ("RFC 6750 2.1", "it has credentials, but not one bearer token".into()),
            Self::Token(refused) => (refused.rule(), refused.to_string()),
        }
    }
}

/// A route's rule at work, with the tokens that it has verified.
#[derive(Debug)]
pub(in crate::pipeline) struct Users {
    key: UserKey,
    /// The users of verified tokens.
    tokens: Option<Remembered<FieldHash>>,
}

impl Users {
    pub(in crate::pipeline) fn new(key: UserKey) -> Self {
        let tokens = match &key {
            UserKey::Claim(ClaimKey { tokens: Some(verifier), .. }) => {
                Some(Remembered::new(verifier.clone()))
            }
            _ => None,
        };
        Self { key, tokens }
    }

    /// Who sent these fields; `trusted`: a peer that is believed did.
    pub(in crate::pipeline) fn user(
        &self,
        headers: &HeaderMap,
        trusted: bool,
        now: Timestamp,
        secret: &Secret,
    ) -> User {
        match &self.key {
            UserKey::Header(name) => match field_hash(headers, name, secret) {
                None => User::Nobody,
                Some(user) if trusted || *name == header::AUTHORIZATION => User::Known(user),
                Some(_) => User::Doubtful(Doubt::Peer),
            },
            UserKey::Cookie(name) => {
                cookie::value(headers, name.name(), secret).map_or(User::Nobody, User::Known)
            }
            UserKey::Claim(claim) => match Credentials::of(headers) {
                Credentials::None => User::Nobody,
                Credentials::Other => User::Doubtful(Doubt::Credentials),
                Credentials::Bearer(token) => match self.of_token(claim, token, now, secret) {
                    Ok(user) => User::Known(user),
                    Err(refused) => User::Doubtful(Doubt::Token(refused)),
                },
            },
        }
    }

    fn of_token(
        &self,
        claim: &ClaimKey,
        token: &[u8],
        now: Timestamp,
        secret: &Secret,
    ) -> Result<FieldHash, Refused> {
        match &self.tokens {
            Some(tokens) => {
                tokens.of(token, now, |claims| claim.user(tokens.verifier().name(), claims, secret))
            }
            None => {
                let claims = jwt::unverified(token, now)?;
                claim.names.first().and_then(|name| named(&claims, name)).ok_or(Refused::Claim)?;
                Ok(secret.hash([token]))
            }
        }
    }

    /// How the token of a request was verified, for telling.
    pub(in crate::pipeline) fn verified(&self, headers: &HeaderMap, now: Timestamp) -> Option<Verified> {
        let Credentials::Bearer(token) = Credentials::of(headers) else { return None };
        self.tokens.as_ref()?.verifier().verify(token, now).ok()
    }

    /// What no longer makes the reply private to one client, once its user is in the key: the credential that the user is
    /// known by (which lifts RFC 9111 3.5, on the route's word), and with a trusted peer's word all of them.
    pub(in crate::pipeline) fn lift(&self, request: &mut RequestPolicy) {
        match &self.key {
            UserKey::Header(name) if *name == header::AUTHORIZATION => request.authorization = false,
            UserKey::Header(_) => {
                request.authorization = false;
                request.cookie = false;
            }
            UserKey::Cookie(_) => request.cookie = false,
            UserKey::Claim(_) => {
                request.authorization = false;
                request.one_token_of_many = self.tokens.is_some();
            }
        }
    }
}

impl ClaimKey {
    /// The hash that stands for a user: of whose trust it is, who issued the token (a name is unique only with its issuer,
    /// RFC 7519 4.1.2), and the claims.
    fn user(&self, trust: &str, claims: &Claims, secret: &Secret) -> Result<FieldHash, Refused> {
        let (first, others) = self.names.split_first().ok_or(Refused::Claim)?;
        let user = named(claims, first).ok_or(Refused::Claim)?.to_string();
        let issuer = claims.issuer().unwrap_or_default();
        let mut parts = vec!["jwt".to_owned(), trust.to_owned(), issuer.to_owned(), first.to_string(), user];
        for name in others {
            let value = match claims.get(name) {
                None => String::new(),
                Some(value) if is_exact(value) => value.to_string(),
                Some(_) => return Err(Refused::Claim),
            };
            parts.extend([name.to_string(), value]);
        }
        Ok(secret.hash(parts.iter().map(String::as_bytes)))
    }
}

/// The claim that names a user, if it does: a text, or a whole number.
fn named<'c>(claims: &'c Claims, name: &str) -> Option<&'c Value> {
    claims.get(name).filter(|value| match value {
        Value::String(text) => !text.is_empty(),
        Value::Number(_) => is_exact(value),
        _ => false,
    })
}

/// Whether what was read is all that was written: numbers beyond 64 bits are not kept whole, and two users might become
/// one.
fn is_exact(value: &Value) -> bool {
    match value {
        Value::Number(number) => !number.is_f64(),
        Value::Array(values) => values.iter().all(is_exact),
        Value::Object(values) => values.values().all(is_exact),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;
    use crate::auth::jwt::{Algorithm, Key, Settings};
    use crate::http::test_headers::headers;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    fn bearer(claims: &str, signature: &str) -> String {
        format!("authorization: Bearer e30.{}.{signature}", BASE64_URL_SAFE_NO_PAD.encode(claims))
    }

    fn user(rule: &UserKey, lines: &[&str], trusted: bool) -> User {
        Users::new(rule.clone()).user(&headers(lines), trusted, NOW, &Secret::new([1; 32]))
    }

    fn claim(names: &[&str], tokens: Option<Verifier>) -> UserKey {
        UserKey::Claim(ClaimKey {
            names: names.iter().map(|name| Box::from(*name)).collect(),
            tokens: tokens.map(Arc::new),
        })
    }

    #[test]
    fn a_field_names_a_user_only_on_a_trusted_peer_s_word() {
        let rule = UserKey::Header(HeaderName::from_static("x-user-id"));
        assert_eq!(user(&rule, &[], false), User::Nobody);
        assert_eq!(user(&rule, &["x-user-id: 7"], false), User::Doubtful(Doubt::Peer));
        assert!(matches!(user(&rule, &["x-user-id: 7"], true), User::Known(_)));
        let credential = UserKey::Header(header::AUTHORIZATION);
        assert!(matches!(user(&credential, &["authorization: Basic abc"], false), User::Known(_)));
    }

    #[test]
    fn an_unverified_token_is_known_by_itself_and_only_while_it_lasts() {
        let rule = claim(&["sub"], None);
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
        for (doubtful, why) in [
            (r#"{"sub":"alice","exp":1000}"#, Refused::Expired),
            (r#"{"sub":"alice","exp":"soon"}"#, Refused::Malformed),
            (r#"{"sub":""}"#, Refused::Claim),
            (r#"{"sub":["alice"]}"#, Refused::Claim),
            (r#"{"name":"alice"}"#, Refused::Claim),
            ("[]", Refused::Malformed),
            ("no json", Refused::Malformed),
        ] {
            assert_eq!(token(doubtful, "good"), User::Doubtful(Doubt::Token(why)), "{doubtful}");
        }
        let good = bearer(r#"{"sub":"alice"}"#, "good");
        let doubtful = User::Doubtful(Doubt::Credentials);
        assert_eq!(user(&rule, &["authorization: Basic abc"], true), doubtful);
        assert_eq!(user(&rule, &[&good, "authorization: Basic abc"], true), doubtful);
        assert_eq!(user(&rule, &["accept: */*"], false), User::Nobody);
    }

    const SIGNING: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn trust(name: &str) -> Verifier {
        Verifier::new(Settings {
            name: name.into(),
            keys: vec![Key::secret(SIGNING)],
            algorithms: vec![Algorithm::Hs256],
            issuers: Vec::new(),
            audiences: Vec::new(),
            leeway: Duration::ZERO,
        })
    }

    fn signed(claims: &str) -> String {
        let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        let message = format!("{}.{}", encode(r#"{"alg":"HS256"}"#), encode(claims));
        let key = jsonwebtoken::EncodingKey::from_secret(SIGNING);
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256);
        format!("authorization: Bearer {message}.{}", signature.unwrap())
    }

    #[test]
    fn verified_tokens_of_one_user_are_one_and_of_two_are_two() {
        let of = |names: &[&str], trusted: &str, claims: &str| {
            user(&claim(names, Some(trust(trusted))), &[&signed(claims)], false)
        };
        let alice = of(&["sub"], "a", r#"{"sub":"alice","exp":1001}"#);
        assert!(matches!(alice, User::Known(_)));
        assert_eq!(of(&["sub"], "a", r#"{"jti":7,"exp":2000,"sub":"alice","scope":"all"}"#), alice);
        let apart = [
            alice,
            of(&["sub"], "a", r#"{"sub":"Alice"}"#),
            of(&["sub"], "a", r#"{"sub":"alice","iss":"x"}"#),
            of(&["sub"], "a", r#"{"sub":"alice","iss":"y"}"#),
            of(&["sub"], "b", r#"{"sub":"alice"}"#),
            of(&["sub"], "a", r#"{"sub":"7"}"#),
            of(&["sub"], "a", r#"{"sub":7}"#),
            of(&["id"], "a", r#"{"id":"alice"}"#),
            of(&["sub", "scope"], "a", r#"{"sub":"alice"}"#),
            of(&["sub", "scope"], "a", r#"{"sub":"alice","scope":""}"#),
            of(&["sub", "scope"], "a", r#"{"sub":"alice","scope":"all"}"#),
            of(&["sub", "scope"], "a", r#"{"sub":"alice","scope":["all"]}"#),
            of(&["scope", "sub"], "a", r#"{"sub":"alice","scope":"all"}"#),
        ];
        for (at, one) in apart.iter().enumerate() {
            assert!(matches!(one, User::Known(_)), "{at}");
            assert_eq!(apart.iter().filter(|other| *other == one).count(), 1, "{at}");
        }
        for claims in [
            r#"{"sub":""}"#,
            r#"{"sub":null}"#,
            r#"{"sub":true}"#,
            r#"{"sub":7.5}"#,
            // Two of these would be one number here.
            r#"{"sub":98765432109876543210987654321}"#,
            r#"{"scope":"all"}"#,
            r#"{"sub":"alice","scope":[98765432109876543210987654321]}"#,
        ] {
            let doubtful = User::Doubtful(Doubt::Token(Refused::Claim));
            assert_eq!(of(&["sub", "scope"], "a", claims), doubtful, "{claims}");
        }
        let forged = bearer(r#"{"sub":"alice"}"#, "good");
        let forged = user(&claim(&["sub"], Some(trust("a"))), &[&forged], true);
        assert_eq!(forged, User::Doubtful(Doubt::Token(Refused::Malformed)));
    }

    #[test]
    fn every_doubt_has_a_word_of_its_own() {
        for refused in Refused::ALL {
            assert_eq!(Doubt::of(refused.as_str()), Some(Doubt::Token(refused)));
        }
        assert_eq!(Doubt::of("untrusted-peer"), Some(Doubt::Peer));
        assert_eq!(Doubt::of("no-store"), None);
    }

    proptest! {
        #[test]
        fn no_token_panics(text in "[ -~]{0,200}", claims in "\\PC{0,60}") {
            for tokens in [None, Some(trust("a"))] {
                let rule = claim(&["sub"], tokens);
                user(&rule, &[&format!("authorization: Bearer {}", text.trim())], false);
                user(&rule, &[&bearer(&claims, "x")], false);
                user(&rule, &[&signed(&claims)], false);
            }
        }
    }
}
