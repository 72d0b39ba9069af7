// `looprtc serve`, as a person uses it: watching, publishing, a token, a server that is gone and comes back.
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { Example, photograph, SECONDS, shows, sleep, text, until } from './harness.mjs';

/** Loads it with its peer connections kept where a test finds them; they are made with these settings. */
async function load(open, url, settings = {}) {
  const page = await open('about:blank');
  await page.addInitScript((more) => {
    const Real = window.RTCPeerConnection;
    window.connections = [];
    window.RTCPeerConnection = class extends Real {
      constructor(config) {
        super({ ...config, ...more });
        window.connections.push(this);
      }
    };
  }, settings);
  await page.goto(url);
  return page;
}

/** What the last connection of the page receives. */
const inbound = (page) =>
  page.evaluate(async () => {
    const found = {};
    (await window.connections.at(-1)?.getStats())?.forEach((s) => {
      if (s.type === 'inbound-rtp') found[s.kind] = s;
      if (s.type === 'media-playout') found.playout = s;
    });
    return found;
  });

const state = (page) => page.locator('#state').getAttribute('data-state');

const isLive = (page, seconds = 20) => until('the page to be live', async () => (await state(page)) === 'live', seconds);

/** Plays on for so long; says how it went. */
async function plays(page, what, seconds) {
  const before = await inbound(page);
  await sleep(seconds * SECONDS);
  const after = await inbound(page);
  const frames = after.video.framesDecoded - before.video.framesDecoded;
  const freezes = after.video.freezeCount - before.video.freezeCount;
  const samples = after.audio ? after.audio.totalSamplesReceived - before.audio.totalSamplesReceived : 0;
  console.log(`${what}: ${frames} frames in ${seconds} s, ${freezes} freezes, ${samples} samples of sound, ` +
    `${after.video.packetsLost} packets lost`);
  return { frames, freezes, samples, lost: after.video.packetsLost };
}

const serve = async (...args) => {
  const server = new Example('serve', '--listen', '127.0.0.1:0', ...args);
  return { server, url: await server.url() };
};

/** A port that is free now. */
async function freePort() {
  const listener = createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address();
  listener.close();
  await once(listener, 'close');
  return port;
}

