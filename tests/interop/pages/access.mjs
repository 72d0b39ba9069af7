// `looprtc serve` for everybody: by keyboard, by screen reader (axe-core's rules), with another token, without a camera.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Example, shows, sleep, text, Unavailable, until } from './harness.mjs';

const serve = async (...args) => {
  const server = new Example('serve', '--listen', '127.0.0.1:0', ...args);
  return server.url();
};

const isLive = (page) =>
  until('the page to be live', async () => (await page.locator('#state').getAttribute('data-state')) === 'live', 30);

/** Where the keyboard is: the id of the element, or what else tells it. */
const focus = (page) => page.evaluate(() => {
  const { activeElement: at } = document;
  return at === document.body ? 'BODY' : at.id || at.getAttribute('aria-label') || at.textContent;
});

/** Presses a button by the keyboard, as who has no mouse. */
async function press(page, selector) {
  await page.locator(selector).focus();
  await page.keyboard.press('Enter');
}

async function focusIs(page, expected, after) {
  await until(`the focus to be at ${expected} after ${after}, not at ${await focus(page)}`,
    async () => (await focus(page)) === expected, 10);
}

/** The states that pages can be in: each is reached on a page of its own. */
const STATES = {
  streams: async (page, url) => {
    await page.goto(url);
    await page.locator('#streams li').first().waitFor();
  },
  watching: async (page, url) => {
    await page.goto(`${url}/watch/testcard`);
    await isLive(page);
    await page.locator('.figures summary').click();
  },
  'no such stream': async (page, url) => {
    await page.goto(`${url}/watch/nothing`);
    await shows(page, '#state', /no stream called “nothing”/);
  },
  publish: async (page, url) => {
    await page.goto(`${url}/publish?name=cam`);
    await page.locator('#go').waitFor();
  },
  publishing: async (page, url) => {
    await page.goto(`${url}/publish?name=cam`);
    await page.locator('#go').click();
    await isLive(page);
  },
  'join a room': async (page, url) => {
    await page.goto(`${url}/room/lobby`);
    await page.locator('#join').waitFor();
  },
  'in a room': async (page, url) => {
    await page.goto(`${url}/room/lobby?join&name=Ann`);
    await isLive(page);
  },
  'calls, signed out': async (page, url) => {
    await page.goto(`${url}/call`);
    await page.locator('#user').waitFor();
  },
  'calls, online': async (page, url) => {
    await page.goto(`${url}/call?userId=ann`);
    await page.locator('#target').waitFor();
  },
  'in a call': async (page, url, open) => {
    const other = await open(`${url}/call?userId=bob`);
    await other.locator('#target').waitFor();
    await page.goto(`${url}/call?userId=ann`);
    await page.locator('#target').fill('bob');
    await page.locator('#dial button[type=submit]').click();
    await other.locator('#incoming').waitFor();
    await check(other, 'an incoming call');
    await other.locator('#accept').click();
    await isLive(page);
    return other;
  },
  statistics: async (page, url, open) => {
    const other = await open(`${url}/watch/testcard`);
    await isLive(other);
    await page.goto(`${url}/stats`);
    await page.locator('#viewers td').first().waitFor();
    return other;
  },
  cameras: async (page, url) => {
    await page.goto(`${url}/admin`);
    await page.locator('#streams li').first().waitFor();
  },
  'finding cameras': async (page, url) => {
    await page.goto(`${url}/admin`);
    await page.locator('#look').click();
  },
  'adding a camera': async (page, url) => {
    await page.goto(`${url}/admin`);
    await page.locator('#add').click();
    await page.locator('#more summary').click();
    await page.locator('#url').fill('/etc/passwd');
    await page.locator('#name').fill('a b');
    await page.locator('#save').click();
    await shows(page, '#name-error', /in the name/);
  },
  'no such page': async (page, url) => {
    await page.goto(`${url}/rooom`);
    await page.locator('h1').waitFor();
  },
};

let axe;
let problems = 0;

/** All of axe-core's rules on a page as it is, on a desk and a phone, light and dark. */
async function check(page, state) {
  try {
    axe ??= readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
  } catch {
    throw new Unavailable('axe-core is not installed (tests/setup does it)');
  }
  for (const [device, width, height] of [['phone', 390, 844], ['desk', 1280, 800]]) {
    await page.setViewportSize({ width, height });
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      await page.evaluate(axe);
      const violations = await page.evaluate(async () => (await window.axe.run()).violations);
      for (const { id, help, nodes } of violations) {
        problems += 1;
        console.error(`${state}, ${device}, ${colorScheme}: ${id}: ${help}: ${nodes.map(({ html }) => html).join(' | ')}`);
      }
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      assert(wide <= width, `${state} is ${wide} pixels wide on a ${device} of ${width}`);
    }
  }
}

