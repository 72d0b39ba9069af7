#!/usr/bin/python3
"""A camera by GStreamer's RTSP server, at rtsp://127.0.0.1:PORT/cam.

Prints one JSON object a line: {"ready": PORT} once it listens, and the answer to each line read from the standard input:

  count   {"video": frames encoded so far, "keys": keyframes, "audio": buffers, "talk": buffers of the backchannel,
           "clients": connections open now, "connections": connections ever made}
  between FROM TO    {"video": frames encoded between these times, in ms since 1970}, of the last minute or so
  drop    closes every connection, as a camera does that restarts its streaming process

Ends when its standard input does. Needs Debian's own Python (gir1.2-gst-rtsp-server-1.0).
"""
import argparse
import collections
import json
import sys
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

TRANSPORTS = {
    "tcp": GstRtsp.RTSPLowerTrans.TCP,
    "udp": GstRtsp.RTSPLowerTrans.UDP,
    "multicast": GstRtsp.RTSPLowerTrans.UDP_MCAST,
}

AUDIO = {
    "pcma": "audio/x-raw,rate=8000,channels=1 ! alawenc ! identity name=sound ! rtppcmapay name=pay{n} pt=8",
    "pcmu": "audio/x-raw,rate=8000,channels=1 ! mulawenc ! identity name=sound ! rtppcmupay name=pay{n} pt=0",
    "g722": "audio/x-raw,rate=16000,channels=1 ! avenc_g722 ! identity name=sound ! rtpg722pay name=pay{n} pt=9",
    "l16": "audio/x-raw,rate=16000,channels=1 ! audioconvert ! identity name=sound ! rtpL16pay name=pay{n} pt=98",
    "opus": "audio/x-raw,rate=48000,channels=1 ! opusenc ! identity name=sound ! rtpopuspay name=pay{n} pt=98",
    "aac": "audio/x-raw,rate={rate},channels=1 ! audioconvert ! voaacenc bitrate=32000 ! identity name=sound "
    "! rtpmp4gpay name=pay{n} pt=98",
    "latm": "audio/x-raw,rate={rate},channels=1 ! audioconvert ! voaacenc bitrate=32000 ! identity name=sound "
    "! rtpmp4apay name=pay{n} pt=98",
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", default="0", help="0: a free one")
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--transports", default="tcp,udp", help="of tcp, udp, multicast")
    parser.add_argument("--auth", choices=["none", "basic", "digest"], default="none")
    parser.add_argument("--user", default="cam")
    parser.add_argument("--password", default="secret")
    parser.add_argument("--tls", metavar="PEM", help="a certificate and its key: rtsps instead of rtsp")
    parser.add_argument("--backchannel", action="store_true", help="takes PCMU from ONVIF clients")
    parser.add_argument("--video", choices=["h264", "h265", "jpeg", "none"], default="h264")
    parser.add_argument("--size", default="320x180")
    parser.add_argument("--fps", type=int, default=15)
    parser.add_argument("--keyframes", type=int, default=30, help="a keyframe each so many frames")
    parser.add_argument("--b-frames", type=int, default=0)
    parser.add_argument("--kbps", type=int, default=300)
    parser.add_argument("--sets", choices=["in-band", "out-of-band"], default="in-band")
    parser.add_argument("--aggregate", action="store_true", help="several NAL units in a packet")
    parser.add_argument("--mtu", type=int, default=1400)
    parser.add_argument("--audio", choices=["none", *AUDIO], default="none")
    parser.add_argument("--rate", type=int, default=16000, help="samples per second of AAC")
    parser.add_argument("--keep", action="store_true", help="goes on encoding when the last client has gone")
    return parser.parse_args()


def pictures(o):
    width, height = o.size.split("x")
    source = (
        f"videotestsrc is-live=true ! video/x-raw,format=I420,width={width},height={height},framerate={o.fps}/1"
    )
    payload = f"name=pay0 pt=96 mtu={o.mtu}"
    # With `byte-stream` the encoder puts the sets before each keyframe; with `avc` they are in the caps only, and
    # the payloader then writes them into the SDP alone.
    in_band = o.sets == "in-band"
    modes = " aggregate-mode=zero-latency" if o.aggregate else " aggregate-mode=none"
    if o.video == "jpeg":
        return f"{source} ! jpegenc quality=60 ! identity name=picture ! rtpjpegpay {payload}"
    if o.video == "h265":
        form = "byte-stream" if in_band else "hvc1"
        return (
            f"{source} ! x265enc tune=zerolatency speed-preset=ultrafast bitrate={o.kbps} key-int-max={o.keyframes} "
            f"! h265parse ! video/x-h265,stream-format={form},alignment=au ! identity name=picture "
            f"! rtph265pay {payload} config-interval={-1 if in_band else 0}{modes}"
        )
    form = "byte-stream" if in_band else "avc"
    # B-frames need lookahead, which the tuning forbids.
    b_frames = o.b_frames
    tune = f"bframes={b_frames} b-adapt=false rc-lookahead=0 sync-lookahead=0" if b_frames else "tune=zerolatency"
    profile = "main" if b_frames else "constrained-baseline"
    return (
        f"{source} ! x264enc {tune} speed-preset=ultrafast threads=1 bitrate={o.kbps} key-int-max={o.keyframes} "
        f"! video/x-h264,profile={profile},stream-format={form},alignment=au ! identity name=picture "
        f"! rtph264pay {payload} config-interval={-1 if in_band else 0}{modes}"
    )


def launch(o):
    parts = [] if o.video == "none" else [pictures(o)]
    if o.audio != "none":
        sound = AUDIO[o.audio].format(n=len(parts), rate=o.rate)
        parts.append(f"audiotestsrc is-live=true freq=440 samplesperbuffer=320 ! {sound}")
    return f"( {' '.join(parts)} )"


class Camera:
    def __init__(self, o):
        self.times = collections.deque(maxlen=5000)
        self.counts = {"video": 0, "keys": 0, "audio": 0, "talk": 0}
        self.connections = 0
        server_type = GstRtspServer.RTSPOnvifServer if o.backchannel else GstRtspServer.RTSPServer
        self.server = server_type.new()
        self.server.set_address(o.address)
        self.server.set_service(o.port)
        self.server.connect("client-connected", self.connected)
        self.server.get_mount_points().add_factory("/cam", self.factory(o))
        if o.auth != "none" or o.tls:
            self.server.set_auth(self.auth(o))

    def factory(self, o):
        factory_type = GstRtspServer.RTSPOnvifMediaFactory if o.backchannel else GstRtspServer.RTSPMediaFactory
        factory = factory_type.new()
        factory.set_launch(launch(o))
        factory.set_shared(True)
        transports = [TRANSPORTS[name] for name in o.transports.split(",")]
        chosen = transports[0]
        for transport in transports[1:]:
            chosen |= transport
        factory.set_protocols(chosen)
        if o.keep:
            factory.set_stop_on_disconnect(False)
            factory.set_suspend_mode(GstRtspServer.RTSPSuspendMode.NONE)
        if "multicast" in o.transports:
            pool = GstRtspServer.RTSPAddressPool.new()
            pool.add_range("239.255.42.1", "239.255.42.20", 15000, 15200, 1)
            factory.set_address_pool(pool)
        if o.backchannel:
            factory.set_media_gtype(GstRtspServer.RTSPOnvifMedia.__gtype__)
            factory.set_backchannel_launch(
                '( capsfilter caps="application/x-rtp,media=audio,payload=0,clock-rate=8000,encoding-name=PCMU" '
                "name=depay_backchannel ! rtppcmudepay ! identity name=talk ! fakesink async=false )"
            )
        if o.auth != "none" or o.tls:
            role = "anonymous" if o.auth == "none" else "user"
            permissions = GstRtspServer.RTSPPermissions.new()
            for right in ("access", "construct"):
                permissions.add_permission_for_role(role, f"media.factory.{right}", True)
            factory.set_permissions(permissions)
        factory.connect("media-configure", self.configure)
        return factory

    def auth(self, o):
        auth = GstRtspServer.RTSPAuth.new()
        if o.tls:
            auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(o.tls))
        if o.auth == "none":
            anybody = GstRtspServer.RTSPToken.new()
            anybody.set_string("media.factory.role", "anonymous")
            auth.set_default_token(anybody)
            return auth
        token = GstRtspServer.RTSPToken.new()
        token.set_string("media.factory.role", "user")
        if o.auth == "basic":
            auth.set_supported_methods(GstRtsp.RTSPAuthMethod.BASIC)
            auth.add_basic(GstRtspServer.RTSPAuth.make_basic(o.user, o.password), token)
        else:
            auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
            auth.add_digest(o.user, o.password, token)
        return auth

    def configure(self, _factory, media):
        element = media.get_element()
        for name, counter in (("picture", "video"), ("sound", "audio"), ("talk", "talk")):
            counted = element.get_by_name_recurse_up(name) or element.get_by_name(name)
            if counted:
                pad = counted.get_static_pad("src")
                pad.add_probe(Gst.PadProbeType.BUFFER, self.passed, counter)

    def passed(self, _pad, info, counter):
        self.counts[counter] += 1
        if counter == "video":
            self.times.append(time.time() * 1000)
        if counter == "video" and not info.get_buffer().has_flags(Gst.BufferFlags.DELTA_UNIT):
            self.counts["keys"] += 1
        return Gst.PadProbeReturn.OK

    def connected(self, _server, _client):
        self.connections += 1

    def read(self, channel, _condition):
        line = channel.readline()
        if not line:
            loop.quit()
            return False
        command = line.strip()
        if command == "count":
            clients = len(self.server.client_filter(None) or [])
            say({**self.counts, "clients": clients, "connections": self.connections})
        elif command.startswith("between "):
            begin, end = map(float, command.split()[1:])
            say({"video": sum(begin <= at < end for at in list(self.times))})
        elif command == "drop":
            self.server.client_filter(lambda *_: GstRtspServer.RTSPFilterResult.REMOVE)
            say({"dropped": True})
        return True


def say(what):
    print(json.dumps(what), flush=True)


Gst.init(None)
options = arguments()
camera = Camera(options)
loop = GLib.MainLoop()
if not camera.server.attach(None):
    sys.exit(f"port {options.port} is in use")
GLib.io_add_watch(sys.stdin, GLib.IO_IN | GLib.IO_HUP, camera.read)
say({"ready": camera.server.get_bound_port()})
loop.run()
