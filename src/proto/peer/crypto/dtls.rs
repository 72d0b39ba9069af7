//! DTLS by dimpl, its configuration shared between peers.
//!
//! `dimpl::ConfigBuilder::build` proves the crypto provider right each time (key exchange,
//! signatures, every cipher): some milliseconds that depend on nothing but the provider. Here it is
//! done once for each MTU.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use str0m::crypto::CryptoError;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
};

use super::ExportedKeys;
use super::identity;
use super::refusal::Refusal;
use crate::proto::peer::{empty, joined};

/// How many MTUs are remembered. The one that came first goes first; a peer built with an MTU that
/// is not remembered merely pays for the proof again.
pub(super) const MAX_CONFIGS: usize = 8;

/// When a DTLS flight is first sent again, doubled each time.
///
/// RFC 6347 section 4.2.4.1 says 1 s, but for paths about which nothing is known. Here ICE has just
/// had an answer over the path, and a lost flight is what the user waits for.
const FIRST_RETRANSMIT: Duration = Duration::from_millis(400);

/// dimpl doubles its wait each time, and for the first `ClientHello` it begins at a second whatever it is
/// told: after three losses in a row half a minute is gone. So it never waits longer than this; its clock
/// is put forward instead (see [`Dimpl`]). The first number is up to which retransmission the second holds.
const LONGEST_WAITS: [(u32, Duration); 3] = [
    (6, Duration::from_millis(500)),
    (12, Duration::from_secs(1)),
    (u32::MAX, Duration::from_secs(3)),
];

/// How long dimpl waits between two acknowledgements of a handshake flight with a gap in it.
const ACK_PAUSE: Duration = Duration::from_millis(50);

/// With `LONGEST_WAITS`: the last flight goes out some 45 s after the first. Doubled so often, dimpl's own
/// wait is months, well under `HANDSHAKE_TIMEOUT`.
const RETRANSMITS: usize = 24;

/// Above this it is no retransmission that dimpl waits for.
const NOT_A_RETRANSMISSION: Duration = Duration::from_secs(365 * 24 * 3600);

/// dimpl's limit for the whole handshake: none that anybody lives to see. The peer has its own
/// (`Timing::handshake`), which begins when there is a path. dimpl 0.7 begins to count when the peer is
/// built, and as a DTLS 1.3 client never stops: every connection would end after 40 s.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A DTLS provider for `str0m` over one dimpl provider.
pub(super) struct SharedDtls {
    /// Gives dimpl's provider.
    pub(super) provider: fn() -> dimpl::crypto::CryptoProvider,
    /// Makes a certificate.
    pub(super) generate: fn() -> Option<DtlsCert>,
    /// Seeds what dimpl draws outside of cryptography; simulations only.
    pub(super) seed: Option<u64>,
    /// The configurations in use, by MTU; at most `MAX_CONFIGS`.
    pub(super) configs: Mutex<Vec<Arc<dimpl::Config>>>,
}

impl SharedDtls {
    pub(super) fn config(&self, mtu: Option<usize>) -> Result<Arc<dimpl::Config>, dimpl::Error> {
        // Nothing in the vector can be half changed, so a poisoned lock is as good as another.
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        let default_mtu = 1150; // dimpl's own
        let mtu = mtu.unwrap_or(default_mtu);
        if let Some(config) = configs.iter().find(|config| config.mtu() == mtu) {
            return Ok(config.clone());
        }
        let mut builder = dimpl::Config::builder()
            .with_crypto_provider((self.provider)())
            .mtu(mtu)
            .flight_start_rto(FIRST_RETRANSMIT)
            .flight_retries(RETRANSMITS)
            .handshake_timeout(HANDSHAKE_TIMEOUT)
            // A cookie proves that the sender's address is real. ICE has proven it already: no
            // DTLS comes here from an address that is not validated.
            .use_server_cookie(false);
        if let Some(seed) = self.seed {
            builder = builder.dangerously_set_rng_seed(seed);
        }
        let config = Arc::new(builder.build()?);
        if configs.len() >= MAX_CONFIGS {
            configs.remove(0);
        }
        configs.push(config.clone());
        Ok(config)
    }
}

