// libdatachannel (libjuice, usrsctp), through node-datachannel's own interface: its W3C face makes its
// offer by itself and knows too little of candidates.
import { createHash, randomBytes } from 'node:crypto';
import nodeDataChannel from 'node-datachannel';
import { emit, parseArgs, serve } from './stdio.mjs';

const args = parseArgs();
const pc = new nodeDataChannel.PeerConnection('interop', { iceServers: [], disableAutoNegotiation: true });
const channels = new Map();
const pending = [];
let haveRemote = false;

pc.onLocalDescription((sdp, type) => emit({ type: 'description', description: { type, sdp } }));
pc.onLocalCandidate((candidate, sdpMid) => {
  const line = candidate.replace(/^a=/, '');
  emit({ type: 'candidate', candidate: { candidate: line, sdpMid, sdpMLineIndex: 0, usernameFragment: null } });
});
pc.onGatheringStateChange((state) => {
  if (state === 'complete') emit({ type: 'candidate', candidate: null });
});
pc.onStateChange((state) => {
  if (state === 'new') return;
  emit({ type: 'state', state });
  if (state === 'connected') emit({ type: 'dtls', version: '1.2' }); // the only one that it has
});
pc.onDataChannel(watch);

function watch(channel) {
  const label = channel.getLabel();
  channels.set(label, channel);
  let opened = false;
  const onOpen = () => {
    if (opened) return;
    opened = true;
    // Its interface does not tell the reliability of a channel.
    emit({ type: 'open', label, protocol: channel.getProtocol(), id: channel.getId() });
  };
  channel.onOpen(onOpen);
  channel.onClosed(() => emit({ type: 'closed', label }));
  channel.onError((message) => emit({ type: 'log', message: `channel ${label}: ${message}` }));
  channel.onMessage((data) => {
    if (typeof data === 'string') {
      emit({ type: 'message', label, text: data });
      if (args.echo) channel.sendMessage(data);
      return;
    }
    const bytes = Buffer.from(data);
    emit({ type: 'message', label, binary: bytes.length, sha256: sha256(bytes) });
    if (args.echo) channel.sendMessageBinary(bytes);
  });
  if (channel.isOpen()) onOpen();
}

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

function addCandidate(candidate) {
  if (candidate?.candidate) pc.addRemoteCandidate(candidate.candidate, candidate.sdpMid || '0');
}

const verbs = {
  description({ description }) {
    pc.setRemoteDescription(description.sdp, description.type);
    haveRemote = true;
    pending.splice(0).forEach(addCandidate);
    if (description.type === 'offer') pc.setLocalDescription('answer');
  },
  candidate({ candidate }) {
    if (haveRemote) addCandidate(candidate);
    else pending.push(candidate);
  },
  send({ label, text, random }) {
    const channel = channels.get(label);
    if (random === undefined) {
      channel.sendMessage(text);
      return;
    }
    const bytes = randomBytes(random);
    emit({ type: 'sent', label, binary: random, sha256: sha256(bytes) });
    channel.sendMessageBinary(bytes);
  },
  create({ label, ordered, maxRetransmits, maxPacketLifeTime, protocol, negotiated, id }) {
    const options = { unordered: ordered === false, maxRetransmits, maxPacketLifeTime, protocol, negotiated, id };
    for (const key of Object.keys(options)) if (options[key] === undefined || options[key] === null) delete options[key];
    watch(pc.createDataChannel(label, options));
  },
  'close-channel': ({ label }) => channels.get(label).close(),
  close: () => pc.close(),
  offer: () => pc.setLocalDescription('offer'),
};

function handle(message) {
  try {
    verbs[message.type](message);
  } catch (e) {
    emit({ type: 'error', message: `${message.type}: ${e.message}` });
  }
}

if (args.role === 'offer') {
  verbs.create({ label: 'interop' });
  verbs.offer();
}
serve(handle, args);
