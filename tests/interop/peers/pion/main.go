// One peer of the interoperability tests: pion. The messages on stdin and stdout are those of
// ../../README.md, one JSON object a line.
//
// It is built against Debian's golang-github-pion-webrtc.v3-dev, without modules:
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go build -o bin/pion ./peers/pion
package main

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/logging"
	"github.com/pion/webrtc"
)

// maxLine is the longest line taken from the test: a description, or a text of 256 KiB escaped.
const maxLine = 4 << 20

type object map[string]interface{}

// inbound is every message of the test in one; what a message does not use stays empty.
type inbound struct {
	Type        string                     `json:"type"`
	Description *webrtc.SessionDescription `json:"description"`
	Candidate   *webrtc.ICECandidateInit   `json:"candidate"`
	Label       string                     `json:"label"`
	Text        *string                    `json:"text"`
	Random      *int                       `json:"random"`

	Ordered           *bool   `json:"ordered"`
	MaxRetransmits    *uint16 `json:"maxRetransmits"`
	MaxPacketLifeTime *uint16 `json:"maxPacketLifeTime"`
	Protocol          *string `json:"protocol"`
	Negotiated        *bool   `json:"negotiated"`
	ID                *uint16 `json:"id"`

	Kind      string  `json:"kind"`
	How       string  `json:"how"`
	Direction string  `json:"direction"`
	Bitrate   float32 `json:"bitrate"`
}

type peer struct {
	pc   *webrtc.PeerConnection
	echo bool

	outLock sync.Mutex
	out     *bufio.Writer

	lock     sync.Mutex
	channels map[string]*webrtc.DataChannel

	media *mediaPeer

	// pending holds candidates that came before the description they belong to.
	pending []webrtc.ICECandidateInit
}

func main() {
	role := flag.String("role", "", "offer or answer")
	noEcho := flag.Bool("no-echo", false, "do not send back what arrives")
	loopback := flag.Bool("loopback", false, "gather loopback candidates too")
	maxSeconds := flag.Int("max-seconds", 120, "leave after this time, ended or not")
	mediaOption := flag.String("media", "", "send and receive media: video:VP8,audio:opus")
	clips := flag.String("clips", "", "the directory of what is sent: vp8.ivf and so on, every codec in IVF")
	iceServers := flag.String("ice-servers", "[]", "W3C iceServers as JSON")
	relay := flag.String("relay", "", "URL,USER,PASSWORD: only relayed candidates, from this TURN server")
	tcp := flag.Bool("tcp", false, "only ICE-TCP: others connect to a port of ours")
	flag.Parse()
	if *role != "offer" && *role != "answer" {
		fmt.Fprintln(os.Stderr, "-role offer|answer is required")
		os.Exit(2)
	}

	p := &peer{
		echo:     !*noEcho,
		out:      bufio.NewWriter(os.Stdout),
		channels: map[string]*webrtc.DataChannel{},
	}
	time.AfterFunc(time.Duration(*maxSeconds)*time.Second, func() {
		p.emit(object{"type": "error", "message": fmt.Sprintf("nobody ended this peer within %d s", *maxSeconds)})
		os.Exit(3)
	})
	var servers []iceServer
	if err := json.Unmarshal([]byte(*iceServers), &servers); err != nil {
		p.fail("ice-servers", err)
		os.Exit(2)
	}
	if err := p.start(servers, *loopback, *tcp, *mediaOption, *clips, *relay); err != nil {
		p.fail("start", err)
		os.Exit(1)
	}
	if *role == "offer" {
		if err := p.createChannel(inbound{Label: "interop"}); err != nil {
			p.fail("create", err)
		}
		if err := p.offer(nil); err != nil {
			p.fail("offer", err)
		}
	}
	p.readMessages(os.Stdin)
	_ = p.pc.Close()
}

// iceServer is one of W3C's iceServers; this pion's own type does not read JSON.
type iceServer struct {
	URLs       []string `json:"urls"`
	Username   string   `json:"username"`
	Credential string   `json:"credential"`
}

