//! The `rust-crypto` backend: SRTP, HMAC, hashing and certificates over the RustCrypto crates.
//!
//! Written here rather than taken from `str0m-rust-crypto`, because that crate creates certificates with aws-lc
//! (through dimpl's `rcgen` feature) and therefore needs a C compiler. This one does not. It also encrypts in place,
//! and keeps the expanded AES key between packets.

use aes::cipher::{BlockEncrypt, InnerIvInit, KeyInit, StreamCipher};
use aes::{Aes128, Aes256};
use aes_gcm::{AeadInPlace, Aes128Gcm, Aes256Gcm, Nonce, Tag};
use hmac::{Hmac, Mac};
use p256::ecdsa::signature::Signer;
use p256::elliptic_curve::rand_core::{OsRng, RngCore};
use p256::pkcs8::EncodePrivateKey;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use str0m::crypto::dtls::DtlsCert;
use str0m::crypto::{
    AeadAes128GcmCipher, AeadAes256GcmCipher, Aes128CmSha1_80Cipher, CryptoError, Sha1HmacProvider,
    Sha256Provider, SrtpProvider, SupportedAeadAes128Gcm, SupportedAeadAes256Gcm,
    SupportedAes128CmSha1_80,
};

use super::x509;

/// Length of a GCM authentication tag in bytes (RFC 7714 section 13).
const TAG_LEN: usize = 16;

/// The backend except for DTLS, which is dimpl's.
#[derive(Debug)]
pub(super) struct RustCrypto;

impl SrtpProvider for RustCrypto {
    fn aes_128_cm_sha1_80(&self) -> &'static dyn SupportedAes128CmSha1_80 {
        &RustCrypto
    }

    fn aead_aes_128_gcm(&self) -> &'static dyn SupportedAeadAes128Gcm {
        &RustCrypto
    }

    fn aead_aes_256_gcm(&self) -> &'static dyn SupportedAeadAes256Gcm {
        &RustCrypto
    }

    fn srtp_aes_128_ecb_round(&self, key: &[u8], input: &[u8], output: &mut [u8]) {
        ecb_round::<Aes128>(key, input, output);
    }

    fn srtp_aes_256_ecb_round(&self, key: &[u8], input: &[u8], output: &mut [u8]) {
        ecb_round::<Aes256>(key, input, output);
    }
}

impl SupportedAes128CmSha1_80 for RustCrypto {
    fn create_cipher(&self, key: [u8; 16], _encrypt: bool) -> Box<dyn Aes128CmSha1_80Cipher> {
        Box::new(CounterMode(Aes128::new(&key.into())))
    }
}

impl SupportedAeadAes128Gcm for RustCrypto {
    fn create_cipher(&self, key: [u8; 16], _encrypt: bool) -> Box<dyn AeadAes128GcmCipher> {
        Box::new(Gcm(Aes128Gcm::new(&key.into())))
    }
}

impl SupportedAeadAes256Gcm for RustCrypto {
    fn create_cipher(&self, key: [u8; 32], _encrypt: bool) -> Box<dyn AeadAes256GcmCipher> {
        Box::new(Gcm(Aes256Gcm::new(&key.into())))
    }
}

impl Sha1HmacProvider for RustCrypto {
    fn sha1_hmac(&self, key: &[u8], payloads: &[&[u8]]) -> [u8; 20] {
        // HMAC takes a key of any length (RFC 2104 section 2): this cannot fail.
        let mut mac = <Hmac<Sha1> as Mac>::new_from_slice(key).expect("HMAC takes any key");
        for payload in payloads {
            mac.update(payload);
        }
        mac.finalize().into_bytes().into()
    }
}

impl Sha256Provider for RustCrypto {
    fn sha256(&self, data: &[u8]) -> [u8; 32] {
        Sha256::digest(data).into()
    }
}

/// Computes one AES block of the SRTP key derivation function (RFC 3711 section 4.3.3).
///
/// The trait also provides for a second, padded block, as block-mode libraries write one; SRTP reads the first one
/// only, so the rest of `output` is left unchanged.
fn ecb_round<C: KeyInit + BlockEncrypt>(key: &[u8], input: &[u8], output: &mut [u8]) {
    // The caller fixes the lengths: `key` has the length that selected this function, and `input` is one block.
    // Otherwise no key must be derived at all, hence the panic (the loop contains a peer's panic).
    let cipher = C::new_from_slice(key).expect("SRTP master key of the profile's length");
    let block = aes::cipher::generic_array::GenericArray::from_mut_slice(&mut output[..16]);
    block.copy_from_slice(input);
    cipher.encrypt_block(block);
}

/// AES-128 in counter mode (RFC 3711 section 4.1.1); `str0m` computes the HMAC.
struct CounterMode(Aes128);

