//! SRTP and SRTCP in addition to the core's (RFC 3711, RFC 7714), with the keys of the same DTLS connection.
//!
//! The core encrypts the RTCP it writes and does not expose the keys. Outgoing RTCP is rewritten
//! ([`feedback`](crate::proto::peer::feedback)), so it has to be decrypted and encrypted again; and repaired packets
//! that the core drops as too old are decrypted here. The DTLS connections of all backends are our own types, see the
//! keys on their way to the core, and store a copy in an [`ExportedKeys`].

use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

use str0m::crypto::dtls::{DtlsOutput, SrtpProfile};
use str0m::crypto::{
    AeadAes128Gcm, AeadAes128GcmCipher, AeadAes256GcmCipher, Aes128CmSha1_80,
    Aes128CmSha1_80Cipher, CryptoProvider, Sha1HmacProvider, SrtpProvider,
};

/// Labels of the key derivation (RFC 3711 §4.3.2) for RTP; those for RTCP are larger by `RTCP`.
const LABEL_ENCRYPTION: u8 = 0;
const LABEL_AUTHENTICATION: u8 = 1;
const LABEL_SALT: u8 = 2;
const RTP: u8 = 0;
const RTCP: u8 = 3;

/// Length of the unencrypted header and SSRC of the first RTCP packet.
const CLEAR: usize = 8;
const INDEX: usize = 4;
const IS_ENCRYPTED: u32 = 1 << 31;

/// Number of bytes that counter mode may write after its output (a block less its first byte).
const CTR_SLACK: usize = 15;

thread_local! {
    static LATEST: RefCell<Option<ExportedKeys>> = const { RefCell::new(None) };
}

/// The SRTP keys of one DTLS connection, once it has exported them.
#[derive(Clone, Default)]
pub(crate) struct ExportedKeys(Arc<OnceLock<Keys>>);

struct Keys {
    material: Vec<u8>,
    profile: SrtpProfile,
    /// Set if we are the DTLS client: our keys come first in the material.
    is_client: bool,
}

impl ExportedKeys {
    /// Called when a DTLS connection is created. The core hides the connection, so its creator obtains this by
    /// [`latest`](Self::latest), on the same thread.
    #[cfg_attr(
        not(any(feature = "aws-lc", feature = "rust-crypto", feature = "openssl")),
        allow(dead_code, reason = "for the backends")
    )]
    pub(super) fn of_new_connection() -> Self {
        let keys = Self::default();
        LATEST.set(Some(keys.clone()));
        keys
    }

    /// Returns the keys of the connection created last on this thread, once.
    pub(crate) fn latest() -> Option<Self> {
        LATEST.take()
    }

    /// Stores the keys if this output of a DTLS connection exports them.
    #[cfg_attr(
        not(any(feature = "aws-lc", feature = "rust-crypto", feature = "openssl")),
        allow(dead_code, reason = "for the backends")
    )]
    pub(super) fn look(&self, output: &DtlsOutput<'_>, is_client: bool) {
        if let DtlsOutput::KeyingMaterial(material, profile) = output {
            let _ = self.0.set(Keys {
                material: material.to_vec(),
                profile: *profile,
                is_client,
            });
        }
    }

    /// Returns the SRTCP context for sending, once there are keys. `None` also for an unsupported profile.
    pub(crate) fn sending(&self, provider: &CryptoProvider) -> Option<Srtcp> {
        let keys = self.0.get()?;
        Srtcp::new(keys, keys.is_client, provider)
    }

    /// Returns the SRTCP context for receiving.
    pub(crate) fn reports(&self, provider: &CryptoProvider) -> Option<Srtcp> {
        let keys = self.0.get()?;
        Srtcp::new(keys, !keys.is_client, provider)
    }

    /// Returns the SRTP context for receiving.
    pub(crate) fn receiving(&self, provider: &CryptoProvider) -> Option<Srtp> {
        let keys = self.0.get()?;
        Cipher::new(keys, !keys.is_client, RTP, provider).map(Srtp)
    }
}

impl std::fmt::Debug for ExportedKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ExportedKeys")
    }
}

/// SRTCP in one direction. It numbers sealed packets itself: nobody else may seal with the same key.
pub(crate) struct Srtcp {
    cipher: Cipher,
    index: u32,
}

enum Cipher {
    CounterMode {
        key: [u8; Aes128CmSha1_80::HMAC_KEY_LEN],
        salt: [u8; Aes128CmSha1_80::SALT_LEN],
        sealing: Box<dyn Aes128CmSha1_80Cipher>,
        opening: Box<dyn Aes128CmSha1_80Cipher>,
        hmac: &'static dyn Sha1HmacProvider,
    },
    Gcm {
        salt: [u8; AeadAes128Gcm::SALT_LEN],
        sealing: Gcm,
        opening: Gcm,
    },
}

