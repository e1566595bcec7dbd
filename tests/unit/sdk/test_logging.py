from __future__ import annotations

import os
import re
import subprocess
import sys


def test_one_line_an_event_on_stderr_configured_once() -> None:
    code = """
import logging
from dynamo.sdk.lib.logging import configure_server_logging
configure_server_logging(service_name="S", worker_id=1)
configure_server_logging()
logging.getLogger("mine").info("seen")
logging.getLogger("mine").debug("unseen")
logging.getLogger("loud").debug("asked for")
logging.getLogger("uvicorn.error").info("a server's own business")
"""
    env = {**os.environ, "DYN_LOG": "info,loud=debug"}
    result = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout == ""
    seen, asked = result.stderr.splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO mine: seen", seen)
    assert asked.endswith(" DEBUG loud: asked for")
