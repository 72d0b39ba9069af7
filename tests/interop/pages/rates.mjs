// The examples that look at the path: what RTCP says of it, and how much it carries.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Example, ffmpeg, heard, photograph, SECONDS, shows, sleep, until } from './harness.mjs';
import { NarrowPath } from './narrow.mjs';

const RATES = [300, 1000, 2500];

/** One film in three qualities, each with its own size so that it can be told which is seen. */
async function film(dir) {
  const files = RATES.map((rate) => join(dir, `${rate}.ivf`));
  await Promise.all(RATES.map((rate, index) => ffmpeg('-f', 'lavfi', '-i',
    `testsrc2=size=${160 * (index + 1)}x${90 * (index + 1)}:rate=30,noise=alls=60:allf=t`, '-t', '8',
    '-c:v', 'libvpx', '-deadline', 'realtime', '-cpu-used', '8', '-b:v', `${rate}k`, '-minrate', `${rate}k`,
    '-maxrate', `${rate}k`, '-bufsize', `${rate / 2}k`, '-g', '30', '-keyint_min', '30', files[index])));
  return files;
}

const width = (page) => page.evaluate(() => $('video').videoWidth);

export const rates = {
  async rtcp_processing(open) {
    const example = new Example('--http', '127.0.0.1:0');
    const page = await open(await example.url());
    await shows(page, '#state', /^Connected$/);
    await example.line(/: sender report of [0-9a-f]{8}: timestamp \d+, [1-9]\d* packets/);
    await example.line(/: receiver report of [0-9a-f]{8}|sender report .*; [0-9a-f]{8} lost/);
    await example.line(/: transport-wide feedback on [1-9]\d* packets/);
    // The page cannot decode before it has a keyframe: it is asked for, and seen to be.
    await until('pictures', () => page.evaluate(() => $('video').videoWidth > 0));
    for (const kind of ['SR', 'TWCC']) {
      await until(`${kind} on the page`, () => heard(page, kind));
    }
    await photograph(page, 'rtcp_processing');
  },

  /** Up to the best on a good path, down on a bad one, and up again, which takes its time. */
  async bandwidth_estimation_from_disk(open, browser) {
    const dir = mkdtempSync(join(tmpdir(), 'rates-'));
    const path = new NarrowPath();
    try {
      const example = new Example('--http', '127.0.0.1:0', ...await film(dir));
      const page = await open('about:blank');
      // What drives Firefox here cannot rewrite answers.
      if (browser !== 'firefox') await path.attach(page);
      await page.goto(await example.url());
      await shows(page, '#state', /^Connected$/);
      await until('the best quality', async () => await width(page) === 480, 60);
      await photograph(page, 'bandwidth_estimation_from_disk');
      if (browser === 'firefox') return;
      path.kbit = 700;
      await until('a lesser quality', async () => await width(page) < 480, 60);
      await sleep(3 * SECONDS);
      const low = await page.evaluate(() => told.estimate);
      assert(low > 200 && low < 1000, `${low} kbit/s on a path of 700`);
      path.kbit = Infinity;
      await until('a better quality again', async () => await width(page) > 160, 60);
      console.log(`bandwidth_estimation_from_disk: ${low} kbit/s on a path of 700, ${path.dropped} datagrams dropped`);
    } finally {
      path.close();
      rmSync(dir, { recursive: true });
    }
  },
};
