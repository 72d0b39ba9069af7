//! Plain RTP, described by an SDP file or by the addresses it is received at.

use std::collections::VecDeque;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::url::{Flags, bounded};
use crate::driver::shared_media::SharedMedia;
use crate::driver::{Datagram, EventLoop, LoopError, UdpId};
use crate::proto::media::Codec;
use crate::proto::rtp::{
    RtpSource, RtpSourceConfig, SdpFile, SourceEvent as Event, StreamDescription,
};
use crate::server::streams::kind::{
    Contents, Context, Kind, Live, Media, Source, SourceConfig, SourceEvent, Stopped,
};
use crate::server::streams::notices::left_out;

/// Maximum size of an SDP file, in bytes.
const MAX_SDP: u64 = 64 * 1024;

/// A stream of plain RTP.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RtpInput {
    /// Format and address of the stream.
    pub stream: StreamDescription,
    /// Selection of the sender.
    pub source: RtpSourceConfig,
}

impl RtpInput {
    /// Creates an input from its format and address, and the selection of its sender.
    pub fn new(stream: StreamDescription, source: RtpSourceConfig) -> Self {
        Self { stream, source }
    }
}

/// Described by an SDP file, which is read when the source is started.
#[derive(Debug)]
struct RtpFile(PathBuf);

#[derive(Debug)]
struct Rtp(Vec<RtpInput>);

pub(super) fn parse(url: &str) -> Option<Result<SourceConfig, String>> {
    let rest = url.strip_prefix("rtp:")?;
    Some(match rest {
        "" => Err("write rtp:FILE.sdp, or rtp://ADDRESS:PORT?codec=CODEC".into()),
        _ if rest.starts_with("//") => inputs_of(url).map(|inputs| SourceConfig::new(Rtp(inputs))),
        path => Ok(SourceConfig::new(RtpFile(path.into()))),
    })
}

impl SourceConfig {
    /// Creates a source of plain RTP: one stream of at most 16 inputs, each in another codec.
    pub fn rtp(inputs: Vec<RtpInput>) -> Self {
        Self::new(Rtp(inputs))
    }
}

impl Kind for RtpFile {
    fn describe(&self) -> String {
        format!("RTP, {}", self.0.display())
    }

    fn paths(&self) -> Vec<&Path> {
        vec![&self.0]
    }

    fn probe(&self) -> Option<Result<Contents, String>> {
        Some(read_sdp(&self.0).map(|(inputs, notes)| contents(&inputs, notes)))
    }

    fn start(&self, ctx: &mut Context<'_>, run: u32) -> Result<Box<dyn Source>, String> {
        let (inputs, _) = read_sdp(&self.0)?;
        Receiving::open(ctx.net, &inputs, run)
    }
}

impl Kind for Rtp {
    fn describe(&self) -> String {
        let all = self.0.iter();
        let all = all.map(|i| format!("{} at {}", i.stream.codec, i.stream.address));
        format!("RTP, {}", all.collect::<Vec<_>>().join(", "))
    }

    fn probe(&self) -> Option<Result<Contents, String>> {
        Some(Ok(contents(&self.0, Vec::new())))
    }

    fn start(&self, ctx: &mut Context<'_>, run: u32) -> Result<Box<dyn Source>, String> {
        Receiving::open(ctx.net, &self.0, run)
    }
}

fn contents(inputs: &[RtpInput], notes: Vec<String>) -> Contents {
    Contents {
        codecs: inputs.iter().map(|i| i.stream.codec).collect(),
        notes,
    }
}

/// Parses `rtp://…,rtp://…`.
fn inputs_of(url: &str) -> Result<Vec<RtpInput>, String> {
    let rest = url.strip_prefix("rtp://").unwrap_or(url);
    let parts = rest.split(",rtp://").map(rtp_input);
    bounded(parts.collect::<Result<_, _>>()?)
}

/// Parses the part after `rtp://`.
fn rtp_input(text: &str) -> Result<RtpInput, String> {
    let (address, mut flags) = Flags::split(text);
    let codec = flags.codec()?.ok_or_else(|| {
        format!("what comes to {address}? Say it, as in rtp://{address}?codec=h264")
    })?;
    let address: SocketAddr = address.parse().map_err(|_| {
        format!(
            "{address:?} is not an IP address with a port, for example 127.0.0.1:5004 or [::1]:5004"
        )
    })?;
    if address.port() == 0 || address.port() == u16::MAX {
        return Err("the port must be from 1 to 65534; the next one is for RTCP".into());
    }
    let payload_type = match flags.take("pt").map(str::parse) {
        None => None,
        Some(Ok(number @ 0..=127)) => Some(number),
        Some(_) => return Err("pt= is a payload type, from 0 to 127".into()),
    };
    let from = match flags.take("from").map(str::parse::<IpAddr>) {
        None => None,
        Some(Ok(ip)) => Some(ip),
        Some(Err(_)) => return Err("from= is an IP address".into()),
    };
    flags.finish("codec=, pt= and from=")?;
    let stream = StreamDescription::new(codec, payload_type.unwrap_or(96), address);
    let source = RtpSourceConfig::for_stream(&stream)
        .payload_types(payload_type.into_iter().collect::<Vec<_>>())
        .from(from);
    Ok(RtpInput { stream, source })
}

