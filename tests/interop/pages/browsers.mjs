// The browsers that scenarios run in: Chromium by playwright-core, Firefox by puppeteer-core (playwright's Firefox is a
// build of its own, Debian's is not). Scenarios are written for playwright's pages; `FirefoxPage` has of them what
// scenarios use.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SECONDS, sleep, Unavailable } from './harness.mjs';

const LAUNCH = 60 * SECONDS;

/** A package of npm. `require` looks into NODE_PATH, `import` does not. */
function load(name) {
  try {
    return createRequire(import.meta.url)(name);
  } catch {
    throw new Unavailable(`${name} is not installed (tests/setup does it)`);
  }
}

function program(variable, path) {
  const found = process.env[variable] || path;
  if (!existsSync(found)) throw new Unavailable(`${found} is not there (tests/setup installs it)`);
  return found;
}

/**
 * Starts a browser, `chromium` or `firefox`. Returns `open(url, { init, file, insecure })`, which opens a page: `init` runs before
 * the page's own scripts, `file` is written over what the server has at that URL. With `space` Chromium runs in that
 * network namespace. With `insecure` it takes a certificate that nobody vouches for. Pages of the origin `secure` may use cameras, though it is neither https nor localhost.
 */
export async function launch(name, onerror, { space, secure } = {}) {
  const newPage = await { chromium, firefox }[name](space, secure);
  return async (url, { init, file, insecure } = {}) => {
    const page = await newPage({ insecure });
    if (init) await page.addInitScript(init);
    page.on('pageerror', onerror);
    await page.goto(url);
    if (file) await page.setContent(readFileSync(file, 'utf8'));
    return page;
  };
}

/** A program that runs another one in a network namespace, for who starts a browser by its path alone. */
function inSpace(space, path) {
  if (!space) return path;
  const dir = mkdtempSync(join(tmpdir(), 'looprtc-browser-'));
  process.on('exit', () => rmSync(dir, { recursive: true, force: true }));
  const wrapper = join(dir, 'browser');
  writeFileSync(wrapper, `#!/bin/sh\nexec ip netns exec ${space} ${path} "$@"\n`, { mode: 0o755 });
  return wrapper;
}

async function chromium(space, secure) {
  const executablePath = inSpace(space, program('CHROMIUM', '/usr/bin/chromium'));
  const browser = await load('playwright-core').chromium.launch({
    executablePath,
    headless: true,
    timeout: LAUNCH,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--autoplay-policy=no-user-gesture-required',
      '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream',
      ...(secure ? [`--unsafely-treat-insecure-origin-as-secure=${secure}`] : [])],
  });
  return ({ insecure }) => browser.newPage({ ignoreHTTPSErrors: insecure });
}

/** Firefox's settings for tests: fake devices without a question, plain host candidates, sound without a click. */
export const FIREFOX_PREFS = {
  'media.navigator.streams.fake': true,
  'media.navigator.permission.disabled': true,
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  'media.autoplay.default': 0,
  // Nothing is asked of Mozilla's servers.
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
};

async function firefox(_space, secure) {
  const executablePath = program('FIREFOX', '/usr/bin/firefox-esr');
  const puppeteer = load('puppeteer-core');
  const browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath,
    headless: true,
    timeout: LAUNCH,
    protocolTimeout: LAUNCH,
    extraPrefsFirefox: {
      ...FIREFOX_PREFS,
      ...(secure && { 'media.devices.insecure.enabled': true, 'media.getusermedia.insecure.enabled': true }),
    },
  });
  return async () => new FirefoxPage(await browser.newPage());
}

/** How long a page may take to have what is to be clicked or filled in. */
const PATIENCE = 20 * SECONDS;

/** What scenarios use of playwright's `Page`, for puppeteer's. */
class FirefoxPage {
  #page;

  constructor(page) {
    this.#page = page;
  }

  on(event, listener) {
    this.#page.on(event, (error) => {
      // Firefox reports lost connections as if the page had thrown something.
      if (/^WebRTC: |^The connection to wss?:|can.t establish a connection/.test(error.message)) return;
      listener(error);
    });
  }

  async addInitScript(script, argument) {
    await this.#page.evaluateOnNewDocument(script, ...(typeof script === 'string' ? [] : [argument]));
  }

  async goto(url) {
    await this.#page.goto(url, { waitUntil: 'load' });
  }

  setContent(html) {
    return this.#page.setContent(html);
  }

  async close() {
    // As playwright does it: without a question.
    await this.#page.close({ runBeforeUnload: false });
  }

  url() {
    return this.#page.url();
  }

  title() {
    return this.#page.title();
  }

  evaluate(script, argument) {
    return this.#page.evaluate(script, argument);
  }

  setViewportSize({ width, height }) {
    return this.#page.setViewport({ width, height });
  }

  // Not in WebDriver BiDi.
  async emulateMedia() {}

  screenshot(options) {
    return this.#page.screenshot(options);
  }

  locator(selector) {
    return new FirefoxLocator(this.#page, selector);
  }

  click(selector) {
    return this.locator(selector).click();
  }

  fill(selector, text) {
    return this.locator(selector).fill(text);
  }

  inputValue(selector) {
    return this.locator(selector).first().evaluate((element) => element.value);
  }

  selectOption(selector, value) {
    return this.#page.select(selector, value);
  }

  check(selector) {
    return this.#set(selector, true);
  }

  uncheck(selector) {
    return this.#set(selector, false);
  }

  async #set(selector, wanted) {
    const is = await this.locator(selector).evaluate((element) => element.checked);
    if (is !== wanted) await this.click(selector);
  }

  isVisible(selector) {
    return this.locator(selector).isVisible();
  }

  isEnabled(selector) {
    return this.locator(selector).isEnabled();
  }
}

/** What scenarios use of playwright's `Locator`. */
class FirefoxLocator {
  #page;
  #selector;

  constructor(page, selector) {
    this.#page = page;
    this.#selector = selector;
  }

  locator(selector) {
    return new FirefoxLocator(this.#page, `${this.#selector} ${selector}`);
  }

  /** The first element is what all but `count` and `all…` mean here anyway. */
  first() {
    return this;
  }

  async waitFor({ state = 'visible' } = {}) {
    await this.#page.waitForSelector(this.#selector, { visible: state === 'visible', timeout: PATIENCE });
  }

  async click() {
    await this.#page.locator(this.#selector).setTimeout(PATIENCE).click();
  }

  async fill(text) {
    await this.#page.locator(this.#selector).setTimeout(PATIENCE).fill(text);
  }

  async evaluate(script, argument) {
    const end = Date.now() + PATIENCE;
    for (;;) {
      const element = await this.#page.$(this.#selector);
      if (element) return element.evaluate(script, argument);
      if (Date.now() > end) throw new Error(`there is no ${this.#selector}`);
      await sleep(50);
    }
  }

  evaluateAll(script, argument) {
    return this.#page.$$eval(this.#selector, script, argument);
  }

  textContent() {
    return this.evaluate((element) => element.textContent);
  }

  allTextContents() {
    return this.evaluateAll((elements) => elements.map((element) => element.textContent));
  }

  getAttribute(name) {
    return this.evaluate((element, attribute) => element.getAttribute(attribute), name);
  }

  count() {
    return this.evaluateAll((elements) => elements.length);
  }

  async isVisible() {
    const [visible] = await this.evaluateAll((elements) => elements.map((e) => e.checkVisibility()));
    return Boolean(visible);
  }

  isEnabled() {
    return this.evaluate((element) => !element.disabled);
  }
}
