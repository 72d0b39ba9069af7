// The examples with media, but for those that play files.
import assert from 'node:assert/strict';
import { Example, photograph, SECONDS, shows, sleep, until } from './harness.mjs';

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
};
