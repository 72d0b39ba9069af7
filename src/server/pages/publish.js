// A WHIP client: publishes a camera or the screen, and comes back by itself.
import { Graph, Line, noPath, offered, pause, problem } from './common.js';

const $ = (id) => document.getElementById(id);
const config = await offered();
const line = new Line($('server'));
let media = null;
let run = 0;

const graphs = {
  bitrate: new Graph($('graphs'), { title: 'Bitrate', unit: 'kbit/s', least: 100 }),
  rtt: new Graph($('graphs'), { title: 'Round trip', unit: 'ms', digits: 1, least: 10 }),
  loss: new Graph($('graphs'), { title: 'Loss', unit: '%', digits: 1, least: 5 }),
  frames: new Graph($('graphs'), { title: 'Frames', unit: '/s', least: 30 }),
};

for (const name of config.publish) $('name').add(new Option(name));
const asked = new URLSearchParams(location.search).get('name');
if (config.publish.includes(asked)) $('name').value = asked;
$('nowhere').hidden = config.publish.length > 0;
$('insecure').hidden = Boolean(navigator.mediaDevices);
$('go').disabled = !navigator.mediaDevices || config.publish.length === 0;

function say(state, words) {
  $('state').textContent = words;
  $('state').dataset.state = state;
}

async function source(what) {
  if (what === 'screen') return navigator.mediaDevices.getDisplayMedia({ video: true, audio: true });
  const video = what === 'camera' && { width: { ideal: 1280 }, height: { ideal: 720 } };
  return navigator.mediaDevices.getUserMedia({ video, audio: true });
}

$('form').onsubmit = async (event) => {
  event.preventDefault();
  stop();
  const mine = ++run;
  try {
    media = await source($('what').value);
  } catch (error) {
    say('failed', error.name === 'NotAllowedError' ? 'The browser was not allowed to.' : `No camera: ${error.message}`);
    return;
  }
  $('video').srcObject = media;
  $('stop').hidden = false;
  $('go').hidden = true;
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
    const response = await fetch(`/whip/${encodeURIComponent(name)}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/sdp' },
      body: pc.localDescription.sdp,
    }).catch(() => {
      throw new Error('The server cannot be reached.');
    });
    if (!response.ok) throw new Error(await problem(response));
    url = new URL(response.headers.get('Location'), response.url).href;
    await pc.setRemoteDescription({ type: 'answer', sdp: await response.text() });
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
          say('live', `Live as ${name}`);
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
  say('idle', 'Not publishing');
}

$('stop').onclick = stop;
window.onpagehide = stop;
