//! Tokens that are accepted, and all the ways in which they are not.

use std::cell::Cell;
use std::hint::black_box;
use std::time::Instant;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_000_000);
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// Somebody who signs.
struct Signer {
    algorithm: Algorithm,
    key: jsonwebtoken::EncodingKey,
    /// PEM of the public key.
    public: String,
}

impl Signer {
    fn new(algorithm: Algorithm) -> Self {
        let pair = match algorithm.kind() {
            Kind::Rsa => {
                rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap()
            }
            Kind::P256 => rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap(),
            Kind::P384 => rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap(),
            Kind::Ed25519 => rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(),
            Kind::Secret => {
                let key = jsonwebtoken::EncodingKey::from_secret(SECRET);
                return Self { algorithm, key, public: String::new() };
            }
        };
        let pem = pair.serialize_pem();
        let key = match algorithm.kind() {
            Kind::Rsa => jsonwebtoken::EncodingKey::from_rsa_pem(pem.as_bytes()),
            Kind::Ed25519 => jsonwebtoken::EncodingKey::from_ed_pem(pem.as_bytes()),
            _ => jsonwebtoken::EncodingKey::from_ec_pem(pem.as_bytes()),
        };
        Self { algorithm, key: key.unwrap(), public: pair.public_key_pem() }
    }

    /// With a header of its own.
    fn sign_as(&self, header: &Value, claims: &str) -> String {
        let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        let message = format!("{}.{}", encode(&header.to_string()), encode(claims));
        let algorithm = self.algorithm.verified_as();
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, algorithm).unwrap();
        format!("{message}.{signature}")
    }

    fn sign(&self, claims: &str) -> String {
        self.sign_as(&json!({ "alg": self.algorithm.as_str(), "typ": "JWT" }), claims)
    }

    fn keys(&self) -> Vec<Key> {
        match self.algorithm.kind() {
            Kind::Secret => vec![Key::secret(SECRET)],
            _ => Key::public(&self.public).unwrap(),
        }
    }

    /// Its public key as a JWK.
    fn jwk(&self, id: &str) -> Value {
        let key = match self.algorithm.kind() {
            Kind::Rsa => jsonwebtoken::DecodingKey::from_rsa_pem(self.public.as_bytes()),
            Kind::Ed25519 => jsonwebtoken::DecodingKey::from_ed_pem(self.public.as_bytes()),
            _ => jsonwebtoken::DecodingKey::from_ec_pem(self.public.as_bytes()),
        };
        let jwk = jsonwebtoken::jwk::Jwk::from_decoding_key(&key.unwrap(), None).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = id.into();
        jwk
    }
}

fn settings(signer: &Signer) -> Settings {
    Settings {
        name: "accounts".into(),
        keys: signer.keys(),
        algorithms: vec![signer.algorithm],
        issuers: Vec::new(),
        audiences: Vec::new(),
        leeway: Duration::ZERO,
    }
}

fn refused(settings: Settings, token: &str) -> Option<Refused> {
    Verifier::new(settings).verify(token.as_bytes(), NOW).err()
}

