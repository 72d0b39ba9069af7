#!/usr/bin/python3
"""An IP camera: H.264 and PCMU at rtsp://127.0.0.1:PORT/stream, by GStreamer's RTSP server. Says when it is ready."""
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PICTURES = (
    "videotestsrc is-live=true ! video/x-raw,format=I420,width=320,height=180,framerate=15/1 "
    "! x264enc tune=zerolatency speed-preset=ultrafast bitrate=300 key-int-max=30 "
    "! video/x-h264,profile=constrained-baseline ! rtph264pay name=pay0 pt=96"
)
SOUND = "audiotestsrc is-live=true ! audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay name=pay1 pt=0"

Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(f"( {PICTURES} {SOUND} )")
factory.set_shared(True)
server.get_mount_points().add_factory("/stream", factory)
if not server.attach(None):
    sys.exit(f"port {sys.argv[1]} is in use")
print("ready", flush=True)
GLib.MainLoop().run()
