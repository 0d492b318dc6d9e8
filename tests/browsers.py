"""A real headless Chromium, spoken to through chromedriver by the W3C WebDriver protocol."""

import base64
import os
import shutil
import subprocess
import time
from contextlib import contextmanager

import psutil
import requests
from mlflow_servers import free_port

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMEDRIVER = shutil.which("chromedriver")
WHY_NOT = "there is no Chromium with its chromedriver here" if None in (CHROMIUM, CHROMEDRIVER) else None
"""Why no browser can be started; None if one can."""
PATIENCE_SECONDS = 120
"""For what a page is to show."""
ANSWER_SECONDS = 300
"""For an answer of Chromium, of which a busy machine lets each take its time."""


class Browser:
    """One window."""

    def __init__(self, session, address):
        self._session, self._address = session, address

    def open(self, address):
        self._ask("url", url="about:blank")  # a page whose address differs after the # alone would not be loaded again
        self._ask("url", url=address)

    def run(self, script, *arguments):
        """What a function body in JavaScript returns."""
        return self._ask("execute/sync", script=script, args=list(arguments))

    def wait_for(self, script, *arguments):
        """What it returns as soon as that is anything at all; the text of the page is told if it never is."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if found := self.run(script, *arguments):
                return found
            time.sleep(0.2)
        raise AssertionError(f"in vain: {script} {arguments}; the page:\n{self.text()}")

    def wait_for_text(self, *texts):
        self.wait_for("return [...arguments].every(text => document.body?.innerText.includes(text))", *texts)

    def text(self):
        return self.run("return document.body.innerText")

    def devtools(self, command, **parameters):
        """What Chromium answers to a command of its DevTools protocol."""
        return self._ask("goog/cdp/execute", cmd=command, params=parameters)

    def press(self, key):
        """Tab or Enter."""
        value = {"Tab": "\ue004", "Enter": "\ue007"}[key]
        strokes = [{"type": kind, "value": value} for kind in ("keyDown", "keyUp")]
        self._ask("actions", actions=[{"type": "key", "id": "keyboard", "actions": strokes}])

    def messages(self):
        """Warnings and errors in the console since the last call."""
        return [entry["message"] for entry in self._ask("se/log", type="browser")]

    def take_picture(self, path):
        path.write_bytes(base64.b64decode(self._ask("screenshot", method="GET")))

    def _ask(self, what, method="POST", **content):
        answer = self._session.request(
            method, f"{self._address}/{what}", json=content if method == "POST" else None, timeout=ANSWER_SECONDS
        )
        assert answer.ok, answer.json()["value"]["message"]
        return answer.json()["value"]


@contextmanager
def open_browser(folder, width=1600, height=1500):
    """A browser whose profile, cache and log lie in `folder`; it uses no proxy."""
    port, session = free_port(), requests.Session()
    session.trust_env = False
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    with (folder / "chromedriver.log").open("ab") as log:
        driver = subprocess.Popen(
            [CHROMEDRIVER, f"--port={port}"], stdout=log, stderr=log, env=environment | {"HOME": str(folder)}
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_until_ready(session, address, driver)
        switches = ["headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "no-proxy-server"]
        switches += [f"user-data-dir={folder / 'profile'}", f"window-size={width},{height}"]
        options = {"binary": CHROMIUM, "args": [f"--{switch}" for switch in switches]}
        limits = {"pageLoad": 1000 * ANSWER_SECONDS, "script": 1000 * ANSWER_SECONDS}
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options, "timeouts": limits}}}
        begun = session.post(f"{address}/session", json=wanted, timeout=ANSWER_SECONDS)
        assert begun.ok, begun.text
        yield Browser(session, f"{address}/session/{begun.json()['value']['sessionId']}")
    finally:
        for process in [*psutil.Process(driver.pid).children(recursive=True), driver]:
            process.kill()
        driver.wait()


def _wait_until_ready(session, address, driver):
    deadline = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < deadline:
        assert driver.poll() is None, "chromedriver ended"
        try:
            if session.get(f"{address}/status", timeout=5).json()["value"]["ready"]:
                return
        except requests.RequestException:
            time.sleep(0.1)
    raise AssertionError("chromedriver does not answer")
