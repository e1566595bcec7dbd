from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

from dynamo.runtime.open_files import allow_many_files

CODE = """
import resource, sys
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
sys.argv[1:] = ["nothing:Here", "--service-name", "S"]
from dynamo.sdk.replica import main
code = main()
print(code, resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard)
"""


def test_the_soft_limit_becomes_the_hard_one() -> None:
    allow_many_files()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft == hard


def test_a_replica_may_hold_as_many_connections_as_the_system_allows(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CODE], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "2 True", done.stderr
