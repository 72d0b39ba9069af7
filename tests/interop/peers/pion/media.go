package main

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc"
	"github.com/pion/webrtc/pkg/media"
	"github.com/pion/webrtc/pkg/media/ivfreader"
	"github.com/pion/webrtc/pkg/media/samplebuilder"
)

const (
	rtpMTU = 1200
	// maxLate is how many packets a frame may wait for one that is missing: retransmission takes a while.
	maxLate = 400
)

// stream is what is sent and received of one kind. The counters have the names of W3C's statistics.
type stream struct {
	kind     string
	codec    codecInfo
	sender   *webrtc.RTPSender
	track    *webrtc.TrackLocalStaticRTP
	clip     [][]byte
	interval time.Duration
	remote   webrtc.SSRC

	lock        sync.Mutex
	wantsKey    bool
	paused      bool
	sent        int
	packetsSent int
	hashes      []string
	packets     int
	heard       map[string]int
}

type mediaPeer struct {
	*peer
	streams []*stream
	begin   sync.Once
}

// codecsFor registers the codecs of `video:VP8,audio:opus`, and no others.
func codecsFor(argument string, engine *webrtc.MediaEngine) ([]*stream, error) {
	var streams []*stream
	for i, each := range strings.Split(argument, ",") {
		parts := strings.SplitN(each, ":", 2)
		if len(parts) != 2 {
			return nil, fmt.Errorf("-media %q is not KIND:CODEC,...", argument)
		}
		codec, ok := codecNamed(parts[1])
		if !ok {
			return nil, fmt.Errorf("no codec %s", parts[1])
		}
		kind := webrtc.NewRTPCodecType(parts[0])
		if err := codec.register(engine, kind, webrtc.PayloadType(96+10*i)); err != nil {
			return nil, err
		}
		streams = append(streams, &stream{kind: parts[0], codec: codec, heard: map[string]int{}})
	}
	return streams, nil
}

func (m *mediaPeer) addTracks(clips string) error {
	m.pc.OnTrack(m.receive)
	for _, s := range m.streams {
		if err := s.readClip(filepath.Join(clips, strings.ToLower(s.codec.name)+".ivf")); err != nil {
			return err
		}
		track, err := webrtc.NewTrackLocalStaticRTP(s.codec.capability, s.kind, "pion")
		if err != nil {
			return err
		}
		sender, err := m.pc.AddTrack(track)
		if err != nil {
			return err
		}
		s.track, s.sender = track, sender
		go s.readFeedback()
	}
	return nil
}

// readClip takes the frames of any codec: the container is IVF, whatever is in it.
func (s *stream) readClip(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	reader, header, err := ivfreader.NewWith(file)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	s.interval = time.Second * time.Duration(header.TimebaseNumerator) / time.Duration(header.TimebaseDenominator)
	for {
		frame, _, err := reader.ParseNextFrame()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		s.clip = append(s.clip, frame)
	}
}

// play sends the clip over and over, by an absolute schedule. It begins anew when a keyframe is asked for.
func (s *stream) play() {
	packetizer := rtp.NewPacketizer(rtpMTU, 0, 0, s.codec.payloader(), rtp.NewRandomSequencer(), s.codec.capability.ClockRate)
	ticks := uint32(uint64(s.interval) * uint64(s.codec.capability.ClockRate) / uint64(time.Second))
	begun := time.Now()
	at := 0
	for n := 0; ; n++ {
		time.Sleep(time.Until(begun.Add(time.Duration(n) * s.interval)))
		s.lock.Lock()
		if s.wantsKey {
			s.wantsKey, at = false, 0
		}
		paused := s.paused
		s.lock.Unlock()
		if paused {
			packetizer.SkipSamples(ticks)
			continue
		}
		packets := packetizer.Packetize(s.clip[at], ticks)
		for _, packet := range packets {
			if err := s.track.WriteRTP(packet); err != nil {
				return // closed
			}
		}
		s.lock.Lock()
		s.sent++
		s.packetsSent += len(packets)
		s.lock.Unlock()
		at = (at + 1) % len(s.clip)
	}
}

// readFeedback counts what the other side says of our packets, by its RTCP type.
func (s *stream) readFeedback() {
	for {
		packets, _, err := s.sender.ReadRTCP()
		if err != nil {
			return
		}
		s.count(packets)
	}
}

