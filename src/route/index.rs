//! The routes of one host, found by path: a table of exact paths, a tree of segments for parameters and prefixes,
//! then the regular expressions, then what asks for no path.

use std::collections::HashMap;

use regex::Regex;

use super::Facts;
use super::spec::{MatchSpec, PathPattern, Segment, segments};

/// One route by one host and one path of its `match`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// Its place in the order of all candidates: the smaller one wins.
    pub(super) rank: u32,
    /// Position of the route.
    pub(super) route: usize,
}

/// The candidates of one host. Every list is in the order of ranks, since candidates come in that order.
#[derive(Debug, Default)]
pub(super) struct PathIndex {
    exact: HashMap<Box<str>, Vec<Candidate>>,
    tree: Tree,
    regexes: Vec<(Regex, Candidate)>,
    any: Vec<Candidate>,
}

impl PathIndex {
    /// Adds a candidate; they come most specific first.
    pub(super) fn insert(&mut self, path: Option<&PathPattern>, candidate: Candidate) {
        match path {
            Some(PathPattern::Exact(path)) => self.exact.entry(path.clone()).or_default().push(candidate),
            Some(PathPattern::Params(path)) => self.tree.insert(path, false, candidate),
            Some(PathPattern::Prefix(path)) => {
                self.tree.insert(path.strip_suffix('/').unwrap_or(path), true, candidate);
            }
            Some(PathPattern::Regex(regex)) => self.regexes.push((regex.clone(), candidate)),
            None => self.any.push(candidate),
        }
    }

    /// The most specific candidate whose route takes the request. The four places are asked in the order of their
    /// ranks, so the first answer is the best.
    pub(super) fn find<'r>(
        &self,
        facts: &Facts<'_>,
        spec: impl Fn(usize) -> &'r MatchSpec + Copy,
    ) -> Option<usize> {
        let holds = |candidate: &Candidate| spec(candidate.route).conditions_hold(facts);
        self.exact
            .get(facts.path)
            .and_then(|candidates| candidates.iter().find(|candidate| holds(candidate)))
            .or_else(|| self.tree.find(facts.path, &holds))
            .or_else(|| {
                let mut found = self.regexes.iter().filter(|(regex, _)| regex.is_match(facts.path));
                found.find(|(_, candidate)| holds(candidate)).map(|(_, candidate)| candidate)
            })
            .or_else(|| self.any.iter().find(|candidate| holds(candidate)))
            .map(|candidate| candidate.route)
    }
}

impl PathIndex {
    /// All candidates whose path fits, whatever else their routes ask for.
    pub(super) fn fitting(&self, path: &str) -> Vec<Candidate> {
        let mut found = self.exact.get(path).cloned().unwrap_or_default();
        self.tree.fitting(path, &mut found);
        let regexes = self.regexes.iter().filter(|(regex, _)| regex.is_match(path));
        found.extend(regexes.map(|(_, candidate)| *candidate));
        found.extend_from_slice(&self.any);
        found
    }
}

/// Paths by segments. Literal and parameter branches may both lead to a match, so both are walked; no node is
/// visited twice, and none whose best rank cannot win.
#[derive(Debug, Default)]
struct Tree {
    /// The first is the root; a branch names its node by position.
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    /// The best rank at or below this node.
    best: u32,
    literals: HashMap<Box<str>, usize>,
    param: Option<usize>,
    /// The path ends here.
    end: Vec<Candidate>,
    /// Something follows: `{*rest}`.
    rest: Vec<Candidate>,
    /// The path ends here or something follows: `/*`.
    prefix: Vec<Candidate>,
}

impl Node {
    fn new(best: u32) -> Self {
        Self { best, literals: HashMap::new(), param: None, end: vec![], rest: vec![], prefix: vec![] }
    }
}

