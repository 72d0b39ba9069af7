//! DTLS with dimpl, with configurations shared between peers.
//!
//! `dimpl::ConfigBuilder::build` verifies the crypto provider each time (key exchange, signatures, every cipher), which
//! takes some milliseconds and depends on the provider only. Here it is done once per MTU.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use str0m::crypto::CryptoError;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
};

use super::refusal::Refusal;
use super::rules::Rules;
use super::srtp::ExportedKeys;
use super::{empty, identity, joined};

/// Maximum number of configurations cached, by MTU; the oldest is removed first. A peer with another MTU only pays for
/// the verification again.
pub(super) const MAX_CONFIGS: usize = 8;

/// Initial retransmission timeout of a DTLS flight, doubled each time.
///
/// RFC 6347 section 4.2.4.1 recommends 1 s for paths about which nothing is known. Here ICE has just verified the path,
/// and a lost flight delays the user.
const FIRST_RETRANSMIT: Duration = Duration::from_millis(400);

/// Maximum wait until a retransmission, up to the retransmission given by the first number. dimpl doubles its timeout
/// each time, and starts with a second for the first `ClientHello` regardless of its configuration: three losses in a
/// row would take half a minute. Its clock is therefore advanced (see [`Dimpl`]).
const LONGEST_WAITS: [(u32, Duration); 3] = [
    (6, Duration::from_millis(500)),
    (12, Duration::from_secs(1)),
    (u32::MAX, Duration::from_secs(3)),
];

/// Minimum interval of acknowledgements for a handshake flight with a gap.
const ACK_PAUSE: Duration = Duration::from_millis(50);

/// Number of retransmissions. With `LONGEST_WAITS`, the last flight is sent about 45 s after the first. Doubled that
/// often, dimpl's own timeout is months, well below `HANDSHAKE_TIMEOUT`.
const RETRANSMITS: usize = 24;

/// Timeouts above this are not retransmissions.
const NOT_A_RETRANSMISSION: Duration = Duration::from_secs(365 * 24 * 3600);

/// dimpl's limit for the whole handshake, effectively disabled. The peer has its own (`Timing::handshake`), which
/// starts when there is a path. dimpl 0.7 starts to count when the peer is created, and never stops as a DTLS 1.3
/// client: every connection would end after 40 s.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A DTLS provider for `str0m` based on one dimpl provider.
pub(super) struct SharedDtls {
    /// Returns dimpl's provider.
    pub(super) provider: fn() -> dimpl::crypto::CryptoProvider,
    /// Creates a certificate.
    pub(super) generate: fn() -> Option<DtlsCert>,
    /// Seed for what dimpl draws outside of cryptography; for simulations only.
    pub(super) seed: Option<u64>,
    /// Cached configurations, by MTU; at most `MAX_CONFIGS`.
    pub(super) configs: Mutex<Vec<Arc<dimpl::Config>>>,
}

impl SharedDtls {
    pub(super) fn config(&self, mtu: Option<usize>) -> Result<Arc<dimpl::Config>, dimpl::Error> {
        // The vector is never left half changed, so a poisoned lock does no harm.
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
            // A cookie proves that the sender's address is real. ICE has done that already: DTLS accepts validated
            // addresses only.
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

/// One DTLS connection, with what dimpl does not do by itself over a network with losses and forgeries:
///
/// - What is passed to it is decided by the [`Rules`], one record at a time during the handshake: dimpl skips a datagram
///   that begins with a handshake message it already has, although missing ones may follow in it.
/// - A DTLS 1.3 handshake flight with a gap is acknowledged once per datagram and `ACK_PAUSE`. dimpl would acknowledge
///   it endlessly, without pause.
/// - During the handshake, dimpl's clock is ahead of ours by `ahead`, so that it retransmits when we decide.
/// - If DTLS 1.2 fails because of the remote certificate, an alert is sent to the remote peer (see [`Refusal`]), and
///   nothing received later reaches dimpl.
struct Dimpl {
    dtls: dimpl::Dtls,
    keys: ExportedKeys,
    now: Instant,
    ahead: Duration,
    retransmissions: u32,
    wait: Option<Wait>,
    /// Set if it was passed the time `now`, and nothing has arrived since.
    served: bool,
    rules: Rules,
    refusal: Refusal,
}

/// A pending retransmission of dimpl.
#[derive(Clone, Copy)]
struct Wait {
    /// Its time by dimpl's clock.
    theirs: Instant,
    /// Its time by our clock.
    ours: Instant,
}

impl Dimpl {
    fn new(dtls: dimpl::Dtls, now: Instant) -> Self {
        Self {
            dtls,
            keys: ExportedKeys::of_new_connection(),
            now,
            ahead: Duration::ZERO,
            retransmissions: 0,
            wait: None,
            served: false,
            rules: Rules::default(),
            refusal: Refusal::default(),
        }
    }

    fn datagram(&mut self, datagram: &[u8]) -> Result<(), DtlsImplError> {
        let is_13 = self.dtls.protocol_version() == Some(ProtocolVersion::DTLS1_3);
        if self.rules.lets_in_whole(is_13, records(datagram)) {
            return self.dtls.handle_packet(datagram);
        }
        let mut result = Ok(());
        for record in records(datagram) {
            if self.refusal.is_final() {
                self.refusal.on_late(record);
                continue;
            }
            if self.rules.lets_in(record, is_13) {
                let handled = self.dtls.handle_packet(record);
                if let Err(error) = &handled
                    && self.dtls.protocol_version() == Some(ProtocolVersion::DTLS1_2)
                {
                    self.refusal.on_error(error);
                }
                result = result.and(self.rules.bear(handled));
            }
        }
        result
    }

    /// Converts dimpl's requested timeout to our clock.
    fn wake(&mut self, theirs: Instant) -> Instant {
        let unhurried = theirs.checked_sub(self.ahead).unwrap_or(theirs);
        if self.rules.is_connected() {
            // An overdue timeout has failed and was ignored; it must not cause a busy loop.
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

/// Splits a datagram into records: DTLSPlaintext (RFC 6347 §4.1, also the form of protected DTLS 1.2 records) and
/// DTLSCiphertext (RFC 9147 §4, without connection id). An unsplittable rest is one record.
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

/// Returns the length of the first record; `None` if it extends to the end or beyond.
fn record_length(records: &[u8]) -> Option<usize> {
    let first = *records.first()?;
    let header = match first {
        // 001CSLEE: without a length it is the last one, and connection ids are not negotiated.
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
        if self.served && !self.rules.is_connected() && now <= self.now {
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
        self.rules.bear(result)
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
                self.rules.connected();
                self.wait = None;
                DtlsOutput::Connected
            }
            DtlsOutput::Packet(packet) => {
                self.rules.on_sent(self.dtls.is_active());
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
        // With sequence numbers of two bytes and one byte, and without a length.
        let long = [0x2e, 0, 0, 0, 2, 1, 2];
        let short = [0x26, 0, 0, 1, 1];
        let last = [0x2a, 0, 0, 1, 1, 1];
        let all = [&plain[..], &long, &short, &plain, &last].concat();
        assert_eq!(split(&all), [16, 7, 5, 16, 6]);
        assert_eq!(split(&[]), [0; 0]);
        for cut in 1..all.len() {
            assert_eq!(split(&all[..cut]).iter().sum::<usize>(), cut);
        }
        // A connection id, whose length is unknown.
        assert_eq!(split(&[0x3e, 9, 9, 0, 0, 0, 1, 1]), [8]);
    }
}
