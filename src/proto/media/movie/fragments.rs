//! Fragments with offsets from the beginning of the file (ISO/IEC 14496-12 §8.8.7, `base-data-offset`), as ffmpeg
//! writes them by default. The demuxer supports offsets from the fragment's own `moof` box only, so they are rewritten
//! in place.

/// Flags of a `tfhd` box: the offset is present; offsets count from the `moof` box.
const HAS_BASE: u8 = 1;
const BASE_IS_MOOF: u8 = 2;

/// Flag of a `trun` box: the offset is present.
const HAS_OFFSET: u8 = 1;

/// Start and end of a box.
#[derive(Debug, Clone, Copy)]
struct Place {
    start: usize,
    end: usize,
}

/// Rewrites the `moof` boxes in `data`, which is at this position of the file.
pub(super) fn relative_to_moof(data: &mut [u8], position: u64) {
    let all = Place {
        start: 0,
        end: data.len(),
    };
    for moof in boxes(data, all, b"moof") {
        let here = position.saturating_add(moof.start as u64);
        for traf in boxes(data, inside(moof), b"traf") {
            // There is exactly one (ISO/IEC 14496-12 §8.8.7).
            if let Some(tfhd) = boxes(data, inside(traf), b"tfhd").first().copied() {
                // The boxes behind it keep their positions.
                let truns = boxes(data, inside(traf), b"trun");
                let _ = rewrite(data, tfhd, &truns, here);
            }
        }
    }
}

/// Returns `None` if there is nothing to rewrite, or it is impossible.
fn rewrite(data: &mut [u8], tfhd: Place, truns: &[Place], moof: u64) -> Option<()> {
    // Size, name, version and flags, track, offset.
    let head = data.get(tfhd.start..tfhd.end)?;
    let has_base = head.get(11)? & HAS_BASE != 0;
    let base = i64::try_from(u64::from_be_bytes(*head.get(16..)?.first_chunk()?)).ok()?;
    has_base.then_some(())?;
    let moof = i64::try_from(moof).ok()?;
    let mut offsets = Vec::new();
    for trun in truns {
        // Size, name, version and flags, number of samples, offset.
        let trun_bytes = data.get(trun.start..trun.end)?;
        (trun_bytes.get(11)? & HAS_OFFSET != 0).then_some(())?;
        let offset = i32::from_be_bytes(*trun_bytes.get(16..)?.first_chunk()?);
        let relative = i64::from(offset).checked_add(base)?.checked_sub(moof)?;
        offsets.push((trun.start + 16, i32::try_from(relative).ok()?));
    }
    for (at, offset) in offsets {
        data.get_mut(at..at + 4)?
            .copy_from_slice(&offset.to_be_bytes());
    }
    let head = data.get_mut(tfhd.start..tfhd.end)?;
    let size = u32::try_from(head.len() - 8).ok()?;
    head.get_mut(..4)?.copy_from_slice(&size.to_be_bytes());
    head[9] |= BASE_IS_MOOF;
    head[11] &= !HAS_BASE;
    head.copy_within(24.., 16);
    // The space of the offset becomes a box of its own.
    let free = head.len() - 8;
    head[free..].copy_from_slice(b"\0\0\0\x08free");
    Some(())
}

fn inside(place: Place) -> Place {
    Place {
        start: place.start + 8,
        ..place
    }
}

/// Returns the boxes of a type within this range.
fn boxes(data: &[u8], part: Place, kind: &[u8; 4]) -> Vec<Place> {
    let mut found = Vec::new();
    let mut start = part.start;
    while let Some(header) = data.get(start..part.end).and_then(|d| d.first_chunk::<8>()) {
        let [a, b, c, d, name @ ..] = header;
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let Some(end) = start
            .checked_add(length)
            .filter(|end| length >= 8 && *end <= part.end)
        else {
            break;
        };
        if name == kind {
            found.push(Place { start, end });
        }
        start = end;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_box(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let mut out = u32::try_from(content.len() + 8)
            .unwrap()
            .to_be_bytes()
            .to_vec();
        out.extend_from_slice(name);
        out.extend_from_slice(content);
        out
    }

    #[test]
    fn the_offset_counts_from_the_moof_box() {
        let base = 5000u64.to_be_bytes();
        let tfhd = [&[0, 0, 0, 1 | 8, 0, 0, 0, 7][..], &base, &[0, 0, 2, 0]].concat();
        let trun = [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 100];
        let traf = [a_box(b"tfhd", &tfhd), a_box(b"trun", &trun)].concat();
        let moof = a_box(b"moof", &a_box(b"traf", &traf));
        let mut data = [a_box(b"styp", &[]), moof.clone()].concat();
        let before = data.len();
        relative_to_moof(&mut data, 4000);
        assert_eq!(data.len(), before);
        // Its moof is at 4008; the samples are at 5100.
        let whole = Place {
            start: 8,
            end: before,
        };
        let traf = boxes(&data, inside(whole), b"traf")[0];
        let tfhd = boxes(&data, inside(traf), b"tfhd")[0];
        assert_eq!(
            data[tfhd.start + 8..tfhd.end],
            [0, 2, 0, 8, 0, 0, 0, 7, 0, 0, 2, 0]
        );
        let trun = boxes(&data, inside(traf), b"trun")[0];
        assert_eq!(data[trun.end - 4..trun.end], 1092i32.to_be_bytes());
        assert_eq!(boxes(&data, inside(traf), b"free").len(), 1);
        // A second pass changes nothing, and damaged data stays unchanged.
        let again = data.clone();
        relative_to_moof(&mut data, 4000);
        assert_eq!(data, again);
        for end in 0..moof.len() {
            relative_to_moof(&mut moof[..end].to_vec(), 4000);
        }
    }
}
