// A WHEP client that reconnects automatically, and shows what is missing while there is no media.
import { limitOf, network, PathWatch, request } from './network.js';
import { authorization, h265, noPath, problem, url } from './server.js';

/** Time limit for connecting, in ms. */
const PATIENCE = 10_000;

/** Time after which missing video is reported, for the first frame and for further ones, in ms. */
const FIRST = 1500;
const STILL = 2000;

const GONE = 'The server cannot be reached.';

/**
 * Plays a stream into a video element until `stop`. Reports by `say(state, text)`, where state is connecting, live,
 * waiting or failed, and statistics once per second by `figures`. `stream` returns the server's information about the
 * stream, if any, and `why` the text for one that has failed. `quality` is which of its two streams a camera sends:
 * `main`, `sub` or `auto`, by the size of the video. With `token`, requests carry it as a bearer token. With
 * `onrefused(status, text)`, the player ends where the server refuses the token, instead of trying again.
 */
export class Player {
  #run = 0;
  #session = null;

  constructor(video, { name, token, quality, iceServers, line, say, figures, stream, why, onrefused }) {
    Object.assign(this, { video, name, token, quality, iceServers, line, say, figures, stream, why, onrefused });
    this.#keepOn(++this.#run);
    line.addEventListener('up', this.#look);
    line.addEventListener('down', this.#judge);
    network.addEventListener('changed', this.#look);
    network.addEventListener('wake', this.#look);
  }

  stop() {
    this.#run += 1;
    this.#session?.end();
    this.line.removeEventListener('up', this.#look);
    this.line.removeEventListener('down', this.#judge);
    network.removeEventListener('changed', this.#look);
    network.removeEventListener('wake', this.#look);
    this.video.srcObject = null;
  }

  /** The server's information about the stream has changed. */
  judge() {
    this.#session?.judge();
  }

  #look = () => this.#session?.look();
  #judge = () => this.judge();

  async #keepOn(run) {
    let tries = 0;
    while (run === this.#run) {
      this.say('connecting', tries ? 'Connecting again…' : 'Connecting…');
      const session = new Session(this);
      this.#session = session;
      let words;
      try {
        await session.begin(limitOf(tries));
        words = await session.lost;
      } catch (error) {
        words = error.message;
      }
      session.end();
      if (run !== this.#run) return;
      if (session.refusal && this.onrefused) return this.onrefused(session.refusal, words);
      if (session.lived) tries = 0;
      tries += 1;
      if (words === STRANGE) {
        // Another try helps only if the camera is set to something else meanwhile.
        this.say('failed', words);
        await this.line.pause(30_000);
        continue;
      }
      this.say('failed', `${this.line.isGone ? GONE : words} Trying again…`);
      // At once if the last session worked and the server is reachable; otherwise as soon as it is back.
      const isAtOnce = tries === 1 && session.lived && this.line.up;
      if (!isAtOnce) await this.line.pause(Math.min(250 * 2 ** tries, 4000));
    }
  }
}

class Session {
  /** Video frames were displayed, or audio was played if there is no video. */
  lived = false;
  /** Status with which the server refused the token, or `null`. */
  refusal = null;
  #lose;
  /** Ends with a reason. */
  lost = new Promise((done) => {
    this.#lose = done;
  });
  #url = null;
  #etag = null;
  #waiting = [];
  #before = {};
  #begun = performance.now();
  /** Time at which the last frame was decoded. */
  #picture = 0;
  #video = { packets: 0, whole: 0, decoded: 0 };
  #sound = 0;
  /** Time at which the first video packet arrived. */
  #arrivedAt = Infinity;
  #isStill = true;
  #isOver = false;

  constructor(player) {
    this.player = player;
    this.pc = new RTCPeerConnection({ iceServers: player.iceServers, bundlePolicy: 'max-bundle' });
    this.pc.onconnectionstatechange = () => {
      const state = this.pc.connectionState;
      if (state === 'failed') this.#lose(noPath(player.iceServers));
      if (state === 'connected') this.judge();
    };
    this.pc.oniceconnectionstatechange = () => this.pc.iceConnectionState === 'disconnected' && this.#suspect();
    this.patience = setTimeout(() => {
      if (this.pc.connectionState !== 'connected') this.#lose(noPath(player.iceServers));
    }, PATIENCE);
    this.watch = new PathWatch(this.pc, {
      onsuspect: () => this.#suspect(),
      ondead: () => this.#dead(),
    });
    this.timer = setInterval(() => this.measure(), 1000);
    this.media = new MediaStream();
    this.pc.ontrack = ({ track }) => this.#arrived(track);
    this.pc.onicecandidate = ({ candidate }) => this.#trickle(candidate);
  }

  async begin(limit) {
    this.pc.addTransceiver('video', { direction: 'recvonly' });
    this.pc.addTransceiver('audio', { direction: 'recvonly' });
    const offer = await this.pc.createOffer();
    // Browsers offer mono Opus by default.
    const sdp = offer.sdp.replace(/(a=fmtp:\d+ [^\r\n]*useinbandfec=1)(?![^\r\n]*stereo)/g, '$1;stereo=1');
    await this.pc.setLocalDescription({ type: 'offer', sdp });
    const response = await request(url(`whep/${encodeURIComponent(this.player.name)}${this.#quality()}`), {
      method: 'POST',
      headers: { 'Content-Type': 'application/sdp', ...authorization(this.player.token) },
      body: this.pc.localDescription.sdp,
    }, limit);
    if ([401, 403].includes(response.status)) this.refusal = response.status;
    if (response.status === 422 && isStrange(this.player.stream()?.codecs)) throw new Error(STRANGE);
    if (!response.ok) throw new Error(`${await problem(response)}.`.replace(/\.\.$/, '.'));
    this.#url = new URL(response.headers.get('Location'), response.url).href;
    this.#etag = response.headers.get('ETag');
    const answer = await response.text();
    if (this.#isOver) return this.end();
    await this.pc.setRemoteDescription({ type: 'answer', sdp: answer });
    this.#flush();
  }

  /** Returns the query by which the server chooses between a stream and its smaller second one. */
  #quality() {
    const { quality = 'auto', video, stream } = this.player;
    const width = Math.round(video.clientWidth * devicePixelRatio);
    if (!stream()?.sub) return '';
    if (quality !== 'auto') return `?quality=${quality}`;
    return width ? `?width=${width}` : '';
  }

  end() {
    this.#isOver = true;
    clearTimeout(this.patience);
    clearInterval(this.timer);
    this.watch.stop();
    this.pc.close();
    if (this.#url) request(this.#url, { method: 'DELETE', headers: authorization(this.player.token), keepalive: true }).catch(() => {});
    this.#url = null;
    this.#lose('The connection was lost.');
  }

  /** The network has changed, or the server is back: a silent path is lost. */
  look() {
    if (this.pc.connectionState === 'connected') {
      if (this.watch.isSilent() && this.lived) this.#lose('The connection was lost.');
    } else if (performance.now() - this.#begun > 300) {
      this.#lose('The network has changed.');
    }
  }

  /** No media arrives. If the server does not answer either, that is known soon and handled. */
  #suspect() {
    if (this.player.line.isNew) this.#lose('The connection was lost.');
    else this.player.line.check();
  }

  /** A stream without a publisher may be silent, and without the server another connection would be no better. */
  #dead() {
    if (this.player.line.up && this.player.stream()?.state !== 'waiting') this.#lose('The connection was lost.');
  }

  #arrived(track) {
    this.media.addTrack(track);
    const { video } = this.player;
    video.srcObject = this.media;
    if (track.kind !== 'video') return;
    const onPicture = () => {
      if (this.#isOver) return;
      this.#picture = performance.now();
      if (this.#isStill) this.judge();
      video.requestVideoFrameCallback(onPicture);
    };
    video.requestVideoFrameCallback?.(onPicture);
  }

  /** Shows the current state, including what is missing. */
  judge() {
    if (this.#isOver || this.pc.connectionState !== 'connected') return;
    const now = performance.now();
    const stream = this.player.stream() ?? {};
    const isShown = this.#picture > 0 && now - this.#picture < STILL;
    const isSoundAlone = !this.#hasVideo && !isVideo(stream.codecs);
    if (isShown || (isSoundAlone && this.#sound > 0)) {
      [this.lived, this.#isStill] = [true, false];
      return this.player.say('live', 'Live');
    }
    this.#isStill = true;
    if (this.player.line.isGone) return this.player.say('failed', `${GONE} Trying again…`);
    if (stream.state === 'failed') return this.player.say('failed', this.player.why(stream));
    this.player.say('waiting', this.#missing(stream, now));
  }

  get #hasVideo() {
    return this.pc.getTransceivers().some((t) => t.receiver.track.kind === 'video' && /recv/.test(t.currentDirection ?? ''));
  }

  #missing(stream, now) {
    if (stream.state === 'waiting') return 'Connected. Waiting for its publisher…';
    const only = this.#sound > 0 ? ' There is audio only.' : '';
    // Also if it was not yet known what the camera sends when video was agreed on.
    if (isStrange(stream.codecs)) return STRANGE + only;
    if (!this.#hasVideo && isVideo(stream.codecs)) {
      return `This browser cannot play the video of this stream (${stream.codecs.filter(isPicture).join(', ')}).${only}`;
    }
    if (this.lived) return 'Connected. Waiting for more video…';
    const { packets, whole, decoded } = this.#video;
    if (packets === 0 || decoded > 0 || now - this.#arrivedAt < FIRST) return `Connected. Waiting for the first picture…${only}`;
    if (whole > 0 && this.codec === 'H265') return STRANGE + only;
    return whole === 0
      ? `Video arrives, but without a keyframe or its parameter sets (SPS, PPS).${only}`
      : `Video arrives, but this browser cannot decode it${this.codec ? ` (${this.codec})` : ''}.${only}`;
  }

  // Candidates are sent by PATCH (RFC 9725, section 4.3.1), batched if they arrive together.
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
    await request(this.#url, {
      method: 'PATCH',
      headers: {
        'Content-Type': 'application/trickle-ice-sdpfrag',
        ...(this.#etag && { 'If-Match': this.#etag }),
        ...authorization(this.player.token),
      },
      body: `${lines.join('\r\n')}\r\n`,
    }).catch(() => {});
  }

  async measure() {
    if (this.pc.connectionState !== 'connected') return;
    const now = { at: performance.now() };
    const stats = await this.pc.getStats();
    stats.forEach((s) => {
      if (s.type === 'inbound-rtp') {
        now.bytes = (now.bytes ?? 0) + s.bytesReceived;
        now.packets = (now.packets ?? 0) + s.packetsReceived;
        now.lost = (now.lost ?? 0) + s.packetsLost;
        if (s.kind === 'audio') this.#sound = s.packetsReceived;
        if (s.kind === 'video') {
          Object.assign(now, {
            frames: s.framesDecoded ?? 0,
            delay: s.jitterBufferDelay,
            emitted: s.jitterBufferEmittedCount,
            width: s.frameWidth,
            height: s.frameHeight,
            freezes: s.freezeCount,
          });
          this.#video = { packets: s.packetsReceived, whole: s.framesReceived ?? 0, decoded: now.frames };
          if (s.packetsReceived > 0) this.#arrivedAt = Math.min(this.#arrivedAt, now.at);
          this.codec = stats.get(s.codecId)?.mimeType?.split('/')[1] ?? '';
        }
      }
      if (s.type === 'candidate-pair' && s.nominated) {
        now.rtt = s.currentRoundTripTime;
        now.path = stats.get(s.localCandidateId)?.candidateType;
      }
    });
    const was = this.#before;
    this.#before = now;
    // While the page is hidden, frames are decoded but not displayed.
    if (now.frames > (was.frames ?? 0)) this.#picture = now.at;
    this.judge();
    if (was.at === undefined) return;
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
        this.codec,
        now.path === 'relay' ? 'through a relay' : 'direct',
        `${now.freezes ?? 0} freezes`,
      ].filter(Boolean).join(', '),
    });
  }
}

const isPicture = (codec) => /^(VP8|VP9|AV1|H26[45])/i.test(codec);
const isVideo = (codecs) => (codecs ?? []).some(isPicture);

/** Returns whether the only video of a stream is one that this browser does not know, H.265: it is asked, not guessed. */
function isStrange(codecs) {
  const pictures = (codecs ?? []).filter(isPicture);
  const known = RTCRtpReceiver.getCapabilities?.('video')?.codecs ?? [];
  return pictures.length > 0 && pictures.every((codec) => codec === 'H265')
    && !known.some(({ mimeType }) => mimeType.toLowerCase() === 'video/h265');
}

const STRANGE = `This browser cannot play this stream. ${h265('Its video')}`;
