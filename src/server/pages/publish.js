// A WHIP client: publishes a camera or the screen, and reconnects automatically.
import { at, Graph, keepFocus, Line, noPath, offered, problem, sentence, signInToPublish } from './common.js';
import { limitOf, network, PathWatch, request, rest } from './network.js';

const $ = (id) => document.getElementById(id);
let config = await offered();
const line = new Line($('server'));
let media = null;
let session = null;
let run = 0;

const graphs = {
  bitrate: new Graph($('graphs'), { title: 'Bitrate', unit: 'kbit/s', least: 100 }),
  rtt: new Graph($('graphs'), { title: 'Round trip', unit: 'ms', digits: 1, least: 10 }),
  loss: new Graph($('graphs'), { title: 'Loss', unit: '%', digits: 1, least: 5 }),
  frames: new Graph($('graphs'), { title: 'Frames', unit: '/s', least: 30 }),
};

/** Initial bitrate in kbit/s; browsers start with 300 and need half a minute to reach full quality. */
const START_BITRATE = 2000;

function offer() {
  $('name').replaceChildren(...config.publish.map((name) => new Option(name)));
  const asked = new URLSearchParams(location.search).get('name');
  if (config.publish.includes(asked)) $('name').value = asked;
  const isOffered = config.publish.length > 0;
  $('locked').hidden = isOffered || !config.publishNeedsToken;
  $('nowhere').hidden = isOffered || config.publishNeedsToken;
  $('insecure').hidden = Boolean(navigator.mediaDevices);
  $('form').hidden = !isOffered;
  $('go').disabled = !navigator.mediaDevices;
}

offer();
$('unlock').onclick = async () => {
  config = (await signInToPublish()) ?? config;
  offer();
  keepFocus($('form').hidden ? $('unlock') : $('name'));
};

function say(state, words) {
  $('state').textContent = words;
  $('state').dataset.state = state;
}

const CAMERA = { width: { ideal: 1280 }, height: { ideal: 720 } };

/**
 * Returns a stream of the selected devices. If only one of camera and microphone is available, that one, with a notice.
 */
async function source(what) {
  const { mediaDevices } = navigator;
  const ask = (video, audio) => mediaDevices.getUserMedia({ video: video && CAMERA, audio });
  note('');
  if (what === 'screen') return mediaDevices.getDisplayMedia({ video: true, audio: true });
  if (what !== 'both') return ask(what === 'camera', what === 'microphone');
  try {
    return await ask(true, true);
  } catch (error) {
    if (error.name !== 'NotFoundError') throw error;
    const kinds = new Set((await mediaDevices.enumerateDevices()).map(({ kind }) => kind));
    const [camera, microphone] = [kinds.has('videoinput'), kinds.has('audioinput')];
    if (camera === microphone) throw error;
    const media = await ask(camera, microphone);
    note(camera ? 'No microphone found. Publishing the camera only.' : 'No camera found. Publishing the microphone only.');
    return media;
  }
}

function note(words) {
  $('note').textContent = words;
  $('note').hidden = !words;
}

const DEVICES = { both: 'camera or microphone', camera: 'camera', microphone: 'microphone', screen: 'screen' };

/** Returns why nothing can be published, and what to do about it. */
function deviceTrouble(error, what) {
  const device = DEVICES[what];
  const Device = sentence(device).slice(0, -1);
  switch (error.name) {
    case 'NotAllowedError':
      return what === 'screen'
        ? 'No screen was chosen. Choose one to share, or allow it in the settings of this machine.'
        : `${Device} blocked. Allow ${what === 'both' ? 'them' : 'it'} beside the address, then publish again.`;
    case 'NotFoundError': return `No ${device} found. Connect one, then publish again.`;
    case 'NotReadableError': return `The ${device} is in use by another program. Close that, then publish again.`;
    default: return `The ${device} cannot be used: ${error.message}`;
  }
}