#[test]
fn every_algorithm_verifies_its_own_and_no_other_s() {
    let signers: Vec<Signer> = Algorithm::ALL
        .into_iter()
        .filter(|algorithm| !matches!(algorithm, Algorithm::Rs384 | Algorithm::Rs512 | Algorithm::Ps384))
        .map(Signer::new)
        .collect();
    for (at, signer) in signers.iter().enumerate() {
        let token = signer.sign(r#"{"sub":"alice"}"#);
        let verified = Verifier::new(settings(signer)).verify(token.as_bytes(), NOW).unwrap();
        assert_eq!(verified.algorithm, signer.algorithm);
        assert_eq!(verified.claims.get("sub"), Some(&json!("alice")));
        for (other, wrong) in signers.iter().enumerate().filter(|(other, _)| *other != at) {
            // Though the config allows every algorithm.
            let all = Settings { algorithms: Algorithm::ALL.to_vec(), ..settings(wrong) };
            let same_secret =
                signer.algorithm.kind() == Kind::Secret && wrong.algorithm.kind() == Kind::Secret;
            assert_eq!(refused(all, &token).is_none(), same_secret, "{at} {other}");
        }
    }
}

#[test]
fn a_header_chooses_among_what_is_allowed_and_never_what_it_means() {
    let (rsa, hmac) = (Signer::new(Algorithm::Rs256), Signer::new(Algorithm::Hs256));
    let claims = r#"{"sub":"alice"}"#;
    let none = |alg: &str| {
        let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.", encode(&json!({ "alg": alg }).to_string()), encode(claims))
    };
    for name in ["none", "None", "NONE", "", "rs256", "HS256", "RS1", "A128KW"] {
        assert_eq!(refused(settings(&rsa), &none(name)), Some(Refused::Algorithm), "{name}");
    }
    assert_eq!(refused(settings(&rsa), &none("RS256")), Some(Refused::Signature), "stripped");
    // Algorithm confusion: the public key, which everyone has, as an HMAC secret.
    for secret in [rsa.public.as_bytes(), rsa.public.trim_end().as_bytes()] {
        let key = jsonwebtoken::EncodingKey::from_secret(secret);
        let forger = Signer { algorithm: Algorithm::Hs256, key, public: String::new() };
        let forged = forger.sign(claims);
        assert_eq!(refused(settings(&rsa), &forged), Some(Refused::Algorithm));
        let both = Settings { algorithms: vec![Algorithm::Rs256, Algorithm::Hs256], ..settings(&rsa) };
        assert_eq!(refused(both, &forged), Some(Refused::UnknownKey), "no secret key is there");
        let lying = forger.sign_as(&json!({ "alg": "RS256" }), claims);
        assert_eq!(refused(settings(&rsa), &lying), Some(Refused::Signature));
    }
    let both = Settings { algorithms: vec![Algorithm::Rs256, Algorithm::Hs256], ..settings(&hmac) };
    assert_eq!(refused(both, &rsa.sign(claims)), Some(Refused::UnknownKey));
    // One key, another algorithm than the one allowed.
    let pss = Signer { algorithm: Algorithm::Ps256, key: rsa.key.clone(), public: rsa.public.clone() };
    assert_eq!(refused(settings(&rsa), &pss.sign(claims)), Some(Refused::Algorithm));
    assert_eq!(
        refused(settings(&rsa), &pss.sign_as(&json!({ "alg": "RS256" }), claims)),
        Some(Refused::Signature)
    );
}

#[test]
fn what_a_header_brings_along_is_not_looked_at() {
    let (signer, forger) = (Signer::new(Algorithm::Es256), Signer::new(Algorithm::Es256));
    let claims = r#"{"sub":"alice"}"#;
    for extra in [
        json!({ "alg": "ES256", "jwk": forger.jwk("x") }),
        json!({ "alg": "ES256", "jku": "http://127.0.0.1/keys", "kid": "x" }),
        json!({ "alg": "ES256", "x5c": ["AA=="], "x5u": "file:///etc/passwd" }),
        json!({ "alg": "ES256", "kid": "../../../../dev/null" }),
        json!({ "alg": "ES256", "kid": "x' UNION SELECT 'key" }),
        json!({ "alg": "ES256", "kid": "" }),
    ] {
        let forged = forger.sign_as(&extra, claims);
        assert_eq!(refused(settings(&signer), &forged), Some(Refused::Signature), "{extra}");
    }
    for (header, why) in [
        (json!({ "alg": "ES256", "crit": ["b64"], "b64": false }), Refused::Critical),
        (json!({ "alg": "ES256", "crit": null }), Refused::Critical),
        (json!({ "alg": "ES256", "kid": 7 }), Refused::Malformed),
        (json!({ "alg": ["ES256"] }), Refused::Malformed),
        (json!({ "typ": "JWT" }), Refused::Malformed),
        (json!(["ES256"]), Refused::Malformed),
        (json!("ES256"), Refused::Malformed),
    ] {
        let token = signer.sign_as(&header, claims);
        assert_eq!(refused(settings(&signer), &token), Some(why), "{header}");
    }
}

#[test]
fn a_key_is_found_by_its_name_else_among_those_without_one() {
    let [old, new, other] = [0; 3].map(|_| Signer::new(Algorithm::Es256));
    let set = json!({ "keys": [old.jwk("old"), new.jwk("new")] }).to_string();
    let mut keys = Key::public(&set).unwrap();
    keys.extend(other.keys());
    let trust = || Settings { keys: keys.clone(), ..settings(&old) };
    let token = |signer: &Signer, id: &str| signer.sign_as(&json!({ "alg": "ES256", "kid": id }), "{}");
    for (signer, id, why) in [
        (&old, "old", None),
        (&new, "new", None),
        (&old, "new", Some(Refused::Signature)),
        (&other, "anything", None),
        (&other, "old", Some(Refused::Signature)),
        (&old, "anything", Some(Refused::Signature)),
    ] {
        assert_eq!(refused(trust(), &token(signer, id)), why, "{id}");
    }
    for signer in [&old, &new, &other] {
        assert_eq!(refused(trust(), &signer.sign("{}")), None, "any, where it gives no name");
    }
    let named = Settings { keys: Key::public(&set).unwrap(), ..settings(&old) };
    assert_eq!(refused(named, &token(&old, "removed")), Some(Refused::UnknownKey));
    let verified = Verifier::new(trust()).verify(token(&new, "new").as_bytes(), NOW).unwrap();
    assert_eq!(verified.key.as_deref(), Some("new"));
}

#[test]
fn times_issuers_and_audiences() {
    let signer = Signer::new(Algorithm::Hs256);
    let now = NOW.secs();
    let check = |claims: Value, issuers: &[&str], audiences: &[&str], leeway: u64| {
        let list = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect();
        let settings = Settings {
            issuers: list(issuers),
            audiences: list(audiences),
            leeway: Duration::from_secs(leeway),
            ..settings(&signer)
        };
        refused(settings, &signer.sign(&claims.to_string()))
    };
    for (claims, leeway, why) in [
        (json!({}), 0, None),
        (json!({ "exp": now + 1 }), 0, None),
        (json!({ "exp": now as f64 + 0.5 }), 0, None),
        (json!({ "exp": now }), 0, Some(Refused::Expired)),
        (json!({ "exp": now }), 1, None),
        (json!({ "exp": now - 5 }), 5, Some(Refused::Expired)),
        (json!({ "exp": -1 }), 0, Some(Refused::Expired)),
        (json!({ "exp": 1e300 }), 60, None),
        (json!({ "exp": "tomorrow" }), 0, Some(Refused::Malformed)),
        (json!({ "exp": null }), 0, Some(Refused::Malformed)),
        (json!({ "nbf": now }), 0, None),
        (json!({ "nbf": now + 1 }), 0, Some(Refused::NotYetValid)),
        (json!({ "nbf": now + 1 }), 1, None),
        (json!({ "nbf": [] }), 0, Some(Refused::Malformed)),
        (json!({ "iat": now + 1000 }), 0, None),
    ] {
        assert_eq!(check(claims.clone(), &[], &[], leeway), why, "{claims} {leeway}");
    }
    for (claims, issuers, audiences, why) in [
        (json!({ "iss": "a" }), &["a"][..], &[][..], None),
        (json!({ "iss": "b" }), &["a", "b"], &[], None),
        (json!({ "iss": "b" }), &[], &[], None),
        (json!({ "iss": "A" }), &["a"], &[], Some(Refused::Issuer)),
        (json!({}), &["a"], &[], Some(Refused::Issuer)),
        (json!({ "iss": ["a"] }), &["a"], &[], Some(Refused::Issuer)),
        (json!({ "iss": ["a"] }), &[], &[], Some(Refused::Issuer)),
        (json!({ "aud": "a" }), &[], &["a"], None),
        (json!({ "aud": ["x", "a"] }), &[], &["a"], None),
        (json!({ "aud": "ab" }), &[], &["a"], Some(Refused::Audience)),
        (json!({ "aud": [] }), &[], &["a"], Some(Refused::Audience)),
        (json!({ "aud": [["a"]] }), &[], &["a"], Some(Refused::Audience)),
        (json!({}), &[], &["a"], Some(Refused::Audience)),
        (json!({ "aud": "a" }), &[], &[], Some(Refused::Audience)),
        (json!({ "aud": null }), &[], &[], Some(Refused::Audience)),
    ] {
        assert_eq!(check(claims.clone(), issuers, audiences, 0), why, "{claims}");
    }
}

#[test]
fn what_is_no_token_is_refused_whole() {
    let signer = Signer::new(Algorithm::Hs256);
    for text in ["", ".", "..", "...", "a.b", "a.b.c", "e30.e30.", "e30.e30.e30.e30.e30", "\u{fe0f}.e30.e30"]
    {
        assert_eq!(refused(settings(&signer), text), Some(Refused::Malformed), "{text}");
    }
    for claims in ["", "[]", "7", "\"sub\"", "{", "{}{}", &"[".repeat(3000)] {
        let token = signer.sign(claims);
        assert_eq!(refused(settings(&signer), &token), Some(Refused::Malformed), "{claims:.20}");
    }
    assert_eq!(Verifier::new(settings(&signer)).verify(b"\xff.e30.e30", NOW).err(), Some(Refused::Malformed));
    let padded = format!("{}=", signer.sign("{}"));
    assert_eq!(
        refused(settings(&signer), &padded),
        Some(Refused::Signature),
        "base64url has no padding here"
    );
    let long = signer.sign(&json!({ "sub": "a".repeat(MAX_TOKEN) }).to_string());
    assert_eq!(refused(settings(&signer), &long), Some(Refused::TooLong));
}

#[test]
fn texts_that_are_no_set_of_public_keys_are_told_apart() {
    let (rsa, ec) = (Signer::new(Algorithm::Rs256), Signer::new(Algorithm::Es384));
    let two = format!("before\n{}\nbetween\n{}", rsa.public, ec.public);
    let kinds: Vec<Kind> = Key::public(&two).unwrap().iter().map(|key| key.kind).collect();
    assert_eq!(kinds, [Kind::Rsa, Kind::P384]);

    let private = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let block = |label: &str, bytes: &[u8]| {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(bytes))
    };
    let unknown = |name: &str| Err(KeyError::Unknown(name.to_owned()));
    let number = |bytes: usize| BASE64_URL_SAFE_NO_PAD.encode(vec![0xc5; bytes]);
    let weak = |bytes| json!({ "kty": "RSA", "kid": "w", "n": number(bytes), "e": "AQAB" }).to_string();
    let size = |bits| Err(KeyError::Size("key `w`".into(), bits));
    let set = |keys: &[Value]| json!({ "keys": keys }).to_string();
    let mut off_curve = ec.jwk("off");
    off_curve["y"] = off_curve["x"].clone();
    let mut mine = ec.jwk("private");
    mine["d"] = "AA".into();
    for (text, expected) in [
        (String::new(), Err(KeyError::NoKeys)),
        ("ssh-ed25519 AAAA".into(), Err(KeyError::NoKeys)),
        ("{}".into(), Err(KeyError::NoKeys)),
        ("{\"keys\": 7}".into(), Err(KeyError::NoKeys)),
        ("{\"keys\": ".into(), Err(KeyError::NoKeys)),
        (set(&[]), Err(KeyError::NoneOfUse(0))),
        (private, Err(KeyError::Private)),
        (format!("{}{}", rsa.public, block("RSA PRIVATE KEY", b"x")), Err(KeyError::Private)),
        (block("CERTIFICATE", b"x"), Err(KeyError::Block("CERTIFICATE".into()))),
        (block("PUBLIC KEY", b"x"), unknown("key 1")),
        (format!("{}-----BEGIN PUBLIC KEY-----", rsa.public), unknown("key 2")),
        (weak(128), size(1024)),
        (weak(2048), size(16384)),
        (set(&[mine]), Err(KeyError::Private)),
        (set(&[json!({ "kty": "oct", "k": "AAAA" }), ec.jwk("a")]), Err(KeyError::Symmetric)),
        (set(&[off_curve.clone(), json!({ "kty": "new" }), json!(7)]), Err(KeyError::NoneOfUse(3))),
        (set(&[off_curve, ec.jwk("a")]), Ok(1)),
        (ec.jwk("alone").to_string(), Ok(1)),
        (set(&vec![ec.jwk("a"); MAX_KEYS]), Ok(MAX_KEYS)),
        (set(&vec![ec.jwk("a"); MAX_KEYS + 1]), Err(KeyError::TooMany(MAX_KEYS + 1))),
    ] {
        assert_eq!(Key::public(&text).map(|keys| keys.len()), expected, "{text:.200}");
    }
}

