//! From a file (or a URL on the command line) to settings, or to findings.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Compiled;
use super::check::{Checks, Declared};
use super::codes::Code;
use super::compile::Compiler;
use super::expand::expand;
use super::file::File;
use super::finding::{Finding, Place, SourceText};
use super::scalar::time_text;
use super::shape;
use super::substitute::{Environment, substitute};
use super::suggest::did_you_mean;
use super::tree::{self, Node, Origin, Step, Value};
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
    /// `--dev-tls`: the files of a certificate and its key, for all listeners.
    pub dev_tls: Option<(PathBuf, PathBuf)>,
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
    pub tree: Node,
    /// Every file that was read: the config itself and those that it names. `serve --watch` watches them.
    pub files: Vec<PathBuf>,
    /// The names of the file's profiles.
    pub profiles: Vec<String>,
}

/// Loads a config with the process's environment.
pub fn load(source: &Source, profile: Option<&str>, overrides: &Overrides) -> Loaded {
    load_with(source, profile, overrides, &|name| std::env::var(name).ok())
}

/// The largest config file.
pub const LARGEST: u64 = 4 << 20;

/// Loads a config, with the environment given.
pub fn load_with(
    source: &Source,
    profile: Option<&str>,
    overrides: &Overrides,
    env: Environment<'_>,
) -> Loaded {
    let mut loading = Loading::default();
    let root = loading.read(source, profile, env);
    let compiled = root.and_then(|root| loading.finish(root, overrides, env, &directory(source)));
    super::finding::sort(&mut loading.findings);
    let errors = super::finding::count(&loading.findings).0;
    Loaded {
        compiled: compiled.filter(|_| errors == 0),
        findings: loading.findings,
        tree: loading.tree,
        files: loading.files,
        profiles: loading.profiles,
    }
}

/// Loads a config as it is and once more for each of its profiles: everything that could be found.
pub fn lint(source: &Source, profile: Option<&str>) -> Loaded {
    let overrides = Overrides::default();
    let mut loaded = load(source, profile, &overrides);
    if profile.is_some() {
        return loaded;
    }
    for name in loaded.profiles.clone() {
        loaded.findings.extend(load(source, Some(&name), &overrides).findings);
    }
    super::finding::sort(&mut loaded.findings);
    if super::finding::count(&loaded.findings).0 > 0 {
        loaded.compiled = None;
    }
    loaded
}

fn directory(source: &Source) -> PathBuf {
    match source {
        Source::File(path) => path.parent().map(Path::to_owned).unwrap_or_default(),
        Source::Url(_) | Source::Text { .. } => PathBuf::new(),
    }
}

struct Loading {
    findings: Vec<Finding>,
    files: Vec<PathBuf>,
    profiles: Vec<String>,
    tree: Node,
}

impl Default for Loading {
    fn default() -> Self {
        let tree = Node::empty_table(Origin::Default);
        Self { findings: Vec::new(), files: Vec::new(), profiles: Vec::new(), tree }
    }
}

impl Loading {
    /// The source's tree with its profile merged in; `None` where there is nothing to go on with.
    fn read(&mut self, source: &Source, profile: Option<&str>, env: Environment<'_>) -> Option<Node> {
        let text = match source {
            Source::Url(url) => return Some(url_tree(url)),
            Source::Text { name, text } => SourceText::new(name, text),
            Source::File(path) => {
                self.files.push(path.clone());
                match read_file(path) {
                    Ok(text) => SourceText::new(&path.display().to_string(), &text),
                    Err(finding) => {
                        self.findings.push(*finding);
                        return None;
                    }
                }
            }
        };
        let (mut root, findings) = tree::parse(&text);
        // What a broken line leaves behind would only lead to wrong findings.
        let broken = findings.iter().any(|finding| finding.code == Code::Syntax);
        self.findings.extend(findings);
        if broken {
            return None;
        }
        self.merge_profile(&mut root, profile, env);
        Some(root)
    }

