//! Everything in which a camera can differ from a well-behaved one. The default is well-behaved.

use std::time::Duration;

/// How a camera behaves; scripts change what they are about.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    /// Form of its messages, and what it demands of ours.
    pub messages: Messages,
    /// Sessions: identifiers, timeouts, keep-alives, how many there may be.
    pub sessions: Sessions,
    /// Authentication; `None`: it asks for none.
    pub access: Option<Access>,
    /// Its session description, and the URLs in it.
    pub description: Description,
    /// Responses to SETUP and PLAY.
    pub transport: Transport,
    /// Media that it sends.
    pub media: Media,
    /// How packets are made of it.
    pub packing: Packing,
    /// Its clock.
    pub clock: Clock,
    /// Faults of the packet stream.
    pub faults: Faults,
    /// Two-way audio.
    pub talk: Talk,
}

/// Form of messages.
#[derive(Debug, Clone, Default)]
pub struct Messages {
    /// Writes `Cseq` and `Content-length`, and refuses requests that do not have `CSeq` written so.
    pub odd_case: bool,
    /// Adds blanks around values and headers without a meaning.
    pub junk: bool,
    /// Sends empty lines before responses and interleaved data.
    pub blank_lines: bool,
    /// Answers 401 to whoever does not name itself.
    pub needs_user_agent: bool,
    /// Asks `OPTIONS` while it plays, and closes the connection if nobody answers within 3 s.
    pub asks: bool,
    /// Closes the connection at a second DESCRIBE.
    pub one_describe: bool,
    /// Redirects DESCRIBE this often, to another path each time.
    pub redirects: u32,
}

/// Treatment of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reply {
    /// It is done.
    #[default]
    Ok,
    /// Nothing is answered.
    Silence,
    /// It is refused with this status.
    Status(u16),
}

/// When identifiers of sessions are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SessionId {
    /// In each response from SETUP on.
    #[default]
    Same,
    /// Another one in each response to SETUP; all of them are known.
    Changes,
    /// In the response to PLAY and later only.
    WithPlay,
}

/// Sessions.
#[derive(Debug, Clone)]
pub struct Sessions {
    /// When the identifier is told.
    pub id: SessionId,
    /// Text after the identifier in `Session`, for example `;timeout=60`.
    pub parameters: &'static str,
    /// Time after which a session without keep-alive ends.
    pub timeout: Duration,
    /// Methods named in `Public`.
    pub public: &'static str,
    /// Reply to GET_PARAMETER.
    pub get_parameter: Reply,
    /// Reply to OPTIONS within a session.
    pub options: Reply,
    /// Set if OPTIONS keeps a session alive.
    pub options_count: bool,
    /// Reply to TEARDOWN; the session ends in any case.
    pub teardown: Reply,
    /// Maximum number of sessions; a further DESCRIBE is answered with 453.
    pub most: usize,
    /// How long a session that ended without TEARDOWN still takes its place.
    pub lingers: Duration,
    /// Number of places that somebody else has taken for the first 5 s.
    pub taken: usize,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            id: SessionId::default(),
            parameters: ";timeout=60",
            timeout: Duration::from_secs(60),
            public: "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER",
            get_parameter: Reply::Ok,
            options: Reply::Ok,
            options_count: true,
            teardown: Reply::Ok,
            most: usize::MAX,
            lingers: Duration::ZERO,
            taken: 0,
        }
    }
}

/// Digest algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// MD5, without `algorithm=`.
    Md5,
    /// `algorithm=SHA-256`.
    Sha256,
    /// `algorithm=SHA-512-256`.
    Sha512_256,
}

/// One challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// Basic.
    Basic,
    /// Digest.
    Digest {
        /// The algorithm.
        algorithm: Algorithm,
        /// Set if `qop="auth"` is demanded.
        qop: bool,
        /// Set if a correct response is accepted.
        taken: bool,
    },
}

impl Challenge {
    /// Returns a challenge whose right response is taken.
    pub const fn digest(algorithm: Algorithm, qop: bool) -> Self {
        Self::Digest {
            algorithm,
            qop,
            taken: true,
        }
    }
}

