// A WHEP client that comes back by itself.
import { at, noPath, pause, problem } from './common.js';

const PATIENCE = 10_000;

/**
 * Plays one stream into a video element until `stop`. Says what happens by `say(state, words)`, where state is
 * connecting, live, waiting or failed, and each second how it goes by `figures`. `waits` says what a
 * connection without pictures waits for.
 */
export class Player {
  #run = 0;
  #wake = () => {};

  constructor(video, { name, iceServers, line, say, figures, waits }) {
    Object.assign(this, { video, name, iceServers, line, say, figures, waits });
    this.#keepOn(++this.#run);
    this.up = () => this.#wake('up');
    this.down = () => this.#wake('down');
    line.addEventListener('up', this.up);
    line.addEventListener('down', this.down);
  }

  stop() {
    this.#run += 1;
    this.#wake('stop');
    this.line.removeEventListener('up', this.up);
    this.line.removeEventListener('down', this.down);
    this.video.srcObject = null;
  }

  async #keepOn(run) {
    let tries = 0;
    while (run === this.#run) {
      this.say('connecting', tries ? 'Connecting again…' : 'Connecting…');
      const session = new Session(this);
      let words;
      try {
        await session.begin();
        const lived = await this.#live(session);
        if (lived) tries = 0;
        words = session.words ?? 'The connection was lost.';
      } catch (error) {
        words = error.message;
      }
      session.end();
      if (run !== this.#run) return;
      tries += 1;
      this.say('failed', `${words} Trying again…`);
      // Not before the server is back, and then at once.
      await Promise.race([this.#woken('up'), pause(Math.min(500 * 2 ** Math.min(tries - 1, 3), 4000))]);
    }
  }

  #woken(...reasons) {
    return new Promise((done) => {
      this.#wake = (reason) => (reasons.includes(reason) || reason === 'stop') && done(reason);
    });
  }

  /** Until the session is lost; whether it ever lived. */
  async #live(session) {
    const stop = this.#woken('down');
    const timer = setInterval(() => session.measure(), 1000);
    const reason = await Promise.race([session.lost, stop]);
    clearInterval(timer);
    if (reason === 'down') session.words = 'The server went away.';
    return session.lived;
  }
}

class Session {
  lived = false;
  words = null;
  #url = null;
  #etag = null;
  #waiting = [];
  #before = {};

  constructor(player) {
    this.player = player;
    this.pc = new RTCPeerConnection({ iceServers: player.iceServers, bundlePolicy: 'max-bundle' });
    this.lost = new Promise((done) => {
      this.pc.onconnectionstatechange = () => {
        const state = this.pc.connectionState;
        if (state === 'failed') this.words = noPath(player.iceServers);
        if (state === 'failed' || state === 'closed') done(state);
        // The first picture can be there before it is said that there is a connection.
        if (state === 'connected' && !this.lived) player.say('waiting', player.waits());
      };
      // A path can be silent for a moment. Longer than this it is looked for anew.
      let gone;
      this.pc.oniceconnectionstatechange = () => {
        clearTimeout(gone);
        if (this.pc.iceConnectionState === 'disconnected') gone = setTimeout(() => done('silent'), 2500);
      };
      this.patience = setTimeout(() => {
        if (this.pc.connectionState !== 'connected') {
          this.words = noPath(player.iceServers);
          done('no path');
        }
      }, PATIENCE);
    });
    this.media = new MediaStream();
    this.pc.ontrack = ({ track }) => this.#arrived(track);
    this.pc.onicecandidate = ({ candidate }) => this.#trickle(candidate);
  }

  async begin() {
    this.pc.addTransceiver('video', { direction: 'recvonly' });
    this.pc.addTransceiver('audio', { direction: 'recvonly' });
    const offer = await this.pc.createOffer();
    // Browsers offer Opus in mono unless told.
    const sdp = offer.sdp.replace(/(a=fmtp:\d+ [^\r\n]*useinbandfec=1)(?![^\r\n]*stereo)/g, '$1;stereo=1');
    await this.pc.setLocalDescription({ type: 'offer', sdp });
    const response = await fetch(at(`whep/${encodeURIComponent(this.player.name)}`), {
      method: 'POST',
      headers: { 'Content-Type': 'application/sdp' },
      body: this.pc.localDescription.sdp,
    }).catch(() => {
      throw new Error('The server cannot be reached.');
    });
    if (!response.ok) throw new Error(`${await problem(response)}.`.replace(/\.\.$/, '.'));
    this.#url = new URL(response.headers.get('Location'), response.url).href;
    this.#etag = response.headers.get('ETag');
    await this.pc.setRemoteDescription({ type: 'answer', sdp: await response.text() });
    this.#flush();
  }

