//! What no single value can be blamed for: names that lead nowhere, settings that contradict each other or do
//! nothing. Warnings that rest on what is missing are held back while anything is broken.

mod access;
mod answers;
mod compress;
mod cors;
mod edits;
mod effects;
mod keys;
mod lifetimes;
mod limits;
pub mod listeners;
mod names;
mod purging;
mod rewrites;
mod times;
mod tls;
mod tokens;
mod upstreams;
mod users;

use super::codes::Code;
use super::file::{Cache, File, Policy};
use super::finding::{Finding, Place};
use super::tree::{Node, Origin, Step};

/// Names that the file declares, those of dropped entries too.
#[derive(Debug, Default)]
pub struct Declared {
    /// Of upstreams.
    pub upstreams: Vec<String>,
    /// Of policies.
    pub policies: Vec<String>,
    /// Of tables of tokens.
    pub tokens: Vec<String>,
    /// Of `[tls.NAME]`s.
    pub tls: Vec<String>,
    /// Of rate limits.
    pub rate_limits: Vec<String>,
}

impl Declared {
    /// The names of a tree that nothing has been dropped from yet.
    pub fn of(root: &Node) -> Self {
        let names = |key: &str| {
            let entries = root.get(key).map(Node::entries).unwrap_or_default();
            entries.iter().map(|(name, _)| name.clone()).collect()
        };
        Self {
            upstreams: names("upstreams"),
            policies: names("policies"),
            tokens: names("tokens"),
            tls: names("tls"),
            rate_limits: names("rate_limits"),
        }
    }
}

/// What is checked.
pub struct Checks<'a> {
    /// The expanded model.
    pub file: &'a File,
    /// The tree it was made from, for places.
    pub root: &'a Node,
    /// Names that are known even if what they name is broken.
    pub declared: &'a Declared,
    /// What was found.
    pub findings: &'a mut Vec<Finding>,
}

impl Checks<'_> {
    /// Makes every check.
    pub fn run(&mut self) {
        self.names();
        self.access();
        self.passwords();
        self.answers();
        self.compress();
        self.rewrites();
        self.edits();
        self.cors();
        self.users();
        self.upstreams();
        self.listeners();
        self.tls();
        self.times();
        self.purging();
        self.tokens();
        self.effects();
        self.keys();
        self.limits();
        if super::finding::count(self.findings).0 == 0 {
            self.unused();
            self.unused_tokens();
            self.unused_tls();
            self.unused_limits();
            self.shadowed();
        }
    }

    fn push(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    fn found(&mut self, code: Code, message: impl Into<String>, path: &[Step]) -> &mut Finding {
        let finding = Finding::new(code, message).at(self.root.place_of(path));
        self.findings.push(finding);
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    fn place(&self, path: &[Step]) -> Option<Place> {
        self.root.place_of(path)
    }

    /// Whether somebody wrote the value, rather than that it is built in.
    fn written(&self, path: &[Step]) -> bool {
        self.root.at(path).is_some_and(|node| node.origin != Origin::Default)
    }

    fn damaged(&self, path: &[Step]) -> bool {
        self.root.at(path).is_some_and(|node| node.damaged)
    }

    /// Every policy that is written somewhere, with its path.
    fn policies(&self) -> Vec<(Vec<Step>, &Policy)> {
        let named = self.file.policies.0.iter();
        let named = named.map(|(name, policy)| (vec!["policies".into(), name.as_str().into()], policy));
        let inline = self.file.routes.iter().enumerate().filter_map(|(index, route)| match &route.cache {
            Some(Cache::Inline(policy)) => Some((route_path(index, "cache"), &**policy)),
            _ => None,
        });
        named.chain(inline).collect()
    }
}

fn route_path(index: usize, key: &str) -> Vec<Step> {
    vec!["routes".into(), index.into(), key.into()]
}

fn upstream_path(name: &str, key: &str) -> Vec<Step> {
    vec!["upstreams".into(), name.into(), key.into()]
}

fn below(path: &[Step], key: &str) -> Vec<Step> {
    let mut path = path.to_vec();
    path.push(key.into());
    path
}
