//! Results of the last negotiation.

use super::description::Description;
use crate::proto::sdp::{Fingerprint, MediaLine};

/// Results of the last negotiation.
#[derive(Debug, Default)]
pub(super) struct Agreed {
    lines: Vec<MediaLine>,
    /// The core's mids that differ from those on the wire, with the latter.
    mids: Vec<(String, String)>,
    /// The remote fingerprints.
    fingerprints: Vec<Fingerprint>,
    has_application: bool,
    /// Set once an application m-line was added to the core; it is in every offer until it is accepted.
    application_offered: bool,
}

impl Agreed {
    /// Records the properties of a remote description.
    pub fn record(&mut self, remote: &Description) {
        self.note_mids(&remote.lines);
        self.lines.clone_from(&remote.lines);
        self.fingerprints.clone_from(&remote.fingerprints);
    }

    pub fn lines(&self) -> &[MediaLine] {
        &self.lines
    }

    /// Returns the fingerprints of the remote certificate.
    pub fn fingerprints(&self) -> &[Fingerprint] {
        &self.fingerprints
    }

    /// Returns `true` if data channels have been negotiated.
    pub fn has_application(&self) -> bool {
        self.has_application
    }

    pub fn set_application(&mut self, application: bool) {
        self.has_application = application;
    }

    /// Returns `true` if data channels have been offered, now or before.
    pub fn application_offered(&self) -> bool {
        self.application_offered
    }

    pub fn note_application_offered(&mut self) {
        self.application_offered = true;
    }

    /// Returns the core's mids that differ from those on the wire, with the latter.
    pub fn mids(&self) -> &[(String, String)] {
        &self.mids
    }

    /// Returns the mid on the wire for one of the core's m-lines.
    pub fn wire_mid(&self, id: &str) -> String {
        let known = self.mids.iter().find(|(known, _)| known == id);
        known.map_or(id, |(_, mid)| mid).to_owned()
    }

    /// Records the mids that the core does not know: those of the current m-lines and of these.
    pub fn note_mids(&mut self, lines: &[MediaLine]) {
        let all = self.lines.iter().chain(lines);
        let other = all.filter(|l| l.wire_mid() != l.id);
        self.mids = other
            .map(|l| (l.id.clone(), l.wire_mid().to_owned()))
            .collect();
    }
}
