// A WHIP client: publishes a camera or the screen, and comes back by itself.
import { at, Graph, keepFocus, Line, noPath, offered, pause, problem, sentence, signInToPublish } from './common.js';

const $ = (id) => document.getElementById(id);
let config = await offered();
const line = new Line($('server'));
let media = null;
let run = 0;

const graphs = {
  bitrate: new Graph($('graphs'), { title: 'Bitrate', unit: 'kbit/s', least: 100 }),
  rtt: new Graph($('graphs'), { title: 'Round trip', unit: 'ms', digits: 1, least: 10 }),
  loss: new Graph($('graphs'), { title: 'Loss', unit: '%', digits: 1, least: 5 }),
  frames: new Graph($('graphs'), { title: 'Frames', unit: '/s', least: 30 }),
};

/** Kilobits a second to begin with; browsers begin with 300, and need half a minute to get from there to a full picture. */
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

/** A stream of what was chosen. Where only one of camera and microphone is there, that one, and a note about it. */
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

/** Why there is nothing to publish, and what to do about it. */
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
  try {
    media = await source($('what').value);
  } catch (error) {
    say('failed', deviceTrouble(error, $('what').value));
    return;
  }
  $('video').srcObject = media;
  $('stop').hidden = false;
  $('go').hidden = true;
  $('name').disabled = $('what').disabled = true;
  keepFocus($('stop'));
  for (const track of media.getTracks()) track.onended = stop;
  for (let tries = 0; mine === run; tries += 1) {
    say('connecting', tries ? 'Connecting again…' : 'Connecting…');
    const session = { words: null, lived: false };
    try {
      await publish($('name').value, session, () => mine !== run);
      if (session.lived) tries = 0;
    } catch (error) {
      session.words = error.message;
    }
    if (mine !== run) return;
    say('failed', `${session.words ?? 'The connection was lost.'} Trying again…`);
    const up = new Promise((done) => line.addEventListener('up', done, { once: true }));
    await Promise.race([up, pause(Math.min(500 * 2 ** tries, 4000))]);
  }
};

/** One session, until it is lost. */
async function publish(name, session, over) {
  const pc = new RTCPeerConnection({ iceServers: config.iceServers, bundlePolicy: 'max-bundle' });
  let url = null;
  let timer;
  const goodbye = () => {
    if (url) fetch(url, { method: 'DELETE', keepalive: true }).catch(() => {});
    url = null;
  };
  window.addEventListener('pagehide', goodbye);
  try {
    for (const track of media.getTracks()) pc.addTransceiver(track, { direction: 'sendonly', streams: [media] });
    await pc.setLocalDescription();
    // Whole candidates in the offer: half a second is enough for those of this machine.
    if (pc.iceGatheringState !== 'complete') {
      const complete = new Promise((done) => {
        pc.onicegatheringstatechange = () => pc.iceGatheringState === 'complete' && done();
      });
      await Promise.race([complete, pause(config.iceServers.length > 0 ? 1500 : 500)]);
    }
    const response = await fetch(at(`whip/${encodeURIComponent(name)}`), {
      method: 'POST',
      headers: { 'Content-Type': 'application/sdp' },
      body: pc.localDescription.sdp,
    }).catch(() => {
      throw new Error('The server cannot be reached.');
    });
    if (response.status === 409) throw new Error(`Somebody else is publishing “${name}”.`);
    if (!response.ok) throw new Error(sentence(await problem(response)));
    url = new URL(response.headers.get('Location'), response.url).href;
    await pc.setRemoteDescription({ type: 'answer', sdp: withStartBitrate(await response.text()) });
    await new Promise((done) => {
      const patience = setTimeout(() => {
        if (pc.connectionState !== 'connected') {
          session.words = noPath(config.iceServers);
          done();
        }
      }, 10_000);
      let before = {};
      timer = setInterval(async () => {
        if (over()) done();
        before = await measure(pc, before);
      }, 1000);
      const down = () => done();
      line.addEventListener('down', down, { once: true });
      let gone;
      pc.onconnectionstatechange = () => {
        clearTimeout(gone);
        const state = pc.connectionState;
        if (state === 'connected') {
          clearTimeout(patience);
          session.lived = true;
          say('live', `Publishing as “${name}”`);
        }
        if (state === 'failed') session.words = noPath(config.iceServers);
        if (state === 'failed' || state === 'closed') done();
        if (state === 'disconnected') gone = setTimeout(done, 2500);
      };
    });
  } finally {
    window.removeEventListener('pagehide', goodbye);
    clearInterval(timer);
    pc.close();
    goodbye();
  }
}

/** An answer with a hint for libwebrtc: the bitrate to begin with, in the format parameters of each video codec. */
function withStartBitrate(sdp) {
  const sections = sdp.split(/(?=^m=)/m);
  return sections.map((section) => {
    const types = /^m=video \d+ \S+ ([\d ]+)/.exec(section)?.[1].split(' ') ?? [];
    const hint = `x-google-start-bitrate=${START_BITRATE}`;
    for (const type of types) {
      const line = new RegExp(`^a=fmtp:${type} [^\r\n]*`, 'm');
      // A retransmission (apt=…) is no codec.
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
