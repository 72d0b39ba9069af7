// Chromium, headless, driven by playwright-core.
//
// It negotiates DTLS 1.3 and, with a peer that has no more, 1.2. No flag of version 156 holds it to 1.2.
//
// Extra arguments:
//   --mdns          hide host addresses behind mDNS names, as a browser without permissions does
//   --media KINDS   send and receive media: "video:VP8,audio:opus", from fake devices
//   --buffer MS     hold received media back for so long at least (RTCRtpReceiver.jitterBufferTarget)
//   --relay URL,USER,PASSWORD   only relayed candidates, from this TURN server
//   --executable    the browser (default: $CHROMIUM, or /usr/bin/chromium)
import { chromium } from 'playwright-core';
import { HTML, inbox } from './in-page.mjs';
import { emit, parseArgs, serve } from './stdio.mjs';
import { kindsOf } from './w3c-media.mjs';

const args = parseArgs({ mdns: false, media: '', relay: '', buffer: '0', executable: process.env.CHROMIUM || '/usr/bin/chromium' });

const [urls, username, credential] = args.relay.split(',');
const config = args.relay ? { iceServers: [{ urls, username, credential }], iceTransportPolicy: 'relay' } : { iceServers: [] };

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
const messages = inbox();
serve(messages.handle, { maxSeconds: args.maxSeconds, stop: () => browser.close() });

const page = await browser.newPage();
page.on('pageerror', (e) => emit({ type: 'error', message: `page: ${e.message}` }));
page.on('console', (m) => emit({ type: 'log', message: m.text() }));
// No server is needed for it.
await page.route('**/*', (route) => route.fulfill({ contentType: 'text/html', body: HTML }));
await page.goto('http://localhost/');
await page.exposeBinding('emitToTest', (_source, message) => emit(message));
await messages.ready(page, { role: args.role, echo: args.echo, kinds: kindsOf(args.media), buffer: Number(args.buffer), config });
