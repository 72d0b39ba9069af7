// A room: all participants see and hear each other. The server sends all offers; this page answers them.
import { at, here, keepFocus, Line, noPath, offered, sentence, socketUrl } from './common.js';
import { $, Devices, say, showFigures, showSending, Tile } from './media.js';
import { PathWatch, Socket } from './network.js';

const config = await offered();
new Line($('#server'));
const own = new Tile('You', { own: true });
/** All sent tracks are in one stream, to be played in sync. */
const ownStream = new MediaStream();
/** Tiles by member id, which is also the id of the member's stream. */
const tiles = new Map();
const streams = new Map();
let room = here()[1] ?? '';
let name = '';
let me = null;
let pc = null;
let watch = null;
let socket = null;
/** Set once `pc` has been connected. */
let wasConnected = false;
let restarts = 0;
let watchdog;

const devices = new Devices({
  onchange: update,
  ontrouble(words) {
    $('#trouble').textContent = words;
    $('#trouble').hidden = false;
  },
});

$('#room').value = room;
$('#name').value = localStorage.getItem('name') ?? '';
$('#join').onsubmit = (event) => {
  event.preventDefault();
  room = $('#room').value.trim();
  name = $('#name').value.trim();
  localStorage.setItem('name', name);
  history.replaceState(null, '', at(`room/${encodeURIComponent(room)}${location.search}`));
  join();
};
$('#microphone').onclick = () => devices.microphone(devices.isMuted);
$('#camera').onclick = () => devices.camera(devices.shows !== 'camera');
$('#screen').onclick = () => devices.screen(devices.shows !== 'screen');
$('#leave').onclick = leave;
$('#sound').onclick = () => {
  $('#sound').hidden = true;
  keepFocus($('#microphone'));
  tiles.forEach((tile) => tile.play());
};
if (!navigator.mediaDevices?.getDisplayMedia) $('#screen').hidden = true;
showFigures($('#figures'), () => pc);
addEventListener('pagehide', () => socket?.send({ event: 'leave' }));

async function join() {
  $('#join').hidden = true;
  $('#inside').hidden = $('#toolbar').hidden = false;
  $('#title').textContent = `Room ${room}`;
  document.title = `${room} – looprtc`;
  keepFocus($('#title'));
  $('#tiles').replaceChildren(own.element);
  say('connecting', 'Connecting…');
  // Both devices are requested together, so that the browser asks the user once.
  if ($('#with-microphone').checked) await devices.microphone(true);
  if ($('#with-camera').checked) await devices.camera(true);
  update();
  socket = new Socket({
    url: () => `${socketUrl(`room/${encodeURIComponent(room)}/ws`)}?${new URLSearchParams({
      name,
      resume: me?.resume ?? '',
      simulcast: 1,
      ...(hasFailed() && { renew: 1 }),
    })}`,
    // Compatible servers of others may not do this.
    asks: false,
    onmessage,
    onlost({ code, reason }) {
      const isFinal = code === 1008 && reason.startsWith('a room');
      if (isFinal) say('failed', sentence(reason));
      else if (code === 1013) say('waiting', `Not let in yet: ${reason}. Trying again…`);
      else say('connecting', 'The server is not reachable. Reconnecting…');
      return !isFinal;
    },
  });
}

function leave() {
  socket?.send({ event: 'leave' });
  socket?.close();
  devices.stop();
  hangUp();
  me = socket = null;
  $('#inside').hidden = $('#toolbar').hidden = true;
  $('#join').hidden = false;
  $('#join button').focus();
}

function hangUp() {
  clearTimeout(watchdog);
  watch?.stop();
  pc?.close();
  pc = watch = null;
  wasConnected = false;
  restarts = 0;
  streams.clear();
  tiles.forEach((tile) => tile.element.remove());
  tiles.clear();
  arrange();
}

/** The sent tracks have changed. */
function update() {
  own.update({ name: name || 'You', camera: devices.shows === 'camera', screen: devices.shows === 'screen',
    microphone: !devices.isMuted });
  own.stream = devices.video && new MediaStream([devices.video]);
  showSending(devices);
  tellState();
  send();
}

function tellState() {
  const state = { microphone: !devices.isMuted, camera: devices.shows === 'camera', screen: devices.shows === 'screen' };
  socket?.send({ event: 'state', data: JSON.stringify(state) });
}