/// AES-GCM. Salts, IVs and tags do not depend on the key length (RFC 7714 §8, §12).
enum Gcm {
    Key128(Box<dyn AeadAes128GcmCipher>),
    Key256(Box<dyn AeadAes256GcmCipher>),
}

impl Gcm {
    /// Encrypts `text` into `out`, which has room for the text and the tag.
    fn seal(&mut self, iv: &[u8; 12], aad: &[u8], text: &[u8], out: &mut [u8]) -> Option<()> {
        match self {
            Self::Key128(cipher) => cipher.encrypt(iv, aad, text, out),
            Self::Key256(cipher) => cipher.encrypt(iv, aad, text, out),
        }
        .ok()
    }

    /// Decrypts a text with its tag into `out`, which has room for the text. `None` if it is not authentic.
    fn open(&mut self, iv: &[u8; 12], aad: &[u8], sealed: &[u8], out: &mut [u8]) -> Option<()> {
        match self {
            Self::Key128(cipher) => cipher.decrypt(iv, &[aad], sealed, out),
            Self::Key256(cipher) => cipher.decrypt(iv, &[aad], sealed, out),
        }
        .ok()
        .map(drop)
    }
}

impl Cipher {
    fn new(keys: &Keys, is_client: bool, kind: u8, provider: &CryptoProvider) -> Option<Self> {
        let srtp = provider.srtp_provider;
        let (key, salt) = match keys.profile {
            SrtpProfile::AES128_CM_SHA1_80 => (16, 14),
            SrtpProfile::AEAD_AES_128_GCM => (16, 12),
            SrtpProfile::AEAD_AES_256_GCM => (32, 12),
            _ => return None,
        };
        let master = Master::of(&keys.material, key, salt, is_client)?;
        Some(match keys.profile {
            SrtpProfile::AES128_CM_SHA1_80 => {
                let key = master.derive(srtp, kind + LABEL_ENCRYPTION);
                let cipher = srtp.aes_128_cm_sha1_80();
                Self::CounterMode {
                    key: master.derive(srtp, kind + LABEL_AUTHENTICATION),
                    salt: master.derive(srtp, kind + LABEL_SALT),
                    sealing: cipher.create_cipher(key, true),
                    opening: cipher.create_cipher(key, false),
                    hmac: provider.sha1_hmac_provider,
                }
            }
            profile => {
                let (sealing, opening) = if profile == SrtpProfile::AEAD_AES_128_GCM {
                    let key = master.derive(srtp, kind + LABEL_ENCRYPTION);
                    let new = |seals| srtp.aead_aes_128_gcm().create_cipher(key, seals);
                    (Gcm::Key128(new(true)), Gcm::Key128(new(false)))
                } else {
                    let key = master.derive(srtp, kind + LABEL_ENCRYPTION);
                    let new = |seals| srtp.aead_aes_256_gcm().create_cipher(key, seals);
                    (Gcm::Key256(new(true)), Gcm::Key256(new(false)))
                };
                Self::Gcm {
                    salt: master.derive(srtp, kind + LABEL_SALT),
                    sealing,
                    opening,
                }
            }
        })
    }
}

/// SRTP for receiving.
pub(crate) struct Srtp(Cipher);

impl Srtp {
    /// Decrypts the payload of a packet (RFC 3711 §3.3) with a header of `header` bytes. `index` is the sequence number
    /// with its rollovers. Returns `None` if the packet is not authentic.
    pub(crate) fn open(&mut self, packet: &[u8], header: usize, index: u64) -> Option<Vec<u8>> {
        let (head, body) = packet.split_at_checked(header)?;
        let ssrc = u32::from_be_bytes(*head.get(8..)?.first_chunk()?);
        let (rollovers, number) = ((index >> 16) as u32, index as u16);
        match &mut self.0 {
            Cipher::CounterMode {
                key,
                salt,
                opening,
                hmac,
                ..
            } => {
                let length = packet.len().checked_sub(Aes128CmSha1_80::HMAC_TAG_LEN)?;
                let (signed, tag) = packet.split_at_checked(length)?;
                let hmac = |key: &[u8], data: &[&[u8]]| hmac.sha1_hmac(key, data);
                if !Aes128CmSha1_80::rtp_verify(hmac, &key[..], signed, index, tag) {
                    return None;
                }
                let text = signed.get(header..)?;
                let iv = Aes128CmSha1_80::rtp_iv(*salt, ssrc, index);
                let mut out = vec![0; text.len() + CTR_SLACK];
                opening.decrypt(&iv, text, &mut out).ok()?;
                out.truncate(text.len());
                Some(out)
            }
            Cipher::Gcm { salt, opening, .. } => {
                let iv = AeadAes128Gcm::rtp_iv(*salt, ssrc, rollovers, number);
                let mut out = vec![0; body.len().checked_sub(AeadAes128Gcm::TAG_LEN)?];
                opening.open(&iv, head, body, &mut out)?;
                Some(out)
            }
        }
    }
}

