package main

import (
	"fmt"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pion/webrtc/v3"
)

// benchSFU: one publisher, many viewers, both in another process (the sink of benches/versus/sfu.rs). What the
// publisher's track brings is written to one TrackLocalStaticRTP that all viewers have, as in pion's examples
// broadcast and sfu-ws. Only this process's time and memory are counted.

const sfuBurst = 10

func sfuViewers(name string) (int, bool) {
	text := strings.TrimPrefix(name, "sfu-")
	viewers, err := strconv.Atoi(text)
	return viewers, err == nil && text != name
}

func benchSFU(viewers int, seconds float64) error {
	f, err := newFactory(true)
	if err != nil {
		return err
	}
	var packets int64
	tracks := make(chan *webrtc.TrackLocalStaticRTP, 1)
	publisher, err := f.publisher(&packets, tracks)
	if err != nil {
		return err
	}
	defer func() { _ = publisher.Close() }()
	gap := float64(sfuBurst*viewers) / fanoutRate
	if err := sayLine(result{"publish": result{"burst": sfuBurst, "gap_us": gap * 1e6}}); err != nil {
		return err
	}
	var track *webrtc.TrackLocalStaticRTP
	select {
	case track = <-tracks:
	case <-time.After(connectTimeout):
		return fmt.Errorf("nothing came of the publisher within %v", connectTimeout)
	}
	time.Sleep(time.Second)
	debug.FreeOSMemory()
	memory, err := residentBytes()
	if err != nil {
		return err
	}
	connected := make(chan struct{}, viewers)
	for i := 0; i < viewers; i++ {
		pc, err := f.offerTrack(track, connected)
		if err != nil {
			return fmt.Errorf("viewer %d of %d: %w", i+1, viewers, err)
		}
		defer func() { _ = pc.Close() }()
	}
	for i := 0; i < viewers; i++ {
		select {
		case <-connected:
		case <-time.After(connectTimeout):
			return fmt.Errorf("%d of %d viewers connected", i, viewers)
		}
	}
	time.Sleep(time.Second)
	cpu, before := cpuTime(), atomic.LoadInt64(&packets)
	time.Sleep(time.Duration(seconds * 1e9))
	cpu = cpuTime() - cpu
	sent := float64(atomic.LoadInt64(&packets)-before) * float64(viewers)
	debug.FreeOSMemory()
	after, err := residentBytes()
	if err != nil {
		return err
	}
	if err := sayLine(result{"publish": nil}); err != nil {
		return err
	}
	time.Sleep(500 * time.Millisecond)
	if err := sayLine(result{"count": true}); err != nil {
		return err
	}
	line, err := readLine()
	if err != nil {
		return err
	}
	lost, isThere := line["lost"].(float64)
	if !isThere {
		return fmt.Errorf("the sink did not count: %v", line)
	}
	emit(result{
		"bench": "sfu-" + strconv.Itoa(viewers), "variant": strconv.Itoa(viewers) + " viewers", "n": sent,
		"cpu_us_per_packet":      micros(cpu) / sent,
		"cpu_percent_per_viewer": cpu.Seconds() * 100 / seconds / float64(viewers),
		"kib_per_viewer":         (float64(after) - float64(memory)) / 1024 / float64(viewers),
		"received":               line["received"], "lost": lost,
	})
	return nil
}

func (f *factory) publisher(packets *int64, tracks chan<- *webrtc.TrackLocalStaticRTP) (*webrtc.PeerConnection, error) {
	pc, err := f.api.NewPeerConnection(f.config)
	if err != nil {
		return nil, err
	}
	pc.OnTrack(func(remote *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		local, err := webrtc.NewTrackLocalStaticRTP(remote.Codec().RTPCodecCapability, "video", "bench")
		if err != nil {
			panic(err)
		}
		tracks <- local
		buffer := make([]byte, 1500)
		for {
			n, _, err := remote.Read(buffer)
			if err != nil {
				return
			}
			if _, err := local.Write(buffer[:n]); err != nil {
				return
			}
			atomic.AddInt64(packets, 1)
		}
	})
	_, err = pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo,
		webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
	if err != nil {
		return pc, err
	}
	return pc, offerPeer(pc, true)
}

// offerPeer makes the offer, with all candidates, and takes the answer.
func offerPeer(pc *webrtc.PeerConnection, publish bool) error {
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		return err
	}
	gathered := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(offer); err != nil {
		return err
	}
	<-gathered
	line := result{"id": 0, "offer": pc.LocalDescription().SDP}
	if publish {
		line["publish"] = true
	}
	if err := sayLine(line); err != nil {
		return err
	}
	answer, err := readLine()
	if err != nil {
		return err
	}
	text, _ := answer["answer"].(string)
	return pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: text})
}
