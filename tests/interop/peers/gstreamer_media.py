"""Media of the peer GStreamer: a test picture and a tone are sent, what comes is decoded and counted."""

import re

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstVideo", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import Gst, GstVideo, GstWebRTC  # noqa: E402

ENCODERS = {
    "VP8": "vp8enc deadline=1 cpu-used=8 target-bitrate=400000 keyframe-max-dist=60 ! rtpvp8pay picture-id-mode=15-bit",
    "VP9": "vp9enc deadline=1 cpu-used=8 target-bitrate=400000 keyframe-max-dist=60 ! rtpvp9pay picture-id-mode=15-bit",
    "H264": "openh264enc gop-size=60 bitrate=400000 ! video/x-h264,profile=constrained-baseline ! h264parse"
    " ! rtph264pay config-interval=-1 aggregate-mode=zero-latency"
    # webrtcbin compares the profile with that of the offer letter by letter.
    " ! capssetter caps=application/x-rtp,profile-level-id=(string)42e01f,packetization-mode=(string)1",
    "H265": "x265enc tune=zerolatency speed-preset=ultrafast bitrate=400 key-int-max=60 ! h265parse ! rtph265pay config-interval=-1",
    "OPUS": "opusenc ! rtpopuspay",
    "PCMU": "audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay min-ptime=20000000 max-ptime=20000000",
    "PCMA": "audio/x-raw,rate=8000,channels=1 ! alawenc ! rtppcmapay min-ptime=20000000 max-ptime=20000000",
    "G722": "audio/x-raw,rate=16000,channels=1 ! avenc_g722 ! rtpg722pay min-ptime=20000000 max-ptime=20000000",
}
DECODERS = {
    "VP8": "rtpvp8depay ! vp8dec",
    "VP9": "rtpvp9depay ! vp9dec",
    "H264": "rtph264depay ! h264parse ! avdec_h264",
    "H265": "rtph265depay ! h265parse ! avdec_h265",
    "OPUS": "rtpopusdepay ! opusdec",
    "PCMU": "rtppcmudepay ! mulawdec",
    "PCMA": "rtppcmadepay ! alawdec",
    "G722": "rtpg722depay ! avdec_g722",
}
SOURCES = {
    "video": "videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=320,height=240,framerate=30/1 ! queue",
    "audio": "audiotestsrc is-live=true freq=440 samplesperbuffer=960 ! audio/x-raw,rate=48000 ! audioconvert ! audioresample",
}
STATIC_TYPES = {"PCMU": 0, "PCMA": 8, "G722": 9}
EXTRA_CAPS = {"OPUS": ",encoding-params=(string)2"}


def offered_type(codec, offer):
    """The payload type of the codec in the offer; of H.264 the one that is sent here."""
    types = re.findall(rf"a=rtpmap:(\d+) {codec}/", offer, re.IGNORECASE)
    if codec == "H264":
        is_ours = lambda t: re.search(rf"a=fmtp:{t} .*packetization-mode=1.*profile-level-id=42e01f", offer)
        types = [t for t in types if is_ours(t)] or types
    return int(types[0]) if types else None


