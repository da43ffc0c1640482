//! Suggestions for names that are probably misspelt.

/// The candidate within two edits of `name`, half of the longer one at most, for "did you mean".
pub fn closest<'a>(name: &str, candidates: &'a [String]) -> Option<&'a str> {
    candidates
        .iter()
        .map(|candidate| (edits(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 2.min(name.len().max(candidate.len()) / 2))
        .min()
        .map(|(_, candidate)| candidate.as_str())
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_looks_alike_is_suggested() {
        let near = |name: &str, candidate: &str| closest(name, &[candidate.to_owned()]).is_some();
        for (name, candidate) in [("imge", "image"), ("hots", "host"), ("spce", "spec"), ("zn", "n")] {
            assert!(near(name, candidate), "{name} is {candidate}");
        }
        for (name, candidate) in [("zz", "n"), ("x", "n"), ("abc", "n"), ("ab", "cd"), ("image", "replicas")] {
            assert!(!near(name, candidate), "{name} is not {candidate}");
        }
    }
}
