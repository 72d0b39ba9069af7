// Shared by all pages: server configuration, signing in and out, the live connection, focus, texts, graphs.
import { request, rest, Socket } from './network.js';
import { problem } from './server.js';

export { h265, noPath, problem } from './server.js';

/** Root of this server's paths: `/`, or for example `/cam/` behind a proxy with that prefix. */
const base = new URL('..', import.meta.url).pathname;

/** Returns a path of this server for the browser: `at('api/config')`. */
export const at = (path) => base + path;

/** Segments of this page's path, decoded: `['watch', 'card']`. Invalid encoding is left unchanged. */
export const here = () => location.pathname.slice(base.length).split('/').map((part) => {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
});

/** The bar at the top. Links to disabled services stay hidden. */
document.getElementById('bar').innerHTML = `
  <a class="brand" href="${at('')}"><img src="${at('assets/icon.svg')}" alt="" width="24" height="24">looprtc</a>
  <nav aria-label="Pages">
    <a href="${at('')}">Watch</a>
    <a href="${at('publish')}" data-if="publishing" hidden>Publish</a>
    <a href="${at('room/')}" data-if="rooms" hidden>Rooms</a>
    <a href="${at('call')}" data-if="calls" hidden>Calls</a>
    <a href="${at('admin')}" data-if="administering" hidden>Cameras</a>
  </nav>
  <span class="corner">
    <span id="server" class="pill" role="status"></span>
    <button id="sign-out-of-server" type="button" class="quiet small" hidden>Sign out</button>
  </span>`;
for (const link of document.querySelectorAll('#bar nav a')) {
  const [page] = here();
  if (link.pathname !== at({ watch: '', room: 'room/' }[page] ?? page)) continue;
  link.setAttribute('aria-current', 'page');
  link.hidden = false;
  delete link.dataset.if;
}
document.getElementById('sign-out-of-server').onclick = async () => {
  await request(at('api/logout'), { method: 'POST' }).catch((error) => console.warn('signing out', error));
  location.reload();
};
// Opening a link with another token while this page is open does not reload it.
addEventListener('hashchange', () => location.hash.startsWith('#token=') && location.reload());

/**
 * Requests the server's configuration, and signs in first if a token is required. Always returns an answer, with at
 * least `iceServers` and `publish`, the names of the streams that the user may publish to; both may be empty.
 */
export async function offered() {
  const token = tokenInAddress();
  for (;;) {
    try {
      let config = await ask();
      let refused;
      if (token) {
        refused = await logIn(token);
        config = await ask();
      }
      if (config.needsToken && !config.signedIn) config = await signIn(refused);
      return show(config);
    } catch (error) {
      console.warn('asking the server', error);
      complain(error instanceof Refused ? error.message : null);
      await rest(1000);
    }
  }
}

/** The server's error instead of an answer. */
class Refused extends Error {}

async function ask() {
  const response = await request(at('api/config'));
  const config = await response.json().catch(() => ({}));
  // Too many wrong tokens: the public part of the configuration is present anyway.
  if (!response.ok && config.needsToken === undefined) throw new Refused(config.detail ?? `status ${response.status}`);
  return { ...config, iceServers: config.iceServers ?? [], publish: config.publish ?? [], rights: config.rights ?? {} };
}

function show(config) {
  complain(null);
  const offers = { ...config, publishing: config.publish.length > 0 || config.publishNeedsToken, administering: config.rights?.admin };
  for (const element of document.querySelectorAll('[data-if]')) element.hidden = !offers[element.dataset.if];
  document.getElementById('sign-out-of-server').hidden = !config.signOut;
  return config;
}

/** Shows a notice above the page's content, with a button if there is an action; `null` removes it. */
function complain(words, button) {
  let notice = document.getElementById('complaint');
  if (!words) return notice?.remove();
  if (!notice) {
    notice = document.createElement('div');
    notice.id = 'complaint';
    notice.className = 'notice bad row';
    notice.setAttribute('role', 'alert');
    document.getElementById('main').prepend(notice);
  }
  const text = document.createElement('p');
  text.textContent = sentence(words);
  notice.replaceChildren(text, ...(button ? [button] : []));
}

