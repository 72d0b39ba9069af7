//! Rules for incoming DTLS: which records reach dimpl, and which of its errors count.
//!
//! dimpl trusts records more than a network deserves (docs/upstream.md has the inputs and the effects). A record passes
//! the rules below from top to bottom; the first that applies drops it.
//!
//! | when | record | why it is dropped | rule |
//! |---|---|---|---|
//! | DTLS 1.3, always | unprotected, but neither a hello nor an alert before there are keys | anybody could have sent it, and dimpl would store it forever, with everything after it: after thirty records it accepts nothing more | [`may_be_clear`](Rules::may_be_clear) |
//! | handshake | `close_notify`, unprotected | anybody could have sent it, and it would end the handshake (RFC 6347 §4.1.2.7) | [`is_early_goodbye`] |
//! | handshake | DTLSCiphertext of epoch 0 or 1 | no handshake has such keys; dimpl would return its content as data from the remote peer once connected | [`has_no_keys`](Rules::has_no_keys) |
//! | handshake | DTLSCiphertext before the hellos of both sides | there cannot be keys; dimpl would store it until its buffer is full | [`has_no_keys`](Rules::has_no_keys) |
//! | handshake | protected (DTLS 1.2) before a ChangeCipherSpec | it cannot be read yet, and dimpl would fail on it if it never can; it is retransmitted (RFC 6347 §4.1.2.7) | [`is_useless`](Rules::is_useless) |
//! | handshake | protected (DTLS 1.2), a duplicate | dimpl stores such records until it can read them, and panics over two with the same number | [`is_useless`](Rules::is_useless) |
//! | handshake | protected (DTLS 1.2), more than [`MAX_EARLY`] of its kind | a flight has one or two | [`is_useless`](Rules::is_useless) |
//!
//! Errors of dimpl that do not count:
//!
//! | when | error | why |
//! |---|---|---|
//! | handshake | a record cannot be decrypted | anybody could have sent it |
//! | connected | a retransmission has timed out | a DTLS 1.3 client whose `Finished` was received but whose acknowledgement was lost keeps sending it, and dimpl would give up after a while |
//!
//! How records are passed and when dimpl retransmits is the matter of [`dtls`](super::dtls); what happens after a
//! certificate that cannot be used, that of [`refusal`](super::refusal).

use str0m::crypto::dtls::DtlsImplError;

/// Maximum number of protected handshake records passed to dimpl before it can read them, and of others. A flight has
/// one or two.
const MAX_EARLY: usize = 8;

/// State of one connection that its records are judged by.
#[derive(Debug, Default)]
pub(super) struct Rules {
    connected: bool,
    /// Set once the remote ServerHello was passed to dimpl, or dimpl has written its own.
    has_greeted: bool,
    /// Set once a ChangeCipherSpec was passed to dimpl: protected records may be readable.
    cipher_changed: bool,
    /// Types, epochs and numbers of the protected records passed to dimpl during the handshake.
    early: Vec<(bool, [u8; 8])>,
}

impl Rules {
    /// Returns `true` once the handshake has finished.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// The handshake has finished.
    pub fn connected(&mut self) {
        self.connected = true;
        self.early = Vec::new();
    }

    /// dimpl has written a record. A server's first one is its ServerHello.
    pub fn on_sent(&mut self, is_client: bool) {
        self.has_greeted |= !is_client;
    }

    /// Returns `true` if a datagram may be passed to dimpl as it is.
    pub fn lets_in_whole<'a>(
        &self,
        is_13: bool,
        mut records: impl Iterator<Item = &'a [u8]>,
    ) -> bool {
        self.connected && !(is_13 && records.any(is_in_the_clear))
    }

    /// Returns `true` if a record is to be passed to dimpl, and remembers what later ones are judged by.
    pub fn lets_in(&mut self, record: &[u8], is_13: bool) -> bool {
        let is_passed_over = match is_13 && is_in_the_clear(record) {
            true => !self.may_be_clear(record),
            false => !self.connected && (is_early_goodbye(record) || self.has_no_keys(record)),
        };
        if is_passed_over || (!self.connected && self.is_useless(record)) {
            return false;
        }
        // A handshake record of epoch 0 with a ServerHello.
        self.has_greeted |= matches!(record, [22, _, _, 0, 0, ..] if record.get(13) == Some(&2));
        true
    }

    /// Returns `true` if DTLS 1.3 allows this record unprotected: hellos and alerts, before there are keys (RFC 9147
    /// §5.1, §6.1).
    fn may_be_clear(&self, record: &[u8]) -> bool {
        match record {
            [22, ..] => {
                // The first message of each side, or the second after a HelloRetryRequest.
                let hello = matches!(record.get(13), Some(1 | 2));
                !self.connected && hello && matches!(record.get(17..19), Some([0, 0 | 1]))
            }
            [21, ..] => !self.connected && !is_early_goodbye(record),
            _ => false,
        }
    }

    /// Returns `true` for a DTLSCiphertext (RFC 9147 §4) for which no keys can exist: of epoch 0 or 1, by its low bits
    /// (those of a handshake are 2 and 3, §6.1; 1 is early data, which is not negotiated), or before the hellos of both
    /// sides.
    fn has_no_keys(&self, record: &[u8]) -> bool {
        matches!(record, [first @ 0x20..0x40, ..] if first & 3 < 2 || !self.has_greeted)
    }

    /// Returns `true` for a protected record (DTLS 1.2: epoch above 0) that cannot be read yet, is a duplicate, or
    /// exceeds the limit. Retransmissions have new numbers.
    fn is_useless(&mut self, record: &[u8]) -> bool {
        let [kind @ 20..=26, _, _, number @ ..] = record else {
            return false;
        };
        let Some(number) = number.first_chunk().filter(|n| n[..2] != [0, 0]) else {
            self.cipher_changed |= *kind == 20;
            return false;
        };
        let of_handshake = *kind == 22;
        let alike = self.early.iter().filter(|(kind, _)| *kind == of_handshake);
        let is_useless = !self.cipher_changed
            || alike.count() >= MAX_EARLY
            || self.early.iter().any(|(_, other)| other == number);
        if !is_useless {
            self.early.push((of_handshake, *number));
        }
        is_useless
    }

    /// Ignores errors that are not ours: caused by records that anybody could have sent, or after the end.
    pub fn bear(&self, result: Result<(), DtlsImplError>) -> Result<(), DtlsImplError> {
        const UNREADABLE: dimpl::CryptoError =
            dimpl::CryptoError::OperationFailed(dimpl::CryptoOperation::Decrypt);
        match result {
            Err(DtlsImplError::CryptoError(UNREADABLE)) if !self.connected => {
                log::debug!("DTLS: a record that cannot be decrypted, in the handshake");
                Ok(())
            }
            Err(DtlsImplError::Timeout(_)) if self.connected => Ok(()),
            result => result,
        }
    }
}

