//! Tolerated faults of cameras, each with a number, a name and a counter.

use std::fmt;

macro_rules! quirks {
    ($($number:literal $variant:ident $name:literal $about:literal,)*) => {
        /// A deviation from the specifications that is tolerated because cameras in use have it.
        ///
        /// Each is handled by default. They are counted ([`Quirks`]) and reported once per session, so that an operator can
        /// see which camera depends on which tolerance.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum Quirk {
            $(#[doc = $about] $variant = $number,)*
        }

        impl Quirk {
            /// All quirks in the order of their numbers.
            pub const ALL: &'static [Quirk] = &[$(Quirk::$variant,)*];

            /// Returns the name, for logs, metrics and tests: lower case with hyphens, such as `early-data`. It does not
            /// change between releases.
            pub fn name(self) -> &'static str {
                match self {
                    $(Quirk::$variant => $name,)*
                }
            }

            /// Returns a sentence for people: what the camera does.
            pub fn about(self) -> &'static str {
                match self {
                    $(Quirk::$variant => $about,)*
                }
            }
        }
    };
}

quirks! {
    1 EarlyData "early-data" "It sends media or reports before it has answered PLAY.",
    2 UnassignedChannel "unassigned-channel" "It sends data on interleaved channels that were never set up.",
    3 OtherChannels "other-channels" "It answers SETUP with other channels, or another transport, than it was asked for.",
    4 SeveralChallenges "several-challenges" "It offers several kinds of authentication at once.",
    5 DigestQop "digest-qop" "It demands Digest authentication with quality of protection.",
    6 DigestSha "digest-sha" "It demands Digest authentication by SHA-256 or SHA-512/256.",
    7 DigestNonceChanges "digest-nonce-changes" "It refuses a valid password because it has changed the nonce without saying so.",
    8 HeaderCase "header-case" "It writes the names of headers in unusual case.",
    9 HeaderJunk "header-junk" "It sends stray white space or unreadable parts in headers, or blank lines between messages.",
    10 LostSync "lost-sync" "It sends bytes that belong to no message between two messages.",
    11 NeedsUserAgent "needs-user-agent" "It answers only clients that name themselves.",
    12 KeepaliveRefused "keepalive-refused" "It refuses the keep-alive request that it offers, or leaves keep-alives unanswered.",
    13 CameraAsks "camera-asks" "It sends requests of its own during the session.",
    14 SessionChanges "session-changes" "It changes the session identifier between answers, or leaves it out.",
    15 TransportNeedsReconnect "transport-needs-reconnect" "Its transport had to be changed, which takes a new connection.",
    16 Redirect "redirect" "It redirects to another address.",
    17 FewConnections "few-connections" "It refuses further connections while others are in use.",
    18 TeardownUnanswered "teardown-unanswered" "It does not answer TEARDOWN, or with an error.",
    19 BadContentBase "bad-content-base" "Its base URL is missing, damaged or names another host.",
    20 StaleSession "stale-session" "It sends data of an earlier session (live555 before 2017.06.04).",
    21 ControlUrl "control-url" "Its control URLs are not relative URLs as RFC 3986 defines them, or name another host.",
    22 BrokenSdp "broken-sdp" "Its session description has lines that are damaged, missing or out of place.",
    23 BadParameterSets "bad-parameter-sets" "The parameter sets in its session description are missing or damaged.",
    24 AllSendonly "all-sendonly" "It marks media that it sends as media for it to receive.",
    25 VendorData "vendor-data" "It offers data that is neither video nor audio.",
    26 MarkerLies "marker-lies" "It sets RTP markers within pictures, or never.",
    27 AnnexBInRtp "annex-b-in-rtp" "It sends several NAL units with start codes as one.",
    28 FragmentFaults "fragment-faults" "It sends fragments of NAL units whose headers contradict each other.",
    29 KeyframeWithoutSets "keyframe-without-sets" "It sends keyframes without parameter sets.",
    30 SetsChange "sets-change" "It changes its parameter sets during the session.",
    31 Timestamps "timestamps" "Its timestamps repeat, jump or run at the wrong rate.",
    32 RtpInfoLies "rtp-info-lies" "Sequence numbers, timestamps or SSRCs that it announces are wrong or unreadable.",
    33 BFrames "b-frames" "It sends B-frames, which WebRTC receivers cannot reorder.",
    34 LargePackets "large-packets" "It sends RTP packets larger than a network's usual maximum.",
    35 GapOverTcp "gap-over-tcp" "It drops packets although it sends over TCP.",
    36 EndlessUnit "endless-unit" "It never ends an access unit.",
    37 AacFraming "aac-framing" "It packs AAC in another way than its session description says.",
    38 AudioFormat "audio-format" "It describes its audio format wrongly, or uses an unusual one.",
    39 Silent "silent" "It keeps the connection open and sends nothing.",
    40 UdpPorts "udp-ports" "It leaves out or misstates the UDP ports that it sends from, or its datagrams do not arrive.",
    41 SelfSigned "self-signed" "It uses TLS with a certificate that nobody vouches for.",
    42 Backchannel "backchannel" "It refuses, or is disturbed by, a request for two-way audio.",
}

