//! Hashes of passwords: Argon2id as a PHC string, and bcrypt. What is faster to try out than these is refused.

use std::fmt;
use std::str::FromStr;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use subtle::ConstantTimeEq;
use thiserror::Error;

/// The most memory for one hash, in KiB.
pub const MAX_MEMORY_KIB: u32 = 256 << 10;
/// The most passes over it.
pub const MAX_PASSES: u32 = 32;
/// The most lanes.
pub const MAX_LANES: u32 = 16;
/// The highest cost of bcrypt, in powers of two.
pub const MAX_COST: u32 = 16;

/// The hash of a password. It cannot be printed.
pub struct Hash {
    kind: Kind,
    text: Box<str>,
}

enum Kind {
    Argon2 { version: Version, params: Params, salt: Box<[u8]>, output: Box<[u8]> },
    Bcrypt,
}

/// Why a text is no hash that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadHash {
    /// It may be the password itself, or a hash that is too fast: MD5, SHA, crypt.
    #[error("it is neither an Argon2id nor a bcrypt hash")]
    Unknown,
    /// `$argon2i$` or `$argon2d$`.
    #[error("it is Argon2, but not Argon2id")]
    Variant,
    /// It begins like one, and is none.
    #[error("it is cut off or damaged")]
    Malformed,
    /// Checking it would take more than is bearable.
    #[error("checking it would cost too much")]
    TooCostly,
}

impl Hash {
    /// Reads `$argon2id$v=19$m=...,t=...,p=...$SALT$HASH`, `$2y$COST$...` or `$2b$COST$...`.
    ///
    /// # Errors
    /// When it is none of them, or one that costs too much.
    pub fn parse(text: &str) -> Result<Self, BadHash> {
        let kind = match text.strip_prefix('$').and_then(|rest| rest.split_once('$')) {
            Some(("argon2id", rest)) => argon2id(rest)?,
            Some(("argon2i" | "argon2d", _)) => return Err(BadHash::Variant),
            Some(("2y" | "2b", _)) => bcrypt(text)?,
            _ => return Err(BadHash::Unknown),
        };
        Ok(Self { kind, text: text.into() })
    }

    /// Whether this is the password. It takes long: not for a thread that serves.
    pub fn is_of(&self, password: &[u8]) -> bool {
        match &self.kind {
            Kind::Argon2 { version, params, salt, output } => {
                let mut made = vec![0; output.len()];
                let argon2 = Argon2::new(Algorithm::Argon2id, *version, params.clone());
                argon2.hash_password_into(password, salt, &mut made).is_ok() && made.ct_eq(output).into()
            }
            // As everywhere, bcrypt looks at 72 bytes.
            Kind::Bcrypt => bcrypt::verify(password, &self.text).unwrap_or(false),
        }
    }

    /// The hash of a password, by what OWASP asks of Argon2id at least: 19 MiB, two passes, one lane.
    ///
    /// # Errors
    /// When the system gives no randomness, or no memory.
    pub fn make(password: &[u8]) -> Result<String, String> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|error| error.to_string())?;
        let params = Params::default();
        let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
        let (memory, passes, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into(password, &salt, &mut output).map_err(|error| error.to_string())?;
        let (salt, output) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(output));
        Ok(format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${output}"))
    }

    /// One that no password has, as far as anybody knows, and that costs as much as those that are made here.
    pub(super) fn stand_in() -> Self {
        let kind = Kind::Argon2 {
            version: Version::V0x13,
            params: Params::default(),
            salt: [0; 16].into(),
            output: [0; Params::DEFAULT_OUTPUT_LEN].into(),
        };
        Self { kind, text: "".into() }
    }

    /// It as a text, which tells it from others.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(..)")
    }
}

/// The rest of a PHC string.
fn argon2id(rest: &str) -> Result<Kind, BadHash> {
    let mut parts: Vec<&str> = rest.split('$').collect();
    // Before version 1.3 nobody wrote it.
    let version = match parts.first().and_then(|part| part.strip_prefix("v=")) {
        Some("19") => Version::V0x13,
        Some("16") | None => Version::V0x10,
        Some(_) => return Err(BadHash::Malformed),
    };
    if parts.first().is_some_and(|part| part.starts_with("v=")) {
        parts.remove(0);
    }
    let [costs, salt, output] = parts[..] else { return Err(BadHash::Malformed) };
    let decode = |text: &str| STANDARD_NO_PAD.decode(text).map_err(|_| BadHash::Malformed);
    let (salt, output) = (decode(salt)?, decode(output)?);
    if !(8..=64).contains(&salt.len()) || !(16..=64).contains(&output.len()) {
        return Err(BadHash::Malformed);
    }
    let [memory, passes, lanes] = three_costs(costs).ok_or(BadHash::Malformed)?;
    if memory > MAX_MEMORY_KIB || passes > MAX_PASSES || lanes > MAX_LANES {
        return Err(BadHash::TooCostly);
    }
    let params = Params::new(memory, passes, lanes, Some(output.len())).map_err(|_| BadHash::Malformed)?;
    Ok(Kind::Argon2 { version, params, salt: salt.into(), output: output.into() })
}

