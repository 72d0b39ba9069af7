//! Detection of keyframes and picture sizes from the first bytes of encoded frames.

use super::Codec;

/// Same as [`Codec::is_keyframe`].
pub fn is_keyframe(codec: Codec, frame: &[u8]) -> bool {
    codec.is_keyframe(frame)
}

/// Same as [`Codec::dimensions`].
pub fn dimensions(codec: Codec, frame: &[u8]) -> Option<(u32, u32)> {
    codec.dimensions(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_panics() {
        let mut bytes = Vec::new();
        for codec in Codec::ALL {
            for seed in 0..=255u8 {
                bytes.clear();
                for i in 0..40u8 {
                    is_keyframe(codec, &bytes);
                    dimensions(codec, &bytes);
                    bytes.push(seed.wrapping_mul(i).wrapping_add(seed));
                }
            }
        }
    }
}
