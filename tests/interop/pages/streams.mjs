// Named streams, watched and published by pages. The test serves them; its address is given instead of a program.
import assert from 'node:assert/strict';
import { SECONDS, sleep } from './harness.mjs';

const url = process.argv[3];

/** What a page sees for some seconds: as many pictures as there are, none late, none missing. */
async function steady(page, name, rate, seconds = 4) {
  const delay = (a, b) => (b.delay - a.delay) / Math.max(1, b.emitted - a.emitted) * 1000;
  const begin = await page.evaluate(() => count());
  await sleep(seconds / 2 * SECONDS);
  const middle = await page.evaluate(() => count());
  await sleep(seconds / 2 * SECONDS);
  const end = await page.evaluate(() => count());
  const due = (end.at - begin.at) / 1000 * rate;
  const [early, late] = [delay(begin, middle), delay(middle, end)];
  console.log(`${name}: ${end.codec}, ${end.decoded - begin.decoded} pictures of about ${due.toFixed(0)}, ${end.freezes} freezes of `
    + `${end.frozen} s in all, ${end.lost} packets lost, ${end.plis} keyframes asked for, `
    + `held ${early.toFixed(0)} ms, then ${late.toFixed(0)} ms`);
  assert.equal(end.lost, 0, 'nothing is lost');
  assert(end.decoded - begin.decoded > 0.7 * due, `${name}: too few pictures`);
  assert(end.frozen - begin.frozen < 1, `${name}: it freezes`);
  // The delay may settle, but must not grow and grow.
  assert(late < 500 && late < early + 150, `${name}: the delay grows`);
  return end;
}

async function watched(open, name, rate, ...args) {
  const page = await open(url);
  const { connected, first } = await page.evaluate((args) => watch(...args), [name, ...args]);
  console.log(`${name}: connected ${connected.toFixed(0)} ms after the click, the first picture after ${first.toFixed(0)} ms`);
  // On a quiet machine it is a few hundred milliseconds.
  assert(first < 5 * SECONDS, `${name}: the first picture took ${first} ms`);
  return { page, first, end: await steady(page, name, rate) };
}

/** The test card in both codecs, the second page in the middle of it. */
async function card(open) {
  const one = await watched(open, 'card', 25);
  const other = await watched(open, 'card', 25, ['video', 'audio'], 'video/H264');
  assert.equal(other.end.codec, 'video/H264');
  assert(one.end.sound > 48000 && one.end.concealed < 0.2 * one.end.sound, 'sound');
}

/** A keyframe every ten seconds: who comes late decodes all since the last in a hurry. */
async function file(open) {
  const first = await open(url);
  await first.evaluate(() => watch('film'));
  await sleep(4 * SECONDS);
  await watched(open, 'film', 30);
}

/** A page publishes, others watch; the publisher goes and comes back. */
async function published(open) {
  const camera = await open(url);
  await camera.evaluate(() => publish('cam'));
  const one = await watched(open, 'cam', 20);
  const late = await watched(open, 'cam', 20);
  await camera.close();
  const again = await open(url);
  // The server finds out that the other one is gone.
  for (let tries = 0; ; tries += 1) {
    try {
      await again.evaluate(() => publish('cam'));
      break;
    } catch (error) {
      assert(tries < 20, `nobody else can publish: ${error}`);
      await sleep(SECONDS);
    }
  }
  for (const { page } of [one, late]) {
    const before = await page.evaluate(() => count());
    for (let tries = 0; (await page.evaluate(() => count())).decoded < before.decoded + 20; tries += 1) {
      assert(tries < 20, 'the viewers see the new publisher');
      await sleep(SECONDS);
    }
  }
}

/** In one browser, one after the other. */
export const streams = {
  async streams(open) {
    await card(open);
    await file(open);
    await published(open);
  },
};
