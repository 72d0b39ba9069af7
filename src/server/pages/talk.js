// Two-way audio: the microphone of this browser, heard at the camera that is watched. A WHIP session of its own.
import { at, noPath, problem, sentence, signInToPublish } from './common.js';
import { request, rest } from './network.js';

/** Time limits in ms: for a path to the server, and for the camera to listen. */
const PATIENCE = 10_000;
const CAMERA_PATIENCE = 20_000;

/** Why there is no microphone, and what to do about it. */
function microphoneTrouble({ name, message }) {
  switch (name) {
    case 'NotAllowedError': return 'Microphone blocked. Allow it beside the address, then talk again.';
    case 'NotFoundError': return 'No microphone found. Connect one, then talk again.';
    case 'NotReadableError': return 'The microphone is in use by another program. Close that, then talk again.';
    default: return `The microphone cannot be used: ${message}`;
  }
}

/** A button that begins and ends talking, and what it says beside it. */
export class Talk {
  #run = 0;
  #name = null;
  #media = null;
  #pc = null;
  #url = null;
  /** The button's label says it; no second state beside it. */
  #isOn = false;
  #isHeard = false;
  #config;
  #button;
  #words;

  constructor({ button, words, config }) {
    this.#button = button;
    this.#words = words;
    this.#config = config;
    button.onclick = () => (this.#isOn ? this.stop() : this.#start());
    addEventListener('pagehide', () => this.stop());
  }

  /** The stream that is watched now, as the server reports it; nothing if none is. */
  show(stream) {
    if (stream?.name !== this.#name) {
      this.stop();
      this.#name = stream?.name ?? null;
    }
    this.#button.hidden = !stream?.talk || !this.#mayAsk;
    if (this.#button.hidden) return this.stop();
    const { state } = stream.talk;
    if (this.#isHeard && state !== 'talking') this.#settle(this.#run);
    if (this.#isOn) return;
    const isOther = state === 'starting' || state === 'talking';
    if (isOther) this.#say('Somebody else is talking to this camera.', 'other');
    else if (this.#words.dataset.state === 'other') this.#say('');
  }

  stop(words = '') {
    this.#run += 1;
    this.#isHeard = false;
    for (const track of this.#media?.getTracks() ?? []) track.stop();
    this.#media = null;
    this.#pc?.close();
    this.#pc = null;
    const url = this.#url;
    this.#url = null;
    if (url) request(url, { method: 'DELETE', keepalive: true }, 1000).catch(() => {});
    this.#isOn = false;
    this.#button.textContent = 'Talk';
    this.#say(words, words ? 'failed' : '');
  }

  /** Whether the server lets this user talk, or may do so with another token. */
  get #mayAsk() {
    const { rights, needsToken } = this.#config;
    return Boolean(rights?.publish || needsToken);
  }

  #say(words, state = '') {
    if (this.#words.textContent !== words) this.#words.textContent = words;
    this.#words.dataset.state = state;
    this.#words.hidden = !words;
  }

  async #start() {
    if (!this.#config.rights?.publish) {
      this.#config = (await signInToPublish()) ?? this.#config;
      if (!this.#config.rights?.publish) return;
    }
    const mine = ++this.#run;
    this.#isOn = true;
    this.#button.textContent = 'Stop talking';
    this.#say('Connecting…');
    try {
      await this.#connect(mine);
    } catch (error) {
      if (mine === this.#run) this.stop(error.message);
    }
  }

  async #connect(mine) {
    if (!navigator.mediaDevices) throw new Error('Browsers give the microphone to pages with https only.');
    const media = await navigator.mediaDevices.getUserMedia({ audio: true }).catch((error) => {
      throw new Error(microphoneTrouble(error));
    });
    // The user can answer the browser's question after another click.
    if (mine !== this.#run) return media.getTracks().forEach((track) => track.stop());
    this.#media = media;
    const pc = new RTCPeerConnection({ iceServers: this.#config.iceServers });
    this.#pc = pc;
    for (const track of media.getTracks()) {
      track.onended = () => this.stop('The microphone is gone.');
      pc.addTransceiver(track, { direction: 'sendonly', streams: [media] });
    }
    await pc.setLocalDescription();
    // Half a second is enough for the candidates of this machine.
    const complete = new Promise((done) => {
      pc.onicegatheringstatechange = () => pc.iceGatheringState === 'complete' && done();
    });
    await Promise.race([complete, rest(this.#config.iceServers.length > 0 ? 1500 : 500)]);
    if (mine !== this.#run) return;
    const response = await request(at(`whip/${encodeURIComponent(this.#name)}`), {
      method: 'POST',
      headers: { 'Content-Type': 'application/sdp' },
      body: pc.localDescription.sdp,
    });
    if (response.status === 409) throw new Error('Somebody else is talking to this camera.');
    if (!response.ok) throw new Error(sentence(await problem(response)));
    const url = new URL(response.headers.get('Location'), response.url).href;
    if (mine !== this.#run) return request(url, { method: 'DELETE', keepalive: true }, 1000).catch(() => {});
    this.#url = url;
    await pc.setRemoteDescription({ type: 'answer', sdp: await response.text() });
    pc.onconnectionstatechange = () => {
      if (['failed', 'closed'].includes(pc.connectionState) && mine === this.#run) this.#settle(mine);
    };
    const connected = performance.now() + PATIENCE;
    while (mine === this.#run && pc.connectionState !== 'connected') {
      if (performance.now() > connected) throw new Error(noPath(this.#config.iceServers));
      if (!(await this.#settle(mine, 1))) return;
    }
    await this.#settle(mine);
  }

  /** Asks the server whether the camera listens, until it does or does not. Returns whether it still may. */
  async #settle(mine, tries = CAMERA_PATIENCE / 250) {
    for (let n = 0; n < tries && mine === this.#run; n += 1) {
      const answer = await request(at('api/streams')).then((r) => r.json()).catch(() => null);
      if (mine !== this.#run) return false;
      const talk = answer?.streams?.find(({ name }) => name === this.#name)?.talk;
      if (answer && (!talk || talk.state === 'failed' || talk.state === 'free')) {
        this.stop(talk?.why ? sentence(talk.why) : 'The connection to the camera has ended.');
        return false;
      }
      if (talk?.state === 'talking' && this.#pc?.connectionState === 'connected') {
        this.#isHeard = true;
        this.#say('You are heard at the camera.', 'live');
        return true;
      }
      await rest(250);
    }
    if (tries > 1 && mine === this.#run) this.stop('The camera does not answer.');
    return mine === this.#run;
  }
}