/// Reads an SDP file; returns its inputs, and remarks about those left out.
fn read_sdp(path: &Path) -> Result<(Vec<RtpInput>, Vec<String>), String> {
    let name = path.display();
    let failed = |e: std::io::Error| format!("{name}: {e}");
    // Anything but a regular file might never end.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(format!("{name}: not a regular file"));
    }
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_SDP)
        .read_to_string(&mut text)
        .map_err(failed)?;
    let file = SdpFile::parse(&text).map_err(|e| format!("{name}: {e}"))?;
    let notes = file.left_out.iter().map(|w| left_out(w)).collect();
    let inputs = file.streams.into_iter().map(|stream| {
        let source = RtpSourceConfig::for_stream(&stream);
        RtpInput::new(stream, source)
    });
    Ok((inputs.collect(), notes))
}

/// The sockets for a stream's RTP.
#[derive(Debug)]
struct Receiving {
    inputs: Vec<Input>,
    ready: VecDeque<SourceEvent>,
}

#[derive(Debug)]
struct Input {
    codec: Codec,
    sockets: Vec<UdpId>,
    source: RtpSource,
    /// Number of the run, from 1; distinguishes the sources of different runs.
    run: u32,
}

impl Receiving {
    fn open(net: &mut EventLoop, inputs: &[RtpInput], run: u32) -> Result<Box<dyn Source>, String> {
        let mut open: Vec<Input> = Vec::new();
        for input in inputs {
            match Input::open(net, input, run, &open) {
                Ok(input) => open.push(input),
                Err(why) => {
                    open.into_iter().for_each(|input| input.close(net));
                    return Err(why);
                }
            }
        }
        let contents = contents(inputs, Vec::new());
        Ok(Box::new(Self {
            inputs: open,
            ready: VecDeque::from([SourceEvent::Tracks(contents)]),
        }))
    }
}

impl Input {
    fn open(
        net: &mut EventLoop,
        input: &RtpInput,
        run: u32,
        others: &[Self],
    ) -> Result<Self, String> {
        let codec = input.stream.codec;
        if others.iter().any(|other| other.codec == codec) {
            return Err(format!(
                "two streams of {codec}; make two of them, each with a name"
            ));
        }
        let mut addresses = vec![input.stream.address];
        // For sender reports, and for BYE, which lets the next sender in at once.
        if input.stream.rtcp_port != input.stream.address.port() {
            addresses.push(input.stream.rtcp_address());
        }
        let mut open = Self {
            codec,
            sockets: Vec::new(),
            source: RtpSource::new(input.source.clone()),
            run,
        };
        let opened = addresses.into_iter().try_for_each(|address| {
            open.sockets.push(net.add_udp(address)?);
            Ok::<(), LoopError>(())
        });
        match opened {
            Ok(()) => Ok(open),
            Err(error) => {
                open.close(net);
                Err(format!("waiting for RTP: {error}"))
            }
        }
    }

    fn close(self, net: &mut EventLoop) {
        for socket in self.sockets {
            net.close_udp(socket);
        }
    }

    /// Returns `true` if keyframes arrive without parameter sets and none are known.
    fn lacks_sets(&self) -> bool {
        let stats = self.source.stats();
        self.codec.is_video() && stats.bare_keyframes > 0 && stats.parameter_sets == 0
    }
}

impl Source for Receiving {
    fn poll(&mut self, _: &mut Context<'_>) -> Option<SourceEvent> {
        self.ready.pop_front()
    }

    fn has_socket(&self, socket: UdpId) -> bool {
        self.inputs.iter().any(|i| i.sockets.contains(&socket))
    }

    fn handle_datagram(&mut self, ctx: &mut Context<'_>, datagram: &Datagram) {
        let mut inputs = self.inputs.iter_mut();
        let Some(input) = inputs.find(|i| i.sockets.contains(&datagram.socket)) else {
            return;
        };
        // Not accepted: invalid, or from another sender while the first one is active. It is counted there.
        let _ = input
            .source
            .handle_input(datagram.source, &datagram.contents, ctx.now);
        while let Some(event) = input.source.poll() {
            if let Event::Packet(packet) = event {
                let mut packet = packet.to_packet();
                packet.ssrc = packet.ssrc.wrapping_add(input.run << 16);
                let lacks_sets = input.lacks_sets();
                self.ready.push_back(SourceEvent::Media(Media {
                    codec: input.codec,
                    is_key: input.codec.begins_keyframe(&packet.payload),
                    content: SharedMedia::Packet(packet.into()),
                    live: Live::WhenDecodable { lacks_sets },
                }));
            }
        }
    }

    fn stop(self: Box<Self>, net: &mut EventLoop) -> Stopped {
        for input in self.inputs {
            input.close(net);
        }
        Stopped::Gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rtp_from_flags() {
        let text = "rtp://0.0.0.0:5004?codec=H264&pt=97,rtp://[::1]:5006?codec=opus&from=::2";
        let inputs = inputs_of(text).unwrap();
        let [video, audio] = &inputs[..] else {
            panic!("{inputs:?}")
        };
        assert_eq!(video.stream.codec, Codec::H264);
        assert_eq!(video.source.payload_types, [97]);
        assert!(video.source.repeat_parameter_sets);
        assert_eq!(audio.stream.address, "[::1]:5006".parse().unwrap());
        assert!(audio.source.payload_types.is_empty());
        assert_eq!(audio.source.from, Some("::2".parse().unwrap()));
    }
}