  end() {
    clearTimeout(this.patience);
    this.pc.close();
    if (this.#url) fetch(this.#url, { method: 'DELETE', keepalive: true }).catch(() => {});
    this.#url = null;
  }

  #arrived(track) {
    this.media.addTrack(track);
    const { video } = this.player;
    video.srcObject = this.media;
    if (track.kind === 'video') video.requestVideoFrameCallback?.(() => this.#shown());
  }

  #shown() {
    this.lived = true;
    this.player.say('live', 'Live');
  }

  // Candidates go by PATCH (RFC 9725, section 4.3.1), those that come together in one.
  #trickle(candidate) {
    this.#waiting.push(candidate);
    clearTimeout(this.soon);
    this.soon = setTimeout(() => this.#flush(), 20);
  }

  async #flush() {
    if (!this.#url || this.#waiting.length === 0) return;
    const candidates = this.#waiting.splice(0);
    const ours = this.pc.localDescription?.sdp ?? '';
    const first = (pattern) => ours.match(pattern)?.[1] ?? '';
    const lines = [
      `a=ice-ufrag:${first(/a=ice-ufrag:(\S+)/)}`,
      `a=ice-pwd:${first(/a=ice-pwd:(\S+)/)}`,
      `m=${first(/m=([^\r\n]+)/)}`,
      `a=mid:${first(/a=mid:(\S+)/)}`,
    ];
    for (const candidate of candidates) {
      if (!candidate) lines.push('a=end-of-candidates');
      else if (candidate.candidate) lines.push(`a=${candidate.candidate}`);
    }
    await fetch(this.#url, {
      method: 'PATCH',
      headers: { 'Content-Type': 'application/trickle-ice-sdpfrag', ...(this.#etag && { 'If-Match': this.#etag }) },
      body: `${lines.join('\r\n')}\r\n`,
    }).catch(() => {});
  }

  /** Two seconds without a picture are no longer live. */
  #watch(frames) {
    if (!this.lived || Number.isNaN(frames) || this.#before.frames === 0) return;
    const still = frames > 0 ? 0 : (this.still ?? 0) + 1;
    if (still === 2) this.player.say('waiting', this.player.waits());
    if (still === 0 && this.still >= 2) this.player.say('live', 'Live');
    this.still = still;
  }

  async measure() {
    if (this.pc.connectionState !== 'connected') return;
    const now = { at: performance.now() };
    let codec = '';
    const stats = await this.pc.getStats();
    stats.forEach((s) => {
      if (s.type === 'inbound-rtp') {
        now.bytes = (now.bytes ?? 0) + s.bytesReceived;
        now.packets = (now.packets ?? 0) + s.packetsReceived;
        now.lost = (now.lost ?? 0) + s.packetsLost;
        if (s.kind === 'video') {
          Object.assign(now, {
            frames: s.framesDecoded,
            delay: s.jitterBufferDelay,
            emitted: s.jitterBufferEmittedCount,
            width: s.frameWidth,
            height: s.frameHeight,
            freezes: s.freezeCount,
          });
          codec = stats.get(s.codecId)?.mimeType?.split('/')[1] ?? '';
        }
      }
      if (s.type === 'candidate-pair' && s.nominated) {
        now.rtt = s.currentRoundTripTime;
        now.path = stats.get(s.localCandidateId)?.candidateType;
      }
    });
    const was = this.#before;
    this.#before = now;
    if (was.at === undefined) return;
    // Sound alone, or pictures that this browser counts only.
    if (!this.lived && (now.frames > 0 || (now.packets > 0 && !now.frames && was.packets > 0))) this.#shown();
    this.#watch(now.frames - was.frames);
    const seconds = (now.at - was.at) / 1000;
    const gone = now.lost - was.lost;
    const sent = now.packets - was.packets + gone;
    this.player.figures({
      bitrate: ((now.bytes - was.bytes) * 8) / 1000 / seconds,
      rtt: (now.rtt ?? NaN) * 1000,
      loss: sent > 0 ? (100 * Math.max(gone, 0)) / sent : 0,
      frames: (now.frames - was.frames) / seconds,
      delay: (1000 * (now.delay - was.delay)) / (now.emitted - was.emitted),
      detail: [
        now.width && `${now.width} × ${now.height}`,
        codec,
        now.path === 'relay' ? 'through a relay' : 'direct',
        `${now.freezes ?? 0} freezes`,
      ].filter(Boolean).join(', '),
    });
  }
}
