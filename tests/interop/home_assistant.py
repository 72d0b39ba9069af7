#!/usr/bin/env python3
"""Home Assistant's own clients, as PyPI has them, against a running looprtc.

    home_assistant.py MAIN_URL GO2RTC_URL CAMERA_URL ADMIN_TOKEN

MAIN_URL serves RTSPtoWebRTC's and RTSPtoWeb's interfaces, GO2RTC_URL go2rtc's; CAMERA_URL is a camera that nobody has added
yet, or `-` if there is none: then only what needs no camera is tried. Each answer is used: aiortc receives from it.
"""
import asyncio
import sys

import aiohttp
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import candidate_from_sdp
from go2rtc_client import Go2RtcRestClient
from go2rtc_client.models import WebRTCSdpOffer
from go2rtc_client.ws import Go2RtcWsClient, WebRTCAnswer, WebRTCCandidate, WebRTCOffer, WsError
from rtsp_to_webrtc.client import get_adaptive_client
from rtsp_to_webrtc.exceptions import ResponseError
from rtsp_to_webrtc.web_client import WebClient
from rtsp_to_webrtc.webrtc_client import WebRTCClient


class Viewer:
    """A browser, so to speak: asks for audio and video, and counts the pictures."""

    def __init__(self):
        self.peer = RTCPeerConnection()
        self.frames = 0
        self.enough = asyncio.Event()
        self.tasks = []
        # As RTSPtoWeb's page and Home Assistant's do.
        self.peer.createDataChannel("foo")
        self.peer.addTransceiver("audio", direction="recvonly")
        self.peer.addTransceiver("video", direction="recvonly")
        self.peer.on("track", self.on_track)

    def on_track(self, track):
        if track.kind == "video":
            self.tasks.append(asyncio.ensure_future(self.count(track)))

    async def count(self, track):
        while True:
            await track.recv()
            self.frames += 1
            if self.frames >= 10:
                self.enough.set()

    async def add(self, candidates):
        while True:
            candidate = candidate_from_sdp((await candidates.get()).removeprefix("candidate:"))
            candidate.sdpMid = "0"
            await self.peer.addIceCandidate(candidate)

    async def offer(self):
        await self.peer.setLocalDescription(await self.peer.createOffer())
        return self.peer.localDescription.sdp

    async def plays(self, what, sdp, candidates=None):
        """`candidates`: a queue of those that follow the answer; without it they are all in the answer."""
        await self.peer.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
        if candidates is None:
            assert "a=candidate:" in sdp, f"{what}: an answer without candidates\n{sdp}"
        else:
            self.tasks.append(asyncio.ensure_future(self.add(candidates)))
        await asyncio.wait_for(self.enough.wait(), 20)
        print(f"{what}: {self.frames} pictures", flush=True)
        for task in self.tasks:
            task.cancel()
        await self.peer.close()


async def fails(what, awaitable, *kinds):
    try:
        await awaitable
    except kinds as error:
        assert ":secret@" not in str(error), f"{what}: a password in {error}"
        print(f"{what}: refused, {error}", flush=True)
        return
    raise AssertionError(f"{what}: not refused")


