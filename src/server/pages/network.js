// Detection of network changes and reconnection, shared by players, publishers, rooms and calls. A `Socket` is pinged
// as soon as something looks wrong, and reopened if there is no reply; a `PathWatch` detects within a second that media
// has stopped; every wait has a limit (`request`, `rest`) and ends early when the network is back (`network`).

/**
 * Events for all connections of the page: `changed`, requests in progress are probably lost (the browser is online
 * again, or a socket had to be reopened); `wake`, changes may have been missed (the page was hidden, or the machine was
 * suspended).
 */
export const network = new EventTarget();

let changed = -Infinity;

function tell(type) {
  if (type === 'changed') changed = performance.now();
  network.dispatchEvent(new Event(type));
}

addEventListener('online', () => tell('changed'));

let hidden = 0;
document.addEventListener('visibilitychange', () => {
  if (document.hidden) hidden = Date.now();
  else if (Date.now() - hidden > 3000) tell('wake');
});

let ticked = Date.now();
setInterval(() => {
  const slept = Date.now() - ticked > 8000;
  ticked = Date.now();
  if (slept && !document.hidden) tell('wake');
}, 2000);

/**
 * Waits, but at most until the network is back. If it has just come back, that already ended the wait before this one.
 */
export function rest(wanted) {
  const ms = performance.now() - changed < 500 ? Math.min(wanted, 50) : wanted;
  return new Promise((done) => {
    const end = () => {
      clearTimeout(timer);
      network.removeEventListener('changed', end);
      network.removeEventListener('wake', end);
      done();
    };
    const timer = setTimeout(end, ms);
    network.addEventListener('changed', end);
    network.addEventListener('wake', end);
  });
}

/** Requests sent within this time before a network change are considered lost. */
const LOST_WITH_NETWORK = 300;

/**
 * `fetch` with a limit: ends after `limit` milliseconds, or when the network changes. A connection kept by the browser
 * may be dead, and a request on it would never end.
 */
export async function request(url, options = {}, limit = 5000) {
  const stop = new AbortController();
  const begun = performance.now();
  const timer = setTimeout(() => stop.abort(), limit);
  const onChange = () => performance.now() - begun > LOST_WITH_NETWORK && stop.abort();
  network.addEventListener('changed', onChange);
  try {
    return await fetch(url, { ...options, signal: stop.signal });
  } catch {
    throw new Error(stop.signal.aborted ? 'The server does not answer.' : 'The server cannot be reached.');
  } finally {
    clearTimeout(timer);
    network.removeEventListener('changed', onChange);
  }
}

/** Time limits of requests that start a session, in ms, by the number of previous attempts. */
export const limitOf = (tries) => [5000, 1200, 2000, 3000][tries] ?? 5000;

/** Intervals of retries while a server is unreachable, in ms, by the time this has lasted. */
const askEvery = (elapsed) => (elapsed < 15_000 ? 250 : elapsed < 120_000 ? 500 : elapsed < 600_000 ? 1000 : 2000);

/** A file next to this script, wherever a proxy serves it. */
const HEALTH = new URL('../healthz', import.meta.url);

/**
 * Firefox opens one socket to a host at a time, and delays further ones longer after each failure; but it forgets a
 * canceled request. Chromium continues to connect for canceled requests, with six connections at most. So each browser
 * needs its own way to detect that the server is back.
 */
const ASKS_BY_REQUEST = CSS.supports('-moz-appearance', 'none');

let search = null;

/**
 * Waits until the server answers a request; returns the time that took, in ms. In Chromium, waits until a request is no
 * longer refused at once.
 */
function reachable() {
  search ??= (async () => {
    const begun = performance.now();
    let asked;
    for (;;) {
      asked = performance.now();
      const limit = AbortSignal.timeout(ASKS_BY_REQUEST ? 1000 : 1500);
      const response = await fetch(HEALTH, { cache: 'no-store', signal: limit }).catch(() => null);
      if (response ? response.status < 500 : limit.aborted && !ASKS_BY_REQUEST) break;
      if (!limit.aborted) await rest(askEvery(performance.now() - begun));
    }
    search = null;
    return performance.now() - asked;
  })();
  return search;
}

