// Shared by rooms and calls: cameras and microphones, tiles, statistics.
import { Graph } from './common.js';

export const $ = (selector) => document.querySelector(selector);

/** Shows a state ('connecting', 'live', 'waiting', 'failed' or 'idle') and a text. The element is a live region. */
export function say(state, words) {
  const element = $('#state');
  if (element.textContent === words) return;
  element.dataset.state = state;
  element.textContent = words;
}

/** Returns why there is no camera or microphone, and what to do about it. */
export function deviceTrouble(error, what) {
  if (!navigator.mediaDevices) {
    return `Browsers give the ${what} to secure pages only. Open this page by https, or on localhost.`;
  }
  switch (error?.name) {
    case 'NotAllowedError': return `The ${what} is blocked. Allow it beside the address of this page.`;
    case 'NotFoundError': return `No ${what} found.`;
    case 'NotReadableError': return `The ${what} is in use by another program.`;
    default: return `The ${what} cannot be used: ${error?.message ?? 'unknown'}.`;
  }
}

const CAMERA = { width: { ideal: 640 }, height: { ideal: 360 }, frameRate: { ideal: 24, max: 30 } };

/** The user's camera, microphone and screen: at most one track of each kind, passed to `onchange` when it changes. */
export class Devices {
  video = null;
  audio = null;
  /** Source of `video`: 'camera', 'screen' or null. */
  shows = null;
  #cameraNext = false;

  constructor({ onchange, ontrouble }) {
    Object.assign(this, { onchange, ontrouble });
  }

  get isMuted() {
    return !this.audio?.enabled;
  }

  async #get(what, ask) {
    try {
      return await ask();
    } catch (error) {
      // Canceling the screen selection needs no error message.
      if (what !== 'screen' || error?.name !== 'NotAllowedError') this.ontrouble(deviceTrouble(error, what));
      return null;
    }
  }

  async camera(on) {
    if (!on) return this.#show(null, null);
    const stream = await this.#get('camera', () => navigator.mediaDevices.getUserMedia({ video: CAMERA }));
    if (stream) this.#show(stream.getVideoTracks()[0], 'camera');
  }

  /** When screen sharing ends, the camera resumes if it was on before. */
  async screen(on) {
    if (!on) return this.#endScreen();
    const camera = this.shows === 'camera';
    const stream = await this.#get('screen', () =>
      navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { max: 15 } } }));
    if (!stream) return;
    const [track] = stream.getVideoTracks();
    track.contentHint = 'detail';
    this.#cameraNext = camera;
    this.#show(track, 'screen');
  }

  async #endScreen() {
    const next = this.#cameraNext;
    this.#cameraNext = false;
    this.#show(null, null);
    if (next) await this.camera(true);
  }

  async microphone(on) {
    if (on && !this.audio) {
      const stream = await this.#get('microphone', () => navigator.mediaDevices.getUserMedia({
        audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
      }));
      this.audio = stream?.getAudioTracks()[0] ?? null;
      this.audio?.addEventListener('ended', () => {
        this.audio = null;
        this.onchange();
      });
    }
    if (this.audio) this.audio.enabled = on;
    this.onchange();
  }

  #show(track, what) {
    const old = this.video;
    this.video = track;
    this.shows = what;
    old?.stop();
    // Ended by the browser's own button, or unplugged.
    track?.addEventListener('ended', () => {
      if (this.video !== track) return;
      if (what === 'screen') this.#endScreen();
      else this.#show(null, null);
    });
    this.onchange();
  }

  stop() {
    this.video?.stop();
    this.audio?.stop();
    this.video = this.audio = this.shows = null;
  }
}

/** The buttons for microphone, camera and screen: each is labeled with its action. */
export function showSending({ isMuted, shows }) {
  const button = (id, isOn, words) => {
    $(id).classList.toggle('off', !isOn);
    $(`${id} .words`).textContent = words;
  };
  button('#microphone', !isMuted, isMuted ? 'Unmute' : 'Mute');
  button('#camera', shows === 'camera', shows === 'camera' ? 'Stop camera' : 'Start camera');
  button('#screen', true, shows === 'screen' ? 'Stop sharing' : 'Share screen');
}

