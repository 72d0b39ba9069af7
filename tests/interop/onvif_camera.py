"""The ONVIF part of ipycam, a virtual camera that others wrote: discovery and SOAP on the loopback interface, without its video.

    .venv/bin/python onvif_camera.py PORT USER PASSWORD

Prints "ready" once it answers. Ends with its standard input.
"""

import http.server
import importlib
import importlib.util
import os
import sys
import threading
import types

port, user, password = int(sys.argv[1]), sys.argv[2], sys.argv[3]


class Absent(types.ModuleType):
    """A module that is not installed, and has whatever annotations ask of it."""

    def __getattr__(self, name):
        return object


# The package imports OpenCV and numpy at once; its modules for ONVIF do not need them.
package = types.ModuleType("ipycam")
package.__path__ = importlib.util.find_spec("ipycam").submodule_search_locations
sys.modules["ipycam"] = package
sys.modules.update(cv2=Absent("cv2"), numpy=Absent("numpy"))
config = importlib.import_module("ipycam.config").CameraConfig()
config.local_ip = "127.0.0.1"
config.onvif_port = port
config.username = user
config.password = password
service = importlib.import_module("ipycam.onvif").ONVIFService(config)
handler = importlib.import_module("ipycam.http").IPCameraHTTPHandler
handler.camera = types.SimpleNamespace(config=config, onvif=service, ptz=None)
importlib.import_module("ipycam.discovery").WSDiscoveryServer(service).start()
server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
os._exit(0)
