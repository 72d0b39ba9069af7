// Media of the interoperability tests, over any implementation of the W3C API. Runs in Node and in a page.

// What tests ask of: streams, what the other side said of them, and the estimate of the bandwidth.
const WANTED = ['inbound-rtp', 'outbound-rtp', 'remote-inbound-rtp', 'remote-outbound-rtp', 'candidate-pair'];

/**
 * The media of one connection. `options`:
 * - `pc`: the connection
 * - `kinds`: what is sent and received, as `['video', 'audio']`
 * - `makeTrack(kind)`: a track to send, or a promise of one
 * - `watchTrack(track)`: is given each track that comes; may return a function that counts its frames
 * - `buffer`: milliseconds that a receiver shall hold back at least, where it can be told
 * - `emit(object)`: takes each message to the test
 */
export function startMedia({ pc, kinds, makeTrack, watchTrack, buffer, emit }) {
  const counters = new Map();

  pc.ontrack = ({ track, transceiver }) => {
    if (buffer) transceiver.receiver.jitterBufferTarget = buffer;
    const count = watchTrack(track);
    if (count) counters.set(track.kind, count);
    emit({ type: 'track', kind: track.kind, mid: transceiver.mid });
  };

  // A track of its own for each kind; as the answerer they take the m-lines of the offer.
  async function addTracks(isOfferer) {
    for (const kind of kinds) {
      const track = await makeTrack(kind);
      if (isOfferer) pc.addTransceiver(track, { direction: 'sendrecv' });
      else pc.addTrack(track);
    }
  }

  const ofKind = (kind) => {
    const found = pc.getTransceivers().find((t) => t.receiver.track.kind === kind);
    if (!found) throw new Error(`no transceiver for ${kind}`);
    return found;
  };

  async function stats() {
    const all = [...(await pc.getStats()).values()].filter((s) => WANTED.includes(s.type));
    // Where decoded frames are not in the statistics they are counted as they come out.
    const counted = Object.fromEntries([...counters].map(([kind, count]) => [kind, count()]));
    emit({ type: 'media-stats', stats: all.map((s) => ({ ...s })), counted });
  }

  const verbs = {
    'media-stats': stats,
    direction: ({ kind, direction }) => { ofKind(kind).direction = direction; },
    'stop-transceiver': ({ kind }) => ofKind(kind).stop(),
  };
  return { addTracks, verbs };
}

/** The kinds in `video:VP8,audio:opus`. Which codec it is, is looprtc's choice here: it names only one. */
export function kindsOf(argument) {
  return argument.split(',').filter(Boolean).map((media) => media.split(':')[0]);
}
