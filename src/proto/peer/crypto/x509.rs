//! The certificate format that WebRTC needs: self-signed, ECDSA P-256 with SHA-256 (RFC 8827 section 6.5), encoded as
//! DER by hand. A peer is authenticated by the fingerprint in the SDP (RFC 8122 section 5), so names and dates in it
//! have no meaning.

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0] EXPLICIT`, for the version.
const CONTEXT_0: u8 = 0xa0;

/// 1.2.840.10045.4.3.2
const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// 1.2.840.10045.2.1
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// 1.2.840.10045.3.1.7
const PRIME256V1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// Returns a certificate (RFC 5280 section 4.1) for `public_key`, an uncompressed point.
///
/// `serial` must be random: Firefox refuses two certificates of one issuer with the same serial. `sign` returns the DER
/// of an ECDSA signature over the SHA-256 of its argument.
///
/// The dates are fixed, from 2000 to "no expiration" (RFC 5280 section 4.1.2.5): this code is not told the date, a
/// device may not know it, and a stored certificate must not expire.
pub(super) fn self_signed_p256(
    mut serial: [u8; 16],
    public_key: &[u8],
    sign: impl FnOnce(&[u8]) -> Vec<u8>,
) -> Vec<u8> {
    // Positive and without leading zeros, as DER requires: the top bits are 01.
    serial[0] = serial[0] & 0x7f | 0x40;
    let algorithm = tlv(SEQUENCE, &[&tlv(OBJECT_IDENTIFIER, &[ECDSA_WITH_SHA256])]);
    let common_name = tlv(
        SEQUENCE,
        &[
            &tlv(OBJECT_IDENTIFIER, &[COMMON_NAME]),
            &tlv(UTF8_STRING, &[b"WebRTC"]),
        ],
    );
    let name = tlv(SEQUENCE, &[&tlv(SET, &[&common_name])]);
    let validity = tlv(
        SEQUENCE,
        &[
            &tlv(UTC_TIME, &[b"000101000000Z"]),
            &tlv(GENERALIZED_TIME, &[b"99991231235959Z"]),
        ],
    );
    let key_algorithm = tlv(
        SEQUENCE,
        &[
            &tlv(OBJECT_IDENTIFIER, &[EC_PUBLIC_KEY]),
            &tlv(OBJECT_IDENTIFIER, &[PRIME256V1]),
        ],
    );
    let key_info = tlv(SEQUENCE, &[&key_algorithm, &bit_string(public_key)]);
    let version_3 = tlv(CONTEXT_0, &[&tlv(INTEGER, &[&[2]])]);
    let to_be_signed = tlv(
        SEQUENCE,
        &[
            &version_3,
            &tlv(INTEGER, &[&serial]),
            &algorithm,
            &name,
            &validity,
            &name,
            &key_info,
        ],
    );
    let signature = bit_string(&sign(&to_be_signed));
    tlv(SEQUENCE, &[&to_be_signed, &algorithm, &signature])
}

/// Encodes whole bytes: no unused bits.
fn bit_string(bytes: &[u8]) -> Vec<u8> {
    tlv(BIT_STRING, &[&[0], bytes])
}

/// Encodes tag, length (up to 65,535 bytes; our certificates have about 300) and value.
fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    match len {
        0..0x80 => out.push(len as u8),
        0x80..0x100 => out.extend([0x81, len as u8]),
        _ => out.extend([0x82, (len >> 8) as u8, len as u8]),
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}
