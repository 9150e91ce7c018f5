//! Whose tokens are believed: from the config's words, and the files that it names, to what verifies.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::codes::Code;
use super::compile::{Compiler, read_bounded};
use super::file::{File, OneOrMany, Tokens};
use super::finding::Finding;
use super::scalar::{FilePath, Problem, Scalar};
use super::suggest::nearest;
use super::tree::Step;
use crate::auth::jwt::{Algorithm, Key, KeyError, Kind, MAX_KEYS, Settings, Verifier};

/// The tables of tokens by name.
pub type Trusts = HashMap<String, Arc<Verifier>>;

/// A signature algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlgorithmName(pub Algorithm);

/// The name of a claim at the top of a token; case counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimName(pub String);

/// An issuer or an audience, as tokens call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party(pub String);

impl Scalar for AlgorithmName {
    const FORMAT: &'static str = "signature-algorithm";
    const EXPECTED: &'static str = "a signature algorithm such as \"RS256\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        if let Some(algorithm) = Algorithm::of(text) {
            return Ok(Self(algorithm));
        }
        if text.eq_ignore_ascii_case("none") {
            let help = "name the algorithm that your tokens are signed with, such as \"RS256\"";
            return Err(Problem::new(Code::BadAlgorithm, "`none` would accept what anybody makes up", help));
        }
        let names = Algorithm::ALL.map(Algorithm::as_str);
        let help = nearest(&text.to_ascii_uppercase(), names).map_or_else(
            || format!("those known are {}", names.join(", ")),
            |name| format!("did you mean \"{name}\"?"),
        );
        Err(Problem::new(
            Code::BadAlgorithm,
            format!("`{text}` is not a signature algorithm known here"),
            help,
        ))
    }
}

impl Scalar for ClaimName {
    const FORMAT: &'static str = "claim";
    const EXPECTED: &'static str = "a claim's name such as \"sub\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        match text.is_empty() {
            true => Err(Problem::new(
                Code::Empty,
                "this claim's name is empty",
                "write its name, such as \"sub\"",
            )),
            false => Ok(Self(text.to_owned())),
        }
    }
}

impl Scalar for Party {
    const FORMAT: &'static str = "party";
    const EXPECTED: &'static str = "what tokens say, such as \"https://accounts.example.com\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        match text.is_empty() {
            true => Err(Problem::new(Code::Empty, "this name is empty", "leave the key out instead")),
            false => Ok(Self(text.to_owned())),
        }
    }
}

