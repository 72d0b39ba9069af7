// werift: WebRTC in TypeScript alone.
import { RTCPeerConnection } from 'werift';
import { emit, parseArgs, serve } from './stdio.mjs';
import { startPeer } from './w3c-peer.mjs';

const args = parseArgs();
// Without `iceServers` werift asks a public STUN server; the empty list keeps it on this machine.
const config = { iceServers: [] };
// An empty message leaves werift as no chunk at all but takes a stream sequence number, so that nothing
// sent after it on the channel is ever delivered.
const handle = await startPeer({ RTCPeerConnection, config, emit, sendsEmpty: false, ...args });
serve(handle, args);
