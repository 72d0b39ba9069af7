//! Access to the core that seeds its random generator before every change.

use std::ops::{Deref, DerefMut};

use str0m::{IceCreds, Rtc, RtcConfig};

use crate::proto::ice::IceCredentials;
use crate::proto::random::Random;

/// Length of our ICE passwords in characters: 160 random bits, where RFC 8445 §5.3 requires 128.
const PASSWORD: usize = 32;

/// Length of our ufrags in characters: 40 random bits, where RFC 8445 §5.3 requires 24.
const UFRAG: usize = 8;

/// The core of a peer, with a source of randomness for both.
///
/// str0m draws unpredictable values (ICE credentials, transaction ids, tie-breakers, SSRCs, sequence numbers) from the
/// thread's `fastrand`, which is initially seeded from the clock only (docs/upstream.md). The generator therefore gets
/// a seed from the operating system before each use of the core that can draw, which is each time `&mut Rtc` is borrowed.
/// (One call of tracks or feedback borrows it once and may draw several SSRCs, which are no secrets.) It is never seeded
/// with anything predictable, so the output of one peer reveals nothing about another. Credentials need more than the 64
/// bits of such a seed, and are created here.
pub(super) struct CoreAccess {
    rtc: Rtc,
    random: Random,
}

impl CoreAccess {
    /// Creates the core with our own credentials. `seed` is for repeatable tests.
    pub fn build(
        seed: Option<u64>,
        config: RtcConfig,
        now: std::time::Instant,
    ) -> (Self, IceCredentials) {
        let mut random = Random::new(seed);
        let creds = credentials(&mut random);
        fastrand::seed(random.bits());
        let rtc = config.set_local_ice_credentials(to_core(&creds)).build(now);
        (Self { rtc, random }, creds)
    }

    /// Returns new ICE credentials.
    pub fn credentials(&mut self) -> IceCredentials {
        credentials(&mut self.random)
    }
}

impl Deref for CoreAccess {
    type Target = Rtc;

    fn deref(&self) -> &Rtc {
        &self.rtc
    }
}

impl DerefMut for CoreAccess {
    fn deref_mut(&mut self) -> &mut Rtc {
        fastrand::seed(self.random.bits());
        &mut self.rtc
    }
}

fn credentials(random: &mut Random) -> IceCredentials {
    IceCredentials {
        ufrag: random.text(UFRAG),
        password: random.text(PASSWORD),
    }
}

pub(super) fn to_core(creds: &IceCredentials) -> IceCreds {
    IceCreds {
        ufrag: creds.ufrag.clone(),
        pass: creds.password.clone(),
    }
}

pub(super) fn from_core(creds: IceCreds) -> IceCredentials {
    IceCredentials {
        ufrag: creds.ufrag,
        password: creds.pass,
    }
}

/// Replaces the credentials created by the core with ours in a local description.
pub(in super::super) fn replace_credentials(
    sdp: &str,
    made: &IceCredentials,
    ours: &IceCredentials,
) -> String {
    sdp.replace(
        &format!("a=ice-ufrag:{}\r\n", made.ufrag),
        &format!("a=ice-ufrag:{}\r\n", ours.ufrag),
    )
    .replace(
        &format!("a=ice-pwd:{}\r\n", made.password),
        &format!("a=ice-pwd:{}\r\n", ours.password),
    )
}