    fn merge_profile(&mut self, root: &mut Node, chosen: Option<&str>, env: Environment<'_>) {
        let mut profiles = root.remove("profiles");
        if profiles.as_ref().is_some_and(|node| !matches!(node.value, Value::Table(_))) {
            // Back in its place, where the shape check finds it.
            root.set("profiles", profiles.take().unwrap_or_else(|| Node::empty_table(Origin::Default)));
        }
        let entries = match profiles.map(|node| node.value) {
            Some(Value::Table(entries)) => entries,
            _ => Vec::new(),
        };
        self.profiles = entries.iter().map(|(name, _)| name.clone()).collect();
        let mut merged = false;
        for (name, mut profile) in entries {
            if chosen == Some(name.as_str()) && matches!(profile.value, Value::Table(_)) {
                merged = true;
                profile.set_origin(&Origin::Profile(name.as_str().into()));
                root.merge_entries(profile);
            } else {
                substitute(&mut profile, env, true, &mut self.findings);
                shape::check_profile(&name, &mut profile, &mut self.findings);
            }
        }
        if let Some(name) = chosen.filter(|name| !merged && !self.profiles.iter().any(|known| known == name))
        {
            let known = self.profiles.iter().map(String::as_str);
            let help = did_you_mean(name, known).unwrap_or_else(|| match self.profiles.is_empty() {
                true => format!("the file has no profiles: add a table `[profiles.{name}]`"),
                false => format!("the profiles are {}", self.profiles.join(", ")),
            });
            let flag = SourceText::new("--profile", name);
            let place = Place::new(&flag, 0..name.len());
            let message = format!("there is no profile `{name}`");
            self.findings.push(Finding::new(Code::UnknownProfile, message).at(Some(place)).help(help));
        }
    }

    fn finish(
        &mut self,
        mut root: Node,
        overrides: &Overrides,
        env: Environment<'_>,
        directory: &Path,
    ) -> Option<Compiled> {
        overrides.apply(&mut root);
        substitute(&mut root, env, false, &mut self.findings);
        let declared = Declared::of(&root);
        shape::check(&mut root, &mut self.findings);
        expand(&mut root);
        let file = self.model(&root);
        self.tree = root;
        let file = file?;
        let root = &self.tree;
        let compiled =
            Compiler { root, directory, env, findings: &mut self.findings, files: &mut self.files }
                .compile(&file);
        Checks { file: &file, root, declared: &declared, findings: &mut self.findings }.run();
        Some(compiled)
    }

    fn model(&mut self, root: &Node) -> Option<File> {
        match serde_path_to_error::deserialize(root.to_json()) {
            Ok(file) => Some(file),
            Err(error) => {
                // The shape check lets nothing through that serde refuses; were it to, this tells it.
                let path = steps(error.path());
                let message = format!("`{}`: {}", tree::path_text(&path), error.inner());
                self.findings.push(Finding::new(Code::WrongType, message).at(root.place_of(&path)));
                None
            }
        }
    }
}

fn steps(path: &serde_path_to_error::Path) -> Vec<Step> {
    path.iter()
        .filter_map(|segment| match segment {
            serde_path_to_error::Segment::Seq { index } => Some(Step::Index(*index)),
            serde_path_to_error::Segment::Map { key } => Some(Step::Key(key.clone())),
            _ => None,
        })
        .collect()
}

fn url_tree(url: &str) -> Node {
    let mut root = Node::empty_table(Origin::Default);
    root.set("upstream", flag_node("URL", url));
    root
}

/// A value of the command line, with a text to point into.
fn flag_node(flag: &'static str, text: &str) -> Node {
    let place = Place::new(&SourceText::new(flag, text), 0..text.len());
    Node { place: Some(place), ..Node::made(Value::String(text.to_owned()), Origin::Flag(flag)) }
}

