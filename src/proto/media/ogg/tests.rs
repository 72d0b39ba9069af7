use std::time::Duration;

use super::super::reader::{Reader, tests::drain};
use super::super::{Frame, Limits, MediaError, MediaErrorKind};
use super::page::{BEGIN, CONTINUED, END, NO_GRANULE, Page};
use super::*;

/// Builds a fullband CELT packet of 20 ms with this many bytes after the TOC.
fn packet(bytes: usize) -> Vec<u8> {
    let mut packet = vec![0xFC];
    packet.extend((0..bytes).map(|n| n as u8));
    packet
}

fn page(sequence: u32, flags: u8, granule: u64, lacing: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let (lacing, body) = (lacing.to_vec(), body.to_vec());
    let page = Page {
        offset: 0,
        flags,
        granule,
        serial: 7,
        sequence,
        lacing,
        body,
    };
    page.write(&mut out);
    out
}

fn headers(channels: u8) -> Vec<u8> {
    let mut head = b"OpusHead\x01".to_vec();
    head.extend_from_slice(&[channels, 0x38, 1, 0x80, 0xBB, 0, 0, 0, 0, 0]);
    let mut out = page(0, BEGIN, 0, &[19], &head);
    let tags = b"OpusTags\x03\0\0\0abc\x01\0\0\0\x05\0\0\0A=\xC3\xA4b";
    out.extend(page(1, 0, 0, &[tags.len() as u8], tags));
    out
}

fn read(file: &[u8]) -> (Vec<Frame>, Option<MediaError>) {
    let mut results = [1, 50, usize::MAX].map(|chunk| {
        let reader = OggOpusReader::new(Limits::default());
        drain(&mut Reader::Ogg(Box::new(reader)), file, chunk)
    });
    assert!(results.iter().all(|result| *result == results[0]));
    std::mem::take(&mut results[0])
}

fn sizes(frames: &[Frame]) -> Vec<usize> {
    frames.iter().map(|frame| frame.data.len()).collect()
}

fn times(frames: &[Frame]) -> Vec<u128> {
    frames.iter().map(|frame| frame.time.as_millis()).collect()
}

#[test]
fn every_lacing() {
    let lengths = [
        1, 254, 255, 256, 509, 510, 511, 765, 2000, 65_024, 65_025, 65_026, 70_000, 200_000,
    ];
    for duration in [1, 60, 10_000] {
        let config = WriterConfig::default().page_duration(Duration::from_millis(duration));
        let mut file = Vec::new();
        let mut writer = OggOpusWriter::new(config, &mut file).unwrap();
        for (n, length) in lengths.iter().enumerate() {
            let time = Duration::from_millis(20 * n as u64);
            writer.write(time, &packet(length - 1), &mut file).unwrap();
        }
        writer.finish(&mut file);
        let (frames, error) = read(&file);
        assert_eq!(error, None);
        assert_eq!(sizes(&frames), lengths);
        assert!(
            frames
                .iter()
                .zip(lengths)
                .all(|(frame, length)| frame.data == packet(length - 1))
        );
    }
}

#[test]
fn a_packet_over_three_pages_and_others_beside_it() {
    let long = packet(299);
    let mut file = headers(2);
    // A complete packet, and the beginning of a long one.
    let body: Vec<u8> = [packet(9), long[..255].to_vec()].concat();
    file.extend(page(2, 0, 960, &[10, 255], &body));
    // No packet ends here: a continuation of no bytes is a valid page.
    file.extend(page(3, CONTINUED, NO_GRANULE, &[], &[]));
    let body: Vec<u8> = [long[255..].to_vec(), packet(3)].concat();
    file.extend(page(4, CONTINUED | END, 2880, &[45, 4], &body));
    let (frames, error) = read(&file);
    assert_eq!(error, None);
    assert_eq!(
        (sizes(&frames), times(&frames)),
        (vec![10, 300, 4], vec![0, 20, 40])
    );
    assert_eq!(frames[1].data, long);
}

