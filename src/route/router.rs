//! All routes of a site, indexed once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use thiserror::Error;

use super::Facts;
use super::index::{Candidate, PathIndex};
use super::parse::{BadPattern, params};
use super::spec::{FieldMatch, HostPattern, MatchSpec, PathPattern, Segment, segments};
use super::specificity::Specificity;
use super::verdict::{Mismatch, Verdict};

/// The routes of a site. Immutable; a reload builds another.
#[derive(Debug, Default)]
pub struct Router {
    routes: Vec<(Arc<str>, MatchSpec)>,
    exact: HashMap<Box<str>, PathIndex>,
    /// By suffix with its leading dot.
    wildcards: HashMap<Box<str>, PathIndex>,
    any: PathIndex,
    shadowed: Vec<(usize, usize)>,
}

/// Why routes make no router.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BuildError {
    /// Two routes of one name.
    #[error("there are two routes `{0}`")]
    DuplicateName(Arc<str>),
    /// A path with parameters that is not well-formed.
    #[error("route `{route}`: {why}")]
    Path {
        /// The route's name.
        route: Arc<str>,
        /// What is wrong with it.
        why: BadPattern,
    },
}

/// One route by one of its hosts and one of its paths.
struct Alternative<'a> {
    specificity: Specificity,
    route: usize,
    host: Option<&'a HostPattern>,
    path: Option<&'a PathPattern>,
}

impl Router {
    /// Indexes routes, given in the order of the file.
    pub fn build(routes: Vec<(Arc<str>, MatchSpec)>) -> Result<Self, BuildError> {
        check(&routes)?;
        let mut router = Self::default();
        let alternatives = alternatives(&routes);
        for (rank, alternative) in (0..).zip(&alternatives) {
            let index = match alternative.host {
                Some(HostPattern::Exact(host)) => router.exact.entry(host.clone()).or_default(),
                Some(HostPattern::Wildcard(suffix)) => router.wildcards.entry(suffix.clone()).or_default(),
                None => &mut router.any,
            };
            index.insert(alternative.path, Candidate { rank, route: alternative.route });
        }
        router.shadowed = shadowed(&routes, &alternatives);
        drop(alternatives);
        router.routes = routes;
        Ok(router)
    }

    /// Position of the route that takes the request. Allocates nothing.
    pub fn find(&self, facts: &Facts<'_>) -> Option<usize> {
        let spec = |route: usize| &self.routes[route].1;
        self.exact
            .get(facts.host)
            .and_then(|index| index.find(facts, spec))
            .or_else(|| self.suffixes(facts.host).find_map(|index| index.find(facts, spec)))
            .or_else(|| self.any.find(facts, spec))
    }

    /// The routes that may take a request of this target, the most specific first: which of them does depends on its
    /// method and fields. None follows one that takes them all.
    pub fn possible(&self, host: &str, path: &str, query: Option<&str>) -> Vec<usize> {
        let exact = self.exact.get(host).into_iter();
        let mut candidates: Vec<Candidate> = exact
            .chain(self.suffixes(host))
            .chain([&self.any])
            .flat_map(|index| index.fitting(path))
            .filter(|candidate| self.routes[candidate.route].1.query_holds(query))
            .collect();
        candidates.sort_unstable_by_key(|candidate| candidate.rank);
        let mut routes = Vec::new();
        for candidate in candidates {
            if !routes.contains(&candidate.route) {
                routes.push(candidate.route);
            }
            let spec = &self.routes[candidate.route].1;
            if spec.methods.is_empty() && spec.headers.is_empty() && spec.client.is_none() {
                break;
            }
        }
        routes
    }

    /// What every route says to a request, in the order of the file. Asks each of them, without the index.
    pub fn explain(&self, facts: &Facts<'_>) -> Vec<Verdict> {
        let winner = (0..self.routes.len())
            .filter_map(|route| Some((self.specificity(route, facts)?, route)))
            .min()
            .map(|(_, route)| route);
        (0..self.routes.len()).map(|route| self.verdict(route, winner, facts)).collect()
    }

    /// The positions of all routes, the most specific first: by each one's most specific host and path.
    pub fn precedence(&self) -> Vec<usize> {
        let mut order = Vec::with_capacity(self.routes.len());
        for alternative in alternatives(&self.routes) {
            if !order.contains(&alternative.route) {
                order.push(alternative.route);
            }
        }
        order
    }

    /// Routes that can never win, each with one that always precedes it.
    pub fn shadowed(&self) -> Vec<(usize, usize)> {
        self.shadowed.clone()
    }

    /// The indexes of the wildcards above a host, the longest first.
    fn suffixes<'r>(&'r self, host: &'r str) -> impl Iterator<Item = &'r PathIndex> {
        let host = if self.wildcards.is_empty() { "" } else { host };
        // A wildcard stands for at least one character.
        let dots = host.bytes().enumerate().skip(1).filter(|(_, byte)| *byte == b'.');
        dots.filter_map(|(dot, _)| self.wildcards.get(&host[dot..]))
    }

    /// By the most specific of the route's alternatives that take the request; `None` where none does.
    fn specificity(&self, route: usize, facts: &Facts<'_>) -> Option<Specificity> {
        let spec = &self.routes[route].1;
        if Mismatch::first(spec, facts).is_some() {
            return None;
        }
        let hosts = spec.hosts.iter().filter(|host| host.takes(facts.host));
        let paths = spec.paths.iter().filter(|path| path.takes(facts.path));
        pairs(hosts.collect(), paths.collect())
            .map(|(host, path)| Specificity::of(route, spec, host, path))
            .min()
    }

