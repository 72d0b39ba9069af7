"""Janus (Debian's), driven by its HTTP API. tests/interop/README.md has the protocol of all peers.

    janus_peer.py --role answer [--media ...] [--plugin echotest|videoroom]
    janus_peer.py --role offer --janus URL

As the answerer it starts a Janus of its own, and our offer goes to the echo test, or becomes a publisher's in a video room;
it reports `{"type": "janus", "url": URL}`. As the offerer it makes us a subscriber to that room, in the Janus at URL.

Janus sees to media and channels itself, so only descriptions, candidates and states are reported. It gathers no candidate
on a loopback interface: it wants an interface with an address, such as that behind `netlab/behind_bad_link`.
"""
import argparse
import ctypes
import json
import os
import random
import shutil
import signal
import socket
import string
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ROOM = 1234
HTTP = """general: {{ json = "compact" base_path = "/janus" http = true port = {port} https = false }}
admin: {{ admin_http = false admin_https = false }}
"""
CORE = """general: {{
  configs_folder = "{folder}"
  plugins_folder = "{lib}/plugins"
  transports_folder = "{lib}/transports"
  events_folder = "{lib}/events"
  loggers_folder = "{lib}/loggers"
  debug_level = 3
  session_timeout = 60
}}
media: {{ }}
nat: {{ ice_ignore_list = "vmnet" }}
plugins: {{ disable = "{disabled}" }}
transports: {{ disable = "libjanus_mqtt.so,libjanus_nanomsg.so,libjanus_pfunix.so,libjanus_rabbitmq.so,libjanus_websockets.so" }}
"""
ROOMS = f"""general: {{ }}
room-{ROOM}: {{
  description = "tests"
  publishers = 6
  bitrate = 3000000
  fir_freq = 0
  audiocodec = "opus"
  videocodec = "vp8,vp9,h264,av1"
}}
"""
WANTED = ("libjanus_echotest.so", "libjanus_videoroom.so")


def report(**what):
    print(json.dumps(what), flush=True)


def library():
    for folder in ("/usr/lib/x86_64-linux-gnu/janus", "/usr/lib/aarch64-linux-gnu/janus", "/usr/lib/janus"):
        if os.path.isdir(folder):
            return folder
    sys.exit("the plugins of Janus are not where Debian puts them")


def own_address():
    """The address that is reached from elsewhere; nothing is sent."""
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        probe.connect(("198.19.255.254", 9))
        return probe.getsockname()[0]
    except OSError:
        return "127.0.0.1"
    finally:
        probe.close()


def free_port():
    with socket.socket() as listener:
        listener.bind(("", 0))
        return listener.getsockname()[1]


