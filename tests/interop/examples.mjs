// Runs an example that has a page, loads the page in headless Chromium, and checks what it shows.
//
//   node examples.mjs SCENARIO BINARY
//
// Exit code 77: Chromium or playwright-core is not there. With SCREENSHOTS=DIR the page is photographed,
// light on a desk and dark on a phone. Chromium runs as it comes: host addresses are hidden behind mDNS
// names, which the library cannot resolve; it is the browser that reaches us.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import rtp from './rtp.mjs';

const [scenario, binary] = process.argv.slice(2);
const SECONDS = 1000;
const executablePath = process.env.CHROMIUM || '/usr/bin/chromium';

let chromium;
try {
  // `require` looks into NODE_PATH, `import` does not.
  ({ chromium } = createRequire(import.meta.url)('playwright-core'));
} catch {
  unavailable('playwright-core is not installed');
}
if (!existsSync(executablePath)) unavailable(`${executablePath} is not there`);

function unavailable(why) {
  console.error(`${why}; tests/setup installs it`);
  process.exit(77);
}

const running = [];

/** A running example: what it prints, and its standard input. */
class Example {
  lines = [];
  constructor(...args) {
    this.child = spawn(binary, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    running.push(this.child);
    createInterface(this.child.stdout).on('line', (line) => this.lines.push(line));
  }
  /** Waits for a line that matches; gives the match. */
  line(pattern) {
    return until(`the example to print ${pattern}`, () => {
      for (const line of this.lines) {
        const match = pattern.exec(line);
        if (match) return match;
      }
    });
  }
  async url() {
    return (await this.line(/Open (http:\S+) in a browser/))[1];
  }
  write(line) {
    this.child.stdin.write(`${line}\n`);
  }
}

async function until(what, condition) {
  const end = Date.now() + 20 * SECONDS;
  for (;;) {
    const found = await condition();
    if (found) return found;
    assert(Date.now() < end, `waited in vain for ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

const text = (page, selector) => page.locator(selector).first().textContent();
const shows = (page, selector, pattern) =>
  until(`${selector} to show ${pattern}`, async () => pattern.exec(await text(page, selector)));
const heard = (page, who) => page.locator(`#log li:has(.who:text-is("${who}"))`).count();

async function photograph(page, name) {
  const dir = process.env.SCREENSHOTS;
  if (!dir) return;
  for (const [device, width, height, colorScheme] of [['desk', 1200, 800, 'light'], ['phone', 390, 844, 'dark']]) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert(wide <= width, `${name} is ${wide} pixels wide on a ${device} of ${width}`);
    await page.screenshot({ path: `${dir}/${name}-${device}.png` });
  }
}

/** Text in both directions. */
async function converses(page, example) {
  await shows(page, '#state', /^Connected$/);
  await until('two messages', async () => (await heard(page, 'program')) >= 2);
  await page.fill('#text', 'Grüße from the page');
  await page.click('#send');
  await example.line(/'Grüße from the page'/);
}

const quick = ['--http', '127.0.0.1:0', '--interval', '0.3'];

const scenarios = {
  async data_channels(open) {
    const example = new Example(...quick);
    const url = await example.url();
    const page = await open(url);
    await converses(page, example);
    // Nonsense is refused and changes nothing; a second page is a second peer.
    for (const body of ['nonsense', '{"type":"offer","sdp":"v=0"}', '{"type":"answer","sdp":""}']) {
      const answer = await fetch(`${url}offer`, { method: 'POST', body });
      assert.equal(answer.status, 400, body);
      assert.match(await answer.text(), /\w/);
    }
    assert.equal((await fetch(`${url}elsewhere`)).status, 404);
    const second = await open(url);
    await converses(second, example);
    // One that leaves does not take the other with it.
    await second.close();
    await example.line(/^Peer .*: connection closed/);
    await converses(page, example);
    await photograph(page, 'data_channels');
  },

  async data_channels_paste(open) {
    const example = new Example(...quick, '--paste');
    const page = await open(await example.url());
    await until('an offer', () => page.inputValue('#offer'));
    await photograph(page, 'data_channels_paste');
    example.write(await page.inputValue('#offer'));
    const [answer] = await example.line(/^[A-Za-z0-9+/=]{100,}$/);
    await page.fill('#answer', answer);
    await page.click('#connect');
    await converses(page, example);
  },

  async data_channels_create(open) {
    const example = new Example(...quick);
    const url = await example.url();
    const page = await open(url);
    await converses(page, example);
    const { status, headers } = await fetch(`${url}offer`);
    assert.equal(status, 200);
    const bad = await fetch(new URL(headers.get('Location'), url), { method: 'POST', body: 'nonsense' });
    assert.equal(bad.status, 400);
    const answer = await fetch(`${url}answer/9.9`, { method: 'POST', body: '{"type":"answer","sdp":"v=0"}' });
    assert.equal(answer.status, 404);
    await photograph(page, 'data_channels_create');
  },

  async data_channels_create_paste(open) {
    const example = new Example(...quick, '--paste');
    const page = await open(await example.url());
    const [offer] = await example.line(/^[A-Za-z0-9+/=]{100,}$/);
    await page.fill('#offer', offer);
    await page.click('#take');
    await until('an answer', () => page.inputValue('#answer'));
    await photograph(page, 'data_channels_create_paste');
    example.write(await page.inputValue('#answer'));
    await converses(page, example);
  },

  async ice_restart(open) {
    const example = new Example(...quick);
    const page = await open(await example.url());
    await shows(page, '#state', /^Connected$/);
    await shows(page, '#remote', /port \d+/);
    const seen = new Set();
    for (let restart = 1; restart <= 3; restart++) {
      const [ufrags] = await until('new credentials', async () => {
        const match = /^(\S+ here, \S+ there)$/.exec(await text(page, '#ufrags'));
        return match && !seen.has(match[0]) && match;
      });
      seen.add(ufrags);
      const lines = parseInt(await text(page, '#lines'));
      await page.click('#restart:enabled');
      await shows(page, '#restarts', new RegExp(`^${restart}$`));
      await until('further lines', async () => parseInt(await text(page, '#lines')) >= lines + 5);
      await shows(page, '#state', /^Connected$/);
    }
    await shows(page, '#lines', /none missing/);
    assert.equal(example.lines.filter((line) => /offered anew/.test(line)).length, 3);
    await photograph(page, 'ice_restart');
  },

  async ice_single_port(open) {
    const port = 20000 + (process.pid % 20000);
    const example = new Example(...quick, '--port', String(port));
    const page = await open(await example.url());
    await shows(page, '#state', /^10 of 10 connected$/);
    await until('ten port numbers', async () => {
      const shown = await page.locator('#rows tr td:nth-child(4)').allTextContents();
      return shown.length === 10 && shown.every((p) => p === String(port));
    });
    await shows(page, '#ports', new RegExp(`all to port ${port}`));
    await until('lines on every channel', () => page.evaluate(() => connections.every((c) => c.received >= 3)));
    await photograph(page, 'ice_single_port');
  },
};

/** Ten seconds of a clip in each codec, as the browser counts them. */
async function plays(open, codec, encoder) {
  const dir = mkdtempSync(join(tmpdir(), 'play-'));
  const [video, audio] = [join(dir, 'video.ivf'), join(dir, 'audio.ogg')];
  try {
    const ffmpeg = (...args) => execFileSync('ffmpeg', ['-v', 'error', '-f', 'lavfi', ...args]);
    ffmpeg('-i', 'testsrc2=size=640x360:rate=30', '-t', '13', '-c:v', ...encoder, '-b:v', '1M', '-g', '60', video);
    ffmpeg('-i', 'sine=440', '-t', '13', '-c:a', 'libopus', audio);
    const example = new Example('--http', '127.0.0.1:0', '--video', video, '--audio', audio);
    const page = await open(await example.url());
    const count = () => page.evaluate(async () => {
      const { video, audio } = await received();
      return { decoded: video?.framesDecoded ?? 0, frozen: video?.totalFreezesDuration ?? 0,
        freezes: video?.freezeCount ?? 0, at: video?.timestamp, sound: audio?.totalSamplesReceived ?? 0,
        concealed: audio?.concealedSamples ?? 0, lip: (video?.estimatedPlayoutTimestamp ?? 0) - (audio?.estimatedPlayoutTimestamp ?? 0) };
    });
    await example.line(new RegExp(`playing ${codec}`));
    await until('the first frames', async () => (await count()).decoded > 15);
    const before = await count();
    await new Promise((done) => setTimeout(done, 10 * SECONDS));
    const after = await count();
    const sent = (after.at - before.at) / 1000 * 30;
    const decoded = after.decoded - before.decoded;
    console.log(`${codec}: ${decoded} of ${sent.toFixed(1)} frames, ${after.freezes - before.freezes} freezes, `
      + `sound ${after.sound - before.sound} samples (${after.concealed - before.concealed} concealed), video and sound ${after.lip} ms apart`);
    assert(decoded >= 0.98 * sent - 1, `${codec}: ${decoded} of ${sent} frames`);
    assert(after.frozen - before.frozen < 0.2, `${codec}: frozen for ${after.frozen - before.frozen} s`);
    assert(after.sound - before.sound > 9 * 48000, `${codec}: sound of ${after.sound - before.sound} samples`);
    await shows(page, '#state', /^Connected$/);
    await photograph(page, `play_from_disk_${codec}`);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

const quickly = ['-deadline', 'realtime', '-cpu-used', '8'];
Object.assign(scenarios, {
  play_from_disk_vp8: (open) => plays(open, 'VP8', ['libvpx', ...quickly]),
  play_from_disk_vp9: (open) => plays(open, 'VP9', ['libvpx-vp9', ...quickly]),
  play_from_disk_av1: (open) => plays(open, 'AV1', ['libaom-av1', '-usage', 'realtime', '-cpu-used', '8']),
});

/** The browser's fake camera comes back, and its fake microphone. */
scenarios.reflect = async (open) => {
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
  await new Promise((done) => setTimeout(done, 5 * SECONDS));
  const after = await count();
  const [sent, decoded] = [after.sent - before.sent, after.decoded - before.decoded];
  console.log(`reflect: ${decoded} of ${sent} frames came back`);
  assert(sent > 50 && decoded >= 0.98 * sent - 2, `${decoded} of ${sent} frames came back`);
  assert(after.frozen - before.frozen < 0.2, `frozen for ${after.frozen - before.frozen} s`);
  assert(after.sound - before.sound > 4 * 48000, 'sound');
  assert(after.level > before.level, 'silence');
  await photograph(page, 'reflect');
};

Object.assign(scenarios, rtp({ Example, until, shows, photograph, running, SECONDS }));

const end = (code) => process.exit(code);
process.on('exit', () => running.forEach((child) => child.kill()));
setTimeout(() => {
  console.error('took longer than 90 s');
  end(1);
}, 90 * SECONDS).unref();

const browser = await chromium.launch({
  executablePath,
  headless: true,
  timeout: 60 * SECONDS,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--autoplay-policy=no-user-gesture-required',
    '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream'],
});
async function open(url) {
  const page = await browser.newPage();
  page.on('pageerror', (error) => {
    console.error(`the page: ${error.stack}`);
    end(1);
  });
  await page.goto(url);
  return page;
}
try {
  await scenarios[scenario](open);
  console.log(`${scenario}: good`);
  end(0);
} catch (error) {
  console.error(error);
  end(1);
}
