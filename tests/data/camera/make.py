#!/usr/bin/python3
"""Makes the RTP streams beside this file: packets of GStreamer's payloaders, each after its length in two bytes (RFC 4571)."""
import os
import gi
gi.require_version('Gst', '1.0')
from gi.repository import Gst

Gst.init(None)
VIDEO = 'videotestsrc num-buffers={n} pattern=ball ! video/x-raw,width=64,height=48,framerate=25/1,format=I420'
AUDIO = 'audiotestsrc num-buffers=16 samplesperbuffer=1024 ! audio/x-raw,rate={rate},channels=1'
STREAMS = {
    'h264': VIDEO.format(n=20) + ' ! x264enc key-int-max=8 bframes=0 tune=zerolatency ! rtph264pay mtu=200 config-interval=-1',
    'h264-b-frames': VIDEO.format(n=20) + ' ! x264enc key-int-max=10 bframes=2 b-adapt=false ! rtph264pay mtu=200 config-interval=0',
    'h264-aggregated': VIDEO.format(n=20) + ' ! x264enc key-int-max=8 bframes=0 tune=zerolatency option-string=slices=3'
        ' ! rtph264pay mtu=1400 config-interval=-1 aggregate-mode=max-stap',
    'h265': VIDEO.format(n=20) + ' ! x265enc key-int-max=8 option-string=bframes=0 tune=zerolatency ! rtph265pay mtu=200 config-interval=-1',
    'h265-b-frames': VIDEO.format(n=20) + ' ! x265enc key-int-max=10 option-string=bframes=2:b-adapt=0'
        ' ! rtph265pay mtu=1400 config-interval=0 aggregate-mode=max',
    'jpeg': VIDEO.format(n=3) + ' ! jpegenc quality=40 ! rtpjpegpay mtu=300',
    'aac': AUDIO.format(rate=16000) + ' ! voaacenc bitrate=32000 ! rtpmp4gpay mtu=1400',
    'aac-fragments': AUDIO.format(rate=44100) + ' ! voaacenc bitrate=128000 ! rtpmp4gpay mtu=100',
    'latm': AUDIO.format(rate=16000) + ' ! voaacenc bitrate=32000 ! rtpmp4apay mtu=1400',
}
here = os.path.dirname(os.path.abspath(__file__))
for name, pipeline in STREAMS.items():
    pipeline = pipeline.replace('pay mtu', 'pay seqnum-offset=65530 timestamp-offset=4294960000 ssrc=7 mtu')
    pipe = Gst.parse_launch(pipeline + ' ! appsink name=out sync=false')
    out = pipe.get_by_name('out')
    pipe.set_state(Gst.State.PLAYING)
    with open(os.path.join(here, name + '.rtp'), 'wb') as file:
        while sample := out.emit('pull-sample'):
            buffer = sample.get_buffer()
            data = buffer.extract_dup(0, buffer.get_size())
            file.write(len(data).to_bytes(2, 'big') + data)
        caps = out.sinkpads[0].get_current_caps().to_string()
    pipe.set_state(Gst.State.NULL)
    print(name, caps)