/**
 * Time limits in ms for opening a socket, by attempt, repeated; and for its reply to a ping. A new attempt sends a
 * packet at once, while one in progress retransmits at growing intervals; but over a long path each needs time.
 */
const OPENING = [1000, 1000, 1500, 1000, 1500, 4000];
const ANSWER = 800;

/**
 * The least that the first attempt may take when a request was answered just now, in ms. Firefox may have it wait for a
 * connection that was begun while there was no network, and whose next packet is sent seconds later.
 */
const FIRST_OPENING = 500;
const LONGEST_ANSWER = 4000;

/** Interval of pings while nothing looks wrong. */
const ASK_EVERY = 5000;

/** How a socket can be lost without a message from the server: after opening, or before. */
const SILENT = {};
const REFUSED = {};
const HUNG = {};

/**
 * A WebSocket that is reopened when it is lost. `url` is called each time; messages are handled one at a time. `onlost`
 * may return `false` to stop. This server answers `ping` with `pong`; `asks` says that the peer does.
 */
export class Socket {
  asks = true;
  #reopened = -Infinity;
  #socket;
  #timer;
  #question;
  #regular;
  #tries = 0;
  #refusals = 0;
  #refused = 0;
  /** Time limit of the next attempt, if a better one than in `OPENING` is known. */
  #opening = null;
  #wasOpen = false;
  #over = false;
  #roundTrip = 0;
  #answered = () => {};
  #handled = Promise.resolve();