func (s *stream) count(packets []rtcp.Packet) {
	s.lock.Lock()
	defer s.lock.Unlock()
	for _, packet := range packets {
		name := strings.TrimPrefix(fmt.Sprintf("%T", packet), "*rtcp.")
		s.heard[name]++
		switch p := packet.(type) {
		case *rtcp.TransportLayerNack:
			for _, pair := range p.Nacks {
				s.heard["nacked packets"] += len(pair.PacketList())
			}
		case *rtcp.SenderReport:
			s.heard["report blocks"] += len(p.Reports)
		case *rtcp.ReceiverReport:
			s.heard["report blocks"] += len(p.Reports)
		case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
			s.wantsKey = true
		}
	}
}

// receive puts frames together, and remembers their hashes: whoever sent them can compare.
func (m *mediaPeer) receive(track *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) {
	m.emit(object{"type": "track", "kind": track.Kind().String(), "codec": track.Codec().MimeType})
	s := m.ofKind(track.Kind().String())
	if s == nil {
		return
	}
	s.lock.Lock()
	s.remote = track.SSRC()
	s.lock.Unlock()
	go func() {
		for {
			packets, _, err := receiver.ReadRTCP()
			if err != nil {
				return
			}
			s.count(packets)
		}
	}()
	builder := samplebuilder.New(maxLate, s.codec.depacketizer(), s.codec.capability.ClockRate)
	for {
		packet, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		s.lock.Lock()
		s.packets++
		s.lock.Unlock()
		builder.Push(packet)
		for sample := builder.Pop(); sample != nil; sample = builder.Pop() {
			s.took(sample)
		}
	}
}

func (s *stream) took(sample *media.Sample) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.hashes = append(s.hashes, fmt.Sprintf("%d:%08x", len(sample.Data), crc32.ChecksumIEEE(sample.Data)))
}

func (m *mediaPeer) ofKind(kind string) *stream {
	for _, s := range m.streams {
		if s.kind == kind {
			return s
		}
	}
	return nil
}

func (m *mediaPeer) connected() {
	m.begin.Do(func() {
		for _, s := range m.streams {
			go s.play()
		}
	})
}

func (m *mediaPeer) handle(message inbound) error {
	if message.Type == "media-stats" {
		m.reportStats()
		return nil
	}
	s := m.ofKind(message.Kind)
	if s == nil {
		return fmt.Errorf("there is no %s", message.Kind)
	}
	switch message.Type {
	case "request-keyframe":
		s.lock.Lock()
		ssrc := uint32(s.remote)
		s.lock.Unlock()
		if message.How == "fir" {
			entry := rtcp.FIREntry{SSRC: ssrc, SequenceNumber: 1}
			return m.pc.WriteRTCP([]rtcp.Packet{&rtcp.FullIntraRequest{MediaSSRC: ssrc, FIR: []rtcp.FIREntry{entry}}})
		}
		return m.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: ssrc}})
	case "remb":
		s.lock.Lock()
		ssrc := uint32(s.remote)
		s.lock.Unlock()
		estimate := rtcp.ReceiverEstimatedMaximumBitrate{Bitrate: message.Bitrate, SSRCs: []uint32{ssrc}}
		return m.pc.WriteRTCP([]rtcp.Packet{&estimate})
	case "direction":
		if message.Direction != "recvonly" {
			return fmt.Errorf("only recvonly is known here, not %s", message.Direction)
		}
		return m.pc.RemoveTrack(s.sender)
	case "stop-transceiver":
		for _, transceiver := range m.pc.GetTransceivers() {
			if transceiver.Kind().String() == s.kind {
				return transceiver.Stop()
			}
		}
	}
	return fmt.Errorf("unknown message")
}

func (m *mediaPeer) reportStats() {
	stats := []object{}
	for _, s := range m.streams {
		s.lock.Lock()
		heard := object{}
		for name, count := range s.heard {
			heard[name] = count
		}
		stats = append(stats,
			object{"type": "outbound-rtp", "kind": s.kind, "framesSent": s.sent, "packetsSent": s.packetsSent, "rtcp": heard},
			object{"type": "inbound-rtp", "kind": s.kind, "packetsReceived": s.packets, "framesReceived": len(s.hashes), "hashes": s.hashes},
		)
		s.lock.Unlock()
	}
	m.emit(object{"type": "media-stats", "stats": stats})
}
