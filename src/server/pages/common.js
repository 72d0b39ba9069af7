// What the pages share: what the server offers, signing in, the line to the server, words for states, graphs.

/** The bar at the top. What the server does not offer is hidden until it is known that it does. */
document.getElementById('bar').innerHTML = `
  <a class="brand" href="/"><img src="/assets/icon.svg" alt="" width="24" height="24">looprtc</a>
  <nav aria-label="Pages">
    <a href="/">Watch</a>
    <a href="/publish" data-if="publish" hidden>Publish</a>
    <a href="/room/" data-if="rooms" hidden>Rooms</a>
    <a href="/call" data-if="calls" hidden>Calls</a>
  </nav>
  <span id="server" class="pill" role="status"></span>`;
for (const link of document.querySelectorAll('#bar nav a')) {
  const [, here] = location.pathname.split('/');
  if (link.pathname.split('/')[1] !== (here === 'watch' ? '' : here)) continue;
  link.setAttribute('aria-current', 'page');
  link.hidden = false;
  delete link.dataset.if;
}

/** Asks the server what it offers; signs in first where it wants a token. Never ends without an answer. */
export async function offered() {
  for (;;) {
    try {
      let config = await (await fetch('/api/config')).json();
      if (config.needsToken && !config.signedIn) config = await signIn(config);
      for (const element of document.querySelectorAll('[data-if]')) {
        element.hidden = !config[element.dataset.if] || config[element.dataset.if].length === 0;
      }
      return config;
    } catch (error) {
      console.warn('asking the server', error);
      await pause(1000);
    }
  }
}

async function signIn(config) {
  // A token after the # is not sent to the server with the page, and is not kept in the history.
  let token = new URLSearchParams(location.hash.slice(1)).get('token');
  if (token) history.replaceState(null, '', location.pathname + location.search);
  const dialog = document.getElementById('sign-in') ?? makeDialog();
  const error = dialog.querySelector('[role=alert]');
  for (;;) {
    if (!token) {
      if (!dialog.open) dialog.showModal();
      await new Promise((done) => dialog.addEventListener('close', done, { once: true }));
      token = dialog.querySelector('input').value.trim();
    }
    const answer = await fetch('/api/login', {
      method: 'POST',
      headers: { Authorization: `Bearer ${token}` },
    });
    if (answer.ok) {
      // What was not allowed before is now.
      return { ...config, ...(await (await fetch('/api/config')).json()) };
    }
    error.textContent = answer.status === 401 ? 'That is not the token.' : `The server says: ${answer.status}`;
    token = null;
  }
}

function makeDialog() {
  const dialog = document.createElement('dialog');
  dialog.id = 'sign-in';
  dialog.setAttribute('aria-labelledby', 'sign-in-title');
  dialog.innerHTML = `<form method="dialog"><h2 id="sign-in-title">This server asks for a token</h2><label for="token">Token</label>
    <input id="token" type="password" autocomplete="current-password" required>
    <p class="bad" role="alert"></p><button type="submit">Go on</button></form>`;
  document.body.append(dialog);
  return dialog;
}

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** `ws:` or `wss:` for a path on this server. */
export const socketUrl = (path) => `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}${path}`;

/**
 * The line to the server: tells what streams there are as that changes, and at once when the server is gone or back.
 * Opens itself again.
 */
export class Line extends EventTarget {
  #tries = 0;
  up = false;

  constructor(pill) {
    super();
    this.pill = pill;
    this.#open();
  }

  #open() {
    const socket = new WebSocket(socketUrl('/api/live'));
    socket.onopen = () => {
      this.#tries = 0;
      this.#say(true);
    };
    socket.onmessage = ({ data }) => this.dispatchEvent(new CustomEvent('news', { detail: JSON.parse(data) }));
    socket.onclose = () => {
      this.#say(false);
      this.#tries += 1;
      setTimeout(() => this.#open(), Math.min(250 * 2 ** Math.min(this.#tries, 4), 2000));
    };
  }

  #say(up) {
    const changed = up !== this.up;
    this.up = up;
    if (this.pill) {
      this.pill.textContent = up ? 'server reachable' : 'server not reachable, trying again';
      this.pill.classList.toggle('bad', !up);
      this.pill.classList.toggle('good', up);
    }
    if (changed) this.dispatchEvent(new Event(up ? 'up' : 'down'));
  }
}

/** Why a response is no success, in the server's words where it gives some (RFC 9457). */
export async function problem(response) {
  try {
    const { title, detail } = await response.json();
    return detail || title || `status ${response.status}`;
  } catch {
    return `status ${response.status}`;
  }
}

/** What to say when ICE found no path. */
export function noPath(iceServers) {
  const relay = (iceServers ?? []).some(({ urls }) => [urls].flat().some((url) => url.startsWith('turn')));
  return relay
    ? 'No path found between this browser and the server, not by its TURN server either.'
    : 'No path found between this browser and the server. A firewall may be in the way: it needs a TURN server.';
}

/** A line of the last minute, drawn; `show(value)` adds one, and says it. */
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
    pen.strokeStyle = getComputedStyle(canvas).color;
    pen.lineWidth = 1.5;
    pen.lineJoin = 'round';
    pen.beginPath();
    let down = false;
    this.#values.forEach((value, index) => {
      if (!Number.isFinite(value)) {
        down = false;
        return;
      }
      const x = width - (this.#values.length - 1 - index) * (width / 59);
      const y = height - 1 - (value / top) * (height - 2);
      if (down) pen.lineTo(x, y);
      else pen.moveTo(x, y);
      down = true;
    });
    pen.stroke();
  }
}