impl Overrides {
    fn apply(&self, root: &mut Node) {
        if !self.listen.is_empty() {
            let listen = |text: &String| {
                // What the shell makes easy to type: a bare port, on this machine only.
                let port = text.parse::<u16>().ok().map(|port| format!("127.0.0.1:{port}"));
                flag_node("--listen", port.as_deref().unwrap_or(text))
            };
            let items = self.listen.iter().map(listen).collect();
            root.set("listen", Node::made(Value::Array(items), Origin::Flag("--listen")));
        }
        if let Some((cert, key)) = &self.dev_tls {
            speak_tls(root, cert, key);
        }
        if let Some(mode) = self.mode {
            let word = match mode {
                Mode::Cache => "cache",
                Mode::Off => "off",
            };
            root.set("mode", flag_node("--mode", word));
        }
        if let Some(workers) = self.workers {
            let number = i64::try_from(workers).unwrap_or(i64::MAX);
            let node = Node { value: Value::Integer(number), ..flag_node("--workers", &number.to_string()) };
            root.set("workers", node);
        }
        if let Some(grace) = self.grace {
            if !matches!(root.get("server"), Some(Node { value: Value::Table(_), .. }))
                && root.get("server").is_some()
            {
                return; // Not a table: the shape check says so.
            }
            if root.get("server").is_none() {
                root.set("server", Node::empty_table(Origin::Flag("--grace")));
            }
            if let Some(server) = root.get_mut("server") {
                server.set("shutdown_grace", flag_node("--grace", &time_text(grace)));
            }
        }
    }
}

/// Has every listener speak TLS with this certificate.
fn speak_tls(root: &mut Node, cert: &Path, key: &Path) {
    const FLAG: &str = "--dev-tls";
    const NAME: &str = "dev";
    let table = || Node::empty_table(Origin::Flag(FLAG));
    let default = || Node::made(Value::String("127.0.0.1:8443".to_owned()), Origin::Flag(FLAG));
    let listens = match root.remove("listen").unwrap_or_else(default) {
        Node { value: Value::Array(items), .. } => items,
        one => vec![one],
    };
    let listens = listens.into_iter().map(|address| {
        if matches!(address.value, Value::Table(_)) {
            return address;
        }
        let mut listener = table();
        listener.set("addr", address);
        listener.set("tls", flag_node(FLAG, NAME));
        listener
    });
    root.set("listen", Node::made(Value::Array(listens.collect()), Origin::Flag(FLAG)));
    let mut dev = table();
    dev.set("cert", flag_node(FLAG, &cert.display().to_string()));
    dev.set("key", flag_node(FLAG, &key.display().to_string()));
    if root.get("tls").is_none() {
        root.set("tls", table());
    }
    if let Some(all) = root.get_mut("tls") {
        all.set(NAME, dev);
    }
}

fn read_file(path: &Path) -> Result<String, Box<Finding>> {
    let unreadable = |error: &dyn std::fmt::Display| {
        let message = format!("`{}` cannot be read: {error}", path.display());
        Finding::new(Code::Unreadable, message).help("check its path and permissions")
    };
    let file = std::fs::File::open(path).map_err(|error| {
        let finding = unreadable(&error);
        Box::new(match error.kind() {
            io::ErrorKind::NotFound => finding.help("`proxy-stone config init` writes one to start from"),
            _ => finding,
        })
    })?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| Box::new(unreadable(&error)))?;
    if bytes.len() as u64 > LARGEST {
        let message = format!("`{}` has more than {} MiB", path.display(), LARGEST >> 20);
        return Err(Box::new(Finding::new(Code::TooLarge, message)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let name = path.display().to_string();
        let good = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
        let place = Place::new(&SourceText::new(&name, &good), valid..valid);
        Box::new(Finding::new(Code::NotUtf8, format!("`{name}` is not UTF-8 text")).at(Some(place)))
    })
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