impl Compiler<'_> {
    /// What verifies, of every table that can. The check tells of what is missing in the others.
    pub(super) fn trusts(&mut self, file: &File) -> Trusts {
        file.tokens
            .0
            .iter()
            .filter_map(|(name, tokens)| Some((name.clone(), Arc::new(self.trust(name, tokens)?))))
            .collect()
    }

    fn trust(&mut self, name: &str, tokens: &Tokens) -> Option<Verifier> {
        let at = |key: &str| [Step::from("tokens"), name.into(), key.into()];
        let algorithms: Vec<Algorithm> =
            tokens.algorithms.iter().flat_map(OneOrMany::as_slice).map(|name| name.0).collect();
        let keys = match (&tokens.keys, &tokens.secret) {
            (Some(files), None) => self.public_keys(files.as_slice(), &at("keys"))?,
            (None, Some(secret)) => {
                let secret = self.secret(secret, &at("secret"))?;
                self.strong(&secret, &algorithms, &at("secret"))?;
                vec![Key::secret(secret.as_bytes())]
            }
            _ => return None,
        };
        self.every_algorithm_has_a_key(&algorithms, &keys, &at("algorithms"));
        let parties = |parties: &Option<OneOrMany<Party>>| {
            parties.iter().flat_map(OneOrMany::as_slice).map(|party| party.0.as_str().into()).collect()
        };
        Some(Verifier::new(Settings {
            name: name.into(),
            keys,
            algorithms,
            issuers: parties(&tokens.issuer),
            audiences: parties(&tokens.audience),
            leeway: tokens.leeway.map_or_else(Default::default, |leeway| leeway.0),
        }))
    }

    fn public_keys(&mut self, files: &[FilePath], at: &[Step]) -> Option<Vec<Key>> {
        let before = self.findings.len();
        let keys: Vec<Key> =
            files.iter().flat_map(|FilePath(path)| self.keys_of(&self.directory.join(path), at)).collect();
        if keys.len() > MAX_KEYS {
            let message = format!("these are {} keys, and {MAX_KEYS} at most are tried", keys.len());
            let finding = Finding::new(Code::KeysInvalid, message).at(self.root.place_of(at));
            self.findings.push(finding.help("make several tables of them, one for each issuer"));
        }
        (self.findings.len() == before && !keys.is_empty()).then_some(keys)
    }

    /// The keys of a file; none where it is told what is wrong with it.
    fn keys_of(&mut self, path: &Path, at: &[Step]) -> Vec<Key> {
        self.files.push(path.to_owned());
        let place = self.root.place_of(at);
        let text =
            read_bounded(path).and_then(|bytes| String::from_utf8(bytes).map_err(std::io::Error::other));
        let text = match text {
            Ok(text) => text,
            Err(error) => {
                let message = format!("`{}` cannot be read: {error}", path.display());
                self.findings.push(Finding::new(Code::KeysUnreadable, message).at(place));
                return Vec::new();
            }
        };
        Key::public(&text).unwrap_or_else(|error| {
            let message = format!("`{}` is not a file of public keys: {error}", path.display());
            self.findings.push(Finding::new(Code::KeysInvalid, message).at(place).help(help(&error)));
            Vec::new()
        })
    }

    /// A secret that can be guessed from a single token is none (RFC 8725 2.2, 3.5), nor is a public key one (2.1).
    fn strong(&mut self, secret: &str, algorithms: &[Algorithm], at: &[Step]) -> Option<()> {
        let shortest =
            algorithms.iter().map(|algorithm| algorithm.shortest_secret()).max().unwrap_or_default();
        let (message, help) = if secret.trim_start().starts_with("-----BEGIN ") {
            let help = "public keys are known to everyone: name their file in `keys`";
            ("this secret is a PEM file".to_owned(), help.to_owned())
        } else if secret.len() < shortest {
            let message = format!("this secret has {} bytes, and {shortest} are the least", secret.len());
            (
                message,
                format!("make one with `openssl rand -base64 {shortest}`, here and where tokens are signed"),
            )
        } else {
            return Some(());
        };
        let finding = Finding::new(Code::WeakSecret, message).at(self.root.place_of(at));
        self.findings.push(finding.help(help));
        None
    }

    fn every_algorithm_has_a_key(&mut self, algorithms: &[Algorithm], keys: &[Key], at: &[Step]) {
        let place = self.root.place_of(at);
        for algorithm in algorithms.iter().filter(|own| !keys.iter().any(|key| key.takes(**own))) {
            let wanted = algorithm.kind();
            let message = format!("`{}` takes {}, and there is none", algorithm.as_str(), wanted.as_str());
            let finding = Finding::new(Code::AlgorithmWithoutKey, message).at(place.clone());
            self.findings.push(finding.help(match wanted {
                Kind::Secret => {
                    "a public key is never used as a secret: make a table of its own, with `secret`"
                }
                _ if keys.iter().any(|key| key.kind == Kind::Secret) => {
                    "a secret is never used as a public key: make a table of its own, with `keys`"
                }
                _ => "leave it out, or add the file of its key to `keys`",
            }));
        }
        // RFC 8725 3.1: each key is for one algorithm. Where its JWK does not say which, the list does.
        let shared = keys.iter().find(|key| {
            key.only.is_none()
                && key.kind == Kind::Rsa
                && algorithms.iter().filter(|algorithm| key.takes(**algorithm)).count() > 1
        });
        if shared.is_some() {
            let message = "one RSA key verifies several algorithms";
            let finding = Finding::new(Code::SharedKey, message).at(place);
            self.findings
                .push(finding.help("name only the one that your tokens are signed with (RFC 8725 3.1)"));
        }
    }
}

