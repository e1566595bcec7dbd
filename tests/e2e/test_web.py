"""`dynamo-tui --web` in a real browser, in front of a real daemon: `make test-web`."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.commands import EXAMPLES, Home, until
from tests.e2e.terminal import dashboard_command

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)

pytestmark = [
    pytest.mark.web,
    pytest.mark.skipif(
        not CHROMIUM, reason="NOT TESTED: the dashboard in a browser needs chromium (apt install chromium)"
    ),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def served(home: Home, *arguments: str) -> Iterator[str]:
    """The dashboard's address, which carries its token."""
    command = dashboard_command("--web", "--web-port", str(free_port()), *arguments)
    with subprocess.Popen(command, env=home.environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = re.search(r"http://\S+", process.stderr.readline())
            assert found, "no address was printed"
            assert "loopback only" in process.stderr.readline()
            yield found[0]
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()


def test_the_dashboard_in_a_browser(home: Home) -> None:
    from playwright.sync_api import sync_playwright

    home.run("submit", "hello_world:Frontend", "--port", "0", "--wait", cwd=EXAMPLES / "hello_world")
    with served(home, "--no-start") as address, sync_playwright() as driver:
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's own sandbox refuses root
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        try:
            page = browser.new_page(viewport={"width": 1200, "height": 700})
            seen: list[bytes] = []
            foreign: list[str] = []

            def note(frame: str | bytes) -> None:
                seen.append(frame if isinstance(frame, bytes) else frame.encode())

            page.on("websocket", lambda ws: ws.on("framereceived", note))
            page.on("response", lambda r: None if "127.0.0.1" in r.url else foreign.append(r.url))

            def shows(text: str) -> None:
                def there() -> bool:
                    page.wait_for_timeout(50)  # lets the driver hand over what came
                    return text.encode() in b"".join(seen)

                until(there, timeout=60, what=f"{text!r} in the browser")

            page.goto(address)
            assert "token" not in page.url
            shows("hello-world")
            page.mouse.click(600, 400)
            page.keyboard.press("Enter")
            shows("Backend-1")
            page.keyboard.press("?")
            shows("Keys and commands")
            assert foreign == []
            shot = page.screenshot()
            assert len(shot) > 10_000, "the picture is as good as empty"

            stranger = browser.new_context().new_page()
            refused = stranger.goto(address.split("?")[0])
            assert refused is not None
            assert refused.status == 401
        finally:
            browser.close()
