// `looprtc serve`, as a person uses it: watching, publishing, a token, a server that is gone and comes back.
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { launch } from './browsers.mjs';
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

/**
 * What RTSPtoWebRTC's page does, in a page of this server: codecs, a transceiver for each, the offer before there are
 * candidates, forms. `web`: what RTSPtoWeb's page does: no question for codecs, a data channel that pings, another path.
 */
const legacyPlayer = async ({ id, web }) => {
  const post = async (path, fields) => {
    const response = await fetch(path, { method: 'POST', body: new URLSearchParams(fields) });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return response.text();
  };
  const video = document.createElement('video');
  video.autoplay = video.muted = true;
  document.body.append(video);
  const stream = (video.srcObject = new MediaStream());
  const peer = (window.legacy = new RTCPeerConnection());
  peer.ontrack = ({ track }) => stream.addTrack(track);
  const kinds = web ? ['video', 'audio'] : JSON.parse(await (await fetch(`/stream/codec/${id}`)).text()).map((c) => c.Type);
  for (const kind of kinds) peer.addTransceiver(kind, { direction: 'sendrecv' });
  if (web) {
    const channel = peer.createDataChannel('foo');
    channel.onopen = () => setInterval(() => channel.send('ping'), 1000);
  }
  const offer = await peer.createOffer();
  await peer.setLocalDescription(offer);
  const data = btoa(offer.sdp);
  const answer = web
    ? await post(`/stream/${id}/channel/0/webrtc`, { data })
    : await post(`/stream/receiver/${id}`, { suuid: id, data });
  await peer.setRemoteDescription({ type: 'answer', sdp: atob(answer) });
  return kinds;
};

const legacyFrames = (page) =>
  page.evaluate(async () => {
    let frames = 0;
    (await window.legacy.getStats()).forEach((s) => {
      if (s.type === 'inbound-rtp' && s.kind === 'video') frames = s.framesDecoded ?? 0;
    });
    return frames;
  });

export const scenarios = {
  /** The pages of the programs that looprtc replaces, by what they send. */
  async serve_deepch(open) {
    const { url } = await serve('--deepch');
    const page = await open(url);
    for (const web of [false, true]) {
      const kinds = await page.evaluate(legacyPlayer, { id: 'testcard', web });
      assert.deepEqual(kinds, ['video', 'audio']);
      await until('pictures', async () => (await legacyFrames(page)) > 25);
      await page.evaluate(() => window.legacy.close());
    }
    const player = await page.goto(new URL('/stream/player/testcard', url).href);
    assert.equal(new URL(player.url()).pathname, '/watch/testcard');
  },

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
    const before = (await inbound(watching)).video?.framesDecoded ?? 0;
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

  /**
   * kill -9 with two in a room: they are back as soon as a player is. Each is somebody else to the new server, though it
   * numbers its members from the beginning again.
   */
  async serve_room_restart(open) {
    const port = await freePort();
    const start = () => new Example('serve', '--listen', `127.0.0.1:${port}`);
    let server = start();
    const url = await server.url();
    const join = (name) => load(open, new URL(`/room/again?join&name=${name}`, url).href);
    const ann = await join('Ann');
    await shows(ann, '#state', /^Connected$/);
    const bob = await join('Bob');
    const frames = (page) => page.evaluate(() => [...document.querySelectorAll('.tile:not(.self) video')]
      .reduce((sum, video) => sum + video.getVideoPlaybackQuality().totalVideoFrames, 0));
    const goOn = (page) => until('pictures of the other', async () => {
      const before = await frames(page);
      await sleep(300);
      return (await frames(page)) > before + 1;
    });
    await Promise.all([ann, bob].map(goOn));
    for (const pause of [500, 2000]) {
      server.child.kill('SIGKILL');
      await sleep(pause);
      server = start();
      await server.url();
      const begun = Date.now();
      await until('new connections', async () => (await Promise.all([ann, bob].map((page) =>
        page.evaluate(() => window.connections.at(-1).connectionState === 'connected')))).every(Boolean));
      await Promise.all([ann, bob].map(goOn));
      const took = Date.now() - begun;
      console.log(`the room goes on ${took} ms after the server`);
      assert(took < 5 * SECONDS, `the room goes on ${took} ms after the server`);
      await Promise.all([ann, bob].map((page) => shows(page, '#state', /^Connected$/)));
    }
  },

  /** A room and a call with a page in Chromium. */
  async serve_meets_chromium(open) {
    const { url } = await serve();
    const elsewhere = await launch('chromium', (error) => console.error(`the page in Chromium: ${error.stack}`));
    const pictures = (page, whose) =>
      until(`pictures of ${whose}`, async () => (await inbound(page)).video?.framesDecoded > 20, 30);
    const join = (where, name) => load(where, new URL(`/room/both?join&name=${name}`, url).href);
    const [here, there] = [await join(open, 'Here'), await join(elsewhere, 'There')];
    await Promise.all([pictures(here, 'the page in Chromium'), pictures(there, 'this page')]);
    await here.close();
    await there.close();

    const signIn = async (where, user) => {
      const page = await load(where, new URL(`/call?userId=${user}`, url).href);
      await until('the form', () => page.isVisible('#dial'));
      return page;
    };
    const [ann, bob] = [await signIn(open, 'ann'), await signIn(elsewhere, 'bob')];
    await ann.fill('#target', 'bob');
    await ann.click('#dial button[type=submit]');
    await bob.locator('#incoming').waitFor();
    await bob.click('#accept');
    await pictures(ann, 'who was called');
    await shows(ann, '#state', /^Connected$/);
    await ann.fill('#text', 'Hello Bob');
    await ann.click('#write button');
    await shows(bob, '#messages', /Hello Bob/);
  },

  /** A player says what is missing, and never "Live" over black. */
  async serve_nothing_to_see(open) {
    const silent = createSocket('udp4').bind(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address();
    silent.close();
    const { url } = await serve('gone=/nowhere/film.ivf', 'cam=whip:', `rtp=rtp://127.0.0.1:${port}?codec=h264`);
    const says = async (name, pattern) => {
      const page = await load(open, new URL(`/watch/${name}`, url).href);
      await shows(page, '#state', pattern);
      assert.notEqual(await state(page), 'live');
      return page;
    };
    await says('gone', /^Unavailable: .*No such file/);
    await says('cam', /Waiting for its publisher/);
    // Keyframes without parameter sets, thirty a second: nobody can decode them.
    const sender = createSocket('udp4');
    let number = 0;
    const timer = setInterval(() => {
      number += 1;
      const packet = Buffer.alloc(300, 7);
      packet.writeUInt16BE(0x8000 | 0x80 | 96, 0);
      packet.writeUInt16BE(number & 0xffff, 2);
      packet.writeUInt32BE((number * 3000) >>> 0, 4);
      packet.writeUInt32BE(4711, 8);
      packet[12] = 0x65;
      sender.send(packet, port, '127.0.0.1');
    }, 33);
    try {
      await says('rtp', /^Video arrives, but /);
    } finally {
      clearInterval(timer);
      sender.close();
    }
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
