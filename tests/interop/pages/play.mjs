// play_from_disk: thirty seconds of a clip in each codec, all at once, as the browser counts them.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Example, ffmpeg, photograph, SECONDS, shows, sleep, Unavailable, until } from './harness.mjs';

const MEASURED = 30;
const RATE = 30;

// A flash and a beep at every full second: what was made at one moment is to be seen and heard at one.
const PICTURES = `testsrc2=size=640x360:rate=${RATE},drawbox=w=64:h=64:color=black:t=fill,`
  + "drawbox=w=64:h=64:color=white:t=fill:enable='lt(mod(t,1),0.1)'";
const SOUND = "aevalsrc='0.4*sin(2*PI*1000*t)*lt(mod(t,1),0.1)':s=48000";

const quickly = ['-deadline', 'realtime', '-cpu-used', '8'];
const ENCODERS = {
  VP8: ['libvpx', ...quickly],
  VP9: ['libvpx-vp9', ...quickly],
  AV1: ['libaom-av1', '-usage', 'realtime', '-cpu-used', '8'],
  H264: ['libx264', '-preset', 'veryfast', '-tune', 'zerolatency', '-profile:v', 'main'],
};

/** A video file of this codec in `dir`, and what it is called. */
export async function clip(dir, codec, seconds, pictures = PICTURES, keyframes = '60') {
  const file = join(dir, codec === 'H264' ? 'video.h264' : `video-${codec}.ivf`);
  await ffmpeg('-f', 'lavfi', '-i', pictures, '-t', String(seconds), '-c:v', ...ENCODERS[codec], '-b:v', '1M', '-g', keyframes, file);
  return file;
}

/** In the page: notes when flashes are shown, and when beeps are heard. */
function watch() {
  const seen = { flashes: [], beeps: [], shown: [] };
  const speaker = new AudioContext(); // knows how much later than the page has it a sample is heard
  const video = document.getElementById('video');
  video.muted = false; // Chromium plays no sound of a muted element
  const dot = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  let lit = true;
  const onFrame = (_now, { expectedDisplayTime }) => {
    seen.shown.push(expectedDisplayTime);
    dot.drawImage(video, 8, 8, 48, 48, 0, 0, 1, 1);
    const isLit = dot.getImageData(0, 0, 1, 1).data[0] > 128;
    if (isLit && !lit) seen.flashes.push(expectedDisplayTime);
    lit = isLit;
    video.requestVideoFrameCallback(onFrame);
  };
  video.requestVideoFrameCallback(onFrame);
  const [track] = video.srcObject.getAudioTracks();
  const reader = new MediaStreamTrackProcessor({ track }).readable.getReader();
  let quiet = 0;
  (async () => {
    for (;;) {
      const { value: sound, done } = await reader.read();
      if (done) return;
      const now = performance.now() + speaker.outputLatency * 1000;
      const samples = new Float32Array(sound.numberOfFrames);
      sound.copyTo(samples, { planeIndex: 0, format: 'f32-planar' });
      samples.forEach((sample, index) => {
        const loud = Math.abs(sample) > 0.05;
        if (loud && quiet > sound.sampleRate / 2) seen.beeps.push(now + index / sound.sampleRate * 1000);
        quiet = loud ? 0 : quiet + 1;
      });
      sound.close();
    }
  })();
  globalThis.seen = seen;
}

const decoders = (page) => page.evaluate(() =>
  RTCRtpReceiver.getCapabilities('video').codecs.map(({ mimeType }) => mimeType.split('/')[1]));

const count = (page) => page.evaluate(async () => {
  const { video, audio } = await received();
  return {
    at: video?.timestamp, decoded: video?.framesDecoded ?? 0, freezes: video?.freezeCount ?? 0,
    frozen: video?.totalFreezesDuration ?? 0, sound: audio?.totalSamplesReceived ?? 0,
    concealed: audio?.concealedSamples ?? 0,
    // The sender's times of what is played now: of the picture, and of the sound.
    apart: (video?.estimatedPlayoutTimestamp ?? NaN) - (audio?.estimatedPlayoutTimestamp ?? NaN),
  };
});

const median = (numbers) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? NaN;

/** How far each flash is from the beep that it belongs to, in ms. */
function flashesFromBeeps({ flashes, beeps }) {
  const nearest = (flash) => beeps.map((beep) => flash - beep).reduce((a, b) => (Math.abs(a) < Math.abs(b) ? a : b), Infinity);
  // Of the last second one may have been noted and the other not.
  return flashes.map(nearest).filter((distance) => Math.abs(distance) < 500);
}

/**
 * Plays a clip and holds what the browser has counted against what was sent. Whether sound and pictures are
 * in step is measured twice, for each way trusts something: `estimatedPlayoutTimestamp` trusts our sender
 * reports, which say what belongs together, but knows how long the browser holds things back; flash and
 * beep trust nobody's clock, but are seen from the page, to a refresh of the screen (17 ms).
 */