/// Authentication, of the user `cam` with the password `secret`.
#[derive(Debug, Clone, Copy)]
pub struct Access {
    /// Tracks that are offered.
    pub challenges: &'static [Challenge],
    /// Puts all of them into one header.
    pub in_one_header: bool,
    /// Number of requests after which the nonce changes, without `stale=true`.
    pub nonce_lasts: Option<u32>,
}

/// Contents of `Content-Base`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Base {
    /// The request's URL and a slash.
    #[default]
    Proper,
    /// It is missing.
    Missing,
    /// This text.
    Text(&'static str),
}

/// A change of the session description.
#[derive(Debug, Clone, Copy)]
pub enum Edit {
    /// Replaces a text by another wherever it occurs. `{base}` in the new one is the camera's URL.
    Replace(&'static str, &'static str),
    /// Removes the lines that begin so.
    Remove(&'static str),
    /// Adds this text at the end.
    Append(&'static str),
    /// Removes the line break at the end.
    NoEnd,
}

/// The session description.
#[derive(Debug, Clone, Copy, Default)]
pub struct Description {
    /// Path and query of the camera's URL; `None`: `/cam`.
    pub path: Option<&'static str>,
    /// `Content-Base`.
    pub base: Base,
    /// Leaves out `Content-Type`.
    pub no_type: bool,
    /// Changes of the text.
    pub edits: &'static [Edit],
    /// Paths that SETUP has to name, by stream; `None`: the camera's path and `/track1`, `/track2`, ….
    pub tracks: Option<&'static [&'static str]>,
    /// Announcement of parameter sets.
    pub sets: DescribedSets,
}

/// Parameter sets in the description.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DescribedSets {
    /// The true ones.
    #[default]
    Proper,
    /// None.
    Missing,
    /// With start codes, in one value.
    AnnexB,
    /// Bytes that are no parameter sets.
    Garbage,
}

/// Channels in the response to SETUP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Channels {
    /// Those asked for.
    #[default]
    AsAsked,
    /// Four higher.
    Higher,
    /// The first one without the second.
    Lone,
    /// None.
    Missing,
    /// As asked for, but the transport is called `RTP/AVP`.
    PlainName,
}

/// Ports in the response to SETUP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ports {
    /// The true ones.
    #[default]
    Proper,
    /// None.
    Missing,
    /// `server_port=0-0`.
    Zero,
    /// The true ones, but media leaves from another port.
    Other,
    /// The true ones, but no datagram ever arrives.
    Blocked,
}

/// `RTP-Info` in the response to PLAY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RtpInfo {
    /// Right numbers.
    #[default]
    Proper,
    /// `seq=0;rtptime=0`, which is wrong.
    Zero,
    /// Unreadable.
    Junk,
    /// Missing.
    Missing,
}

/// Data sent before the response to PLAY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Early {
    /// Nothing.
    #[default]
    Nothing,
    /// Sender reports.
    Reports,
    /// Media.
    Media,
}

/// SETUP and PLAY.
#[derive(Debug, Clone, Copy, Default)]
pub struct Transport {
    /// Status of SETUP over TCP, if it is refused.
    pub refuses_tcp: Option<u16>,
    /// Status of SETUP over UDP, if it is refused.
    pub refuses_udp: Option<u16>,
    /// Channels over TCP.
    pub channels: Channels,
    /// Ports over UDP.
    pub ports: Ports,
    /// `RTP-Info`.
    pub rtp_info: RtpInfo,
    /// Data sent before the response to PLAY.
    pub early: Early,
    /// Writes the SSRC of a stream with blanks.
    pub blank_ssrc: bool,
}

/// The video that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Video {
    /// None.
    None,
    /// H.264, 25 frames a second, a keyframe each 15.
    #[default]
    H264,
    /// H.264 with B-frames.
    H264BFrames,
    /// H.264 whose parameter sets and size change each 2 s.
    H264Changing,
    /// H.265.
    H265,
    /// Motion JPEG.
    Jpeg,
}

/// How AAC is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Aac {
    /// RFC 3640, 13 and 3 bits, one unit a packet.
    #[default]
    Proper,
    /// RFC 3640 with an ADTS header in front of each unit.
    AdtsInside,
    /// ADTS frames instead of RFC 3640.
    AdtsOnly,
    /// 6 and 2 bits (AAC-lbr).
    Low,
    /// Three units a packet.
    Several,
    /// Units cut in two.
    Fragments,
    /// LATM (RFC 6416).
    Latm,
}

