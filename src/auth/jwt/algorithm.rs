//! Signature algorithms (RFC 7518 3.1, RFC 8037, RFC 9864), and the kind of key that each takes.

use jsonwebtoken as lib;

/// A signature algorithm. `none` is not among them, nor is any that this build cannot verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519 by the name of RFC 8037.
    EdDsa,
    /// Ed25519 by the name of RFC 9864.
    Ed25519,
}

/// What kind of key it is. Each algorithm takes one kind, whatever a token's header says: a public key is never taken
/// for a shared secret (RFC 8725 2.1, 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A shared secret.
    Secret,
    /// An RSA key.
    Rsa,
    /// A point on P-256.
    P256,
    /// A point on P-384.
    P384,
    /// An Ed25519 key.
    Ed25519,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 13] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
        Self::Ed25519,
        Self::Hs256,
        Self::Hs384,
        Self::Hs512,
    ];

    /// Its name in a token's header; case counts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
            Self::Ed25519 => "Ed25519",
        }
    }

    /// By its name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// The kind of key that it takes.
    pub const fn kind(self) -> Kind {
        match self {
            Self::Hs256 | Self::Hs384 | Self::Hs512 => Kind::Secret,
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 => Kind::Rsa,
            Self::Es256 => Kind::P256,
            Self::Es384 => Kind::P384,
            Self::EdDsa | Self::Ed25519 => Kind::Ed25519,
        }
    }

    /// The shortest secret in bytes: as long as the hash (RFC 7518 3.2).
    pub const fn shortest_secret(self) -> usize {
        match self {
            Self::Hs384 => 48,
            Self::Hs512 => 64,
            _ => 32,
        }
    }

    pub(super) const fn verified_as(self) -> lib::Algorithm {
        match self {
            Self::Hs256 => lib::Algorithm::HS256,
            Self::Hs384 => lib::Algorithm::HS384,
            Self::Hs512 => lib::Algorithm::HS512,
            Self::Rs256 => lib::Algorithm::RS256,
            Self::Rs384 => lib::Algorithm::RS384,
            Self::Rs512 => lib::Algorithm::RS512,
            Self::Ps256 => lib::Algorithm::PS256,
            Self::Ps384 => lib::Algorithm::PS384,
            Self::Ps512 => lib::Algorithm::PS512,
            Self::Es256 => lib::Algorithm::ES256,
            Self::Es384 => lib::Algorithm::ES384,
            Self::EdDsa | Self::Ed25519 => lib::Algorithm::EdDSA,
        }
    }
}

impl Kind {
    /// What people call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "a shared secret",
            Self::Rsa => "an RSA key",
            Self::P256 => "a P-256 key",
            Self::P384 => "a P-384 key",
            Self::Ed25519 => "an Ed25519 key",
        }
    }
}