def die_with_parent():
    """Runs in the child: it does not outlive a driver that is killed (prctl, PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Server:
    """A Janus of our own."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="janus-")
        lib, port = library(), free_port()
        disabled = ",".join(p for p in os.listdir(f"{lib}/plugins") if p.endswith(".so") and p not in WANTED)
        for name, text in {
            "janus.jcfg": CORE.format(folder=self.folder, lib=lib, disabled=disabled),
            "janus.transport.http.jcfg": HTTP.format(port=port),
            "janus.plugin.videoroom.jcfg": ROOMS,
            "janus.plugin.echotest.jcfg": "general: { }\n",
        }.items():
            with open(os.path.join(self.folder, name), "w", encoding="utf-8") as file:
                file.write(text)
        self.url = f"http://{own_address()}:{port}/janus"
        self.log = open(os.path.join(self.folder, "log"), "wb")
        self.process = subprocess.Popen(
            ["janus", "-C", f"{self.folder}/janus.jcfg", "-F", self.folder, "-o"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT, preexec_fn=die_with_parent,
        )

    def wait(self):
        until = time.monotonic() + 20
        while time.monotonic() < until:
            try:
                with urllib.request.urlopen(self.url + "/info", timeout=2) as answer:
                    return json.load(answer)
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.05)
        report(type="error", message=f"Janus does not start: {self.tail()}")
        raise SystemExit(1)

    def tail(self):
        with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as log:
            return log.read()[-2000:]

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            self.process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Session:
    """A session with one handle of a plugin."""

    def __init__(self, url, plugin):
        self.url = url
        self.waiting = {}
        self.events = threading.Condition()
        session = self.post("", janus="create")["data"]["id"]
        self.session = f"/{session}"
        handle = self.post(self.session, janus="attach", plugin=f"janus.plugin.{plugin}")["data"]["id"]
        self.handle = f"{self.session}/{handle}"
        threading.Thread(target=self.poll, daemon=True).start()

    def post(self, path, **body):
        body["transaction"] = "".join(random.choices(string.ascii_letters, k=12))
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer = json.load(answer)
        if answer["janus"] == "error":
            raise RuntimeError(answer["error"])
        return answer

    def ask(self, body, jsep=None):
        """A request to the plugin; what it answers comes as an event."""
        message = {"janus": "message", "body": body}
        if jsep:
            message["jsep"] = jsep
        answer = self.post(self.handle, **message)
        if answer["janus"] == "success":
            return answer["plugindata"]["data"], None
        until = time.monotonic() + 20
        with self.events:
            while answer["transaction"] not in self.waiting:
                if not self.events.wait(until - time.monotonic()):
                    raise RuntimeError(f"no answer to {body}")
            event = self.waiting.pop(answer["transaction"])
        data = event.get("plugindata", {}).get("data", {})
        if "error" in data:
            raise RuntimeError(data["error"])
        return data, event.get("jsep")

    def poll(self):
        while True:
            try:
                with urllib.request.urlopen(self.url + self.session + "?maxev=5", timeout=60) as answer:
                    events = json.load(answer)
            except OSError:
                return
            for event in events if isinstance(events, list) else [events]:
                self.on_event(event)

    def on_event(self, event):
        kind = event.get("janus")
        if kind == "event" and "transaction" in event:
            with self.events:
                self.waiting[event["transaction"]] = event
                self.events.notify_all()
        elif kind == "webrtcup":
            report(type="state", state="connected")
        elif kind == "hangup":
            report(type="state", state="closed")
        elif kind == "slowlink":
            report(type="log", message=f"slow link: {event}")

    def trickle(self, candidate):
        self.post(self.handle, janus="trickle", candidate=candidate)


def describe(jsep):
    report(type="description", description={"type": jsep["type"], "sdp": jsep["sdp"]})


def answer(session, plugin, offer):
    if plugin == "echotest":
        _, jsep = session.ask({"audio": True, "video": True, "data": True}, offer)
    else:
        session.ask({"request": "join", "ptype": "publisher", "room": ROOM})
        _, jsep = session.ask({"request": "publish"}, offer)
    describe(jsep)


def subscribe(session):
    """To whoever publishes in the room."""
    until = time.monotonic() + 20
    while True:
        listed, _ = session.ask({"request": "listparticipants", "room": ROOM})
        feeds = [p["id"] for p in listed["participants"] if p.get("publisher")]
        if feeds or time.monotonic() > until:
            break
        time.sleep(0.1)
    streams = [{"feed": feed} for feed in feeds]
    _, jsep = session.ask({"request": "join", "ptype": "subscriber", "room": ROOM, "streams": streams})
    describe(jsep)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--role", required=True)
    options.add_argument("--plugin", default="echotest")
    options.add_argument("--janus")
    options.add_argument("--media")
    options.add_argument("--clips")
    options.add_argument("--max-seconds", type=float, default=120)
    options = options.parse_args()
    server = None if options.janus else Server()

    def give_up():
        if server:
            server.end()
        os._exit(1)

    threading.Timer(options.max_seconds, give_up).start()
    try:
        if server:
            server.wait()
            report(type="janus", url=server.url)
        url = options.janus or server.url
        plugin = "videoroom" if options.role == "offer" else options.plugin
        session = Session(url, plugin)
        if options.role == "offer":
            subscribe(session)
        for line in sys.stdin:
            command = json.loads(line)
            try:
                if command["type"] == "description" and command["description"]["type"] == "offer":
                    answer(session, plugin, command["description"])
                elif command["type"] == "description":
                    session.ask({"request": "start"}, command["description"])
                elif command["type"] == "candidate":
                    session.trickle(command["candidate"] or {"completed": True})
                elif command["type"] == "close":
                    session.post(session.handle, janus="hangup")
            except (RuntimeError, OSError) as error:
                report(type="error", message=f"Janus, {command['type']}: {error}")
    finally:
        if server:
            server.end()
    os._exit(0)


main()