/** Removes the token in `#token=…` from the address. It was not sent to the server, and is not kept in the history. */
function tokenInAddress() {
  const token = new URLSearchParams(location.hash.slice(1)).get('token');
  if (token !== null) history.replaceState(history.state, '', location.pathname + location.search);
  return token?.trim() || null;
}

/** Sends a token to the server; returns the error text, or `null` if it was accepted. */
async function logIn(token) {
  const answer = await request(at('api/login'), {
    method: 'POST',
    headers: { Authorization: `Bearer ${token}` },
  }).catch(() => null);
  if (answer?.ok) return null;
  switch (answer?.status) {
    case undefined: return 'The server cannot be reached. Try again in a moment.';
    case 401: return 'That is not the token.';
    case 429: return 'Too many wrong tokens. Wait a minute.';
    default: return sentence(await problem(answer));
  }
}

/** Asks for the token until it is valid. A user who closes the dialog can open it again. */
async function signIn(refused) {
  const again = document.createElement('button');
  Object.assign(again, { type: 'button', className: 'main', textContent: 'Sign in' });
  for (;;) {
    const config = await askForToken({ title: 'This server asks for a token', refused });
    if (config?.signedIn) return config;
    complain('This page needs the token of the server.', again);
    again.focus();
    await new Promise((done) => { again.onclick = done; });
    refused = undefined;
  }
}

/** Asks for the publish token; returns the new configuration, or `null`. */
export async function signInToPublish() {
  const config = await askForToken({ title: 'Token for publishing', wanted: ({ rights }) => rights?.publish });
  return config && show(config);
}

/** Asks for the admin token; returns the new configuration, or `null`. */
export async function signInToAdmin() {
  const config = await askForToken({
    title: 'Token for changing cameras',
    wanted: ({ rights }) => rights?.admin,
    unwanted: 'This token does not change cameras.',
  });
  return config && show(config);
}

function askForToken({ title, refused = '', wanted = () => true, unwanted = 'This token is for watching only.' }) {
  const dialog = document.createElement('dialog');
  dialog.id = 'sign-in';
  dialog.setAttribute('aria-labelledby', 'sign-in-title');
  dialog.innerHTML = `<form><h2 id="sign-in-title"></h2><label for="token">Token</label>
    <input id="token" type="password" autocomplete="current-password" required>
    <p class="bad" role="alert"></p>
    <div class="row"><button type="submit">Sign in</button><button type="button" class="quiet">Cancel</button></div></form>`;
  dialog.querySelector('h2').textContent = title;
  const [input, words] = [dialog.querySelector('input'), dialog.querySelector('[role=alert]')];
  words.textContent = refused;
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((done) => {
    let config = null;
    dialog.querySelector('form').onsubmit = async (event) => {
      event.preventDefault();
      words.textContent = (await logIn(input.value.trim())) ?? '';
      if (!words.textContent) {
        config = await ask().catch(() => null);
        if (config && wanted(config)) return dialog.close();
        words.textContent = config ? unwanted : 'The server cannot be reached. Try again in a moment.';
        config = null;
      }
      input.select();
    };
    dialog.querySelector('button.quiet').onclick = () => dialog.close();
    dialog.onclose = () => {
      dialog.remove();
      done(config);
    };
  });
}

/** Moves the focus to an element if the focused element was removed. */
export function keepFocus(element) {
  const { activeElement } = document;
  if (activeElement && activeElement !== document.body && activeElement.checkVisibility?.({ visibilityProperty: true })
    && !activeElement.disabled) return;
  element.focus();
}

/** Formats an error text of the server as a sentence. */
export const sentence = (words) => `${words.charAt(0).toUpperCase()}${words.slice(1)}${/[.!?…]$/.test(words) ? '' : '.'}`;

const STATES = {
  idle: () => 'Ready',
  starting: () => 'Starting…',
  live: () => 'Live',
  waiting: () => 'Waiting for its publisher',
  failed: ({ why, retryIn }) => `Unavailable: ${why}${retryIn ? ` (next try in ${Math.ceil(retryIn)} s)` : ''}`,
};

/** The state of a stream in words. */
export const stateOf = (stream) => (STATES[stream.state] ?? (() => stream.state))(stream);