impl fmt::Debug for SharedDtls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedDtls")
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

impl DtlsProvider for SharedDtls {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        (self.generate)()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let config = self.config(mtu)?;
        let cert = cert.clone();
        let dtls = match version {
            DtlsVersion::Dtls12 => dimpl::Dtls::new_12(config, cert, now),
            DtlsVersion::Dtls13 => dimpl::Dtls::new_13(config, cert, now),
            DtlsVersion::Auto => dimpl::Dtls::new_auto(config, cert, now),
            other => return Err(CryptoError::Other(format!("{other} is not known here"))),
        };
        Ok(Box::new(Dimpl::new(dtls, now)))
    }
}

/// Protected records of the handshake that are given to dimpl before it can read them, and as many others. A flight has
/// one or two.
const MAX_EARLY: usize = 8;

/// One DTLS connection, and ten things put right in how dimpl deals with losses, forgeries and failures:
///
/// - While the handshake lasts it is given one record at a time. It passes over a datagram that begins with
///   a handshake message it has had already, and what it lacks may stand behind that.
/// - A DTLS 1.3 handshake flight with a gap in it is acknowledged once for each datagram and each
///   `ACK_PAUSE`. dimpl would do so at once, and again at once, without end.
/// - While the handshake lasts its clock runs ahead of ours by `ahead`, so that it retransmits when we say.
/// - While the handshake lasts, a `close_notify` that anybody could have written does not end it.
/// - While the handshake lasts, a protected record that comes twice is given to it once. Where it keeps such records until
///   it can read them, it panics over two of one number.
/// - While the handshake lasts, a record of DTLS 1.3 that says it is protected by keys that are in no handshake, or when
///   there cannot be keys, does not reach it. It would give out what stands in the first as data from the other side, as
///   it is, when the handshake is over, and keep the other until there is room for nothing more.
/// - While the handshake lasts, a protected record of DTLS 1.2 that cannot be read yet, or at all, is dropped
///   (RFC 6347 §4.1.2.7); it is sent again. dimpl would fail for one that it cannot read.
/// - Records in the clear that DTLS 1.3 has no use for do not reach it. Anybody could have written them, and dimpl would keep
///   them for ever, and all that comes behind them: thirty records later nothing more is taken.
/// - Once it is over, nothing it still waits for ends the connection. A DTLS 1.3 client whose `Finished` was
///   received goes on sending it when the acknowledgement was lost, and dimpl would give up after a while.
/// - Where DTLS 1.2 fails over the other side's certificate, the other side is sent an alert (see [`Refusal`]), and nothing
///   that comes after that reaches dimpl.
struct Dimpl {
    dtls: dimpl::Dtls,
    keys: ExportedKeys,
    now: Instant,
    ahead: Duration,
    connected: bool,
    retransmissions: u32,
    wait: Option<Wait>,
    /// It was told the time, `now`, and nothing has arrived since.
    served: bool,
    /// The other side's ServerHello was given to it, or it has written its own.
    has_greeted: bool,
    /// A ChangeCipherSpec was given to it: what is protected may be readable.
    cipher_changed: bool,
    /// Kinds, epochs and numbers of the protected records given to it during the handshake.
    early: Vec<(bool, [u8; 8])>,
    refusal: Refusal,
}

/// A retransmission that dimpl waits for.
#[derive(Clone, Copy)]
struct Wait {
    /// When, by dimpl's clock.
    theirs: Instant,
    /// When, by ours.
    ours: Instant,
}

impl Dimpl {
    fn new(dtls: dimpl::Dtls, now: Instant) -> Self {
        Self {
            dtls,
            keys: ExportedKeys::of_new_connection(),
            now,
            ahead: Duration::ZERO,
            connected: false,
            retransmissions: 0,
            wait: None,
            served: false,
            has_greeted: false,
            cipher_changed: false,
            early: Vec::new(),
            refusal: Refusal::default(),
        }
    }

