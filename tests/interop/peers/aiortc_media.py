"""Media of the peer aiortc: a moving ramp and a tone are sent, what comes is decoded and counted."""

import asyncio
import math
import time
from fractions import Fraction

import av
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RtcpPsfbPacket, RtcpRrPacket, RtcpRtpfbPacket, RtcpSrPacket

SIZE = (320, 240)
FRAMES_A_SECOND = 30
SAMPLE_RATE = 48000
SAMPLES = SAMPLE_RATE // 50


class Source(MediaStreamTrack):
    """Frames by an absolute schedule."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.begun = None
        self.count = 0

    async def recv(self):
        interval = 1 / FRAMES_A_SECOND if self.kind == "video" else 1 / 50
        if self.begun is None:
            self.begun = time.monotonic()
        await asyncio.sleep(max(0, self.begun + self.count * interval - time.monotonic()))
        frame = self.picture() if self.kind == "video" else self.sound()
        self.count += 1
        return frame

    def picture(self):
        width, height = SIZE
        frame = av.VideoFrame(width, height, "yuv420p")
        for index, plane in enumerate(frame.planes):
            if index > 0:
                plane.update(bytes([128]) * plane.buffer_size)
                continue
            rows = (bytes([(y + self.count * 3) & 255]) * plane.line_size for y in range(height))
            plane.update(b"".join(rows))
        frame.pts = self.count * 90000 // FRAMES_A_SECOND
        frame.time_base = Fraction(1, 90000)
        return frame

    def sound(self):
        begin = self.count * SAMPLES
        wave = (round(8000 * math.sin(2 * math.pi * 440 * (begin + i) / SAMPLE_RATE)) for i in range(SAMPLES))
        data = b"".join(sample.to_bytes(2, "little", signed=True) for sample in wave)
        frame = av.AudioFrame(format="s16", layout="mono", samples=SAMPLES)
        frame.planes[0].update(data)
        frame.sample_rate = SAMPLE_RATE
        frame.pts = begin
        frame.time_base = Fraction(1, SAMPLE_RATE)
        return frame


class Media:
    def __init__(self, pc, kinds, emit):
        self.pc = pc
        self.emit = emit
        self.decoded = {}
        self.sources = {kind: Source(kind) for kind in kinds}
        self.heard = {kind: {} for kind in kinds}
        self.tasks = []
        pc.on("track", self.on_track)
        for kind, source in self.sources.items():
            self.count_feedback(kind, pc.addTrack(source))

    def count_feedback(self, kind, sender):
        """Counts what the other side says of our packets. aiortc has no public counters for it."""
        original = sender._handle_rtcp_packet
        heard = self.heard[kind]

        async def handle(packet):
            names = {
                (RtcpRtpfbPacket, 1): "TransportLayerNack",
                (RtcpPsfbPacket, 1): "PictureLossIndication",
                (RtcpPsfbPacket, 15): "ReceiverEstimatedMaximumBitrate",
            }
            name = names.get((type(packet), getattr(packet, "fmt", None)))
            if name is None and isinstance(packet, (RtcpRrPacket, RtcpSrPacket)):
                name = "report"
                heard["report blocks"] = heard.get("report blocks", 0) + len(packet.reports)
            heard[name or type(packet).__name__] = heard.get(name or type(packet).__name__, 0) + 1
            if name == "TransportLayerNack":
                heard["nacked packets"] = heard.get("nacked packets", 0) + len(packet.lost)
            await original(packet)

        sender._handle_rtcp_packet = handle

    def on_track(self, track):
        self.emit({"type": "track", "kind": track.kind})
        self.tasks.append(asyncio.ensure_future(self.watch(track)))

    async def watch(self, track):
        while True:
            try:
                await track.recv()
            except MediaStreamError:
                return
            self.decoded[track.kind] = self.decoded.get(track.kind, 0) + 1

    def of_kind(self, kind):
        return next(t for t in self.pc.getTransceivers() if t.kind == kind)

    async def on_media_stats(self, _message):
        stats = []
        for stat in (await self.pc.getStats()).values():
            plain = {key: value for key, value in vars(stat).items() if isinstance(value, (int, float, str))}
            if plain.get("type") == "outbound-rtp":
                kind = plain["kind"]
                plain["framesSent"] = self.sources[kind].count
                plain["rtcp"] = self.heard[kind]
            if plain.get("type") == "inbound-rtp":
                plain["framesDecoded"] = self.decoded.get(plain["kind"], 0)
            stats.append(plain)
        self.emit({"type": "media-stats", "stats": stats})

    async def on_request_keyframe(self, message):
        receiver = self.of_kind(message["kind"]).receiver
        for source in receiver.getSynchronizationSources():
            await receiver._send_rtcp_pli(source.source)

    async def on_direction(self, message):
        self.of_kind(message["kind"]).direction = message["direction"]

    async def on_stop_transceiver(self, message):
        await self.of_kind(message["kind"]).stop()
