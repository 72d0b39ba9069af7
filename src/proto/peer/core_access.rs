//! The core behind a door: whoever changes anything in it has its generator seeded first.

use std::ops::{Deref, DerefMut};

use str0m::{IceCreds, Rtc, RtcConfig};

use crate::proto::random::Random;

/// Characters of our ICE passwords: 160 random bits, where RFC 8445 §5.3 wants 128.
const PASSWORD: usize = 32;

/// Characters of our ufrags: 40 random bits, where RFC 8445 §5.3 wants 24.
const UFRAG: usize = 8;

/// The core of a peer, and the randomness of both.
///
/// str0m draws what nobody must guess (ICE credentials, transaction ids, tie-breakers, SSRCs, sequence numbers) from
/// the thread's `fastrand`, whose first seed is the clock's time and nothing else (docs/upstream.md). So that
/// generator gets a seed of the operating system's before each use of the core that can draw, which is each use of
/// `&mut Rtc`. It is never seeded by anything else that could be known: an output of one peer says nothing about
/// another's. Credentials, which need more than the 64 bits of such a seed, are made here.
pub(super) struct CoreAccess {
    rtc: Rtc,
    random: Random,
}

impl CoreAccess {
    /// Builds the core with credentials of ours. `seed`: for runs that are to be replayed.
    pub fn build(
        seed: Option<u64>,
        config: RtcConfig,
        now: std::time::Instant,
    ) -> (Self, IceCreds) {
        let mut random = Random::new(seed);
        let creds = credentials(&mut random);
        fastrand::seed(random.bits());
        let rtc = config.set_local_ice_credentials(creds.clone()).build(now);
        (Self { rtc, random }, creds)
    }

    /// Returns new ICE credentials.
    pub fn credentials(&mut self) -> IceCreds {
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

fn credentials(random: &mut Random) -> IceCreds {
    IceCreds {
        ufrag: random.text(UFRAG),
        pass: random.text(PASSWORD),
    }
}

/// Puts our credentials in the place of those that the core made, in a description of ours.
pub(super) fn replace_credentials(sdp: &str, made: &IceCreds, ours: &IceCreds) -> String {
    sdp.replace(
        &format!("a=ice-ufrag:{}\r\n", made.ufrag),
        &format!("a=ice-ufrag:{}\r\n", ours.ufrag),
    )
    .replace(
        &format!("a=ice-pwd:{}\r\n", made.pass),
        &format!("a=ice-pwd:{}\r\n", ours.pass),
    )
}
