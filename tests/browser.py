"""A browser without a network, as a reader's on a train: tests open pages from disk in it."""

import json
import os
import shutil
import subprocess
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PHONE_WIDTH, DESKTOP_WIDTH = 390, 1280


class Browser:
    """Headless chromium without a network, spoken to through a pipe by its DevTools protocol."""

    def __init__(self, profile: Path):
        commands, self.commands = os.pipe()
        self.answers, answers = os.pipe()
        options = [
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}"),
            "--remote-debugging-pipe",
        ]
        # The protocol is spoken on file descriptors 3 and 4.
        redirect = f'exec "$@" 3<&{commands} 4>&{answers}'
        self.process = subprocess.Popen(
            ["bash", "-c", redirect, "browser", str(CHROMIUM), *options],
            pass_fds=(commands, answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self.buffer, self.asked, self.session = b"", 0, {}
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        tab = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self.session = {"sessionId": tab["sessionId"]}

    def ask(self, method: str, **params) -> dict:
        self.asked += 1
        message = {"id": self.asked, "method": method, "params": params, **self.session}
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.buffer:
                received = os.read(self.answers, 1 << 16)
                assert received, "the browser ended early"
                self.buffer += received
            answer, self.buffer = self.buffer.split(b"\0", 1)
            answer = json.loads(answer)
            if answer.get("id") == self.asked:
                assert "error" not in answer, answer
                return answer["result"]

    def evaluate(self, script: str):
        result = self.ask(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def open(self, address: str, width: int) -> None:
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            **dict(width=width, height=800, deviceScaleFactor=1, mobile=False),
        )
        self.ask("Page.navigate", url=address)
        self.evaluate(
            "new Promise((done) => document.readyState === 'complete' ? done()"
            " : addEventListener('load', () => done()))"
        )

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)
        os.close(self.commands)
        os.close(self.answers)