/// The audio that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Audio {
    /// None.
    #[default]
    None,
    /// G.711 µ-law at this rate.
    Pcmu(u32),
    /// G.711 A-law at 8 kHz.
    Pcma,
    /// 16-bit samples at 16 kHz; the low byte first if set.
    L16 {
        /// Low byte first, though the description does not say so.
        little_endian: bool,
    },
    /// Opus.
    Opus,
    /// AAC-LC at 16 kHz, mono.
    Aac(Aac),
    /// G.726, which nobody plays.
    G726,
}

/// Data that is sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Media {
    /// Video.
    pub video: Video,
    /// Audio.
    pub audio: Audio,
    /// Bytes that nobody needs (SEI), in front of each picture.
    pub padding: usize,
}

/// Where parameter sets stand among packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sets {
    /// Before each keyframe.
    #[default]
    Each,
    /// Before the first keyframe only.
    Once,
    /// Nowhere; they are in the description.
    Never,
}

/// Marker bits of video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Markers {
    /// On the last packet of a picture.
    #[default]
    Proper,
    /// On parameter sets and SEI, too.
    OnSets,
    /// Nowhere.
    Never,
}

/// Fragments of NAL units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fragments {
    /// As RFC 6184 and RFC 7798 say.
    #[default]
    Proper,
    /// The type in fragments behind the first one is another.
    TypeChanges,
    /// One fragment that is both start and end.
    StartAndEnd,
    /// The reserved bit is set.
    Reserved,
    /// Empty fragments stand between the others.
    Empty,
    /// The start of every tenth picture is missing.
    NoStart,
}

/// Start codes inside of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartCodes {
    /// None.
    #[default]
    None,
    /// Keyframes are one NAL unit that has all of its NAL units, with start codes between them.
    Inside,
}

/// How packets are made.
#[derive(Debug, Clone, Copy)]
pub struct Packing {
    /// Maximum size of a payload, in bytes.
    pub mtu: usize,
    /// Parameter sets.
    pub sets: Sets,
    /// Marker bits.
    pub markers: Markers,
    /// Fragments.
    pub fragments: Fragments,
    /// Start codes.
    pub start_codes: StartCodes,
    /// Parameter sets go into one aggregation packet.
    pub aggregate: bool,
}

impl Default for Packing {
    fn default() -> Self {
        Self {
            mtu: 1_200,
            sets: Sets::default(),
            markers: Markers::default(),
            fragments: Fragments::default(),
            start_codes: StartCodes::default(),
            aggregate: false,
        }
    }
}

/// Timestamps of video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Timestamps {
    /// 90 kHz.
    #[default]
    Proper,
    /// Each one twice.
    Equal,
    /// Every tenth is a second in the past.
    Backwards,
    /// After two seconds an hour is missing.
    Jump,
    /// They wrap around after one second.
    Wrap,
    /// They run at 8 kHz.
    Slow,
}

/// Sender reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reports {
    /// One a second, with the true time.
    #[default]
    Proper,
    /// None.
    Absent,
    /// With the time since the camera was started, in 1970.
    Of1970,
    /// With an SSRC that sends nothing.
    UnknownSsrc,
}

/// The clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    /// Timestamps.
    pub timestamps: Timestamps,
    /// Sender reports.
    pub reports: Reports,
}

/// Faults of the stream of packets.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Drops each packet of this number.
    pub drops_each: Option<u64>,
    /// Puts bytes without a meaning before each picture of this number.
    pub garbage_each: Option<u64>,
    /// Sends packets on a channel that nobody has set up.
    pub foreign: bool,
    /// Packets on a foreign channel begin as soon as the connection stands, as those of an earlier session do.
    pub stale: bool,
    /// Sends nothing more after this many pictures, and keeps the connection.
    pub silent_after: Option<u64>,
    /// Never ends a picture: no marker, no other timestamp.
    pub endless: bool,
    /// Closes the connection after this many pictures.
    pub closes_after: Option<u64>,
}

/// Two-way audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Talk {
    /// Unknown: `Require` is ignored.
    #[default]
    Unknown,
    /// `Require` is answered with 551.
    Refused,
    /// Offered, one at a time: 453 for a second one.
    Offered,
}
