//! Validation of names that people choose and others read.

/// Returns `true` if a character is displayed as itself and does not move its neighbors. Control and format characters
/// (Unicode Cc and Cf), other invisible ones, private and unassigned ones do not qualify.
pub(super) fn is_visible(c: char) -> bool {
    let hidden = matches!(u32::from(c),
        0x00AD | 0x034F | 0x0600..=0x0605 | 0x061C | 0x06DD | 0x070F | 0x0890..=0x0891 | 0x08E2
        | 0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F | 0x2028..=0x202E
        | 0x2060..=0x206F | 0x2800 | 0x3164 | 0xE000..=0xF8FF | 0xFDD0..=0xFDEF | 0xFE00..=0xFE0F
        | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFF | 0x110BD | 0x110CD | 0x13430..=0x1345F | 0x1BCA0..=0x1BCA3
        | 0x1D173..=0x1D17A | 0xE0000..=0x10_FFFF);
    !c.is_control() && !hidden && (c == ' ' || !c.is_whitespace())
}

/// Scripts with letters that look alike.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    Latin,
    Greek,
    Cyrillic,
}

fn script(c: char) -> Option<Script> {
    match u32::from(c) {
        0x41..=0x5A | 0x61..=0x7A | 0xC0..=0xD6 | 0xD8..=0xF6 | 0xF8..=0x02AF | 0x1E00..=0x1EFF => {
            Some(Script::Latin)
        }
        0x0370..=0x03FF | 0x1F00..=0x1FFF => Some(Script::Greek),
        0x0400..=0x052F | 0x1C80..=0x1C8F | 0x2DE0..=0x2DFF | 0xA640..=0xA69F => {
            Some(Script::Cyrillic)
        }
        _ => None,
    }
}

/// Validates a name by which people recognize each other: 1 to 64 visible characters, without letters that imitate
/// others.
///
/// # Errors
///
/// Returns a sentence for the person who chose the name.
pub(super) fn check(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.chars().count() > 64 {
        return Err("a name has 1 to 64 characters");
    }
    if name.trim() != name || name.contains("  ") {
        return Err("a name has no white space at its ends, and single spaces within");
    }
    if !name.chars().all(is_visible) {
        return Err("a name has visible characters only");
    }
    let stands_for_another = |c: char| {
        // Full-width and half-width forms, mathematical and enclosed letters, superscripts.
        matches!(u32::from(c), 0x2070..=0x209F | 0x2460..=0x24FF | 0xFF01..=0xFFEE | 0x1D400..=0x1D7FF)
    };
    // A plain letter followed by a combining accent looks like the accented letter.
    let mut pairs = name.chars().zip(name.chars().skip(1));
    let is_composed =
        |(a, b): (char, char)| a.is_ascii() && matches!(u32::from(b), 0x0300..=0x036F);
    if name.chars().any(stands_for_another) || pairs.any(is_composed) {
        return Err("a name has no letters that only look like others");
    }
    let mut scripts = name.chars().filter_map(script);
    let first = scripts.next();
    if scripts.any(|script| Some(script) != first) {
        return Err("a name does not mix Latin, Greek and Cyrillic letters");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_people() {
        for name in [
            "anna",
            "Zoë",
            "O'Brien-Smith 2",
            "Анна",
            "Ελένη",
            "李 小龍",
            "أحمد",
            "नीता",
            "안나",
            "👩🏽 dev",
            "Søren",
            "ẹ́mi",
        ] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn names_that_could_be_taken_for_others() {
        for name in [
            "",
            " anna",
            "anna ",
            "an  na",
            "an\u{200b}na",
            "anna\u{202e}",
            "\u{2066}anna",
            "an\u{ad}na",
            "anna\u{feff}",
            "anna\u{200d}",
            "anna\u{fe0f}",
            "anna\u{3164}",
            "an\u{a0}na",
            "an\u{2009}na",
            "an\tna",
            "an\nna",
            "anna\u{e0061}",
            "anna\u{e000}",
            "anna\u{2800}",
            "\u{61c}anna",
            // Cyrillic а, Greek ο, full-width and mathematical letters, a combining accent.
            "\u{430}nna",
            "b\u{3bf}b",
            "\u{ff41}nna",
            "\u{1d41a}nna",
            "anne\u{301}",
            "\u{24d0}nna",
        ] {
            assert!(check(name).is_err(), "{name:?}");
        }
        assert!(check(&"x".repeat(65)).is_err());
    }
}