func (p *peer) start(servers []iceServer, loopback, tcp bool, mediaOption, clips, relay string) error {
	var settings webrtc.SettingEngine
	settings.SetIncludeLoopbackCandidate(loopback)
	if tcp {
		// All that this pion knows of ICE-TCP: it listens, for IPv4, where it has a listener.
		listener, err := net.ListenTCP("tcp4", nil)
		if err != nil {
			return err
		}
		settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeTCP4})
		settings.SetICETCPMux(webrtc.NewICETCPMux(nil, listener, 64))
	}
	// Standard output is for reports.
	settings.LoggerFactory = &logging.DefaultLoggerFactory{Writer: os.Stderr, DefaultLogLevel: logging.LogLevelError}
	media := &webrtc.MediaEngine{}
	if mediaOption == "" {
		if err := media.RegisterDefaultCodecs(); err != nil {
			return err
		}
	} else {
		streams, err := codecsFor(mediaOption, media)
		if err != nil {
			return err
		}
		p.media = &mediaPeer{peer: p, streams: streams}
	}
	interceptors := &interceptor.Registry{}
	if err := webrtc.RegisterDefaultInterceptors(media, interceptors); err != nil {
		return err
	}
	// Numbered by the transport, so that the other side can report each packet.
	if err := webrtc.ConfigureTWCCHeaderExtensionSender(media, interceptors); err != nil {
		return err
	}
	api := webrtc.NewAPI(webrtc.WithSettingEngine(settings), webrtc.WithMediaEngine(media), webrtc.WithInterceptorRegistry(interceptors))
	var configuration webrtc.Configuration
	for _, s := range servers {
		configuration.ICEServers = append(configuration.ICEServers, webrtc.ICEServer{URLs: s.URLs, Username: s.Username, Credential: s.Credential})
	}
	if parts := strings.SplitN(relay, ",", 3); len(parts) == 3 {
		configuration.ICEServers = append(configuration.ICEServers, webrtc.ICEServer{URLs: parts[:1], Username: parts[1], Credential: parts[2]})
		configuration.ICETransportPolicy = webrtc.ICETransportPolicyRelay
	}
	pc, err := api.NewPeerConnection(configuration)
	if err != nil {
		return err
	}
	p.pc = pc
	pc.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		p.emit(object{"type": "state", "state": state.String()})
		if state == webrtc.PeerConnectionStateConnected {
			p.emit(object{"type": "dtls", "version": "1.2"}) // the only one that this pion has
			if p.media != nil {
				p.media.connected()
			}
		}
	})
	pc.OnICECandidate(func(candidate *webrtc.ICECandidate) {
		if candidate == nil {
			p.emit(object{"type": "candidate", "candidate": nil})
			return
		}
		p.emit(object{"type": "candidate", "candidate": candidate.ToJSON()})
	})
	pc.OnDataChannel(p.watch)
	if p.media != nil {
		return p.media.addTracks(clips)
	}
	return nil
}

func (p *peer) readMessages(in io.Reader) {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var message inbound
		err := json.Unmarshal(lines.Bytes(), &message)
		if err == nil {
			err = p.handle(message)
		}
		if err != nil {
			p.fail(message.Type, err)
		}
	}
	if err := lines.Err(); err != nil {
		p.fail("stdin", err)
	}
}

func (p *peer) handle(m inbound) error {
	switch m.Type {
	case "description":
		return p.remoteDescription(*m.Description)
	case "candidate":
		return p.remoteCandidate(m.Candidate)
	case "send":
		return p.send(m)
	case "create":
		return p.createChannel(m)
	case "close-channel":
		channel, err := p.channel(m.Label)
		if err != nil {
			return err
		}
		return channel.Close()
	case "close":
		return p.pc.Close()
	case "offer":
		return p.offer(nil)
	case "restart-ice":
		return p.offer(&webrtc.OfferOptions{ICERestart: true})
	}
	if p.media != nil {
		return p.media.handle(m)
	}
	return fmt.Errorf("unknown message")
}

func (p *peer) offer(options *webrtc.OfferOptions) error {
	offer, err := p.pc.CreateOffer(options)
	if err != nil {
		return err
	}
	return p.localDescription(offer)
}

