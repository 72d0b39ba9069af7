//! Cryptography without protection, for fuzzing: the content of DTLS and SRTP can be read and forged, so that a fuzzer
//! reaches the parsers of SCTP, RTP and RTCP. Only peers created while it is [wanted](wanted) use it.
//!
//! - DTLS: `22, certificate` in both directions is the whole handshake; then `23, packet`; `21` ends the connection.
//! - SRTP (as AES-128-GCM, the only profile negotiated): the plain packet followed by 16 meaningless bytes.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, KeyingMaterial,
    ProtocolVersion, SrtpProfile,
};
use str0m::crypto::{
    AeadAes128GcmCipher, AeadAes256GcmCipher, Aes128CmSha1_80Cipher, CryptoError, CryptoProvider,
    SrtpProvider, SupportedAeadAes128Gcm, SupportedAeadAes256Gcm, SupportedAes128CmSha1_80,
};

use super::srtp::ExportedKeys;
use super::{empty, identity, joined};

/// First byte of a record with SCTP.
pub(crate) const DATA: u8 = 23;
const HELLO: u8 = 22;
const GOODBYE: u8 = 21;

/// Number of bytes after an SRTP or SRTCP packet.
pub(crate) const TAG: usize = 16;

/// Maximum number of queued packets; further ones are refused, as in dimpl.
const MAX_QUEUE: usize = 1000;

const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

thread_local! {
    static WANTED: Cell<bool> = const { Cell::new(false) };
}

/// Creates peers without protection on this thread, inside of `make`.
pub(crate) fn wanted<R>(make: impl FnOnce() -> R) -> R {
    WANTED.set(true);
    let made = make();
    WANTED.set(false);
    made
}

pub(super) fn is_wanted() -> bool {
    WANTED.get()
}

/// Returns the provider; hashes are those of a real one.
pub(super) fn provider<E>(
    real: impl FnOnce() -> Result<CryptoProvider, E>,
) -> Result<Arc<CryptoProvider>, E> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    if let Some(made) = PROVIDER.get() {
        return Ok(made.clone());
    }
    let made = Arc::new(CryptoProvider {
        srtp_provider: &Open,
        dtls_provider: &Open,
        ..real()?
    });
    Ok(PROVIDER.get_or_init(|| made).clone())
}

#[derive(Debug)]
struct Open;

impl DtlsProvider for Open {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        None
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        _: DtlsVersion,
        _: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        Ok(Box::new(OpenDtls {
            certificate: cert.certificate.clone(),
            active: None,
            connected: false,
            closed: false,
            now,
            queue: VecDeque::new(),
            exported: ExportedKeys::of_new_connection(),
        }))
    }
}

#[derive(Debug)]
struct OpenDtls {
    certificate: Vec<u8>,
    active: Option<bool>,
    connected: bool,
    closed: bool,
    now: Instant,
    queue: VecDeque<Out>,
    exported: ExportedKeys,
}

#[derive(Debug)]
enum Out {
    Packet(Vec<u8>),
    Certificate(Vec<u8>),
    Connected,
    Keys,
    Data(Vec<u8>),
    Goodbye,
}

impl OpenDtls {
    fn push(&mut self, out: Out) -> Result<(), DtlsImplError> {
        if self.queue.len() >= MAX_QUEUE {
            return Err(DtlsImplError::TransmitQueueFull);
        }
        self.queue.push_back(out);
        Ok(())
    }

    fn hello(&mut self) -> Result<(), DtlsImplError> {
        self.push(Out::Packet([&[HELLO], &self.certificate[..]].concat()))
    }

    fn datagram(&mut self, datagram: &[u8]) -> Result<(), DtlsImplError> {
        match datagram {
            [HELLO, certificate @ ..] if !self.connected => {
                if self.active == Some(false) {
                    self.hello()?;
                }
                self.connected = true;
                self.push(Out::Connected)?;
                self.push(Out::Certificate(certificate.to_vec()))?;
                self.push(Out::Keys)
            }
            [DATA, data @ ..] if self.connected => self.push(Out::Data(data.to_vec())),
            [GOODBYE] if self.connected => self.push(Out::Goodbye),
            _ => Ok(()),
        }
    }
}

impl DtlsInstance for OpenDtls {
    fn set_active(&mut self, active: bool) {
        self.active = Some(active);
        if active {
            let _ = self.hello();
        }
    }

