//! Forwards a browser page's camera and microphone as plain RTP, for ffplay, VLC, or a program of your own.
//!
//!     cargo run --example rtp_forwarder -- --to 127.0.0.1:5004     # then open http://localhost:8080
//!     ffplay -protocol_whitelist file,udp,rtp -i rtp_forwarder.sdp
//!
//! Video goes to the given port, audio to the second port after it, and sender reports to the ports in between, as
//! players expect. Packets go nowhere else. A player that opens the file later shows nothing before the next keyframe,
//! so the page's camera is asked for one every few seconds.

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use callers::Callers;
use looprtc::driver::{EventLoop, LoopConfig, PeerId, UdpConfig, UdpId};
use looprtc::proto::peer::{
    Codec, Codecs, KeyframeRequestKind, MediaKind, MediaMode, PeerConfig, PeerEvent,
    ReceivedPacket, TransceiverId,
};
use looprtc::proto::rtp::{
    H264ParameterSets, Packet, RtpSender, RtpSenderConfig, SdpFile, StreamDescription,
};

#[path = "support/callers.rs"]
mod callers;

const HELP: &str = "\
rtp_forwarder: forward what a browser page sends as plain RTP

  --to IP:PORT      where video goes; sound goes to PORT + 2
  --codec CODEC     of the video: vp8, h264, vp9 … [vp8]
  --sdp FILE        written for the player [rtp_forwarder.sdp]
  --http HOST:PORT  where the page is served [localhost:8080]";

/// Interval of keyframe requests.
const KEYFRAMES: Duration = Duration::from_secs(3);

/// The forwarded streams and their destination.
struct Forwarder {
    socket: UdpId,
    streams: Vec<(StreamDescription, RtpSender)>,
    /// SDP file for the player.
    file: String,
    parameter_sets: H264ParameterSets,
    /// The page that is forwarded, and its video.
    on_air: Option<(PeerId, TransceiverId)>,
}

impl Forwarder {
    fn new(net: &mut EventLoop, options: &Options) -> Result<Self, Box<dyn Error>> {
        let (to, mut audio) = (options.to, options.to);
        audio.set_port(to.port().checked_add(2).ok_or("--to: too high a port")?);
        let streams = [(options.codec, 96, to), (Codec::Opus, 97, audio)];
        let streams = streams.map(|(codec, payload_type, to)| {
            let stream = StreamDescription::new(codec, payload_type, to);
            let sender = RtpSender::new(RtpSenderConfig::for_stream(&stream));
            (stream, sender)
        });
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let forwarder = Self {
            socket: net.add_udp(UdpConfig::new(any.parse()?).send_only(true))?,
            streams: streams.into(),
            file: options.sdp.clone(),
            parameter_sets: H264ParameterSets::default(),
            on_air: None,
        };
        forwarder.write_file()?;
        Ok(forwarder)
    }

    fn write_file(&self) -> Result<(), Box<dyn Error>> {
        let streams = self.streams.iter().map(|(stream, _)| stream.clone());
        let text = SdpFile::new("looprtc", streams.collect()).to_text();
        std::fs::write(&self.file, text).map_err(|e| format!("{}: {e}", self.file))?;
        println!("Described in {}", self.file);
        Ok(())
    }

    fn send(&mut self, net: &mut EventLoop, packet: &ReceivedPacket) -> Result<(), Box<dyn Error>> {
        let mut streams = self.streams.iter_mut();
        let Some((stream, sender)) = streams.find(|(s, _)| s.codec == packet.codec) else {
            return Ok(());
        };
        let datagram = sender.write(&Packet::from(packet), packet.received)?;
        net.send_datagram(self.socket, stream.address, datagram)?;
        // Players need sender reports to synchronize audio and video.
        if let Some(report) = sender.report(Instant::now(), SystemTime::now()) {
            net.send_datagram(self.socket, stream.rtcp_address(), report)?;
        }
        // A player that has the parameter sets need not wait for them in the stream.
        let sets = &mut self.parameter_sets;
        if packet.codec == Codec::H264 && sets.observe(&packet.payload) && sets.is_complete() {
            stream.set_parameter_sets(sets);
            self.write_file()?;
        }
        Ok(())
    }