impl std::fmt::Debug for Srtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Srtp")
    }
}

impl Srtcp {
    fn new(keys: &Keys, is_client: bool, provider: &CryptoProvider) -> Option<Self> {
        let cipher = Cipher::new(keys, is_client, RTCP, provider)?;
        Some(Self { cipher, index: 0 })
    }

    /// Encrypts RTCP (RFC 3711 §3.4). Returns `None` if this is not RTCP, or the cipher fails.
    pub(crate) fn seal(&mut self, plain: &[u8]) -> Option<Vec<u8>> {
        let ssrc = ssrc_of(plain)?;
        let index = self.index;
        self.index = (self.index + 1) % IS_ENCRYPTED;
        let trailer = (index | IS_ENCRYPTED).to_be_bytes();
        let (clear, text) = plain.split_at(CLEAR);
        let mut out = clear.to_vec();
        match &mut self.cipher {
            Cipher::CounterMode {
                key,
                salt,
                sealing,
                hmac,
                ..
            } => {
                let iv = Aes128CmSha1_80::rtp_iv(*salt, ssrc, index.into());
                out.resize(plain.len() + CTR_SLACK, 0);
                sealing.encrypt(&iv, text, &mut out[CLEAR..]).ok()?;
                out.truncate(plain.len());
                out.extend(trailer);
                let tag = hmac.sha1_hmac(&key[..], &[&out]);
                out.extend(&tag[..Aes128CmSha1_80::HMAC_TAG_LEN]);
            }
            Cipher::Gcm { salt, sealing, .. } => {
                let iv = AeadAes128Gcm::rtcp_iv(*salt, ssrc, index);
                let aad = [clear, &trailer].concat();
                out.resize(plain.len() + AeadAes128Gcm::TAG_LEN, 0);
                sealing.seal(&iv, &aad, text, &mut out[CLEAR..])?;
                out.extend(trailer);
            }
        }
        Some(out)
    }

    /// Decrypts a packet sealed with the same keys. Returns `None` if it was not, or is unencrypted.
    pub(crate) fn open(&mut self, sealed: &[u8]) -> Option<Vec<u8>> {
        let ssrc = ssrc_of(sealed)?;
        match &mut self.cipher {
            Cipher::CounterMode {
                key,
                salt,
                opening,
                hmac,
                ..
            } => {
                let (signed, tag) = sealed
                    .split_at_checked(sealed.len().checked_sub(Aes128CmSha1_80::HMAC_TAG_LEN)?)?;
                let hmac = |key: &[u8], data: &[&[u8]]| hmac.sha1_hmac(key, data);
                if !Aes128CmSha1_80::rtcp_verify(hmac, &key[..], signed, tag) {
                    return None;
                }
                let (body, index) = split_trailer(signed)?;
                let iv = Aes128CmSha1_80::rtp_iv(*salt, ssrc, index.into());
                let mut out = body[..CLEAR].to_vec();
                out.resize(body.len() + CTR_SLACK, 0);
                opening
                    .decrypt(&iv, &body[CLEAR..], &mut out[CLEAR..])
                    .ok()?;
                out.truncate(body.len());
                Some(out)
            }
            Cipher::Gcm { salt, opening, .. } => {
                let (body, index) = split_trailer(sealed)?;
                let iv = AeadAes128Gcm::rtcp_iv(*salt, ssrc, index);
                let aad = [&body[..CLEAR], &sealed[body.len()..]].concat();
                let mut out = body[..CLEAR].to_vec();
                out.resize(body.len().checked_sub(AeadAes128Gcm::TAG_LEN)?, 0);
                opening.open(&iv, &aad, &body[CLEAR..], out.get_mut(CLEAR..)?)?;
                Some(out)
            }
        }
    }
}

impl std::fmt::Debug for Srtcp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Srtcp")
    }
}

/// Returns the SSRC of the first packet of a compound; `None` if it is too short.
fn ssrc_of(packet: &[u8]) -> Option<u32> {
    let ssrc = packet.get(4..CLEAR)?.try_into().ok()?;
    Some(u32::from_be_bytes(ssrc))
}

/// Splits off the SRTCP index at the end.
fn split_trailer(signed: &[u8]) -> Option<(&[u8], u32)> {
    let (body, trailer) = signed.split_last_chunk::<INDEX>()?;
    let trailer = u32::from_be_bytes(*trailer);
    let is_whole = body.len() >= CLEAR && trailer & IS_ENCRYPTED != 0;
    is_whole.then_some((body, trailer & !IS_ENCRYPTED))
}

