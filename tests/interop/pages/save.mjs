// save_to_disk: the browser's fake camera and microphone into files, which ffmpeg then decodes.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Example, ffmpeg, photograph, SECONDS, shows, sleep, Unavailable, until } from './harness.mjs';

const RECORDED = 6;

const probe = (file, ...entries) => JSON.parse(execFileSync('ffprobe',
  ['-v', 'error', '-of', 'json', ...entries, file], { stdio: ['ignore', 'pipe', 'inherit'] }));

/** Decodes a file from first to last frame; a word of complaint fails the test. Its frames and its duration. */
async function decodes(file) {
  // In the file's own time: otherwise ffmpeg rounds to a frame rate that it has guessed, and complains of
  // two frames at one time where a busy machine's camera was late.
  await ffmpeg('-xerror', '-i', file, '-fps_mode', 'passthrough', '-enc_time_base', '-1', '-f', 'null', '-');
  const { streams: [{ nb_read_frames: frames }], format: { duration } } = probe(file, '-count_frames',
    '-show_entries', 'stream=nb_read_frames:format=duration');
  // A byte stream knows no time.
  return { frames: Number(frames), duration: duration && Number(duration) };
}

/** What the page has sent of video: frames, and for how long. */
const sent = (page) => page.evaluate(async () => {
  const all = [...(await pc.getStats()).values()];
  const { framesSent = 0, codecId, frameWidth } = all.find((s) => s.type === 'outbound-rtp' && s.kind === 'video') ?? {};
  return { frames: framesSent, codec: all.find((s) => s.id === codecId)?.mimeType, frameWidth };
});

async function begins(open, url, codec) {
  const page = await open(url);
  const offered = await page.locator('#codec option').evaluateAll((all) => all.map(({ value }) => value));
  if (!offered.includes(codec)) return { missing: `this browser has no encoder for ${codec}` };
  await page.selectOption('#codec', codec);
  await page.click('#record');
  await shows(page, '#state', /^Recording$/);
  await until(`${codec}: first frames`, async () => (await sent(page)).frames > 5);
  return { page };
}

/** The line that the program says of a file it has finished. */
async function finished(example, codec) {
  const pattern = new RegExp(`^Saved (\\S+/${codec}-\\S+): (\\d+) frames, ([\\d.]+) s, (\\d+) left out`);
  const [, file, frames, seconds, dropped] = await example.line(pattern);
  return { file, frames: Number(frames), seconds: Number(seconds), dropped: Number(dropped) };
}

/** How a recording ends; what it takes for the files to be finished. */
const ENDS = {
  async stopped(page) { await page.click('#stop'); },
  async closed(page) { await page.close(); },
  async interrupted(_page, example) { example.child.kill('SIGINT'); },
  async killed(_page, example) { example.child.kill('SIGKILL'); },
};

async function records(open, codec, end) {
  const dir = mkdtempSync(join(tmpdir(), 'save-'));
  try {
    const example = new Example('--http', '127.0.0.1:0', '--dir', dir);
    const { page, missing } = await begins(open, await example.url(), codec);
    if (missing) return missing;
    const begin = Date.now();
    await sleep(RECORDED / 2 * SECONDS);
    // Another size midway, as when the path gets worse.
    await page.evaluate(async () => {
      const sender = pc.getSenders().find(({ track }) => track.kind === 'video');
      const parameters = sender.getParameters();
      parameters.encodings[0].scaleResolutionDownBy = 2;
      await sender.setParameters(parameters);
    });
    await sleep(RECORDED / 2 * SECONDS);
    if (end === 'stopped') await photograph(page, 'save_to_disk');
    const of = await sent(page);
    assert.equal(of.codec, `video/${codec}`);
    // Smaller still, if the browser finds the machine too slow.
    assert(of.frameWidth <= 320, `the size was to change: ${of.frameWidth}`);
    const wall = (Date.now() - begin) / SECONDS;
    await ENDS[end](page, example);
    for (const kind of [codec.toLowerCase(), 'opus']) {
      const [file] = readdirSync(dir).filter((name) => name.startsWith(`${kind}-1.`)).map((name) => join(dir, name));
      const told = end === 'killed' ? null : await finished(example, kind);
      const real = await decodes(file);
      console.log(`${codec}, ${end}: ${of.frames} frames sent in ${wall.toFixed(2)} s and a bit, ${JSON.stringify({ told, real })}`);
      // What was sent before the first six frames were seen to be sent, and since the last count.
      assert(real.duration === undefined || Math.abs(real.duration - wall - 0.4) < 1, `${file}: ${real.duration} s, recorded for ${wall} s`);
      if (kind !== 'opus') assert(real.frames >= 0.98 * of.frames - 2, `${file}: ${real.frames} of ${of.frames} frames`);
      if (!told) continue;
      assert.equal(told.file, file);
      if (kind !== 'opus') assert.equal(real.frames, told.frames, `${file}: frames`);
      const frame = kind === 'opus' ? 0.02 : told.seconds / told.frames;
      assert(real.duration === undefined || Math.abs(real.duration - told.seconds) <= frame, `${file}: ${real.duration} s of ${told.seconds} s`);
    }
  } finally {
    rmSync(dir, { recursive: true });
  }
}

export const save = {
  async save_to_disk(open, browser) {
    const missing = [
      await records(open, 'VP8', 'stopped'),
      await records(open, 'VP9', 'interrupted'),
      await records(open, 'AV1', 'closed'),
      // Debian's Firefox has no encoder for H.264.
      await records(open, browser === 'firefox' ? 'VP8' : 'H264', 'killed'),
    ];
    const why = missing.filter(Boolean).join('; ');
    if (why) throw new Unavailable(why);
  },
};