#[test]
fn head_and_tags() {
    let mut reader = OggOpusReader::new(Limits::default());
    reader.feed(&headers(1)).unwrap();
    assert_eq!(reader.poll(), Ok(None));
    let head = reader.head().unwrap();
    assert_eq!(
        (head.channels, head.pre_skip, head.input_sample_rate),
        (1, 312, 48_000)
    );
    let tags = reader.tags().unwrap();
    assert_eq!(
        (tags.vendor.as_str(), &tags.comments[..]),
        ("abc", &["A=äb".to_string()][..])
    );
}

#[test]
fn cover_pictures_are_passed_over() {
    let tags = OpusTags {
        vendor: "v".into(),
        comments: vec!["A=b".into(), "P".repeat(300_000)],
    };
    let mut file = Vec::new();
    let config = WriterConfig::default().tags(tags);
    let mut writer = OggOpusWriter::new(config, &mut file).unwrap();
    writer.write(Duration::ZERO, &packet(5), &mut file).unwrap();
    writer.finish(&mut file);
    let mut reader = OggOpusReader::new(Limits::default());
    reader.feed(&file).unwrap();
    assert_eq!(reader.poll().unwrap().unwrap().data.len(), 6);
    assert_eq!(reader.tags().unwrap().comments, ["A=b"]);
}

#[test]
fn surround_is_refused() {
    let error = read(&headers(6)).1.unwrap();
    assert_eq!(error.kind, MediaErrorKind::Unsupported);
    assert!(error.reason.contains("-ac 2"), "{error}");
}

#[test]
fn a_hole_in_the_granule_positions_is_time() {
    let mut file = headers(2);
    // An excerpt of a broadcast: the first position is far from 0, and counts as 0.
    file.extend(page(2, 0, 1_000_960, &[10], &packet(9)));
    file.extend(page(3, 0, 1_000_960 + 4800 + 960, &[10], &packet(9)));
    // The last page trims its end: the packet is sent whole.
    file.extend(page(4, END, 1_000_960 + 4800 + 961, &[10], &packet(9)));
    let (frames, error) = read(&file);
    assert_eq!((times(&frames), error), (vec![0, 120, 140], None));
}

#[test]
fn chained_streams_go_on_in_time() {
    let mut link = headers(2);
    link.extend(page(
        2,
        END,
        1920,
        &[10, 10],
        &[packet(9), packet(9)].concat(),
    ));
    let file = [link.clone(), link].concat();
    let (frames, error) = read(&file);
    assert_eq!((times(&frames), error), (vec![0, 20, 40, 60], None));
}

#[test]
fn other_streams_are_passed_over() {
    let other = |sequence, flags| {
        let mut out = Vec::new();
        let body = b"\x80theora and more".to_vec();
        let lacing = vec![body.len() as u8];
        Page {
            offset: 0,
            flags,
            granule: 0,
            serial: 99,
            sequence,
            lacing,
            body,
        }
        .write(&mut out);
        out
    };
    let ours = headers(2);
    let first_page = 27 + 1 + 19;
    let mut file = other(0, BEGIN);
    file.extend_from_slice(&ours[..first_page]);
    file.extend(other(0, BEGIN));
    file.extend_from_slice(&ours[first_page..]);
    file.extend(other(1, 0));
    file.extend(page(2, END, 960, &[10], &packet(9)));
    file.extend(other(2, END));
    assert_eq!(times(&read(&file).0), [0]);
    assert_eq!(
        read(&other(0, BEGIN)).1.unwrap().kind,
        MediaErrorKind::WrongFormat
    );
}

/// Returns frames and damage, and checks that they do not depend on the size of the pieces fed.
fn resynchronised(file: &[u8]) -> (Vec<Frame>, Option<MediaError>, Option<String>) {
    let mut results = [1, 7, usize::MAX].map(|chunk| {
        let mut reader = Reader::Ogg(Box::new(OggOpusReader::new(Limits::default())));
        let (frames, error) = drain(&mut reader, file, chunk);
        (frames, error, reader.damage())
    });
    assert!(results.iter().all(|result| *result == results[0]));
    std::mem::take(&mut results[0])
}

