//! One m-line, and what becomes of it.

/// Outcome of an m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    Used,
    /// Rejected by the description itself (port 0).
    Rejected,
    /// Not usable here: the answer rejects it, for this reason.
    Unusable(String),
}

/// An m-line and its wire format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MediaLine {
    /// The line number, from 1.
    pub line: usize,
    pub kind: String,
    pub mid: Option<String>,
    /// The core's name for it: the mid if the core can represent it, otherwise a generated one.
    pub id: String,
    pub proto: String,
    pub formats: Vec<String>,
    pub fate: Fate,
    /// Set if it has `a=rtcp-mux`.
    pub muxes: bool,
    /// Values of its `a=rtcp-fb` lines, such as `96 nack pli`.
    pub feedback: Vec<String>,
    /// H.264 payload types whose profile was rewritten for the core, with the original value.
    pub profiles: Vec<(String, String)>,
}

impl MediaLine {
    /// Returns `true` if it is rejected, or will be by our answer.
    pub fn is_rejected(&self) -> bool {
        self.fate != Fate::Used
    }

    /// Returns the mid that the remote peer uses, or the generated one if it has none.
    pub fn wire_mid(&self) -> &str {
        self.mid.as_deref().unwrap_or(&self.id)
    }
}
