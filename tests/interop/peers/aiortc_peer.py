"""One peer of the interoperability tests: aiortc.

The messages on stdin and stdout are those of ../README.md, one JSON object a line. aiortc gathers
before its local description is set and does not trickle: its candidates stand in the description.
"""

import argparse
import asyncio
import hashlib
import json
import os
import sys

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import candidate_from_sdp

from aiortc_media import Media

MAX_LINE = 4 << 20


def emit(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def fail(where, error):
    emit({"type": "error", "message": f"{where}: {type(error).__name__}: {error}"})


class Peer:
    def __init__(self, echo, kinds):
        self.echo = echo
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.channels = {}
        self.pending = []
        self.pc.on("datachannel", self.watch)
        self.pc.on("connectionstatechange", self.report_state)
        self.media = Media(self.pc, kinds, emit) if kinds else None

    def report_state(self):
        state = self.pc.connectionState
        emit({"type": "state", "state": state})
        if state == "connected":
            # aiortc hides its DTLS session; this reads what its OpenSSL agreed on.
            name = self.pc.sctp.transport._ssl.get_protocol_version_name()
            emit({"type": "dtls", "version": name.removeprefix("DTLSv")})

    def watch(self, channel):
        self.channels[channel.label] = channel
        opened = False

        def on_open():
            nonlocal opened
            if opened:
                return
            opened = True
            emit(
                {
                    "type": "open",
                    "label": channel.label,
                    "protocol": channel.protocol,
                    "ordered": channel.ordered,
                    "maxRetransmits": channel.maxRetransmits,
                    "maxPacketLifeTime": channel.maxPacketLifeTime,
                    "id": channel.id,
                }
            )

        def on_message(message):
            self.report_message(channel.label, message)
            if self.echo:
                try:
                    channel.send(message)
                except Exception as error:  # whatever it is, the test shall hear it
                    fail(f"echo on {channel.label}", error)

        channel.on("open", on_open)
        channel.on("message", on_message)
        channel.on("close", lambda: emit({"type": "closed", "label": channel.label}))
        channel.on("error", lambda error: fail(f"channel {channel.label}", error))
        if channel.readyState == "open":
            on_open()

    @staticmethod
    def report_message(label, message):
        if isinstance(message, str):
            emit({"type": "message", "label": label, "text": message})
        else:
            digest = hashlib.sha256(message).hexdigest()
            emit({"type": "message", "label": label, "binary": len(message), "sha256": digest})

    async def local_description(self, description):
        await self.pc.setLocalDescription(description)
        local = self.pc.localDescription
        emit({"type": "description", "description": {"type": local.type, "sdp": local.sdp}})
        emit({"type": "candidate", "candidate": None})

    async def offer(self):
        await self.local_description(await self.pc.createOffer())

    async def on_description(self, message):
        description = message["description"]
        await self.pc.setRemoteDescription(RTCSessionDescription(description["sdp"], description["type"]))
        for candidate in self.pending:
            await self.add_candidate(candidate)
        self.pending = []
        if description["type"] == "offer":
            await self.local_description(await self.pc.createAnswer())

    async def on_candidate(self, message):
        if self.pc.remoteDescription is None:
            self.pending.append(message["candidate"])
        else:
            await self.add_candidate(message["candidate"])

    async def add_candidate(self, init):
        if init is None or not init["candidate"]:
            await self.pc.addIceCandidate(None)
            return
        candidate = candidate_from_sdp(init["candidate"].removeprefix("candidate:"))
        candidate.sdpMid = init.get("sdpMid")
        candidate.sdpMLineIndex = init.get("sdpMLineIndex")
        await self.pc.addIceCandidate(candidate)

    async def on_send(self, message):
        channel = self.channels[message["label"]]
        if "random" not in message:
            channel.send(message["text"])
            return
        data = os.urandom(message["random"])
        digest = hashlib.sha256(data).hexdigest()
        emit({"type": "sent", "label": channel.label, "binary": len(data), "sha256": digest})
        channel.send(data)

    async def on_create(self, message):
        known = ("ordered", "maxRetransmits", "maxPacketLifeTime", "protocol", "negotiated", "id")
        options = {key: message[key] for key in known if message.get(key) is not None}
        self.watch(self.pc.createDataChannel(message["label"], **options))

    async def on_close_channel(self, message):
        self.channels[message["label"]].close()

    async def on_close(self, _message):
        await self.pc.close()

    async def on_offer(self, _message):
        await self.offer()

    async def handle(self, message):
        name = "on_" + message["type"].replace("-", "_")
        verb = getattr(self, name, None) or getattr(self.media, name, None)
        if verb is None:
            raise ValueError("unknown message (aiortc has no ICE restart)")
        await verb(message)


async def read_messages(peer):
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=MAX_LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        if not line.strip():
            continue
        where = "line"
        try:
            message = json.loads(line)
            where = message["type"]
            await peer.handle(message)
        except Exception as error:
            fail(where, error)


async def run(args):
    # Which codec it is, is looprtc's choice here: it names only one.
    kinds = [media.split(":")[0] for media in args.media.split(",") if media]
    peer = Peer(echo=not args.no_echo, kinds=kinds)
    if args.role == "offer":
        await peer.on_create({"label": "interop"})
        await peer.offer()
    await read_messages(peer)
    await peer.pc.close()


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--role", choices=["offer", "answer"], required=True)
    parser.add_argument("--no-echo", action="store_true")
    parser.add_argument("--media", default="", help="send and receive media: video:VP8,audio:opus")
    parser.add_argument("--max-seconds", type=float, default=120)
    args = parser.parse_args()
    try:
        await asyncio.wait_for(run(args), args.max_seconds)
    except asyncio.TimeoutError:
        fail("time", TimeoutError(f"nobody ended this peer within {args.max_seconds} s"))
        os._exit(3)


asyncio.run(main())