async def rtsp_to_webrtc(url, camera, token):
    main = url.replace("//", f"//user:{token}@")
    async with aiohttp.ClientSession() as session:
        stranger = WebClient(session, url)
        await fails("RTSPtoWeb without a token", stranger.heartbeat(), ResponseError)
        client = await get_adaptive_client(session, main)
        assert isinstance(client, WebClient), client
        webrtc = WebRTCClient(session, main)
        await webrtc.heartbeat()
        viewer = Viewer()
        await viewer.plays("RTSPtoWeb, test card", await client.webrtc("testcard", "0", await viewer.offer()))
        await fails(
            "RTSPtoWeb, no such stream",
            client.webrtc("nobody", "0", await Viewer().offer()),
            ResponseError,
        )
        for url in ("file:/etc/passwd", "exec:id"):
            await fails("RTSPtoWeb, " + url, client.offer("", url), ResponseError)
            await fails("RTSPtoWebRTC, " + url, webrtc.offer(await Viewer().offer(), url), ResponseError)
        if camera == "-":
            return
        # As Home Assistant does: by the URL alone, twice; and under an entity's id.
        for time in ("first", "again"):
            viewer = Viewer()
            await viewer.plays(f"RTSPtoWeb, {time}", await client.offer(await viewer.offer(), camera))
        viewer = Viewer()
        sdp = await client.offer_stream_id("camera.front_door", await viewer.offer(), camera)
        await viewer.plays("RTSPtoWeb, by id", sdp)
        info = await client.get_stream_info("camera.front_door")
        assert ":secret@" not in str(info) and info["channels"]["0"]["url"].startswith("rtsp://"), info
        await client.reload_stream("camera.front_door")
        await client.delete_stream("camera.front_door")
        await fails("RTSPtoWeb, deleted", client.get_stream_info("camera.front_door"), ResponseError)
        viewer = Viewer()
        await viewer.plays("RTSPtoWebRTC", await webrtc.offer(await viewer.offer(), camera))


async def go2rtc(url, camera, token):
    async with aiohttp.ClientSession(auth=aiohttp.BasicAuth("user", token)) as session:
        client = Go2RtcRestClient(session, url)
        print("go2rtc, version:", await client.validate_server_version(), flush=True)
        assert "rtsp" in await client.schemes.list()
        streams = await client.streams.list()
        assert "testcard" in streams, streams
        name = "testcard"
        if camera != "-":
            name = "camera.front door"
            # Home Assistant's list: the camera, and a program for sound, which we do not start.
            await client.streams.add(name, [camera, f"ffmpeg:{name}#audio=opus#query=log_level=debug"])
            await client.streams.add(name, [camera, f"ffmpeg:{name}#audio=opus#query=log_level=debug"])
            streams = await client.streams.list()
            assert streams[name].producers[0].url.startswith("rtsp://"), streams[name]
            assert ":secret@" not in str(streams), streams
        await client.preload.enable(name, video_codec_filter=["h264"])
        assert name in await client.preload.list()
        viewer = Viewer()
        answer = await client.webrtc.forward_whep_sdp_offer(name, WebRTCSdpOffer(await viewer.offer()))
        await viewer.plays("go2rtc, REST", answer.sdp)
        await by_websocket(session, url, name)
        await client.preload.disable(name)
        assert name not in await client.preload.list()


async def by_websocket(session, url, name):
    viewer = Viewer()
    client = Go2RtcWsClient(session, url, source=name)
    answered = asyncio.get_running_loop().create_future()
    candidates = asyncio.Queue()

    def on_message(message):
        if isinstance(message, WsError) and not answered.done():
            answered.set_exception(RuntimeError(message.error))
        elif isinstance(message, WebRTCAnswer):
            answered.set_result(message.sdp)
        else:
            assert isinstance(message, WebRTCCandidate), message
            candidates.put_nowait(message.candidate)

    client.subscribe(on_message)
    await client.connect()
    offer = await viewer.offer()
    lines = offer.splitlines(keepends=True)
    own = [line[2:].strip() for line in lines if line.startswith("a=candidate:")]
    bare = "".join(line for line in lines if not line.startswith(("a=candidate:", "a=end-of-candidates")))
    await client.send(WebRTCOffer(bare, []))
    for candidate in own:
        await client.send(WebRTCCandidate(candidate))
    await viewer.plays("go2rtc, WebSocket", await asyncio.wait_for(answered, 10), candidates)
    await client.close()


async def main():
    url, go2rtc_url, camera, token = sys.argv[1:]
    await rtsp_to_webrtc(url, camera, token)
    await go2rtc(go2rtc_url, camera, token)


asyncio.run(main())
