use super::super::reader::{Reader, tests::drain};
use super::*;

const H264_SPS: &[u8] = &[0x67, 0x42, 0xC0, 0x1E, 0xD9, 0x00, 0xA0, 0x47, 0xFE, 0xC8];

fn read(codec: Codec, file: &[u8], limits: Limits) -> (Vec<Frame>, Option<MediaError>) {
    let mut results = [1, 2, 3, 50, usize::MAX].map(|chunk| {
        let reader = AnnexBReader::new(codec, limits.clone()).unwrap();
        drain(&mut Reader::AnnexB(Box::new(reader)), file, chunk)
    });
    assert!(results.iter().all(|result| *result == results[0]));
    std::mem::take(&mut results[0])
}

#[test]
fn start_codes() {
    let stream = [
        0, 0, 0, 1, 9, 0xF0, 0, 0, 1, 7, 1, 0, 0, 3, 0, 0, 0, 0, 0, 1, 8, 0, 0, 1, 0, 0, 1,
    ];
    let found: Vec<_> = units(&stream).collect();
    // Emulation prevention bytes stay, trailing zeros go, empty units are skipped.
    assert_eq!(
        found,
        [(4, &[9, 0xF0][..]), (9, &[7, 1, 0, 0, 3]), (20, &[8])]
    );
    // Compared with the simple algorithm, for all strings of 0, 1, 2 up to a length.
    for length in 0..9u32 {
        for code in 0..3usize.pow(length) {
            let bytes: Vec<u8> = (0..length)
                .map(|n| (code / 3usize.pow(n) % 3) as u8)
                .collect();
            for from in 0..3 {
                let rest = bytes.get(from..).unwrap_or_default();
                let plain = rest
                    .windows(3)
                    .position(|w| w == [0, 0, 1])
                    .map(|at| at + from);
                assert_eq!(
                    find_start_code(&bytes, from),
                    plain,
                    "{bytes:?} from {from}"
                );
            }
        }
    }
}

#[test]
fn garbage_at_the_beginning() {
    let (frames, error) = read(Codec::H264, &[0, 0, 5, 0, 0, 1, 9], Limits::default());
    let error = error.unwrap();
    assert_eq!(
        (frames.len(), error.kind, error.offset),
        (0, MediaErrorKind::WrongFormat, 2)
    );
    // Zeros are valid (leading_zero_8bits), and parameter sets alone are not a frame.
    let stream = [&[0; 9][..], &[0, 0, 1], H264_SPS].concat();
    assert_eq!(
        read(Codec::H264, &stream, Limits::default()),
        (vec![], None)
    );
}

#[test]
fn limits() {
    let limits = Limits::default().max_frame(100);
    let long = [&[0, 0, 1, 6][..], &[7; 200]].concat();
    assert_eq!(
        read(Codec::H264, &long, limits.clone()).1.unwrap().kind,
        MediaErrorKind::TooLarge
    );
    let many = [0, 0, 1, 6, 7, 7, 7, 7].repeat(40);
    assert_eq!(
        read(Codec::H265, &many, limits.clone()).1.unwrap().kind,
        MediaErrorKind::TooLarge
    );
    // Different video parameter sets of 5,000 bytes each.
    let sets: Vec<u8> = (0..16u8)
        .flat_map(|id| [&[0, 0, 1, 0x40, 1, id << 4 | 1][..], &[7; 5000]].concat())
        .collect();
    let error = read(Codec::H265, &sets, Limits::default()).1.unwrap();
    assert!(error.reason.contains("parameter sets"), "{error}");
}

#[test]
fn refused_kinds() {
    let partitioned = read(Codec::H264, &[0, 0, 1, 0x22, 9, 9], Limits::default())
        .1
        .unwrap();
    assert_eq!(partitioned.kind, MediaErrorKind::Unsupported);
    assert!(AnnexBReader::new(Codec::Vp8, Limits::default()).is_none());
    let broken = read(Codec::H264, &[0, 0, 1, 0x67, 0x42], Limits::default())
        .1
        .unwrap();
    assert_eq!((broken.kind, broken.offset), (MediaErrorKind::Damaged, 0));
}

#[test]
fn sps_of_a_baseline_stream() {
    let sps = super::super::h264::Sps::parse(H264_SPS).unwrap();
    assert_eq!((sps.width, sps.height), (640, 128));
    assert_eq!(sps.profile_level_id(), "42c01e");
    assert_eq!((sps.max_num_reorder_frames, sps.frame_time), (None, None));
}

#[test]
fn times_go_on_when_the_rate_changes() {
    let mut clock = Clock::default();
    let rate = |n| Timebase::new(1, n);
    let times = [rate(10), rate(10), rate(20), rate(20), rate(5000), None]
        .map(|r| clock.tick(r).0.as_millis());
    assert_eq!(times, [0, 100, 200, 250, 300, 333]);
    clock.forced = rate(10);
    assert_eq!(clock.tick(rate(20)).0.as_millis(), 366);
}

#[test]
fn writing() {
    let mut out = Vec::new();
    write(&[0x65, 1], &mut out);
    write(&[0, 0, 1, 0x65, 1], &mut out);
    write(&[0, 0, 0, 1, 0x65, 1], &mut out);
    assert_eq!(
        out,
        [0, 0, 0, 1, 0x65, 1, 0, 0, 1, 0x65, 1, 0, 0, 0, 1, 0x65, 1]
    );
}