    fn datagram(&mut self, datagram: &[u8]) -> Result<(), DtlsImplError> {
        let is_13 = self.dtls.protocol_version() == Some(ProtocolVersion::DTLS1_3);
        if self.connected && !(is_13 && records(datagram).any(is_in_the_clear)) {
            return self.dtls.handle_packet(datagram);
        }
        let mut result = Ok(());
        for record in records(datagram) {
            if self.refusal.is_final() {
                self.refusal.on_late(record);
                continue;
            }
            let is_passed_over = match is_13 && is_in_the_clear(record) {
                true => !self.may_be_clear(record),
                false => !self.connected && (is_early_goodbye(record) || self.has_no_keys(record)),
            };
            if !is_passed_over && (self.connected || !self.is_useless(record)) {
                // A handshake record of epoch 0 with a ServerHello.
                self.has_greeted |=
                    matches!(record, [22, _, _, 0, 0, ..] if record.get(13) == Some(&2));
                let handled = self.dtls.handle_packet(record);
                if let Err(error) = &handled
                    && self.dtls.protocol_version() == Some(ProtocolVersion::DTLS1_2)
                {
                    self.refusal.on_error(error);
                }
                result = result.and(self.bear(handled));
            }
        }
        result
    }

    /// Whether DTLS 1.3 has this record in the clear: hellos and alerts, before there are keys (RFC 9147 §5.1, §6.1).
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

    /// Whether this is a DTLSCiphertext (RFC 9147 §4) that no keys can be for: of epoch 0 or 1, by its low bits (those of
    /// a handshake are 2 and 3, §6.1; 1 is early data, which is not negotiated), or before the hellos of both sides.
    fn has_no_keys(&self, record: &[u8]) -> bool {
        matches!(record, [first @ 0x20..0x40, ..] if first & 3 < 2 || !self.has_greeted)
    }

    /// Whether this is a protected record (DTLS 1.2: not of epoch 0) that cannot be read yet, was there already, or is
    /// one too many. What is sent again has another number.
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

    /// What is no error of ours: records that anybody could have written, and what is over anyway.
    fn bear(&self, result: Result<(), DtlsImplError>) -> Result<(), DtlsImplError> {
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

    /// Our time for dimpl's wish to be woken.
    fn wake(&mut self, theirs: Instant) -> Instant {
        let unhurried = theirs.checked_sub(self.ahead).unwrap_or(theirs);
        if self.connected {
            // What is overdue has failed and was passed over; it must not make a busy loop.
            return if unhurried > self.now {
                unhurried
            } else {
                self.now + NOT_A_RETRANSMISSION
            };
        }
        let left = unhurried.saturating_duration_since(self.now);
        if left.is_zero() && self.served {
            return self.now + ACK_PAUSE;
        }
        if left.is_zero() || left > NOT_A_RETRANSMISSION {
            self.wait = None;
            return unhurried;
        }
        let wait = match self.wait {
            Some(wait) if wait.theirs == theirs => wait,
            _ => Wait {
                theirs,
                ours: unhurried.min(self.now + self.longest_wait()),
            },
        };
        self.wait = Some(wait);
        wait.ours
    }

    fn longest_wait(&self) -> Duration {
        let found = LONGEST_WAITS
            .iter()
            .find(|(to, _)| self.retransmissions < *to);
        found.map_or(FIRST_RETRANSMIT, |(_, wait)| *wait)
    }
}

/// The records of a datagram: DTLSPlaintext (RFC 6347 §4.1, also what DTLS 1.2 encrypts) and
/// DTLSCiphertext (RFC 9147 §4, without connection id). What cannot be told apart comes as one.
pub(super) fn records(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (record, after) = rest.split_at(record_length(rest).unwrap_or(rest.len()));
        rest = after;
        Some(record)
    })
}

/// DTLSPlaintext (RFC 9147 §4), in DTLS 1.3.
fn is_in_the_clear(record: &[u8]) -> bool {
    record.first().is_some_and(|first| *first < 0x20)
}