async function plays(open, codec, video, audio) {
  const example = new Example('--http', '127.0.0.1:0', '--video', video, '--audio', audio);
  const page = await open(await example.url());
  if (!(await decoders(page)).includes(codec)) return `this browser has no decoder for ${codec}`;
  await example.line(new RegExp(`playing ${codec}`));
  await until(`${codec}: the first frames`, async () => (await count(page)).decoded > 15);
  await page.evaluate(watch);
  // Two sender reports of each, so that the browser can begin to put them in step.
  await until(`${codec}: sender reports`, async () => !Number.isNaN((await count(page)).apart));
  const before = await count(page);
  await page.evaluate(() => Object.values(globalThis.seen).forEach((list) => list.splice(0)));
  const apart = [];
  for (let second = 0; second < MEASURED; second++) {
    await sleep(SECONDS);
    apart.push((await count(page)).apart);
  }
  const after = await count(page);
  const seen = await page.evaluate(() => globalThis.seen);
  await shows(page, '#state', /^Connected$/);
  await photograph(page, `play_from_disk_${codec}`);

  const sent = (after.at - before.at) / SECONDS * RATE;
  const [decoded, frozen] = [after.decoded - before.decoded, after.frozen - before.frozen];
  const [sound, concealed] = [after.sound - before.sound, after.concealed - before.concealed];
  const distances = flashesFromBeeps(seen);
  const gap = Math.max(...seen.shown.slice(1).map((at, index) => at - seen.shown[index]));
  console.log(`${codec}: ${decoded} of ${sent.toFixed(1)} frames, longest gap ${gap.toFixed(0)} ms, `
    + `${after.freezes - before.freezes} freezes, ${concealed} of ${sound} samples concealed; `
    + `sound and pictures ${median(apart).toFixed(0)} ms apart by getStats (${apart.map(Math.round).join(' ')}), `
    + `${median(distances).toFixed(0)} ms by ${distances.length} flashes (${distances.map(Math.round).join(' ')}); load ${loadavg()[0].toFixed(1)}`);
  assert(decoded >= 0.98 * sent, `${codec}: ${decoded} of ${sent} frames`);
  // All freezes together; so none of them is longer.
  assert(frozen < 0.2, `${codec}: frozen for ${frozen} s`);
  assert(sound >= 0.98 * MEASURED * 48000, `${codec}: sound of ${sound} samples`);
  assert(concealed <= 0.02 * sound, `${codec}: ${concealed} of ${sound} samples concealed`);
  assert(Math.abs(median(apart)) <= 40, `${codec}: sound and pictures are ${median(apart)} ms apart`);
  assert(distances.length >= 0.9 * MEASURED, `${codec}: only ${distances.length} flashes with a beep`);
  assert(Math.abs(median(distances)) <= 40 + 17, `${codec}: flash and beep are ${median(distances)} ms apart`);
}

/** How long Firefox plays each codec. */
const MEASURED_IN_FIREFOX = 5;

/** Firefox can neither read sound sample by sample nor tell when something was to be played: here it is enough that it plays. */
async function playsOn(open, codec, video, audio) {
  const example = new Example('--http', '127.0.0.1:0', '--video', video, '--audio', audio);
  const page = await open(await example.url());
  if (!(await decoders(page)).includes(codec)) return console.log(`this browser has no decoder for ${codec}`);
  await example.line(new RegExp(`playing ${codec}`));
  await until(`${codec}: the first frames`, async () => (await count(page)).decoded > 15);
  const before = await count(page);
  await sleep(MEASURED_IN_FIREFOX * SECONDS);
  const after = await count(page);
  const sent = (after.at - before.at) / SECONDS * RATE;
  const decoded = after.decoded - before.decoded;
  const [sound, concealed] = [after.sound - before.sound, after.concealed - before.concealed];
  console.log(`${codec}: ${decoded} of ${sent.toFixed(1)} frames, ${concealed} of ${sound} samples concealed`);
  assert(decoded >= 0.9 * sent, `${codec}: ${decoded} of ${sent} frames`);
  assert(sound >= 0.9 * MEASURED_IN_FIREFOX * 48000, `${codec}: sound of ${sound} samples`);
  assert(concealed <= 0.05 * sound, `${codec}: ${concealed} of ${sound} samples concealed`);
  await shows(page, '#state', /^Connected$/);
}

