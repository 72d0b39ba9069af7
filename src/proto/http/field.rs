//! Header lines and trailer lines: `name: value` (RFC 9110, section 5; RFC 9112, section 5).

use super::Refusal;

/// Reads a header or trailer line. Returns the name as it was sent, and the value without the white space around it.
///
/// A line that begins with white space (`obs-fold`) continues the one before it for some readers; here it is refused.
pub(crate) fn field(line: &str) -> Result<(&str, &str), Refusal> {
    let (name, value) = line
        .split_once(':')
        .filter(|(name, _)| is_name(name))
        .ok_or_else(|| Refusal::bad("a header line is not \"name: value\""))?;
    let value = value.trim_matches([' ', '\t']);
    if !is_value(value) {
        return Err(Refusal::bad("a header has a control character"));
    }
    Ok((name, value))
}

/// Returns `true` for a field name or a method: a token of RFC 9110, section 5.6.2.
pub(super) fn is_name(name: &str) -> bool {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.bytes().all(is_token)
}

/// Returns `true` if the value has no control characters other than tabs, so that it cannot end its line.
pub(super) fn is_value(value: &str) -> bool {
    !value.bytes().any(|b| b.is_ascii_control() && b != b'\t')
}
