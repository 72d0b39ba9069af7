package main

import (
	"encoding/binary"
	"errors"
	"strings"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/rtp/pkg/frame"
	"github.com/pion/webrtc"
)

// codecInfo is how one codec is negotiated, cut into packets and put together again. This pion has no
// packetizer for H.265, and for AV1 one that does not know OBUs: those two are here.
type codecInfo struct {
	name         string
	capability   webrtc.RTPCodecCapability
	payloader    func() rtp.Payloader
	depacketizer func() rtp.Depacketizer
}

var videoFeedback = []webrtc.RTCPFeedback{{Type: "goog-remb"}, {Type: "ccm", Parameter: "fir"}, {Type: "nack"}, {Type: "nack", Parameter: "pli"}}

func codecNamed(name string) (codecInfo, bool) {
	video := func(fmtp string) webrtc.RTPCodecCapability {
		return webrtc.RTPCodecCapability{MimeType: "video/" + name, ClockRate: 90000, SDPFmtpLine: fmtp, RTCPFeedback: videoFeedback}
	}
	audio := func(rate uint32, channels uint16, fmtp string) webrtc.RTPCodecCapability {
		return webrtc.RTPCodecCapability{MimeType: "audio/" + name, ClockRate: rate, Channels: channels, SDPFmtpLine: fmtp}
	}
	g711 := func() rtp.Payloader { return &codecs.G711Payloader{} }
	opaque := func() rtp.Depacketizer { return &codecs.OpusPacket{} } // a packet is a frame
	switch strings.ToLower(name) {
	case "vp8":
		return codecInfo{name, video(""), func() rtp.Payloader { return &codecs.VP8Payloader{EnablePictureID: true} },
			func() rtp.Depacketizer { return &codecs.VP8Packet{} }}, true
	case "vp9":
		return codecInfo{name, video("profile-id=0"), func() rtp.Payloader { return &codecs.VP9Payloader{} },
			func() rtp.Depacketizer { return &codecs.VP9Packet{} }}, true
	case "av1":
		return codecInfo{name, video(""), func() rtp.Payloader { return av1Payloader{} },
			func() rtp.Depacketizer { return &av1Frames{} }}, true
	case "h264":
		return codecInfo{name, video("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
			func() rtp.Payloader { return &codecs.H264Payloader{} },
			func() rtp.Depacketizer { return &codecs.H264Packet{} }}, true
	case "h265":
		return codecInfo{name, video("level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST"), func() rtp.Payloader { return h265Payloader{} },
			func() rtp.Depacketizer { return &h265Frames{} }}, true
	case "opus":
		return codecInfo{name, audio(48000, 2, "minptime=10;useinbandfec=1"),
			func() rtp.Payloader { return &codecs.OpusPayloader{} }, opaque}, true
	case "pcmu", "pcma":
		return codecInfo{name, audio(8000, 0, ""), g711, opaque}, true
	case "g722":
		return codecInfo{name, audio(8000, 0, ""), func() rtp.Payloader { return &codecs.G722Payloader{} }, opaque}, true
	}
	return codecInfo{}, false
}

func (c codecInfo) register(engine *webrtc.MediaEngine, kind webrtc.RTPCodecType, payloadType webrtc.PayloadType) error {
	switch strings.ToLower(c.name) {
	case "pcmu":
		payloadType = 0
	case "pcma":
		payloadType = 8
	case "g722":
		payloadType = 9
	}
	return engine.RegisterCodec(webrtc.RTPCodecParameters{RTPCodecCapability: c.capability, PayloadType: payloadType}, kind)
}

// av1Payloader gives each OBU packets of its own (AV1 RTP specification, 4.4).
type av1Payloader struct{}

const (
	obuTemporalDelimiter = 2
	obuSequenceHeader    = 1
)

func (av1Payloader) Payload(mtu uint16, unit []byte) [][]byte {
	var out [][]byte
	for _, obu := range obus(unit) {
		first := true
		room := int(mtu) - 1
		for len(obu) > 0 {
			piece := obu
			if len(piece) > room {
				piece = piece[:room]
			}
			obu = obu[len(piece):]
			header := byte(1 << 4) // one element, without a length
			if !first {
				header |= 1 << 7
			} else if (piece[0]>>3)&15 == obuSequenceHeader {
				header |= 1 << 3
			}
			if len(obu) > 0 {
				header |= 1 << 6
			}
			out = append(out, append([]byte{header}, piece...))
			first = false
		}
	}
	return out
}

// obus splits a temporal unit, and takes the lengths and the delimiter away.
func obus(unit []byte) [][]byte {
	var all [][]byte
	for len(unit) > 0 {
		header := unit[0]
		at := 1
		if header&4 != 0 {
			at++
		}
		size := len(unit) - at
		head := append([]byte{}, unit[:at]...)
		if header&2 != 0 {
			value, n := binary.Uvarint(unit[at:])
			if n <= 0 || int(value) > len(unit)-at-n {
				return all
			}
			size, at = int(value), at+n
			head[0] &^= 2
		}
		if (header>>3)&15 != obuTemporalDelimiter {
			all = append(all, append(head, unit[at:at+size]...))
		}
		unit = unit[at+size:]
	}
	return all
}

// marked ends frames by the marker bit and begins them anywhere.
type marked struct{}

func (marked) IsPartitionHead([]byte) bool                { return true }
func (marked) IsPartitionTail(marker bool, _ []byte) bool { return marker }

// av1Frames gives OBUs without lengths, one after the other.
type av1Frames struct {
	marked
	frame frame.AV1
}

func (f *av1Frames) Unmarshal(payload []byte) ([]byte, error) {
	var packet codecs.AV1Packet
	if _, err := packet.Unmarshal(payload); err != nil {
		return nil, err
	}
	list, err := f.frame.ReadFrames(&packet)
	var out []byte
	for _, obu := range list {
		out = append(out, obu...)
	}
	return out, err
}

func (*av1Frames) IsPartitionHead(payload []byte) bool { return len(payload) > 0 && payload[0]>>7 == 0 }

// h265Payloader sends NAL units singly or in fragments (RFC 7798, 4.4.1 and 4.4.3).
type h265Payloader struct{}

const h265FragmentationUnit = 49

func (h265Payloader) Payload(mtu uint16, unit []byte) [][]byte {
	var out [][]byte
	for _, nal := range nals(unit) {
		if len(nal) <= int(mtu) {
			out = append(out, nal)
			continue
		}
		kind := (nal[0] >> 1) & 63
		head := []byte{nal[0]&0x81 | h265FragmentationUnit<<1, nal[1]}
		rest := nal[2:]
		for first := true; len(rest) > 0; first = false {
			piece := rest
			if len(piece) > int(mtu)-3 {
				piece = piece[:int(mtu)-3]
			}
			rest = rest[len(piece):]
			fu := kind
			if first {
				fu |= 1 << 7
			}
			if len(rest) == 0 {
				fu |= 1 << 6
			}
			out = append(out, append(append([]byte{}, head[0], head[1], fu), piece...))
		}
	}
	return out
}

// nals splits an Annex B stream. No NAL unit ends in a zero byte.
func nals(unit []byte) [][]byte {
	var all [][]byte
	for _, nal := range strings.Split(string(unit), "\x00\x00\x01") {
		if nal = strings.TrimRight(nal, "\x00"); len(nal) > 2 {
			all = append(all, []byte(nal))
		}
	}
	return all
}

// h265Frames gives Annex B again.
type h265Frames struct{ marked }

func (*h265Frames) Unmarshal(payload []byte) ([]byte, error) {
	var packet codecs.H265Packet
	if _, err := packet.Unmarshal(payload); err != nil {
		return nil, err
	}
	start := []byte{0, 0, 0, 1}
	switch p := packet.Packet().(type) {
	case *codecs.H265SingleNALUnitPacket:
		return append(start, payload...), nil
	case *codecs.H265AggregationPacket:
		out := append(start, p.FirstUnit().NalUnit()...)
		for _, other := range p.OtherUnits() {
			out = append(append(out, start...), other.NalUnit()...)
		}
		return out, nil
	case *codecs.H265FragmentationUnitPacket:
		if !p.FuHeader().S() {
			return p.Payload(), nil
		}
		head := []byte{payload[0]&0x81 | p.FuHeader().FuType()<<1, payload[1]}
		return append(append(start, head...), p.Payload()...), nil
	}
	return nil, errors.New("an unknown kind of packet")
}