export const play = {
  async play_from_disk(open, browser) {
    const dir = mkdtempSync(join(tmpdir(), 'play-'));
    try {
      const audio = join(dir, 'audio.ogg');
      const length = (browser === 'firefox' ? MEASURED_IN_FIREFOX : MEASURED) + 15;
      await ffmpeg('-f', 'lavfi', '-i', SOUND, '-t', String(length), '-c:a', 'libopus', audio);
      const codecs = Object.keys(ENCODERS);
      if (browser === 'firefox') {
        for (const codec of codecs) await playsOn(open, codec, await clip(dir, codec, length), audio);
        return;
      }
      const videos = await Promise.all(codecs.map((codec) => clip(dir, codec, length)));
      const missing = await Promise.all(codecs.map((codec, index) => plays(open, codec, videos[index], audio)));
      const why = missing.filter(Boolean).join('; ');
      if (why) throw new Unavailable(why);
    } finally {
      rmSync(dir, { recursive: true });
    }
  },

  /** Videos come and go, each click a negotiation; all that are there play. */
  async play_from_disk_renegotiation(open) {
    const dir = mkdtempSync(join(tmpdir(), 'play-'));
    try {
      const video = await clip(dir, 'VP8', 4);
      const example = new Example('--http', '127.0.0.1:0', '--video', video);
      const page = await open(await example.url(), { init: `globalThis.shownIn = ${shownIn}` });
      let videos = 0;
      let clicks = 0;
      const click = async (button, change) => {
        await page.click(`${button}:enabled`);
        videos += change;
        clicks++;
        const words = videos === 1 ? '1 video' : `${videos || 'No'} videos`;
        await shows(page, '#figures', new RegExp(`^${words}, negotiated (once|${clicks} times)$`));
        await playing(page, videos);
      };
      for (const step of '+++-+--+--') await (step === '+' ? click('#add', 1) : click('#remove', -1));
      await click('#add', 1);
      await click('#add', 1);
      await photograph(page, 'play_from_disk_renegotiation');
    } finally {
      rmSync(dir, { recursive: true });
    }
  },

  /** Who has the key sees the picture, who has none does not, and who gets it does again. */
  async insertable_streams(open) {
    const dir = mkdtempSync(join(tmpdir(), 'play-'));
    try {
      const video = await clip(dir, 'VP8', 6, `smptebars=size=640x360:rate=${RATE}`, '15');
      const example = new Example('--http', '127.0.0.1:0', '--video', video, '--key', 'a key');
      const page = await open(await example.url(), { init: `globalThis.shownIn = ${shownIn}` });
      await shows(page, '#state', /^Connected$/);
      const isSeen = () => page.evaluate(bars);
      const stays = async (what, wanted) => {
        await until(what, async () => (await isSeen()) === wanted);
        for (let second = 0; second < 4; second++) {
          await sleep(SECONDS / 2);
          assert.equal(await isSeen(), wanted, what);
        }
      };
      await stays('nothing with the wrong key', false);
      await page.fill('#key', 'a key');
      await stays('a picture with the key', true);
      await photograph(page, 'insertable_streams');
      await page.uncheck('#decrypt');
      await stays('no picture when it is not decrypted', false);
      await page.check('#decrypt');
      await stays('a picture again', true);
    } finally {
      rmSync(dir, { recursive: true });
    }
  },
};

/**
 * In the page: how many pictures an element has shown since this was first asked. Firefox does not count them where
 * `getVideoPlaybackQuality` says.
 */
function shownIn(video) {
  const counts = globalThis.shownCounts ??= new WeakMap();
  if (!counts.has(video)) {
    counts.set(video, 0);
    const onFrame = () => {
      counts.set(video, counts.get(video) + 1);
      video.requestVideoFrameCallback(onFrame);
    };
    video.requestVideoFrameCallback(onFrame);
  }
  return counts.get(video);
}

/** In the page: whether SMPTE's bars are seen: grey, yellow, cyan, green, magenta, red, blue. */
function bars() {
  const line = new OffscreenCanvas(7, 1).getContext('2d');
  const video = document.getElementById('video');
  for (let bar = 0; bar < 7; bar++) line.drawImage(video, bar * 640 / 7 + 40, 100, 8, 8, bar, 0, 1, 1);
  const { data } = line.getImageData(0, 0, 7, 1);
  const seen = [...Array(7).keys()].map((bar) => [0, 1, 2].map((c) => (data[bar * 4 + c] > 96 ? 1 : 0)).join(''));
  // A decoder that cannot go on leaves the last picture standing; so it has to go on as well.
  const shown = shownIn(video);
  const goesOn = shown !== globalThis.framesBefore;
  globalThis.framesBefore = shown;
  return goesOn && seen.join(' ') === '111 110 011 010 101 100 001';
}

/** Waits until so many videos are decoded in the page, and no more. */
const playing = (page, videos) => until(`${videos} videos that play`, async () => {
  // Shown, not only decoded.
  const shown = () => page.locator('#videos video').evaluateAll((all) => all.map((video) => shownIn(video)));
  const before = await shown();
  await sleep(300);
  const after = await shown();
  return after.length === videos && after.every((frames, index) => frames > (before[index] ?? 0));
});
