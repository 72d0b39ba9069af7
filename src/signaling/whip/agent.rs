//! HTTP client of WHIP: connections, and TLS for `https`.

use std::io;

use super::config::WhipClientConfig;
use crate::signaling::agent::builder;

pub(super) fn agent(config: &WhipClientConfig, secure: bool) -> io::Result<ureq::Agent> {
    let builder = builder(config.exchange_deadline);
    #[cfg(feature = "tls")]
    let builder = match secure {
        true => builder.tls_config(tls(config)?),
        false => builder,
    };
    #[cfg(not(feature = "tls"))]
    if secure {
        let why = "https is not in this build; it needs the feature tls";
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    }
    Ok(builder.build().into())
}

#[cfg(feature = "tls")]
fn tls(config: &WhipClientConfig) -> io::Result<ureq::tls::TlsConfig> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
    let roots: Vec<CertificateDer<'static>> = match &config.authorities {
        Some(pem) => CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|e| invalid(format!("certificate authorities: {e}")))?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    if roots.is_empty() {
        let why = match config.authorities {
            Some(_) => "certificate authorities: there is no certificate in PEM",
            None => "the system has no certificate authorities; install them, or name some",
        };
        return Err(invalid(why.into()));
    }
    let roots: Vec<_> = roots
        .iter()
        .map(|der| Certificate::from_der(der).to_owned())
        .collect();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::new_with_certs(&roots))
        .unversioned_rustls_crypto_provider(provider.into())
        .build())
}
