//! Whose tokens are believed.

use schemars::JsonSchema;
use serde::Deserialize;

use super::OneOrMany;
use crate::config::scalar::{FilePath, Time};
use crate::config::secret::SecretRef;
use crate::config::tokens::{AlgorithmName, Party};

/// Whose bearer tokens (JWT) are believed. Give either `keys` or `secret`. Files are read anew at every reload, and what was
/// verified with the keys before is forgotten.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tokens {
    /// Files of the public keys that signatures are verified with: PEM, or a JWK Set, whose keys are chosen by `kid`. RSA
    /// from 2048 bits, P-256, P-384 and Ed25519; up to 16 keys.
    pub keys: Option<OneOrMany<FilePath>>,
    /// Where the secret is that tokens are signed with: "env:NAME" or "file:PATH". It is as long as the algorithm's hash at
    /// least: 32 bytes for HS256.
    pub secret: Option<SecretRef>,
    /// The algorithms that tokens may be signed with, all of them: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384,
    /// EdDSA and Ed25519 with `keys`; HS256, HS384 and HS512 with `secret`.
    pub algorithms: Option<OneOrMany<AlgorithmName>>,
    /// Who must have issued them (`iss`): one of these. Without it, whoever has a key.
    pub issuer: Option<OneOrMany<Party>>,
    /// Whom they must be for (`aud`): one of these. Without it, only tokens that name nobody are accepted.
    pub audience: Option<OneOrMany<Party>>,
    /// By how much clocks may differ when `exp` and `nbf` are looked at; 5 minutes at most.
    #[schemars(extend("default" = "0s"))]
    pub leeway: Option<Time>,
}
