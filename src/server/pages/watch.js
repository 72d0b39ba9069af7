// The list of streams, and a player.
import { at, Graph, here, keepFocus, Line, offered, stateOf, watched } from './common.js';
import { request } from './network.js';
import { Talk } from './talk.js';
import { Player } from './whep.js';

const $ = (id) => document.getElementById(id);
const config = await offered();
const line = new Line($('server'));
let player = null;
let playing = null;
const talk = new Talk({ button: $('talk'), words: $('talk-state'), config });

const graphs = {
  bitrate: new Graph($('graphs'), { title: 'Bitrate', unit: 'kbit/s', least: 100 }),
  rtt: new Graph($('graphs'), { title: 'Round trip', unit: 'ms', digits: 1, least: 10 }),
  loss: new Graph($('graphs'), { title: 'Loss', unit: '%', digits: 1, least: 5 }),
  frames: new Graph($('graphs'), { title: 'Frames', unit: '/s', least: 30 }),
  delay: new Graph($('graphs'), { title: 'Jitter buffer', unit: 'ms', least: 50 }),
};

/** The streams as last reported by the server; `null` before that. */
let known = null;

function list(streams) {
  known = new Map();
  for (const stream of streams) known.set(stream.name, stream);
  const ul = $('streams');
  ul.ariaBusy = 'false';
  $('nothing').hidden = streams.length > 0;
  const cards = new Map([...ul.children].map((li) => [li.dataset.name, li]));
  for (const stream of streams) {
    let li = cards.get(stream.name);
    cards.delete(stream.name);
    if (!li) {
      li = card(stream);
      ul.append(li);
    }
    const state = li.querySelector('.state');
    const words = stateOf(stream);
    if (state.textContent !== words) state.textContent = words;
    state.dataset.state = stream.state;
    li.querySelector('.fine').textContent = watched(stream);
    li.classList.toggle('playing', stream.name === playing);
  }
  notes();
  $('quality').hidden = !known.get(playing)?.sub;
  talk.show(known.get(playing));
  for (const li of cards.values()) li.remove();
  // The server may have been restarted with other streams.
  if (playing && Boolean(player) !== known.has(playing)) play();
}

/** Returns the parts of the playing stream that are left out or damaged. */
function notes() {
  const texts = known?.get(playing)?.notes ?? [];
  $('notes').hidden = texts.length === 0;
  const words = texts.join(' ');
  if ($('notes').textContent !== words) $('notes').textContent = words;
}

function card(stream) {
  const li = document.createElement('li');
  li.className = 'card';
  li.dataset.name = stream.name;
  li.innerHTML = '<h3></h3><p class="state"></p><p class="fine"></p><button type="button" class="main">Watch</button>';
  li.querySelector('h3').textContent = stream.name;
  const button = li.querySelector('button');
  button.setAttribute('aria-label', `Watch ${stream.name}`);
  button.onclick = () => {
    history.pushState(null, '', at(`watch/${encodeURIComponent(stream.name)}`));
    show();
    $('title').focus({ preventScroll: true });
  };
  return li;
}

function show() {
  const [page, stream] = here();
  const name = page === 'watch' ? (stream ?? '') : '';
  if (name === (playing ?? '')) return;
  playing = name || null;
  $('quality').value = 'auto';
  $('quality').hidden = !known?.get(playing)?.sub;
  talk.show(known?.get(playing));
  $('player').hidden = !playing;
  document.title = playing ? `${playing} – looprtc` : 'looprtc';
  for (const li of $('streams').children) li.classList.toggle('playing', li.dataset.name === playing);
  $('title').textContent = playing ?? '';
  play();
  if (playing) scrollTo({ top: 0, behavior: 'smooth' });
}

/** Plays the selected stream, if it exists. */
function play() {
  player?.stop();
  player = null;
  const isThere = Boolean(playing) && (known?.has(playing) ?? true);
  for (const id of ['screen', 'pause', 'sound', 'full', 'figures']) $(id).hidden = !isThere;
  if (!playing) return;
  if (!isThere) {
    $('state').textContent = `There is no stream called “${playing}” on this server.`;
    $('state').dataset.state = 'failed';
    return;
  }
  const name = playing;
  notes();
  $('unmute').hidden = true;
  player = new Player($('video'), {
    name,
    iceServers: config.iceServers,
    quality: $('quality').value,
    line,
    say: (state, words) => {
      $('state').textContent = words;
      $('state').dataset.state = state;
      $('veil').textContent = state === 'live' ? '' : words;
      $('veil').hidden = state === 'live';
      if (state !== 'connecting') start();
    },
    stream: () => known?.get(name),
    why: stateOf,
    figures: (f) => {
      for (const [key, graph] of Object.entries(graphs)) graph.show(f[key]);
      $('detail').textContent = f.detail;
    },
  });
}

/** Plays with sound if the browser allows it without a click; otherwise muted, with a button to unmute. */
async function start() {
  const video = $('video');
  if (!video.srcObject || !video.paused || video.dataset.paused) return;
  try {
    await video.play();
  } catch (error) {
    if (error.name !== 'NotAllowedError') return;
    video.muted = true;
    $('unmute').hidden = false;
    sound();
    await video.play().catch(() => {});
  }
}

function sound() {
  $('sound').textContent = $('video').muted ? 'Unmute' : 'Mute';
}

$('video').onloadedmetadata = start;
$('unmute').onclick = () => {
  $('video').muted = false;
  $('unmute').hidden = true;
  sound();
  keepFocus($('sound'));
};
$('sound').onclick = () => {
  $('video').muted = !$('video').muted;
  $('unmute').hidden = true;
  sound();
};
$('pause').onclick = () => {
  const video = $('video');
  if (video.paused) {
    delete video.dataset.paused;
    video.play();
  } else {
    video.dataset.paused = '1';
    video.pause();
  }
};
$('video').onplay = $('video').onpause = () => {
  $('pause').textContent = $('video').paused ? 'Resume' : 'Pause';
};
$('full').onclick = () => ($('video').requestFullscreen?.() ?? $('video').webkitEnterFullscreen?.());
$('quality').onchange = play;
$('close').onclick = () => {
  const button = document.querySelector('#streams .playing button');
  history.pushState(null, '', at(''));
  show();
  keepFocus(button ?? document.querySelector('#streams button') ?? $('main'));
};
$('room').onsubmit = (event) => {
  event.preventDefault();
  location.href = at(`room/${encodeURIComponent($('room-name').value.trim())}`);
};
window.onpopstate = show;
// A page that is left ends its session; one restored from the browser's cache starts a new one.
window.onpagehide = () => player?.stop();
window.onpageshow = ({ persisted }) => persisted && location.reload();
line.addEventListener('news', ({ detail }) => {
  list(detail.streams);
  player?.judge();
});
try {
  list((await (await request(at('api/streams'))).json()).streams);
} catch (error) {
  // The live connection reports them, too.
  console.warn('asking for the streams', error);
}
sound();
show();
