// A player for pages of any origin:
//
//   <script type="module" src="https://media.example.org/embed.js"></script>
//   <looprtc-player stream="camera" token="…"></looprtc-player>
//
// The token is needed where the server asks for one. Without one, the server must allow the page's origin
// (--allow-origin). docs/api.md describes both.
import { Player } from './assets/whep.js';
import { request, rest } from './assets/network.js';
import { authorization, problem, url } from './assets/server.js';

/** How often the server is asked what is wrong while there is nothing to see, in ms. */
const ASK_EVERY = 3000;

/** The connection to the server, found out by requests: a page of another origin has no cookie for a WebSocket. */
class Line extends EventTarget {
  up = true;
  isNew = false;

  get isGone() {
    return !this.up;
  }

  async check() {
    const response = await request(url('healthz'), { cache: 'no-store' }, 2000).catch(() => null);
    const up = Boolean(response?.ok);
    if (up === this.up) return;
    this.up = up;
    this.dispatchEvent(new Event(up ? 'up' : 'down'));
  }

  async pause(ms) {
    await rest(ms);
    await this.check();
  }
}

const STYLE = `
  :host { display: block; position: relative; aspect-ratio: 16 / 9; overflow: hidden; background: #000; color: #fff;
          font: 16px/1.4 system-ui, sans-serif; }
  :host([hidden]) { display: none; }
  video { width: 100%; height: 100%; object-fit: contain; }
  p { position: absolute; inset: 0; margin: 0; padding: 1em; display: grid; place-content: center; text-align: center;
      background: rgb(0 0 0 / 60%); pointer-events: none; }
  button { position: absolute; top: 12px; right: 12px; padding: 10px 18px; border: 0; border-radius: 8px; font: inherit;
           background: #fff; color: #111; cursor: pointer; }
  button:focus-visible { outline: 3px solid #6cf; outline-offset: 2px; }
  [hidden] { display: none; }
`;

/**
 * `<looprtc-player stream="NAME" token="TOKEN">`: plays a stream of the server that this module was loaded from, and
 * reconnects by itself. It dispatches `statechange`, with `detail` `{ state, words }`, where `state` is connecting, live,
 * waiting, failed or refused; `refused` is final until an attribute changes. `video` is its video element.
 */
export class LooprtcPlayer extends HTMLElement {
  static observedAttributes = ['stream', 'token'];
  /** What was dispatched last. */
  state = 'connecting';
  #run = 0;
  #player = null;
  #timer;
  #stream;

  constructor() {
    super();
    const root = this.attachShadow({ mode: 'open' });
    const style = new CSSStyleSheet();
    style.replaceSync(STYLE);
    root.adoptedStyleSheets = [style];
    root.innerHTML = '<video playsinline controls></video><p role="status"></p><button type="button" hidden>Unmute</button>';
    [this.video, this.veil, this.unmute] = root.children;
    this.video.onloadedmetadata = () => this.#show();
    this.video.onvolumechange = () => {
      if (!this.video.muted) this.unmute.hidden = true;
    };
    this.unmute.onclick = () => {
      this.video.muted = false;
    };
  }

  connectedCallback() {
    this.#begin();
  }

  disconnectedCallback() {
    this.#end();
  }

  attributeChangedCallback(_, before, after) {
    if (this.isConnected && before !== after) this.#begin();
  }

  async #begin() {
    this.#end();
    const run = this.#run;
    const name = this.getAttribute('stream') ?? '';
    const token = this.getAttribute('token')?.trim();
    const say = (state, words) => run === this.#run && this.#say(state, words);
    const refused = (status, words) => {
      if (run !== this.#run) return;
      this.#end();
      this.#say('refused', status !== 401 ? words : token ? 'That is not the token of this stream.' : 'This stream needs a token.');
    };
    const line = new Line();
    const ask = (path) => request(url(path), { headers: authorization(token) });
    say('connecting', 'Connecting…');
    let config = null;
    while (!config && run === this.#run) {
      const response = await ask('api/config').catch(() => null);
      if (run !== this.#run) return;
      if (response?.ok) config = await response.json().catch(() => null);
      // A page that may not use this server cannot read why: the browser keeps that from it.
      else if (response && response.status < 500) return refused(response.status, await problem(response));
      if (!config) {
        say('failed', 'The server cannot be reached, or does not allow this page. Trying again…');
        await rest(2000);
      }
    }
    if (run !== this.#run) return;
    if (!config.signedIn) return refused(401);
    const look = async () => {
      if (this.state === 'live') return;
      const response = await ask('api/streams').catch(() => null);
      const list = response?.ok ? (await response.json().catch(() => ({}))).streams ?? [] : [];
      if (run !== this.#run) return;
      this.#stream = list.find((stream) => stream.name === name);
      this.#player?.judge();
    };
    this.#timer = setInterval(look, ASK_EVERY);
    this.#player = new Player(this.video, {
      name,
      token,
      iceServers: config.iceServers,
      line,
      say,
      figures: () => {},
      stream: () => this.#stream,
      why: ({ why }) => `Unavailable: ${why}`,
      onrefused: refused,
    });
    look();
  }

  #end() {
    this.#run += 1;
    clearInterval(this.#timer);
    this.#player?.stop();
    this.#player = null;
    this.#stream = undefined;
  }

  #say(state, words) {
    this.state = state;
    this.veil.textContent = state === 'live' ? '' : words;
    this.veil.hidden = state === 'live';
    if (state !== 'connecting') this.#show();
    this.dispatchEvent(new CustomEvent('statechange', { detail: { state, words } }));
  }

  /** With sound where the browser allows that without a click; else muted, with a button. */
  async #show() {
    const { video } = this;
    if (!video.srcObject || !video.paused || video.ended || this.#wasPaused) return;
    try {
      await video.play();
    } catch (error) {
      if (error.name !== 'NotAllowedError') return;
      video.muted = true;
      this.unmute.hidden = false;
      await video.play().catch(() => {});
    }
  }

  /** The user has paused it: playing goes on when the user wants it. */
  get #wasPaused() {
    return this.video.paused && this.video.played.length > 0 && this.state === 'live';
  }
}

customElements.define('looprtc-player', LooprtcPlayer);
