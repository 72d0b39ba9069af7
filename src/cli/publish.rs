//! `looprtc publish`.

use std::time::{Duration, Instant};

use clap::{ArgMatches, Command};
use looprtc::driver::{EventLoop, PeerId};
use looprtc::proto::peer::{PeerConfig, PeerEvent};
use looprtc::server::streams::{SourceConfig, StreamState, Streams, StreamsConfig};

use super::page::{EXIT, Page};
use super::session::{self, Error, Settings, Work};
use super::{Entry, Outcome, flag, positional, value};
use crate::Usage;

pub const ENTRY: Entry = Entry {
    name: "publish",
    options,
    page: &Page {
        about: "Sends files, a pipe or plain RTP to a server by WHIP (RFC 9725). Nothing is encoded: the server \
                must accept the codecs of the source.",
        notes: &[
            "FILE is MP4, Matroska, WebM, IVF, an H.264 or H.265 byte stream, Ogg Opus, or WAV with G.711; two files \
             joined by a comma, for example film.ivf,film.ogg (video and audio); - for the standard input (IVF, a \
             byte stream, Ogg, WAV); pipe:PATH for a named pipe; rtp:FILE.sdp or rtp://ADDRESS:PORT?codec=vp8 for \
             plain RTP; or testcard for the built-in test card.",
            "A pipe is live: data that arrives before the connection is established is not sent. -?paced reads it \
             at the pace of its timestamps, like a file.",
            "When the connection is lost, it is retried; files then start at the beginning.",
            "Ctrl-C ends the session and tells the server.",
        ],
        examples: &[
            (
                "looprtc publish film.mp4 http://localhost:8080/whip/live",
                "a film",
            ),
            (
                "looprtc publish --loop video.ivf,audio.ogg https://example.net/whip/tv --token-file token",
                "two files, over and over, to another server",
            ),
            (
                "ffmpeg -v error -f v4l2 -i /dev/video0 -c:v libvpx -deadline realtime -f ivf - |\nlooprtc publish - http://localhost:8080/whip/live",
                "a webcam",
            ),
        ],
        exit: EXIT,
    },
    run,
};

fn options(command: Command) -> Command {
    command
        .about("Send a file or a pipe to a WHIP server")
        .arg(positional(
            "source",
            "FILE",
            "Source to send; - is the standard input",
        ))
        .arg(positional(
            "url",
            "URL",
            "WHIP endpoint, for example http://localhost:8080/whip/NAME",
        ))
        .arg(flag("loop", "Repeat a file instead of sending it once"))
        .args(session::options())
}

fn run(options: &ArgMatches) -> Outcome {
    let text: String = value(options, "source").unwrap_or_default();
    // `testcard` is the built-in source, unless a file has that name.
    let text = match text == "testcard" && !std::path::Path::new(&text).exists() {
        true => "testcard:".to_owned(),
        false => text,
    };
    let source: SourceConfig = text.parse().map_err(|e| Usage(format!("{e}")))?;
    if source.is_published() {
        return Err(Usage("whip: cannot be published: it is a source of looprtc serve, which waits for a publisher".into()).into());
    }
    let source = source.repeat(options.get_flag("loop"));
    let settings = Settings::new(options)?;
    // A file without viewers starts over when the first one connects.
    let config = StreamsConfig::default().grace(Duration::ZERO);
    let mut work = Publishing {
        streams: Streams::new(config),
        is_done: false,
        peer: None,
    };
    work.streams.add(NAME, source)?;
    work.check()?;
    session::run(&settings, &mut work)
}

/// Name of the only stream.
const NAME: &str = "published";

struct Publishing {
    streams: Streams,
    is_done: bool,
    peer: Option<PeerId>,
}

impl Publishing {
    /// Returns the error of a source that has failed, instead of waiting.
    fn check(&mut self) -> Result<(), Error> {
        match self.streams.info(NAME).map(|info| info.state) {
            Some(StreamState::Failed { why, .. }) => Err(why.into()),
            Some(StreamState::Ended) => {
                self.is_done = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Work for Publishing {
    fn begin(&mut self, net: &mut EventLoop, config: PeerConfig) -> Result<PeerId, Error> {
        let mode = self.streams.media_mode(NAME).unwrap_or_default();
        let peer = net.add_peer(config.media_mode(mode))?;
        self.streams.add_viewer(net, NAME, peer)?;
        self.peer = Some(peer);
        Ok(peer)
    }

    fn handle_event(&mut self, net: &mut EventLoop, event: &PeerEvent) -> Result<(), Error> {
        if let Some(peer) = self.peer {
            self.streams.handle_peer_event(net, peer, event);
        }
        Ok(())
    }

    fn handle_timeout(&mut self, net: &mut EventLoop) -> Result<Option<Instant>, Error> {
        while let Some(datagram) = net.poll_datagram() {
            self.streams.handle_datagram(net, &datagram);
        }
        self.streams.handle_timeout(net, Instant::now());
        while let Some(event) = self.streams.poll_event() {
            log::info!("{event}");
            self.check()?;
        }
        Ok(self.streams.next_deadline())
    }

    fn is_done(&self) -> bool {
        self.is_done
    }

    fn end(&mut self, net: &mut EventLoop) -> Result<(), Error> {
        if let Some(peer) = self.peer.take() {
            self.streams.remove_viewer(net, peer);
            self.streams.handle_timeout(net, Instant::now());
        }
        Ok(())
    }
}
