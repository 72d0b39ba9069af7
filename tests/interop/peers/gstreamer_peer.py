"""One peer of the interoperability tests: GStreamer's webrtcbin. Its certificate is RSA.

The messages on stdin and stdout are those of ../README.md, one JSON object a line. Runs under Debian's
own Python, to which the GObject bindings belong.
"""

import argparse
import hashlib
import json
import os
import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

from gstreamer_media import Media  # noqa: E402

out_lock = threading.Lock()


def emit(message):
    with out_lock:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def fail(where, error):
    emit({"type": "error", "message": f"{where}: {error}"})


def description_from(message):
    kinds = {"offer": GstWebRTC.WebRTCSDPType.OFFER, "answer": GstWebRTC.WebRTCSDPType.ANSWER}
    result, sdp = GstSdp.SDPMessage.new_from_text(message["sdp"])
    if result != GstSdp.SDPResult.OK:
        raise ValueError(f"the description does not parse: {result}")
    return GstWebRTC.WebRTCSessionDescription.new(kinds[message["type"]], sdp)


class Peer:
    def __init__(self, role, echo, media):
        self.echo = echo
        self.channels = {}
        self.pending = []
        self.have_remote = False
        self.last_state = ""
        self.pipeline = Gst.Pipeline.new("peer")
        self.webrtc = Gst.ElementFactory.make("webrtcbin", "webrtc")
        self.webrtc.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        self.pipeline.add(self.webrtc)
        self.webrtc.connect("on-ice-candidate", self.local_candidate)
        self.webrtc.connect("on-data-channel", lambda _bin, channel: self.watch(channel))
        self.webrtc.connect("notify::connection-state", self.report_state)
        self.webrtc.connect("notify::ice-gathering-state", self.report_gathering)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", self.on_bus_error)
        self.media = Media(self.pipeline, self.webrtc, media, emit) if media else None
        if role == "offer" and self.media:
            self.media.add_sources()
        # webrtcbin makes no channel before it is at least ready.
        self.pipeline.set_state(Gst.State.PLAYING)
        if role == "offer":
            self.on_create({"label": "interop"})
            self.on_offer({})

    def on_bus_error(self, _bus, message):
        error, debug = message.parse_error()
        # A closed DTLS connection is reported as an error of the stream, too.
        emit({"type": "log", "message": f"{error.message} ({debug})"})

    def report_state(self, *_):
        state = self.webrtc.get_property("connection-state").value_nick
        if state not in ("new", self.last_state):
            self.last_state = state
            emit({"type": "state", "state": state})

    def report_gathering(self, *_):
        if self.webrtc.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            emit({"type": "candidate", "candidate": None})

    def local_candidate(self, _bin, line_index, candidate):
        if not candidate:
            return
        init = {"candidate": candidate, "sdpMid": None, "sdpMLineIndex": line_index, "usernameFragment": None}
        emit({"type": "candidate", "candidate": init})

    def watch(self, channel):
        label = channel.get_property("label")
        self.channels[label] = channel
        state = {"opened": False}

        def on_open(*_):
            if state["opened"]:
                return
            state["opened"] = True
            retransmits = channel.get_property("max-retransmits")
            lifetime = channel.get_property("max-packet-lifetime")
            emit(
                {
                    "type": "open",
                    "label": label,
                    "protocol": channel.get_property("protocol") or "",
                    "ordered": channel.get_property("ordered"),
                    "maxRetransmits": None if retransmits < 0 else retransmits,
                    "maxPacketLifeTime": None if lifetime < 0 else lifetime,
                    "id": channel.get_property("id"),
                }
            )

        def on_text(_channel, text):
            emit({"type": "message", "label": label, "text": text or ""})
            # Version 1.22 cannot send an empty message: it hands SCTP no byte at all, where RFC 8831
            # (6.6) wants one, and the error takes the channel with it. So none is echoed.
            if self.echo and text:
                channel.emit("send-string", text)

        def on_data(_channel, data):
            content = (data.get_data() if data is not None else None) or b""
            digest = hashlib.sha256(content).hexdigest()
            emit({"type": "message", "label": label, "binary": len(content), "sha256": digest})
            if self.echo and content:
                channel.emit("send-data", data)

        channel.connect("on-open", on_open)
        channel.connect("on-message-string", on_text)
        channel.connect("on-message-data", on_data)
        channel.connect("on-close", lambda *_: emit({"type": "closed", "label": label}))
        channel.connect("on-error", lambda _channel, error: emit({"type": "log", "message": f"channel {label}: {error.message}"}))
        if channel.get_property("ready-state") == GstWebRTC.WebRTCDataChannelState.OPEN:
            on_open()

    def describe(self, kind, options):
        """Makes an offer or an answer, sets it, and sends it; the candidates follow by themselves."""

        def made(promise):
            reply = promise.get_reply()
            description = reply.get_value(kind) if reply else None
            if description is None:
                fail(f"create-{kind}", reply.to_string() if reply else "no reply")
                return
            # Sent first: setting it starts gathering, and no candidate may overtake it.
            emit({"type": "description", "description": {"type": kind, "sdp": description.sdp.as_text()}})
            self.webrtc.emit("set-local-description", description, Gst.Promise.new())

        self.webrtc.emit(f"create-{kind}", options, Gst.Promise.new_with_change_func(made))

    def on_offer(self, _message):
        self.describe("offer", None)

    def on_restart_ice(self, _message):
        options = Gst.Structure.new_empty("options")
        options.set_value("ice-restart", True)
        self.describe("offer", options)

    def on_description(self, message):
        kind = message["description"]["type"]
        if kind == "offer" and self.media and not self.media.sent:
            self.media.add_sources(message["description"]["sdp"])

        def set_remote(promise):
            reply = promise.get_reply()
            if reply is not None and reply.has_field("error"):
                fail("set-remote-description", reply.get_value("error").message)
                return
            GLib.idle_add(self.remote_is_set, kind)

        promise = Gst.Promise.new_with_change_func(set_remote)
        self.webrtc.emit("set-remote-description", description_from(message["description"]), promise)

    def remote_is_set(self, kind):
        self.have_remote = True
        for candidate in self.pending:
            self.add_candidate(candidate)
        self.pending = []
        if kind == "offer":
            self.describe("answer", None)
        return GLib.SOURCE_REMOVE

    def on_candidate(self, message):
        if self.have_remote:
            self.add_candidate(message["candidate"])
        else:
            self.pending.append(message["candidate"])

    def add_candidate(self, init):
        # Version 1.22 takes no end of candidates, and does not need it.
        if init is not None and init["candidate"]:
            self.webrtc.emit("add-ice-candidate", init.get("sdpMLineIndex") or 0, init["candidate"])

    def on_send(self, message):
        channel = self.channels[message["label"]]
        if "random" not in message:
            channel.emit("send-string", message["text"])
            return
        data = os.urandom(message["random"])
        digest = hashlib.sha256(data).hexdigest()
        emit({"type": "sent", "label": message["label"], "binary": len(data), "sha256": digest})
        channel.emit("send-data", GLib.Bytes.new(data))

    def on_create(self, message):
        names = {
            "ordered": "ordered",
            "maxRetransmits": "max-retransmits",
            "maxPacketLifeTime": "max-packet-lifetime",
            "protocol": "protocol",
            "negotiated": "negotiated",
            "id": "id",
        }
        options = Gst.Structure.new_empty("options")
        for key, name in names.items():
            if message.get(key) is not None:
                options.set_value(name, message[key])
        channel = self.webrtc.emit("create-data-channel", message["label"], options)
        if channel is None:
            raise RuntimeError("webrtcbin made no channel")
        self.watch(channel)

    def on_close_channel(self, message):
        self.channels[message["label"]].emit("close")

    def on_close(self, _message):
        # webrtcbin has no close of its own before 1.28: the element is taken down.
        self.pipeline.set_state(Gst.State.NULL)
        emit({"type": "state", "state": "closed"})

    def handle(self, line):
        where = "line"
        try:
            message = json.loads(line)
            where = message["type"]
            name = "on_" + where.replace("-", "_")
            (getattr(self, name, None) or getattr(self.media, name))(message)
        except Exception as error:  # whatever it is, the test shall hear it
            fail(where, f"{type(error).__name__}: {error}")
        return GLib.SOURCE_REMOVE


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--role", choices=["offer", "answer"], required=True)
    parser.add_argument("--no-echo", action="store_true")
    parser.add_argument("--media", default="", help="send and receive media: video:VP8,audio:opus")
    parser.add_argument("--max-seconds", type=float, default=120)
    args = parser.parse_args()

    Gst.init(None)
    loop = GLib.MainLoop()
    peer = Peer(args.role, echo=not args.no_echo, media=args.media)

    def read_stdin():
        for line in sys.stdin:
            if line.strip():
                GLib.idle_add(peer.handle, line)
        GLib.idle_add(loop.quit)

    def expire():
        fail("time", f"nobody ended this peer within {args.max_seconds} s")
        os._exit(3)

    GLib.timeout_add(int(args.max_seconds * 1000), expire)
    threading.Thread(target=read_stdin, daemon=True).start()
    loop.run()
    # Taking the element down can hang on a half-open connection; nothing here needs it.
    os._exit(0)


main()
