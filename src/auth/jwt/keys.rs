//! Keys, from PEM (RFC 7468), from JWK Sets (RFC 7517 5) and from shared secrets.
//!
//! What could never verify anything is found here and not at the first token: private keys in the place of public ones,
//! keys that are too weak, points that are on no curve (RFC 8725 3.4, 3.5).

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, VerificationAlgorithm,
};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken as lib;
use lib::jwk::{AlgorithmParameters, EllipticCurve, Jwk};
use serde_json::Value;

use super::algorithm::{Algorithm, Kind};

/// The most keys of one source: a token that does not say which one signed it is tried with all that fit.
pub const MAX_KEYS: usize = 16;

/// The sizes of RSA keys in bits (RFC 7518 3.3; what the verifier takes).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A key that verifies.
#[derive(Clone)]
pub struct Key {
    /// What tokens call it in `kid`.
    pub id: Option<Box<str>>,
    /// The only algorithm that it is for, where its JWK says so.
    pub only: Option<Algorithm>,
    /// What kind of key it is.
    pub kind: Kind,
    key: lib::DecodingKey,
}

/// Why a text is no set of keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither PEM nor JSON.
    #[error("it holds neither PEM blocks nor a JWK Set")]
    NoKeys,
    /// Nothing in the set can verify a signature.
    #[error("none of its {0} keys can verify a signature")]
    NoneOfUse(usize),
    /// A PEM block of another kind.
    #[error("it holds a block `{0}`, which is no public key")]
    Block(String),
    /// A private key where only a public one belongs.
    #[error("it holds a private key")]
    Private,
    /// A shared secret where public keys belong.
    #[error("it holds a shared secret (`kty` `oct`) among public keys")]
    Symmetric,
    /// A block or key that does not parse, or is of a kind that is not known here.
    #[error("{0} is not an RSA, P-256, P-384 or Ed25519 public key")]
    Unknown(String),
    /// A key that is too weak, or too large to be used.
    #[error("{0} is an RSA key of {1} bits: {min} to {max} can be used", min = RSA_BITS.start(), max = RSA_BITS.end())]
    Size(String, usize),
    /// More keys than are ever tried.
    #[error("it holds {0} keys, and {MAX_KEYS} at most are tried")]
    TooMany(usize),
}

impl Key {
    /// A shared secret.
    pub fn secret(secret: &[u8]) -> Self {
        Self { id: None, only: None, kind: Kind::Secret, key: lib::DecodingKey::from_secret(secret) }
    }

    /// The public keys of a text: PEM blocks, or a JWK Set.
    ///
    /// # Errors
    /// When anything in it is not what belongs there, or nothing is left.
    pub fn public(text: &str) -> Result<Vec<Self>, KeyError> {
        let keys = match text.trim_start().starts_with('{') {
            true => set(text)?,
            false => pem(text)?,
        };
        if keys.len() > MAX_KEYS { Err(KeyError::TooMany(keys.len())) } else { Ok(keys) }
    }

    /// Whether it may verify tokens of this algorithm.
    pub fn takes(&self, algorithm: Algorithm) -> bool {
        self.kind == algorithm.kind()
            && self.only.is_none_or(|only| only.verified_as() == algorithm.verified_as())
    }

