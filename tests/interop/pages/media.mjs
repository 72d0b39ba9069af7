// The examples with media, but for those that play files.
import assert from 'node:assert/strict';
import { Example, photograph, SECONDS, shows, sleep, until } from './harness.mjs';

/** What a page has received of pictures. */
const pictures = (page) => page.evaluate(async () => {
  const [video] = (await inbound(pc)).filter(({ kind }) => kind === 'video');
  return { decoded: video?.framesDecoded ?? 0, frozen: video?.totalFreezesDuration ?? 0 };
});

const framesSent = (page) => page.evaluate(async () =>
  [...(await pc.getStats()).values()].find((s) => s.type === 'outbound-rtp' && s.kind === 'video')?.framesSent ?? 0);

/** Holds what one page receives for a while against what the other sends. */
async function flows(to, from, seconds) {
  const [before, sentBefore] = [await pictures(to), await framesSent(from)];
  await sleep(seconds * SECONDS);
  const [after, sentAfter] = [await pictures(to), await framesSent(from)];
  const [decoded, sent] = [after.decoded - before.decoded, sentAfter - sentBefore];
  assert(sent > seconds * 10 && decoded >= 0.98 * sent - 2, `${decoded} of ${sent} frames`);
  assert(after.frozen - before.frozen < 0.2, `frozen for ${after.frozen - before.frozen} s`);
  return { decoded, sent };
}

export const media = {
  /** The browser's fake camera comes back, and its fake microphone. */
  async reflect(open) {
    const example = new Example('--http', '127.0.0.1:0');
    const page = await open(await example.url());
    await shows(page, '#state', /^Connected$/);
    const count = () => page.evaluate(async () => {
      const { video, audio } = await received();
      const sent = [...(await pc.getStats()).values()].find((s) => s.type === 'outbound-rtp' && s.kind === 'video');
      return { decoded: video?.framesDecoded ?? 0, frozen: video?.totalFreezesDuration ?? 0, sent: sent?.framesSent ?? 0,
        sound: (audio?.totalSamplesReceived ?? 0) - (audio?.concealedSamples ?? 0), level: audio?.totalAudioEnergy ?? 0 };
    });
    await until('the first frames', async () => (await count()).decoded > 15);
    // Of a muted element Chromium counts silence.
    await page.evaluate(() => { $('video').muted = false; });
    const before = await count();
    await sleep(5 * SECONDS);
    const after = await count();
    const [sent, decoded] = [after.sent - before.sent, after.decoded - before.decoded];
    console.log(`reflect: ${decoded} of ${sent} frames came back`);
    assert(sent > 50 && decoded >= 0.98 * sent - 2, `${decoded} of ${sent} frames came back`);
    assert(after.frozen - before.frozen < 0.2, `frozen for ${after.frozen - before.frozen} s`);
    assert(after.sound - before.sound > 4 * 48000, 'sound');
    assert(after.level > before.level, 'silence');
    await photograph(page, 'reflect');
  },

  /** One page publishes; two watch, one of which comes later. Then another takes over. */
  async broadcast(open) {
    const example = new Example('--http', '127.0.0.1:0');
    const url = await example.url();
    const [publisher, first] = [await open(url), await open(url)];
    // Who watches before there is anything to see gets it when it comes.
    await first.click('#watch');
    await shows(first, '#state', /^Watching$/);
    await publisher.click('#publish');
    await shows(publisher, '#state', /^Publishing$/);
    await until('the first frames', async () => (await pictures(first)).decoded > 15);
    const second = await open(url);
    await second.click('#watch');
    await until('its first frames', async () => (await pictures(second)).decoded > 5);
    await Promise.all([first, second].map(async (page, index) => {
      const seen = await flows(page, publisher, 5);
      console.log(`broadcast: page ${index + 1} has decoded ${seen.decoded} of ${seen.sent} frames`);
    }));
    await photograph(first, 'broadcast');
    await second.click('#leave');
    await publisher.close();
    const other = await open(url);
    await other.click('#publish');
    const before = (await pictures(first)).decoded;
    await until('frames of the other publisher', async () => (await pictures(first)).decoded > before + 30);
  },

  /** Three drawings there, one back: each of them for two seconds, in turn. */
  async swap_tracks(open) {
    const example = new Example('--http', '127.0.0.1:0', '--every', '2');
    const page = await open(await example.url());
    await shows(page, '#state', /^Connected$/);
    await until('the first frames', async () => (await pictures(page)).decoded > 15);
    const before = await pictures(page);
    const seen = [];
    for (const end = Date.now() + 11 * SECONDS; Date.now() < end; await sleep(50)) {
      const shown = await page.evaluate(() => {
        const dot = new OffscreenCanvas(1, 1).getContext('2d');
        dot.drawImage($('video'), 2, 2, 8, 8, 0, 0, 1, 1);
        const [red, green, blue] = dot.getImageData(0, 0, 1, 1).data;
        return [blue, green, red].indexOf(Math.max(red, green, blue)) + 1;
      });
      if (shown !== seen.at(-1)) seen.push(shown);
    }
    const after = await pictures(page);
    await photograph(page, 'swap_tracks');
    console.log(`swap_tracks: saw ${seen.join(' ')}; ${after.decoded - before.decoded} frames in 11 s, `
      + `frozen for ${(after.frozen - before.frozen).toFixed(2)} s`);
    assert(seen.length >= 5, `saw only ${seen}`);
    seen.slice(1).forEach((shown, index) => assert.equal(shown, seen[index] % 3 + 1, `saw ${seen}`));
    assert(after.decoded - before.decoded > 11 * 20, `${after.decoded - before.decoded} frames`);
    assert(after.frozen - before.frozen < 0.2, `frozen for ${after.frozen - before.frozen} s`);
  },

  /** Three sizes there, three tracks back. */
  async simulcast(open) {
    const example = new Example('--http', '127.0.0.1:0');
    const page = await open(await example.url());
    await shows(page, '#state', /^Connected$/);
    const sizes = () => page.evaluate(async () => {
      const all = await inbound(pc);
      return all.filter((s) => s.framesDecoded > 30).map((s) => s.frameWidth).sort((a, b) => a - b);
    });
    const widths = await until('three layers', async () => {
      const found = await sizes();
      return found.length === 3 && found;
    });
    console.log(`simulcast: layers of ${widths.join(', ')} pixels`);
    assert(widths[0] < widths[1] && widths[1] < widths[2], `layers of ${widths} pixels`);
    // Each where the page says it is.
    for (const [index, rid] of ['q', 'h', 'f'].entries()) {
      await shows(page, `#figures-${rid}`, new RegExp(`^${widths[index]} ×`));
    }
    await photograph(page, 'simulcast');
  },
};
