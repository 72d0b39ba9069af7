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
/// thread's `fastrand`, which is initially seeded from the clock only (docs/upstream.md). While the core is borrowed for
/// a change, that generator therefore has a seed from the operating system, and afterwards its former state: the core
/// reveals nothing about what others draw on this thread, nor they about the core. (One borrow may draw several SSRCs,
/// which are no secrets.) Credentials need more than the 64 bits of such a seed, and are created here.
pub(super) struct CoreAccess {
    rtc: Rtc,
    random: Random,
    /// Seed for the next borrow. It is replaced only once the core has drawn from it, so that a seeded peer repeats
    /// itself however often it is borrowed: that depends on the handshake, whose randomness is not ours.
    seed: u64,
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
        let before = fastrand::get_seed();
        fastrand::seed(random.bits());
        let rtc = config.set_local_ice_credentials(to_core(&creds)).build(now);
        fastrand::seed(before);
        let seed = random.bits();
        (Self { rtc, random, seed }, creds)
    }

    /// Borrows the core for a change.
    pub fn change(&mut self) -> RtcMut<'_> {
        let before = fastrand::get_seed();
        fastrand::seed(self.seed);
        RtcMut {
            access: self,
            before,
        }
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

/// The core, borrowed for a change. Meanwhile the thread's generator is seeded for it.
pub(super) struct RtcMut<'a> {
    access: &'a mut CoreAccess,
    /// State of the thread's generator, to be restored.
    before: u64,
}

impl Deref for RtcMut<'_> {
    type Target = Rtc;

    fn deref(&self) -> &Rtc {
        &self.access.rtc
    }
}

impl DerefMut for RtcMut<'_> {
    fn deref_mut(&mut self) -> &mut Rtc {
        &mut self.access.rtc
    }
}

impl Drop for RtcMut<'_> {
    fn drop(&mut self) {
        if fastrand::get_seed() != self.access.seed {
            self.access.seed = self.access.random.bits();
        }
        fastrand::seed(self.before);
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
