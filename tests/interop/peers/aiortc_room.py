"""A participant of a room, by the protocol of pion's sfu-ws example: sends pictures and silence, and says what
it receives.

    aiortc_room.py ws://HOST:PORT/websocket

Prints `decoded N` for the pictures of others, once a second.
"""

import asyncio
import json
import sys
from urllib.parse import urlsplit

from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack
from aiortc.sdp import candidate_from_sdp

decoded = 0


async def watch(track):
    global decoded
    while True:
        await track.recv()
        if track.kind == "video":
            decoded += 1


class Socket:
    """As much of RFC 6455 as is needed to talk to a server that behaves."""

    async def open(self, url):
        parts = urlsplit(url)
        self.reader, self.writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 20)
        self.writer.write(
            f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in head.split(b"\r\n")[0], head

    def send(self, text, opcode=1):
        data = text.encode() if isinstance(text, str) else text
        size = len(data)
        head = bytes([0x80 | opcode])
        if size < 126:
            head += bytes([0x80 | size])
        elif size < 65536:
            head += bytes([0x80 | 126]) + size.to_bytes(2, "big")
        else:
            head += bytes([0x80 | 127]) + size.to_bytes(8, "big")
        # The mask may be anything (RFC 6455 §5.3); here it is nothing.
        self.writer.write(head + bytes(4) + data)

    async def receive(self):
        """The next text; None at the end."""
        while True:
            first, second = await self.reader.readexactly(2)
            size = second & 127
            if size == 126:
                size = int.from_bytes(await self.reader.readexactly(2), "big")
            elif size == 127:
                size = int.from_bytes(await self.reader.readexactly(8), "big")
            data = await self.reader.readexactly(size)
            if first & 15 == 1:
                return data.decode()
            if first & 15 == 8:
                return None
            if first & 15 == 9:
                self.send(data, opcode=10)


async def report():
    while True:
        print(f"decoded {decoded}", flush=True)
        await asyncio.sleep(1)


async def main(url):
    socket = Socket()
    await socket.open(url)
    pc = RTCPeerConnection()
    pc.addTrack(VideoStreamTrack())
    pc.addTrack(AudioStreamTrack())
    tasks = [asyncio.ensure_future(report())]
    pc.on("track", lambda track: tasks.append(asyncio.ensure_future(watch(track))))
    while True:
        text = await socket.receive()
        if text is None:
            return
        message = json.loads(text)
        data = json.loads(message.get("data") or "null")
        if message["event"] == "offer":
            await pc.setRemoteDescription(RTCSessionDescription(data["sdp"], "offer"))
            await pc.setLocalDescription(await pc.createAnswer())
            answer = {"type": "answer", "sdp": pc.localDescription.sdp}
            socket.send(json.dumps({"event": "answer", "data": json.dumps(answer)}))
        elif message["event"] == "candidate" and data:
            candidate = candidate_from_sdp(data["candidate"].split(":", 1)[1])
            candidate.sdpMid, candidate.sdpMLineIndex = data.get("sdpMid"), data.get("sdpMLineIndex")
            await pc.addIceCandidate(candidate)


asyncio.run(main(sys.argv[1]))
