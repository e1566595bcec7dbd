"""The README's graph runs as the README says."""

from __future__ import annotations

import re

import pytest

from tests.e2e.commands import ROOT, Home, Http, until
from tests.e2e.test_hello_world import free_port, listens


@pytest.mark.timeout(300)
@pytest.mark.xdist_group("e2e-hello")
def test_the_graph_in_five_lines_is_served_and_answers(home: Home) -> None:
    readme = (ROOT / "README.md").read_text()
    [code] = re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    [(path, answer)] = re.findall(r"curl -X POST 'localhost:8000(\S+)' +# (.*)$", readme, re.MULTILINE)
    assert len([line for line in code.splitlines() if line and not line.startswith(("#", "from"))]) == 5
    (home.path / "hello.py").write_text(code)
    port = free_port()
    with home.running("serve", "hello.py:Hello", "-p", str(port), "--host", "127.0.0.1") as serve:
        until(lambda: listens(port) or serve.poll() is not None, what="the port")
        assert serve.poll() is None, serve.communicate()[0]
        connection = Http(f"http://127.0.0.1:{port}")
        assert connection.post(path, None) == (200, answer)
        connection.close()
        serve.terminate()
        assert serve.wait(60) == 0