/** Attaches the own tracks to the m-lines that the server receives on: this needs no negotiation. */
async function send() {
  for (const { isUp, sender, receiver } of pc?.getTransceivers() ?? []) {
    if (!isUp) continue;
    const isVideo = receiver.track.kind === 'video';
    const track = isVideo ? devices.video : devices.audio;
    if (sender.track === track) continue;
    await sender.replaceTrack(track).catch(console.warn);
    if (isVideo && track) await layer(sender);
  }
}

async function onmessage({ event, data }) {
  const value = data ? JSON.parse(data) : null;
  switch (event) {
    case 'welcome':
      // The connection of an earlier visit is over: the server starts a new one.
      if (!value.resumed) hangUp();
      me = value;
      socket.asks = true;
      tellState();
      if (pc?.connectionState === 'connected') say('live', 'Connected');
      // The event that ended the socket may have ended the path, too.
      if (hasFailed()) renew();
      else if (watch?.isSilent()) restart();
      break;
    case 'members': return members(value);
    case 'offer': return answer(value);
    case 'candidate':
      // Belongs to an offer that will not be answered.
      await pc?.addIceCandidate(value).catch((error) => console.warn(error));
      break;
    case 'error': console.warn('the server:', value.message); break;
  }
}

async function answer(offer) {
  pc ??= connection();
  const connection_ = pc;
  await pc.setRemoteDescription(offer);
  const up = receivedByServer(offer.sdp);
  for (const transceiver of pc.getTransceivers()) {
    if (!up.has(transceiver.mid) || transceiver.isUp) continue;
    transceiver.isUp = true;
    // The answer contains no more than the offer asks for.
    transceiver.direction = 'sendrecv';
    transceiver.sender.setStreams(ownStream);
  }
  await send();
  await pc.setLocalDescription();
  if (pc === connection_) {
    socket?.send({ event: 'answer', data: JSON.stringify(pc.localDescription) });
    if (pc.connectionState === 'connected') say('live', 'Connected');
  }
}

/** Returns the mids for tracks sent to the server: the first section of each kind that can receive. */
function receivedByServer(sdp) {
  const up = new Map();
  for (const section of sdp.split(/\r\n(?=m=)/).slice(1)) {
    const [kind] = /(?<=^m=)\w+/.exec(section) ?? [];
    const mid = /\r\na=mid:(\S+)/.exec(section)?.[1];
    if (!up.has(kind) && /\r\na=(recvonly|sendrecv)/.test(section)) up.set(kind, mid);
  }
  return new Set(up.values());
}

/**
 * Sets the sizes of the layers that the server requested: the last one in use has full size, each one before it half of
 * that. Browsers send no more layers than the picture size warrants, and would omit the largest.
 */
async function layer(sender) {
  const parameters = sender.getParameters();
  const count = parameters.encodings?.length ?? 0;
  if (count < 2) return;
  const { width = 640, height = 360 } = devices.video?.getSettings() ?? {};
  const longer = Math.max(width, height);
  const used = Math.min(count, longer >= 960 ? 3 : longer >= 480 ? 2 : 1);
  parameters.encodings.forEach((encoding, n) => {
    const scale = 2 ** Math.max(0, used - 1 - n);
    encoding.active = n < used;
    encoding.scaleResolutionDownBy = scale;
    encoding.maxBitrate = Math.min(2_500_000, Math.round(60_000 + 2.6 * width * height / scale ** 2));
  });
  await sender.setParameters(parameters).catch((error) => console.warn(error));
}