  constructor({ url, onmessage, onopen, onlost, asks = true }) {
    Object.assign(this, { url, onmessage, onopen, onlost, asks });
    network.addEventListener('changed', this.#look);
    network.addEventListener('wake', this.#look);
    this.#regular = setInterval(() => this.isOpen && this.check(), ASK_EVERY);
    this.#open();
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Returns whether it was reopened within these milliseconds. */
  isNew(ms = 3000) {
    return performance.now() - this.#reopened < ms;
  }

  /** Returns whether the message was sent. */
  send(message) {
    if (!this.isOpen) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  /** Closes it for good. */
  close() {
    this.#over = true;
    network.removeEventListener('changed', this.#look);
    network.removeEventListener('wake', this.#look);
    clearInterval(this.#regular);
    clearTimeout(this.#timer);
    clearTimeout(this.#question);
    this.#socket?.close(1000);
  }

  /** Drops the socket and opens another one. */
  reopen() {
    this.#giveUp(SILENT);
  }

  /** Pings the server. Without a timely reply another socket is opened. */
  check() {
    if (!this.isOpen || !this.asks || this.#question) return;
    const asked = performance.now();
    const limit = Math.min(LONGEST_ANSWER, Math.max(ANSWER, 4 * this.#roundTrip));
    this.#question = setTimeout(() => this.reopen(), limit);
    this.#answered = () => {
      this.#roundTrip = performance.now() - asked;
    };
    this.#socket.send('ping');
  }

  #heard() {
    clearTimeout(this.#question);
    this.#question = undefined;
  }

  #look = () => {
    if (this.isOpen) this.check();
    else if (!this.#socket && !this.#over) this.#open();
  };

  #open() {
    clearTimeout(this.#timer);
    const socket = new WebSocket(this.url());
    this.#socket = socket;
    let opened = false;
    const limit = this.#opening ?? (this.#wasOpen ? OPENING[this.#tries % OPENING.length] : OPENING.at(-1));
    this.#timer = setTimeout(() => this.#giveUp(HUNG), limit);
    socket.onopen = () => {
      if (socket !== this.#socket) return;
      opened = true;
      clearTimeout(this.#timer);
      this.#opening = null;
      this.#tries = 0;
      const again = this.#wasOpen;
      this.#wasOpen = true;
      if (again) {
        this.#reopened = performance.now();
        tell('changed');
      }
      this.onopen?.(again);
    };
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket) return;
      this.#heard();
      if (data === 'pong') return this.#answered();
      this.#refusals = 0;
      const message = JSON.parse(data);
      this.#handled = this.#handled.then(() => this.onmessage(message)).catch((error) => console.error(error));
    };
    socket.onclose = ({ code, reason }) => this.#lost(socket, opened ? { code, reason } : REFUSED);
  }

  /** Drops this socket in favor of another one. */
  #giveUp(how) {
    const old = this.#socket;
    this.#lost(old, how);
    old?.close();
  }

  #lost(socket, how) {
    if (this.#over || socket !== this.#socket) return;
    this.#socket = undefined;
    this.#heard();
    clearTimeout(this.#timer);
    this.#tries += 1;
    const { code = 0, reason = '' } = how;
    if (this.onlost?.({ code, reason, isRefused: how === REFUSED }) === false) return this.close();
    // The server itself refuses this page for now.
    if (code === 1008 || code === 1013) {
      this.#refusals += 1;
      return this.#later(Math.min(8000, 250 * 2 ** this.#refusals));
    }
    this.#refused = how === REFUSED ? this.#refused + 1 : 0;
    if (how === REFUSED || (how === HUNG && ASKS_BY_REQUEST)) this.#findAgain();
    else this.#later(how === SILENT || how === HUNG ? 0 : 100);
  }

  /** Opens another socket when the server is reachable. */
  async #findAgain() {
    const took = await reachable();
    // Every second attempt has the full time.
    const isFirst = ASKS_BY_REQUEST && this.#opening === null;
    this.#opening = isFirst ? Math.max(FIRST_OPENING, 6 * took) : null;
    if (!this.#socket && !this.#over) this.#later(Math.min(8000, 20 * 2 ** Math.min(this.#refused, 9)));
  }

  /** Random delay, so that pages do not reconnect all at once. */
  #later(ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#open(), ms * (0.75 + Math.random() / 2));
  }
}

const SAMPLE = 300;
/** Silence in ms before its cause is checked, and before the path is given up in any case. */
const SUSPECT = 600;
const DEAD = 4000;

/**
 * Watches the media of a connection. Calls `onsuspect` when media that arrived continuously has stopped for a moment,
 * `ondead` when that lasts, and `onback` when media arrives again.
 */
export class PathWatch {
  #heard = performance.now();
  #sum = -1;
  /** Number of consecutive checks with media, and without. */
  #steady = 0;
  #idle = 0;
  #said = null;

  constructor(pc, { onsuspect, ondead, onback }) {
    Object.assign(this, { pc, onsuspect, ondead, onback });
    this.timer = setInterval(() => this.#sample(), SAMPLE);
  }

  stop() {
    clearInterval(this.timer);
  }

  /** Returns whether nothing has arrived for this time, or ICE has no path. */
  isSilent(ms = SUSPECT - 200) {
    return performance.now() - this.#heard > ms || !['connected', 'completed'].includes(this.pc.iceConnectionState);
  }

  async #sample() {
    if (this.pc.connectionState === 'closed') return this.stop();
    let sum = 0;
    (await this.pc.getStats()).forEach((s) => {
      if (s.type === 'candidate-pair') sum += (s.bytesReceived ?? 0) + (s.responsesReceived ?? 0) + (s.requestsReceived ?? 0);
      if (s.type === 'transport' || s.type === 'inbound-rtp') sum += s.bytesReceived ?? 0;
      if (s.type === 'remote-inbound-rtp') sum += s.timestamp / 1000;
    });
    const now = performance.now();
    const silence = now - this.#heard;
    if (sum !== this.#sum) {
      this.#steady = this.#idle > 1 ? 0 : this.#steady + 1;
      [this.#sum, this.#heard, this.#idle] = [sum, now, 0];
      if (this.#said) this.onback?.();
      this.#said = null;
      return;
    }
    this.#idle += 1;
    if (this.#said === null && this.#steady >= 4 && silence >= SUSPECT) {
      this.#said = 'suspect';
      this.onsuspect();
    } else if (this.#said === 'suspect' && silence >= DEAD) {
      this.#said = 'dead';
      this.ondead();
    }
  }
}
