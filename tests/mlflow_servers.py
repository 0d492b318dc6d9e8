"""A real MLflow server, and a proxy before it that behaves as badly as told."""

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import requests


@contextmanager
def mlflow_server(folder, port):
    """A real MLflow server with its own database and artifacts; as it was left, if it is started again."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    log = (folder / "server.log").open("ab")
    process = subprocess.Popen(
        [*command, "--backend-store-uri", f"sqlite:///{folder / 'server.db'}"],
        cwd=folder,
        env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},  # eight processes that nothing here needs
        stdout=log,
        stderr=log,
    )
    try:
        deadline = time.monotonic() + 300
        while not _answers(port):
            assert process.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        for child in [*psutil.Process(process.pid).children(recursive=True), process]:
            child.kill()
        process.wait()
        log.close()


def _answers(port):
    try:
        return requests.get(f"http://127.0.0.1:{port}/health", timeout=1).ok
    except (requests.ConnectionError, requests.Timeout):
        return False


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class FaultyProxy:
    """Stands between a client and a server, and lets requests through unless told otherwise.

    Attributes:
        mood: "fine", "refuses" (the connection is cut), "500" (every answer is an error), or "hangs" (no answer).
        requests: how many came.
        before_each: called with each request.
    """

    def __init__(self, target_port):
        self.mood = "fine"
        self.requests = 0
        self.before_each = lambda: None
        self.released = threading.Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                proxy.requests += 1
                proxy.before_each()
                if proxy.mood == "fine":
                    self.pass_on(body)
                elif proxy.mood == "500":
                    self.answer(500, b"out of order")
                else:
                    if proxy.mood == "hangs":
                        proxy.released.wait(60)
                    self.close_connection = True

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815 - names of http.server

            def pass_on(self, body):
                connection = http.client.HTTPConnection("127.0.0.1", target_port)
                headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
                try:
                    connection.request(self.command, self.path, body, headers)
                    found = connection.getresponse()
                    self.answer(found.status, found.read(), found.getheader("Content-Type"))
                except OSError:
                    self.close_connection = True
                finally:
                    connection.close()

            def answer(self, status, body, kind="text/plain"):
                self.send_response(status)
                self.send_header("Content-Type", kind or "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
