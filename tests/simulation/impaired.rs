//! Video over bad networks: freezes and delays. Generates the tables of docs/media.md.

use std::sync::Arc;
use std::time::{Duration, Instant};

use looprtc::proto::media::JitterConfig;
use looprtc::proto::peer::{
    Codec, EncodedFrame, MediaKind, PeerConfig, PeerEvent, TransceiverConfig,
};
use looprtc::testing::{Link, Rng, Simulation};

use crate::common::connected;

/// A gap this long between frames is a freeze.
const FREEZE: Duration = Duration::from_millis(200);

/// Initial time that is not counted, while a player adapts to the network.
const SETTLING: usize = 150;

const INTERVAL: Duration = Duration::from_millis(33);

#[derive(Debug, Default)]
struct Outcome {
    sent: usize,
    shown: usize,
    freezes: usize,
    frozen: Duration,
    longest: Duration,
    /// Average time from writing to delivery.
    delay: Duration,
    keyframes: usize,
}

/// Sends `frames` frames of 1 to 6 packets, 30 per second, to a peer with or without a jitter buffer.
fn play(seed: u64, link: Link, frames: usize, buffered: bool) -> Outcome {
    let mut sim = Simulation::new(seed, link);
    let mut rng = Rng::new(seed);
    let buffer = buffered.then(|| JitterConfig::new(90_000));
    let receiver = PeerConfig::default().jitter_buffer(buffer);
    let (a, b) = sim.pair_with(PeerConfig::default(), receiver);
    let config = TransceiverConfig::default().codecs([Codec::Vp8]);
    let added = sim.with(a, |peer, now| peer.add_track(MediaKind::Video, config, now));
    let ours = added.unwrap();
    connected(&mut sim, a, b);
    sim.run_for(1000);
    while sim.next_event(b).is_some() {}

    let mut outcome = Outcome::default();
    let mut written: Vec<Instant> = Vec::new();
    let mut shown: Vec<Instant> = Vec::new();
    let mut wants_key = true;
    let mut decodable = false;
    let mut late = Duration::ZERO;
    // The last second is only for delivery.
    for n in 0..frames + 30 {
        if n < frames {
            let size = 600 + rng.below(6000) as usize;
            let mut data = vec![rng.next_u64() as u8; size];
            // VP8 reads the first bit to detect keyframes; the number is ours.
            data[0] = u8::from(!wants_key);
            data[4..8].copy_from_slice(&(n as u32).to_be_bytes());
            outcome.keyframes += usize::from(std::mem::take(&mut wants_key));
            let frame = EncodedFrame::new(Arc::<[u8]>::from(data), INTERVAL * n as u32);
            written.push(sim.now());
            sim.with(a, |peer, now| peer.write_frame(ours, &frame, now))
                .unwrap();
        }
        for _ in 0..11 {
            sim.run_for(3);
            let now = sim.now();
            while let Some(event) = sim.next_event(b) {
                let PeerEvent::Frame(frame) = event else {
                    continue;
                };
                decodable = frame.keyframe || decodable && frame.contiguous;
                let number = u32::from_be_bytes(frame.data[4..8].try_into().unwrap()) as usize;
                if decodable && number >= SETTLING {
                    shown.push(now);
                    late += now - written[number];
                }
            }
        }
        while let Some(event) = sim.next_event(a) {
            wants_key |= matches!(event, PeerEvent::KeyframeRequest { .. });
        }
    }
    outcome.sent = frames - SETTLING;
    outcome.shown = shown.len();
    for gap in shown.windows(2).map(|w| w[1] - w[0]) {
        outcome.longest = outcome.longest.max(gap);
        if gap > FREEZE {
            outcome.freezes += 1;
            outcome.frozen += gap;
        }
    }
    outcome.delay = late / (shown.len().max(1) as u32);
    outcome
}

#[test]
fn a_loss_of_5_percent_freezes_no_video() {
    for seed in 40..46 {
        for jitter in [20, 50, 100] {
            let link = Link::default().loss(0.05).delay(20, jitter);
            let outcome = play(seed, link, 900, true);
            let case = format!("seed {seed}, jitter {jitter} ms: {outcome:?}");
            assert_eq!(outcome.freezes, 0, "{case}");
            assert!(outcome.shown * 100 >= outcome.sent * 99, "{case}");
            assert!(outcome.delay < Duration::from_millis(450), "{case}");
        }
    }
}

/// `LOOPRTC_MATRIX=1 cargo test --test simulation matrix -- --nocapture`
#[test]
fn the_matrix_of_bad_networks() {
    if std::env::var_os("LOOPRTC_MATRIX").is_none() {
        return;
    }
    println!(
        "| loss | jitter | buffer | shown of 1,650 | freezes | frozen | longest gap | delay | keyframes |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for loss in [0.0, 0.01, 0.05, 0.10] {
        for jitter in [20, 50, 100] {
            for buffered in [false, true] {
                let link = Link::default().loss(loss).delay(20, jitter);
                let o = play(7, link, 1800, buffered);
                println!(
                    "| {} % | {jitter} ms | {} | {} | {} | {} ms | {} ms | {} ms | {} |",
                    loss * 100.0,
                    if buffered { "yes" } else { "no" },
                    o.shown,
                    o.freezes,
                    o.frozen.as_millis(),
                    o.longest.as_millis(),
                    o.delay.as_millis(),
                    o.keyframes,
                );
            }
        }
    }
}
