"""`make audit`: what we depend on. Three questions, each asked by a tool that is kept for it.

- Does an installed package have a known vulnerability? (pip-audit, over the network)
- Is a dependency declared and not used, or used and not declared? (deptry)
- Does a licence ask for more than this project's own gives? (pip-licenses)

Exit code: 1 when one of them has something to say. Without a network the first is not answered, which is said and is
no failure (`--strict` makes it one).
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
SOURCES = ("sdk/dynamo", "dynamod", "dynamo_tui")
RECIPROCAL = re.compile(r"\b(A?GPL|SSPL|BUSL|Commons Clause|GNU (Affero )?General Public)", re.IGNORECASE)
"""Terms that would bind whoever ships this project. The Lesser GPL, of a library that one imports, does not."""
UNREACHABLE = re.compile(
    r"ConnectionError|ProxyError|Max retries exceeded|Failed to establish|ConnectTimeout|Name or service not known"
    r"|Temporary failure in name resolution|Could not connect|timed out|SSLError"
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strict", action="store_true", help="fail when vulnerabilities cannot be looked up")
    options = parser.parse_args()
    checks = {
        "vulnerabilities": vulnerabilities(),
        "dependencies": dependencies(),
        "licences": licences(),
    }
    failed = False
    for name, (found, note) in checks.items():
        failed = failed or bool(found) or (options.strict and found is None)
        sys.stdout.write(f"{name}: {note}\n")
        sys.stdout.writelines(f"  {line}\n" for line in found or ())
    return 1 if failed else 0


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(BIN / command[0]), *command[1:]], capture_output=True, text=True, check=False)


def vulnerabilities() -> tuple[list[str] | None, str]:
    """One line for each known vulnerability; None where nobody could be asked."""
    done = _run("pip-audit", "--local", "--skip-editable", "--progress-spinner", "off", "--format", "json")
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:] or ["pip-audit said nothing"]
        if UNREACHABLE.search(done.stderr):
            return None, "NOT CHECKED: PyPI's advisories cannot be reached from here; run it again with a network"
        return [last[0][:300]], "pip-audit failed"
    packages = report["dependencies"]
    found = [
        f"{package['name']} {package['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or '-'}"
        for package in packages
        for flaw in package.get("vulns", ())
    ]
    return found, f"{len(found)} known in {len(packages)} packages"


def dependencies() -> tuple[list[str], str]:
    done = _run("deptry", "--no-ansi", *SOURCES)
    found = [line for line in done.stderr.splitlines() if re.search(r": DEP\d+ ", line)]
    if done.returncode and not found:
        found = [done.stderr.strip()[-300:]]
    return found, f"{len(found)} unused or undeclared" if found else "all that is declared is used, and the reverse"


def licences() -> tuple[list[str], str]:
    done = _run("pip-licenses", "--from=mixed", "--format=json")
    packages = json.loads(done.stdout)
    found = [
        f"{package['Name']} {package['Version']}: {package['License']}"
        for package in packages
        if RECIPROCAL.search(package["License"]) or package["License"] in ("", "UNKNOWN")
    ]
    return found, f"{len(packages)} packages, {len(found)} to look at"


if __name__ == "__main__":
    sys.exit(main())
