#!/usr/bin/env python3
"""Makes a WHIP or WHEP client of one of the real peers: the peer does the WebRTC, this script the HTTP.

    tests/interop/whip.py PEER URL --media video:VP8,audio:opus [--restart] [--watch FRAMES]

Without --watch it publishes: it prints "ready", then goes on until its standard input ends. With --watch it
ends well when so many pictures have been decoded and sound has come. --restart restarts ICE in between, and the
media has to go on. Candidates are sent by PATCH as they are found. Standard library only.
"""

import argparse
import json
import os
import queue
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
FRAGMENT = "application/trickle-ice-sdpfrag"
PATIENCE = 40


class Peer:
    """A peer that offers; its reports come from a queue."""

    def __init__(self, name, media):
        self.reports = queue.Queue()
        command = [os.path.join(HERE, "peer"), name, "--role", "offer", "--no-echo", "--media", media]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.child.stdout:
            self.reports.put(json.loads(line))
        self.reports.put({"type": "exit"})

    def say(self, **message):
        self.child.stdin.write(json.dumps(message) + "\n")
        self.child.stdin.flush()


class Session:
    """What RFC 9725 has a client do."""

    def __init__(self, url, token):
        self.endpoint, self.token = url, token
        self.url = self.tag = self.answer = self.offer = None
        self.waiting = []

    def ask(self, method, url, body=None, expected=(200,), **headers):
        request = urllib.request.Request(url, data=body and body.encode(), method=method)
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                status, text, found = response.status, response.read().decode(), response.headers
        except urllib.error.HTTPError as error:
            status, text, found = error.code, error.read().decode(), error.headers
        assert status in expected, f"{method} {url}: {status} {text}"
        return text, found

    def create(self, offer):
        self.offer = offer
        text, headers = self.ask("POST", self.endpoint, offer, (201,), Content_Type="application/sdp")
        assert headers["Content-Type"] == "application/sdp", headers
        self.url = urllib.parse.urljoin(self.endpoint, headers["Location"])
        self.tag, self.answer = headers["ETag"], text
        return text

    def fragment(self, candidates):
        """The credentials of the offer, for its first m-line, and these candidates."""
        lines = self.offer.splitlines()
        first = lambda begin: next(line for line in lines if line.startswith(begin))
        head = [first("m="), first("a=mid:"), first("a=ice-ufrag:"), first("a=ice-pwd:")]
        return "".join(f"{line}\r\n" for line in [*head, *candidates])

    def trickle(self):
        if not self.waiting or self.url is None:
            return
        body, self.waiting = self.fragment(self.waiting), []
        self.ask("PATCH", self.url, body, (204,), Content_Type=FRAGMENT, If_Match=self.tag)

    def restart(self, offer):
        """The answer to the offer of an ICE restart, and the server's candidates."""
        self.offer = offer
        inside = [line for line in offer.splitlines() if line.startswith("a=candidate:")]
        body = self.fragment(inside[:20])
        text, headers = self.ask("PATCH", self.url, body, (200,), Content_Type=FRAGMENT, If_Match="*")
        assert headers["ETag"] and headers["ETag"] != self.tag, headers
        self.tag = headers["ETag"]
        lines = text.splitlines()
        new = {line.split(":")[0]: line for line in lines if line.startswith("a=ice-")}
        candidates = [line for line in lines if line.startswith("a=candidate:")]
        assert candidates, text
        old = [line for line in self.answer.splitlines() if not line.startswith("a=candidate:")]
        out = []
        for line in old:
            begin = line.split(":")[0]
            out.append(new[begin] if begin in ("a=ice-ufrag", "a=ice-pwd") else line)
            if line.startswith("a=mid:") and candidates:
                out += candidates
                candidates = []
        self.answer = "".join(f"{line}\r\n" for line in out)
        return self.answer


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("peer")
    parser.add_argument("url")
    parser.add_argument("--media", required=True)
    parser.add_argument("--token")
    parser.add_argument("--restart", action="store_true")
    parser.add_argument("--watch", type=int, metavar="FRAMES")
    args = parser.parse_args()
    peer, session = Peer(args.peer, args.media), Session(args.url, args.token)
    leave = threading.Event()
    if args.watch is None:
        threading.Thread(target=lambda: (sys.stdin.read(), leave.set()), daemon=True).start()
    try:
        run(args, peer, session, leave)
    finally:
        if session.url:
            session.ask("DELETE", session.url)
            session.ask("DELETE", session.url, None, (404,))
        peer.child.stdin.close()
        try:
            peer.child.wait(10)
        except subprocess.TimeoutExpired:
            peer.child.kill()


def run(args, peer, session, leave):
    end = time.monotonic() + PATIENCE
    kinds = {each.split(":")[0] for each in args.media.split(",")}
    connected = ready = asked_restart = restarted = False
    asked_stats, wanted = 0.0, args.watch
    while not leave.is_set():
        if args.watch is not None or not ready:
            assert time.monotonic() < end, f"{args.peer}: not in {PATIENCE} s"
        if connected and args.watch is not None and time.monotonic() - asked_stats > 0.3:
            asked_stats = time.monotonic()
            peer.say(type="media-stats")
        if connected and not ready and (restarted or not args.restart):
            ready = True
            print("ready", flush=True)
        if connected and args.watch is None and args.restart and not asked_restart:
            asked_restart = True
            peer.say(type="restart-ice")
        try:
            report = peer.reports.get(timeout=0.05)
        except queue.Empty:
            session.trickle()
            continue
        kind = report["type"]
        if kind == "exit":
            sys.exit(f"{args.peer} has left")
        if kind == "error":
            sys.exit(f"{args.peer}: {report['message']}")
        if kind == "description":
            offer = report["description"]["sdp"]
            restarted = session.url is not None
            answer = session.restart(offer) if restarted else session.create(offer)
            peer.say(type="description", description={"type": "answer", "sdp": answer})
            # What comes after it counts.
            wanted = None if restarted else wanted
        if kind == "candidate" and report["candidate"]:
            session.waiting.append("a=" + report["candidate"]["candidate"].removeprefix("a="))
        if kind == "candidate" and not report["candidate"]:
            session.waiting.append("a=end-of-candidates")
        if kind == "state":
            print(report["state"], flush=True)
            connected |= report["state"] == "connected"
            assert report["state"] not in ("failed", "closed"), report
        if kind == "media-stats" and args.watch is not None:
            counts = decoded(report["stats"], kinds)
            if wanted is None:
                wanted = max(counts.values()) + args.watch
            if min(counts.values()) < wanted:
                continue
            print("decoded", counts, flush=True)
            if restarted or not args.restart:
                return
            if not asked_restart:
                asked_restart = True
                peer.say(type="restart-ice")


def decoded(stats, kinds):
    """What has come of each kind: pictures, and packets of sound where nobody counts its frames."""
    counts = {each: 0 for each in kinds}
    for stat in stats:
        if stat.get("type") == "inbound-rtp" and stat.get("source") is None:
            count = stat.get("framesDecoded") or stat.get("packetsReceived") or 0
            counts[stat["kind"]] = max(counts.get(stat["kind"], 0), count)
    return counts


main()
