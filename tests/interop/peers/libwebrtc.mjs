// Google's libwebrtc, as bound to Node by @roamhq/wrtc.
//
// Extra arguments: `--ice-servers JSON`: W3C's. `--media KINDS`: send and receive media, "video:VP8,audio:opus": a moving ramp and a tone.
import wrtc from '@roamhq/wrtc';
import { emit, parseArgs, serve } from './stdio.mjs';
import { kindsOf, startMedia } from './w3c-media.mjs';
import { startPeer } from './w3c-peer.mjs';

const { RTCPeerConnection, nonstandard } = wrtc;
const args = parseArgs({ media: '', 'ice-servers': '[]' });
const iceServers = JSON.parse(args['ice-servers']);
const kinds = kindsOf(args.media);
const media = kinds.length > 0 ? { start: startMedia, kinds, makeTrack, watchTrack } : undefined;
const handle = await startPeer({ RTCPeerConnection, config: { iceServers }, emit, ...args, media });
serve(handle, args);

function makeTrack(kind) {
  return kind === 'video' ? makeVideo() : makeAudio();
}

function makeVideo() {
  const [width, height] = [320, 240];
  const source = new nonstandard.RTCVideoSource();
  const data = new Uint8ClampedArray((width * height * 3) / 2).fill(128);
  let n = 0;
  every(1000 / 30, () => {
    for (let y = 0; y < height; y += 1) data.fill((y + n * 3) & 255, y * width, (y + 1) * width);
    n += 1;
    source.onFrame({ width, height, data });
  });
  return source.createTrack();
}

function makeAudio() {
  const source = new nonstandard.RTCAudioSource();
  const sampleRate = 48000;
  const samples = new Int16Array(sampleRate / 100);
  let at = 0;
  every(10, () => {
    for (let i = 0; i < samples.length; i += 1, at += 1) samples[i] = 8000 * Math.sin((2 * Math.PI * 440 * at) / sampleRate);
    source.onData({ samples, sampleRate, bitsPerSample: 16, channelCount: 1, numberOfFrames: samples.length });
  });
  return source.createTrack();
}

// By an absolute schedule: Node's intervals drift.
function every(ms, act) {
  const begun = performance.now();
  let done = 0;
  setInterval(() => {
    const due = Math.floor((performance.now() - begun) / ms);
    // After a stall what is long past is left out.
    for (done = Math.max(done, due - 3); done < due; done += 1) act();
  }, Math.max(1, ms / 4)).unref();
}

function watchTrack(track) {
  let count = 0;
  const Sink = track.kind === 'video' ? nonstandard.RTCVideoSink : nonstandard.RTCAudioSink;
  const sink = new Sink(track);
  sink[track.kind === 'video' ? 'onframe' : 'ondata'] = () => { count += 1; };
  return () => count;
}