#[test]
fn a_jwk_is_used_only_as_it_says() {
    let signer = Signer::new(Algorithm::Rs256);
    let with = |name: &str, value: Value| {
        let mut jwk = signer.jwk("a");
        jwk[name] = value;
        Key::public(&jwk.to_string())
    };
    for (name, value) in [
        ("use", json!("enc")),
        ("key_ops", json!(["encrypt"])),
        ("key_ops", json!([])),
        ("key_ops", json!("verify")),
        ("alg", json!("RSA-OAEP")),
        ("alg", json!("ES256")),
        ("alg", json!("HS256")),
        ("alg", json!(7)),
    ] {
        assert!(matches!(with(name, value.clone()), Err(KeyError::NoneOfUse(1))), "{name} {value}");
    }
    assert!(with("use", json!("sig")).is_ok() && with("key_ops", json!(["sign", "verify"])).is_ok());
    // RFC 8725 3.1: a key that names its algorithm is for no other, even where the config allows it.
    let keys = with("alg", json!("RS512")).unwrap();
    let both = Settings { keys, algorithms: vec![Algorithm::Rs256, Algorithm::Rs512], ..settings(&signer) };
    assert_eq!(refused(both, &signer.sign("{}")), Some(Refused::UnknownKey));
}

/// Made once: RSA keys take their time.
static SIGNERS: LazyLock<Vec<(Signer, String, Verifier)>> = LazyLock::new(|| {
    [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa, Algorithm::Hs256]
        .into_iter()
        .map(|algorithm| {
            let signer = Signer::new(algorithm);
            let token = signer.sign(r#"{"sub":"alice","exp":1000001,"scope":"read write"}"#);
            let verifier = Verifier::new(settings(&signer));
            (signer, token, verifier)
        })
        .collect()
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_mutation_of_a_token_verifies(
        which in 0..5_usize,
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        how in 0..4,
    ) {
        let (_, token, verifier) = &SIGNERS[which];
        let mut bytes = token.as_bytes().to_vec();
        let at = at.index(bytes.len());
        match how {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            2 => { bytes.remove(at); }
            _ => bytes.truncate(at),
        }
        let same = bytes == token.as_bytes();
        prop_assert_eq!(verifier.verify(&bytes, NOW).is_ok(), same, "{:?}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn parts_of_two_tokens_make_no_third(which in 0..5_usize, claims in "[a-z]{0,8}", parts in any::<[bool; 3]>()) {
        let (signer, token, verifier) = &SIGNERS[which];
        let header = json!({ "alg": signer.algorithm.as_str() });
        let other = signer.sign_as(&header, &json!({ "sub": claims }).to_string());
        let (own, other): (Vec<&str>, Vec<&str>) = (token.split('.').collect(), other.split('.').collect());
        let mixed: Vec<&str> = (0..3).map(|at| if parts[at] { own[at] } else { other[at] }).collect();
        let whole = parts == [true; 3] || parts == [false; 3];
        prop_assert_eq!(verifier.verify(mixed.join(".").as_bytes(), NOW).is_ok(), whole);
    }

    #[test]
    fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,200}") {
        for (_, _, verifier) in SIGNERS.iter() {
            let _ = verifier.verify(&bytes, NOW);
            let _ = verifier.verify(text.as_bytes(), NOW);
        }
        let _ = unverified(&bytes, NOW);
        let _ = Key::public(&text);
        let _ = Key::public(&format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----"));
        let _ = Key::public(&format!("{{\"keys\":[{{\"kty\":\"RSA\",\"n\":\"{text}\",\"e\":\"AQAB\"}}]}}"));
    }
}

fn remembered(signer: &Signer) -> Remembered<u32> {
    Remembered::new(Arc::new(Verifier::new(settings(signer))))
}

#[test]
fn a_token_is_verified_once_and_never_believed_beyond_its_time() {
    let signer = Signer::new(Algorithm::Hs256);
    let (table, made) = (remembered(&signer), Cell::new(0));
    let at = |secs| Timestamp::from_secs(NOW.secs() + secs);
    let ask = |token: &str, now| {
        table.of(token.as_bytes(), now, |_| {
            made.set(made.get() + 1);
            Ok(made.get())
        })
    };
    let short = signer.sign(&json!({ "exp": NOW.secs() + 30 }).to_string());
    assert_eq!([ask(&short, at(0)), ask(&short, at(0)), ask(&short, at(29))], [Ok(1); 3]);
    assert_eq!([ask(&short, at(30)), ask(&short, at(1000))], [Err(Refused::Expired); 2]);
    assert_eq!(made.get(), 1);
    let long = signer.sign("{}");
    assert_eq!([ask(&long, at(0)), ask(&long, at(299)), ask(&long, at(300))], [Ok(2), Ok(2), Ok(3)]);
    // Another token, though it claims the same.
    let twin = signer.sign_as(&json!({ "alg": "HS256" }), "{}");
    assert_eq!(ask(&twin, at(0)), Ok(4));
    assert_eq!(table.len(), 3);
}

#[test]
fn what_is_refused_is_not_remembered_and_the_table_is_bounded() {
    let signer = Signer::new(Algorithm::Hs256);
    let table = remembered(&signer);
    let good = signer.sign("{}");
    assert_eq!(table.of(good.as_bytes(), NOW, |_| Ok(7)), Ok(7));
    for at in 0..2000 {
        let forged = format!("{}{at}", &good[..good.len() - 8]);
        assert!(table.of(forged.as_bytes(), NOW, |_| Ok(8)).is_err());
    }
    assert_eq!(
        table.of(signer.sign("{\"a\":1}").as_bytes(), NOW, |_| Err(Refused::Claim)),
        Err(Refused::Claim)
    );
    assert_eq!(table.of(&vec![b'a'; MAX_TOKEN + 1], NOW, |_| Ok(9)), Err(Refused::TooLong));
    assert_eq!(table.len(), 1);
    // Even of those that hold, no more than there is room for.
    for at in 0..remembered::MAX_REMEMBERED as u32 + 5000 {
        table.of(signer.sign(&format!("{{\"a\":{at}}}")).as_bytes(), NOW, |_| Ok(at)).unwrap();
    }
    assert!(table.len() <= remembered::MAX_REMEMBERED, "{}", table.len());
}

#[test]
fn neither_secrets_nor_keys_are_printed_but_another_key_is_another_trust() {
    let signer = Signer::new(Algorithm::Hs256);
    let own = Verifier::new(settings(&signer));
    let text = format!("{own:?} {:?}", settings(&signer));
    assert!(!text.contains("0123456789") && !text.contains("48, 49, 50"), "{text}");
    assert_eq!(own, Verifier::new(settings(&signer)));
    let other = Settings { keys: vec![Key::secret(b"another")], ..settings(&signer) };
    assert_ne!(format!("{own:?}"), format!("{:?}", Verifier::new(other)));
}

/// `cargo test --lib auth::jwt -- --ignored --nocapture` prints what a token costs.
#[test]
#[ignore = "prints times"]
fn what_a_token_costs() {
    let claims = json!({
        "iss": "https://accounts.example.com", "sub": "248289761001", "exp": NOW.secs() + 900, "iat": NOW.secs(),
        "scope": "openid profile email read:orders write:orders", "jti": "b2f6c0de-0f9a-4d5a-9f4e-2f1c1f0a7c11",
        "roles": ["customer", "beta"], "name": "Alice Example",
    })
    .to_string();
    for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa, Algorithm::Hs256] {
        let signer = Signer::new(algorithm);
        let (token, table) = (signer.sign(&claims), remembered(&signer));
        let time = |rounds: u32, what: &dyn Fn()| {
            what();
            let began = Instant::now();
            (0..rounds).for_each(|_| what());
            began.elapsed() / rounds
        };
        let verify = time(2000, &|| drop(black_box(table.verifier().verify(token.as_bytes(), NOW))));
        let again =
            time(200_000, &|| assert_eq!(table.of(black_box(token.as_bytes()), NOW, |_| Ok(1)), Ok(1)));
        let parse = time(20_000, &|| drop(black_box(unverified(token.as_bytes(), NOW))));
        println!(
            "{:6} {} bytes: verified in {verify:?}, known in {again:?} (unverified claims read in {parse:?})",
            algorithm.as_str(),
            token.len()
        );
    }
}
