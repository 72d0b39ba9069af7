//! Plain RTP as a source.

use std::io::Read;
use std::path::Path;
use std::time::Instant;

use super::reader::{Contents, left_out};
use super::source::RtpInput;
use crate::driver::{Datagram, EventLoop, UdpId};
use crate::proto::media::Codec;
use crate::proto::peer::RtpPacket;
use crate::proto::rtp::{RtpSource, RtpSourceConfig, SdpFile, SourceEvent};

/// Bytes of an SDP file.
const MAX_SDP: u64 = 64 * 1024;

/// The sockets that a stream's RTP comes to.
#[derive(Debug)]
pub(super) struct RtpInputs(Vec<Input>);

#[derive(Debug)]
struct Input {
    codec: Codec,
    sockets: Vec<UdpId>,
    source: RtpSource,
    run: u32,
}

/// Returns the contents of plain RTP inputs.
pub(super) fn contents(inputs: &[RtpInput], notes: Vec<String>) -> Contents {
    Contents {
        codecs: inputs.iter().map(|i| i.stream.codec).collect(),
        notes,
    }
}

/// Reads an SDP file: the inputs it describes, and notes about those left out.
pub(super) fn read_sdp(path: &Path) -> Result<(Vec<RtpInput>, Vec<String>), String> {
    let name = path.display();
    let failed = |e: std::io::Error| format!("{name}: {e}");
    // Anything else might not come to an end.
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

impl RtpInputs {
    /// `run`: another number for each time that the same stream's sockets are opened.
    pub fn open(net: &mut EventLoop, inputs: Vec<RtpInput>, run: u32) -> Result<Self, String> {
        let mut open = Self(Vec::new());
        for input in inputs {
            let codec = input.stream.codec;
            if open.0.iter().any(|other| other.codec == codec) {
                open.close(net);
                return Err(format!(
                    "two streams of {codec}; make two of them, each with a name"
                ));
            }
            let mut sockets = Vec::new();
            let mut addresses = vec![input.stream.address];
            // For the sender's reports, and its goodbye, which lets the next one in at once.
            if input.stream.rtcp_port != input.stream.address.port() {
                addresses.push(input.stream.rtcp_address());
            }
            let opened = addresses.into_iter().try_for_each(|address| {
                sockets.push(net.add_udp(address)?);
                Ok(())
            });
            open.0.push(Input {
                codec,
                sockets,
                source: RtpSource::new(input.source),
                run,
            });
            if let Err(error) = opened {
                let error: crate::driver::LoopError = error;
                open.close(net);
                return Err(format!("waiting for RTP: {error}"));
            }
        }
        Ok(open)
    }

    pub fn codecs(&self) -> Vec<Codec> {
        self.0.iter().map(|input| input.codec).collect()
    }

    pub fn close(self, net: &mut EventLoop) {
        for socket in self.0.iter().flat_map(|i| &i.sockets) {
            net.close_udp(*socket);
        }
    }

    /// Returns `true` if keyframes of this codec come without parameter sets, and none are known.
    pub fn lacks_sets(&self, codec: Codec) -> bool {
        let mut inputs = self.0.iter().filter(|input| input.codec == codec);
        inputs.any(|input| {
            let stats = input.source.stats();
            stats.bare_keyframes > 0 && stats.parameter_sets == 0
        })
    }

    pub fn has(&self, socket: UdpId) -> bool {
        self.0.iter().any(|i| i.sockets.contains(&socket))
    }

    /// The packets that come of a datagram.
    pub fn handle_input(&mut self, datagram: &Datagram, now: Instant) -> Vec<(Codec, RtpPacket)> {
        let mut inputs = self.0.iter_mut();
        let Some(input) = inputs.find(|i| i.sockets.contains(&datagram.socket)) else {
            return Vec::new();
        };
        // Not taken: junk, or another sender while the first one is alive. It is counted there.
        let _ = input
            .source
            .handle_input(datagram.source, &datagram.contents, now);
        let mut packets = Vec::new();
        while let Some(event) = input.source.poll() {
            if let SourceEvent::Packet(packet) = event {
                let mut packet = packet.to_packet();
                // Sources are counted from 1 in each run, and are to be told apart.
                packet.ssrc = packet.ssrc.wrapping_add(input.run << 16);
                packets.push((input.codec, packet));
            }
        }
        packets
    }
}
