//! Two-way talk: a microphone's audio to a camera's loudspeaker (ONVIF Streaming Specification §5.3).

use std::time::{Duration, Instant};

use super::{Described, Input, Output, Quirks, RtspClient, RtspClientConfig, RtspError, RtspEvent};
use crate::proto::media::Codec;
use crate::proto::media::transcode::{AudioFormat, AudioTranscoder};
use crate::proto::random::Random;
use crate::proto::rtp::{MediaFormat, Packet};

/// RTP clock rate of G.711 and, by an old mistake, of G.722 (RFC 3551 §4.5.2), in Hz.
const CLOCK_RATE: u64 = 8_000;

/// Output of a [`Talk`].
#[derive(Debug, PartialEq)]
#[non_exhaustive]
pub enum TalkOutput {
    /// For the sockets, as of an [`RtspClient`]. Never [`Output::Event`] or [`Output::Timeout`].
    Wire(Output),
    /// The camera listens: audio is sent from now on.
    Ready,
    /// The session is over. `None` if the application asked for it. Nothing follows.
    Ended(Option<RtspError>),
    /// Nothing more until the next input, at the latest at this time.
    Timeout(Option<Instant>),
}

/// A session with a camera for its loudspeaker alone, beside the one for its picture: some cameras are disturbed by the request
/// for two-way audio, so it is made only while somebody talks.
///
/// Takes G.711 as browsers' microphones send it, and sends G.711 or G.722 in packets of 20 ms, whichever the camera plays.
#[derive(Debug)]
pub struct Talk {
    client: RtspClient,
    described: Option<Described>,
    random: Random,
    voice: Option<Voice>,
    /// Why the session is ended from here.
    fault: Option<RtspError>,
    unsent: u64,
}

impl Talk {
    /// Creates a session. Of the configuration, `video`, `audio` and `backchannel` are set here.
    pub fn new(config: RtspClientConfig) -> Self {
        let seed = config.seed;
        let config = config.video(false).audio(false).backchannel(true);
        Self {
            client: RtspClient::new(config),
            described: None,
            random: Random::new(seed),
            voice: None,
            fault: None,
            unsent: 0,
        }
    }

    /// Handles an input of the sockets. Take the outputs afterwards.
    pub fn handle_input(&mut self, input: Input<'_>, now: Instant) {
        self.client.handle_input(input, now);
    }

    /// Returns the next output. [`TalkOutput::Timeout`] means that there are no more until the next input.
    pub fn poll_output(&mut self, now: Instant) -> TalkOutput {
        loop {
            match self.client.poll_output() {
                Output::Timeout(at) => return TalkOutput::Timeout(at),
                Output::Event(RtspEvent::Described(described)) => self.described = Some(*described),
                Output::Event(RtspEvent::Playing {
                    backchannel: Some(stream),
                    ..
                }) => match self.choose(stream) {
                    Some(voice) => {
                        self.voice = Some(voice);
                        return TalkOutput::Ready;
                    }
                    None => {
                        self.fault = Some(RtspError::NoBackchannel);
                        self.client.close(now);
                    }
                },
                Output::Event(RtspEvent::Ended(why)) => {
                    self.voice = None;
                    return TalkOutput::Ended(self.fault.take().or(why));
                }
                Output::Event(_) => {}
                output => return TalkOutput::Wire(output),
            }
        }
    }

    /// Sends audio: a packet's G.711 payload ([`Codec::Pcmu`] or [`Codec::Pcma`]) and its RTP timestamp. Take the outputs
    /// afterwards. Returns `false` if it was not sent: the camera does not listen yet, or it is no G.711.
    pub fn speak(&mut self, codec: Codec, timestamp: u32, payload: &[u8]) -> bool {
        let packets = self
            .voice
            .as_mut()
            .and_then(|voice| voice.speak(codec, timestamp, payload));
        let Some(packets) = packets else {
            self.unsent += 1;
            return false;
        };
        packets
            .iter()
            .all(|packet| self.client.send_backchannel(packet))
    }