/// A `close_notify` in the clear (epoch 0), as it can only come before there are keys: anybody could have written it,
/// and dimpl would end the handshake for it (RFC 6347 §4.1.2.7).
fn is_early_goodbye(record: &[u8]) -> bool {
    matches!(record, [21, _, _, 0, 0, .., 0] if record.len() == 15)
}

/// Bytes of the first record; `None` when it reaches to the end, or beyond.
fn record_length(records: &[u8]) -> Option<usize> {
    let first = *records.first()?;
    let header = match first {
        // 001CSLEE: without a length it is the last, and connection ids are not negotiated.
        0x20..0x40 if first & 0b1_0100 == 0b0_0100 => 4 + usize::from(first >> 3 & 1),
        0x20..0x40 => return None,
        _ => 13,
    };
    let length = records.get(header - 2..header)?;
    let length = header + usize::from(u16::from_be_bytes(length.try_into().ok()?));
    (length <= records.len()).then_some(length)
}

impl fmt::Debug for Dimpl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dimpl")
    }
}

impl DtlsInstance for Dimpl {
    fn set_active(&mut self, active: bool) {
        self.dtls.set_active(active);
    }

    fn is_active(&self) -> bool {
        self.dtls.is_active()
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.served = false;
        joined::each(packet, |datagram| self.datagram(datagram))
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        if self.served && !self.connected && now <= self.now {
            return Ok(());
        }
        self.served = true;
        self.now = now;
        if self.refusal.is_final() {
            return Ok(());
        }
        if let Some(wait) = self.wait.take_if(|wait| wait.ours <= now) {
            self.retransmissions += 1;
            self.ahead = self.ahead.max(wait.theirs.saturating_duration_since(now));
        }
        let result = self.dtls.handle_timeout(now + self.ahead);
        self.bear(result)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<(), DtlsImplError> {
        self.dtls.send_application_data(&empty::put_right(data))
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        if let Some(record) = self.refusal.record() {
            let (packet, _) = buf.split_at_mut(record.len());
            packet.copy_from_slice(&record);
            return DtlsOutput::Packet(packet);
        }
        let is_client = self.dtls.is_active();
        let output = self.dtls.poll_output(buf);
        self.keys.look(&output, is_client);
        match output {
            DtlsOutput::Timeout(_) if self.refusal.is_final() => {
                DtlsOutput::Timeout(self.now + NOT_A_RETRANSMISSION)
            }
            DtlsOutput::Timeout(theirs) => DtlsOutput::Timeout(self.wake(theirs)),
            DtlsOutput::Connected => {
                self.connected = true;
                self.early = Vec::new();
                self.wait = None;
                DtlsOutput::Connected
            }
            DtlsOutput::Packet(packet) => {
                self.has_greeted |= !self.dtls.is_active();
                records(packet).for_each(|record| self.refusal.on_sent(record));
                DtlsOutput::Packet(packet)
            }
            DtlsOutput::PeerCert(certificate) => {
                identity::note(certificate);
                DtlsOutput::PeerCert(certificate)
            }
            output => output,
        }
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.dtls.protocol_version()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.dtls.close()
    }

    fn is_closing(&self) -> bool {
        self.dtls.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.dtls.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(datagram: &[u8]) -> Vec<usize> {
        records(datagram).map(<[u8]>::len).collect()
    }

    #[test]
    fn records_are_told_apart() {
        let plain = [22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3];
        // Sequence numbers of two bytes and of one, and one without a length.
        let long = [0x2e, 0, 0, 0, 2, 1, 2];
        let short = [0x26, 0, 0, 1, 1];
        let last = [0x2a, 0, 0, 1, 1, 1];
        let all = [&plain[..], &long, &short, &plain, &last].concat();
        assert_eq!(split(&all), [16, 7, 5, 16, 6]);
        assert_eq!(split(&[]), [0; 0]);
        for cut in 1..all.len() {
            assert_eq!(split(&all[..cut]).iter().sum::<usize>(), cut);
        }
        // A connection id, of a length that nobody has told us.
        assert_eq!(split(&[0x3e, 9, 9, 0, 0, 0, 1, 1]), [8]);
    }
}
