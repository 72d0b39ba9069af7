//! The alert for an unusable remote certificate.
//!
//! dimpl fails silently, and the remote peer retransmits its flight until it gives up. In DTLS 1.2 nothing is protected
//! yet at that point, so the alert can be written here (RFC 5246 §7.2.2). In DTLS 1.3 it would need dimpl's keys.

use super::explain;

/// Content type of handshake records. The epoch follows the version; it is 0 here.
const HANDSHAKE: u8 = 22;
const ALERT: u8 = 21;
const FATAL: u8 = 2;

/// Length of the record: header and alert.
pub(super) const RECORD: usize = 15;

/// The alert sent to the remote peer when the handshake has failed for good over its certificate.
#[derive(Debug, Default)]
pub(super) struct Refusal {
    /// Number of the next unprotected record; a number used before would be dropped as a replay.
    next: u64,
    /// The alert's description, once the handshake has failed.
    description: Option<u8>,
    /// Set while the alert waits to be sent.
    is_due: bool,
}

impl Refusal {
    /// Records a sent record's number.
    pub fn on_sent(&mut self, record: &[u8]) {
        if let [20..=26, _, _, 0, 0, a, b, c, d, e, f, ..] = *record {
            let number = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
            self.next = self.next.max(number + 1);
        }
    }

    /// Prepares the alert if this is an error about the remote certificate.
    pub fn on_error(&mut self, error: &dimpl::Error) {
        if let Some(description) = explain::alert(error) {
            self.description = Some(description);
            self.is_due = true;
        }
    }

    /// Returns whether the handshake has failed for good.
    pub fn is_final(&self) -> bool {
        self.description.is_some()
    }

    /// Repeats the alert if the remote peer retransmits its handshake: the alert was lost (RFC 6347 §4.2.7).
    pub fn on_late(&mut self, record: &[u8]) {
        self.is_due |= matches!(record, [HANDSHAKE, _, _, 0, 0, ..]);
    }

    /// Returns the record to send, if one is due.
    pub fn record(&mut self) -> Option<[u8; RECORD]> {
        let description = self.description.filter(|_| self.is_due)?;
        self.is_due = false;
        let [_, _, number @ ..] = self.next.to_be_bytes();
        self.next += 1;
        let mut record = [0; RECORD];
        record[..3].copy_from_slice(&[ALERT, 0xfe, 0xfd]);
        record[5..11].copy_from_slice(&number);
        record[11..].copy_from_slice(&[0, 2, FATAL, description]);
        Some(record)
    }
}
