//! The key under which a response is stored.
//!
//! The default key is upstream, scheme, authority, normalised target, and every request field that the route's
//! match looks at. A digest finds the entry; a hit compares the whole key, so that a collision of digests can
//! never hand out another URL's reply.
//!
//! What else a route keys by (a cookie, the method, the body, the user, a slice of the body) is computed before the
//! look-up and stands behind the fields as [`Part`]s, whose names no field can have.

use std::fmt;

use http::HeaderMap;

/// The first 128 bits of the BLAKE3 hash of a key's parts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// From 32 lower- or upper-case hexadecimal digits.
    pub fn from_hex(hex: &str) -> Option<Self> {
        if hex.len() != 32 || !hex.is_ascii() {
            return None;
        }
        u128::from_str_radix(hex, 16).ok().map(|bits| Self(bits.to_be_bytes()))
    }

    /// A number that is the same for a key every time and falls evenly over all values for different ones. From the
    /// digest's end: its beginning already tells shards apart.
    pub const fn spread(&self) -> u32 {
        let [.., a, b, c, d] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The parts of a key, borrowed from a request: nothing is built to look an entry up.
#[derive(Clone, Copy, Debug)]
pub struct KeyParts<'a> {
    /// Name of the upstream that would answer.
    pub upstream: &'a str,
    /// `http` or `https`, as the client sees it.
    pub scheme: &'a str,
    /// Lower-case host, with the port unless it is the scheme's own.
    pub authority: &'a str,
    /// Normalised path and, after `?`, the query as the key rules left it.
    pub target: &'a str,
    /// The names of request fields that belong to the key (lower case, in the route's order).
    pub fields: &'a [http::HeaderName],
    /// Where the values of `fields` are.
    pub headers: &'a HeaderMap,
    /// What was computed beside them, in the route's order; mostly nothing.
    pub extra: &'a [Part<'a>],
}

/// A computed part of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// What it is; with a colon in it, so that it is no field's name (RFC 9110 5.1).
    pub name: &'a str,
    /// Its value: hashed with the store's secret where it may be a credential; `None` where the request has none.
    pub value: Option<FieldHash>,
}

impl Part<'static> {
    /// The name of the part that tells methods apart.
    pub const METHOD: &'static str = ":method";
    /// The name of the part that stands for the request's body.
    pub const BODY: &'static str = ":body";
    /// The name of the part that tells users apart.
    pub const USER: &'static str = ":user";
    /// The name of the part that tells what a route asks of clients' certificates.
    pub const CLIENT: &'static str = ":client_cert";
    /// The name of the part that numbers the slices of a body.
    pub const SLICE: &'static str = ":slice";
    /// The name of the part that tells a stored body in another content coding from the response that it was made of.
    pub const CODING: &'static str = ":coding";
    /// What the name of a part that is a cookie's value begins with.
    pub const COOKIE: &'static str = "cookie:";
}

/// A key as it is stored beside its entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoredKey {
    /// Name of the upstream.
    pub upstream: Box<str>,
    /// `http` or `https`.
    pub scheme: Box<str>,
    /// Lower-case host, with the port unless it is the scheme's own.
    pub authority: Box<str>,
    /// Normalised path and query.
    pub target: Box<str>,
    /// Field name and the keyed hash of its values, `None` where the request had no such field; then the computed
    /// parts.
    pub fields: Vec<(Box<str>, Option<FieldHash>)>,
}

/// A field's value as it is kept in a key or a variant: hashed with the store's secret, since it may be a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldHash(pub [u8; 16]);

/// The secret with which field values are hashed; made once per store directory.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A secret from its stored bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Hashes a field's values. Each value is preceded by its length, so that two lists never hash alike.
    pub fn hash<'v>(&self, values: impl IntoIterator<Item = &'v [u8]>) -> FieldHash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for value in values {
            hasher.update(&(value.len() as u64).to_le_bytes());
            hasher.update(value);
        }
        FieldHash(first_half(&hasher.finalize()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl KeyParts<'_> {
    /// The digest that finds the entry.
    pub fn digest(&self, secret: &Secret) -> Digest {
        let mut hashed = Hashed::new();
        for part in [self.upstream, self.scheme, self.authority, self.target] {
            hashed.part(part.as_bytes());
        }
        for name in self.fields {
            hashed.part(name.as_str().as_bytes());
            match field_hash(self.headers, name, secret) {
                Some(hash) => hashed.part(&hash.0),
                None => hashed.part(b""),
            }
        }
        for Part { name, value } in self.extra {
            hashed.part(name.as_bytes());
            hashed.part(value.as_ref().map_or(&[][..], |hash| &hash.0));
        }
        hashed.digest()
    }

    /// Whether a stored key is this very key, part by part.
    pub fn matches(&self, stored: &StoredKey, secret: &Secret) -> bool {
        let Some((fields, extra)) = stored.fields.split_at_checked(self.fields.len()) else { return false };
        *stored.upstream == *self.upstream
            && *stored.scheme == *self.scheme
            && *stored.authority == *self.authority
            && *stored.target == *self.target
            && self.fields.iter().zip(fields).all(|(name, (stored_name, stored_hash))| {
                name.as_str() == &**stored_name && field_hash(self.headers, name, secret) == *stored_hash
            })
            && extra.len() == self.extra.len()
            && self
                .extra
                .iter()
                .zip(extra)
                .all(|(part, (name, hash))| *part.name == **name && part.value == *hash)
    }

    /// The owned form that is stored.
    pub fn to_stored(&self, secret: &Secret) -> StoredKey {
        StoredKey {
            upstream: self.upstream.into(),
            scheme: self.scheme.into(),
            authority: self.authority.into(),
            target: self.target.into(),
            fields: self
                .fields
                .iter()
                .map(|name| (name.as_str().into(), field_hash(self.headers, name, secret)))
                .chain(self.extra.iter().map(|part| (part.name.into(), part.value)))
                .collect(),
        }
    }
}

impl StoredKey {
    /// The digest of this key; equal to that of the [`KeyParts`] it was made from.
    pub fn digest(&self) -> Digest {
        let mut hashed = Hashed::new();
        for part in [&self.upstream, &self.scheme, &self.authority, &self.target] {
            hashed.part(part.as_bytes());
        }
        for (name, hash) in &self.fields {
            hashed.part(name.as_bytes());
            hashed.part(hash.as_ref().map_or(&[][..], |hash| &hash.0));
        }
        hashed.digest()
    }

    /// The URL that this key stands for, as a client would write it.
    pub fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority, self.target)
    }
}

