//! The order in which routes are preferred (see the room's first page); the smaller one is more specific.

use std::cmp::Reverse;

use super::spec::{HostPattern, MatchSpec, PathPattern, Segment, segments};

/// How specific one host and one path of a route are. Compares as the room's order says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Specificity {
    host: HostRank,
    path: PathRank,
    any_method: bool,
    conditions: Reverse<usize>,
    position: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum HostRank {
    Exact,
    Wildcard(Reverse<usize>),
    Any,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PathRank {
    Exact,
    Params(Shape),
    Prefix(Shape),
    /// Position in the file.
    Regex(usize),
    Any,
}

/// Literal segments, all segments, where the parameters stand (an earlier literal is more specific), and whether
/// the end of the path is taken too: `/a/*` takes `/a` and `/a/{*rest}` does not.
type Shape = (Reverse<usize>, Reverse<usize>, Vec<bool>, bool);

impl Specificity {
    /// Of the route at `position` in the file, by this host and this path of its `match`.
    pub(super) fn of(
        position: usize,
        spec: &MatchSpec,
        host: Option<&HostPattern>,
        path: Option<&PathPattern>,
    ) -> Self {
        Self {
            host: match host {
                Some(HostPattern::Exact(_)) => HostRank::Exact,
                Some(HostPattern::Wildcard(suffix)) => HostRank::Wildcard(Reverse(suffix.len())),
                None => HostRank::Any,
            },
            path: path_rank(position, path),
            any_method: spec.methods.is_empty(),
            conditions: Reverse(spec.headers.len() + spec.query.len() + usize::from(spec.client.is_some())),
            position,
        }
    }
}

fn path_rank(position: usize, path: Option<&PathPattern>) -> PathRank {
    match path {
        Some(PathPattern::Exact(_)) => PathRank::Exact,
        Some(PathPattern::Params(pattern)) => {
            let open =
                segments(pattern).is_some_and(|mut all| all.any(|one| matches!(one, Segment::Rest(_))));
            let shape = shape(pattern, false);
            if open { PathRank::Prefix(shape) } else { PathRank::Params(shape) }
        }
        Some(PathPattern::Prefix(prefix)) => {
            PathRank::Prefix(shape(prefix.strip_suffix('/').unwrap_or(prefix), true))
        }
        Some(PathPattern::Regex(_)) => PathRank::Regex(position),
        None => PathRank::Any,
    }
}

fn shape(pattern: &str, with_end: bool) -> Shape {
    let mask: Vec<bool> = segments(pattern)
        .into_iter()
        .flatten()
        .filter(|segment| !matches!(segment, Segment::Rest(_)))
        .map(|segment| matches!(segment, Segment::Param(_)))
        .collect();
    let literals = mask.iter().filter(|is_param| !**is_param).count();
    (Reverse(literals), Reverse(mask.len()), mask, with_end)
}
