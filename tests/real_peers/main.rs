//! looprtc against real WebRTC implementations (tests/interop), each a process of its own.
//!
//! `tests/setup` installs them. A missing one is reported, and fails the test if the environment variable `CI` is set.

#![cfg(feature = "driver")]

mod call;
mod cameras;
mod child;
mod clips;
mod control;
mod impaired;
mod janus;
mod media;
mod ours;
mod relay;
mod scenario;
mod tracks;

#[path = "../turn/coturn.rs"]
mod coturn;

use call::Offerer::{Looprtc, RealPeer};
use looprtc::proto::peer::{CryptoBackend, DtlsVersion};
use scenario::{AIORTC, CHROMIUM, FIREFOX, GSTREAMER, LIBDATACHANNEL, LIBWEBRTC, PION, WERIFT};
use scenario::{config, full, ice_restarts, they_close};

/// The same four tests for each peer.
macro_rules! peer_tests {
    ($($name:ident: $profile:expr, $config:expr;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn looprtc_offers() {
                full(&$profile, Looprtc, $config);
            }

            #[test]
            fn looprtc_answers() {
                full(&$profile, RealPeer, $config);
            }

            #[test]
            fn looprtc_offers_they_close() {
                they_close(&$profile, Looprtc, $config);
            }

            #[test]
            fn looprtc_answers_they_close() {
                they_close(&$profile, RealPeer, $config);
            }
        }
    )*};
}

peer_tests! {
    pion: PION, config();
    libwebrtc: LIBWEBRTC, config();
    chromium: CHROMIUM, config();
    firefox: FIREFOX, config();
    aiortc: AIORTC, config();
    libdatachannel: LIBDATACHANNEL, config();
}

mod werift {
    use super::*;

    #[test]
    fn looprtc_answers() {
        full(&WERIFT, RealPeer, config());
    }

    #[test]
    fn looprtc_answers_they_close() {
        they_close(&WERIFT, RealPeer, config());
    }

    // werift starts SCTP only as the controlling ICE agent, so never as the answerer.
    #[test]
    fn looprtc_offers() {
        full(&WERIFT, Looprtc, config().begin_sctp(true));
    }

    #[test]
    fn looprtc_offers_they_close() {
        they_close(&WERIFT, Looprtc, config().begin_sctp(true));
    }
}

#[cfg(feature = "openssl")]
peer_tests! {
    gstreamer: GSTREAMER, scenario::openssl();
    chromium_openssl: CHROMIUM, scenario::openssl();
    pion_openssl: PION, scenario::openssl();
}

/// Both versions of DTLS, with the one browser that supports both.
mod dtls {
    use super::*;

    #[test]
    fn chromium_negotiates_1_3() {
        scenario::dtls_version(&CHROMIUM, config(), "1.3");
    }

    #[test]
    fn chromium_negotiates_1_2() {
        scenario::dtls_version(&CHROMIUM, config().dtls(DtlsVersion::V1_2), "1.2");
    }

    #[test]
    fn every_backend_with_pion_and_chromium() {
        for backend in CryptoBackend::available() {
            let version = match backend {
                CryptoBackend::OpenSsl => DtlsVersion::V1_2,
                _ => DtlsVersion::Auto,
            };
            let config = config().crypto(Some(backend)).dtls(version);
            full(&PION, RealPeer, config.clone());
            full(&CHROMIUM, Looprtc, config);
        }
    }

    #[test]
    fn an_rsa_certificate_is_named_as_the_reason() {
        scenario::rsa_is_refused(&GSTREAMER);
    }
}

/// As a server with a public address, which leaves all checks to the remote peer (RFC 8445 §2.5).
mod ice_lite {
    use super::*;

    fn with(profile: &scenario::Profile) {
        full(profile, Looprtc, config().ice_lite(true));
        full(profile, RealPeer, config().ice_lite(true));
    }

    #[test]
    fn pion() {
        with(&PION);
    }

    #[test]
    fn libwebrtc() {
        with(&LIBWEBRTC);
    }