$('form').onsubmit = async (event) => {
  event.preventDefault();
  stop();
  const mine = ++run;
  let found;
  try {
    found = await source($('what').value);
  } catch (error) {
    if (mine === run) say('failed', deviceTrouble(error, $('what').value));
    return;
  }
  // The user can answer the browser's question after another click.
  if (mine !== run) return found.getTracks().forEach((track) => track.stop());
  media = found;
  $('video').srcObject = media;
  $('stop').hidden = false;
  $('go').hidden = true;
  $('name').disabled = $('what').disabled = true;
  keepFocus($('stop'));
  for (const track of media.getTracks()) track.onended = stop;
  for (let tries = 0; mine === run; tries += 1) {
    say('connecting', tries ? 'Connecting again…' : 'Connecting…');
    const current = new Session($('name').value);
    session = current;
    let words;
    try {
      await current.begin(limitOf(tries));
      words = await current.lost;
    } catch (error) {
      words = error.message;
    }
    await current.end();
    if (current.lived) tries = 0;
    if (mine !== run) return;
    say('failed', `${line.isGone ? 'The server cannot be reached.' : words} Trying again…`);
    const isAtOnce = current.lived && line.up;
    if (!isAtOnce) await line.pause(Math.min(500 * 2 ** tries, 4000));
  }
};

/** Time limit for connecting, in ms. */
const PATIENCE = 10_000;

/** A session, until it is lost. */
class Session {
  lived = false;
  #lose;
  /** Ends with a reason. */
  lost = new Promise((done) => {
    this.#lose = done;
  });
  #url = null;
  #begun = performance.now();
  #measured = {};
  #isOver = false;