class Media:
    def __init__(self, pipeline, webrtc, media, emit):
        self.pipeline = pipeline
        self.webrtc = webrtc
        self.emit = emit
        self.media = [tuple(each.split(":")) for each in media.split(",")]
        self.sent = {}
        self.decoded = {}
        self.pads = {}
        webrtc.connect("pad-added", self.on_pad)
        webrtc.connect("on-new-transceiver", lambda _bin, transceiver: transceiver.set_property("do-nack", True))

    def add_sources(self, offer=None):
        """Sources with the payload types of the offer, or with our own when the offer is ours."""
        for number, (kind, codec) in enumerate(self.media):
            codec = codec.upper()
            payload_type = STATIC_TYPES.get(codec, 96 + 10 * number)
            if offer is not None:
                payload_type = offered_type(codec, offer) or payload_type
            rate = {"video": 90000, "audio": 48000 if codec == "OPUS" else 8000}[kind]
            caps = f"application/x-rtp,media={kind},encoding-name={codec},clock-rate={rate},payload={payload_type}"
            encoder = re.sub(r"(rtp\w+pay)\b", rf"\1 name=pay pt={payload_type}", ENCODERS[codec])
            launch = f"{SOURCES[kind]} ! {encoder} ! {caps}{EXTRA_CAPS.get(codec, '')} ! queue"
            source = Gst.parse_bin_from_description(launch, True)
            self.pipeline.add(source)
            # Before they become packets. Sound is made in pieces of one packet.
            self.count(source.get_by_name("pay").get_static_pad("sink"), self.sent, kind)
            pad = self.webrtc.request_pad_simple("sink_%u")
            source.get_static_pad("src").link(pad)
            pad.get_property("transceiver").set_property("do-nack", True)
            source.sync_state_with_parent()

    @staticmethod
    def count(pad, counts, kind):
        counts[kind] = 0

        def seen(_pad, _info):
            counts[kind] += 1
            return Gst.PadProbeReturn.OK

        pad.add_probe(Gst.PadProbeType.BUFFER, seen)

    def on_pad(self, _bin, pad):
        if pad.get_direction() != Gst.PadDirection.SRC:
            return
        kind = pad.get_property("transceiver").get_property("kind").value_nick
        self.pads[kind] = pad
        self.emit({"type": "track", "kind": kind})
        codec = next(codec for each, codec in self.media if each == kind).upper()
        # Asynchronous sinks would wait for each other to begin.
        launch = f"queue ! {DECODERS[codec]} name=decoder ! fakesink sync=false async=false"
        sink = Gst.parse_bin_from_description(launch, True)
        self.count(sink.get_by_name("decoder").get_static_pad("src"), self.decoded, kind)
        self.pipeline.add(sink)
        sink.sync_state_with_parent()
        pad.link(sink.get_static_pad("sink"))

    def on_media_stats(self, _message):
        stats = []
        for kind, _codec in self.media:
            sent = self.sent.get(kind, 0)
            stats.append({"type": "outbound-rtp", "kind": kind, "framesSent": sent, "packetsSent": sent})
            stats.append({"type": "inbound-rtp", "kind": kind, "framesDecoded": self.decoded.get(kind, 0)})

        def ready(promise):
            reply = promise.get_reply()
            for index in range(reply.n_fields()):
                fields = reply.get_value(reply.nth_field_name(index))
                plain = self.plain(fields)
                if plain.get("type", "").endswith("-rtp"):
                    stats.append({"source": "webrtcbin", **plain})
            self.emit({"type": "media-stats", "stats": stats, "counted": self.decoded})

        self.webrtc.emit("get-stats", None, Gst.Promise.new_with_change_func(ready))

    @staticmethod
    def plain(fields):
        if not isinstance(fields, Gst.Structure):
            return {}
        out = {}
        for index in range(fields.n_fields()):
            name = fields.nth_field_name(index)
            value = fields.get_value(name)
            if isinstance(value, (int, float, str)) and not hasattr(value, "value_nick"):
                out[name] = value
            elif hasattr(value, "value_nick"):
                out[name] = value.value_nick
        return out

    def on_request_keyframe(self, message):
        all_headers = message.get("how") == "fir"
        event = GstVideo.video_event_new_upstream_force_key_unit(Gst.CLOCK_TIME_NONE, all_headers, 1)
        self.pads[message["kind"]].send_event(event)

    def transceiver(self, kind):
        for index in range(16):
            found = self.webrtc.emit("get-transceiver", index)
            if found is not None and found.get_property("kind").value_nick == kind:
                return found
        raise ValueError(f"no transceiver for {kind}")

    def on_direction(self, message):
        nick = message["direction"]
        values = {value.value_nick: value for value in GstWebRTC.WebRTCRTPTransceiverDirection.__enum_values__.values()}
        self.transceiver(message["kind"]).set_property("direction", values[nick])