fn three_costs(text: &str) -> Option<[u32; 3]> {
    let mut parts = text.split(',');
    let mut next = |name: &str| parts.next()?.strip_prefix(name)?.parse().ok();
    let costs = [next("m=")?, next("t=")?, next("p=")?];
    parts.next().is_none().then_some(costs)
}

fn bcrypt(text: &str) -> Result<Kind, BadHash> {
    let parts = bcrypt::HashParts::from_str(text).map_err(|_| BadHash::Malformed)?;
    if text.len() != 60 || !(4..=31).contains(&parts.get_cost()) {
        return Err(BadHash::Malformed);
    }
    if parts.get_cost() > MAX_COST {
        return Err(BadHash::TooCostly);
    }
    Ok(Kind::Bcrypt)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of "right", by libxcrypt.
    const BCRYPT: &str = "$2y$04$NSobeDxQ.NcAavhVBT2H8OFIUl5TSvCtPW0DkS2/WoA/9cLEaPg2i";

    fn small(password: &[u8], salt: &[u8]) -> String {
        let params = Params::new(32, 1, 1, Some(32)).unwrap();
        let mut output = [0; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password, salt, &mut output)
            .unwrap();
        let (salt, output) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(output));
        format!("$argon2id$v=19$m=32,t=1,p=1${salt}${output}")
    }

    #[test]
    fn a_hash_is_of_its_password_alone() {
        let argon2 = small(b"hunter2", b"some salt");
        let bcrypt = bcrypt::hash("hunter2", 4).unwrap();
        let bcrypt_y = bcrypt.replacen("$2b$", "$2y$", 1);
        for text in [argon2, bcrypt, bcrypt_y] {
            let hash = Hash::parse(&text).unwrap();
            assert!(hash.is_of(b"hunter2"), "{text}");
            for wrong in [&b"hunter3"[..], b"", b"hunter2 ", b"Hunter2"] {
                assert!(!hash.is_of(wrong));
            }
            assert_eq!(format!("{hash:?}"), "Hash(..)");
        }
    }

    /// RFC 9106 5.3 has a secret, which nobody uses for passwords; this one is from the reference implementation's tests
    /// (`hashtest(0x13, 2, 16, 1, "password", "somesalt", ...)`).
    #[test]
    fn hashes_of_other_programs_are_read() {
        let text = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let hash = Hash::parse(text).unwrap();
        assert!(hash.is_of(b"password"));
        assert!(!hash.is_of(b"passwore"));
        let hash = Hash::parse(BCRYPT).unwrap();
        assert!(hash.is_of(b"right") && !hash.is_of(b"wrong"));
    }

    #[test]
    fn what_is_made_is_read() {
        let text = Hash::make(b"correct horse").unwrap();
        assert!(text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
        assert!(Hash::parse(&text).unwrap().is_of(b"correct horse"));
        assert_ne!(Hash::make(b"correct horse").unwrap(), text, "each has a salt of its own");
    }

    #[test]
    fn anything_else_is_refused() {
        for (text, why) in [
            ("", BadHash::Unknown),
            ("hunter2", BadHash::Unknown),
            ("$apr1$abc$def", BadHash::Unknown),
            ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", BadHash::Unknown),
            ("$6$abc$def", BadHash::Unknown),
            ("$2a$04$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy", BadHash::Unknown),
            ("$argon2i$v=19$m=32,t=1,p=1$c29tZXNhbHQ$c29tZXNhbHRzb21lc2FsdA", BadHash::Variant),
            ("$argon2id$", BadHash::Malformed),
            ("$argon2id$v=18$m=32,t=1,p=1$c29tZXNhbHQ$c29tZXNhbHRzb21lc2FsdA", BadHash::Malformed),
            ("$argon2id$v=19$m=32,t=1$c29tZXNhbHQ$c29tZXNhbHRzb21lc2FsdA", BadHash::Malformed),
            ("$argon2id$v=19$m=32,t=1,p=1,k=1$c29tZXNhbHQ$c29tZXNhbHRzb21lc2FsdA", BadHash::Malformed),
            ("$argon2id$v=19$m=1,t=1,p=1$c29tZXNhbHQ$c29tZXNhbHRzb21lc2FsdA", BadHash::Malformed),
            ("$argon2id$v=19$m=32,t=0,p=1$c29tZXNhbHQ$c29tZXNhbHRzb21lc2FsdA", BadHash::Malformed),
            ("$argon2id$v=19$m=32,t=1,p=1$c2FsdA$c29tZXNhbHRzb21lc2FsdA", BadHash::Malformed),
            ("$argon2id$v=19$m=32,t=1,p=1$c29tZXNhbHQ", BadHash::Malformed),
            ("$argon2id$v=19$m=4000000,t=1,p=1$c29tZXNhbHQ$c29tZXNhbHRzb21lc2FsdA", BadHash::TooCostly),
            ("$2y$04$N9qo8uLOickgx2ZMRZoMye", BadHash::Malformed),
            ("$2y$31$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy", BadHash::TooCostly),
        ] {
            assert_eq!(Hash::parse(text).err(), Some(why), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,80}", tail in "[$./A-Za-z0-9=,]{0,70}") {
            let _ = Hash::parse(&text);
            for start in ["$argon2id$", "$argon2id$v=19$m=32,t=1,p=1$", "$2y$", "$2b$04$"] {
                let _ = Hash::parse(&format!("{start}{tail}"));
            }
        }
    }
}
