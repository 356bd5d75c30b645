//! Suggestions for a misspelled name.

/// Returns the candidate that is most similar to `word`, or that begins with `word`, if any is similar enough.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let length = word.chars().count();
    let furthest = if length < 2 { 0 } else { (length / 3).max(1) };
    let distance = |candidate: &str| {
        let candidate = candidate.to_lowercase();
        let begun = length >= 3 && candidate.starts_with(&word);
        if begun { furthest } else { strsim::damerau_levenshtein(&word, &candidate) }
    };
    candidates
        .into_iter()
        .map(|candidate| (distance(candidate), candidate))
        .filter(|(distance, _)| *distance <= furthest)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn names_only_what_is_close() {
        let keys = ["match", "upstream", "baseline"];
        assert_eq!(nearest("upstrem", keys), Some("upstream"));
        assert_eq!(nearest("mtach", keys), Some("match"));
        assert_eq!(nearest("BASE_LINE", keys), Some("baseline"));
        assert_eq!(nearest("colour", keys), None);
        assert_eq!(nearest("up", keys), None);
        assert_eq!(nearest("base", keys), Some("baseline"));
        assert_eq!(nearest("a", ["b"]), None);
    }
}
