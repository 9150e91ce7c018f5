//! From a file (or a URL on the command line) to settings, or to findings.

use std::path::PathBuf;
use std::time::Duration;

use super::finding::Finding;
use super::{Compiled, Tree};
use crate::cache::Mode;

/// Where the config is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A TOML file.
    File(PathBuf),
    /// No file: forward everything to this URL.
    Url(String),
    /// A text under a name, as if it stood in a file of that name.
    Text {
        /// What findings call it.
        name: String,
        /// TOML.
        text: String,
    },
}

/// What the command line says over the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--listen`, as the config writes addresses; empty: what the file says.
    pub listen: Vec<String>,
    /// `--mode`.
    pub mode: Option<Mode>,
    /// `--workers`.
    pub workers: Option<usize>,
    /// `--grace`.
    pub grace: Option<Duration>,
}

/// What came of loading.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings; `None` when a finding is an error.
    pub compiled: Option<Compiled>,
    /// Everything found, in the order of the file.
    pub findings: Vec<Finding>,
    /// The effective values, each with its origin.
    pub tree: Tree,
    /// Every file that was read: the config itself and those that it names. `serve --watch` watches them.
    pub files: Vec<PathBuf>,
}

/// Loads a config with the process's environment.
pub fn load(source: &Source, profile: Option<&str>, overrides: &Overrides) -> Loaded {
    load_with(source, profile, overrides, &|name| std::env::var(name).ok())
}

fn load_with(
    source: &Source,
    _profile: Option<&str>,
    _overrides: &Overrides,
    _env: &dyn Fn(&str) -> Option<String>,
) -> Loaded {
    let (name, text, files) = match source {
        Source::File(path) => (path.display().to_string(), String::new(), vec![path.clone()]),
        Source::Url(url) => ("URL".to_owned(), format!("upstream = {url:?}\n"), Vec::new()),
        Source::Text { name, text } => (name.clone(), text.clone(), Vec::new()),
    };
    let (tree, findings) = super::tree::parse(&super::finding::SourceText::new(&name, &text));
    Loaded { compiled: None, findings, tree, files }
}