  constructor(name) {
    this.name = name;
    this.pc = new RTCPeerConnection({ iceServers: config.iceServers, bundlePolicy: 'max-bundle' });
    for (const track of media.getTracks()) this.pc.addTransceiver(track, { direction: 'sendonly', streams: [media] });
    this.pc.onconnectionstatechange = () => {
      const state = this.pc.connectionState;
      if (state === 'connected') {
        this.lived = true;
        say('live', `Publishing as “${name}”`);
      }
      if (state === 'failed') this.#lose(noPath(config.iceServers));
    };
    this.pc.oniceconnectionstatechange = () => this.pc.iceConnectionState === 'disconnected' && this.#suspect();
    this.watch = new PathWatch(this.pc, {
      onsuspect: () => this.#suspect(),
      // Without the server, another connection would be no better.
      ondead: () => line.up && this.#lose('The connection was lost.'),
    });
    this.timer = setInterval(async () => {
      this.#measured = await measure(this.pc, this.#measured);
    }, 1000);
    window.addEventListener('pagehide', this.#goodbye);
    for (const [source, event] of [[line, 'up'], [network, 'changed'], [network, 'wake']]) {
      source.addEventListener(event, this.#look);
    }
  }

  async begin(limit) {
    const { pc } = this;
    await pc.setLocalDescription();
    // Includes candidates in the offer: half a second is enough for those of this machine.
    if (pc.iceGatheringState !== 'complete') {
      const complete = new Promise((done) => {
        pc.onicegatheringstatechange = () => pc.iceGatheringState === 'complete' && done();
      });
      await Promise.race([complete, rest(config.iceServers.length > 0 ? 1500 : 500)]);
    }
    const response = await request(at(`whip/${encodeURIComponent(this.name)}`), {
      method: 'POST',
      headers: { 'Content-Type': 'application/sdp' },
      body: pc.localDescription.sdp,
    }, limit);
    if (response.status === 409) throw new Error(`Somebody else is publishing “${this.name}”.`);
    if (!response.ok) throw new Error(sentence(await problem(response)));
    this.#url = new URL(response.headers.get('Location'), response.url).href;
    const answer = withStartBitrate(await response.text());
    if (this.#isOver) return this.#goodbye();
    await pc.setRemoteDescription({ type: 'answer', sdp: answer });
    this.patience = setTimeout(() => pc.connectionState === 'connected' || this.#lose(noPath(config.iceServers)), PATIENCE);
  }

  /** Ends the session at the server if it is reachable: a stream has one publisher. */
  async end() {
    this.#isOver = true;
    clearInterval(this.timer);
    clearTimeout(this.patience);
    this.watch.stop();
    window.removeEventListener('pagehide', this.#goodbye);
    for (const [source, event] of [[line, 'up'], [network, 'changed'], [network, 'wake']]) {
      source.removeEventListener(event, this.#look);
    }
    this.pc.close();
    this.#lose('The connection was lost.');
    await this.#goodbye();
  }

  #goodbye = async () => {
    const url = this.#url;
    this.#url = null;
    if (url) await request(url, { method: 'DELETE', keepalive: true }, 1000).catch(() => {});
  };

  /** The network has changed, or the server is back: a silent path is lost. */
  #look = () => {
    if (this.pc.connectionState === 'connected') {
      if (this.watch.isSilent()) this.#lose('The connection was lost.');
    } else if (performance.now() - this.#begun > 1000) {
      this.#lose('The network has changed.');
    }
  };

  #suspect() {
    if (line.isNew) this.#lose('The connection was lost.');
    else line.check();
  }
}

/** Adds a hint for libwebrtc to an answer: the initial bitrate, in the format parameters of each video codec. */
function withStartBitrate(sdp) {
  const sections = sdp.split(/(?=^m=)/m);
  return sections.map((section) => {
    const types = /^m=video \d+ \S+ ([\d ]+)/.exec(section)?.[1].split(' ') ?? [];
    const hint = `x-google-start-bitrate=${START_BITRATE}`;
    for (const type of types) {
      const line = new RegExp(`^a=fmtp:${type} [^\r\n]*`, 'm');
      // A retransmission format (apt=…) is not a codec.
      if (line.test(section)) section = section.replace(line, (fmtp) => (/[ ;]apt=/.test(fmtp) ? fmtp : `${fmtp};${hint}`));
      else section = section.replace(new RegExp(`^a=rtpmap:${type} [^\r\n]*`, 'm'), (rtpmap) => `${rtpmap}\r\na=fmtp:${type} ${hint}`);
    }
    return section;
  }).join('');
}

async function measure(pc, was) {
  const now = { at: performance.now(), bytes: 0 };
  (await pc.getStats()).forEach((s) => {
    if (s.type === 'outbound-rtp') {
      now.bytes += s.bytesSent;
      if (s.kind === 'video') Object.assign(now, { frames: s.framesSent, width: s.frameWidth, height: s.frameHeight });
    }
    if (s.type === 'remote-inbound-rtp' && s.kind === 'video') now.loss = s.fractionLost * 100;
    if (s.type === 'candidate-pair' && s.nominated) now.rtt = s.currentRoundTripTime * 1000;
  });
  if (was.at !== undefined) {
    const seconds = (now.at - was.at) / 1000;
    graphs.bitrate.show(((now.bytes - was.bytes) * 8) / 1000 / seconds);
    graphs.rtt.show(now.rtt ?? NaN);
    graphs.loss.show(now.loss ?? 0);
    graphs.frames.show((now.frames - was.frames) / seconds);
    $('detail').textContent = now.width ? `${now.width} × ${now.height}` : '';
  }
  return now;
}

function stop() {
  run += 1;
  session?.end();
  session = null;
  for (const track of media?.getTracks() ?? []) track.stop();
  media = null;
  $('video').srcObject = null;
  $('stop').hidden = true;
  $('go').hidden = false;
  $('name').disabled = $('what').disabled = false;
  note('');
  keepFocus($('go'));
  say('idle', 'Not publishing');
}

$('stop').onclick = stop;
window.onpagehide = stop;
