// A call between two pages. The server relays their messages; audio and video go directly, or through a TURN server.
// Either side may renegotiate at any time (perfect negotiation, W3C WebRTC §10.7).
import { keepFocus, Line, noPath, offered, sentence, socketUrl } from './common.js';
import { $, Devices, say, showFigures, showSending, Tile } from './media.js';
import { PathWatch, Socket } from './network.js';
import { Bell } from './bell.js';

/** Time limit for ringing. */
const PATIENCE = 45_000;

const config = await offered();
new Line($('#server'));
const bell = new Bell();
let user = '';
let resume = '';
let iceServers = [];
let isSignedIn = false;
let socket = null;
let call = null;
/** An incoming offer that the user has not answered yet: `{from, id, offer, candidates}`. */
let ringing = null;

const devices = new Devices({
  onchange: update,
  ontrouble(words) {
    $('#trouble').textContent = words;
    $('#trouble').hidden = false;
  },
});

$('#user').value = new URLSearchParams(location.search).get('userId') ?? localStorage.getItem('userId') ?? '';
$('#sign-in-form').onsubmit = (event) => {
  event.preventDefault();
  // Browsers allow sound only after a click.
  bell.wake();
  signIn();
};
$('#notify').onclick = async () => {
  await bell.ask();
  $('#notify').hidden = !bell.canAsk;
  keepFocus($('#target'));
};
$('#sign-out').onclick = signOut;
$('#dial').onsubmit = (event) => {
  event.preventDefault();
  dial($('#target').value.trim());
};
$('#microphone').onclick = () => devices.microphone(devices.isMuted);
$('#camera').onclick = () => devices.camera(devices.shows !== 'camera');
$('#screen').onclick = () => devices.screen(devices.shows !== 'screen');
$('#hang-up').onclick = () => call?.end('Call ended', 'bye');
$('#sound').onclick = () => {
  $('#sound').hidden = true;
  keepFocus($('#microphone'));
  call?.theirs.play();
};
$('#write').onsubmit = (event) => {
  event.preventDefault();
  const text = $('#text').value.trim();
  if (text && call?.chat?.readyState === 'open') {
    call.chat.send(text);
    note(text, true);
    $('#text').value = '';
  }
};
$('#incoming').onclose = () => decide($('#incoming').returnValue === 'accept');
if (!navigator.mediaDevices?.getDisplayMedia) $('#screen').hidden = true;
showFigures($('#figures'), () => call?.pc);
addEventListener('pagehide', () => {
  call?.say('bye', { reason: 'left' });
  // Frees the name at once, also for this page when it is reloaded.
  socket?.send({ type: 'signout' });
});

// ---- signing in

function signIn() {
  user = $('#user').value.trim();
  $('#refused').textContent = '';
  localStorage.setItem('userId', user);
  socket = new Socket({
    url: () => socketUrl('call/ws'),
    onopen: () => socket.send({ type: 'signin', userId: user, resume }),
    onmessage,
    onlost() {
      isSignedIn = false;
      if (!call) say('connecting', 'The server is not reachable. Reconnecting…');
    },
  });
}

function signOut() {
  socket?.send({ type: 'signout' });
  socket?.close();
  socket = null;
  [isSignedIn, resume] = [false, ''];
  $('#dial').hidden = $('#here').hidden = true;
  $('#sign-in-form').hidden = false;
  $('#user').focus();
}

function signedIn(message) {
  const servers = [...(config.iceServers ?? []), ...(message.iceServers ?? [])];
  [resume, iceServers, isSignedIn] = [message.resume, servers, true];
  $('#sign-in-form').hidden = true;
  $('#here').hidden = false;
  $('#who').textContent = user;
  $('#notify').hidden = !bell.canAsk;
  if (call) return call.resend();
  $('#dial').hidden = false;
  keepFocus($('#target'));
  say('idle', 'Online: ready for calls');
}

async function onmessage(message) {
  const { type, userId: from } = message;
  switch (type) {
    case 'signedin': return signedIn(message);
    case 'error':
      console.warn('the server:', message.message);
      if (!isSignedIn) {
        $('#refused').textContent = sentence(message.message);
        keepFocus($('#user'));
        socket.close();
      }
      return;
    case 'unavailable':
      if (call?.target !== message.targetUid || !['offer', 'renew'].includes(message.of)) return;
      if (call.wasConnected) call.resendSoon();
      else call.end(`${message.targetUid} is not online`);
      return;
    case 'offer':
      if (call?.is(message)) return call.take(message);
      return ring(message);
    case 'renew':
      if (call?.is(message)) call.renewFor(message);
      return;
    case 'answer':
    case 'candidate':
      if (call?.is(message)) return call.take(message);
      if (type === 'candidate' && ringing?.from === from) ringing.candidates.push(message);
      return;
    case 'state':
      if (call?.is(message)) call.told(message);
      return;
    case 'bye':
      if (ringing?.from === from) return stopRinging();
      if (call?.target === from) call.end(goodbye(from, message.reason));
  }
}

