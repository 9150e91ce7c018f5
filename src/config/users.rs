//! Users with passwords, from the config's words and from files.

use std::path::Path;
use std::sync::Arc;

use super::codes::Code;
use super::compile::{Compiler, read_bounded};
use super::file::{BasicAuth, BasicAuthTable, Route};
use super::finding::Finding;
use super::scalar::{FilePath, Problem, Scalar};
use super::tree::Step;
use crate::auth::basic::{BadHash, Hash, Users};
use crate::http::basic;
use crate::pipeline::authenticate;

/// What people are asked for where nobody says.
const REALM: &str = "restricted";

const HASH_HELP: &str = "`proxy-stone password hash` makes one";

/// A user's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserName(pub String);

/// The hash of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct HashText(pub String);

impl std::fmt::Debug for HashText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashText(..)")
    }
}

impl Scalar for UserName {
    const FORMAT: &'static str = "user-name";
    const EXPECTED: &'static str = "a user's name such as \"alice\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        // RFC 7617 2: a colon ends it.
        let bad =
            text.is_empty() || text.len() > 255 || text.contains(':') || text.contains(char::is_control);
        if bad {
            let message = format!("`{}` cannot be a user's name", text.escape_debug());
            let help = "write up to 255 bytes without a colon or control characters";
            return Err(Problem::new(Code::BadName, message, help));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Scalar for HashText {
    const FORMAT: &'static str = "password-hash";
    const EXPECTED: &'static str = "the hash of a password such as \"$argon2id$...\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        match Hash::parse(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            // The text is not repeated: it may be the password.
            Err(why) => Err(Problem::new(Code::BadHash, format!("this hash is not taken: {why}"), help(why))),
        }
    }
}

fn help(why: BadHash) -> &'static str {
    match why {
        BadHash::TooCostly => {
            "the most is 256 MiB, 32 passes and 16 lanes for Argon2id, and a cost of 16 for bcrypt"
        }
        _ => HASH_HELP,
    }
}

impl Compiler<'_> {
    /// Who may ask a route; `None`: everyone. `top` is what the top of the file says, made once for all.
    pub(super) fn basic_auth(
        &mut self,
        index: usize,
        route: &Route,
        top: Option<&authenticate::BasicAuth>,
    ) -> Option<Box<authenticate::BasicAuth>> {
        let BasicAuth::Table(table) = route.basic_auth.as_ref()? else { return None };
        let at: [Step; 3] = ["routes".into(), index.into(), "basic_auth".into()];
        if let Some(top) = top
            && self.root.place_of(&at) == self.root.place_of(&["basic_auth".into()])
        {
            return Some(Box::new(top.clone()));
        }
        Some(Box::new(self.basic(table, &at)))
    }

    /// What the top of the file says.
    pub(super) fn basic_auth_for_all(&mut self, from: Option<&BasicAuth>) -> Option<authenticate::BasicAuth> {
        let BasicAuth::Table(table) = from? else { return None };
        Some(self.basic(table, &["basic_auth".into()]))
    }

    fn basic(&mut self, table: &BasicAuthTable, at: &[Step]) -> authenticate::BasicAuth {
        let own = table.users.0.iter();
        let mut users: Vec<(Arc<str>, Hash)> = Vec::new();
        if let Some(file) = &table.file {
            users.extend(self.users_in(file, &[at, &["file".into()]].concat()));
        }
        users.extend(own.filter_map(|(name, hash)| Some((name.as_str().into(), Hash::parse(&hash.0).ok()?))));
        let realm = table.realm.as_ref().and_then(|realm| realm.0.to_str().ok()).unwrap_or(REALM);
        let challenge = basic::challenge(realm).or_else(|| basic::challenge(REALM));
        authenticate::BasicAuth {
            users: Arc::new(Users::new(users)),
            challenge: challenge.unwrap_or(http::HeaderValue::from_static("Basic")),
            forward: table.forward.unwrap_or_default(),
        }
    }

    /// The users of a file; none where it is told what is wrong with it.
    fn users_in(&mut self, FilePath(path): &FilePath, at: &[Step]) -> Vec<(Arc<str>, Hash)> {
        let path = self.directory.join(path);
        self.files.push(path.clone());
        let found = read(&path);
        found.unwrap_or_else(|why| {
            let finding = Finding::new(Code::UsersFile, format!("`{}` {why}", path.display()));
            let help =
                format!("it has NAME:HASH in each line; what begins with `#` is not read; {HASH_HELP}");
            self.findings.push(finding.at(self.root.place_of(at)).help(help));
            Vec::new()
        })
    }
}

fn read(path: &Path) -> Result<Vec<(Arc<str>, Hash)>, String> {
    let bytes = read_bounded(path).map_err(|error| format!("cannot be read: {error}"))?;
    lines(&String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())?)
}

/// A user in each line; or which line has none, without its text, which may hold a password.
fn lines(text: &str) -> Result<Vec<(Arc<str>, Hash)>, String> {
    let mut users: Vec<(Arc<str>, Hash)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let bad = |why: String| format!("line {}: {why}", at + 1);
        let (name, hash) = line.split_once(':').ok_or_else(|| bad("there is no colon".into()))?;
        UserName::parse(name).map_err(|_| bad("the name cannot be a user's".into()))?;
        let hash = Hash::parse(hash).map_err(|why| bad(format!("this hash is not taken: {why}")))?;
        if users.iter().any(|(known, _)| **known == *name) {
            return Err(bad("this user is there already".into()));
        }
        users.push((name.into(), hash));
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2y$04$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";

    #[test]
    fn a_file_has_a_user_in_each_line() {
        let text = format!("# staff\nalice:{HASH}\n\n  bob jones:{HASH}\r\n");
        let found = lines(&text).unwrap();
        assert_eq!(found.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["alice", "bob jones"]);
        for (wrong, why) in [
            ("alice", "line 1: there is no colon"),
            (":x", "line 1: the name"),
            ("# a\nalice:hunter2", "line 2: this hash is not taken: it is neither"),
            ("alice:$apr1$a$b", "line 1: this hash is not taken"),
            (&format!("alice:{HASH}\nalice:{HASH}"), "line 2: this user is there already"),
        ] {
            let told = lines(wrong).unwrap_err();
            assert!(told.starts_with(why) && !told.contains("hunter2"), "{told}");
        }
    }
}