function connection() {
  const made = new RTCPeerConnection({ iceServers: [...(config.iceServers ?? []), ...(me?.iceServers ?? [])] });
  made.onicecandidate = ({ candidate }) => {
    if (candidate) socket?.send({ event: 'candidate', data: JSON.stringify(candidate) });
  };
  made.ontrack = ({ track, streams: [stream] }) => {
    if (!stream) return;
    streams.set(stream.id, stream);
    stream.onremovetrack = () => {
      if (stream.getTracks().length || streams.get(stream.id) !== stream) return;
      streams.delete(stream.id);
      if (!me) forget(stream.id);
    };
    show(stream.id);
  };
  const onback = () => {
    clearTimeout(watchdog);
    restarts = 0;
    if (made === pc && made.connectionState === 'connected') say('live', 'Connected');
  };
  watch?.stop();
  watch = new PathWatch(made, { onsuspect, ondead: restart, onback });
  made.onconnectionstatechange = () => {
    if (made !== pc) return;
    clearTimeout(watchdog);
    switch (made.connectionState) {
      case 'connected':
        wasConnected = true;
        onback();
        break;
      case 'disconnected':
        say('connecting', 'The connection is interrupted. Trying to bring it back…');
        onsuspect();
        watchdog = setTimeout(restart, 1500);
        break;
      case 'failed':
        if (wasConnected) renew();
        else restart();
        break;
      default:
        say('connecting', 'Connecting…');
    }
  };
  return made;
}

/**
 * Whether the connection was established and has failed since. Such a connection is replaced, not restarted: Firefox sends
 * nothing on it any more, neither media nor RTCP, though ICE finds a path again (w3c/webrtc-pc#3139).
 */
const hasFailed = () => wasConnected && pc?.connectionState === 'failed';

/** Requests a replacement of this connection from the server; while it is unreachable, the next socket does. */
function renew() {
  say('connecting', 'The connection is lost. Connecting again…');
  // Other servers do not support visits.
  if (!me) hangUp();
  if (socket?.isOpen) socket.reopen();
}

/** No media arrives. If the server does not answer either, another socket follows soon, and a `welcome`. */
function onsuspect() {
  if (socket?.isNew()) restart();
  else socket?.check();
}

/** Requests an ICE restart; if that does not help, another connection. */
function restart() {
  clearTimeout(watchdog);
  // Negotiation needs the server; its next `welcome` resumes this.
  if (!pc || !socket?.isOpen) return;
  restarts += 1;
  if (restarts > 2) {
    say('failed', `${noPath(me?.iceServers)} Trying again…`);
    me = null;
    hangUp();
    socket.reopen();
    return;
  }
  say('connecting', 'The connection is interrupted. Trying to bring it back…');
  socket.send({ event: 'restart' });
  socket.check();
  watchdog = setTimeout(() => {
    if (watch?.isSilent(2500)) restart();
    else if (pc?.connectionState === 'connected') say('live', 'Connected');
  }, 4000);
}

function members(list) {
  const others = list.filter(({ id }) => id !== me?.id);
  const news = [];
  for (const [id, tile] of tiles) {
    if (others.some((other) => other.id === id)) continue;
    news.push(`${tile.name} has left`);
    forget(id);
  }
  for (const member of others) {
    if (!tiles.has(member.id)) {
      add(member.id, member.name);
      if (news.length < 3) news.push(`${member.name} is here`);
      show(member.id);
    }
    tiles.get(member.id).update(member);
  }
  $('#news').textContent = news.join(', ');
  $('#title').textContent = others.length ? `Room ${room} · ${others.length + 1} people` : `Room ${room} · nobody else is here yet`;
}

/** As many rows as columns, or one less; on a phone one column for two tiles, two for more. */
function arrange() {
  const count = tiles.size + 1;
  const columns = Math.ceil(Math.sqrt(count));
  const { style } = $('#tiles');
  style.setProperty('--columns', columns);
  style.setProperty('--rows', Math.ceil(count / columns));
  style.setProperty('--narrow-columns', count > 2 ? 2 : 1);
}

function add(id, name) {
  const tile = new Tile(name);
  tile.name = name;
  tiles.set(id, tile);
  own.element.before(tile.element);
  arrange();
}

function forget(id) {
  tiles.get(id)?.element.remove();
  tiles.delete(id);
  arrange();
}

async function show(id) {
  // A server that sends no member list, such as pion's sfu-ws example.
  if (!me && !tiles.has(id)) add(id, 'Guest');
  const [tile, stream] = [tiles.get(id), streams.get(id)];
  if (!tile || !stream) return;
  // A new stream each time: tracks added to a stream later are not always displayed.
  tile.stream = new MediaStream(stream.getTracks());
  if (!(await tile.play())) $('#sound').hidden = false;
}

// For links that join at once, and for tests.
if (room && new URLSearchParams(location.search).has('join')) {
  name = new URLSearchParams(location.search).get('name') ?? $('#name').value;
  join();
}