const goodbye = (who, reason) => ({
  declined: `${who} has declined`,
  busy: `${who} is in another call`,
  gone: `${who} is gone`,
}[reason] ?? `${who} has hung up`);

// ---- incoming calls

function ring(message) {
  const { userId: from, call: id } = message;
  // The other user's page was reloaded: the previous call is over.
  if (call?.target === from) call.end(goodbye(from));
  if (call || (ringing && ringing.from !== from)) {
    socket.send({ type: 'bye', userId: user, targetUid: from, call: id, reason: 'busy' });
    return;
  }
  if (ringing) return;
  ringing = { from, id, message, candidates: [], timer: setTimeout(stopRinging, PATIENCE) };
  $('#incoming-title').textContent = `${from} is calling`;
  $('#incoming').returnValue = '';
  $('#incoming').showModal();
  $('#accept').focus();
  document.title = `${from} is calling – looprtc`;
  bell.ring(from);
}

function stopRinging() {
  if (!ringing) return;
  clearTimeout(ringing.timer);
  bell.stop();
  say('idle', `Missed call from ${ringing.from}`);
  ringing = null;
  $('#incoming').close('');
  document.title = 'Call – looprtc';
}

async function decide(accepted) {
  if (!ringing) return;
  const { from, id, message, candidates, timer } = ringing;
  clearTimeout(timer);
  bell.stop();
  ringing = null;
  if (!accepted) {
    document.title = 'Call – looprtc';
    socket.send({ type: 'bye', userId: user, targetUid: from, call: id, reason: 'declined' });
    return;
  }
  call = new Call(from, id, { polite: true });
  await devices.microphone(true);
  if ($('#answer-with-camera').checked) await devices.camera(true);
  for (const each of [message, ...candidates]) await call?.take(each);
}

async function dial(target) {
  $('#not-dialled').textContent = target === user ? 'This is your own name. Enter the name of somebody else.' : '';
  if (!target || target === user) return $('#target').focus();
  call = new Call(target, crypto.randomUUID?.() ?? String(Math.random()).slice(2), { polite: false });
  const made = call;
  say('connecting', `Calling ${target}…`);
  await devices.microphone(true);
  if ($('#with-camera').checked) await devices.camera(true);
  if (call !== made) return;
  made.open();
}

// ---- a call

class Call {
  wasConnected = false;
  /** Number of the connection: one that fails is replaced by the next. */
  #connection = 0;
  #making = false;
  #ignoring = false;
  #offers = true;
  #timers = [];
  #senders = {};
  #told = {};
  #watch;

  constructor(target, id, { polite }) {
    Object.assign(this, { target, id, polite });
    this.mine = new Tile(user, { own: true });
    this.theirs = new Tile(target);
    this.theirs.update({ name: target, camera: false, ringing: !polite });
    $('#stage').replaceChildren(this.theirs.element, this.mine.element);
    $('#messages').replaceChildren();
    $('#trouble').hidden = true;
    $('#dial').hidden = true;
    $('#talk').hidden = $('#toolbar').hidden = false;
    $('#title').textContent = `Call with ${target}`;
    keepFocus($('#title'));
    document.title = `${target} – looprtc`;
    // The callee's first offer is an answer to the call.
    this.#offers = !polite;
    this.#connect();
  }

  /** Returns whether a message belongs to this call. Not all implementations send call ids. */
  is({ userId, call }) {
    return userId === this.target && (call === undefined || this.id === undefined || call === this.id);
  }

  say(type, more) {
    return isSignedIn && socket.send({ type, userId: user, targetUid: this.target, call: this.id, ...more });
  }

