// One peer of the interoperability tests, over any implementation of the W3C API.
//
// It runs unchanged in Node (libwebrtc, werift, libdatachannel) and inside a Chromium page. What it
// says and hears are the messages of ../README.md, one object each; the caller carries them as lines.

const MAX_RANDOM_CHUNK = 65536; // crypto.getRandomValues refuses more at once
const UNSET_LIMIT = 65535;

/**
 * Starts a peer. `options`:
 * - `RTCPeerConnection`: the implementation's class
 * - `config`: its configuration (always without outside ICE servers)
 * - `role`: "offer" or "answer"
 * - `echo`: whether what arrives is sent back verbatim
 * - `sendsEmpty`: false where an empty message cannot be sent, and so is not echoed
 * - `emit(object)`: takes each message to the test
 * - `media`: what `startMedia` of w3c-media.mjs takes besides, and that function as `start`; none: no media
 * Returns `handle(object)`, which takes each message from the test.
 */
export async function startPeer({ RTCPeerConnection, config, role, echo, sendsEmpty = true, media, emit: write }) {
  const pc = new RTCPeerConnection(config);
  const channels = new Map();
  const pendingCandidates = [];
  let haveRemote = false;
  let lastState = '';

  // Reports leave in the order of their causes, though a digest is asynchronous.
  let tail = Promise.resolve();
  const emit = (report) => {
    tail = tail.then(async () => write(await report)).catch((e) => write({ type: 'error', message: `${e}` }));
    return tail;
  };
  const fail = (where) => (e) => emit({ type: 'error', message: `${where}: ${e?.message ?? e}` });

  const sha256 = async (bytes) => {
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
    return [...digest].map((b) => b.toString(16).padStart(2, '0')).join('');
  };

  const asBytes = async (data) => {
    if (data instanceof ArrayBuffer) return new Uint8Array(data);
    if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    return new Uint8Array(await data.arrayBuffer());
  };

  // Unset is null; older bindings of libwebrtc say 65535 instead.
  const limit = (value) => (value === undefined || value === UNSET_LIMIT ? null : value);

  function watch(channel) {
    channel.binaryType = 'arraybuffer';
    channels.set(channel.label, channel);
    let opened = false;
    const onOpen = () => {
      if (opened) return;
      opened = true;
      emit({
        type: 'open',
        label: channel.label,
        protocol: channel.protocol,
        ordered: channel.ordered,
        maxRetransmits: limit(channel.maxRetransmits),
        maxPacketLifeTime: limit(channel.maxPacketLifeTime),
        id: channel.id,
      });
    };
    channel.onopen = onOpen;
    channel.onclose = () => emit({ type: 'closed', label: channel.label });
    channel.onerror = (e) => emit({ type: 'log', message: `channel ${channel.label}: ${e?.error?.message ?? e?.message ?? 'error'}` });
    channel.onmessage = ({ data }) => {
      if (typeof data === 'string') {
        emit({ type: 'message', label: channel.label, text: data });
      } else {
        emit(asBytes(data).then(async (bytes) => ({
          type: 'message', label: channel.label, binary: bytes.length, sha256: await sha256(bytes),
        })));
      }
      const length = data.length ?? data.byteLength ?? data.size;
      if (!echo || (length === 0 && !sendsEmpty)) return;
      try {
        channel.send(data);
      } catch (e) {
        fail(`echo on ${channel.label}`)(e);
      }
    };
    if (channel.readyState === 'open') onOpen();
  }

  async function reportDtls() {
    if (typeof pc.getStats !== 'function') return;
    const names = { FEFD: '1.2', FEFC: '1.3' };
    for (const stat of (await pc.getStats()).values()) {
      if (stat.type === 'transport' && stat.tlsVersion) {
        emit({ type: 'dtls', version: names[stat.tlsVersion] ?? stat.tlsVersion.replace(/^DTLS /, ''), cipher: stat.dtlsCipher ?? null });
        return;
      }
    }
  }

  function reportState() {
    if (pc.connectionState === lastState) return;
    lastState = pc.connectionState;
    if (lastState === 'new') return;
    emit({ type: 'state', state: lastState });
    if (lastState === 'connected') reportDtls().catch(fail('stats'));
  }

  pc.onconnectionstatechange = reportState;
  pc.ondatachannel = ({ channel }) => watch(channel);
  pc.onicecandidate = ({ candidate }) => {
    if (!candidate || !candidate.candidate) {
      emit({ type: 'candidate', candidate: null });
      return;
    }
    const { candidate: line, sdpMid, sdpMLineIndex, usernameFragment } = candidate;
    emit({
      type: 'candidate',
      candidate: {
        candidate: line,
        sdpMid: sdpMid ?? null,
        sdpMLineIndex: sdpMLineIndex ?? null,
        usernameFragment: usernameFragment ?? null,
      },
    });
  };

  // The description goes out before the candidates that setting it brings forth.
  async function describe(description) {
    emit({ type: 'description', description: { type: description.type, sdp: description.sdp } });
    await pc.setLocalDescription(description);
  }
  const offer = async (options) => describe(await pc.createOffer(options));

  // pion's candidates carry an empty sdpMid beside the right sdpMLineIndex, GStreamer's a null one;
  // not every implementation then looks at the index.
  function withoutEmptyMid(candidate) {
    const { sdpMid, ...rest } = candidate;
    return sdpMid ? candidate : rest;
  }

  async function addCandidate(candidate) {
    try {
      await (candidate ? pc.addIceCandidate(withoutEmptyMid(candidate)) : pc.addIceCandidate());
    } catch (e) {
      // Not every implementation knows the end of candidates; all can do without it.
      if (candidate) fail('candidate')(e);
    }
  }

  async function remoteDescription(description) {
    await pc.setRemoteDescription(description);
    haveRemote = true;
    for (const candidate of pendingCandidates.splice(0)) await addCandidate(candidate);
    if (description.type === 'offer') await describe(await pc.createAnswer());
  }

  const { addTracks, verbs: mediaVerbs } = media ? media.start({ pc, emit, ...media }) : {};

  function randomBytes(length) {
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; at += MAX_RANDOM_CHUNK) {
      crypto.getRandomValues(bytes.subarray(at, Math.min(length, at + MAX_RANDOM_CHUNK)));
    }
    return bytes;
  }

  async function send({ label, text, random }) {
    const channel = channels.get(label);
    if (!channel) throw new Error(`no channel ${label}`);
    if (random === undefined) {
      channel.send(text);
      return;
    }
    const bytes = randomBytes(random);
    await emit({ type: 'sent', label, binary: bytes.length, sha256: await sha256(bytes) });
    channel.send(bytes);
  }

  function createChannel(label, options = {}) {
    const known = ['ordered', 'maxRetransmits', 'maxPacketLifeTime', 'protocol', 'negotiated', 'id'];
    const init = {};
    for (const key of known) if (options[key] !== undefined && options[key] !== null) init[key] = options[key];
    watch(pc.createDataChannel(label, init));
  }

  const verbs = {
    description: ({ description }) => remoteDescription(description),
    candidate: ({ candidate }) => (haveRemote ? addCandidate(candidate) : pendingCandidates.push(candidate)),
    send,
    create: ({ label, ...options }) => createChannel(label, options),
    'close-channel': ({ label }) => channels.get(label).close(),
    close: async () => {
      await pc.close();
      // close() fires no event in browsers; the test wants to know all the same.
      if (lastState !== 'closed') emit({ type: 'state', state: (lastState = 'closed') });
    },
    'restart-ice': () => offer({ iceRestart: true }),
    offer: () => offer(),
    ...mediaVerbs,
  };

  await addTracks?.(role === 'offer');
  if (role === 'offer') {
    createChannel('interop');
    await offer();
  }

  // One message at a time, in order: a candidate must not overtake the description before it.
  let inbox = Promise.resolve();
  return (message) => {
    const verb = verbs[message.type];
    inbox = inbox
      .then(() => (verb ? verb(message) : Promise.reject(new Error('unknown message'))))
      .catch(fail(message.type));
    return inbox.then(() => tail);
  };
}
