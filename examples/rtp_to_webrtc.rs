//! Shows what ffmpeg, GStreamer or a camera sends as plain RTP to every browser page that asks.
//!
//!     cargo run --example rtp_to_webrtc -- --stream vp8@5004 --stream opus@5006
//!     ffmpeg -re -i film.mp4 \
//!         -an -c:v libvpx -deadline realtime -g 30 -f rtp 'rtp://127.0.0.1:5004?pkt_size=1200' \
//!         -vn -c:a libopus -f rtp rtp://127.0.0.1:5006
//!
//! The sender can be stopped and started again, or replaced by another; the pages see it go on. With
//! `-rtpflags send_bye` ffmpeg says when it ends, otherwise it is missed after half a second. A page that comes
//! later sees nothing before the next keyframe, and a sender of plain RTP cannot be asked for one: hence
//! `-g 30`, one every 30 frames. Packets are passed on as they are, so they must be small enough for the way to
//! the pages: hence `pkt_size`.

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

/// One stream: where it comes to, whose packets are taken, and the track that all pages have.
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
        // The second is for the sender's reports, and its goodbye, which lets the next one in at once.
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

    /// Takes a datagram, and gives the packets that come of it to all pages.
    fn pass_on(&mut self, net: &mut EventLoop, datagram: &Datagram) {
        let codec = self.stream.codec;
        let (from, contents) = (datagram.source, &datagram.contents);
        // Not taken: junk, or another sender while the first one is alive. It has been counted.
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
    let mut callers = Callers::serve(&net, &options.http, page)?;
    let config = PeerConfig::default().media_mode(MediaMode::Packets);
    let config = config.include_loopback(true);
    loop {
        // It returns `None` when datagrams have come, or a page calls.
        if let Some((id, event)) = net.next_event(None)? {
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
    /// What comes where, and whose packets of it are taken.
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
                    // Nothing else comes to that port, whatever payload type it has.
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
