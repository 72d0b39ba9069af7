// What the scenarios share: a running example, and what its page shows.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

export const SECONDS = 1000;
const binary = process.argv[3];

export const running = [];

/** A running example: what it prints, and its standard input. With SERVER_SPACE it runs in that network namespace. */
export class Example {
  lines = [];
  /** What it is started with; before that, if there is any, its environment: `{ env }`. */
  constructor(...args) {
    const { env } = typeof args[0] === 'object' ? args.shift() : {};
    const space = process.env.SERVER_SPACE;
    const [program, ...words] = space ? ['ip', 'netns', 'exec', space, binary, ...args] : [binary, ...args];
    this.child = spawn(program, words, { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, ...env } });
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

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

export async function until(what, condition, seconds = 20) {
  const end = Date.now() + seconds * SECONDS;
  for (;;) {
    const found = await condition();
    if (found) return found;
    assert(Date.now() < end, `waited in vain for ${what}`);
    await sleep(50);
  }
}

export const text = (page, selector) => page.locator(selector).first().textContent();
export const shows = (page, selector, pattern) =>
  until(`${selector} to show ${pattern}`, async () => pattern.exec(await text(page, selector)));

/** How many lines of the page's log are of somebody. */
export const heard = (page, who) => page.locator('#log .who')
  .evaluateAll((all, name) => all.filter((element) => element.textContent.trim() === name).length, who);

export async function photograph(page, name) {
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

/** Runs ffmpeg; what it complains about fails the test. */
export async function ffmpeg(...args) {
  const { stderr } = await promisify(execFile)('ffmpeg', ['-nostdin', '-v', 'error', ...args]);
  assert.equal(stderr, '', `ffmpeg ${args.join(' ')}`);
}

/** What is missing in this browser, as the scenario's last word. */
export class Unavailable extends Error {}