    #[test]
    fn chromium() {
        with(&CHROMIUM);
    }
}

/// A browser that hides its addresses can be reached: its checks arrive here.
#[test]
fn chromium_with_mdns_names() {
    scenario::they_close(&scenario::CHROMIUM_MDNS, Looprtc, config());
    scenario::they_close(&scenario::CHROMIUM_MDNS, RealPeer, config());
}

/// And its names can be resolved.
#[test]
fn chromium_with_mdns_names_resolved() {
    scenario::names_are_resolved(&scenario::CHROMIUM_MDNS);
}

/// Through a TURN server.
mod relayed {
    use super::*;

    #[test]
    fn we_are_with_pion() {
        relay::of_ours(&PION, "");
    }

    #[test]
    fn we_are_with_libwebrtc_over_tcp() {
        relay::of_ours(&LIBWEBRTC, "?transport=tcp");
    }

    #[test]
    fn we_are_with_chromium() {
        relay::of_ours(&CHROMIUM, "");
    }

    #[test]
    fn chromium_is() {
        relay::of_theirs(&CHROMIUM, false);
    }

    #[test]
    fn chromium_and_we_are() {
        relay::of_theirs(&CHROMIUM, true);
    }

    #[test]
    fn pion_is() {
        relay::of_theirs(&PION, false);
    }
}

mod restart {
    use super::*;

    #[test]
    fn chromium() {
        ice_restarts(&CHROMIUM, Looprtc, config());
    }

    #[test]
    fn libwebrtc() {
        ice_restarts(&scenario::LIBWEBRTC, RealPeer, config());
    }

    #[test]
    fn pion() {
        ice_restarts(&PION, RealPeer, config());
    }
}

/// ICE over TCP. Chromium only connects; pion 3 only listens.
mod over_tcp {
    use looprtc::proto::ice::IceTcp;

    use super::*;

    const PION: scenario::Profile = scenario::Profile {
        args: &["--tcp"],
        ..scenario::PION
    };

    #[test]
    fn chromium() {
        for offerer in [Looprtc, RealPeer] {
            scenario::over_tcp(&CHROMIUM, offerer, IceTcp::Passive);
        }
    }

    #[test]
    fn libwebrtc() {
        scenario::over_tcp(&LIBWEBRTC, Looprtc, IceTcp::Both);
        scenario::over_tcp(&LIBWEBRTC, RealPeer, IceTcp::Passive);
    }

    #[test]
    fn pion() {
        for offerer in [Looprtc, RealPeer] {
            scenario::over_tcp(&PION, offerer, IceTcp::Active);
        }
    }
}

/// Media in both directions at once.
mod media_tests {
    use looprtc::proto::peer::Codec::*;

    use super::*;
    use crate::tracks::{Player, both_ways};

    const PION: Player = Player {
        exact: true,
        asks: true,
        asks_by_fir: true,
        changes_back: false,
        gives_up: false,
        ..Player::new(scenario::PION)
    };
    const LIBWEBRTC: Player = Player::new(scenario::LIBWEBRTC);
    const CHROMIUM: Player = Player::new(scenario::CHROMIUM);
    /// It counts one or two of its first frames fewer.
    const FIREFOX: Player = Player {
        decodes: 0.95,
        ..Player::new(scenario::FIREFOX)
    };
    const AIORTC: Player = Player {
        asks: true,
        gives_up: false,
        under_loss: 0.5,
        ..Player::new(scenario::AIORTC)
    };
    #[cfg(feature = "openssl")]
    const GSTREAMER: Player = Player {
        tells_time: false,
        asks: true,
        asks_by_fir: true,
        ..Player::new(scenario::GSTREAMER)
    };

    macro_rules! both_ways {
        ($config:expr; $($name:ident: $player:expr, $($codec:ident)*;)*) => {$(
            #[test]
            fn $name() {
                for offerer in [Looprtc, RealPeer] {
                    both_ways(&$player, offerer, $config, &[$($codec),*]);
                }
            }
        )*};
    }

