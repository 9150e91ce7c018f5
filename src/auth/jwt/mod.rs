//! JSON Web Tokens (RFC 7519), signed (RFC 7515): whether one was signed by whom the config trusts, is for here, and
//! holds now.
//!
//! A [`Verifier`] is one named trust: its keys, the algorithms that it takes, issuers and audiences. It is either of public
//! keys or of a shared secret, and each key takes the algorithms of its kind, so that a token's header chooses among what is
//! allowed and never what it means (RFC 8725 3.1). The order is that of RFC 7515 5.2 and RFC 7519 7.2: nothing that a token
//! claims is read before its signature has held. [`Remembered`] spares the next request with the same token all of that.
//!
//! ```text
//! token ─▶ cut ─▶ header: alg allowed? kid known? ─▶ signature ─▶ claims: nbf, exp, iss, aud ─▶ Verified
//! ```

mod algorithm;
mod claims;
mod keys;
mod remembered;
mod token;

#[cfg(test)]
mod tests;

pub use algorithm::{Algorithm, Kind};
pub use claims::Claims;
pub use keys::{Key, KeyError, MAX_KEYS};
pub use remembered::Remembered;
pub use token::MAX_TOKEN;

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use token::Compact;

use crate::clock::Timestamp;

/// Whose tokens are accepted.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What it is called.
    pub name: Arc<str>,
    /// What its tokens are signed with.
    pub keys: Vec<Key>,
    /// The algorithms that they may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// Who may have issued them; empty: whoever has a key.
    pub issuers: Vec<Box<str>>,
    /// Whom they may be for; empty: only those that do not say.
    pub audiences: Vec<Box<str>>,
    /// By how much clocks may differ.
    pub leeway: Duration,
}

/// Verifies the tokens of one trust.
#[derive(Clone)]
pub struct Verifier {
    settings: Settings,
}

/// A token that is accepted.
#[derive(Clone, Debug)]
pub struct Verified {
    /// What it claims.
    pub claims: Claims,
    /// From when on it is not accepted; `None`: it does not say.
    pub expires: Option<Timestamp>,
    /// How it is signed.
    pub algorithm: Algorithm,
    /// What the key is called that signed it.
    pub key: Option<Box<str>>,
}

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// Longer than is looked at.
    #[error("the token has more than {} KiB", MAX_TOKEN >> 10)]
    TooLong,
    /// Not a signed token in compact form.
    #[error("the token is not a signed JWT")]
    Malformed,
    /// It has a critical extension.
    #[error("the token's header calls critical what is not known here")]
    Critical,
    /// Its algorithm is not among those allowed.
    #[error("the token's algorithm is not allowed")]
    Algorithm,
    /// No key is called as it says, or none fits its algorithm.
    #[error("there is no key for the token")]
    UnknownKey,
    /// No key made its signature.
    #[error("the token's signature does not verify")]
    Signature,
    /// It is not accepted any more.
    #[error("the token has expired")]
    Expired,
    /// It is not accepted yet.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Somebody else issued it.
    #[error("the token's issuer is another one")]
    Issuer,
    /// It is for somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// It has not the claim that is asked for, or not in a usable form.
    #[error("the token has not the claim, or as something else than a text or a whole number")]
    Claim,
}

impl Refused {
    /// Every reason.
    pub const ALL: [Self; 11] = [
        Self::TooLong,
        Self::Malformed,
        Self::Critical,
        Self::Algorithm,
        Self::UnknownKey,
        Self::Signature,
        Self::Expired,
        Self::NotYetValid,
        Self::Issuer,
        Self::Audience,
        Self::Claim,
    ];