export const scenarios = {
  /** The README's first command: the card, within a second of the click. */
  async serve_card(open) {
    const { url } = await serve();
    const page = await load(open, url);
    const card = page.locator('#streams li[data-name=testcard]');
    await card.waitFor();
    await photograph(page, 'serve-list');
    // The first click of a browser pays for loading its decoders.
    await card.locator('button').click();
    await isLive(page);
    await page.locator('#close').click();
    const begun = Date.now();
    await card.locator('button').click();
    await isLive(page);
    const took = Date.now() - begun;
    console.log(`the picture came ${took} ms after the click`);
    assert(took < 2500, `the picture came ${took} ms after the click`);
    const { frames, samples } = await plays(page, 'the card', 5);
    assert(frames >= 100, `${frames} frames of 125`);
    assert(samples > 4 * 48000, `${samples} samples of sound`);
    const path = await page.evaluate(() => location.pathname);
    assert.equal(path, '/watch/testcard');
    await page.locator('.figures summary').click();
    await sleep(2500);
    assert.match(await text(page, '#graphs'), /Bitrate \d+ kbit\/s/);
    await photograph(page, 'serve-watch');
    // The card is drawn: what is shown is no single colour.
    const colours = await page.evaluate(() => {
      const canvas = new OffscreenCanvas(64, 36);
      const pen = canvas.getContext('2d');
      pen.drawImage(document.getElementById('video'), 0, 0, 64, 36);
      const { data } = pen.getImageData(0, 0, 64, 36);
      return new Set(Array.from({ length: 64 * 36 }, (_, i) => data[4 * i] >> 5)).size;
    });
    assert(colours >= 3, `the picture has ${colours} shades only`);
    const stats = await (await fetch(new URL('/api/stats', url))).json();
    assert.equal(stats.viewers.length, 1);
    assert.equal(stats.viewers[0].stream, 'testcard');
    const metrics = await (await fetch(new URL('/metrics', url))).text();
    assert.match(metrics, /looprtc_stream_viewers\{stream="testcard"\} 1/);
    await page.goto('about:blank');
    await until('the viewer to be gone', async () => {
      const { streams } = await (await fetch(new URL('/api/streams', url))).json();
      return streams.find(({ name }) => name === 'testcard').viewers === 0;
    });
  },

  /** A camera by WHIP in one page, watched in two; the publisher leaves and comes back. */
  async serve_publish(open) {
    const { url } = await serve('cam=whip:');
    const watching = await load(open, new URL('/watch/cam', url).href);
    await shows(watching, '#state', /Waiting for its publisher/);
    const publish = async () => {
      const page = await load(open, new URL('/publish?name=cam', url).href);
      await page.locator('#name option').first().waitFor({ state: 'attached' });
      await page.locator('#go').click();
      await isLive(page, 30);
      return page;
    };
    let publisher = await publish();
    await photograph(publisher, 'serve-publish');
    await isLive(watching, 30);
    const first = await plays(watching, 'a camera', 5);
    assert(first.frames >= 40, `${first.frames} frames`);
    assert(first.samples > 3 * 48000, `${first.samples} samples`);
    const second = await load(open, new URL('/watch/cam', url).href);
    const begun = Date.now();
    await isLive(second, 30);
    console.log(`a second viewer sees the camera after ${Date.now() - begun} ms`);
    await publisher.close();
    await sleep(1500);
    publisher = await publish();
    const before = (await inbound(watching)).video.framesDecoded;
    await until('new pictures', async () => (await inbound(watching)).video?.framesDecoded > before + 20, 30);
    await until('new pictures', async () => (await inbound(second)).video?.framesDecoded > 20, 30);
  },

  /** kill -9, and started again: the page comes back by itself. */
  async serve_restart(open) {
    const port = await freePort();
    const start = () => new Example('serve', '--listen', `127.0.0.1:${port}`);
    let server = start();
    const url = await server.url();
    const page = await load(open, new URL('/watch/testcard', url).href);
    await isLive(page);
    await sleep(1000);
    server.child.kill('SIGKILL');
    await until('the page to notice', async () => (await state(page)) !== 'live');
    console.log(`the page says: ${await text(page, '#state')}`);
    await sleep(1000);
    server = start();
    await server.url();
    const begun = Date.now();
    await isLive(page);
    console.log(`back ${Date.now() - begun} ms after the server`);
    assert(Date.now() - begun < 5 * SECONDS, `back after ${Date.now() - begun} ms`);
  },

  /** The TURN server inside: a browser that may use nothing else. */
  async serve_turn(open) {
    const port = await freePort();
    const { url } = await serve('--turn', '--turn-listen', `127.0.0.1:${port}`);
    const page = await load(open, new URL('/watch/testcard', url).href, { iceTransportPolicy: 'relay' });
    await isLive(page);
    const { frames } = await plays(page, 'the card through a relay', 3);
    assert(frames >= 50, `${frames} frames of 75`);
    await page.locator('.figures summary').click();
    await shows(page, '#detail', /through a relay/);
    const stats = await (await fetch(new URL('/api/stats', url))).json();
    assert(stats.turn.allocations > 0);
  },

  /** A token: asked for by the page, wrong at first. */
  async serve_token(open) {
    const { url } = await serve('--token', 'wonderland');
    assert.equal((await fetch(new URL('/api/streams', url))).status, 401);
    const whep = await fetch(new URL('/whep/testcard', url), { method: 'POST', body: 'v=0' });
    assert.equal(whep.status, 401);
    const page = await load(open, url);
    const dialog = page.locator('#sign-in');
    await dialog.waitFor();
    await photograph(page, 'serve-token');
    await dialog.locator('input').fill('looking-glass');
    await dialog.locator('button[type=submit]').click();
    await shows(page, '#sign-in [role=alert]', /not the token/);
    await dialog.locator('input').fill('wonderland');
    await dialog.locator('button[type=submit]').click();
    await page.locator('#streams li[data-name=testcard] button').click();
    await isLive(page);
    // Again, with the cookie.
    await page.goto(new URL('/watch/testcard', url).href);
    await isLive(page);
  },
};