    /// Whether it made this signature (base64url) of the message.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &str, signature: &str) -> bool {
        self.takes(algorithm)
            && lib::crypto::verify(signature, message.as_bytes(), &self.key, algorithm.verified_as())
                .unwrap_or(false)
    }

    /// All that makes it this key and no other, for a hash.
    pub(super) fn update(&self, hasher: &mut blake3::Hasher) {
        let only = self.only.map_or("", Algorithm::as_str);
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        part(self.id.as_deref().unwrap_or_default().as_bytes());
        part(only.as_bytes());
        match self.key.kind() {
            lib::DecodingKeyKind::SecretOrDer(bytes) => part(bytes),
            lib::DecodingKeyKind::RsaModulusExponent { n, e } => {
                part(n);
                part(e);
            }
        }
    }

    /// A public key, held against what is known of its kind.
    fn checked(name: &str, key: lib::DecodingKey, jwk: &AlgorithmParameters) -> Result<Self, KeyError> {
        let unknown = || KeyError::Unknown(name.to_owned());
        let kind = match jwk {
            AlgorithmParameters::RSA(rsa) => {
                let modulus = BASE64_URL_SAFE_NO_PAD.decode(&rsa.n).map_err(|_| unknown())?;
                let bits = bits(&modulus);
                if !RSA_BITS.contains(&bits) {
                    return Err(KeyError::Size(name.to_owned(), bits));
                }
                Kind::Rsa
            }
            AlgorithmParameters::EllipticCurve(ec) => match ec.curve {
                EllipticCurve::P256 if on(&ECDSA_P256_SHA256_FIXED, &key) => Kind::P256,
                EllipticCurve::P384 if on(&ECDSA_P384_SHA384_FIXED, &key) => Kind::P384,
                _ => return Err(unknown()),
            },
            AlgorithmParameters::OctetKeyPair(pair)
                if pair.curve == EllipticCurve::Ed25519 && on(&ED25519, &key) =>
            {
                Kind::Ed25519
            }
            _ => return Err(unknown()),
        };
        Ok(Self { id: None, only: None, kind, key })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Whether the key is a valid one of this algorithm's: a point of the curve, of the right length.
fn on(algorithm: &'static dyn VerificationAlgorithm, key: &lib::DecodingKey) -> bool {
    key.try_get_as_bytes().is_ok_and(|bytes| ParsedPublicKey::new(algorithm, bytes).is_ok())
}

/// How many bits a number has.
fn bits(number: &[u8]) -> usize {
    let first = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    let rest = &number[first..];
    rest.first().map_or(0, |byte| rest.len() * 8 - byte.leading_zeros() as usize)
}

/// The keys of PEM blocks.
fn pem(text: &str) -> Result<Vec<Key>, KeyError> {
    const BEGIN: &str = "-----BEGIN ";
    let blocks: Vec<&str> = text.split(BEGIN).skip(1).collect();
    if blocks.is_empty() {
        return Err(KeyError::NoKeys);
    }
    let mut keys = Vec::new();
    for (index, rest) in blocks.into_iter().enumerate() {
        let label = rest.split("-----").next().unwrap_or_default();
        match label {
            "PUBLIC KEY" | "RSA PUBLIC KEY" => {
                keys.push(pem_key(&format!("key {}", index + 1), &format!("{BEGIN}{rest}"))?);
            }
            label if label.ends_with("PRIVATE KEY") => return Err(KeyError::Private),
            label => return Err(KeyError::Block(label.chars().take(40).collect())),
        }
    }
    Ok(keys)
}

fn pem_key(name: &str, block: &str) -> Result<Key, KeyError> {
    let block = block.as_bytes();
    let key = lib::DecodingKey::from_rsa_pem(block)
        .or_else(|_| lib::DecodingKey::from_ec_pem(block))
        .or_else(|_| lib::DecodingKey::from_ed_pem(block));
    let unknown = |_| KeyError::Unknown(name.to_owned());
    let key = key.map_err(unknown)?;
    let jwk = Jwk::from_decoding_key(&key, None).map_err(unknown)?;
    Key::checked(name, key, &jwk.algorithm)
}

/// The keys of a JWK Set. Those that are not known here are left out, as is what is not for verifying (RFC 7517 5);
/// private and secret keys are refused, since they have no place among public ones.
fn set(text: &str) -> Result<Vec<Key>, KeyError> {
    let Ok(Value::Object(set)) = serde_json::from_str(text) else { return Err(KeyError::NoKeys) };
    // A single key is taken for a set of one.
    let own = [Value::Object(set.clone())];
    let keys = match set.get("keys") {
        Some(Value::Array(keys)) => &keys[..],
        None if set.contains_key("kty") => &own[..],
        _ => return Err(KeyError::NoKeys),
    };
    let mut found = Vec::new();
    for (index, key) in keys.iter().enumerate() {
        if key.get("kty").is_some_and(|kty| kty == "oct") {
            return Err(KeyError::Symmetric);
        }
        if key.get("d").is_some() {
            return Err(KeyError::Private);
        }
        if is_for_verifying(key)
            && let Some(key) = jwk(index, key)?
        {
            found.push(key);
        }
    }
    if found.is_empty() { Err(KeyError::NoneOfUse(keys.len())) } else { Ok(found) }
}

/// Whether a JWK says nothing against being used for signatures (RFC 7517 4.2, 4.3).
fn is_for_verifying(key: &Value) -> bool {
    let signs = key.get("use").is_none_or(|usage| usage == "sig");
    let operations = key.get("key_ops").map(|operations| operations.as_array());
    let verifies = |operations: Option<&Vec<Value>>| {
        operations.is_some_and(|operations| operations.iter().any(|operation| operation == "verify"))
    };
    signs && operations.is_none_or(verifies)
}

/// The key of a JWK; `None` where it is of a kind that is not known here.
fn jwk(index: usize, value: &Value) -> Result<Option<Key>, KeyError> {
    let only = match value.get("alg").map(|name| name.as_str().and_then(Algorithm::of)) {
        Some(None) => return Ok(None),
        only => only.flatten(),
    };
    let Ok(jwk) = serde_json::from_value::<Jwk>(value.clone()) else { return Ok(None) };
    let Ok(key) = lib::DecodingKey::from_jwk(&jwk) else { return Ok(None) };
    let id = jwk.common.key_id.as_deref().map(Box::from);
    let name = id.as_deref().map_or_else(|| format!("key {}", index + 1), |id: &str| format!("key `{id}`"));
    match Key::checked(&name, key, &jwk.algorithm) {
        Ok(key) if only.is_none_or(|only| only.kind() == key.kind) => Ok(Some(Key { id, only, ..key })),
        Err(weak @ KeyError::Size(..)) => Err(weak),
        Ok(_) | Err(_) => Ok(None),
    }
}