    /// Handles a page that starts to send video: it is forwarded from now on.
    fn switch(&mut self, net: &mut EventLoop, id: PeerId, video: TransceiverId) {
        if let Some((before, _)) = self.on_air.replace((id, video))
            && let Ok(mut peer) = net.peer(before)
        {
            peer.close();
        }
        self.ask_for_keyframe(net);
    }

    fn ask_for_keyframe(&self, net: &mut EventLoop) {
        if let Some((id, video)) = self.on_air
            && let Ok(mut peer) = net.peer(id)
        {
            // Refused before the first packet, which belongs to a keyframe anyway.
            let _ = peer.request_keyframe(video, None, KeyframeRequestKind::Pli);
        }
    }
}

fn main() -> ExitCode {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("warn"));
    match Options::from_args().and_then(|options| options.map_or(Ok(()), run)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let mut net = EventLoop::new(LoopConfig::default())?;
    let mut forwarder = Forwarder::new(&mut net, &options)?;
    let page = include_str!("pages/rtp_forwarder.html");
    let mut callers = Callers::serve(&mut net, &options.http, page)?;
    // Packets are forwarded unchanged, so only these codecs are negotiated.
    let codecs = Codecs::only([options.codec, Codec::Opus]);
    let config = PeerConfig::default().include_loopback(true);
    let config = config.media_mode(MediaMode::Packets).codecs(codecs);
    let mut tick = Instant::now() + KEYFRAMES;
    loop {
        let wait = tick.saturating_duration_since(Instant::now());
        if let Some((id, event)) = net.next_event(callers.wait(Some(wait)))? {
            callers.handle_event(&mut net, id, &event);
            match event {
                PeerEvent::Track(track) if track.kind == MediaKind::Video => {
                    forwarder.switch(&mut net, id, track.transceiver);
                }
                PeerEvent::Packet(packet) if forwarder.on_air.is_some_and(|(on, _)| on == id) => {
                    forwarder.send(&mut net, &packet)?;
                }
                _ => {}
            }
        }
        if Instant::now() >= tick {
            tick = Instant::now() + KEYFRAMES;
            forwarder.ask_for_keyframe(&mut net);
        }
        callers.answer(&mut net, &config, |_, _| Ok(()));
    }
}

struct Options {
    to: SocketAddr,
    codec: Codec,
    sdp: String,
    http: String,
}

impl Options {
    fn from_args() -> Result<Option<Self>, Box<dyn Error>> {
        use lexopt::prelude::*;
        let (mut to, mut codec) = (None, Codec::Vp8);
        let (mut sdp, mut http) = ("rtp_forwarder.sdp".into(), "localhost:8080".into());
        let mut parser = lexopt::Parser::from_env();
        while let Some(arg) = parser.next()? {
            match arg {
                Long("to") => to = Some(parser.value()?.parse()?),
                Long("codec") => {
                    let name = parser.value()?.string()?;
                    let named = Codec::named(&name).filter(|c| c.is_video());
                    codec = named.ok_or_else(|| format!("--codec: no video in {name}"))?;
                }
                Long("sdp") => sdp = parser.value()?.string()?,
                Long("http") => http = parser.value()?.string()?,
                Long("help") | Short('h') => {
                    println!("{HELP}");
                    return Ok(None);
                }
                other => return Err(other.unexpected().into()),
            }
        }
        let to = to.ok_or_else(|| format!("--to must say where\n\n{HELP}"))?;
        #[rustfmt::skip]
        let options = Self { to, codec, sdp, http };
        Ok(Some(options))
    }
}
