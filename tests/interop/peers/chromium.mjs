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
import { readFileSync } from 'node:fs';
import { chromium } from 'playwright-core';
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
const source = (name) => readFileSync(new URL(name, import.meta.url), 'utf8');
const sources = [source('./w3c-peer.mjs'), source('./w3c-media.mjs')];
await page.evaluate(
  async ({ sources, role, echo, kinds, buffer, config }) => {
    const load = (text) => import(URL.createObjectURL(new Blob([text], { type: 'text/javascript' })));
    const [peer, media] = await Promise.all(sources.map(load));
    const makeTrack = async (kind) => {
      const wanted = kind === 'video' ? { video: { width: 320, height: 240, frameRate: 30 } } : { audio: true };
      return (await navigator.mediaDevices.getUserMedia(wanted)).getTracks()[0];
    };
    // Frames that nobody looks at are not decoded.
    const watchTrack = (track) => {
      const element = document.body.appendChild(document.createElement(track.kind));
      element.srcObject = new MediaStream([track]);
      element.autoplay = true;
      element.muted = track.kind === 'video';
    };
    globalThis.handle = await peer.startPeer({
      RTCPeerConnection,
      config,
      role,
      echo,
      emit: (message) => globalThis.emitToTest(message),
      media: kinds.length > 0 ? { start: media.startMedia, kinds, makeTrack, watchTrack, buffer } : undefined,
    });
  },
  { sources, role: args.role, echo: args.echo, kinds: kindsOf(args.media), buffer: Number(args.buffer), config },
);

let tail = Promise.resolve();
inbox = (message) => {
  tail = tail
    .then(() => page.evaluate((m) => globalThis.handle(m), message))
    .catch((e) => emit({ type: 'error', message: `page: ${e.message}` }));
  return tail;
};
early.splice(0).forEach(inbox);