/// The keyed hash of all values of a field, `None` when the request has no such field.
pub fn field_hash(headers: &HeaderMap, name: &http::HeaderName, secret: &Secret) -> Option<FieldHash> {
    headers
        .contains_key(name)
        .then(|| secret.hash(headers.get_all(name).iter().map(http::HeaderValue::as_bytes)))
}

/// Parts on their way into a digest, each behind its length. Short keys are gathered first: one hash of many bytes
/// costs half of many hashes of few.
struct Hashed {
    gathered: [u8; Self::GATHERED],
    len: usize,
    /// Where they were too long to be gathered.
    hasher: Option<Box<blake3::Hasher>>,
}

impl Hashed {
    /// The keys of most requests.
    const GATHERED: usize = 512;

    fn new() -> Self {
        Self { gathered: [0; Self::GATHERED], len: 0, hasher: None }
    }

    fn part(&mut self, part: &[u8]) {
        self.bytes(&(part.len() as u32).to_le_bytes());
        self.bytes(part);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if self.hasher.is_none()
            && let Some(room) = self.gathered.get_mut(self.len..end)
        {
            room.copy_from_slice(bytes);
            self.len = end;
            return;
        }
        let hasher = self.hasher.get_or_insert_with(|| {
            let mut hasher = Box::new(blake3::Hasher::new());
            hasher.update(&self.gathered[..self.len]);
            hasher
        });
        hasher.update(bytes);
    }

    fn digest(self) -> Digest {
        Digest(first_half(&match self.hasher {
            Some(hasher) => hasher.finalize(),
            None => blake3::hash(&self.gathered[..self.len]),
        }))
    }
}

fn first_half(hash: &blake3::Hash) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash.as_bytes()[..16]);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts<'a>(target: &'a str, headers: &'a HeaderMap, fields: &'a [http::HeaderName]) -> KeyParts<'a> {
        KeyParts {
            upstream: "api",
            scheme: "http",
            authority: "example.com",
            target,
            fields,
            headers,
            extra: &[],
        }
    }

    #[test]
    fn computed_parts_belong_to_the_key_like_fields() {
        let secret = Secret::new([7; 32]);
        let headers = HeaderMap::new();
        let fields = [http::header::ACCEPT_LANGUAGE];
        let plain = parts("/a", &headers, &fields);
        let part = |name, value: Option<&[u8]>| Part { name, value: value.map(|value| secret.hash([value])) };
        let lists = [
            vec![],
            vec![part(Part::METHOD, Some(b"POST"))],
            vec![part(Part::METHOD, None)],
            vec![part(Part::BODY, Some(b"POST"))],
            vec![part(Part::METHOD, Some(b"POST")), part("cookie:a", None)],
            vec![part("cookie:a", None), part(Part::METHOD, Some(b"POST"))],
        ];
        for (at, extra) in lists.iter().enumerate() {
            let key = KeyParts { extra, ..plain };
            let stored = key.to_stored(&secret);
            assert_eq!(stored.digest(), key.digest(&secret));
            for (other, extra) in lists.iter().enumerate() {
                let alike = KeyParts { extra, ..plain };
                assert_eq!(alike.matches(&stored, &secret), at == other, "{at} {other}");
                assert_eq!(alike.digest(&secret) == stored.digest(), at == other, "{at} {other}");
            }
        }
    }

    /// Stores that were written before there were computed parts must stay readable.
    #[test]
    fn the_digest_of_a_plain_key_never_changes() {
        let secret = Secret::new([7; 32]);
        let mut headers = HeaderMap::new();
        headers.append("accept-language", "de".parse().unwrap());
        let fields = [http::header::ACCEPT_LANGUAGE, http::header::AUTHORIZATION];
        let digest = parts("/a?b=c", &headers, &fields).digest(&secret);
        assert_eq!(digest.to_string(), "1295f89e59f1db1578f03e41e8900a05");
    }

    #[test]
    fn borrowed_and_stored_keys_agree() {
        let secret = Secret::new([7; 32]);
        let mut headers = HeaderMap::new();
        headers.append("accept-language", "de".parse().unwrap());
        let fields = [http::header::ACCEPT_LANGUAGE, http::header::AUTHORIZATION];
        let key = parts("/a?b=c", &headers, &fields);
        let stored = key.to_stored(&secret);
        assert_eq!(stored.digest(), key.digest(&secret));
        assert!(key.matches(&stored, &secret));
        assert!(!parts("/a?b=d", &headers, &fields).matches(&stored, &secret));
        headers.append("accept-language", "fr".parse().unwrap());
        assert!(!parts("/a?b=c", &headers, &fields).matches(&stored, &secret));
    }

    #[test]
    fn a_digest_reads_back_from_hex() {
        let digest = Digest([0xab; 16]);
        assert_eq!(Digest::from_hex(&digest.to_string()), Some(digest));
        assert_eq!(Digest::from_hex("ab"), None);
    }
}
