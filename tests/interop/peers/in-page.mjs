// What the peers inside browsers share: the page, what runs in it, and messages that wait until it is ready.
import { readFileSync } from 'node:fs';
import { emit } from './stdio.mjs';

const source = (name) => readFileSync(new URL(name, import.meta.url), 'utf8');
const sources = [source('./w3c-peer.mjs'), source('./w3c-media.mjs')];

/** A page on localhost is a secure context (it has crypto.subtle). */
export const HTML = '<!doctype html><title>interop</title>';

/** In the page: starts the peer. `emitToTest` is there already, `handle` is made here. */
async function start({ sources, role, echo, kinds, buffer, config }) {
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
}

/** Takes messages from the test at any time; `ready(page, args)` gives those that have come to the peer that it starts. */
export function inbox() {
  const early = [];
  let take = (message) => early.push(message);
  return {
    handle: (message) => take(message),
    async ready(page, args) {
      await page.evaluate(start, { sources, ...args });
      let tail = Promise.resolve();
      take = (message) => {
        tail = tail
          .then(() => page.evaluate((m) => globalThis.handle(m), message))
          .catch((e) => emit({ type: 'error', message: `page: ${e.message}` }));
        return tail;
      };
      early.splice(0).forEach(take);
    },
  };
}
