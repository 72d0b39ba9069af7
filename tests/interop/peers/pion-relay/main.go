// Two pion peers that meet through a TURN server and nothing else: relayed candidates only, on both sides.
//
//	pion-relay URL USERNAME PASSWORD
//
// Sends 100 messages over a data channel and back again; prints what it took, and ends well or with 1.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/pion/webrtc"
)

const messages = 100

func main() {
	if len(os.Args) != 4 {
		fail("usage: pion-relay URL USERNAME PASSWORD")
	}
	time.AfterFunc(60*time.Second, func() { fail("took longer than 60 s") })
	start := time.Now()
	a, b := connection(), connection()
	forward(a, b)
	forward(b, a)
	done := make(chan struct{})
	b.OnDataChannel(func(channel *webrtc.DataChannel) {
		channel.OnMessage(func(m webrtc.DataChannelMessage) { check(channel.Send(m.Data)) })
	})
	channel, err := a.CreateDataChannel("data", nil)
	check(err)
	channel.OnOpen(func() {
		fmt.Printf("open after %v\n", time.Since(start).Round(time.Millisecond))
		for n := 0; n < messages; n++ {
			check(channel.SendText(fmt.Sprintf("message %d", n)))
		}
	})
	back := 0
	channel.OnMessage(func(m webrtc.DataChannelMessage) {
		if want := fmt.Sprintf("message %d", back); string(m.Data) != want {
			fail(fmt.Sprintf("%q came back, not %q", m.Data, want))
		}
		if back++; back == messages {
			close(done)
		}
	})
	negotiate(a, b)
	<-done
	pair, err := a.SCTP().Transport().ICETransport().GetSelectedCandidatePair()
	check(err)
	if pair.Local.Typ != webrtc.ICECandidateTypeRelay || pair.Remote.Typ != webrtc.ICECandidateTypeRelay {
		fail(fmt.Sprintf("not relayed on both sides: %v", pair))
	}
	fmt.Printf("%d messages there and back, relay to relay\n", messages)
	check(a.Close())
	check(b.Close())
}

func connection() *webrtc.PeerConnection {
	pc, err := webrtc.NewPeerConnection(webrtc.Configuration{
		ICEServers: []webrtc.ICEServer{{
			URLs: []string{os.Args[1]}, Username: os.Args[2], Credential: os.Args[3],
			CredentialType: webrtc.ICECredentialTypePassword,
		}},
		ICETransportPolicy: webrtc.ICETransportPolicyRelay,
	})
	check(err)
	return pc
}

// forward hands candidates over once the other side has its descriptions.
func forward(from, to *webrtc.PeerConnection) {
	from.OnICECandidate(func(c *webrtc.ICECandidate) {
		if c == nil {
			return
		}
		go func() {
			for to.RemoteDescription() == nil {
				time.Sleep(5 * time.Millisecond)
			}
			check(to.AddICECandidate(c.ToJSON()))
		}()
	})
}

func negotiate(a, b *webrtc.PeerConnection) {
	offer, err := a.CreateOffer(nil)
	check(err)
	check(a.SetLocalDescription(offer))
	check(b.SetRemoteDescription(offer))
	answer, err := b.CreateAnswer(nil)
	check(err)
	check(b.SetLocalDescription(answer))
	check(a.SetRemoteDescription(answer))
}

func check(err error) {
	if err != nil {
		fail(err.Error())
	}
}

func fail(why string) {
	fmt.Fprintln(os.Stderr, "pion-relay:", why)
	os.Exit(1)
}
