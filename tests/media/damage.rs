//! Files truncated and damaged at every byte: no panic, and everything before the damage is returned.

use looprtc::proto::media::{Frame, MediaError, MediaErrorKind};

use super::{PLAYABLE, load, read};

/// Number of bytes of each clip that the tests cover: all headers, and a few frames or pages.
const PREFIX: usize = 4000;

/// Returns the frames that damage at `position` cannot affect: those two frames or pages before it.
fn safe(frames: &[Frame], position: usize) -> &[Frame] {
    let mut offsets: Vec<_> = frames.iter().map(|frame| frame.offset).collect();
    offsets.dedup();
    let behind = offsets.partition_point(|offset| *offset as usize <= position);
    let first_unsafe = offsets.get(behind.saturating_sub(2)).copied().unwrap_or(0);
    &frames[..frames.partition_point(|frame| frame.offset < first_unsafe)]
}

#[test]
fn truncated_at_every_byte() {
    for clip in PLAYABLE {
        let file = load(clip);
        let whole = read(&file, usize::MAX).0;
        for end in 0..file.len().min(PREFIX) {
            let (frames, error) = read(&file[..end], 1500);
            let must = safe(&whole, end);
            assert!(
                frames.len() >= must.len() && frames[..must.len()] == *must,
                "{clip} {end}"
            );
            if let Some(error) = error {
                assert!(error.offset as usize <= end, "{clip} {end}: {error}");
                let kinds = [MediaErrorKind::Truncated, MediaErrorKind::WrongFormat];
                assert!(
                    kinds.contains(&error.kind) || clip.contains(".h26"),
                    "{clip} {end}: {error}"
                );
            }
        }
    }
}

#[test]
fn damaged_at_every_byte() {
    for clip in PLAYABLE {
        let mut file = load(clip);
        file.truncate(PREFIX);
        let whole = read(&file, usize::MAX).0;
        let mut heard = 0;
        for at in 0..file.len() {
            for flip in [0xFF, 0x01, 0x80] {
                file[at] ^= flip;
                let (frames, error) = read(&file, 1500);
                file[at] ^= flip;
                let must = safe(&whole, at);
                assert!(
                    frames.len() >= must.len() && frames[..must.len()] == *must,
                    "{clip} {at}"
                );
                heard += frames.len();
                let is_cut = |e: &MediaError| e.kind == MediaErrorKind::Truncated;
                let is_fine = error.as_ref().is_none_or(is_cut);
                assert!(
                    is_fine || !clip.ends_with(".ogg") || at < 200,
                    "{clip} {at}"
                );
            }
        }
        // Ogg resynchronizes at the next page.
        if clip.ends_with(".ogg") && whole.len() > 10 {
            assert!(heard > whole.len() * file.len() * 3 / 5, "{clip}: {heard}");
        }
    }
}

#[test]
fn noise() {
    let mut state = 1u64;
    let mut random = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as usize
    };
    for clip in PLAYABLE {
        let file = load(clip);
        for _ in 0..200 {
            let mut bytes = file[..file.len().min(PREFIX)].to_vec();
            for _ in 0..1 + random() % 20 {
                let (at, from) = (random() % bytes.len(), random() % bytes.len());
                match random() % 4 {
                    0 => bytes[at] = random() as u8,
                    1 => bytes[at] = 0,
                    2 => drop(bytes.drain(at..(at + random() % 50).min(bytes.len()))),
                    _ => {
                        let piece = bytes[from..(from + random() % 50).min(bytes.len())].to_vec();
                        bytes.splice(at..at, piece);
                    }
                }
            }
            read(&bytes, 1 + random() % 2000);
        }
    }
}