export const access = {
  /** Every rule of axe-core, in every state of every page, on phone and desk, light and dark. */
  async serve_accessible(open) {
    const url = (await serve('cam=whip:')).replace(/\/$/, '');
    for (const [state, reach] of Object.entries(STATES)) {
      const page = await open('about:blank');
      const other = await reach(page, url, open);
      await check(page, state);
      await other?.close();
      await page.close();
    }
    const locked = (await serve('--token', 'wonderland')).replace(/\/$/, '');
    const page = await open(locked);
    await page.locator('#sign-in').waitFor();
    await check(page, 'the token dialog');
    assert.equal(problems, 0, `${problems} violations`);
  },

  /** Without a mouse: what vanishes hands the focus on, and never to nothing. */
  async serve_keyboard(open) {
    const url = (await serve('cam=whip:')).replace(/\/$/, '');
    const page = await open(url);
    await press(page, '#streams li[data-name=testcard] button');
    await focusIs(page, 'title', 'Watch');
    await isLive(page);
    assert(await page.evaluate(() => scrollY === 0 && document.getElementById('bar').getBoundingClientRect().top === 0));
    await press(page, '#close');
    await focusIs(page, 'Watch testcard', 'Close');
    await page.goto(`${url}/publish?name=cam`);
    await press(page, '#go');
    await isLive(page);
    await focusIs(page, 'stop', 'Publish');
    await press(page, '#stop');
    await focusIs(page, 'go', 'Stop');
    await page.goto(`${url}/room/lobby`);
    await press(page, '#join button');
    await focusIs(page, 'title', 'Join');
    await press(page, '#leave');
    assert.notEqual(await focus(page), 'BODY', 'after Leave');
    const bob = await open(`${url}/call?userId=bob`);
    await bob.locator('#target').waitFor();
    await page.goto(`${url}/call`);
    await page.locator('#user').fill('ann');
    await press(page, '#sign-in-form button');
    await focusIs(page, 'target', 'Go online');
    await page.locator('#target').fill('ann');
    await page.keyboard.press('Enter');
    await shows(page, '#not-dialled', /your own name/);
    await page.locator('#target').fill('bob');
    await page.keyboard.press('Enter');
    await bob.locator('#incoming').waitFor();
    await shows(page, '.stage .tile:not(.self) .caption', /^bob · ringing$/);
    await focusIs(page, 'title', 'Call');
    await press(bob, '#accept');
    await isLive(page);
    await focusIs(bob, 'title', 'Accept');
    // What the other side does not send is said.
    await press(bob, '#microphone');
    await shows(page, '.stage .tile:not(.self) .caption', /^bob · microphone off$/);
    await press(bob, '#microphone');
    await shows(page, '.stage .tile:not(.self) .caption', /^bob$/);
    await press(bob, '#screen');
    await shows(page, '.stage .tile:not(.self) .caption', /^bob · sharing the screen$/);
    await press(page, '#hang-up');
    await focusIs(page, 'target', 'Hang up');
    await press(page, '#sign-out');
    await focusIs(page, 'user', 'Go offline');
    // Nothing is a toggle twice over: by its label and by its state.
    for (const path of ['/watch/testcard', '/room/lobby', '/call']) {
      await page.goto(url + path);
      assert.equal(await page.locator('[aria-pressed], [role=toolbar]').count(), 0, path);
    }
  },

  /** A call rings: a page that had a click makes sound. */
  async serve_ringing(open) {
    const url = (await serve()).replace(/\/$/, '');
    const init = `window.notes = 0;
      const start = OscillatorNode.prototype.start;
      OscillatorNode.prototype.start = function (...args) { window.notes += 1; return start.apply(this, args); };`;
    const bob = await open(`${url}/call`, { init });
    await bob.locator('#user').fill('bob');
    await bob.locator('#sign-in-form button').click();
    const ann = await open(`${url}/call?userId=ann`);
    await ann.locator('#target').fill('bob');
    await shows(bob, '#state', /ready for calls/);
    await ann.locator('#dial button[type=submit]').click();
    await shows(bob, '#incoming-title', /^ann is calling$/);
    await until('it to ring', async () => (await bob.evaluate(() => window.notes)) > 0);
    assert.match(await bob.title(), /^ann is calling/);
    await bob.locator('#decline').click();
    await shows(ann, '#state', /bob has declined/);
    const notes = await bob.evaluate(() => window.notes);
    await sleep(3500);
    assert.equal(await bob.evaluate(() => window.notes), notes, 'it rings on');
  },

  /** One token to watch, another to publish: on pages, each where it is needed. */
  async serve_two_tokens(open) {
    const url = (await serve('--token', 'see', '--publish-token', 'show', 'cam=whip:')).replace(/\/$/, '');
    const viewer = await open(`${url}/publish`);
    await viewer.locator('#sign-in input').fill('see');
    await viewer.keyboard.press('Enter');
    await viewer.locator('#unlock').waitFor();
    assert(!(await viewer.locator('#nowhere').isVisible()), 'it says that there is no stream to publish to');
    // Esc with nothing typed is no wrong token.
    await viewer.locator('#unlock').click();
    await viewer.locator('#sign-in').waitFor();
    await viewer.keyboard.press('Escape');
    await focusIs(viewer, 'unlock', 'Esc');
    await viewer.locator('#unlock').click();
    await viewer.locator('#sign-in input').fill('see');
    await viewer.keyboard.press('Enter');
    await shows(viewer, '#sign-in [role=alert]', /for watching only/);
    await viewer.locator('#sign-in input').fill('show');
    await viewer.keyboard.press('Enter');
    await viewer.locator('#go').click();
    await isLive(viewer);
    // The cookie of the publish token watches, too.
    await viewer.goto(`${url}/watch/testcard`);
    await isLive(viewer);
    await viewer.locator('#sign-out-of-server').click();
    await viewer.locator('#sign-in').waitFor();
    // Who does not sign in is not left with an empty page.
    await viewer.keyboard.press('Escape');
    await shows(viewer, '#complaint', /needs the token/);
    await viewer.locator('#complaint button').click();
    await viewer.locator('#sign-in').waitFor();

    // By a link, for who is signed in already as well.
    const linked = await open(`${url}/#token=see`);
    await linked.locator('#streams li').first().waitFor();
    assert.equal(new URL(linked.url()).hash, '');
    await linked.goto(`${url}/publish#token=show`);
    await until('the stream to be offered', async () => (await linked.locator('#name option').count()) === 1);
    assert.equal(new URL(linked.url()).hash, '');
    // A wrong one does no harm to who is signed in, and is said to who is not.
    await linked.goto(`${url}/#token=sea`);
    await linked.locator('#streams li').first().waitFor();
    const wrong = await open(`${url}/#token=sea`);
    await shows(wrong, '#sign-in [role=alert]', /not the token/);
  },

  /** Only publishing wants a token. */
  async serve_publish_token_alone(open) {
    const url = (await serve('--publish-token', 'show', 'cam=whip:')).replace(/\/$/, '');
    const page = await open(url);
    await page.locator('#streams li').first().waitFor();
    await page.locator('#bar a[href$=publish]').click();
    await page.locator('#unlock').click();
    await page.locator('#sign-in input').fill('show');
    await page.keyboard.press('Enter');
    await page.locator('#go').click();
    await isLive(page);
  },

  /** Cameras and microphones that are not there, or not allowed: said with what to do, and the rest is published. */
  async serve_devices(open) {
    const url = (await serve('cam=whip:')).replace(/\/$/, '');
    const without = (kind, name) => `{
      const { mediaDevices } = navigator;
      const [ask, list] = [mediaDevices.getUserMedia.bind(mediaDevices), mediaDevices.enumerateDevices.bind(mediaDevices)];
      mediaDevices.enumerateDevices = async () => (await list()).filter(({ kind }) => kind !== '${kind}input');
      mediaDevices.getUserMedia = (wanted) => wanted.${kind}
        ? Promise.reject(new DOMException('Requested device not found', '${name}')) : ask(wanted);
    }`;
    for (const [kind, words] of [['audio', 'No microphone found. Publishing the camera only.'],
      ['video', 'No camera found. Publishing the microphone only.']]) {
      const page = await open(`${url}/publish?name=cam`, { init: without(kind, 'NotFoundError') });
      await page.locator('#go').click();
      await isLive(page);
      assert.equal(await text(page, '#note'), words);
      await page.close();
    }
    const page = await open(`${url}/publish?name=cam`, { init: without('audio', 'NotAllowedError') });
    await page.locator('#go').click();
    await shows(page, '#state', /^Camera or microphone blocked\. Allow them beside the address, then publish again\.$/);
    await page.locator('#what').selectOption('camera');
    await page.locator('#go').click();
    await isLive(page);
    assert.equal(await text(page, '#state'), 'Publishing as “cam”');
    const second = await open(`${url}/publish?name=cam`);
    await second.locator('#go').click();
    await shows(second, '#state', /^Somebody else is publishing “cam”\. Trying again…$/);
  },

  /** A large picture from the first second: the browser is told what bitrate to begin with. */
  async serve_start_bitrate(open) {
    const url = (await serve('cam=whip:')).replace(/\/$/, '');
    const init = `window.RTCPeerConnection = class extends RTCPeerConnection {
      constructor(...args) { super(...args); window.connection = this; }
    };`;
    const page = await open(`${url}/publish?name=cam`, { init });
    await page.locator('#go').click();
    await isLive(page);
    const sent = () => page.evaluate(async () => {
      const found = [];
      (await window.connection.getStats()).forEach((s) => s.type === 'outbound-rtp' && s.kind === 'video' && found.push(s));
      const { frameWidth, frameHeight, targetBitrate, encoderImplementation, qualityLimitationReason } = found[0] ?? {};
      return { frameWidth, frameHeight, targetBitrate, encoderImplementation, qualityLimitationReason };
    });
    await sleep(1000);
    console.log('after 1 s:', JSON.stringify(await sent()));
    await sleep(4000);
    const after = await sent();
    console.log('after 5 s:', JSON.stringify(after));
    // It was 180 without the hint. A machine that is too slow for more is not the fault of the bitrate.
    assert(after.frameHeight >= 540 || after.qualityLimitationReason === 'cpu', JSON.stringify(after));
  },
};
