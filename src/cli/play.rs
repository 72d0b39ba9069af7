//! `looprtc play`.

use std::collections::{HashMap, hash_map};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use clap::{Arg, ArgMatches, Command, value_parser};
use looprtc::driver::{EventLoop, PeerId, UdpConfig, UdpId};
use looprtc::proto::media::Codec;
use looprtc::proto::media::recording::Recording;
use looprtc::proto::peer::{
    Codecs, ConnectionState, Direction, KeyframeRequestKind, MediaKind, MediaMode, PeerConfig,
    PeerEvent, ReceivedPacket, TransceiverConfig, TransceiverId,
};
use looprtc::proto::rtp::{
    H264ParameterSets, Packet, RtpSender, RtpSenderConfig, SdpFile, StreamDescription,
};

use super::page::{EXIT, Page};
use super::saved::Saved;
use super::session::{self, Error, Settings, Work};
use super::{Entry, Outcome, flag, list, option, positional, value, values};
use crate::Usage;

pub const ENTRY: Entry = Entry {
    name: "play",
    options,
    page: &Page {
        about: "Receives a stream from a server by WHEP, and writes it to files or forwards it as plain RTP. Nothing is \
                decoded.",
        notes: &[
            "Files: VP8, VP9 and AV1 become NAME.ivf, H.264 and H.265 become NAME.h264 and NAME.h265, Opus becomes \
             NAME.ogg; where a file exists, a number is added. They are playable at any moment, also after Ctrl-C.",
            "RTP: video goes to PORT, audio to PORT + 2, RTCP to the port after each; the SDP file describes the \
             streams to a player.",
            "When the connection is lost, it is retried; the new session is written to new files.",
        ],
        examples: &[
            (
                "looprtc play http://localhost:8080/whep/testcard",
                "to testcard.ivf and testcard.ogg, until Ctrl-C",
            ),
            (
                "looprtc play http://localhost:8080/whep/testcard --seconds 10 --dir /tmp",
                "ten seconds",
            ),
            (
                "looprtc play http://localhost:8080/whep/testcard --rtp 127.0.0.1:5004",
                "as RTP, for ffplay",
            ),
            (
                "ffplay -protocol_whitelist file,udp,rtp -i testcard.sdp",
                "watch that, in another terminal",
            ),
        ],
        exit: EXIT,
    },
    run,
};

fn options(command: Command) -> Command {
    command
        .about("Write a stream of a WHEP server to files, or forward it as RTP")
        .arg(positional(
            "url",
            "URL",
            "WHEP endpoint, for example http://localhost:8080/whep/NAME",
        ))
        .arg(option("dir", "DIR", "Directory for the files").default_value("."))
        .arg(option(
            "name",
            "NAME",
            "Base name of the files [default: the last part of the URL]",
        ))
        .arg(
            option(
                "rtp",
                "IP:PORT",
                "Forward as plain RTP to this address, instead of writing files",
            )
            .value_parser(value_parser!(SocketAddr)),
        )
        .arg(option(
            "sdp",
            "FILE",
            "SDP file that describes the RTP to a player [default: NAME.sdp]",
        ))
        .args(tracks())
        .args(session::options())
}

/// Options that select tracks and codecs of a stream.
pub fn tracks() -> [Arg; 3] {
    [
        list(
            "codec",
            "CODEC",
            "Accept this codec only; may be given several times",
        ),
        flag("no-video", "Audio only"),
        flag("no-audio", "Video only"),
    ]
}

fn run(options: &ArgMatches) -> Outcome {
    let url: String = value(options, "url").unwrap_or_default();
    let name = value(options, "name").unwrap_or_else(|| name_of(&url));
    let dir = PathBuf::from(value::<String>(options, "dir").unwrap_or_default());
    let sink = match value::<SocketAddr>(options, "rtp") {
        Some(to) => {
            let file = value(options, "sdp").unwrap_or_else(|| format!("{name}.sdp"));
            Sink::Rtp(Box::new(Forwarder::new(to, file)?))
        }
        None => Sink::Files(HashMap::new()),
    };
    watch(options, dir, name, sink)
}

/// Records to files with this name. `looprtc record` uses it with the same [`tracks`] and `session::options`.
pub fn record(options: &ArgMatches, dir: PathBuf, name: String) -> Outcome {
    watch(options, dir, name, Sink::Files(HashMap::new()))
}