    /// Ends the session. [`TalkOutput::Ended`] follows.
    pub fn close(&mut self, now: Instant) {
        self.voice = None;
        self.client.close(now);
    }

    /// Returns how often each tolerance was needed.
    pub fn quirks(&self) -> &Quirks {
        self.client.quirks()
    }

    /// Returns the number of the microphone's packets that were not sent.
    pub fn unsent(&self) -> u64 {
        self.unsent
    }

    /// Chooses the best of the formats that the camera plays.
    fn choose(&mut self, stream: usize) -> Option<Voice> {
        let stream = self.described.as_ref()?.streams.get(stream)?;
        let first = (stream.payload_type, &stream.format);
        let others = stream
            .others
            .iter()
            .map(|(payload_type, format)| (*payload_type, format));
        let formats: Vec<(u8, Codec)> = std::iter::once(first)
            .chain(others)
            .filter_map(|(payload_type, format)| Some((payload_type, playable(format)?)))
            .collect();
        // The microphone has 8 kHz, so that G.711 loses nothing; A-law before µ-law changes nothing either.
        let is_g711 = |(_, codec): &&(u8, Codec)| *codec != Codec::G722;
        let (payload_type, codec) = *formats.iter().find(is_g711).or(formats.first())?;
        Some(Voice {
            payload_type,
            codec,
            transcoder: None,
            ssrc: self.random.bits() as u32,
            sequence_number: self.random.bits() as u16,
            base: self.random.bits() as u32,
            ticks: None,
        })
    }
}

fn playable(format: &MediaFormat) -> Option<Codec> {
    format
        .codec()
        .filter(|codec| matches!(codec, Codec::Pcmu | Codec::Pcma | Codec::G722))
}

/// Makes the packets for the camera.
#[derive(Debug)]
struct Voice {
    payload_type: u8,
    codec: Codec,
    /// Made for the microphone's codec with its first packet.
    transcoder: Option<(Codec, AudioTranscoder)>,
    ssrc: u32,
    sequence_number: u16,
    base: u32,
    /// The microphone's timestamps without wraps: the latest one, and its 64 bits.
    ticks: Option<(u32, u64)>,
}

impl Voice {
    fn speak(&mut self, codec: Codec, timestamp: u32, payload: &[u8]) -> Option<Vec<Vec<u8>>> {
        let time = self.time(timestamp);
        let frames = self.transcoder(codec)?.push(payload, time).ok()?;
        let packets = frames.into_iter().filter_map(|frame| {
            let ticks = crate::proto::media::ticks(frame.time, CLOCK_RATE as u32);
            let timestamp = self.base.wrapping_add(ticks as u32);
            let number = self.sequence_number;
            self.sequence_number = number.wrapping_add(1);
            let packet = Packet {
                // The first one after a pause (RFC 3551 §4.1).
                marker: frame.discontinuity,
                ..Packet::new(self.payload_type, number, timestamp, self.ssrc, &frame.data)
            };
            packet.to_bytes().ok()
        });
        Some(packets.collect())
    }

    fn transcoder(&mut self, codec: Codec) -> Option<&mut AudioTranscoder> {
        if self.transcoder.as_ref().is_none_or(|(of, _)| *of != codec) {
            let (clock_rate, channels) = (CLOCK_RATE as u32, 1);
            let format = match codec {
                Codec::Pcmu => AudioFormat::Pcmu {
                    clock_rate,
                    channels,
                },
                Codec::Pcma => AudioFormat::Pcma {
                    clock_rate,
                    channels,
                },
                _ => return None,
            };
            self.transcoder = Some((codec, AudioTranscoder::new(&format, self.codec).ok()?));
        }
        self.transcoder.as_mut().map(|(_, transcoder)| transcoder)
    }

