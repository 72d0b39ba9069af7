#!/usr/bin/env python3
"""Runs two of the real peers against each other, without looprtc: is it the peer, or is it us?

    tests/interop/pair.py OFFERER ANSWERER [--offerer-args "..."] [--answerer-args "..."]

Each side sends text, binary, both empty, and growing sizes; the other echoes. What came back is printed,
a line a step. Standard library only.
"""

import argparse
import json
import os
import queue
import shlex
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SIZES = (1, 1200, 16384, 65535, 65536, 262143, 262144)
STEP_SECONDS = 6
errors = []


class Peer:
    def __init__(self, name, role, extra):
        self.name, self.role, self.other = name, role, None
        self.reports = queue.Queue()
        self.child = subprocess.Popen(
            [os.path.join(HERE, "peer"), name, "--role", role, *extra],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.child.stdout:
            report = json.loads(line)
            if report["type"] in ("description", "candidate"):
                while self.other is None:
                    time.sleep(0.01)
                if report["type"] == "description":
                    limits = [a for a in report["description"]["sdp"].splitlines() if "max-message-size" in a]
                    print(f"  {self.name} {report['description']['type']} {limits}", flush=True)
                self.other.say(report)
                continue
            if report["type"] == "error":
                errors.append(f"{self.name}: {report['message']}")
            if report["type"] not in ("message", "sent"):
                print(f"  {self.name} ({self.role}): {json.dumps(report)[:300]}", flush=True)
            self.reports.put(report)
        self.reports.put({"type": "exit"})

    def say(self, message):
        try:
            self.child.stdin.write(json.dumps(message) + "\n")
            self.child.stdin.flush()
        except (BrokenPipeError, ValueError):
            pass

    def wait(self, kind, **fields):
        end = time.monotonic() + STEP_SECONDS
        while True:
            try:
                report = self.reports.get(timeout=max(0, end - time.monotonic()))
            except queue.Empty:
                return None
            if report["type"] == "exit":
                return None
            if report["type"] == kind and all(report.get(k) == v for k, v in fields.items()):
                return report


def short(report):
    if report is None:
        return "NOTHING"
    if "text" in report:
        return f"text of {len(report['text'])}"
    return f"binary of {report['binary']} {report['sha256'][:8]}"


def exchange(sender, receiver, label, largest):
    failures = 0
    text = "grüße " + "x" * 20000
    # The receiver echoes and the sender does not (see main), so each message is seen twice.
    for what, message in [("text", {"text": text}), ("empty text", {"text": ""})] + [
        (f"binary {n}", {"random": n}) for n in (0, *SIZES) if n <= largest
    ]:
        sender.say({"type": "send", "label": label, **message})
        if "random" in message:
            sent = sender.wait("sent")
            want = None if sent is None else {"binary": sent["binary"], "sha256": sent["sha256"]}
        else:
            want = message
        there = receiver.wait("message")
        back = sender.wait("message")
        good = all(r is not None and all(r.get(k) == v for k, v in want.items()) for r in (there, back))
        failures += not good
        print(f"{'ok  ' if good else 'FAIL'} {sender.name} -> {receiver.name} {what}: there {short(there)}, back {short(back)}", flush=True)
    return failures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("offerer")
    parser.add_argument("answerer")
    parser.add_argument("--offerer-args", default="")
    parser.add_argument("--answerer-args", default="")
    parser.add_argument("--max", type=int, default=262144, help="the largest message to try")
    args = parser.parse_args()
    # Only one side echoes, or a message would never come to rest.
    a = Peer(args.offerer, "offer", ["--no-echo", *shlex.split(args.offerer_args)])
    b = Peer(args.answerer, "answer", shlex.split(args.answerer_args))
    a.other, b.other = b, a
    begun = time.monotonic()
    failures = 0
    if a.wait("open", label="interop") is None or b.wait("open", label="interop") is None:
        sys.exit("FAIL no channel opened")
    print(f"ok   open after {time.monotonic() - begun:.2f} s")
    failures += exchange(a, b, "interop", args.max)
    b.say({"type": "create", "label": "second", "ordered": False, "maxRetransmits": 3, "protocol": "proto"})
    got = a.wait("open", label="second")
    want = {"ordered": False, "maxRetransmits": 3, "protocol": "proto"}
    good = got is not None and all(got.get(k) == v for k, v in want.items())
    failures += not good
    print(f"{'ok  ' if good else 'FAIL'} second channel: {got}")
    b.say({"type": "close-channel", "label": "second"})
    closed = a.wait("closed", label="second")
    failures += closed is None
    print(f"{'ok  ' if closed else 'FAIL'} closing a channel")
    b.say({"type": "close"})
    gone = a.wait("closed")
    print(f"note after {b.name} closed, {a.name} saw {gone}")
    for peer in (a, b):
        peer.child.stdin.close()
    for peer in (a, b):
        try:
            peer.child.wait(5)
        except subprocess.TimeoutExpired:
            print(f"FAIL {peer.name} does not leave")
            failures += 1
            peer.child.kill()
    for error in errors:
        print(f"FAIL {error}")
    sys.exit(1 if failures or errors else 0)


main()
