//! Forwarding of a source to one receiver: selection of the layer, start at a keyframe, rewriting of numbers.

use std::sync::Arc;

use super::vp8::{Descriptor, Numbers};
use crate::proto::media::Codec;
use crate::proto::peer::ReceivedPacket;

/// Simulcast layers requested, the smallest first: quarter, half and full size.
pub(crate) const LAYERS: [&str; 3] = ["q", "h", "f"];

/// Index of a layer in [`LAYERS`]; 0 for video in one layer, and for audio.
pub(crate) type Layer = usize;

/// Properties of a packet, determined once for all receivers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub layer: Layer,
    /// Set if it starts a keyframe; `None` if that cannot be detected for this codec.
    begins_keyframe: Option<bool>,
    vp8: Option<Descriptor>,
}

impl Look {
    /// Inspects a packet. Returns `None` if it belongs to a layer that was not requested.
    pub fn at(packet: &ReceivedPacket) -> Option<Self> {
        Self::of(packet.codec, packet.rid.as_deref(), &packet.payload)
    }

    /// Inspects the parts of a packet.
    pub fn of(codec: Codec, rid: Option<&str>, payload: &[u8]) -> Option<Self> {
        let layer = match rid {
            None => 0,
            Some(rid) => LAYERS.iter().position(|l| *l == rid)?,
        };
        let vp8 = (codec == Codec::Vp8).then(|| Descriptor::parse(payload));
        let vp8 = vp8.flatten();
        let begins_keyframe = match codec {
            Codec::Vp8 => Some(vp8.is_some_and(|d| d.begins_keyframe)),
            Codec::H264 => Some(codec.begins_keyframe(payload)),
            codec if codec.is_video() => None,
            // An audio decoder can start anywhere.
            _ => Some(true),
        };
        Some(Self {
            layer,
            begins_keyframe,
            vp8,
        })
    }
}

#[cfg(feature = "testing")]
impl Look {
    /// Returns `true` if it starts a keyframe; `None` if that cannot be detected for this codec.
    pub(crate) fn begins_keyframe(&self) -> Option<bool> {
        self.begins_keyframe
    }
}

/// Decision about a packet for one receiver.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Drop,
    AsItIs,
    /// The packet with this payload instead.
    Changed(Arc<[u8]>),
}

/// Selects the packets of one source for one receiver.
#[derive(Debug, Default)]
pub(crate) struct Forwarder {
    current: Option<Layer>,
    /// The target layer.
    target: Layer,
    numbers: Numbers,
    /// Number of switches between layers.
    pub switches: u64,
}

impl Forwarder {
    /// Restarts with the next keyframe.
    pub fn restart(&mut self) {
        self.current = None;
    }

    /// Sets the target layer, effective with its next keyframe.
    pub fn aim(&mut self, layer: Layer) {
        self.target = layer;
    }

    /// Returns the layer whose keyframe is awaited.
    pub fn waits_for(&self) -> Option<Layer> {
        (self.current != Some(self.target)).then_some(self.target)
    }

    /// Returns the target layer.
    pub fn target(&self) -> Layer {
        self.target
    }

    /// Returns the current layer, or the target layer before the first keyframe.
    pub fn layer(&self) -> Layer {
        self.current.unwrap_or(self.target)
    }

    pub fn decide(&mut self, look: &Look, payload: &[u8]) -> Verdict {
        if self.current != Some(look.layer) {
            let is_wanted = match self.current {
                _ if look.layer == self.target => true,
                // Any layer is better than none.
                None => true,
                // Closer to the target.
                Some(current) => look.layer.abs_diff(self.target) < current.abs_diff(self.target),
            };
            if !is_wanted || !look.begins_keyframe.unwrap_or(true) {
                return Verdict::Drop;
            }
            if let Some(descriptor) = &look.vp8 {
                self.numbers.switch(descriptor);
            }
            self.switches += u64::from(self.current.is_some());
            self.current = Some(look.layer);
        }
        let Some(descriptor) = &look.vp8 else {
            return Verdict::AsItIs;
        };
        match self.numbers.rewrite(descriptor, payload) {
            None => Verdict::AsItIs,
            Some(changed) => Verdict::Changed(changed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds a VP8 frame with a picture id, in one packet.
    fn picture(id: u8, is_key: bool) -> Vec<u8> {
        vec![0x90, 0x80, id, u8::from(!is_key), 9, 9]
    }

    fn look(layer: Layer, payload: &[u8]) -> Look {
        let vp8 = Descriptor::parse(payload);
        Look {
            layer,
            begins_keyframe: vp8.map(|d| d.begins_keyframe),
            vp8,
        }
    }

    fn decide(forwarder: &mut Forwarder, layer: Layer, payload: &[u8]) -> Option<Vec<u8>> {
        match forwarder.decide(&look(layer, payload), payload) {
            Verdict::Drop => None,
            Verdict::AsItIs => Some(payload.to_vec()),
            Verdict::Changed(payload) => Some(payload.to_vec()),
        }
    }

    #[test]
    fn begins_with_a_keyframe_and_switches_at_one() {
        let mut f = Forwarder::default();
        f.aim(2);
        assert_eq!(f.waits_for(), Some(2));
        assert_eq!(decide(&mut f, 2, &picture(5, false)), None);
        // A keyframe of a smaller layer arrives first.
        assert_eq!(
            decide(&mut f, 0, &picture(50, true)),
            Some(picture(50, true))
        );
        assert_eq!(f.waits_for(), Some(2));
        assert_eq!(decide(&mut f, 2, &picture(6, false)), None);
        assert_eq!(
            decide(&mut f, 0, &picture(51, false)),
            Some(picture(51, false))
        );
        assert_eq!(
            decide(&mut f, 2, &picture(7, true)),
            Some(picture(52, true))
        );
        assert_eq!(decide(&mut f, 0, &picture(52, false)), None);
        assert_eq!(
            decide(&mut f, 2, &picture(8, false)),
            Some(picture(53, false))
        );
        assert_eq!((f.waits_for(), f.switches), (None, 1));
        // Down again; not to the middle layer, which is no closer.
        f.aim(0);
        assert_eq!(decide(&mut f, 0, &picture(60, false)), None);
        assert_eq!(
            decide(&mut f, 2, &picture(9, false)),
            Some(picture(54, false))
        );
        assert_eq!(
            decide(&mut f, 0, &picture(61, true)),
            Some(picture(55, true))
        );
        assert_eq!(decide(&mut f, 1, &picture(99, true)), None);
    }

    #[test]
    fn keyframes_of_h264() {
        assert!(Codec::H264.begins_keyframe(&[0x67, 1, 2]));
        assert!(Codec::H264.begins_keyframe(&[0x78, 0, 4, 0x67, 1, 2, 3]));
        assert!(Codec::H264.begins_keyframe(&[0x7C, 0x85, 1]));
        assert!(!Codec::H264.begins_keyframe(&[0x7C, 0x05, 1]), "goes on");
        assert!(
            !Codec::H264.begins_keyframe(&[0x7C, 0x81, 1]),
            "another slice"
        );
        assert!(!Codec::H264.begins_keyframe(&[0x41, 1]));
        assert!(!Codec::H264.begins_keyframe(&[]));
    }
}
