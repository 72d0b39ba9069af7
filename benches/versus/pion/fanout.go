package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v3"
)

// benchFanout: one track (TrackLocalStaticRTP) to many peers, which are in another process (the sink of
// benches/versus/fanout.rs). Only this process's time is counted. Offers go out as lines on standard
// output, answers come in as lines on standard input.

var fanoutCases = [][2]int{{10, 10}, {50, 10}, {100, 10}, {200, 10}, {100, 1}}

const (
	fanoutRate    = 12000
	fanoutPayload = 1200
)

var fanoutInput *bufio.Scanner

func readLine() (result, error) {
	if fanoutInput == nil {
		fanoutInput = bufio.NewScanner(os.Stdin)
		fanoutInput.Buffer(make([]byte, 1<<20), 1<<20)
	}
	if !fanoutInput.Scan() {
		return nil, fmt.Errorf("standard input has ended")
	}
	var line result
	err := json.Unmarshal(fanoutInput.Bytes(), &line)
	return line, err
}

func sayLine(line result) error {
	text, err := json.Marshal(line)
	if err == nil {
		fmt.Println(string(text))
	}
	return err
}

func benchFanout(peers, burst int, seconds float64) error {
	f, err := newFactory(true)
	if err != nil {
		return err
	}
	track, err := webrtc.NewTrackLocalStaticRTP(
		webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8}, "video", "bench")
	if err != nil {
		return err
	}
	connected := make(chan struct{}, peers)
	for i := 0; i < peers; i++ {
		pc, err := f.offerTrack(track, connected)
		if err != nil {
			return fmt.Errorf("peer %d of %d: %w", i+1, peers, err)
		}
		defer func() { _ = pc.Close() }()
	}
	for i := 0; i < peers; i++ {
		select {
		case <-connected:
		case <-time.After(connectTimeout):
			return fmt.Errorf("%d of %d peers connected", i, peers)
		}
	}
	gap := time.Duration(float64(burst*peers) / fanoutRate * 1e9)
	var number uint16
	var sent int64
	run := func(length time.Duration) error {
		begin := time.Now()
		for due := begin; due.Sub(begin) < length; due = due.Add(gap) {
			time.Sleep(time.Until(due))
			for part := 1; part <= burst; part++ {
				number++
				err := track.WriteRTP(&rtp.Packet{
					Header: rtp.Header{
						Version: 2, Marker: part == burst,
						SequenceNumber: number, Timestamp: uint32(number) * 90, SSRC: 1,
					},
					Payload: make([]byte, fanoutPayload),
				})
				if err != nil {
					return err
				}
				sent += int64(peers)
			}
		}
		return nil
	}
	if err := run(500 * time.Millisecond); err != nil {
		return err
	}
	cpu, before := cpuTime(), sent
	if err := run(time.Duration(seconds * 1e9)); err != nil {
		return err
	}
	cpu = cpuTime() - cpu
	measured := sent - before
	time.Sleep(500 * time.Millisecond)
	if err := sayLine(result{"count": true}); err != nil {
		return err
	}
	line, err := readLine()
	if err != nil {
		return err
	}
	received, _ := line["received"].(float64)
	emit(result{
		"bench": "fanout", "variant": fanoutVariant(peers, burst), "n": measured,
		"packets_per_cpu_s": float64(measured) / cpu.Seconds(),
		"cpu_us_per_packet": micros(cpu) / float64(measured),
		"lost":              float64(sent) - received,
	})
	return nil
}

func fanoutVariant(peers, burst int) string {
	return strconv.Itoa(peers) + " peers, " + strconv.Itoa(burst) + " at once"
}

func (f *factory) offerTrack(track webrtc.TrackLocal, connected chan<- struct{}) (*webrtc.PeerConnection, error) {
	pc, err := f.api.NewPeerConnection(f.config)
	if err != nil {
		return nil, err
	}
	pc.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		if state == webrtc.PeerConnectionStateConnected {
			connected <- struct{}{}
		}
	})
	sender, err := pc.AddTrack(track)
	if err != nil {
		return pc, err
	}
	// pion wants its RTCP read.
	go func() {
		buffer := make([]byte, 1500)
		for {
			if _, _, err := sender.Read(buffer); err != nil {
				return
			}
		}
	}()
	return pc, offerPeer(pc, false)
}
