"""What the measuring scripts share: a release build, a node of their own, plain requests, the last line.

Only the standard library. A script prints `name: figure (target ...)` last and exits non-zero when the
figure falls short, or when anything that it needs is missing.
"""

import contextlib
import http.client
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
READY_SECONDS = 60


def build(*more):
    """Builds every release binary, and what else is named to cargo; answers the folder in which they lie.

    Always the whole workspace: cargo builds dependencies anew for every choice of packages.
    """
    arguments = ["cargo", "build", "--release", "--workspace", "--bins", "--locked", "--quiet", *more]
    subprocess.run(arguments, cwd=ROOT, check=True)
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    return pathlib.Path(target) / "release"


class Node:
    """A process of `ultrakv start` on free loopback ports; gone when the `with` block ends."""

    def __init__(self, binary, config="", arguments=()):
        self.folder = tempfile.TemporaryDirectory(prefix="ultrakv-show-")
        folder = pathlib.Path(self.folder.name)
        (folder / "node.yaml").write_text(config)
        announce = folder / "announce.json"
        self.log = folder / "node.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [binary, "start", "--config", folder / "node.yaml", "--http", "127.0.0.1:0",
                 "--admin", "127.0.0.1:0", "--announce", announce, *arguments],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
        began = time.monotonic()
        while not announce.exists():
            if self.process.poll() is not None or time.monotonic() - began > READY_SECONDS:
                self.close()
                raise SystemExit(f"the node did not become ready:\n{self.log.read_text()}")
            time.sleep(0.02)
        said = json.loads(announce.read_text())
        self.http, self.admin = said["http"], said["admin"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def alive(self):
        return self.process.poll() is None

    def resident_bytes(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise SystemExit("the kernel tells no resident size")

    def post(self, path, body, headers=None):
        return post(self.http, path, body, headers)

    def get(self, path, door="http"):
        connection = http.client.HTTPConnection(getattr(self, door), timeout=120)
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def post(address, path, body, headers=None):
    """Sends JSON, answers (status, parsed body)."""
    connection = http.client.HTTPConnection(address, timeout=120)
    connection.request("POST", path, json.dumps(body),
                       {"content-type": "application/json", **(headers or {})})
    answer = connection.getresponse()
    raw = answer.read()
    try:
        return answer.status, json.loads(raw)
    except ValueError:
        return answer.status, raw


def first_event_ms(address, path, body, headers=None):
    """Sends a streaming request; answers (ms until the first token's event, every event's data)."""
    connection = http.client.HTTPConnection(address, timeout=120)
    began = time.perf_counter()
    connection.request("POST", path, json.dumps(body),
                       {"content-type": "application/json", **(headers or {})})
    answer = connection.getresponse()
    if answer.status != 200:
        raise SystemExit(f"{path} answered {answer.status}: {answer.read()!r}")
    first, events = None, []
    for line in answer:
        if line.startswith(b"data:"):
            if first is None:
                first = (time.perf_counter() - began) * 1000
            events.append(line[5:].strip().decode())
    return first, events


def verdict(name, figure, target, holds):
    """Prints the last line and ends the script."""
    print(f"{name}: {figure} (target {target})", flush=True)
    sys.exit(0 if holds else 1)


median = statistics.median