impl Tree {
    fn insert(&mut self, path: &str, prefix: bool, candidate: Candidate) {
        let mut at = self.root(candidate.rank);
        // The prefix "/*" has no segment at all.
        let path = (!path.is_empty()).then_some(path);
        for segment in path.and_then(segments).into_iter().flatten() {
            at = match segment {
                Segment::Literal(literal) => self.literal(at, literal, candidate.rank),
                Segment::Param(_) => self.param(at, candidate.rank),
                Segment::Rest(_) => return self.nodes[at].rest.push(candidate),
            };
        }
        let node = &mut self.nodes[at];
        if prefix { node.prefix.push(candidate) } else { node.end.push(candidate) }
    }

    fn root(&mut self, rank: u32) -> usize {
        if self.nodes.is_empty() {
            self.nodes.push(Node::new(rank));
        }
        0
    }

    // Candidates come in the order of their ranks, so the first to make a node is the best below it.
    fn literal(&mut self, at: usize, literal: &str, rank: u32) -> usize {
        if let Some(child) = self.nodes[at].literals.get(literal) {
            return *child;
        }
        let child = self.nodes.len();
        self.nodes[at].literals.insert(literal.into(), child);
        self.nodes.push(Node::new(rank));
        child
    }

    fn param(&mut self, at: usize, rank: u32) -> usize {
        if let Some(child) = self.nodes[at].param {
            return child;
        }
        let child = self.nodes.len();
        self.nodes[at].param = Some(child);
        self.nodes.push(Node::new(rank));
        child
    }

    fn find(&self, path: &str, holds: &impl Fn(&Candidate) -> bool) -> Option<&Candidate> {
        let path = path.strip_prefix('/')?;
        let mut best = None;
        self.walk(self.nodes.first()?, Some(path), holds, &mut best);
        best
    }

    fn fitting(&self, path: &str, found: &mut Vec<Candidate>) {
        if let (Some(path), Some(root)) = (path.strip_prefix('/'), self.nodes.first()) {
            self.gather(root, Some(path), found);
        }
    }

    /// As `walk`, for all instead of the best.
    fn gather(&self, node: &Node, rest: Option<&str>, found: &mut Vec<Candidate>) {
        found.extend_from_slice(&node.prefix);
        let Some(rest) = rest else {
            return found.extend_from_slice(&node.end);
        };
        if !rest.is_empty() {
            found.extend_from_slice(&node.rest);
        }
        let (head, tail) = rest.split_once('/').map_or((rest, None), |(head, tail)| (head, Some(tail)));
        if let Some(child) = node.literals.get(head) {
            self.gather(&self.nodes[*child], tail, found);
        }
        if let Some(child) = node.param.filter(|_| !head.is_empty()) {
            self.gather(&self.nodes[child], tail, found);
        }
    }

    /// `rest`: what follows the slash after this node's segment; `None` where the path ends with it. As deep as
    /// the longest pattern, never as deep as the request's path.
    fn walk<'t>(
        &'t self,
        node: &'t Node,
        rest: Option<&str>,
        holds: &impl Fn(&Candidate) -> bool,
        best: &mut Option<&'t Candidate>,
    ) {
        if best.is_some_and(|best| best.rank < node.best) {
            return;
        }
        consider(&node.prefix, holds, best);
        let Some(rest) = rest else {
            return consider(&node.end, holds, best);
        };
        if !rest.is_empty() {
            consider(&node.rest, holds, best);
        }
        let (head, tail) = rest.split_once('/').map_or((rest, None), |(head, tail)| (head, Some(tail)));
        if let Some(child) = node.literals.get(head) {
            self.walk(&self.nodes[*child], tail, holds, best);
        }
        if let Some(child) = node.param.filter(|_| !head.is_empty()) {
            self.walk(&self.nodes[child], tail, holds, best);
        }
    }
}

fn consider<'t>(
    candidates: &'t [Candidate],
    holds: &impl Fn(&Candidate) -> bool,
    best: &mut Option<&'t Candidate>,
) {
    let better = candidates.iter().take_while(|candidate| best.is_none_or(|best| candidate.rank < best.rank));
    if let Some(found) = better.into_iter().find(|candidate| holds(candidate)) {
        *best = Some(found);
    }
}
