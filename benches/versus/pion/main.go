// Pion's side of the comparison: the same work as benches/versus/looprtc.rs, both ends in this
// process, over real UDP sockets on the loopback interface, signaling in memory.
//
// Built against Debian's golang-github-pion-webrtc.v3-dev by benches/versus/run (which lays this
// directory under a GOPATH: only there does Go find `/v3` in a package without a module proxy).
//
// Every result is one line of JSON on standard output; a bench that fails prints a line with
// "error" and makes the program exit with status 1.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"

	"github.com/pion/ice/v2"
	"github.com/pion/interceptor"
	"github.com/pion/webrtc/v3"
)

const connectTimeout = 20 * time.Second

// ---- the clock, the processor and the memory of this process ------------------------------

// cpuTime is what the whole process has used, user and system, garbage collector included.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// residentBytes reads VmRSS.
func residentBytes() (uint64, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(text), "\n") {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == "VmRSS:" {
			kib, err := strconv.ParseUint(fields[1], 10, 64)
			return kib * 1024, err
		}
	}
	return 0, fmt.Errorf("/proc/self/status names no VmRSS")
}

// quantile wants a sorted slice; microseconds.
func quantile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	i := int(q * float64(len(sorted)-1))
	return float64(sorted[i]) / 1e3
}

func sortDurations(d []time.Duration) {
	sort.Slice(d, func(i, j int) bool { return d[i] < d[j] })
}

func micros(d time.Duration) float64 { return float64(d) / 1e3 }

type result map[string]interface{}

func emit(r result) {
	r["peer"] = "pion"
	line, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}

// ---- a pair of peers ----------------------------------------------------------------------

type factory struct {
	api    *webrtc.API
	config webrtc.Configuration
}

// newFactory: IPv4 loopback only, no mDNS, so that gathering is the same work everywhere.
func newFactory(shareCertificate bool) (*factory, error) {
	settings := webrtc.SettingEngine{}
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetIPFilter(func(ip net.IP) bool { return ip.IsLoopback() })
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	// What NewPeerConnection sets up by itself: codecs, NACK, reports, transport-wide feedback.
	media := &webrtc.MediaEngine{}
	if err := media.RegisterDefaultCodecs(); err != nil {
		return nil, err
	}
	interceptors := &interceptor.Registry{}
	if err := webrtc.RegisterDefaultInterceptors(media, interceptors); err != nil {
		return nil, err
	}
	f := &factory{api: webrtc.NewAPI(
		webrtc.WithSettingEngine(settings),
		webrtc.WithMediaEngine(media),
		webrtc.WithInterceptorRegistry(interceptors),
	)}
	if shareCertificate {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		certificate, err := webrtc.GenerateCertificate(key)
		if err != nil {
			return nil, err
		}
		f.config.Certificates = []webrtc.Certificate{*certificate}
	}
	return f, nil
}

type pair struct {
	offerer, answerer *webrtc.PeerConnection
	// The same channel, seen from the offerer and from the answerer; open on both sides.
	near, far *webrtc.DataChannel
}

func (p *pair) close() {
	_ = p.offerer.Close()
	_ = p.answerer.Close()
}

// trickle hands every candidate of `from` to `to`, holding those found before `to` knows the
// remote description: the flow of pion's pion-to-pion example.
type trickle struct {
	mu      sync.Mutex
	to      *webrtc.PeerConnection
	ready   bool
	pending []webrtc.ICECandidateInit
}

func newTrickle(from, to *webrtc.PeerConnection) *trickle {
	t := &trickle{to: to}
	from.OnICECandidate(func(c *webrtc.ICECandidate) {
		if c == nil {
			return
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.ready {
			_ = t.to.AddICECandidate(c.ToJSON())
		} else {
			t.pending = append(t.pending, c.ToJSON())
		}
	})
	return t
}

func (t *trickle) flush() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ready = true
	for _, c := range t.pending {
		_ = t.to.AddICECandidate(c)
	}
	t.pending = nil
}

