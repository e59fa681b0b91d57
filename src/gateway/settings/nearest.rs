//! "Did you mean ...?"

/// The nearest of `names` to `asked`, best first, at most `max`; only those
/// close enough to be a slip of the hand or a part of it.
#[must_use]
pub fn nearest<'a>(asked: &str, names: impl IntoIterator<Item = &'a str>, max: usize) -> Vec<String> {
    let mut scored: Vec<(f64, &str)> = names
        .into_iter()
        .map(|name| {
            let contained = name.len() >= 3 && (asked.contains(name) || name.contains(asked) && asked.len() >= 3);
            let score = strsim::jaro_winkler(asked, name).max(if contained { 0.8 } else { 0.0 });
            (score, name)
        })
        .filter(|(score, _)| *score >= 0.72)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.dedup_by(|a, b| a.1 == b.1);
    scored.into_iter().take(max).map(|(_, name)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let names = ["analysis", "lookup", "search"];
        assert_eq!(nearest("analisys", names, 1), ["analysis"]);
        assert_eq!(nearest("zzz", names, 3), [] as [&str; 0]);
        assert_eq!(nearest("gpt-4", ["gpt-4o", "gpt-4o-mini", "claude"], 2), ["gpt-4o", "gpt-4o-mini"]);
    }
}