    fn verdict(&self, route: usize, winner: Option<usize>, facts: &Facts<'_>) -> Verdict {
        let (name, spec) = &self.routes[route];
        let mismatch = Mismatch::first(spec, facts);
        let matched = mismatch.is_none();
        let chosen = winner == Some(route);
        let preferred =
            winner.filter(|_| !chosen).map(|winner| Mismatch::LessSpecific(self.routes[winner].0.clone()));
        Verdict { route: name.clone(), matched, chosen, reason: mismatch.or(preferred) }
    }
}

fn check(routes: &[(Arc<str>, MatchSpec)]) -> Result<(), BuildError> {
    let mut names = HashSet::new();
    for (name, spec) in routes {
        if !names.insert(name) {
            return Err(BuildError::DuplicateName(name.clone()));
        }
        for path in &spec.paths {
            if let PathPattern::Params(path) = path {
                params(path).map_err(|why| BuildError::Path { route: name.clone(), why })?;
            }
        }
    }
    Ok(())
}

/// Every route by each of its hosts and paths, the most specific first.
fn alternatives(routes: &[(Arc<str>, MatchSpec)]) -> Vec<Alternative<'_>> {
    let mut all = Vec::new();
    for (route, (_, spec)) in routes.iter().enumerate() {
        for (host, path) in pairs(spec.hosts.iter().collect(), spec.paths.iter().collect()) {
            all.push(Alternative {
                specificity: Specificity::of(route, spec, host, path),
                route,
                host,
                path,
            });
        }
    }
    all.sort_by(|one, other| one.specificity.cmp(&other.specificity));
    all
}

/// Each with each; an empty list stands for "any".
fn pairs<'a>(
    hosts: Vec<&'a HostPattern>,
    paths: Vec<&'a PathPattern>,
) -> impl Iterator<Item = (Option<&'a HostPattern>, Option<&'a PathPattern>)> {
    let (hosts, paths) = (or_any(hosts), or_any(paths));
    hosts.into_iter().flat_map(move |host| paths.clone().into_iter().map(move |path| (host, path)))
}

fn or_any<T>(patterns: Vec<T>) -> Vec<Option<T>> {
    if patterns.is_empty() { vec![None] } else { patterns.into_iter().map(Some).collect() }
}

/// Only what has the same host and the same path can both precede and cover: anything wider in these is less
/// specific, too.
fn shadowed(routes: &[(Arc<str>, MatchSpec)], alternatives: &[Alternative<'_>]) -> Vec<(usize, usize)> {
    let mut groups: HashMap<(String, String), Vec<usize>> = HashMap::new();
    // For each route: those that cover every alternative of it seen so far, and whether one was left uncovered.
    let mut covered: HashMap<usize, Option<Vec<usize>>> = HashMap::new();
    for Alternative { route, host, path, .. } in alternatives {
        let key = (host.map_or_else(String::new, ToString::to_string), path.map_or_else(String::new, shape));
        let before = groups.entry(key).or_default();
        let by: Vec<usize> = before
            .iter()
            .copied()
            .filter(|earlier| earlier != route && covers(&routes[*earlier].1, &routes[*route].1))
            .collect();
        before.push(*route);
        let so_far = covered.entry(*route).or_insert_with(|| Some(by.clone()));
        *so_far = so_far.take().and_then(|so_far| join(so_far, &by));
    }
    let mut found: Vec<_> =
        covered.into_iter().filter_map(|(route, by)| Some((route, by?.first().copied()?))).collect();
    found.sort_unstable();
    found
}

/// Those that cover both; where each is covered but by no one route, the first that covers one.
fn join(so_far: Vec<usize>, by: &[usize]) -> Option<Vec<usize>> {
    if so_far.is_empty() || by.is_empty() {
        return None;
    }
    let both: Vec<usize> = so_far.iter().copied().filter(|route| by.contains(route)).collect();
    Some(if both.is_empty() { so_far } else { both })
}

/// A path without the names of its parameters.
fn shape(path: &PathPattern) -> String {
    let PathPattern::Params(pattern) = path else { return path.to_string() };
    let mut shape = String::new();
    for segment in segments(pattern).into_iter().flatten() {
        match segment {
            Segment::Literal(literal) => shape.extend(["/", literal]),
            Segment::Param(_) => shape.push_str("/{}"),
            Segment::Rest(_) => shape.push_str("/{*}"),
        }
    }
    shape
}

/// Whether `wide` takes every method, field and query that `narrow` takes.
fn covers(wide: &MatchSpec, narrow: &MatchSpec) -> bool {
    let methods = wide.methods.is_empty()
        || (!narrow.methods.is_empty() && narrow.methods.iter().all(|method| wide.takes_method(method)));
    let client = wide.client.is_none() || wide.client == narrow.client;
    methods
        && client
        && wide.headers.iter().all(|(name, asked)| {
            narrow.headers.iter().any(|(other, given)| name == other && implies(given, asked))
        })
        && wide.query.iter().all(|(name, asked)| {
            narrow.query.iter().any(|(other, given)| name == other && implies(given, asked))
        })
}

fn implies(given: &FieldMatch, asked: &FieldMatch) -> bool {
    match (given, asked) {
        (FieldMatch::Absent, FieldMatch::Absent) => true,
        (FieldMatch::Present | FieldMatch::Exact(_) | FieldMatch::Regex(_), FieldMatch::Present) => true,
        (FieldMatch::Exact(given), FieldMatch::Exact(asked)) => given == asked,
        (FieldMatch::Exact(given), FieldMatch::Regex(asked)) => asked.is_match(given),
        (FieldMatch::Regex(given), FieldMatch::Regex(asked)) => given.as_str() == asked.as_str(),
        _ => false,
    }
}

#[cfg(test)]
#[path = "router_tests.rs"]
mod tests;