// connect builds two peers and returns when the channel is open on both ends.
func (f *factory) connect() (*pair, error) {
	offerer, err := f.api.NewPeerConnection(f.config)
	if err != nil {
		return nil, err
	}
	answerer, err := f.api.NewPeerConnection(f.config)
	if err != nil {
		_ = offerer.Close()
		return nil, err
	}
	p := &pair{offerer: offerer, answerer: answerer}
	if err := p.negotiate(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *pair) negotiate() error {
	nearOpen := make(chan struct{})
	farOpen := make(chan *webrtc.DataChannel, 1)
	toAnswerer := newTrickle(p.offerer, p.answerer)
	toOfferer := newTrickle(p.answerer, p.offerer)

	near, err := p.offerer.CreateDataChannel("data", nil)
	if err != nil {
		return err
	}
	p.near = near
	near.OnOpen(func() { close(nearOpen) })
	p.answerer.OnDataChannel(func(d *webrtc.DataChannel) {
		d.OnOpen(func() { farOpen <- d })
	})

	offer, err := p.offerer.CreateOffer(nil)
	if err != nil {
		return err
	}
	if err := p.offerer.SetLocalDescription(offer); err != nil {
		return err
	}
	if err := p.answerer.SetRemoteDescription(offer); err != nil {
		return err
	}
	toAnswerer.flush()
	answer, err := p.answerer.CreateAnswer(nil)
	if err != nil {
		return err
	}
	if err := p.answerer.SetLocalDescription(answer); err != nil {
		return err
	}
	if err := p.offerer.SetRemoteDescription(answer); err != nil {
		return err
	}
	toOfferer.flush()

	deadline := time.NewTimer(connectTimeout)
	defer deadline.Stop()
	select {
	case <-nearOpen:
	case <-deadline.C:
		return fmt.Errorf("the offerer's channel did not open within %v", connectTimeout)
	}
	select {
	case p.far = <-farOpen:
	case <-deadline.C:
		return fmt.Errorf("the answerer's channel did not open within %v", connectTimeout)
	}
	return nil
}

// ---- the benches --------------------------------------------------------------------------

// benchConnect: from two NewPeerConnection to the channel open on both ends, one pair after the
// other. The processor time also holds the closing of the pair.
func benchConnect(variant string, shareCertificate bool, n int) error {
	f, err := newFactory(shareCertificate)
	if err != nil {
		return err
	}
	for i := 0; i < 5; i++ {
		p, err := f.connect()
		if err != nil {
			return err
		}
		p.close()
	}
	wall := make([]time.Duration, 0, n)
	cpu := cpuTime()
	for i := 0; i < n; i++ {
		start := time.Now()
		p, err := f.connect()
		if err != nil {
			return fmt.Errorf("pair %d of %d: %w", i+1, n, err)
		}
		wall = append(wall, time.Since(start))
		p.close()
	}
	cpu = cpuTime() - cpu
	sortDurations(wall)
	emit(result{
		"bench": "connect", "variant": variant, "n": n,
		"wall_us_p50": quantile(wall, 0.5), "wall_us_p99": quantile(wall, 0.99),
		"cpu_us": micros(cpu) / float64(n),
	})
	return nil
}

// benchRoundTrip: one 64-byte message there and back, over and over, with `idle` other connected
// pairs in the same process.
func benchRoundTrip(bench string, idle int, seconds float64) error {
	f, err := newFactory(true)
	if err != nil {
		return err
	}
	others, err := f.connectMany(idle)
	defer closeAll(others)
	if err != nil {
		return err
	}
	p, err := f.connect()
	if err != nil {
		return err
	}
	defer p.close()

	back := make(chan int, 1)
	p.far.OnMessage(func(m webrtc.DataChannelMessage) { _ = p.far.Send(m.Data) })
	p.near.OnMessage(func(m webrtc.DataChannelMessage) { back <- len(m.Data) })
	message := make([]byte, 64)
	once := func() error {
		if err := p.near.Send(message); err != nil {
			return err
		}
		select {
		case n := <-back:
			if n != len(message) {
				return fmt.Errorf("%d bytes came back instead of %d", n, len(message))
			}
			return nil
		case <-time.After(connectTimeout):
			return fmt.Errorf("no echo within %v", connectTimeout)
		}
	}
	for i := 0; i < 500; i++ {
		if err := once(); err != nil {
			return err
		}
	}
	var trips []time.Duration
	cpu, began := cpuTime(), time.Now()
	for time.Since(began).Seconds() < seconds {
		start := time.Now()
		if err := once(); err != nil {
			return err
		}
		trips = append(trips, time.Since(start))
	}
	cpu = cpuTime() - cpu
	sortDurations(trips)
	emit(result{
		"bench": bench, "variant": strconv.Itoa(idle) + " idle", "n": len(trips), "idle": idle,
		"wall_us_p50": quantile(trips, 0.5), "wall_us_p99": quantile(trips, 0.99),
		"cpu_us": micros(cpu) / float64(len(trips)),
	})
	return nil
}

// benchThroughput: reliable and ordered, one way; the sender fills up to the high water mark and
// goes on when the buffered amount is low. Counted at the receiver, after a second's warm-up.
//
// The default water marks are those at which this pion does best at every size; with 128 KiB and
// more it nearly stops at 64 B and loses a third at the other sizes. The largest message its
// OnMessage can read is 65,535 bytes.
func benchThroughput(size int, seconds float64, high, low uint64) error {
	f, err := newFactory(true)
	if err != nil {
		return err
	}
	p, err := f.connect()
	if err != nil {
		return err
	}
	defer p.close()

	var received, messages int64
	p.far.OnMessage(func(m webrtc.DataChannelMessage) {
		atomic.AddInt64(&received, int64(len(m.Data)))
		atomic.AddInt64(&messages, 1)
	})
	isLow := make(chan struct{}, 1)
	p.near.SetBufferedAmountLowThreshold(low)
	p.near.OnBufferedAmountLow(func() {
		select {
		case isLow <- struct{}{}:
		default:
		}
	})
	var stop int32
	stopped := make(chan error, 1)
	go func() {
		message := make([]byte, size)
		for atomic.LoadInt32(&stop) == 0 {
			if err := p.near.Send(message); err != nil {
				stopped <- err
				return
			}
			if p.near.BufferedAmount() > high {
				select {
				case <-isLow:
				case <-time.After(connectTimeout):
					stopped <- fmt.Errorf("the buffered amount stayed high for %v", connectTimeout)
					return
				}
			}
		}
		stopped <- nil
	}()
	time.Sleep(time.Second)
	bytes0, messages0 := atomic.LoadInt64(&received), atomic.LoadInt64(&messages)
	cpu, began := cpuTime(), time.Now()
	time.Sleep(time.Duration(seconds * float64(time.Second)))
	bytes := atomic.LoadInt64(&received) - bytes0
	count := atomic.LoadInt64(&messages) - messages0
	cpu, wall := cpuTime()-cpu, time.Since(began)
	atomic.StoreInt32(&stop, 1)
	if err := <-stopped; err != nil {
		return err
	}
	if count == 0 {
		return fmt.Errorf("nothing of %d bytes arrived in %v", size, wall)
	}
	emit(result{
		"bench": "throughput", "variant": strconv.Itoa(size) + " B", "size": size, "n": count,
		"mb_per_s":     float64(bytes) / wall.Seconds() / 1e6,
		"mb_per_cpu_s": float64(bytes) / cpu.Seconds() / 1e6,
	})
	return nil
}

// benchMemory: how much the resident set grows for `pairs` connected pairs, divided by their
// 2 × pairs ends. Every end is one PeerConnection with one open channel that has carried one
// message. Garbage is collected and given back to the system before both readings.
func benchMemory(pairs int, settle float64) error {
	f, err := newFactory(true)
	if err != nil {
		return err
	}
	warm, err := f.connectMany(10)
	closeAll(warm)
	if err != nil {
		return err
	}
	time.Sleep(time.Second)
	debug.FreeOSMemory()
	before, err := residentBytes()
	if err != nil {
		return err
	}
	cpu := cpuTime()
	all, err := f.connectMany(pairs)
	defer closeAll(all)
	if err != nil {
		return err
	}
	var got int64
	for _, p := range all {
		p.far.OnMessage(func(webrtc.DataChannelMessage) { atomic.AddInt64(&got, 1) })
	}
	for _, p := range all {
		if err := p.near.Send(make([]byte, 64)); err != nil {
			return err
		}
	}
	connected := time.Now()
	cpu = cpuTime() - cpu
	time.Sleep(time.Duration(settle * float64(time.Second)))
	idleCPU, idleBegan := cpuTime(), time.Now()
	time.Sleep(time.Duration(settle * float64(time.Second)))
	idleCPU = cpuTime() - idleCPU
	idleWall := time.Since(idleBegan)
	if n := atomic.LoadInt64(&got); n != int64(pairs) {
		return fmt.Errorf("%d of %d messages arrived within %v", n, pairs, time.Since(connected))
	}
	asIs, err := residentBytes()
	if err != nil {
		return err
	}
	debug.FreeOSMemory()
	after, err := residentBytes()
	if err != nil {
		return err
	}
	runtime.KeepAlive(all)
	ends := float64(2 * pairs)
	emit(result{
		"bench": "memory", "variant": strconv.Itoa(pairs) + " pairs", "n": 2 * pairs,
		"kib_per_end":           float64(int64(after)-int64(before)) / 1024 / ends,
		"kib_per_end_before_gc": float64(int64(asIs)-int64(before)) / 1024 / ends,
		"idle_cpu_us_per_end_s": micros(idleCPU) / ends / idleWall.Seconds(),
		"connect_cpu_us":        micros(cpu) / float64(pairs),
	})
	return nil
}

func (f *factory) connectMany(n int) ([]*pair, error) {
	all := make([]*pair, 0, n)
	for i := 0; i < n; i++ {
		p, err := f.connect()
		if err != nil {
			return all, fmt.Errorf("pair %d of %d: %w", i+1, n, err)
		}
		all = append(all, p)
	}
	return all, nil
}

func closeAll(pairs []*pair) {
	for _, p := range pairs {
		p.close()
	}
}

// ---- the command line ---------------------------------------------------------------------

func main() {
	benches := flag.String("only", "connect,rtt,idle,throughput,memory,fanout", "which, by commas")
	n := flag.Int("n", 200, "pairs of the connect bench")
	seconds := flag.Float64("seconds", 3, "length of each round-trip and throughput measurement")
	sizes := flag.String("sizes", "64,1200,16384,65535", "message sizes of the throughput bench, bytes")
	high := flag.Uint64("high", 64*1024, "throughput: the sender pauses above this buffered amount, bytes")
	low := flag.Uint64("low", 32*1024, "throughput: the sender goes on at this buffered amount, bytes")
	pairs := flag.Int("pairs", 300, "pairs of the memory bench")
	idle := flag.Int("idle", 500, "idle pairs beside the busy one of the idle bench")
	settle := flag.Float64("settle", 5, "seconds before the memory is read")
	flag.Parse()

	failed := false
	report := func(bench, variant string, err error) {
		if err != nil {
			failed = true
			emit(result{"bench": bench, "variant": variant, "error": err.Error()})
		}
	}
	for _, bench := range strings.Split(*benches, ",") {
		switch bench {
		case "connect":
			report(bench, "new certificates", benchConnect("new certificates", false, *n))
			report(bench, "shared certificate", benchConnect("shared certificate", true, *n))
		case "rtt":
			report(bench, "0 idle", benchRoundTrip(bench, 0, *seconds))
		case "idle":
			report(bench, fmt.Sprintf("%d idle", *idle), benchRoundTrip(bench, *idle, *seconds))
		case "throughput":
			for _, text := range strings.Split(*sizes, ",") {
				size, err := strconv.Atoi(text)
				if err == nil {
					err = benchThroughput(size, *seconds, *high, *low)
				}
				report(bench, text+" B", err)
			}
		case "fanout":
			for _, c := range fanoutCases {
				report(bench, fanoutVariant(c[0], c[1]), benchFanout(c[0], c[1], *seconds))
			}
		case "memory":
			report(bench, fmt.Sprintf("%d pairs", *pairs), benchMemory(*pairs, *settle))
		default:
			if viewers, isSFU := sfuViewers(bench); isSFU {
				report(bench, strconv.Itoa(viewers)+" viewers", benchSFU(viewers, *seconds))
				continue
			}
			fmt.Fprintf(os.Stderr, "no such bench: %q; there are connect, rtt, idle, throughput, memory, fanout, sfu-VIEWERS\n", bench)
			os.Exit(2)
		}
	}
	if failed {
		os.Exit(1)
	}
}