// localDescription sends the description before the candidates that setting it brings forth.
func (p *peer) localDescription(description webrtc.SessionDescription) error {
	p.emit(object{"type": "description", "description": description})
	return p.pc.SetLocalDescription(description)
}

func (p *peer) remoteDescription(description webrtc.SessionDescription) error {
	if err := p.pc.SetRemoteDescription(description); err != nil {
		return err
	}
	for _, candidate := range p.pending {
		if err := p.pc.AddICECandidate(candidate); err != nil {
			return err
		}
	}
	p.pending = nil
	if description.Type != webrtc.SDPTypeOffer {
		return nil
	}
	answer, err := p.pc.CreateAnswer(nil)
	if err != nil {
		return err
	}
	return p.localDescription(answer)
}

func (p *peer) remoteCandidate(candidate *webrtc.ICECandidateInit) error {
	if candidate == nil {
		candidate = &webrtc.ICECandidateInit{} // the end of candidates
	}
	if p.pc.RemoteDescription() == nil {
		p.pending = append(p.pending, *candidate)
		return nil
	}
	return p.pc.AddICECandidate(*candidate)
}

func (p *peer) createChannel(m inbound) error {
	channel, err := p.pc.CreateDataChannel(m.Label, &webrtc.DataChannelInit{
		Ordered:           m.Ordered,
		MaxRetransmits:    m.MaxRetransmits,
		MaxPacketLifeTime: m.MaxPacketLifeTime,
		Protocol:          m.Protocol,
		Negotiated:        m.Negotiated,
		ID:                m.ID,
	})
	if err != nil {
		return err
	}
	p.watch(channel)
	return nil
}

func (p *peer) watch(channel *webrtc.DataChannel) {
	label := channel.Label()
	p.lock.Lock()
	p.channels[label] = channel
	p.lock.Unlock()
	channel.OnOpen(func() {
		p.emit(object{
			"type": "open", "label": label, "protocol": channel.Protocol(), "ordered": channel.Ordered(),
			"maxRetransmits": channel.MaxRetransmits(), "maxPacketLifeTime": channel.MaxPacketLifeTime(), "id": channel.ID(),
		})
	})
	channel.OnClose(func() { p.emit(object{"type": "closed", "label": label}) })
	channel.OnError(func(err error) {
		p.emit(object{"type": "log", "message": fmt.Sprintf("channel %s: %v", label, err)})
	})
	channel.OnMessage(func(m webrtc.DataChannelMessage) {
		p.reportMessage(label, m)
		if !p.echo {
			return
		}
		var err error
		if m.IsString {
			err = channel.SendText(string(m.Data))
		} else {
			err = channel.Send(m.Data)
		}
		if err != nil {
			p.fail("echo on "+label, err)
		}
	})
}

func (p *peer) reportMessage(label string, m webrtc.DataChannelMessage) {
	if m.IsString {
		p.emit(object{"type": "message", "label": label, "text": string(m.Data)})
		return
	}
	p.emit(object{"type": "message", "label": label, "binary": len(m.Data), "sha256": digest(m.Data)})
}

func (p *peer) send(m inbound) error {
	channel, err := p.channel(m.Label)
	if err != nil {
		return err
	}
	if m.Random == nil {
		return channel.SendText(*m.Text)
	}
	data := make([]byte, *m.Random)
	if _, err := rand.Read(data); err != nil {
		return err
	}
	p.emit(object{"type": "sent", "label": m.Label, "binary": len(data), "sha256": digest(data)})
	return channel.Send(data)
}

func (p *peer) channel(label string) (*webrtc.DataChannel, error) {
	p.lock.Lock()
	defer p.lock.Unlock()
	if channel, ok := p.channels[label]; ok {
		return channel, nil
	}
	return nil, fmt.Errorf("no channel %s", label)
}

func (p *peer) emit(message object) {
	line, err := json.Marshal(message)
	if err != nil {
		line = []byte(`{"type":"error","message":"a report that does not encode"}`)
	}
	p.outLock.Lock()
	defer p.outLock.Unlock()
	_, _ = p.out.Write(append(line, '\n'))
	_ = p.out.Flush()
}

func (p *peer) fail(where string, err error) {
	p.emit(object{"type": "error", "message": where + ": " + err.Error()})
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
