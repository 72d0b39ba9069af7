//! The steps of a schedule, and their text and byte forms.

use std::fmt;

use super::super::bytes::Bytes;
use super::field::{Blob, Field, Mask, Ms, Side, Size, choices};

choices! {
    /// The NAT in front of a peer.
    Nat {
        None = "none" * 6,
        FullCone = "full-cone" * 2,
        PortRestricted = "port-restricted" * 3,
        Symmetric = "symmetric" * 3,
        UdpBlocked = "udp-blocked" * 1,
    }
    /// Yes or no.
    Flag {
        No = "no" * 1,
        Yes = "yes" * 1,
    }
    /// Yes, rarely.
    Rarely {
        No = "no" * 7,
        Yes = "yes" * 1,
    }
    /// No, rarely.
    Mostly {
        No = "no" * 1,
        Yes = "yes" * 3,
    }
    /// The sides that use relays only.
    RelayOnly {
        Nobody = "nobody" * 9,
        A = "a" * 1,
        B = "b" * 1,
        Both = "both" * 2,
    }
    /// The sides that may use ICE-TCP, and whether other paths exist.
    Tcp {
        Nobody = "nobody" * 12,
        Both = "both" * 1,
        ALetsIn = "a-lets-in" * 1,
        BLetsIn = "b-lets-in" * 1,
        Only = "only" * 2,
    }
    /// The sides that are ICE-lite (RFC 8445 §2.5): on a public address, without checks of their own.
    Lite {
        Nobody = "nobody" * 14,
        A = "a" * 1,
        B = "b" * 1,
    }
    /// Reliability of a channel.
    Promise {
        Reliable = "reliable" * 5,
        Unordered = "unordered" * 2,
        Retransmits0 = "retransmits-0" * 1,
        Retransmits3 = "retransmits-3" * 1,
        Unordered0 = "unordered-0" * 1,
        Lifetime50 = "lifetime-50" * 1,
        UnorderedLifetime500 = "unordered-lifetime-500" * 1,
    }
    /// Audio or video.
    Kind {
        Audio = "audio" * 1,
        Video = "video" * 1,
    }
    /// Wanted direction of a transceiver.
    Way {
        SendRecv = "sendrecv" * 3,
        SendOnly = "sendonly" * 2,
        RecvOnly = "recvonly" * 2,
        Inactive = "inactive" * 1,
    }
    /// A fate of the TURN server.
    Fate {
        Answers = "answers" * 3,
        Restarts = "restarts" * 3,
        IsSilent = "is-silent" * 1,
    }
    /// Apparent source of a forged datagram.
    Source {
        Itself = "itself" * 2,
        Stranger = "stranger" * 1,
        Partner = "partner" * 2,
        Server = "server" * 1,
    }
    /// An invalid call.
    Call {
        CreateOffer = "create-offer" * 2,
        CreateAnswer = "create-answer" * 1,
        EmptyOffer = "empty-offer" * 1,
        EmptyAnswer = "empty-answer" * 1,
        SetLocal = "set-local" * 1,
    }
    /// The address in a candidate.
    Target {
        Partner = "partner" * 3,
        Self_ = "self" * 1,
        Nobody = "10.0.0.99" * 1,
        Loopback6 = "::1" * 1,
        Name = "a.local" * 1,
        Unspecified = "0.0.0.0" * 1,
        Multicast = "224.0.0.1" * 1,
    }
    /// The type of a candidate.
    Typ {
        Host = "host" * 1,
        Srflx = "srflx" * 1,
        Prflx = "prflx" * 1,
        Relay = "relay" * 1,
    }
}

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident { $(
        $(#[$vdoc:meta])*
        $weight:literal $text:literal $variant:ident { $($field:ident: $type:ty),* $(,)? },
    )* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum $name { $($(#[$vdoc])* $variant { $($field: $type),* },)* }

        impl $name {
            const WEIGHTS: &[u32] = &[$($weight,)*];

            pub(super) fn decode(bytes: &mut Bytes<'_>) -> Self {
                let total: u32 = Self::WEIGHTS.iter().sum();
                let mut at = u32::from(bytes.byte()) * total / 256;
                $(
                    match at.checked_sub($weight) {
                        Some(rest) => at = rest,
                        None => return Self::$variant { $($field: <$type>::decode(bytes)),* },
                    }
                )*
                unreachable!("the weights do not add up: {at}")
            }

            pub(super) const NAMES: &[&str] = &[$($text,)*];

            /// Returns its index in `NAMES`.
            #[allow(dead_code)] // Worlds are not counted.
            pub(super) fn kind(&self) -> usize {
                let name = match self {$( Self::$variant { .. } => $text, )*};
                Self::NAMES.iter().position(|n| *n == name).unwrap_or_default()
            }

            pub(super) fn encode(&self, out: &mut Vec<u8>) {
                match self {$(
                    Self::$variant { $($field),* } => {
                        let before = Self::NAMES.iter().zip(Self::WEIGHTS);
                        let before = before.take_while(|(name, _)| **name != $text);
                        let before: u32 = before.map(|(_, weight)| weight).sum();
                        let total: u32 = Self::WEIGHTS.iter().sum();
                        out.push((before * 256).div_ceil(total) as u8);
                        $($field.encode(out);)*
                    }
                )*}
            }

            /// Returns simpler steps of the same name.
            pub(super) fn simpler(&self) -> Vec<Self> {
                let mut list = Vec::new();
                match self {$(
                    Self::$variant { $($field),* } => {
                        steps!(@simpler list, $variant, [$($field)*], [$($field)*]);
                    }
                )*}
                list
            }

            pub(super) fn read(line: &str) -> Result<Self, String> {
                let mut words = line.split_ascii_whitespace();
                let name = words.next().unwrap_or_default();
                let values: Vec<(&str, &str)> = words
                    .map(|w| w.split_once('=').ok_or(format!("{w}: not NAME=VALUE")))
                    .collect::<Result<_, _>>()?;
                $(
                    if name == $text {
                        return Ok(Self::$variant { $($field: value(&values, stringify!($field))?),* });
                    }
                )*
                Err(format!("{name}: no such step"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {$(
                    Self::$variant { $($field),* } => {
                        f.write_str($text)?;
                        $(write!(f, " {}={}", stringify!($field), $field)?;)*
                        Ok(())
                    }
                )*}
            }
        }
    )*};
    (@simpler $list:ident, $variant:ident, [], $all:tt) => {};
    (@simpler $list:ident, $variant:ident, [$one:ident $($more:ident)*], [$($all:ident)*]) => {
        for $one in $one.simpler() {
            $(let $all = $all.clone();)*
            $list.push(Self::$variant { $($all),* });
        }
        steps!(@simpler $list, $variant, [$($more)*], [$($all)*]);
    };
}

fn value<T: Field>(values: &[(&str, &str)], name: &str) -> Result<T, String> {
    let found = values.iter().find(|(n, _)| *n == name);
    let Some((_, text)) = found else {
        return T::absent().ok_or(format!("{name}=… is missing"));
    };
    T::read(text).ok_or(format!("{name}={text}: not understood"))
}

steps! {
    /// The setup before the first step.
    Setup {
        1 "world" World {
            seed: u8,
            nat_a: Nat,
            nat_b: Nat,
            turn: Mostly,
            relay_only: RelayOnly,
            two_pairs: Rarely,
            small_limits: Flag,
            dtls_1_2: Rarely,
            trickle_early: Rarely,
            jitter_buffer: Rarely,
            estimation: Rarely,
            signaling: Ms,
            connected: Mostly,
            tcp: Tcp,
            lite: Lite,
            // Set if tracks carry RTP packets instead of frames.
            packets: Rarely,
            // Set if `b` and `c` are one application, which forwards from `a` to `d`, and back.
            forward: Rarely,
        },
    }
    /// A step of a schedule.
    Step {
        /// Lets time pass.
        40 "run" Run { ms: Ms },
        10 "open" Open { side: Side, promise: Promise },
        /// On both sides of a pair, with a negotiated id.
        3 "negotiated" Negotiated { side: Side, promise: Promise },
        30 "send" Send { flow: u8, size: Size },
        5 "burst" Burst { flow: u8, count: u8, size: Size },
        5 "shut" Shut { flow: u8 },
        3 "threshold" Threshold { flow: u8, bytes: u16 },
        /// In percent, and milliseconds.
        6 "link" Link { loss: u8, duplicate: u8, corrupt: u8, delay: u8, jitter: u8 },
        6 "drop" Drop { next: Mask },
        2 "unplug" Unplug { side: Side },
        4 "plug" Plug { side: Side },
        4 "new-address" NewAddress { side: Side },
        3 "interface-up" InterfaceUp { side: Side },
        3 "interface-down" InterfaceDown { side: Side },
        2 "wake" Wake { side: Side },
        2 "nat-forgets" NatForgets { side: Side },
        4 "turn-server" Turn { fate: Fate },
        6 "restart-ice" RestartIce { side: Side },
        5 "negotiate" Negotiate { side: Side },
        8 "add-track" AddTrack { side: Side, kind: Kind },
        4 "add-transceiver" AddTransceiver { side: Side, kind: Kind, way: Way },
        /// `count` frames, at intervals of 20 ms.
        12 "frames" Frames { side: Side, track: u8, count: u8, size: u16 },
        4 "direction" Direction { side: Side, track: u8, way: Way },
        2 "remove-track" RemoveTrack { side: Side, track: u8 },
        3 "stop-track" StopTrack { side: Side, track: u8 },
        1 "pause-track" PauseTrack { side: Side, track: u8, paused: Flag },
        2 "keyframe" Keyframe { side: Side, track: u8 },
        2 "rollback" Rollback { side: Side },
        /// Delivers an earlier description to this side again.
        3 "again" Again { side: Side, description: u8 },
        3 "call" Call { side: Side, call: Call },
        4 "candidate" Candidate { side: Side, target: Target, typ: Typ, port: u16, other_ufrag: Rarely },
        /// Sends an earlier datagram again, counted back from the latest: three bytes per change, the position and the
        /// value to XOR.
        14 "copy" Copy { before: u8, source: Source, changes: Blob },
        8 "junk" Junk { side: Side, source: Source, contents: Blob },
        1 "close" Close { side: Side },
        /// Suspends the machine of this side for this many seconds.
        3 "sleep" Sleep { side: Side, seconds: u8 },
        /// A video track with two or three layers.
        3 "add-layers" AddLayers { side: Side, layers: u8 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;

    /// Text and bytes are equivalent.
    #[test]
    fn steps_are_written_and_read() {
        let mut rng = Rng::new(5);
        for _ in 0..2_000 {
            let data: Vec<u8> = (0..120).map(|_| rng.next_u64() as u8).collect();
            let step = Step::decode(&mut Bytes(&data));
            let text = step.to_string();
            assert_eq!(Step::read(&text).as_ref(), Ok(&step), "{text}");
            let mut bytes = Vec::new();
            step.encode(&mut bytes);
            let mut rest = Bytes(&bytes);
            assert_eq!(Step::decode(&mut rest), step, "{text}");
            assert!(rest.is_empty());
            for simpler in step.simpler() {
                assert_ne!(simpler, step);
            }
        }
        assert!(Step::read("send flow=1").is_err());
        assert!(Step::read("dance side=a").is_err());
    }

    /// Repeated simplification terminates.
    #[test]
    fn simplicity_has_an_end() {
        let mut rng = Rng::new(6);
        for _ in 0..200 {
            let data: Vec<u8> = (0..120).map(|_| rng.next_u64() as u8).collect();
            let mut step = Step::decode(&mut Bytes(&data));
            let mut count = 0;
            loop {
                let mut simpler = step.simpler();
                if simpler.is_empty() {
                    break;
                }
                let any = rng.below(simpler.len() as u64) as usize;
                step = simpler.swap_remove(any);
                count += 1;
                assert!(count < 10_000, "{step}");
            }
        }
    }
}
