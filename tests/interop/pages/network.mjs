// Pages whose network changes, or is gone for a while. Runs in the namespace `LAB-a` of `tests/network_change/lab.rs`, the
// server in `LAB-b`, and between them is the router `LAB-r`.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { launch } from './browsers.mjs';
import { Example, SECONDS, sleep, until } from './harness.mjs';

const lab = process.env.LAB;
const HOST = '10.71.3.2:8080';
const BASE = `http://${HOST}`;

/** How soon pictures go on after a change of the address. */
const BACK = 3 * SECONDS;

/** How soon they go on after the network is back. */
const BACK_AFTER_OUTAGE = 2 * SECONDS;

const ip = (host, words) => promisify(execFile)('ip', ['-n', `${lab}-${host}`, ...words.split(' ')]);

/** In the page: notes when a picture was shown in an element that does not show the page's own camera. */
function note() {
  window.shown = [];
  window.states = [];
  const known = new WeakSet();
  setInterval(() => {
    for (const video of document.querySelectorAll('video')) {
      if (known.has(video) || video.closest('.self')) continue;
      known.add(video);
      const onFrame = () => {
        window.shown.push(Date.now());
        video.requestVideoFrameCallback(onFrame);
      };
      video.requestVideoFrameCallback(onFrame);
    }
    const server = /not/.test(document.querySelector('#server')?.textContent) ? ' (no server)' : '';
    const state = document.querySelector('#state')?.textContent + server;
    if (state !== window.states.at(-1)?.[1]) window.states.push([Date.now(), state]);
  }, 20);
}

const moving = (page, what) => until(`pictures in ${what}`, async () => {
  const after = Date.now();
  await sleep(1 * SECONDS);
  return (await page.evaluate((from) => window.shown.filter((at) => at > from).length, after)) > 4;
}, 40);

/** Until pictures go on after `from`: the first picture after which they keep on, in ms. */
async function back(page, from, limit) {
  const found = await until('pictures again', () => page.evaluate((start) => {
    const later = window.shown.filter((at) => at > start);
    const index = later.findIndex((at, n) => later[n + 5] - at < 1000);
    return index < 0 ? 0 : later[index] - start;
  }, from), limit / SECONDS).catch(() => null);
  return found ?? Infinity;
}

const states = async (page, from) => (await page.evaluate((start) =>
  window.states.filter(([at]) => at > start).map(([at, words]) => `${at - start}: ${words}`), from)).join(' | ');

const CHANGES = {
  /** Another address on the same network, as after a new lease. */
  async address() {
    await ip('a', 'addr del 10.71.1.2/24 dev wifi0');
    await ip('a', 'addr add 10.71.1.77/24 dev wifi0');
    await ip('a', 'route add default via 10.71.1.1 metric 100');
  },
  /** From one network to the next, with nothing in between for a moment. */
  async interface() {
    await ip('a', 'link set wifi0 down');
    await sleep(200);
    await ip('a', 'link set lte0 up');
    await ip('a', 'route add default via 10.71.2.1 metric 200');
  },
};

/** One network is up, the other is not. */
async function restore() {
  await ip('a', 'link set lte0 down');
  await ip('a', 'addr flush dev wifi0 scope global');
  await ip('a', 'link set wifi0 up');
  await ip('a', 'addr add 10.71.1.2/24 dev wifi0');
  await ip('a', 'route replace default via 10.71.1.1 metric 100');
}

/** Nothing gets through for so long, and nobody is told. */
async function outage(seconds) {
  for (const address of ['10.71.1.2', '10.71.1.77', '10.71.2.2']) await ip('r', `route add blackhole ${address}`);
  await sleep(seconds * SECONDS);
  for (const address of ['10.71.1.2', '10.71.1.77', '10.71.2.2']) await ip('r', `route del blackhole ${address}`);
}

/** Opens the page that is to be tried, and what belongs to it. Returns the pages that must show pictures, that one first. */
const KINDS = {
  async watch(open) {
    return [await open(`${BASE}/watch/testcard`, { init: `(${note})()` })];
  },
  async room(open, other) {
    const there = await other(`${BASE}/room/moving?join&name=There`, { init: `(${note})()` });
    const page = await open(`${BASE}/room/moving?join&name=Here`, { init: `(${note})()` });
    await moving(there, 'the other page of the room');
    return [page, there];
  },
  async call(open, other) {
    const there = await other(`${BASE}/call?userId=there`, { init: `(${note})()` });
    const page = await open(`${BASE}/call?userId=here`, { init: `(${note})()` });
    await until('both to be there', async () => (await there.isVisible('#dial')) && (await page.isVisible('#dial')));
    await page.fill('#target', 'there');
    await page.click('#dial button[type=submit], #dial button');
    await there.locator('#incoming[open]').waitFor();
    if (!(await there.evaluate(() => document.querySelector('#answer-with-camera').checked))) await there.check('#answer-with-camera');
    await there.click('#incoming button[value=accept]');
    await moving(there, 'the other page of the call');
    return [page, there];
  },
  async publish(open, other) {
    const page = await open(`${BASE}/publish?name=live`, { init: `(${note})()` });
    await page.locator('#go').click();
    const there = await other(`${BASE}/watch/live`, { init: `(${note})()` });
    await moving(there, 'who watches the publisher');
    return [there];
  },
};

async function stage(open, browser, kind) {
  await restore();
  const server = new Example('serve', '--listen', HOST, '--open');
  await server.url();
  const other = kind === 'watch' ? null
    : await launch('chromium', (error) => console.error(`the other page: ${error.stack}`), { space: `${lab}-b`, secure: BASE });
  const pages = await KINDS[kind](open, other);
  await moving(pages[0], `${kind} in ${browser}`);
  return pages;
}

const secure = { secure: BASE };
const scenarios = {};
for (const kind of Object.keys(KINDS)) {
  for (const [change, apply] of Object.entries(CHANGES)) {
    scenarios[`network_${kind}_${change}`] = Object.assign(async (open, browser) => {
      const [page] = await stage(open, browser, kind);
      for (let run = 0; run < (process.env.RUNS ?? 1); run += 1) {
        await sleep(2 * SECONDS);
        const from = Date.now();
        await apply();
        const took = await back(page, from + 300, (process.env.LIMIT ?? 30) * SECONDS) + 300;
        console.log(`${kind} in ${browser}, ${change}: pictures again after ${took} ms; ${await states(page, from)}`);
        if (!process.env.RUNS) assert(took <= BACK, `pictures after ${took} ms`);
        await restore();
        await moving(page, `${kind} at the first address again`);
      }
    }, secure);
  }
  scenarios[`network_${kind}_outage`] = Object.assign((open, browser) => afterOutage(open, browser, kind, 15), secure);
  // Within 30 s consent expires (RFC 7675), and the connection is *failed*.
  scenarios[`network_${kind}_long_outage`] = Object.assign((open, browser) => afterOutage(open, browser, kind, 31), secure);
}

async function afterOutage(open, browser, kind, seconds) {
  const pages = await stage(open, browser, kind);
  for (let run = 0; run < (process.env.RUNS ?? 1); run += 1) {
    await sleep(1 * SECONDS);
    await outage(seconds);
    const from = Date.now();
    const took = await Promise.all(pages.map((page) => back(page, from, (process.env.LIMIT ?? 30) * SECONDS)));
    console.log(`${kind} in ${browser}: pictures ${took} ms after the outage; ${await states(pages[0], from - 32_000)}`);
    if (!process.env.RUNS) assert(Math.max(...took) <= BACK_AFTER_OUTAGE, `pictures ${took} ms after the network`);
  }
}

export const network = scenarios;
