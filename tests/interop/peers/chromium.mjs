// Chromium, headless, driven by playwright-core.
//
// It negotiates DTLS 1.3 and, with a peer that has no more, 1.2. No flag of version 156 holds it to 1.2.
//
// Extra arguments:
//   --mdns          hide host addresses behind mDNS names, as a browser without permissions does
//   --executable    the browser (default: $CHROMIUM, or /usr/bin/chromium)
import { readFileSync } from 'node:fs';
import { chromium } from 'playwright-core';
import { emit, parseArgs, serve } from './stdio.mjs';

const args = parseArgs({ mdns: false, executable: process.env.CHROMIUM || '/usr/bin/chromium' });

const flags = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream',
  '--autoplay-policy=no-user-gesture-required',
];
if (!args.mdns) flags.push('--disable-features=WebRtcHideLocalIpsWithMdns');

const browser = await chromium.launch({ executablePath: args.executable, headless: true, args: flags, timeout: 60000 });
serve((message) => inbox(message), { maxSeconds: args.maxSeconds, stop: () => browser.close() });

// Messages from the test wait until the page is ready for them.
const early = [];
let inbox = (message) => early.push(message);

const page = await browser.newPage();
page.on('pageerror', (e) => emit({ type: 'error', message: `page: ${e.message}` }));
page.on('console', (m) => emit({ type: 'log', message: m.text() }));
// A page on localhost is a secure context (it has crypto.subtle); no server is needed for it.
await page.route('**/*', (route) => route.fulfill({ contentType: 'text/html', body: '<!doctype html><title>interop</title>' }));
await page.goto('http://localhost/');
await page.exposeBinding('emitToTest', (_source, message) => emit(message));
const source = readFileSync(new URL('./w3c-peer.mjs', import.meta.url), 'utf8');
await page.evaluate(
  async ({ source, role, echo }) => {
    const module = await import(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })));
    globalThis.handle = await module.startPeer({
      RTCPeerConnection, config: { iceServers: [] }, role, echo, emit: (message) => globalThis.emitToTest(message),
    });
  },
  { source, role: args.role, echo: args.echo },
);

let tail = Promise.resolve();
inbox = (message) => {
  tail = tail
    .then(() => page.evaluate((m) => globalThis.handle(m), message))
    .catch((e) => emit({ type: 'error', message: `page: ${e.message}` }));
  return tail;
};
early.splice(0).forEach(inbox);