const fn help(error: &KeyError) -> &'static str {
    match error {
        KeyError::NoKeys | KeyError::Unknown(_) => {
            "it holds blocks that begin with `-----BEGIN PUBLIC KEY-----`, or a JWK Set: {\"keys\": [...]}"
        }
        KeyError::Block(_) => "for a certificate's key: openssl x509 -pubkey -noout -in CERTIFICATE",
        KeyError::Private => {
            "it should not be on this machine; of a PEM file: openssl pkey -pubout -in PRIVATE -out PUBLIC"
        }
        KeyError::Symmetric => "name where the secret is in `secret`, in a table of its own",
        KeyError::NoneOfUse(_) => {
            "a key is left out whose `use`, `key_ops` or `alg` says that it is for something else, or whose kind is not known here"
        }
        KeyError::Size(..) => "tokens signed with it could be forged: have their issuer make another key",
        KeyError::TooMany(_) => "make several tables of them, one for each issuer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Loaded, Overrides, Source, load::load_with};

    const SHORT: &str = "0123456789abcdef0123456789abcdef";

    fn load(directory: &Path, config: &str) -> Loaded {
        let path = directory.join("t.toml");
        std::fs::write(&path, config).unwrap();
        let env = |name: &str| match name {
            "SHORT" => Some(SHORT.to_owned()),
            "PEM" => Some(format!("-----BEGIN PUBLIC KEY-----{}", "A".repeat(99))),
            _ => None,
        };
        load_with(&Source::File(path), None, &Overrides::default(), &env)
    }

    /// A directory with key files, and `[tokens.a]` of these lines, which a policy uses.
    fn with(lines: &str) -> (tempfile::TempDir, Loaded) {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        let ec = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let ed = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        write("ec.pem", &ec.public_key_pem());
        write("ed.pem", &ed.public_key_pem());
        write("private.pem", &ec.serialize_pem());
        write("many.pem", &ec.public_key_pem().repeat(10));
        write("empty.pem", "");
        let config = format!(
            "upstream = 'http://a.example'\ncache = {{ key = {{ user = {{ claim = 'sub', tokens = 'a' }} }} }}\n[tokens.a]\n{lines}"
        );
        let loaded = load(directory.path(), &config);
        (directory, loaded)
    }

    fn codes(loaded: &Loaded) -> String {
        let at = |finding: &Finding| {
            let line = finding.place.as_ref().map_or(0, |place| place.start().line);
            format!("{} {line}", finding.code)
        };
        loaded.findings.iter().map(at).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn tables_of_tokens_that_lack_or_contradict_something() {
        for (lines, expected) in [
            ("keys = 'ec.pem'\nalgorithms = 'ES256'", ""),
            ("keys = ['ec.pem', 'ed.pem']\nalgorithms = ['ES256', 'EdDSA', 'Ed25519']\nleeway = '30s'", ""),
            ("secret = 'env:SHORT'\nalgorithms = 'HS256'\nissuer = 'a'\naudience = ['b', 'c']", ""),
            ("", "PS0105 3,PS0105 3"),
            ("algorithms = 'ES256'", "PS0105 3"),
            ("keys = 'ec.pem'", "PS0105 3"),
            ("keys = []\nalgorithms = 'ES256'", "PS0112 4"),
            ("keys = 'ec.pem'\nalgorithms = []", "PS0112 5"),
            ("keys = 'ec.pem'\nsecret = 'env:SHORT'\nalgorithms = 'ES256'", "PS0111 5"),
            ("keys = 'ec.pem'\nalgorithms = 'none'", "PS0219 5"),
            ("keys = 'ec.pem'\nalgorithms = ['ES256', 'NONE']", "PS0219 5"),
            ("keys = 'ec.pem'\nalgorithms = 'es256'", "PS0219 5"),
            // Algorithm confusion is no config.
            ("keys = 'ec.pem'\nalgorithms = ['ES256', 'HS256']", "PS0523 5"),
            ("secret = 'env:SHORT'\nalgorithms = ['HS256', 'RS256']", "PS0523 5"),
            ("secret = 'env:PEM'\nalgorithms = 'HS256'", "PS0522 4"),
            ("secret = 'env:SHORT'\nalgorithms = 'HS384'", "PS0522 4"),
            ("secret = 'env:SHORT'\nalgorithms = ['HS256', 'HS512']", "PS0522 4"),
            ("secret = 'env:UNSET'\nalgorithms = 'HS256'", "PS0510 4"),
            ("secret = 'hunter2'\nalgorithms = 'HS256'", "PS0220 4"),
            ("keys = 'ec.pem'\nalgorithms = 'RS256'", "PS0523 5"),
            ("keys = 'ec.pem'\nalgorithms = ['ES256', 'ES384']", "PS0523 5"),
            ("keys = 'none.pem'\nalgorithms = 'ES256'", "PS0520 4"),
            ("keys = 'private.pem'\nalgorithms = 'ES256'", "PS0521 4"),
            ("keys = 'empty.pem'\nalgorithms = 'ES256'", "PS0521 4"),
            ("keys = ['many.pem', 'many.pem']\nalgorithms = 'ES256'", "PS0521 4"),
            ("keys = 'ec.pem'\nalgorithms = 'ES256'\nleeway = '6m'", "PS0107 6"),
            ("keys = 'ec.pem'\nalgorithms = 'ES256'\nissuer = ''", "PS0112 6"),
            ("keys = 'ec.pem'\nalgorithm = 'ES256'", "PS0103 5"),
            (
                "keys = 'ec.pem'\nalgorithms = 'ES256'\n[tokens.b]\nkeys = 'ed.pem'\nalgorithms = 'EdDSA'",
                "PS0310 6",
            ),
        ] {
            let (_directory, loaded) = with(lines);
            assert_eq!(codes(&loaded), expected, "{lines}");
            assert_eq!(
                loaded.compiled.is_some(),
                loaded
                    .findings
                    .iter()
                    .all(|finding| { finding.code.severity() == crate::config::Severity::Warning }),
                "{lines}"
            );
            assert!(loaded.findings.iter().all(|finding| !finding.message.contains("hunter2")));
        }
    }

    #[test]
    fn users_by_claims_that_nobody_verifies_or_that_name_nothing() {
        let directory = tempfile::tempdir().unwrap();
        for (user, expected) in [
            ("claim = 'sub'", "PS0432 2"),
            ("claim = ['sub', 'scope']", "PS0432 2,PS0411 2"),
            ("claim = 'sub', tokens = 'acounts'", "PS0309 2"),
            ("claim = []", "PS0112 2,PS0432 2"),
            ("claim = ''", "PS0112 2"),
            ("cookie = 'sid', tokens = 'a'", "PS0411 2"),
            ("tokens = 'a'", "PS0105 2"),
        ] {
            let config =
                format!("upstream = 'http://a.example'\ncache = {{ key = {{ user = {{ {user} }} }} }}\n");
            let loaded = load(directory.path(), &config);
            let mut found: Vec<String> = codes(&loaded).split(',').map(str::to_owned).collect();
            let mut expected: Vec<&str> = expected.split(',').collect();
            found.sort();
            expected.sort_unstable();
            assert_eq!(found, expected, "{user}");
        }
    }

    #[test]
    fn key_files_are_among_those_that_were_read() {
        let (directory, loaded) = with("keys = ['ec.pem', 'ed.pem']\nalgorithms = ['ES256', 'EdDSA']");
        for name in ["t.toml", "ec.pem", "ed.pem"] {
            assert!(loaded.files.contains(&directory.path().join(name)), "{name}");
        }
    }
}