    fn is_active(&self) -> bool {
        self.active == Some(true)
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        joined::each(packet, |datagram| self.datagram(datagram))
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.now = now;
        Ok(())
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<(), DtlsImplError> {
        if !self.connected {
            return Err(DtlsImplError::HandshakePending);
        }
        self.push(Out::Packet([&[DATA], &empty::put_right(data)[..]].concat()))
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        let mut filled = |bytes: &[u8]| {
            let length = bytes.len().min(buf.len());
            buf[..length].copy_from_slice(&bytes[..length]);
            length
        };
        match self.queue.pop_front() {
            None => DtlsOutput::Timeout(self.now + NEVER),
            Some(Out::Packet(bytes)) => {
                let length = filled(&bytes);
                DtlsOutput::Packet(&buf[..length])
            }
            Some(Out::Certificate(bytes)) => {
                let length = filled(&bytes);
                identity::note(&buf[..length]);
                DtlsOutput::PeerCert(&buf[..length])
            }
            Some(Out::Data(bytes)) => {
                let length = filled(&bytes);
                DtlsOutput::ApplicationData(&buf[..length])
            }
            Some(Out::Connected) => DtlsOutput::Connected,
            Some(Out::Keys) => {
                let keys = KeyingMaterial::new(&[7; 56]);
                let output = DtlsOutput::KeyingMaterial(keys, SrtpProfile::AEAD_AES_128_GCM);
                self.exported.look(&output, self.active == Some(true));
                output
            }
            Some(Out::Goodbye) => DtlsOutput::CloseNotify,
        }
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.connected.then_some(ProtocolVersion::DTLS1_2)
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.closed = true;
        self.push(Out::Packet(vec![GOODBYE]))
    }

    fn is_closing(&self) -> bool {
        self.closed
    }

    fn is_closed(&self) -> bool {
        self.closed && self.queue.is_empty()
    }
}

impl SrtpProvider for Open {
    fn aes_128_cm_sha1_80(&self) -> &'static dyn SupportedAes128CmSha1_80 {
        &Open
    }

    fn aead_aes_128_gcm(&self) -> &'static dyn SupportedAeadAes128Gcm {
        &Open
    }

    fn aead_aes_256_gcm(&self) -> &'static dyn SupportedAeadAes256Gcm {
        &Open
    }

    fn srtp_aes_128_ecb_round(&self, _: &[u8], _: &[u8], output: &mut [u8]) {
        output.fill(0);
    }

    fn srtp_aes_256_ecb_round(&self, _: &[u8], _: &[u8], output: &mut [u8]) {
        output.fill(0);
    }
}

/// Copies the input to the output.
fn copy(input: &[u8], output: &mut [u8]) -> Result<(), CryptoError> {
    let too_small = || CryptoError::Other("output buffer is smaller than what goes into it".into());
    let output = output.get_mut(..input.len()).ok_or_else(too_small)?;
    output.copy_from_slice(input);
    Ok(())
}

impl SupportedAes128CmSha1_80 for Open {
    fn create_cipher(&self, _: [u8; 16], _: bool) -> Box<dyn Aes128CmSha1_80Cipher> {
        Box::new(Open)
    }
}

impl Aes128CmSha1_80Cipher for Open {
    fn encrypt(&mut self, _: &[u8; 16], inp: &[u8], out: &mut [u8]) -> Result<(), CryptoError> {
        copy(inp, out)
    }

    fn decrypt(&mut self, _: &[u8; 16], inp: &[u8], out: &mut [u8]) -> Result<(), CryptoError> {
        copy(inp, out)
    }
}

/// The two AEAD traits differ in name only.
macro_rules! open_gcm {
    ($supported:ident, $cipher:ident, $key:literal) => {
        impl $supported for Open {
            fn create_cipher(&self, _: [u8; $key], _: bool) -> Box<dyn $cipher> {
                Box::new(Open)
            }
        }

        impl $cipher for Open {
            fn encrypt(
                &mut self,
                _: &[u8; 12],
                _: &[u8],
                input: &[u8],
                output: &mut [u8],
            ) -> Result<(), CryptoError> {
                copy(input, output)
            }

            fn decrypt(
                &mut self,
                _: &[u8; 12],
                _: &[&[u8]],
                input: &[u8],
                output: &mut [u8],
            ) -> Result<usize, CryptoError> {
                let Some(length) = input.len().checked_sub(TAG) else {
                    return Err(CryptoError::Other("too short for a tag".into()));
                };
                copy(&input[..length], output)?;
                Ok(length)
            }
        }
    };
}
open_gcm!(SupportedAeadAes128Gcm, AeadAes128GcmCipher, 16);
open_gcm!(SupportedAeadAes256Gcm, AeadAes256GcmCipher, 32);