/// Returns `true` for a DTLSPlaintext (RFC 9147 §4) in DTLS 1.3.
fn is_in_the_clear(record: &[u8]) -> bool {
    record.first().is_some_and(|first| *first < 0x20)
}

/// Returns `true` for an unprotected `close_notify` (epoch 0), which is possible before there are keys only: anybody
/// could have sent it, and dimpl would end the handshake (RFC 6347 §4.1.2.7).
fn is_early_goodbye(record: &[u8]) -> bool {
    matches!(record, [21, _, _, 0, 0, .., 0] if record.len() == 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of DTLS 1.2 with this type, epoch, number and content.
    fn plain(kind: u8, epoch: u8, number: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len() as u8;
        let header = [kind, 254, 253, 0, epoch, 0, 0, 0, 0, 0, number, 0, length];
        [&header[..], content].concat()
    }

    /// A handshake message with this type and sequence number.
    fn message(kind: u8, sequence: u8) -> Vec<u8> {
        plain(22, 0, 0, &[kind, 0, 0, 0, 0, sequence, 0, 0, 0, 0, 0, 0])
    }

    /// Rows of the table: what is dropped in a handshake and what is not.
    #[test]
    fn a_handshake_lets_in_what_it_can_use() {
        let goodbye = plain(21, 0, 1, &[1, 0]);
        let alert = plain(21, 0, 1, &[2, 40]);
        let (client_hello, server_hello) = (message(1, 0), message(2, 0));
        let ciphertext = |bits: u8| vec![0x2c | bits, 0, 0, 0, 1, 9];
        for is_13 in [false, true] {
            let mut rules = Rules::default();
            assert!(!rules.lets_in(&goodbye, is_13));
            assert!(rules.lets_in(&alert, is_13));
            assert!(!rules.lets_in(&ciphertext(2), is_13), "before the hellos");
            assert!(rules.lets_in(&client_hello, is_13));
            assert!(rules.lets_in(&server_hello, is_13));
            assert!(rules.lets_in(&ciphertext(2), is_13));
            for epoch in [0, 1] {
                assert!(!rules.lets_in(&ciphertext(epoch), is_13), "no keys");
            }
        }
    }

    #[test]
    fn protected_records_wait_for_the_change_of_ciphers_and_come_once() {
        let mut rules = Rules::default();
        let finished = |number| plain(22, 1, number, &[0; 40]);
        assert!(!rules.lets_in(&finished(0), false));
        assert!(rules.lets_in(&plain(20, 0, 2, &[1]), false));
        assert!(rules.lets_in(&finished(0), false));
        assert!(!rules.lets_in(&finished(0), false), "a duplicate");
        let more = (1..100).filter(|number| rules.lets_in(&finished(*number), false));
        assert_eq!(more.count(), MAX_EARLY - 1);
    }

    #[test]
    fn nothing_unprotected_is_let_into_a_connection_of_dtls_1_3() {
        let mut rules = Rules::default();
        rules.connected();
        let hello = message(1, 0);
        let records = || [&hello[..]].into_iter();
        assert!(!rules.lets_in_whole(true, records()) && rules.lets_in_whole(false, records()));
        for record in [hello.clone(), message(2, 0), plain(21, 0, 1, &[2, 40])] {
            assert!(!rules.lets_in(&record, true));
        }
        assert!(rules.lets_in(&[0x2f, 0, 0, 0, 1, 9], true));
    }
}