    both_ways! {
        config();
        pion_vp8_opus: PION, Vp8 Opus;
        pion_vp9_pcmu: PION, Vp9 Pcmu;
        pion_av1_pcma: PION, Av1 Pcma;
        pion_h264_g722: PION, H264 G722;
        pion_h265: PION, H265;
        libwebrtc_vp8_opus: LIBWEBRTC, Vp8 Opus;
        libwebrtc_vp9_pcmu: LIBWEBRTC, Vp9 Pcmu;
        libwebrtc_av1_pcma: LIBWEBRTC, Av1 Pcma;
        libwebrtc_g722: LIBWEBRTC, G722;
        chromium_vp8_opus: CHROMIUM, Vp8 Opus;
        chromium_vp9_pcmu: CHROMIUM, Vp9 Pcmu;
        chromium_av1_pcma: CHROMIUM, Av1 Pcma;
        chromium_h264_g722: CHROMIUM, H264 G722;
        firefox_vp8_opus: FIREFOX, Vp8 Opus;
        firefox_vp9_pcmu: FIREFOX, Vp9 Pcmu;
        aiortc_vp8_opus: AIORTC, Vp8 Opus;
        aiortc_h264_pcmu: AIORTC, H264 Pcmu;
        aiortc_pcma: AIORTC, Pcma;
        aiortc_g722: AIORTC, G722;
    }

    #[cfg(feature = "openssl")]
    both_ways! {
        scenario::openssl();
        gstreamer_vp8_opus: GSTREAMER, Vp8 Opus;
        gstreamer_vp9: GSTREAMER, Vp9;
        gstreamer_h264_pcma: GSTREAMER, H264 Pcma;
        gstreamer_h265_g722: GSTREAMER, H265 G722;
    }

    #[test]
    fn each_tells_how_much_it_takes() {
        control::bitrates(&PION, config());
    }

    #[test]
    fn keyframes_are_asked_for_and_made() {
        for player in [PION, LIBWEBRTC, CHROMIUM, AIORTC] {
            control::keyframes(&player, config(), Vp8);
        }
        control::keyframes(&CHROMIUM, config(), H264);
        #[cfg(feature = "openssl")]
        control::keyframes(&GSTREAMER, scenario::openssl(), Vp8);
    }

    #[test]
    fn directions_change_from_both_sides() {
        // If we offer, the data channel has the first m-line: Chromium and libwebrtc take the end of the first one for
        // the end of all in its bundle.
        for player in [PION, LIBWEBRTC, CHROMIUM] {
            control::directions(&player, Looprtc, config());
        }
        // aiortc's later offers have the payload types of its first one, whatever was negotiated.
        control::directions(&AIORTC, RealPeer, config());
    }

    #[test]
    fn no_common_codec_is_said() {
        // pion 3.1 fails by itself then, in either role.
        control::no_common_codec(&LIBWEBRTC, RealPeer, H264, Vp8);
        control::no_common_codec(&CHROMIUM, Looprtc, H265, Vp8);
        control::no_common_codec(&CHROMIUM, RealPeer, H265, Vp8);
    }

    /// A browser that may delay media more than by default.
    const CHROMIUM_BUFFERING: Player = Player {
        profile: scenario::Profile {
            args: &["--buffer", "300"],
            ..scenario::CHROMIUM
        },
        ..CHROMIUM
    };

    /// Losses are reported and repaired: docs/media.md.
    mod losses {
        use super::*;

        #[test]
        fn chromium() {
            impaired::repaired(&CHROMIUM_BUFFERING, Vp8);
        }

        #[test]
        fn libwebrtc() {
            impaired::repaired(&LIBWEBRTC, Vp8);
        }

        #[test]
        fn pion() {
            impaired::repaired(&PION, Vp8);
        }

        #[test]
        fn aiortc() {
            impaired::repaired(&AIORTC, Vp8);
        }
    }

    #[test]
    fn the_matrix_of_bad_links() {
        impaired::matrix(&CHROMIUM);
        impaired::matrix(&CHROMIUM_BUFFERING);
    }
}