#[test]
fn damage_is_passed_over_and_told_of() {
    let good = page(2, 0, 960, &[10], &packet(9));
    let start = [headers(2), good].concat();
    let next = |sequence| page(sequence, 0, 1920 + 960, &[10], &packet(9));
    let at = start.len();
    let mut wrong = page(3, 0, 1920, &[10], &packet(9));
    wrong[30] ^= 1;
    let cases = [
        (vec![], "page 4 where page 3"),
        (wrong, "wrong checksum"),
        (page(3, CONTINUED, 1920, &[10], &packet(9)), "is missing"),
        (page(3, 0, 1920, &[2], &[0xFD, 1]), "no Opus packet"),
        (page(3, 0, 1920, &[0], &[]), "no Opus packet"),
        (b"OggS\x01 and more".to_vec(), "unknown version"),
        (b"OggS\0 and then".to_vec(), "wrong checksum"),
        (vec![1; 40], "no Ogg page"),
        (vec![b'O'; 3], "no Ogg page"),
        (b"OggOggSOgg".to_vec(), "no Ogg page"),
    ];
    for (bad, word) in cases {
        let file = [start.clone(), bad, next(4)].concat();
        let (frames, error, damage) = resynchronised(&file);
        assert_eq!((times(&frames), error), (vec![0, 40], None), "{word}");
        let damage = damage.unwrap_or_else(|| panic!("{word}"));
        assert!(
            damage.contains(word) && damage.contains(&at.to_string()),
            "{damage}"
        );
    }
    // The end of an ID3v1 tag, or of anything else.
    let (frames, error, _) = resynchronised(&[start.clone(), vec![b'T'; 128]].concat());
    assert_eq!((frames.len(), error), (1, None));
    let (_, error, _) = resynchronised(&[start.clone(), next(3)[..30].to_vec()].concat());
    assert_eq!(error.unwrap().kind, MediaErrorKind::Truncated);
    // A duplicate page is played once.
    let (frames, error, damage) = resynchronised(&[start.clone(), next(3), next(3)].concat());
    assert_eq!((times(&frames), error), (vec![0, 40], None));
    assert!(damage.unwrap().contains("twice"));
    // A packet that never ends.
    let open = page(3, 0, NO_GRANULE, &[255], &packet(254));
    let (frames, error, _) = resynchronised(&[start.clone(), open.clone()].concat());
    assert_eq!(
        (frames.len(), error.unwrap().kind),
        (1, MediaErrorKind::Truncated)
    );
    let (frames, error, damage) = resynchronised(&[start, open, next(4)].concat());
    assert_eq!((times(&frames), error), (vec![0, 40], None));
    assert!(damage.unwrap().contains("does not continue"));
}

/// A file full of page headers, each of which claims the maximum page size.
#[test]
fn false_pages_cost_no_more_than_they_are_long() {
    let mut file = [headers(2), page(2, 0, 960, &[10], &packet(9))].concat();
    let mut false_page = b"OggS".to_vec();
    false_page.resize(26, 0);
    false_page.push(255);
    false_page.resize(27 + 255, 255);
    file.extend(false_page.repeat(30_000));
    let began = std::time::Instant::now();
    let mut reader = OggOpusReader::new(Limits::default());
    reader.feed(&file).unwrap();
    reader.finish();
    assert!(reader.poll().unwrap().is_some());
    let end = reader.poll();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}: {end:?}");
}

#[test]
fn the_writer_refuses() {
    let mut out = Vec::new();
    assert!(OggOpusWriter::new(WriterConfig::default().channels(3), &mut out).is_err());
    let mut writer = OggOpusWriter::new(WriterConfig::default(), &mut out).unwrap();
    let mut write = |ms, data: &[u8]| {
        let result = writer.write(Duration::from_millis(ms), data, &mut out);
        result.map_err(|error| error.kind)
    };
    assert_eq!(write(1000, &packet(3)), Ok(()));
    assert_eq!(write(1000, &packet(3)), Err(MediaErrorKind::Reordered));
    assert_eq!(write(0, &packet(3)), Err(MediaErrorKind::Reordered));
    assert_eq!(write(2000, &[]), Err(MediaErrorKind::Damaged));
    assert_eq!(write(3_700_000, &packet(3)), Err(MediaErrorKind::TooLarge));
    // A few milliseconds of jitter are ignored.
    assert_eq!(write(1018, &packet(3)), Ok(()));
}
