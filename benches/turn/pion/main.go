// pion's TURN server, as small as it gets: benches/turn/run puts it beside ours.
//
//	pion-turn PORT USERNAME PASSWORD
package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"

	"github.com/pion/turn/v2"
)

func main() {
	port, user, password := os.Args[1], os.Args[2], os.Args[3]
	conn, err := net.ListenPacket("udp4", "127.0.0.1:"+port)
	check(err)
	key := turn.GenerateAuthKey(user, "bench", password)
	server, err := turn.NewServer(turn.ServerConfig{
		Realm: "bench",
		AuthHandler: func(name, realm string, source net.Addr) ([]byte, bool) {
			return key, name == user
		},
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn: conn,
			RelayAddressGenerator: &turn.RelayAddressGeneratorStatic{
				RelayAddress: net.ParseIP("127.0.0.1"), Address: "127.0.0.1",
			},
		}},
	})
	check(err)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt)
	<-signals
	check(server.Close())
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
