//! Session descriptions, and their faults.

use std::fmt::Write as _;

use super::behaviour::{Aac, Audio, Behaviour, DescribedSets, Edit, Talk, Video};
use super::film::{Film, RATE, kind};

/// One m-line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Video,
    Audio,
    /// Audio for the camera to play.
    Talk,
}

impl Stream {
    pub fn payload_type(self, behaviour: &Behaviour) -> u8 {
        match self {
            Self::Video if behaviour.media.video == Video::Jpeg => 26,
            Self::Video => 96,
            Self::Talk => 0,
            Self::Audio => match behaviour.media.audio {
                Audio::Pcmu(8_000) => 0,
                Audio::Pcma => 8,
                _ => 97,
            },
        }
    }
}

/// Returns the streams that a client is shown.
pub fn streams(behaviour: &Behaviour, wants_talk: bool) -> Vec<Stream> {
    let mut streams = Vec::new();
    if behaviour.media.video != Video::None {
        streams.push(Stream::Video);
    }
    if behaviour.media.audio != Audio::None {
        streams.push(Stream::Audio);
    }
    if wants_talk && behaviour.talk == Talk::Offered {
        streams.push(Stream::Talk);
    }
    streams
}

/// Writes the session description. `base` is the camera's URL.
pub fn write(behaviour: &Behaviour, film: &Film, streams: &[Stream], base: &str) -> String {
    let mut text = String::from(
        "v=0\r\no=- 1188340656180883 1 IN IP4 127.0.0.1\r\ns=Session streamed by a camera\r\ni=live\r\n\
         t=0 0\r\na=tool:a camera\r\na=type:broadcast\r\na=control:*\r\na=range:npt=now-\r\n",
    );
    for (at, stream) in streams.iter().enumerate() {
        let payload_type = stream.payload_type(behaviour);
        let media = match stream {
            Stream::Video => "video",
            Stream::Audio | Stream::Talk => "audio",
        };
        let _ = write!(
            text,
            "m={media} 0 RTP/AVP {payload_type}\r\nc=IN IP4 0.0.0.0\r\n"
        );
        let format = match stream {
            Stream::Video => video(behaviour, film),
            Stream::Audio => audio(behaviour.media.audio),
            Stream::Talk => "a=rtpmap:0 PCMU/8000\r\na=sendonly\r\n".to_owned(),
        };
        text.push_str(&format);
        let _ = write!(text, "a=control:track{}\r\n", at + 1);
    }
    for edit in behaviour.description.edits {
        match edit {
            Edit::Replace(from, to) => text = text.replace(from, &to.replace("{base}", base)),
            Edit::Append(more) => text.push_str(more),
            Edit::NoEnd => text.truncate(text.trim_end().len()),
            Edit::Remove(start) => {
                let lines = text.split_inclusive("\r\n");
                text = lines.filter(|line| !line.starts_with(start)).collect();
            }
        }
    }
    text
}

fn video(behaviour: &Behaviour, film: &Film) -> String {
    let rate = format!("a=framerate:{RATE}\r\n");
    let sets = film.sets();
    let sets: Vec<Vec<u8>> = match behaviour.description.sets {
        DescribedSets::Proper => sets.into_iter().map(<[u8]>::to_vec).collect(),
        DescribedSets::Missing => Vec::new(),
        DescribedSets::AnnexB => {
            let with_codes = sets.iter().flat_map(|set| [&[0, 0, 0, 1], *set]);
            vec![with_codes.collect::<Vec<_>>().concat()]
        }
        DescribedSets::Garbage => vec![vec![0x67, 0x42], vec![0xff, 0xff, 0xff]],
    };
    let in_base64 = |set: &Vec<u8>| base64(set);
    match behaviour.media.video {
        Video::None | Video::Jpeg => rate,
        Video::H265 => {
            let named = |nal: u8, name: &str| {
                let set = sets.iter().find(|set| kind(set, true) == nal);
                set.map(|set| format!(";{name}={}", base64(set)))
            };
            let named =
                [(32, "sprop-vps"), (33, "sprop-sps"), (34, "sprop-pps")].map(|(n, s)| named(n, s));
            let named: String = named.into_iter().flatten().collect();
            format!("a=rtpmap:96 H265/90000\r\na=fmtp:96 level-id=93{named}\r\n{rate}")
        }
        _ => {
            let sets: Vec<_> = sets.iter().map(in_base64).collect();
            let sets = match sets.is_empty() {
                true => String::new(),
                false => format!(";sprop-parameter-sets={}", sets.join(",")),
            };
            format!("a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1{sets}\r\n{rate}")
        }
    }
}

fn audio(audio: Audio) -> String {
    match audio {
        Audio::None => String::new(),
        Audio::Pcmu(8_000) => "a=rtpmap:0 PCMU/8000\r\n".to_owned(),
        Audio::Pcmu(rate) => format!("a=rtpmap:97 PCMU/{rate}\r\n"),
        Audio::Pcma => "a=rtpmap:8 PCMA/8000\r\n".to_owned(),
        Audio::L16 { .. } => "a=rtpmap:97 L16/16000\r\n".to_owned(),
        Audio::Opus => "a=rtpmap:97 opus/48000/2\r\n".to_owned(),
        Audio::G726 => "a=rtpmap:97 G726-32/8000\r\n".to_owned(),
        // StreamMuxConfig: AAC-LC, 16 kHz, one channel.
        Audio::Aac(Aac::Latm) => "a=rtpmap:97 MP4A-LATM/16000\r\n\
             a=fmtp:97 profile-level-id=15;object=2;cpresent=0;config=400028103fc0\r\n"
            .to_owned(),
        Audio::Aac(form) => {
            let (mode, sizes) = match form {
                Aac::Low => ("AAC-lbr", "sizelength=6;indexlength=2;indexdeltalength=2"),
                _ => ("AAC-hbr", "sizelength=13;indexlength=3;indexdeltalength=3"),
            };
            format!(
                "a=rtpmap:97 MPEG4-GENERIC/16000/1\r\n\
                 a=fmtp:97 streamtype=5;profile-level-id=15;mode={mode};{sizes};config=1408\r\n"
            )
        }
    }
}

/// Base64 with padding (RFC 4648 §4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let at = |n: usize| u32::from(chunk.get(n).copied().unwrap_or_default());
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for n in 0..4 {
            let digit = (bits >> (18 - 6 * n) & 63) as usize;
            text.push(if n <= chunk.len() {
                char::from(ALPHABET[digit])
            } else {
                '='
            });
        }
    }
    text
}