/// Master key and salt of one side (RFC 5764 §4.2): both keys come first, the client's before the server's.
struct Master<'a> {
    key: &'a [u8],
    salt: &'a [u8],
}

impl<'a> Master<'a> {
    fn of(material: &'a [u8], key: usize, salt: usize, is_client: bool) -> Option<Self> {
        let (keys, salts) = material.split_at_checked(2 * key)?;
        let n = usize::from(!is_client);
        Some(Self {
            key: keys.get(n * key..(n + 1) * key)?,
            salt: salts.get(n * salt..(n + 1) * salt)?,
        })
    }

    /// Derives a key: AES in counter mode over the salt combined with the label (RFC 3711 §4.3.1, derivation rate 0).
    fn derive<const N: usize>(&self, srtp: &dyn SrtpProvider, label: u8) -> [u8; N] {
        let mut derived = [0; N];
        let mut input = [0; 16];
        input[..self.salt.len()].copy_from_slice(self.salt);
        input[7] ^= label;
        for (round, part) in (0_u16..).zip(derived.chunks_mut(16)) {
            input[14..].copy_from_slice(&round.to_be_bytes());
            // Some libraries write a second block of padding.
            let mut block = [0; 32];
            match self.key.len() {
                32 => srtp.srtp_aes_256_ecb_round(self.key, &input, &mut block),
                _ => srtp.srtp_aes_128_ecb_round(self.key, &input, &mut block),
            }
            part.copy_from_slice(&block[..part.len()]);
        }
        derived
    }
}

#[cfg(all(test, any(feature = "aws-lc", feature = "rust-crypto")))]
mod tests {
    use super::*;
    use crate::proto::peer::crypto::{CryptoBackend, provider};

    fn keys(profile: SrtpProfile, length: usize) -> Keys {
        Keys {
            material: (0..length as u8).collect(),
            profile,
            is_client: true,
        }
    }

    /// The test vector of RFC 3711 §B.3, with the labels of RTP: the derivation is the same.
    #[test]
    fn keys_are_derived_as_in_the_rfc() {
        let key = 0xE1F9_7A0D_3E01_8BE0_D64F_A32C_06DE_4139_u128.to_be_bytes();
        let salt = [
            0x0E, 0xC6, 0x75, 0xAD, 0x49, 0x8A, 0xFE, 0xEB, 0xB6, 0x96, 0x0B, 0x3A, 0xAB, 0xE6,
        ];
        let master = Master {
            key: &key,
            salt: &salt,
        };
        for backend in CryptoBackend::available() {
            let srtp = provider(backend, None).unwrap().srtp_provider;
            let derived: [u8; 16] = master.derive(srtp, 0);
            assert_eq!(
                u128::from_be_bytes(derived),
                0xC61E_7A93_744F_39EE_1073_4AFE_3FF7_A087
            );
            let derived: [u8; 20] = master.derive(srtp, 1);
            assert_eq!(derived[..4], [0xCE, 0xBE, 0x32, 0x1F]);
        }
    }

    #[test]
    fn what_is_sealed_can_be_opened_and_nothing_else() {
        let plain: Vec<u8> = (0..64).map(|n| if n == 0 { 0x80 } else { n }).collect();
        let profiles = [
            (SrtpProfile::AES128_CM_SHA1_80, 60),
            (SrtpProfile::AEAD_AES_128_GCM, 56),
            (SrtpProfile::AEAD_AES_256_GCM, 88),
        ];
        for backend in CryptoBackend::available() {
            let provider = provider(backend, None).unwrap();
            for (profile, length) in profiles {
                let keys = keys(profile, length);
                let new = |client| Srtcp::new(&keys, client, &provider).unwrap();
                let (mut ours, mut same, mut theirs) = (new(true), new(true), new(false));
                for length in [8, 9, 12, 28, 64] {
                    let sealed = ours.seal(&plain[..length]).unwrap();
                    assert_eq!(sealed[..CLEAR], plain[..CLEAR]);
                    assert_eq!(same.open(&sealed).unwrap(), &plain[..length]);
                    assert_eq!(theirs.open(&sealed), None, "{backend} {profile:?}");
                    for at in 0..sealed.len() {
                        let mut changed = sealed.clone();
                        changed[at] ^= 1;
                        assert_eq!(same.open(&changed), None);
                        assert_eq!(same.open(&sealed[..at]), None);
                    }
                }
                // Sealing the same packet again uses another index.
                assert_ne!(ours.seal(&plain), ours.seal(&plain));
            }
        }
        assert!(ssrc_of(&plain[..7]).is_none());
    }
}
