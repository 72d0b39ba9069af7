// Google's libwebrtc, as bound to Node by @roamhq/wrtc.
import wrtc from '@roamhq/wrtc';
import { emit, parseArgs, serve } from './stdio.mjs';
import { startPeer } from './w3c-peer.mjs';

const { RTCPeerConnection } = wrtc;
const args = parseArgs();
const handle = await startPeer({ RTCPeerConnection, config: { iceServers: [] }, emit, ...args });
serve(handle, args);