/** A tile: video with a name, and the name's first letter while there is no video. */
export class Tile {
  constructor(name, { own = false } = {}) {
    this.element = document.createElement('li');
    this.element.className = own ? 'tile self' : 'tile';
    this.video = document.createElement('video');
    Object.assign(this.video, { autoplay: true, playsInline: true, muted: own });
    // Muted video plays at once, even where audio would need a click first.
    this.video.setAttribute('aria-hidden', 'true');
    this.initial = document.createElement('div');
    this.initial.className = 'initial';
    this.initial.setAttribute('aria-hidden', 'true');
    this.initial.append(document.createElement('span'));
    this.caption = document.createElement('div');
    this.caption.className = 'caption';
    this.element.append(this.video, this.initial, this.caption);
    this.own = own;
    this.update({ name });
  }

  update({ name, camera = true, microphone = true, screen = false, away = false, ringing = false }) {
    this.initial.firstChild.textContent = [...(name.trim() || '?')][0].toUpperCase();
    this.initial.hidden = camera || screen;
    this.video.classList.toggle('whole', screen);
    this.video.classList.toggle('mirrored', this.own && camera && !screen);
    const notes = ringing ? ['ringing'] : [
      away && 'reconnecting',
      screen && 'sharing the screen',
      !microphone && 'microphone off',
      !camera && !screen && 'camera off',
    ].filter(Boolean);
    this.caption.textContent = [this.own && name !== 'You' ? `${name} (you)` : name, ...notes].join(' · ');
  }

  set stream(stream) {
    if (this.video.srcObject !== stream) this.video.srcObject = stream;
  }

  /** Plays with sound; `false` if the browser requires a click first. */
  async play() {
    try {
      await this.video.play();
      return true;
    } catch (error) {
      return error.name !== 'NotAllowedError';
    }
  }
}

/** Statistics of a connection, over the time since the last call. */
class Figures {
  #last = new Map();

  async measure(pc) {
    const now = performance.now();
    const sums = { in: 0, out: 0, lost: 0, received: 0, frames: 0, delay: 0, emitted: 0 };
    let roundTrip = null;
    for (const s of (await pc.getStats()).values()) {
      const since = (field) => {
        const key = `${s.id} ${field}`;
        const before = this.#last.get(key) ?? 0;
        this.#last.set(key, s[field] ?? 0);
        return Math.max(0, (s[field] ?? 0) - before);
      };
      if (s.type === 'inbound-rtp') {
        sums.in += since('bytesReceived');
        sums.lost += since('packetsLost');
        sums.received += since('packetsReceived');
        sums.frames += since('framesDecoded');
        sums.delay += since('jitterBufferDelay');
        sums.emitted += since('jitterBufferEmittedCount');
      } else if (s.type === 'outbound-rtp') {
        sums.out += since('bytesSent');
      } else if (s.type === 'candidate-pair' && s.nominated) {
        roundTrip = s.currentRoundTripTime ?? roundTrip;
      }
    }
    const seconds = (now - (this.#last.get('time') ?? now)) / 1000;
    this.#last.set('time', now);
    if (!seconds) return null;
    const total = sums.received + sums.lost;
    return {
      in: sums.in * 8 / seconds / 1000,
      out: sums.out * 8 / seconds / 1000,
      frames: sums.frames / seconds,
      loss: total ? 100 * sums.lost / total : 0,
      roundTrip: roundTrip === null ? null : roundTrip * 1000,
      delay: sums.emitted ? 1000 * sums.delay / sums.emitted : null,
    };
  }
}

/** Draws statistics once per second while the `<details>` element is open. `current` returns the connection, if any. */
export function showFigures(details, current) {
  const parent = details.querySelector('.graphs');
  const graphs = {
    in: new Graph(parent, { title: 'Received', unit: 'kbit/s', least: 100 }),
    out: new Graph(parent, { title: 'Sent', unit: 'kbit/s', least: 100 }),
    roundTrip: new Graph(parent, { title: 'Round trip', unit: 'ms', digits: 1, least: 10 }),
    loss: new Graph(parent, { title: 'Loss', unit: '%', digits: 1, least: 5 }),
    frames: new Graph(parent, { title: 'Frames', unit: '/s', least: 30 }),
    delay: new Graph(parent, { title: 'Jitter buffer', unit: 'ms', least: 50 }),
  };
  let [figures, of] = [new Figures(), null];
  setInterval(async () => {
    const pc = current();
    if (!details.open || !pc) return;
    if (pc !== of) [of, figures] = [pc, new Figures()];
    const measured = await figures.measure(pc);
    for (const [name, value] of Object.entries(measured ?? {})) graphs[name].show(value);
  }, 1000);
}
