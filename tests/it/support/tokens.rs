//! Who signs tokens, and what they are verified with.

use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, crypto, jwk::Jwk};
use serde_json::{Value, json};

/// An issuer with a P-256 key of its own.
pub struct Issuer {
    kid: &'static str,
    key: EncodingKey,
    public: String,
}

impl Issuer {
    /// With a new key, which tokens call `kid`.
    pub fn new(kid: &'static str) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).expect("a P-256 key");
        Self { kid, key, public: pair.public_key_pem() }
    }

    /// `Authorization`, with a token that claims this.
    pub fn bearer(&self, claims: &Value) -> String {
        self.bearer_as(&json!({ "alg": "ES256", "kid": self.kid }), claims)
    }

    /// With a header of its own.
    pub fn bearer_as(&self, header: &Value, claims: &Value) -> String {
        let encode = |json: &Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = crypto::sign(message.as_bytes(), &self.key, Algorithm::ES256).expect("a signature");
        format!("Authorization: Bearer {message}.{signature}")
    }

    fn jwk(&self) -> Value {
        let key = DecodingKey::from_ec_pem(self.public.as_bytes()).expect("a public key");
        let mut jwk = serde_json::to_value(Jwk::from_decoding_key(&key, None).expect("a JWK")).expect("JSON");
        jwk["kid"] = self.kid.into();
        jwk
    }
}

/// A file of keys, which a reload reads anew.
pub struct KeyFile {
    directory: tempfile::TempDir,
}

impl KeyFile {
    /// With the keys of these.
    pub fn of(issuers: &[&Issuer]) -> Self {
        let own = Self { directory: tempfile::tempdir().expect("a directory") };
        own.write(issuers);
        own
    }

    /// Has the keys of these from now on.
    pub fn write(&self, issuers: &[&Issuer]) {
        let keys: Vec<Value> = issuers.iter().map(|issuer| issuer.jwk()).collect();
        std::fs::write(self.path(), json!({ "keys": keys }).to_string()).expect("a file");
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("keys.json")
    }
}