    /// Returns the time of a timestamp, from the first packet on. Packets may overtake each other.
    fn time(&mut self, timestamp: u32) -> Duration {
        let (latest, ticks) = *self.ticks.get_or_insert((timestamp, 0));
        let step = timestamp.wrapping_sub(latest) as i32;
        let now = ticks.saturating_add_signed(step.into());
        if step > 0 {
            self.ticks = Some((timestamp, now));
        }
        Duration::from_micros(now.saturating_mul(1_000_000 / CLOCK_RATE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::rtsp::RtspUrl;

    /// A camera that plays these formats; what comes interleaved is collected.
    struct Camera {
        talk: Talk,
        now: Instant,
        said: Vec<TalkOutput>,
        asked: Vec<String>,
        packets: Vec<Vec<u8>>,
        formats: &'static str,
    }

    impl Camera {
        fn new(formats: &'static str) -> Self {
            let url = RtspUrl::parse("rtsp://192.0.2.1/cam").unwrap();
            let mut camera = Self {
                talk: Talk::new(RtspClientConfig::new(url)),
                now: Instant::now(),
                said: Vec::new(),
                asked: Vec::new(),
                packets: Vec::new(),
                formats,
            };
            camera.run();
            camera
        }

        fn run(&mut self) {
            loop {
                match self.talk.poll_output(self.now) {
                    TalkOutput::Wire(Output::Connect { .. }) => {
                        let (local, remote) = (
                            "192.0.2.9:9".parse().unwrap(),
                            "192.0.2.1:554".parse().unwrap(),
                        );
                        self.talk
                            .handle_input(Input::Connected { local, remote }, self.now);
                    }
                    TalkOutput::Wire(Output::Send(bytes)) => self.answer(&bytes),
                    TalkOutput::Wire(_) => {}
                    TalkOutput::Timeout(_) => return,
                    said => self.said.push(said),
                }
            }
        }

        fn answer(&mut self, bytes: &[u8]) {
            if let [b'$', _, _, _, packet @ ..] = bytes {
                self.packets.push(packet.to_vec());
                return;
            }
            let request = String::from_utf8(bytes.to_vec()).unwrap();
            let method = request.split(' ').next().unwrap().to_owned();
            let cseq = request.lines().find(|l| l.starts_with("CSeq")).unwrap();
            let (fields, body) = match method.as_str() {
                "OPTIONS" => (
                    "Public: DESCRIBE, SETUP, PLAY, TEARDOWN\r\n".to_owned(),
                    String::new(),
                ),
                "DESCRIBE" => {
                    let is_asked = request.contains("Require: www.onvif.org/ver20/backchannel");
                    let back = if is_asked { self.formats } else { "" };
                    let sdp = format!(
                        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
                         a=control:v\r\na=recvonly\r\n{back}"
                    );
                    let head = format!(
                        "Content-Type: application/sdp\r\nContent-Length: {}\r\n",
                        sdp.len()
                    );
                    (head, sdp)
                }
                "SETUP" => (
                    "Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n".into(),
                    String::new(),
                ),
                _ => ("Session: 1\r\n".into(), String::new()),
            };
            self.asked
                .push(format!("{method} {}", request.split(' ').nth(1).unwrap()));
            let response = format!("RTSP/1.0 200 OK\r\n{cseq}\r\n{fields}\r\n{body}");
            self.talk
                .handle_input(Input::Received(response.as_bytes()), self.now);
        }
    }

    const PCMU: &str = "m=audio 0 RTP/AVP 0\r\na=control:back\r\na=sendonly\r\n";
    const PCMA_OR_AAC: &str = "m=audio 0 RTP/AVP 97 8\r\na=rtpmap:97 mpeg4-generic/16000\r\na=fmtp:97 config=1408;mode=AAC-hbr\r\n\
                               a=rtpmap:8 PCMA/8000\r\na=control:back\r\na=sendonly\r\n";
    const G722: &str =
        "m=audio 0 RTP/AVP 9\r\na=rtpmap:9 G722/8000\r\na=control:back\r\na=sendonly\r\n";
    const AAC: &str = "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 mpeg4-generic/16000\r\na=fmtp:97 config=1408;mode=AAC-hbr\r\n\
                       a=control:back\r\na=sendonly\r\n";

    #[test]
    fn a_microphone_is_heard() {
        let mut camera = Camera::new(PCMU);
        assert_eq!(camera.said, [TalkOutput::Ready]);
        let setups: Vec<_> = camera
            .asked
            .iter()
            .filter(|asked| asked.starts_with("SETUP"))
            .collect();
        assert!(
            setups.len() == 1 && setups[0].ends_with("/back"),
            "{setups:?}"
        );
        // 30 ms at a time, over a wrap of the timestamps; then a pause of a second.
        let first = u32::MAX - 500;
        for n in 0..10u32 {
            let pause = if n < 6 { 0 } else { 8_000 };
            let timestamp = first.wrapping_add(240 * n + pause);
            assert!(
                camera
                    .talk
                    .speak(Codec::Pcmu, timestamp, &[n as u8 + 1; 240])
            );
            camera.run();
        }
        let packets: Vec<Packet<'_>> = camera
            .packets
            .iter()
            .map(|p| Packet::parse(p).unwrap())
            .collect();
        assert_eq!(packets.len(), 15);
        for (n, pair) in packets.windows(2).enumerate() {
            let gap = if n == 8 { 8_000 + 160 } else { 160 };
            assert_eq!(
                pair[1].timestamp.wrapping_sub(pair[0].timestamp),
                gap,
                "{n}"
            );
            assert_eq!(
                pair[1].sequence_number,
                pair[0].sequence_number.wrapping_add(1)
            );
            assert_eq!((pair[1].ssrc, pair[1].payload_type), (pair[0].ssrc, 0));
        }
        let marked: Vec<usize> = (0..15).filter(|n| packets[*n].marker).collect();
        assert_eq!(marked, [0, 9]);
        // The same law comes out as it went in.
        assert_eq!(packets[0].payload, [1; 160]);
        assert_eq!(packets[1].payload[..80], [1; 80]);
        assert_eq!(packets[1].payload[80..], [2; 80]);
    }

    #[test]
    fn the_law_is_the_cameras() {
        let mut camera = Camera::new(PCMA_OR_AAC);
        assert_eq!(camera.said, [TalkOutput::Ready]);
        // Silence in µ-law, and in A-law.
        assert!(camera.talk.speak(Codec::Pcmu, 0, &[0xFF; 160]));
        assert!(camera.talk.speak(Codec::Pcma, 160, &[0xD5; 160]));
        assert!(!camera.talk.speak(Codec::Opus, 320, &[0; 160]));
        camera.run();
        let packets: Vec<Packet<'_>> = camera
            .packets
            .iter()
            .map(|p| Packet::parse(p).unwrap())
            .collect();
        assert_eq!(packets.len(), 2);
        assert!(
            packets
                .iter()
                .all(|p| p.payload_type == 8 && p.payload == [0xD5; 160])
        );
        assert_eq!(camera.talk.unsent(), 1);

        let mut camera = Camera::new(G722);
        for n in 0..4 {
            assert!(camera.talk.speak(Codec::Pcmu, 160 * n, &[0xFF; 160]));
        }
        camera.run();
        // One frame is held back by the filter.
        assert_eq!(camera.packets.len(), 3);
        assert_eq!(
            Packet::parse(&camera.packets[1]).unwrap().payload.len(),
            160
        );
    }

    #[test]
    fn cameras_without_a_loudspeaker_are_told_apart() {
        for formats in ["", AAC] {
            let mut camera = Camera::new(formats);
            assert!(!camera.talk.speak(Codec::Pcmu, 0, &[0; 160]));
            camera.run();
            assert_eq!(
                camera.said,
                [TalkOutput::Ended(Some(RtspError::NoBackchannel))],
                "{formats}"
            );
        }
    }

    #[test]
    fn who_stops_talking_says_so() {
        let mut camera = Camera::new(PCMU);
        let now = camera.now;
        camera.talk.close(now);
        camera.run();
        assert!(
            camera.asked.last().unwrap().starts_with("TEARDOWN"),
            "{:?}",
            camera.asked
        );
        assert_eq!(camera.said, [TalkOutput::Ready, TalkOutput::Ended(None)]);
        assert!(!camera.talk.speak(Codec::Pcmu, 0, &[0; 160]));
    }
}
