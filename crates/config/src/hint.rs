//! What a user probably meant, told below an error.

/// A near match for serde's ``unknown field `x`, expected one of `a`, `b` ``, or what a choice means.
pub(crate) fn hint(message: &str) -> Option<String> {
    if message.starts_with("wanted exactly 1 element") {
        return Some("this table is a choice: keep exactly one of its keys".to_owned());
    }
    if !message.starts_with("unknown field") && !message.starts_with("unknown variant") {
        return None;
    }
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let (found, expected) = quoted.split_first()?;
    let mut near: Vec<(usize, &str)> = expected
        .iter()
        .map(|name| (distance(found, name), *name))
        .filter(|(distance, name)| *distance <= 2.max(name.len() / 3))
        .collect();
    near.sort_unstable();
    near.truncate(2);
    let names: Vec<String> = near.iter().map(|(_, name)| format!("`{name}`")).collect();
    (!names.is_empty()).then(|| format!("did you mean {}?", names.join(" or ")))
}

/// Levenshtein distance in bytes; keys are ASCII.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
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
    fn near_matches() {
        let message =
            "unknown field `guidence`, expected one of `weights`, `num_steps`, `guidance`";
        assert_eq!(hint(message).as_deref(), Some("did you mean `guidance`?"));
        assert_eq!(hint("unknown field `zzz`, expected `weights`"), None);
        assert_eq!(hint("missing field `weights`"), None);
    }

    #[test]
    fn distances_by_hand() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