fn watch(options: &ArgMatches, dir: PathBuf, name: String, sink: Sink) -> Outcome {
    let settings = Settings::new(options)?;
    let wanted = |(no, kind): (&str, MediaKind)| (!options.get_flag(no)).then_some(kind);
    let kinds = [
        ("no-video", MediaKind::Video),
        ("no-audio", MediaKind::Audio),
    ];
    let kinds: Vec<MediaKind> = kinds.into_iter().filter_map(wanted).collect();
    if kinds.is_empty() {
        return Err(
            Usage("--no-video and --no-audio together leave nothing to receive".into()).into(),
        );
    }
    let is_rtp = matches!(sink, Sink::Rtp(_));
    let mut work = Playing {
        kinds,
        codecs: codecs(&values(options, "codec"), is_rtp)?,
        dir,
        name,
        sink,
        peer: None,
        video: None,
        ask_at: None,
        came: Came::Nothing,
    };
    session::run(&settings, &mut work)
}

fn codecs(named: &[String], is_rtp: bool) -> Result<Codecs, Usage> {
    let is_fit = |codec: &Codec| is_rtp || Recording::new(*codec).is_ok();
    if named.is_empty() {
        return Ok(Codecs::only(Codec::ALL.into_iter().filter(is_fit)));
    }
    let codecs = named.iter().map(|name| {
        let found = Codec::named(name).filter(is_fit);
        found.ok_or_else(|| {
            Usage(format!(
                "--codec {name}: unknown codec, or no file format for it"
            ))
        })
    });
    Ok(Codecs::only(codecs.collect::<Result<Vec<_>, _>>()?))
}

/// Returns the last segment of the URL's path, reduced to characters for file names.
fn name_of(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let last = path.trim_end_matches('/').rsplit('/').next();
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(c);
    let name: String = last.unwrap_or_default().chars().filter(is_plain).collect();
    match name.trim_start_matches('.') {
        "" => "stream".to_owned(),
        name => name.to_owned(),
    }
}

struct Playing {
    kinds: Vec<MediaKind>,
    codecs: Codecs,
    dir: PathBuf,
    name: String,
    sink: Sink,
    peer: Option<PeerId>,
    video: Option<TransceiverId>,
    /// Time of the next keyframe request, for players that start later.
    ask_at: Option<Instant>,
    came: Came,
}

/// Progress of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    Nothing,
    /// The connection was established.
    Connection,
    Media,
}

enum Sink {
    Files(HashMap<Codec, Saved>),
    Rtp(Box<Forwarder>),
}

/// Interval of keyframe requests while players may start at any time.
const KEYFRAMES: Duration = Duration::from_secs(3);

impl Work for Playing {
    fn begin(&mut self, net: &mut EventLoop, config: PeerConfig) -> Result<PeerId, Error> {
        let mode = match self.sink {
            Sink::Files(_) => MediaMode::Frames,
            Sink::Rtp(_) => MediaMode::Packets,
        };
        let config = config.codecs(self.codecs.clone()).media_mode(mode);
        let id = net.add_peer(config)?;
        let mut peer = net.peer(id)?;
        for kind in &self.kinds {
            if self.codecs.iter().any(|c| MediaKind::of(c) == *kind) {
                let receive = TransceiverConfig::default().direction(Direction::RecvOnly);
                let transceiver = peer.add_transceiver(*kind, receive)?;
                if *kind == MediaKind::Video {
                    self.video = Some(transceiver);
                }
            }
        }
        self.peer = Some(id);
        Ok(id)
    }

    fn handle_event(&mut self, net: &mut EventLoop, event: &PeerEvent) -> Result<(), Error> {
        match (event, &mut self.sink) {
            (PeerEvent::Frame(frame), Sink::Files(files)) => {
                let file = match files.entry(frame.codec) {
                    hash_map::Entry::Occupied(there) => there.into_mut(),
                    hash_map::Entry::Vacant(place) => {
                        place.insert(Saved::create(&self.dir, &self.name, frame.codec)?)
                    }
                };
                file.write(frame)?;
                self.came = Came::Media;
            }
            (PeerEvent::Packet(packet), Sink::Rtp(forwarder)) => {
                forwarder.send(net, packet)?;
                self.came = Came::Media;
                if packet.codec.is_video() {
                    self.ask_at.get_or_insert(Instant::now() + KEYFRAMES);
                }
            }
            (PeerEvent::ConnectionStateChange(ConnectionState::Connected), _)
                if self.came == Came::Nothing =>
            {
                self.came = Came::Connection;
            }
            _ => {}
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        match self.came {
            Came::Media => Ok(()),
            Came::Connection => {
                Err("nothing was received: it was connected, and the stream sent no media".into())
            }
            Came::Nothing => Err("nothing was received: there was no connection".into()),
        }
    }

    fn handle_timeout(&mut self, net: &mut EventLoop) -> Result<Option<Instant>, Error> {
        let now = Instant::now();
        if self.ask_at.is_some_and(|at| at <= now) {
            self.ask_at = None;
            if let (Some(peer), Some(video)) = (self.peer, self.video)
                && let Ok(mut peer) = net.peer(peer)
            {
                // Refused before the first packet.
                let _ = peer.request_keyframe(video, None, KeyframeRequestKind::Pli);
            }
        }
        Ok(self.ask_at)
    }

    fn is_done(&self) -> bool {
        false
    }

    fn end(&mut self, net: &mut EventLoop) -> Result<(), Error> {
        self.ask_at = None;
        match &mut self.sink {
            Sink::Files(files) => {
                for (_, file) in files.drain() {
                    file.finish()?;
                }
            }
            Sink::Rtp(forwarder) => forwarder.end(net),
        }
        Ok(())
    }
}

/// Plain RTP to a player.
struct Forwarder {
    to: SocketAddr,
    file: String,
    socket: Option<UdpId>,
    streams: Vec<(StreamDescription, RtpSender)>,
    parameter_sets: H264ParameterSets,
}

impl Forwarder {
    fn new(to: SocketAddr, file: String) -> Result<Self, Usage> {
        if to.port() == 0 || to.port() > u16::MAX - 3 {
            return Err(Usage(
                "--rtp: the port must be from 1 to 65532; four are used".into(),
            ));
        }
        Ok(Self {
            to,
            file,
            socket: None,
            streams: Vec::new(),
            parameter_sets: H264ParameterSets::default(),
        })
    }