impl Quirk {
    /// Number of quirks.
    pub const COUNT: usize = Self::ALL.len();

    /// Returns the number, from 1 to 42. It does not change between releases.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Returns the quirk with this number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }
}

impl fmt::Display for Quirk {
    /// Writes number and name: `1 early-data`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number(), self.name())
    }
}

/// Counters, one for each [`Quirk`].
#[derive(Clone, PartialEq, Eq)]
pub struct Quirks(Box<[u32; Quirk::COUNT]>);

impl Default for Quirks {
    fn default() -> Self {
        Self(Box::new([0; Quirk::COUNT]))
    }
}

impl fmt::Debug for Quirks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let met = self.met().map(|(quirk, count)| (quirk.name(), count));
        f.debug_map().entries(met).finish()
    }
}

impl Quirks {
    /// Counts one occurrence. Returns `true` for the first one. Counters stop at their maximum.
    pub fn count(&mut self, quirk: Quirk) -> bool {
        // Numbers are 1 to 42, and the table has 42 places; a test walks through all.
        let Some(counter) = self.0.get_mut(quirk as usize - 1) else {
            return false;
        };
        *counter = counter.saturating_add(1);
        *counter == 1
    }

    /// Returns how often a quirk has occurred.
    pub fn of(&self, quirk: Quirk) -> u32 {
        self.0.get(quirk as usize - 1).copied().unwrap_or_default()
    }

    /// Returns the quirks that have occurred, with their counts, in the order of their numbers.
    pub fn met(&self) -> impl Iterator<Item = (Quirk, u32)> + '_ {
        let counted = Quirk::ALL.iter().map(|quirk| (*quirk, self.of(*quirk)));
        counted.filter(|(_, count)| *count > 0)
    }

    /// Adds the counts of another table to this one.
    pub fn add(&mut self, other: &Self) {
        for (counter, more) in self.0.iter_mut().zip(other.0.iter()) {
            *counter = counter.saturating_add(*more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn numbers_are_consecutive_and_names_differ() {
        let mut quirks = Quirks::default();
        let mut names = HashSet::new();
        for (index, quirk) in Quirk::ALL.iter().enumerate() {
            assert_eq!(usize::from(quirk.number()), index + 1);
            assert_eq!(Quirk::from_number(quirk.number()), Some(*quirk));
            assert!(names.insert(quirk.name()));
            assert!(quirk.about().ends_with('.'));
            assert!(quirks.count(*quirk));
            assert!(!quirks.count(*quirk));
        }
        assert_eq!(quirks.met().map(|(_, n)| n).sum::<u32>(), 84);
        assert_eq!(Quirk::COUNT, 42);
        assert_eq!(Quirk::from_number(0), None);
        assert_eq!(Quirk::from_number(43), None);
        assert_eq!(Quirk::EarlyData.to_string(), "1 early-data");
        let mut twice = quirks.clone();
        twice.add(&quirks);
        assert_eq!(twice.of(Quirk::Backchannel), 4);
    }
}