/** What a stream is, in one line: its source, its codecs, its viewers. */
export function watched({ about, codecs, viewers }) {
  const names = codecs.map((codec) => ({ opus: 'Opus', H264: 'H.264', H265: 'H.265' })[codec] ?? codec).join(', ');
  return [about, names, viewers === 1 ? '1\u00a0viewer' : `${viewers}\u00a0viewers`].filter(Boolean).join(' · ');
}

/** Returns the WebSocket URL for a path of this server: `socketUrl("api/live")`. */
export const socketUrl = (path) => `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}${at(path)}`;

/** The live connection to the server: reports changes of the streams, and loss and return of the server at once. */
export class Line extends EventTarget {
  #socket;
  #wasUp = false;
  up = false;

  constructor(pill) {
    super();
    this.pill = pill;
    this.#socket = new Socket({
      url: () => socketUrl('api/live'),
      onopen: () => this.#say(true),
      onmessage: (detail) => this.dispatchEvent(new CustomEvent('news', { detail })),
      onlost: ({ isRefused }) => {
        this.#say(false);
        // The server answers, but requires a token (again): reload the page.
        if (isRefused) ask().then((config) => config.needsToken && !config.signedIn && location.reload(), () => {});
      },
    });
  }

  /** Checks that the server is reachable; if not, `down` follows. */
  check() {
    this.#socket.check();
  }

  /** Waits before a retry: while the server is unreachable, until it returns, but at most a minute. */
  async pause(ms) {
    const end = performance.now() + (this.isGone ? 60_000 : ms);
    do await rest(Math.max(0, end - performance.now()));
    while (this.isGone && performance.now() < end);
  }

  /** Returns whether the server was reachable before, and is not now. */
  get isGone() {
    return this.#wasUp && !this.up;
  }

  /** Returns whether the connection was reopened just now. */
  get isNew() {
    return this.#socket.isNew();
  }

  #say(up) {
    const changed = up !== this.up;
    this.up = up;
    this.#wasUp ||= up;
    if (this.pill) {
      this.pill.textContent = up ? 'Online' : 'Offline, trying again…';
      this.pill.classList.toggle('bad', !up);
      this.pill.classList.toggle('good', up);
    }
    if (changed) this.dispatchEvent(new Event(up ? 'up' : 'down'));
  }
}

/** A graph of the last minute; `show(value)` appends a value and displays it above. */
export class Graph {
  #values = [];

  constructor(parent, { title, unit, digits = 0, least = 1 }) {
    Object.assign(this, { title, unit, digits, least });
    this.figure = document.createElement('figure');
    this.caption = document.createElement('figcaption');
    this.canvas = document.createElement('canvas');
    this.canvas.setAttribute('role', 'img');
    this.figure.append(this.caption, this.canvas);
    parent.append(this.figure);
    this.show(null);
  }

  show(value) {
    this.#values.push(value);
    if (this.#values.length > 60) this.#values.shift();
    const text = value === null || Number.isNaN(value) ? '–' : `${value.toFixed(this.digits)} ${this.unit}`;
    this.caption.innerHTML = '';
    const strong = document.createElement('strong');
    strong.textContent = text;
    this.caption.append(`${this.title} `, strong);
    this.canvas.setAttribute('aria-label', `${this.title}: ${text}`);
    this.#draw();
  }

  #draw() {
    const { canvas } = this;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width || !height) return;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const pen = canvas.getContext('2d');
    pen.scale(ratio, ratio);
    const top = Math.max(this.least, ...this.#values.filter(Number.isFinite)) * 1.1;
    // Room for the line's width at every edge.
    const inset = 4;
    pen.strokeStyle = getComputedStyle(canvas).borderBottomColor;
    pen.strokeRect(0, height - inset + 1.5, width, 0);
    pen.strokeStyle = getComputedStyle(canvas).color;
    pen.lineWidth = 1.5;
    pen.lineJoin = pen.lineCap = 'round';
    pen.beginPath();
    let down = false;
    this.#values.forEach((value, index) => {
      if (!Number.isFinite(value)) {
        down = false;
        return;
      }
      const x = width - inset - (this.#values.length - 1 - index) * ((width - 2 * inset) / 59);
      const y = height - inset - (value / top) * (height - 2 * inset);
      if (down) pen.lineTo(x, y);
      else pen.moveTo(x, y);
      down = true;
    });
    pen.stroke();
  }
}