    fn send(&mut self, net: &mut EventLoop, packet: &ReceivedPacket) -> Result<(), Error> {
        let socket = match self.socket {
            Some(socket) => socket,
            None => {
                let any = if self.to.is_ipv4() {
                    "0.0.0.0:0"
                } else {
                    "[::]:0"
                };
                let socket = net.add_udp(UdpConfig::new(any.parse()?).send_only(true))?;
                *self.socket.insert(socket)
            }
        };
        let index = self.stream_of(packet.codec)?;
        let (stream, sender) = &mut self.streams[index];
        let datagram = sender.write(&Packet::from(packet), packet.received)?;
        // Fails while the player is not listening yet.
        let _ = net.send_datagram(socket, stream.address, datagram);
        // Players need sender reports to synchronize audio and video.
        if let Some(report) = sender.report(Instant::now(), SystemTime::now()) {
            let _ = net.send_datagram(socket, stream.rtcp_address(), report);
        }
        // A player that has the parameter sets need not wait for them in the stream.
        let sets = &mut self.parameter_sets;
        if packet.codec == Codec::H264 && sets.observe(&packet.payload) && sets.is_complete() {
            stream.set_parameter_sets(sets);
            self.write_file()?;
        }
        Ok(())
    }

    fn stream_of(&mut self, codec: Codec) -> Result<usize, Error> {
        let is_it = |(s, _): &(StreamDescription, RtpSender)| s.codec == codec;
        if let Some(index) = self.streams.iter().position(is_it) {
            return Ok(index);
        }
        let (payload_type, offset) = if codec.is_video() { (96, 0) } else { (97, 2) };
        let mut to = self.to;
        to.set_port(self.to.port() + offset);
        let stream = StreamDescription::new(codec, payload_type, to);
        let sender = RtpSender::new(RtpSenderConfig::for_stream(&stream));
        // A new codec replaces the previous one of the same kind.
        self.streams
            .retain(|(s, _)| s.codec.is_video() != codec.is_video());
        self.streams.push((stream, sender));
        self.write_file()?;
        Ok(self.streams.len() - 1)
    }

    fn write_file(&self) -> Result<(), Error> {
        let streams = self.streams.iter().map(|(stream, _)| stream.clone());
        let text = SdpFile::new("looprtc", streams.collect()).to_text();
        std::fs::write(&self.file, text).map_err(|e| format!("{}: {e}", self.file))?;
        say!("described in {}", self.file);
        Ok(())
    }

    fn end(&mut self, net: &mut EventLoop) {
        let Some(socket) = self.socket.take() else {
            return;
        };
        for (stream, sender) in &mut self.streams {
            if let Some(bye) = sender.bye(Instant::now(), SystemTime::now()) {
                let _ = net.send_datagram(socket, stream.rtcp_address(), bye);
            }
        }
        // Queued packets are sent when the session ends.
        self.streams.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files() {
        for (url, name) in [
            ("http://a/whep/card", "card"),
            ("http://a/whep/card/?token=x", "card"),
            ("http://a/whep/..", "stream"),
            ("http://a/%2e%2e", "2e2e"),
            ("http://a", "a"),
        ] {
            assert_eq!(name_of(url), name);
        }
    }

    #[test]
    fn codecs_by_name() {
        assert!(codecs(&["opus".into(), "VP8".into()], false).is_ok());
        assert!(codecs(&["pcmu".into()], false).is_err());
        assert!(codecs(&["pcmu".into()], true).is_ok());
        assert!(codecs(&["mp3".into()], true).is_err());
    }
}
