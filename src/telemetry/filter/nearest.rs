//! "Did you mean": the known name that is nearest to a mistyped one.

/// The nearest of `known`, if any is near enough to be meant.
pub(super) fn nearest(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let allowed = (name.chars().count() / 3).clamp(1, 3);
    known
        .map(|known| (distance(&name, known), known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= allowed)
        .map(|(_, known)| known)
}

/// Insertions, deletions and replacements from one to the other (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (at, c) in left.chars().enumerate() {
        let mut diagonal = at;
        row[0] = at + 1;
        for (column, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(c != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let known = || ["status", "duration", "route"].into_iter();
        assert_eq!(nearest("statsu", known()), Some("status"));
        assert_eq!(nearest("Rout", known()), Some("route"));
        assert_eq!(nearest("zebra", known()), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