  open() {
    this.#chat(this.pc.createDataChannel('chat'));
    this.#timers.push(setTimeout(() => {
      if (!this.wasConnected && this.pc.signalingState === 'have-local-offer') {
        this.end(`${this.target} does not answer`, 'bye');
      }
    }, PATIENCE));
    this.send();
    // Audio and video have transceivers from the start, whether or not there is something to send.
  }

  #connect() {
    const pc = new RTCPeerConnection({ iceServers });
    this.pc = pc;
    const connection = this.#connection;
    pc.onicecandidate = ({ candidate }) => candidate && this.say('candidate', { candidate, connection });
    pc.onnegotiationneeded = () => this.#offer();
    pc.ondatachannel = ({ channel }) => channel.label === 'chat' && this.#chat(channel);
    pc.ontrack = ({ track, transceiver }) => {
      // A new stream each time: tracks added to a stream later are not always displayed.
      const others = this.theirs.video.srcObject?.getTracks().filter((old) => old.kind !== track.kind) ?? [];
      this.theirs.stream = new MediaStream([...others, track]);
      const showPicture = () => this.#theirPicture(transceiver);
      if (track.kind === 'video') track.onmute = track.onunmute = showPicture;
      showPicture();
      this.theirs.play().then((played) => { if (!played) $('#sound').hidden = false; });
    };
    pc.onconnectionstatechange = () => this.#state();
    this.#watch = new PathWatch(pc, {
      onsuspect: () => this.#suspect(),
      ondead: () => this.#restart(),
    });
  }

  /** No media arrives. If the server does not answer either, this side has to find a new path. */
  #suspect() {
    if (socket?.isNew()) this.#restart();
    else socket?.check();
  }

  #theirPicture() {
    const video = this.theirs.video.srcObject?.getVideoTracks()[0];
    const transceiver = this.pc.getTransceivers().find((t) => t.receiver.track === video);
    const picture = Boolean(video && !video.muted && /recv/.test(transceiver?.currentDirection ?? 'recv'));
    const { microphone = true, screen = false } = this.#told;
    const ringing = !this.polite && !this.pc.remoteDescription;
    this.theirs.update({ name: this.target, camera: picture && !screen, screen: picture && screen, microphone, ringing });
  }

  /** Shows the other user's microphone, camera and screen state. Not all implementations send it. */
  told({ microphone, screen }) {
    this.#told = { microphone, screen };
    this.#theirPicture();
  }

  /** Sends the state of the own devices to the other user. */
  tell() {
    this.say('state', { microphone: !devices.isMuted, camera: devices.shows === 'camera', screen: devices.shows === 'screen' });
  }

  #state() {
    if (call !== this) return;
    switch (this.pc.connectionState) {
      case 'connected':
        if (!this.wasConnected) this.tell();
        this.wasConnected = true;
        say('live', 'Connected');
        break;
      case 'disconnected':
        say('connecting', 'The connection is interrupted. Trying to bring it back…');
        this.#suspect();
        // The impolite side first, so that offers rarely collide.
        this.#timers.push(setTimeout(() => this.#restart(), this.polite ? 3000 : 1000));
        break;
      case 'failed':
        if (this.wasConnected) {
          say('connecting', 'The connection is lost. Connecting again…');
          this.#replace();
        } else {
          say('failed', noPath(iceServers));
          this.#restart();
        }
        break;
      case 'connecting':
        if (this.pc.remoteDescription) say('connecting', 'Connecting…');
    }
  }

  /**
   * Replaces a failed connection. A restart would not help: Firefox sends nothing more on it (w3c/webrtc-pc#3139). The caller
   * offers the next connection, the callee asks for it.
   */
  #replace() {
    // Called again after signing in.
    if (!isSignedIn) return;
    if (this.polite) this.say('renew', { connection: this.#connection });
    else this.#renew(this.#connection + 1);
  }

  /** The callee asks for another connection; this one may have been replaced already. */
  renewFor({ connection }) {
    if (!this.polite && connection === this.#connection) this.#renew(connection + 1);
  }

  #renew(connection) {
    this.#watch.stop();
    clearTimeout(this.#again);
    this.pc.close();
    this.#connection = connection;
    this.#making = this.#ignoring = false;
    this.#offers = !this.polite;
    this.#senders = {};
    this.#connect();
    // It may have been created while there was no network.
    this.#again = setTimeout(() => this.#restart(), 4000);
    if (this.polite) return;
    this.#chat(this.pc.createDataChannel('chat'));
    this.send();
  }

  get #hasFailed() {
    return this.wasConnected && this.pc.connectionState === 'failed';
  }

  /** Keeps restarting ICE until there is a path. */
  #restart() {
    if (call !== this || !this.wasConnected && this.pc.connectionState !== 'failed' || !this.#watch.isSilent()) return;
    clearTimeout(this.#again);
    this.#again = setTimeout(() => this.#restart(), 4000);
    // Negotiation needs the server; this is retried after signing in again.
    if (!isSignedIn) return;
    if (this.#hasFailed) this.#replace();
    else this.pc.restartIce();
  }

  #again;

  async #offer() {
    if (!this.#offers) return;
    try {
      this.#making = true;
      await this.pc.setLocalDescription();
      this.#sayOffer();
    } catch (error) {
      console.warn(error);
    } finally {
      this.#making = false;
    }
  }

  #sayOffer() {
    this.say('offer', { sdp: this.pc.localDescription.sdp, connection: this.#connection });
  }

  /** Messages sent while the server was unreachable were lost: sends them again. */
  resend() {
    const { pc } = this;
    this.tell();
    if (this.#hasFailed) this.#replace();
    else if (pc.signalingState === 'have-local-offer') this.#sayOffer();
    else this.#restart();
  }

  /** The other user is not signed in, but may return soon. */
  resendSoon() {
    this.#timers.push(setTimeout(() => call === this && this.resend(), 500));
  }

  /** Handles an offer, an answer or a candidate. Programs that do not number connections have one. */
  async take({ type, sdp, candidate, connection = this.#connection }) {
    if (type === 'offer' && this.polite && connection > this.#connection) this.#renew(connection);
    if (connection !== this.#connection) return;
    const { pc } = this;
    try {
      if (type === 'candidate') {
        await pc.addIceCandidate(candidate).catch((error) => {
          if (!this.#ignoring) throw error;
        });
        return;
      }
      const collides = type === 'offer' && (this.#making || pc.signalingState !== 'stable');
      this.#ignoring = !this.polite && collides;
      // The other side may not have received the offer that this one waits for.
      if (this.#ignoring) return this.resend();
      // The answer to an offer that was sent twice.
      if (type === 'answer' && pc.signalingState !== 'have-local-offer') return;
      await pc.setRemoteDescription({ type, sdp });
      if (type === 'offer') {
        this.send();
        await pc.setLocalDescription();
        this.say('answer', { sdp: pc.localDescription.sdp, connection });
        this.#offers = true;
      }
      this.#theirPicture();
    } catch (error) {
      console.warn(`${type}:`, error);
    }
  }

  /** Sends the tracks of the devices, removes ended ones, and informs the other user. */
  send() {
    const { pc } = this;
    for (const kind of ['audio', 'video']) {
      const track = devices[kind];
      let transceiver = this.#senders[kind];
      // One transceiver for each kind, whichever side created it.
      transceiver ??= pc.getTransceivers().find((t) => t.receiver.track.kind === kind && !t.stopped);
      if (!transceiver && this.polite && !pc.remoteDescription) continue;
      transceiver ??= pc.addTransceiver(kind, { direction: 'recvonly' });
      this.#senders[kind] = transceiver;
      if (transceiver.sender.track !== track) transceiver.sender.replaceTrack(track).catch(console.error);
      const direction = track ? 'sendrecv' : 'recvonly';
      if (transceiver.direction !== direction) transceiver.direction = direction;
    }
  }

  #chat(channel) {
    this.chat = channel;
    const use = (open) => {
      $('#text').disabled = $('#write button').disabled = !open;
    };
    channel.onopen = () => use(true);
    channel.onclose = () => use(false);
    channel.onmessage = ({ data }) => note(String(data), false);
    use(channel.readyState === 'open');
  }

  end(words, goodbyeType) {
    if (goodbyeType) this.say(goodbyeType, { reason: 'ended' });
    this.#timers.forEach(clearTimeout);
    clearTimeout(this.#again);
    this.#watch.stop();
    this.pc.close();
    devices.stop();
    if (call === this) call = null;
    $('#talk').hidden = $('#toolbar').hidden = true;
    $('#sound').hidden = true;
    $('#text').disabled = $('#write button').disabled = true;
    $('#dial').hidden = !socket;
    document.title = 'Call – looprtc';
    say('idle', words);
    if ($('#dial').hidden) $('#user').focus();
    else $('#target').focus();
  }
}

/** The sent tracks have changed. */
function update() {
  call?.mine.update({ name: user, camera: devices.shows === 'camera', screen: devices.shows === 'screen',
    microphone: !devices.isMuted });
  if (call) call.mine.stream = devices.video && new MediaStream([devices.video]);
  showSending(devices);
  if (call?.pc.localDescription || call?.pc.remoteDescription) {
    call.send();
    call.tell();
  }
}

function note(text, mine) {
  const item = document.createElement('li');
  item.classList.toggle('mine', mine);
  const who = document.createElement('span');
  who.className = 'unseen';
  who.textContent = mine ? 'You: ' : `${call?.target ?? ''}: `;
  item.append(who, text);
  $('#messages').append(item);
  while ($('#messages').children.length > 500) $('#messages').firstElementChild.remove();
  item.scrollIntoView({ block: 'nearest' });
}

update();
// For links that sign in at once, and for tests.
if (new URLSearchParams(location.search).has('userId') && $('#user').value) signIn();
