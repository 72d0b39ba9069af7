//! NAL units between start codes (ITU-T H.264 and H.265, Annex B).

/// Iterates over the NAL units of an access unit or stream in memory, with their positions. Bytes before the first
/// start code are skipped.
pub fn units(stream: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut next = find_start_code(stream, 0).map(|at| at + 3);
    std::iter::from_fn(move || {
        let start = next?;
        let end = find_start_code(stream, start);
        next = end.map(|at| at + 3);
        let nal = stream.get(start..end.unwrap_or(stream.len()))?;
        let length = nal
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |at| at + 1);
        Some((start, nal.get(..length).unwrap_or_default()))
    })
    .filter(|(_, nal)| !nal.is_empty())
}

/// Returns the position of the first `00 00 01` at or after `from`.
pub(super) fn find_start_code(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from + 2;
    // Looks at every third byte: a byte above 1 cannot be part of a start code that ends within the next two.
    while let Some(&byte) = bytes.get(at) {
        match byte {
            0 => at += 1,
            1 if bytes[at - 1] == 0 && bytes[at - 2] == 0 => return Some(at - 2),
            _ => at += 3,
        }
    }
    None
}
