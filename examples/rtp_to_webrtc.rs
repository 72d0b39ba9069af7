//! Plays plain RTP from ffmpeg, GStreamer or a camera to every browser page that connects.
//!
//!     cargo run --example rtp_to_webrtc -- --stream vp8@5004 --stream opus@5006
//!     ffmpeg -re -i film.mp4 \
//!         -an -c:v libvpx -deadline realtime -g 30 -f rtp 'rtp://127.0.0.1:5004?pkt_size=1200' \
//!         -vn -c:a libopus -f rtp rtp://127.0.0.1:5006
//!
//! The sender can be restarted, or replaced by another one; the pages continue. With `-rtpflags send_bye` ffmpeg
//! announces its end; otherwise it is detected after half a second. A page that joins later sees nothing before the
//! next keyframe, which cannot be requested from a sender of plain RTP: hence `-g 30`, one every 30 frames. Packets are
//! forwarded unchanged, so they must be small enough for the path to the pages: hence `pkt_size`.

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use callers::Callers;
use looprtc::driver::{Datagram, EventLoop, LocalTrack, LoopConfig, UdpId};
use looprtc::proto::peer::{MediaKind, MediaMode, PeerConfig, TransceiverConfig};
use looprtc::proto::rtp::{RtpSource, RtpSourceConfig, SdpFile, SourceEvent, StreamDescription};

#[path = "support/callers.rs"]
mod callers;

const HELP: &str = "\
rtp_to_webrtc: show plain RTP to browser pages

  --stream CODEC@[IP:]PORT  what comes where, as vp8@5004; on 127.0.0.1 unless said otherwise
  --sdp FILE                the same from an SDP file, as of ffmpeg's -sdp_file
  --from IP                 take packets only from this address
  --http HOST:PORT          where the pages are served [localhost:8080]";

/// A stream: its address, the selection of its sender, and the track for all pages.
struct Input {
    sockets: Vec<UdpId>,
    source: RtpSource,
    track: LocalTrack,
    stream: StreamDescription,
}

impl Input {
    fn open(
        net: &mut EventLoop,
        stream: StreamDescription,
        source: RtpSourceConfig,
    ) -> Result<Self, Box<dyn Error>> {
        // The second socket is for the sender's reports, and its BYE, which lets the next sender take over at once.
        let mut sockets = vec![net.add_udp(stream.address)?];
        if stream.rtcp_port != stream.address.port() {
            sockets.push(net.add_udp(stream.rtcp_address())?);
        }
        println!("Waiting for {} at {}", stream.codec, stream.address);
        let config = TransceiverConfig::default().codecs([stream.codec]);
        Ok(Self {
            sockets,
            source: RtpSource::new(source),
            track: LocalTrack::new(MediaKind::of(stream.codec), config),
            stream,
        })
    }

    /// Handles a datagram, and sends the resulting packets to all pages.
    fn pass_on(&mut self, net: &mut EventLoop, datagram: &Datagram) {
        let codec = self.stream.codec;
        let (from, contents) = (datagram.source, &datagram.contents);
        // Not accepted: invalid, or from another sender while the first one is active. It has been counted.
        let _ = self.source.handle_input(from, contents, Instant::now());
        while let Some(event) = self.source.poll() {
            let packet = match event {
                SourceEvent::Packet(packet) => packet,
                SourceEvent::Ended { ssrc } => {
                    println!("{codec}: SSRC {ssrc:08x} has ended");
                    continue;
                }
                _ => continue,
            };
            if packet.source_changed {
                println!("{codec}: SSRC {:08x} from {from}", packet.ssrc);
            }
            self.track.write_rtp(net, &packet.to_packet());
        }
    }
}

fn main() -> ExitCode {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("warn"));
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let Some(options) = Options::from_args()? else {
        return Ok(());
    };
    let mut net = EventLoop::new(LoopConfig::default())?;
    let streams = options.streams.into_iter();
    let inputs = streams.map(|(stream, source)| Input::open(&mut net, stream, source));
    let mut inputs: Vec<Input> = inputs.collect::<Result<_, _>>()?;
    let page = include_str!("pages/rtp_to_webrtc.html");
    let mut callers = Callers::serve(&mut net, &options.http, page)?;
    let config = PeerConfig::default().media_mode(MediaMode::Packets);
    let config = config.include_loopback(true);
    loop {
        // Returns `None` when datagrams have arrived, or a page has connected.
        if let Some((id, event)) = net.next_event(callers.wait(None))? {
            callers.handle_event(&mut net, id, &event);
            for input in &mut inputs {
                input.track.handle_event(id, &event);
            }
        }
        while let Some(datagram) = net.poll_datagram() {
            let mut inputs = inputs.iter_mut();
            if let Some(input) = inputs.find(|i| i.sockets.contains(&datagram.socket)) {
                input.pass_on(&mut net, &datagram);
            }
        }
        callers.answer(&mut net, &config, |net, id| {
            for input in &mut inputs {
                input.track.add_to(net, id)?;
            }
            Ok(())
        });
    }
}

struct Options {
    /// The streams, and the selection of their senders.
    streams: Vec<(StreamDescription, RtpSourceConfig)>,
    http: String,
}

impl Options {
    fn from_args() -> Result<Option<Self>, Box<dyn Error>> {
        use lexopt::prelude::*;
        let (mut streams, mut from) = (Vec::new(), None);
        let mut http = "localhost:8080".to_owned();
        let mut parser = lexopt::Parser::from_env();
        while let Some(arg) = parser.next()? {
            match arg {
                Long("stream") => {
                    let stream: StreamDescription = parser.value()?.parse()?;
                    // Nothing else arrives at that port, so any payload type is accepted.
                    let source = RtpSourceConfig::for_stream(&stream).payload_types([]);
                    streams.push((stream, source));
                }
                Long("sdp") => {
                    let text = std::fs::read_to_string(parser.value()?)?;
                    for stream in SdpFile::parse(&text)?.streams {
                        let source = RtpSourceConfig::for_stream(&stream);
                        streams.push((stream, source));
                    }
                }
                Long("from") => from = Some(parser.value()?.parse()?),
                Long("http") => http = parser.value()?.string()?,
                Long("help") | Short('h') => {
                    println!("{HELP}");
                    return Ok(None);
                }
                other => return Err(other.unexpected().into()),
            }
        }
        if streams.is_empty() {
            return Err(format!("nothing to show\n\n{HELP}").into());
        }
        for (_, source) in &mut streams {
            source.from = from;
        }
        Ok(Some(Self { streams, http }))
    }
}
