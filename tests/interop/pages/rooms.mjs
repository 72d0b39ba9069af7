// Rooms and calls. The second argument is the address of a server that runs.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { photograph, SECONDS, shows, sleep, until } from './harness.mjs';
import { NarrowPath } from './narrow.mjs';

const base = process.argv[3];

/** A page that knows what that of pion's sfu-ws example does, and nothing else. */
const sfuWs = new URL('./sfu_ws.html', import.meta.url).pathname;

/** Connections can be looked at, sockets ended, and cameras are small: there are several on this machine. */
const init = ([width, height, rate]) => {
  window.connections = [];
  window.sockets = [];
  window.WebSocket = class extends WebSocket {
    constructor(...args) {
      super(...args);
      window.sockets.push(this);
    }
  };
  window.RTCPeerConnection = class extends RTCPeerConnection {
    constructor(...args) {
      super(...args);
      window.connections.push(this);
    }
  };
  const devices = navigator.mediaDevices;
  const ask = devices?.getUserMedia.bind(devices);
  if (ask) {
    devices.getUserMedia = (wanted) => ask({
      ...wanted,
      video: wanted.video && { width: { exact: width }, height: { exact: height }, frameRate: rate },
    });
  }
};
const small = { init: `(${init})([320, 180, 15])` };
const large = { init: `(${init})([640, 360, 20])` };

/** What a page receives: pictures decoded, and for how long they stood still, by m-line. */
const pictures = (page) => page.evaluate(async () => {
  const all = {};
  for (const pc of window.connections) {
    if (pc.connectionState === 'closed') continue;
    for (const s of (await pc.getStats()).values()) {
      if (s.type !== 'inbound-rtp' || s.kind !== 'video') continue;
      all[s.trackIdentifier] = { decoded: s.framesDecoded ?? 0, frozen: s.totalFreezesDuration ?? 0, height: s.frameHeight };
    }
  }
  return all;
});

const sound = (page) => page.evaluate(async () => {
  let samples = 0;
  for (const pc of window.connections) {
    if (pc.connectionState === 'closed') continue;
    for (const s of (await pc.getStats()).values()) {
      if (s.type === 'inbound-rtp' && s.kind === 'audio') samples += (s.totalSamplesReceived ?? 0) - (s.concealedSamples ?? 0);
    }
  }
  return samples;
});

/** Waits until so many elements show pictures that move, none of them the page's own. */
async function showing(page, count) {
  const shown = () => page.evaluate(() => [...document.querySelectorAll('video')]
    .filter((video) => !video.muted || document.querySelector('#others')?.contains(video))
    .map((video) => video.getVideoPlaybackQuality().totalVideoFrames));
  await until(`${count} elements to show something on ${await page.title()}`, async () => {
    const before = await shown();
    await sleep(1 * SECONDS);
    const now = await shown();
    return now.length === count && now.every((frames, index) => frames > before[index]);
  }, 30);
}

/** Waits until so many pictures move: that many more frames of each. */
async function moving(page, count, frames = 10, seconds = 60) {
  const before = await pictures(page);
  let moved = [];
  await until(`${count} moving pictures on ${await page.title()}`, async () => {
    const now = await pictures(page);
    moved = Object.entries(now).filter(([id, { decoded }]) => decoded - (before[id]?.decoded ?? 0) >= frames);
    return moved.length === count;
  }, seconds);
}

/** As if the server had been started anew. */
const closeSockets = (pages) => Promise.all(pages.map((page) =>
  page.evaluate(() => window.sockets.forEach((socket) => socket.close(4000, 'for a test')))));

const metric = async (name) => {
  const text = await (await fetch(`${base}/metrics`)).text();
  return Number(text.match(new RegExp(`^looprtc_${name} (\\S+)$`, 'm'))[1]);
};

const tiles = (page) => page.locator('#tiles .tile:not(.self)').count();
const room = (open, name, person, size = small) =>
  open(`${base}/room/${name}?join&name=${encodeURIComponent(person)}`, size);
const connected = (page) => shows(page, '#state', /^Connected$/);

