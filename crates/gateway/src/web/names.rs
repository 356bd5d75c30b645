//! Names of people and programs that others choose, in the form of the audit, the ledger and the screens.

use unicode_general_category::{GeneralCategory, get_general_category};

/// Bytes of a name at most.
const LONGEST: usize = 256;

/// Letters and symbols without a form of their own.
const FILLERS: [char; 5] = ['\u{115f}', '\u{1160}', '\u{2800}', '\u{3164}', '\u{ffa0}'];

/// True if a text can be the name of somebody: not blank, not too long, and each character is seen. Characters that
/// control a terminal, turn the direction of a text or have no width could make one name look like another.
pub(crate) fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= LONGEST && text.chars().all(is_seen)
}

/// True if a character is seen where it stands; a plain blank is.
pub(crate) fn is_seen(c: char) -> bool {
    use GeneralCategory as Category;
    let hidden = matches!(
        get_general_category(c),
        Category::Control
            | Category::Format
            | Category::Surrogate
            | Category::PrivateUse
            | Category::Unassigned
            | Category::LineSeparator
            | Category::ParagraphSeparator
            | Category::SpaceSeparator
    );
    c == ' ' || !(hidden || FILLERS.contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s58_a_name_shows_all_that_it_is_made_of() {
        for name in
            ["nightly-job", "Zoë Müller", "夜間バックアップ", "spiffe://example/ns/jobs", "أحمد", "a b"]
        {
            assert!(is_name(name), "{name:?}");
        }
        for name in [
            "",
            "   ",
            "root\n",
            "root\u{7f}",
            "admin\u{202e}txt",
            "ad\u{200b}min",
            "ad\u{2060}min",
            "\u{feff}admin",
            "ad\u{ad}min",
            "admin\u{2066}",
            "admin\u{e0041}",
            "admin\u{2028}x",
            "a\u{a0}b",
            "\u{3164}",
            "admin\u{e000}",
        ] {
            assert!(!is_name(name), "{name:?}");
        }
        assert!(!is_name(&"x".repeat(257)));
    }
}
