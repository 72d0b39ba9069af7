//! Self-signed certificates, for machines without a public name.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};

use super::tls::TlsIdentity;
use crate::proto::rtp::base64;

/// Validity of a certificate. Some clients reject more than 398 days.
const LIFETIME: Duration = Duration::from_secs(397 * 24 * 3600);

/// It is valid since a day ago, because clocks differ.
const EARLIER: Duration = Duration::from_secs(24 * 3600);

/// A self-signed certificate with its key, both in PEM. Browsers warn about it once; then cameras and microphones work
/// as with any other certificate.
///
/// To avoid a new warning after each start, [`save`](Self::save) it, and load the files with [`TlsIdentity::from_pem`]
/// the next time.
#[derive(Clone)]
pub struct SelfSigned {
    /// The certificate.
    pub certificate: String,
    /// The key (PKCS #8), which is secret.
    pub key: String,
}

impl std::fmt::Debug for SelfSigned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SelfSigned").finish_non_exhaustive()
    }
}

impl SelfSigned {
    /// Creates a certificate for these names and addresses, valid for 397 days: see [`local_names`].
    ///
    /// # Errors
    ///
    /// Returns an error message, for example for an invalid name.
    pub fn new(names: &[String]) -> Result<Self, String> {
        let say = |e: rcgen::Error| format!("making a certificate: {e}");
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let since = since.map_err(|_| "making a certificate: the clock is before 1970")?;
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let mut params = CertificateParams::new(names).map_err(say)?;
        params.not_before = epoch + since.saturating_sub(EARLIER);
        params.not_after = epoch + since + LIFETIME;
        params
            .distinguished_name
            .push(DnType::CommonName, "looprtc");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().map_err(say)?;
        let certificate = params.self_signed(&key).map_err(say)?;
        Ok(Self {
            certificate: pem("CERTIFICATE", certificate.der()),
            key: pem("PRIVATE KEY", &key.serialize_der()),
        })
    }

    /// Returns the identity for a door.
    ///
    /// # Errors
    ///
    /// The same as [`TlsIdentity::from_pem`]; never for a certificate created by [`new`](Self::new).
    pub fn identity(&self) -> Result<TlsIdentity, String> {
        TlsIdentity::from_pem(self.certificate.as_bytes(), self.key.as_bytes())
    }

    /// Writes both files. The key is readable by its owner only.
    ///
    /// # Errors
    ///
    /// Returns the system's error.
    pub fn save(&self, certificate: &Path, key: &Path) -> io::Result<()> {
        std::fs::write(certificate, &self.certificate)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
            options.mode(0o600);
            let mut file = options.open(key)?;
            // Also for an existing file, and before anything is written.
            file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
            file.write_all(self.key.as_bytes())
        }
        #[cfg(not(unix))]
        options.open(key)?.write_all(self.key.as_bytes())
    }
}

/// Returns the names of this machine: `localhost`, its host name with and without `.local`, and its addresses.
#[must_use]
pub fn local_names() -> Vec<String> {
    let mut names = vec!["localhost".to_owned()];
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Ok(name) = rustix::system::uname().nodename().to_str() {
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
        if !name.is_empty() && name.bytes().all(is_name) && name != "localhost" {
            names.push(name.to_owned());
            if !name.contains('.') {
                names.push(format!("{name}.local"));
            }
        }
    }
    let mut addresses: Vec<IpAddr> =
        vec![[127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()];
    for interface in if_addrs::get_if_addrs().unwrap_or_default() {
        if !addresses.contains(&interface.ip()) {
            addresses.push(interface.ip());
        }
    }
    names.extend(addresses.iter().map(ToString::to_string));
    names
}

/// Encodes PEM (RFC 7468).
fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII, so every index is a character boundary.
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_taken_for_an_identity_and_kept() {
        let made = SelfSigned::new(&local_names()).unwrap();
        made.identity().unwrap();
        let directory = std::env::temp_dir().join(format!("looprtc-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (certificate, key) = (directory.join("c.pem"), directory.join("k.pem"));
        std::fs::write(&key, "old").unwrap();
        made.save(&certificate, &key).unwrap();
        let read = |path| std::fs::read(path).unwrap();
        TlsIdentity::from_pem(&read(&certificate), &read(&key)).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&key).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        std::fs::remove_dir_all(directory).unwrap();
        assert!(!format!("{made:?}").contains("PRIVATE"));
    }

    #[test]
    fn names_of_this_machine() {
        let names = local_names();
        for name in ["localhost", "127.0.0.1", "::1"] {
            assert!(names.iter().any(|n| n == name), "{names:?}");
        }
        assert!(SelfSigned::new(&["ä".to_owned()]).is_err());
    }
}
