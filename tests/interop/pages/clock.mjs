// A clock in the picture: how far behind a camera the viewers of a live pipe are, who came early and who came late.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Example, ffmpeg, SECONDS, sleep, until } from './harness.mjs';

const RATE = 30;
const LENGTH = 25;

/** The number of a frame stands in its picture as so many squares, black or white, the lowest bit first. */
const BITS = 10;
const SQUARE = 32;

/** How long after a keyframe the late viewer comes, in seconds: it has all the pictures since then to catch up with. */
const LATE = 8;

/** How far behind the camera a viewer may be, and behind another viewer, in ms. */
const BEHIND = 300;

/** The access units of a stream in H.264 (Annex B), each of which begins with an access unit delimiter. */
function accessUnits(stream) {
  const begins = [];
  for (let at = 0; (at = stream.indexOf(Buffer.from([0, 0, 0, 1, 9]), at)) >= 0; at += 5) begins.push(at);
  return begins.map((begin, index) => stream.subarray(begin, begins[index + 1]));
}

/** A camera: writes an access unit whenever it is due, and notes when. */
class Camera {
  /** By the number of the frame, when it was written (`Date.now`). */
  written = [];
  #timer;

  constructor(example, units) {
    const begun = performance.now();
    this.#timer = setInterval(() => {
      while (this.written.length < units.length && performance.now() - begun >= this.written.length * SECONDS / RATE) {
        example.child.stdin.write(units[this.written.length]);
        this.written.push(Date.now());
      }
    }, 5);
  }

  stop() {
    clearInterval(this.#timer);
  }
}

/** In the page: notes which frame is shown when. */
function read({ bits, square }) {
  const video = document.querySelector('video');
  const canvas = new OffscreenCanvas(bits, 1);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  const clock = globalThis.clock = [];
  const onFrame = (now) => {
    for (let bit = 0; bit < bits; bit += 1) context.drawImage(video, bit * square + 8, 8, square - 16, square - 16, bit, 0, 1, 1);
    const { data } = context.getImageData(0, 0, bits, 1);
    let number = 0;
    for (let bit = 0; bit < bits; bit += 1) number += data[bit * 4] > 128 ? 1 << bit : 0;
    clock.push([number, performance.timeOrigin + now]);
    video.requestVideoFrameCallback(onFrame);
  };
  video.requestVideoFrameCallback(onFrame);
}

async function watches(open, url) {
  const begun = Date.now();
  const page = await open(`${url}/watch/camera`);
  await until('a picture', () => page.evaluate(() => document.querySelector('video')?.videoWidth > 0));
  await page.evaluate(read, { bits: BITS, square: SQUARE });
  return { page, took: Date.now() - begun };
}

/** How far behind the camera a page was in the last two seconds, in ms: the median. */
async function lag({ page }, camera) {
  const shown = await page.evaluate(() => globalThis.clock);
  const recent = shown.filter(([, at]) => at > Date.now() - 2 * SECONDS && at < Date.now());
  const lags = recent.map(([number, at]) => at - camera.written[number]).toSorted((a, b) => a - b);
  assert(lags.length > RATE && !lags.some(Number.isNaN), `${lags.length} pictures in two seconds`);
  return lags[lags.length >> 1];
}

export const clock = {
  async pipe_clock(open) {
    const dir = mkdtempSync(join(tmpdir(), 'clock-'));
    try {
      const file = join(dir, 'clock.h264');
      const squares = [...Array(BITS).keys()].map((bit) =>
        `drawbox=x=${bit * SQUARE}:y=0:w=${SQUARE}:h=${SQUARE}:t=fill:color=white:enable='mod(floor(n/${2 ** bit}),2)'`);
      const pictures = [`color=black:size=${BITS * SQUARE}x180:rate=${RATE}`, ...squares].join(',');
      await ffmpeg('-f', 'lavfi', '-i', pictures, '-t', String(LENGTH), '-c:v', 'libx264', '-preset', 'veryfast', '-tune', 'zerolatency',
        '-profile:v', 'baseline', '-g', String(10 * RATE), '-x264-params', 'aud=1:scenecut=0:repeat-headers=1', file);
      const units = accessUnits(readFileSync(file));
      assert.equal(units.length, LENGTH * RATE);
      const example = new Example('serve', '--listen', '127.0.0.1:0', 'camera=-');
      const url = await example.url();
      const camera = new Camera(example, units);
      const early = await watches(open, url);
      await until('the middle of a group of pictures', () => camera.written.length >= LATE * RATE);
      const late = await watches(open, url);
      await sleep(4 * SECONDS);
      const [first, second] = [await lag(early, camera), await lag(late, camera)];
      camera.stop();
      console.log(`pipe_clock: behind the camera: who was there ${first.toFixed(0)} ms, who came ${LATE} s after the keyframe `
        + `${second.toFixed(0)} ms (pictures ${late.took} ms after the page was asked for)`);
      assert(first <= BEHIND && second <= BEHIND, `${first} and ${second} ms behind`);
    } finally {
      rmSync(dir, { recursive: true });
    }
  },
};
