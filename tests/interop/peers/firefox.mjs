// Firefox ESR, headless, driven by puppeteer-core over WebDriver BiDi. Playwright's Firefox is a build of its own.
//
// It gathers no host candidates where there is no default route: `tests/interop/peer` gives it a namespace with one.
//
// Extra arguments:
//   --media KINDS   send and receive media: "video:VP8,audio:opus", from fake devices
//   --buffer MS     hold received media back for so long at least (RTCRtpReceiver.jitterBufferTarget)
//   --executable    the browser (default: $FIREFOX, or /usr/bin/firefox-esr)
import { createServer } from 'node:http';
import puppeteer from 'puppeteer-core';
import { FIREFOX_PREFS } from '../pages/browsers.mjs';
import { HTML, inbox } from './in-page.mjs';
import { emit, parseArgs, serve } from './stdio.mjs';
import { kindsOf } from './w3c-media.mjs';

const args = parseArgs({ media: '', buffer: '0', executable: process.env.FIREFOX || '/usr/bin/firefox-esr' });

const browser = await puppeteer.launch({
  browser: 'firefox',
  executablePath: args.executable,
  headless: true,
  timeout: 60_000,
  extraPrefsFirefox: FIREFOX_PREFS,
});
const messages = inbox();
serve(messages.handle, { maxSeconds: args.maxSeconds, stop: () => browser.close() });

const server = createServer((_request, response) => response.setHeader('Content-Type', 'text/html').end(HTML));
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const page = await browser.newPage();
page.on('pageerror', (e) => emit({ type: 'error', message: `page: ${e.message}` }));
page.on('console', (m) => emit({ type: 'log', message: m.text() }));
await page.goto(`http://localhost:${server.address().port}/`);
await page.exposeFunction('emitToTest', emit);
await messages.ready(page, { role: args.role, echo: args.echo, kinds: kindsOf(args.media), buffer: Number(args.buffer), config: { iceServers: [] } });
