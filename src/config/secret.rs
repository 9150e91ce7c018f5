//! Secrets stand in the environment or in a file; the config only says where, so that it can be shown, checked in and
//! logged.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::codes::Code;
use super::scalar::{Problem, Scalar};
use super::substitute::Environment;

/// The largest file of a secret.
const LARGEST: u64 = 64 << 10;

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// In an environment variable.
    Env(String),
    /// In a file, but for a final line break.
    File(PathBuf),
}

impl Scalar for SecretRef {
    const FORMAT: &'static str = "secret";
    const EXPECTED: &'static str = "where a secret is, such as \"env:PURGE_TOKEN\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        if let Some(name) = text.strip_prefix("env:").filter(|name| !name.is_empty() && !name.contains('=')) {
            return Ok(Self::Env(name.to_owned()));
        }
        if let Some(path) = text.strip_prefix("file:").filter(|path| !path.is_empty()) {
            return Ok(Self::File(path.into()));
        }
        // The text is not repeated: it may be the secret.
        let help = "write \"env:NAME\" for an environment variable, \"file:PATH\" for a file";
        Err(Problem::new(Code::PlainSecret, "a secret does not stand in the config", help))
    }
}

impl SecretRef {
    /// The file that holds it, to be watched.
    pub fn path(&self, directory: &Path) -> Option<PathBuf> {
        match self {
            Self::Env(_) => None,
            Self::File(path) => Some(directory.join(path)),
        }
    }

    /// The secret; relative paths start at `directory`. Or why there is none.
    pub fn read(&self, directory: &Path, env: Environment<'_>) -> Result<String, String> {
        let text = match self {
            Self::Env(name) => {
                env(name).ok_or_else(|| format!("the environment variable `{name}` is not set"))?
            }
            Self::File(path) => {
                let path = directory.join(path);
                let read =
                    read(&path).map_err(|error| format!("`{}` cannot be read: {error}", path.display()))?;
                read.strip_suffix('\n')
                    .map(|line| line.strip_suffix('\r').unwrap_or(line))
                    .unwrap_or(&read)
                    .to_owned()
            }
        };
        match text.trim().is_empty() {
            true => Err("it is empty".to_owned()),
            false => Ok(text),
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(LARGEST).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_where_the_config_says() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "from a file\r\n").unwrap();
        std::fs::write(dir.path().join("empty"), "\n").unwrap();
        let env = |name: &str| (name == "SET").then(|| "from the environment".to_owned());
        let read = |text: &str| SecretRef::parse(text).unwrap().read(dir.path(), &env);
        assert_eq!(read("env:SET").as_deref(), Ok("from the environment"));
        assert_eq!(read("file:token").as_deref(), Ok("from a file"));
        for wrong in ["env:UNSET", "file:none", "file:empty"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_secret_itself_is_refused_and_not_repeated() {
        for wrong in ["hunter2", "env:", "file:", ""] {
            let problem = SecretRef::parse(wrong).unwrap_err();
            assert_eq!(problem.code, Code::PlainSecret);
            assert!(!problem.message.contains("hunter2"));
        }
    }
}