impl std::fmt::Debug for CounterMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CounterMode")
    }
}

impl CounterMode {
    fn apply(&self, iv: &[u8; 16], input: &[u8], output: &mut [u8]) -> Result<(), CryptoError> {
        let output = output.get_mut(..input.len()).ok_or_else(too_small)?;
        output.copy_from_slice(input);
        let core =
            ctr::CtrCore::<_, ctr::flavors::Ctr128BE>::inner_iv_init(self.0.clone(), iv.into());
        aes::cipher::StreamCipherCoreWrapper::from_core(core).apply_keystream(output);
        Ok(())
    }
}

impl Aes128CmSha1_80Cipher for CounterMode {
    fn encrypt(&mut self, iv: &[u8; 16], inp: &[u8], out: &mut [u8]) -> Result<(), CryptoError> {
        self.apply(iv, inp, out)
    }

    fn decrypt(&mut self, iv: &[u8; 16], inp: &[u8], out: &mut [u8]) -> Result<(), CryptoError> {
        self.apply(iv, inp, out)
    }
}

/// AES-GCM (RFC 7714), the tag after the ciphertext.
struct Gcm<C>(C);

impl<C> std::fmt::Debug for Gcm<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gcm")
    }
}

impl<C> Gcm<C>
where
    C: AeadInPlace<NonceSize = aes::cipher::consts::U12, TagSize = aes::cipher::consts::U16>,
{
    fn seal(
        &self,
        iv: &[u8; 12],
        aad: &[u8],
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        let output = output
            .get_mut(..input.len() + TAG_LEN)
            .ok_or_else(too_small)?;
        let (text, tag_out) = output.split_at_mut(input.len());
        text.copy_from_slice(input);
        let tag = self
            .0
            .encrypt_in_place_detached(Nonce::from_slice(iv), aad, text)
            .map_err(|_| CryptoError::Other("AES-GCM could not encrypt".into()))?;
        tag_out.copy_from_slice(&tag);
        Ok(())
    }

    fn open(
        &self,
        iv: &[u8; 12],
        aads: &[&[u8]],
        input: &[u8],
        output: &mut [u8],
    ) -> Result<usize, CryptoError> {
        let Some(text_len) = input.len().checked_sub(TAG_LEN) else {
            return Err(CryptoError::Other(format!(
                "{} bytes are too few for an AES-GCM tag",
                input.len()
            )));
        };
        let joined;
        let aad = match aads {
            [one] => *one,
            many => {
                joined = many.concat();
                &joined
            }
        };
        let (text, tag) = input.split_at(text_len);
        let output = output.get_mut(..text_len).ok_or_else(too_small)?;
        output.copy_from_slice(text);
        self.0
            .decrypt_in_place_detached(Nonce::from_slice(iv), aad, output, Tag::from_slice(tag))
            .map_err(|_| CryptoError::Other("AES-GCM tag does not match".into()))?;
        Ok(text_len)
    }
}

/// The two AEAD traits differ in name only.
macro_rules! gcm_cipher {
    ($name:ident, $cipher:ty) => {
        impl $name for Gcm<$cipher> {
            fn encrypt(
                &mut self,
                iv: &[u8; 12],
                aad: &[u8],
                input: &[u8],
                output: &mut [u8],
            ) -> Result<(), CryptoError> {
                self.seal(iv, aad, input, output)
            }

            fn decrypt(
                &mut self,
                iv: &[u8; 12],
                aads: &[&[u8]],
                input: &[u8],
                output: &mut [u8],
            ) -> Result<usize, CryptoError> {
                self.open(iv, aads, input, output)
            }
        }
    };
}
gcm_cipher!(AeadAes128GcmCipher, Aes128Gcm);
gcm_cipher!(AeadAes256GcmCipher, Aes256Gcm);

fn too_small() -> CryptoError {
    CryptoError::Other("output buffer is smaller than what goes into it".into())
}

/// Creates a self-signed ECDSA P-256 certificate with its key in PKCS #8.
pub(super) fn generate_certificate() -> Option<DtlsCert> {
    let key = p256::ecdsa::SigningKey::random(&mut OsRng);
    let mut serial = [0; 16];
    OsRng.fill_bytes(&mut serial);
    let public = key.verifying_key().to_encoded_point(false);
    let certificate = x509::self_signed_p256(serial, public.as_bytes(), |tbs| {
        let signature: p256::ecdsa::DerSignature = key.sign(tbs);
        signature.as_bytes().to_vec()
    });
    let private_key = key.to_pkcs8_der().ok()?.as_bytes().to_vec();
    Some(DtlsCert {
        certificate,
        private_key,
    })
}
