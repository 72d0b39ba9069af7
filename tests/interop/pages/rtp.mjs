// The examples that speak plain RTP: ffmpeg and GStreamer send it, ffmpeg receives it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Example, ffmpeg, photograph, running, SECONDS, shows, sleep, until } from './harness.mjs';

// Even, as is the custom; different for tests that run at the same time.
const port = 20000 + 8 * (process.pid % 1000);

/** A running program of somebody else; what it writes is kept. */
function program(name, ...args) {
  const child = spawn(name, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  running.push(child);
  const run = { child, out: '', err: '' };
  child.stdout.on('data', (data) => { run.out += data; });
  child.stderr.on('data', (data) => { run.err += data; });
  run.ended = new Promise((done) => {
    child.on('close', (code, signal) => done(code ?? signal));
    child.on('error', (error) => { run.err += error; done('not started'); });
  });
  return run;
}

const VIDEO = ['-f', 'lavfi', '-i', 'testsrc2=size=320x180:rate=30'];
const AUDIO = ['-f', 'lavfi', '-i', 'sine=440:sample_rate=48000'];
const ENCODERS = {
  vp8: ['-c:v', 'libvpx', '-deadline', 'realtime', '-cpu-used', '8', '-b:v', '500k', '-g', '30'],
  h264: ['-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency', '-b:v', '500k', '-g', '30', '-pix_fmt', 'yuv420p',
    '-flags', '+global_header'],
};
const to = (number) => `rtp://127.0.0.1:${number}?pkt_size=1200`;
const RTP = ['-f', 'rtp', '-rtpflags', 'send_bye'];
const ffmpegArgs = (codec, ...input) => [...input, ...VIDEO, ...input, ...AUDIO,
  '-map', '0:v', ...ENCODERS[codec], ...RTP, to(port), '-map', '1:a', '-c:a', 'libopus', ...RTP, to(port + 2)];
const sends = (codec) => program('ffmpeg', '-nostdin', '-v', 'error', ...ffmpegArgs(codec, '-re'));
const gstreamerArgs = [
  ...'videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=180,framerate=30/1'.split(' '),
  ...'! vp8enc deadline=1 cpu-used=8 keyframe-max-dist=30 target-bitrate=500000 ! rtpvp8pay mtu=1200'.split(' '),
  ...`! udpsink host=127.0.0.1 port=${port}`.split(' '),
  ...'audiotestsrc is-live=true ! audioconvert ! audioresample ! opusenc ! rtpopuspay'.split(' '),
  ...`! udpsink host=127.0.0.1 port=${port + 2}`.split(' '),
];

/** A sender, killed and started again, then replaced after a goodbye: the page sees it go on. */
async function shown(open, name, flags, start, saysGoodbye) {
  const example = new Example('--http', '127.0.0.1:0', ...flags);
  const page = await open(await example.url());
  await shows(page, '#state', /^Connected$/);
  // Of a muted element Chromium counts silence.
  await page.evaluate(() => { $('video').muted = false; });
  const count = () => page.evaluate(async () => {
    const { video, audio } = await received();
    return { received: video?.framesReceived ?? 0, decoded: video?.framesDecoded ?? 0, frozen: video?.totalFreezesDuration ?? 0,
      lost: (video?.packetsLost ?? 0) + (audio?.packetsLost ?? 0), sound: audio?.totalSamplesReceived ?? 0,
      concealed: audio?.concealedSamples ?? 0, ssrc: video?.ssrc, at: video?.timestamp,
      dropped: video?.framesDropped ?? 0,
      lip: (video?.estimatedPlayoutTimestamp ?? NaN) - (audio?.estimatedPlayoutTimestamp ?? NaN) };
  });
  const senders = () => example.lines.filter((line) => /SSRC \w+ from /.test(line)).length;
  /** So many seconds, as the browser counts them. What was lost on the way would be seen: gaps stay gaps. */
  const measure = async (seconds) => {
    const before = await count();
    await sleep(seconds * SECONDS);
    const after = await count();
    const since = (name) => after[name] - before[name];
    const due = since('at') / 1000 * 30;
    console.log(`${name}: ${since('decoded')} of ${since('received')} frames decoded (30 a second are ${due.toFixed(1)}), `
      + `frozen for ${since('frozen')} s, ${after.lost} packets lost, ${since('sound')} samples of sound, `
      + `${since('concealed')} of them concealed, video and sound ${after.lip} ms apart`);
    assert.equal(after.lost, 0);
    return [
      since('received') >= 0.85 * due || `${since('received')} of ${due} frames came`,
      // Some wait in the jitter buffer, more of them while what the restart has shaken settles.
      since('dropped') <= 0.02 * since('received') || `${since('dropped')} frames dropped`,
      since('decoded') >= since('received') - since('dropped') - 10 || `${since('decoded')} frames decoded`,
      since('frozen') < 0.2 || `frozen for ${since('frozen')} s`,
      since('sound') - since('concealed') > 0.95 * 48000 * seconds || 'sound',
    ].filter((good) => good !== true);
  };
  /** The sender encodes as it goes, and stutters when it has no processor to itself: one window of three is good. */
  const plays = async (seconds) => {
    let wrong;
    for (let tries = 0; tries < 3; tries++) {
      wrong = await measure(seconds);
      if (wrong.length === 0) return;
    }
    assert.fail(`${name}: ${wrong.join(', ')}`);
  };
  const goesOn = async () => {
    const { decoded } = await count();
    await until('frames', async () => (await count()).decoded > decoded + 30);
  };

  const first = start();
  await goesOn();
  await sleep(1 * SECONDS);
  await plays(5);
  const { ssrc } = await count();
  first.child.kill('SIGKILL');
  await first.ended;
  const killed = Date.now();
  const second = start();
  await until('another sender', () => senders() >= 4);
  await goesOn();
  console.log(`${name}: 30 frames of the sender started again ${((Date.now() - killed) / 1000).toFixed(1)} s after the first was killed`);
  await plays(3);
  await until('sound and pictures in step', async () => Math.abs((await count()).lip) < 40);
  second.child.kill('SIGINT');
  await second.ended;
  if (saysGoodbye) await example.line(/SSRC \w+ has ended/);
  start();
  await goesOn();
  await photograph(page, `rtp_to_webrtc_${name}`);
  // Of all this the browser has noticed nothing: the same stream, nothing lost, no other connection.
  const { ssrc: last, lost } = await count();
  assert.equal(last, ssrc);
  assert.equal(lost, 0);
  assert.equal(example.lines.filter((line) => /connection connected/.test(line)).length, 1);
  await shows(page, '#state', /^Connected$/);
  // Who comes later sees it with the next keyframe.
  const late = await open(page.url());
  await until('frames on the second page', () => late.evaluate(async () => (await received()).video?.framesDecoded > 30));
}

const flags = (codec) => ['--stream', `${codec}@${port}`, '--stream', `opus@${port + 2}`];

/** The browser's fake camera and microphone, decoded by ffmpeg from the SDP file. */
async function forwarded(open, codec) {
  const dir = mkdtempSync(join(tmpdir(), 'forward-'));
  const sdp = join(dir, 'forwarded.sdp');
  try {
    const example = new Example('--http', '127.0.0.1:0', '--to', `127.0.0.1:${port}`, '--codec', codec, '--sdp', sdp);
    const url = await example.url();
    const receive = () => program('ffmpeg', '-nostdin', '-v', 'error', '-protocol_whitelist', 'file,udp,rtp', '-i', sdp,
      '-map', '0:v', '-map', '0:a', '-t', '5', '-f', 'framecrc', '-');
    const frames = (run, index) => run.out.split('\n').filter((line) => line.startsWith(`${index},`)).length;
    const check = async (run, what) => {
      const status = await run.ended;
      console.log(`rtp_forwarder_${codec}, ${what}: ffmpeg decoded ${frames(run, 0)} pictures and ${frames(run, 1)} frames of sound`);
      assert.equal(run.err, '', 'ffmpeg complains');
      assert.equal(status, 0);
      assert(frames(run, 0) > 80, `${frames(run, 0)} pictures in 5 s`);
      // A page needs a moment to take over.
    assert(frames(run, 1) > 200, `${frames(run, 1)} frames of sound in 5 s`);
    };
    // It listens before the page sends: who comes in the middle of a group of pictures complains of it.
    const hex = port.toString(16).toUpperCase().padStart(4, '0');
    const listening = () => until('ffmpeg to listen', () => readFileSync('/proc/net/udp', 'utf8').includes(`:${hex} `));
    let player = receive();
    await listening();
    const page = await open(url);
    await shows(page, '#state', /^Connected$/);
    await check(player, 'one page');
    await shows(page, '#figures', new RegExp(`^${codec}, \\d+ × \\d+, \\d+ frames(, \\d+ keyframes)?$`, 'i'));
    await photograph(page, `rtp_forwarder_${codec}`);
    const { keyFramesEncoded } = await page.evaluate(() => sent());
    // Firefox does not count them.
    if (keyFramesEncoded !== undefined) {
      await until('a keyframe that was asked for', async () => (await page.evaluate(() => sent())).keyFramesEncoded > keyFramesEncoded);
    }
    if (codec === 'h264') assert.match(readFileSync(sdp, 'utf8'), /sprop-parameter-sets=/);
    // Another page takes over, and the player goes on: it is one stream still.
    await page.close();
    await example.line(/connection (disconnected|closed)/);
    player = receive();
    await listening();
    const another = await open(url);
    await until('frames', () => another.evaluate(async () => (await sent()).framesSent > 50));
    await open(url);
    await check(player, 'two pages');
  } finally {
    rmSync(dir, { recursive: true });
  }
}

export const rtp = {
  rtp_to_webrtc_vp8: (open) => shown(open, 'vp8', flags('vp8'), () => sends('vp8'), true),
  /** With the parameter sets in the SDP file only: they are put before the keyframes. */
  async rtp_to_webrtc_h264(open) {
    const dir = mkdtempSync(join(tmpdir(), 'sdp-'));
    const sdp = join(dir, 'ffmpeg.sdp');
    try {
      await ffmpeg(...ffmpegArgs('h264', '-t', '0.2'), '-sdp_file', sdp);
      await shown(open, 'h264', ['--sdp', sdp], () => sends('h264'), true);
    } finally {
      rmSync(dir, { recursive: true });
    }
  },
  rtp_to_webrtc_gstreamer: (open) =>
    shown(open, 'gstreamer', flags('vp8'), () => program('gst-launch-1.0', '-q', ...gstreamerArgs), false),
  rtp_forwarder_vp8: (open) => forwarded(open, 'vp8'),
  rtp_forwarder_h264: (open) => forwarded(open, 'h264'),
};
