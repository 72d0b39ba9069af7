// A room of pion's, by the protocol of pion's sfu-ws example, with pages from a directory: for our page to be tested
// with somebody else's server.
//
//	pion-sfu PAGES
//
// prints the address it listens at. /room/NAME is room.html, /room/NAME/ws and /websocket are the one room there is.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/pion/rtcp"
	"github.com/pion/webrtc"
)

type message struct {
	Event string `json:"event"`
	Data  string `json:"data"`
}

type member struct {
	pc      *webrtc.PeerConnection
	conn    *websocket.Conn
	writing sync.Mutex
}

func (m *member) say(event string, value interface{}) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	m.writing.Lock()
	defer m.writing.Unlock()
	return m.conn.WriteJSON(message{event, string(data)})
}

type room struct {
	sync.Mutex
	api     *webrtc.API
	members map[*member]bool
	tracks  map[string]*webrtc.TrackLocalStaticRTP
}

func main() {
	engine := &webrtc.MediaEngine{}
	must(engine.RegisterDefaultCodecs())
	settings := webrtc.SettingEngine{}
	settings.SetIncludeLoopbackCandidate(true)
	r := &room{
		api:     webrtc.NewAPI(webrtc.WithMediaEngine(engine), webrtc.WithSettingEngine(settings)),
		members: map[*member]bool{},
		tracks:  map[string]*webrtc.TrackLocalStaticRTP{},
	}
	pages := os.Args[1]
	http.HandleFunc("/", func(w http.ResponseWriter, request *http.Request) {
		path := request.URL.Path
		switch {
		case path == "/websocket" || strings.HasSuffix(path, "/ws"):
			r.serve(w, request)
		case path == "/api/config":
			fmt.Fprint(w, `{"rooms":true}`)
		case strings.HasPrefix(path, "/assets/"):
			http.ServeFile(w, request, filepath.Join(pages, filepath.Base(path)))
		default:
			http.ServeFile(w, request, filepath.Join(pages, "room.html"))
		}
	})
	go func() {
		for range time.Tick(3 * time.Second) {
			r.askForKeyframes()
		}
	}()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	fmt.Printf("http://%s\n", listener.Addr())
	must(http.Serve(listener, nil))
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func (r *room) serve(w http.ResponseWriter, request *http.Request) {
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	conn, err := upgrader.Upgrade(w, request, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	pc, err := r.api.NewPeerConnection(webrtc.Configuration{})
	must(err)
	defer pc.Close()
	m := &member{pc: pc, conn: conn}
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		_, err := pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
		must(err)
	}
	pc.OnICECandidate(func(candidate *webrtc.ICECandidate) {
		if candidate != nil {
			m.say("candidate", candidate.ToJSON())
		}
	})
	pc.OnTrack(func(remote *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { r.pass(remote) })
	r.Lock()
	r.members[m] = true
	r.Unlock()
	r.offer()
	r.listen(m)
	r.Lock()
	delete(r.members, m)
	r.Unlock()
}

// Until the socket is lost.
func (r *room) listen(m *member) {
	for {
		var said message
		if m.conn.ReadJSON(&said) != nil {
			return
		}
		switch said.Event {
		case "answer":
			var answer webrtc.SessionDescription
			if json.Unmarshal([]byte(said.Data), &answer) != nil {
				return
			}
			if err := m.pc.SetRemoteDescription(answer); err != nil {
				log.Printf("an answer: %v", err)
				return
			}
			// What has changed meanwhile.
			go r.offer()
		case "candidate":
			var candidate webrtc.ICECandidateInit
			if json.Unmarshal([]byte(said.Data), &candidate) == nil {
				m.pc.AddICECandidate(candidate)
			}
		}
	}
}

// A track of a member, for all others, until it ends.
func (r *room) pass(remote *webrtc.TrackRemote) {
	local, err := webrtc.NewTrackLocalStaticRTP(remote.Codec().RTPCodecCapability, remote.ID(), remote.StreamID())
	must(err)
	r.Lock()
	r.tracks[local.ID()] = local
	r.Unlock()
	r.offer()
	for {
		packet, _, err := remote.ReadRTP()
		if err != nil {
			break
		}
		packet.Extension = false
		packet.Extensions = nil
		local.WriteRTP(packet)
	}
	r.Lock()
	delete(r.tracks, local.ID())
	r.Unlock()
	r.offer()
}

// Offers what has changed to those who are not in the middle of a negotiation.
func (r *room) offer() {
	r.Lock()
	for m := range r.members {
		if m.pc.SignalingState() != webrtc.SignalingStateStable || !r.arrange(m) {
			continue
		}
		offer, err := m.pc.CreateOffer(nil)
		if err == nil {
			err = m.pc.SetLocalDescription(offer)
		}
		if err == nil {
			err = m.say("offer", offer)
		}
		if err != nil {
			log.Printf("an offer: %v", err)
		}
	}
	r.Unlock()
	r.askForKeyframes()
}

// Gives a member the tracks of all others. Whether that changes anything.
func (r *room) arrange(m *member) bool {
	changed := m.pc.CurrentLocalDescription() == nil
	has := map[string]bool{}
	for _, receiver := range m.pc.GetReceivers() {
		if track := receiver.Track(); track != nil {
			has[track.ID()] = true
		}
	}
	for _, sender := range m.pc.GetSenders() {
		track := sender.Track()
		if track == nil {
			continue
		}
		has[track.ID()] = true
		if r.tracks[track.ID()] == nil {
			m.pc.RemoveTrack(sender)
			changed = true
		}
	}
	for id, track := range r.tracks {
		if !has[id] {
			if _, err := m.pc.AddTrack(track); err == nil {
				changed = true
			}
		}
	}
	return changed
}

func (r *room) askForKeyframes() {
	r.Lock()
	defer r.Unlock()
	for m := range r.members {
		for _, receiver := range m.pc.GetReceivers() {
			if track := receiver.Track(); track != nil && track.Kind() == webrtc.RTPCodecTypeVideo {
				m.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: uint32(track.SSRC())}})
			}
		}
	}
}