export const rooms = {
  /** Four pages; one leaves, another joins; the others go on as if nothing had been. */
  async room(open) {
    const [ann, bob, cy] = await Promise.all(['Ann', 'Bob', 'Cy'].map((person) => room(open, 'four', person)));
    await Promise.all([ann, bob, cy].map((page) => moving(page, 2)));
    const dee = await room(open, 'four', 'Dee');
    const all = [ann, bob, cy, dee];
    await Promise.all(all.map((page) => moving(page, 3)));
    await Promise.all(all.map(connected));
    assert.match(await ann.locator('#title').textContent(), /4 people/);
    const captions = async () => (await ann.locator('.caption').allTextContents()).sort().join();
    assert.equal(await captions(), 'Ann (you),Bob,Cy,Dee');
    const heard = await sound(ann);
    await until('sound', async () => (await sound(ann)) > heard + 48_000);
    await ann.locator('#figures').evaluate((details) => { details.open = true; });

    // As it goes when somebody joins another room, which is as much work for this machine.
    const flow = async (doing) => {
      const [before, from] = [await pictures(ann), Date.now()];
      await doing();
      const [after, seconds] = [await pictures(ann), (Date.now() - from) / SECONDS];
      const all = Object.entries(before).map(([id, { decoded, frozen }]) =>
        ({ rate: ((after[id]?.decoded ?? 0) - decoded) / seconds, frozen: (after[id]?.frozen ?? 0) - frozen }));
      // The place of who has left counts from the beginning, for who has come.
      const stayed = all.filter(({ rate }) => rate > 0);
      console.log(`room: ${stayed.map(({ rate, frozen }) =>
        `${rate.toFixed(1)} frames/s, frozen for ${frozen.toFixed(2)} s`).join('; ')}; in ${seconds.toFixed(1)} s`);
      return stayed;
    };
    const quiet = await flow(async () => {
      const elsewhere = await room(open, 'elsewhere', 'Zoe');
      await connected(elsewhere);
      await sleep(1 * SECONDS);
      await elsewhere.close();
    });

    // One leaves and one joins in the middle.
    let eve;
    const stayed = await flow(async () => {
      await dee.click('#leave');
      await until('Dee to be gone', async () => (await ann.locator('.tile').count()) === 3);
      eve = await room(open, 'four', 'Eve');
      await Promise.all([ann, bob, cy, eve].map((page) => moving(page, 3)));
    });
    const slowest = Math.min(...stayed.map(({ rate }) => rate));
    const usual = Math.min(...quiet.map(({ rate }) => rate));
    assert(slowest > usual / 3, `${slowest} frames a second where there were ${usual} before`);
    assert(stayed.length >= 2, `${stayed.length} pictures have stayed`);
    await Promise.all([ann, bob, cy, eve].map((page) => showing(page, 3)));
    await photograph(ann, 'room');

    // Sockets are lost; media goes on, and nobody is anybody else.
    await closeSockets([ann, bob, cy, eve]);
    await Promise.all([ann, bob, cy, eve].map((page) => moving(page, 3)));
    await until('all to be back', async () => (await captions()) === 'Ann (you),Bob,Cy,Eve');
    await Promise.all([ann, bob, cy, eve].map(connected));
    // Camera off, and the others see that it is.
    const says = (words) => until(`Ann's page to say: ${words}`, async () => (await captions()).includes(words));
    await bob.click('#camera');
    await says('Bob · camera off');
    await bob.click('#camera');
    await says('Bob,');
    await bob.click('#screen');
    await says('Bob · sharing the screen');
    await moving(ann, 3);
    await photograph(ann, 'room-screen');
  },

  /** A receiver whose path carries little gets the smaller layers, and the large one again when it carries more. */
  async room_layers(open) {
    const [ann, bob] = [await room(open, 'layers', 'Ann', large), await room(open, 'layers', 'Bob', large)];
    await moving(ann, 1);
    const height = async () => Object.values(await pictures(ann))[0]?.height ?? 0;
    const sent = () => bob.evaluate(async () => {
      const all = [...(await window.connections[0].getStats()).values()];
      const video = all.filter((s) => s.type === 'outbound-rtp' && s.kind === 'video');
      return video.map((s) => `${s.rid} ${s.frameHeight ?? 0} ${s.framesSent}`);
    });
    await until('both layers', async () => (await sent()).filter((layer) => !layer.includes(' 0 ')).length === 2, 60);
    await until('the full size', async () => (await height()) === 360, 60);
    console.log(`room_layers: sends ${(await sent()).join(', ')}; comes ${await height()}`);
    const switches = await metric('room_layer_switches_total');
    assert(switches > 0, `${switches} times another layer`);
    console.log(`room_layers: the full size has come, after ${switches} switches`);
  },

  /** One receiver's path becomes narrow: that one gets the small layer, the other goes on with the large one. */
  async room_narrow(open) {
    const path = new NarrowPath();
    try {
      const bob = await room(open, 'narrow', 'Bob', large);
      const cy = await room(open, 'narrow', 'Cy', small);
      const ann = await open('about:blank', small);
      await path.attachRoom(ann);
      await ann.goto(`${base}/room/narrow?join&name=Ann`);
      const heights = async (page) => Object.values(await pictures(page)).map(({ height }) => height ?? 0);
      const largest = async (page) => Math.max(0, ...await heights(page));
      await until('the full size', async () => (await largest(ann)) === 360 && (await largest(cy)) === 360, 60);
      path.kbit = 300;
      const from = Date.now();
      await until('the small layer', async () => (await largest(ann)) < 360, 60);
      const down = Date.now() - from;
      await moving(ann, 2);
      // On a busy machine that one's estimate can fall for a moment, too.
      await until('the full size for the other one', async () => (await largest(cy)) === 360 && (await largest(ann)) < 360, 60);
      path.kbit = Infinity;
      const back = Date.now();
      await until('the full size again', async () => (await largest(ann)) === 360, 90);
      console.log(`room_narrow: at 300 kbit/s the small layer after ${down} ms, the full size ${Date.now() - back} ms after `
        + `the path was wide again; ${path.dropped} datagrams dropped`);
      await Promise.all([ann, cy, bob].map((page) => moving(page, 2)));
    } finally {
      path.close();
    }
  },

  /** Pages that know nothing but sfu-ws's three events, with one of ours. */
  async room_sfu_ws(open) {
    const theirs = () => open(`${base}/assets/style.css`, { ...small, file: sfuWs });
    const [first, second] = [await theirs(), await theirs()];
    await Promise.all([first, second].map((page) => moving(page, 1)));
    const ours = await room(open, 'lobby', 'Ours');
    await moving(ours, 2);
    await Promise.all([first, second].map((page) => moving(page, 2)));
    assert.equal(await first.locator('#others video').count(), 2);
    await second.close();
    await until('one to be gone', async () => (await first.locator('#others video').count()) === 1, 30);
    const third = await theirs();
    await Promise.all([first, ours, third].map((page) => moving(page, 2)));
    assert.equal(await first.locator('#others video').count(), 2);
    await Promise.all([first, ours, third].map((page) => showing(page, 2)));
    assert.notEqual(await first.title(), 'closed');
  },

  /** Our page at pion's server: two of them see each other, and one that comes and one that goes. */
  async room_at_pion(open) {
    const at = (person) => open(`${base}/room/pion?join&name=${person}`, small);
    const [ann, bob] = [await at('Ann'), await at('Bob')];
    await Promise.all([ann, bob].map((page) => moving(page, 1)));
    const cy = await at('Cy');
    await Promise.all([ann, bob, cy].map((page) => moving(page, 2)));
    await Promise.all([ann, bob, cy].map((page) => showing(page, 2)));
    assert.equal(await tiles(ann), 2);
    await cy.close();
    await until('one to be gone', async () => (await tiles(ann)) === 1, 60);
    await Promise.all([ann, bob].map((page) => moving(page, 1)));
  },

  /** A program of aiortc's is in the room already: its picture is seen, and ours gets to it. */
  async room_with_aiortc(open) {
    const ann = await room(open, 'lobby', 'Ann');
    await moving(ann, 1);
    await showing(ann, 1);
    await until('it to have seen us', async () => (await ann.locator('.caption').allTextContents()).includes('aiortc'));
    await sleep(5 * SECONDS);
  },

  /** A call: chat, camera off and on, a screen; somebody who is not there. */
  async call(open) {
    const [anna, bert] = await both(open);
    await anna.fill('#target', 'nobody');
    await anna.click('#dial button[type=submit]');
    await shows(anna, '#state', /nobody is not online/);
    await dial(anna, bert);
    await chat(anna, bert, 'Hello Bert');
    await chat(bert, anna, 'Hello Anna');
    await photograph(anna, 'call');

    await bert.click('#camera');
    await until('no picture of Bert', () => anna.locator('.stage .tile:first-child .initial').isVisible());
    await bert.click('#camera');
    await until('his picture again', async () => !(await anna.locator('.stage .tile:first-child .initial').isVisible()));
    await moving(anna, 1);
    await anna.click('#screen');
    await shows(anna, '#screen .words', /Stop sharing/);
    await moving(bert, 1);
    await anna.click('#screen');
    await Promise.all([anna, bert].map((page) => showing(page, 1)));
    await chat(anna, bert, 'still here');

    // The socket is lost: the call goes on, and so does what is said for it afterwards.
    await closeSockets([anna, bert]);
    await sleep(1.5 * SECONDS);
    await anna.click('#camera');
    const theirs = '.stage .tile:first-child .initial';
    await until('no picture of Anna', () => bert.locator(theirs).isVisible());
    await anna.click('#camera');
    await moving(bert, 1);
    await showing(bert, 1);

    await bert.click('#hang-up');
    await shows(anna, '#state', /bert has hung up/);
    // And once more, the other way; declined this time.
    await bert.fill('#target', 'anna');
    await bert.click('#dial button[type=submit]');
    await shows(anna, '#incoming-title', /bert is calling/);
    await photograph(anna, 'call-incoming');
    await anna.click('#decline');
    await shows(bert, '#state', /anna has declined/);
    await photograph(bert, 'call-dial');
  },

  /** The network is gone for 5 s, for all that goes through it. In a namespace of its own. */
  async call_without_network(open) {
    const nft = (...words) => promisify(execFile)('nft', words);
    const [anna, bert] = await both(open);
    await dial(anna, bert);
    await nft('add', 'table', 'inet', 'gone');
    await nft('add', 'chain', 'inet', 'gone', 'out', '{ type filter hook output priority 0; policy drop; }');
    await sleep(1 * SECONDS);
    const before = await pictures(bert);
    await sleep(4 * SECONDS);
    assert.deepEqual(Object.values(await pictures(bert))[0].decoded, Object.values(before)[0].decoded, 'something came');
    await nft('delete', 'table', 'inet', 'gone');
    const back = Date.now();
    await Promise.all([moving(anna, 1, 5), moving(bert, 1, 5)]);
    console.log(`call_without_network: pictures both ways ${Date.now() - back} ms after the network was back`);
    await Promise.all([anna, bert].map(connected));
    await chat(anna, bert, 'back again');
  },
};

const both = (open) => Promise.all(['anna', 'bert'].map((user) => open(`${base}/call?userId=${user}`, small)));

async function dial(from, to) {
  await shows(from, '#state', /ready for calls|is not online/);
  await shows(to, '#state', /ready for calls/);
  await from.fill('#target', 'bert');
  await from.click('#dial button[type=submit]');
  await shows(to, '#incoming-title', /anna is calling/);
  await to.click('#accept');
  await Promise.all([from, to].map(connected));
  await Promise.all([from, to].map((page) => moving(page, 1)));
}

async function chat(from, to, words) {
  await until('the chat to be open', () => from.locator('#text').isEnabled());
  await from.fill('#text', words);
  await from.press('#text', 'Enter');
  await shows(to, '#messages li:last-child', new RegExp(words));
}