    /// The word for logs, metrics and `Cache-Status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "token-too-long",
            Self::Malformed => "token-malformed",
            Self::Critical => "token-critical",
            Self::Algorithm => "token-algorithm",
            Self::UnknownKey => "token-unknown-key",
            Self::Signature => "token-signature",
            Self::Expired => "token-expired",
            Self::NotYetValid => "token-not-yet-valid",
            Self::Issuer => "token-issuer",
            Self::Audience => "token-audience",
            Self::Claim => "token-claim",
        }
    }

    /// The section that says so.
    pub const fn rule(self) -> &'static str {
        match self {
            Self::TooLong | Self::Claim => "policy",
            Self::Malformed => "RFC 7519 7.2",
            Self::Critical => "RFC 7515 4.1.11",
            Self::Algorithm => "RFC 8725 3.1",
            Self::UnknownKey => "RFC 7515 4.1.4",
            Self::Signature => "RFC 7515 5.2",
            Self::Expired => "RFC 7519 4.1.4",
            Self::NotYetValid => "RFC 7519 4.1.5",
            Self::Issuer => "RFC 7519 4.1.1",
            Self::Audience => "RFC 7519 4.1.3",
        }
    }
}

impl Verifier {
    /// With these keys and rules.
    pub const fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// What a token claims, if it is accepted now.
    ///
    /// # Errors
    /// When it is not, with the first reason.
    pub fn verify(&self, token: &[u8], now: Timestamp) -> Result<Verified, Refused> {
        let token = Compact::parse(token)?;
        let header = token.header()?;
        let algorithm = Algorithm::of(&header.alg).filter(|own| self.settings.algorithms.contains(own));
        let algorithm = algorithm.ok_or(Refused::Algorithm)?;
        let mut candidates = self.candidates(header.kid.as_deref(), algorithm).peekable();
        candidates.peek().ok_or(Refused::UnknownKey)?;
        let key = candidates
            .find(|key| key.verifies(algorithm, token.signed, token.signature))
            .ok_or(Refused::Signature)?;
        let claims = token.claims()?;
        let expires = claims.until(now, self.settings.leeway)?;
        if !claims.is_from(&self.settings.issuers) {
            return Err(Refused::Issuer);
        }
        if !claims.is_for(&self.settings.audiences) {
            return Err(Refused::Audience);
        }
        Ok(Verified { claims, expires, algorithm, key: key.id.clone() })
    }

    /// The keys that may have signed it: those of the name that it gives, or else those without a name (RFC 7515 4.1.4);
    /// where it gives none, any.
    fn candidates(&self, id: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &Key> {
        let keys = &self.settings.keys;
        let named = id.is_some_and(|id| keys.iter().any(|key| key.id.as_deref() == Some(id)));
        keys.iter().filter(move |key| {
            let meant = match id {
                None => true,
                Some(id) if named => key.id.as_deref() == Some(id),
                Some(_) => key.id.is_none(),
            };
            meant && key.takes(algorithm)
        })
    }

    /// All that it goes by, for comparing two of them within this process.
    fn fingerprint(&self) -> [u8; 16] {
        static SECRET: LazyLock<[u8; 32]> = LazyLock::new(crate::auth::random);
        let Settings { name, keys, algorithms, issuers, audiences, leeway } = &self.settings;
        let mut hasher = blake3::Hasher::new_keyed(&SECRET);
        hasher.update(format!("{name:?} {algorithms:?} {issuers:?} {audiences:?} {leeway:?}").as_bytes());
        keys.iter().for_each(|key| key.update(&mut hasher));
        let mut half = [0; 16];
        half.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        half
    }
}

impl PartialEq for Verifier {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint() == other.fingerprint()
    }
}

impl Eq for Verifier {}

/// The keys are told apart, not told.
impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fingerprint = u128::from_be_bytes(self.fingerprint());
        f.debug_struct("Verifier")
            .field("name", &self.settings.name)
            .field("fingerprint", &format_args!("{fingerprint:032x}"))
            .finish_non_exhaustive()
    }
}

/// What a token that nobody has verified claims, and until when. It says nothing about who sent it.
///
/// # Errors
/// When it is no signed token, or its time is not now.
pub fn unverified(token: &[u8], now: Timestamp) -> Result<Claims, Refused> {
    let claims = Compact::parse(token)?.claims()?;
    claims.until(now, Duration::ZERO)?;
    Ok(claims)
}
