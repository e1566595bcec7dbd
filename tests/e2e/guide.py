"""Running a guide's page: its files are written, its commands run in order, as a reader would do it.

A block whose first line is `# NAME` is a file. In a shell block every line is a command, with what it must print below
it as comments. A `dynamoctl serve …` at the end of a block goes on in another terminal until the next block has run,
any other until its own block has.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.commands import ROOT, Home, until
from tests.e2e.test_hello_world import free_port, listens

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\S+\.\w+)\n")
_FOREGROUND = re.compile(r"dynamoctl serve (?!.*--dry-run)")
_SCREEN = re.compile(r"dynamo-tui\b")
_ENDLESS = re.compile(r"dynamoctl (logs|events|top|kv)\b.* -[fw]$")
_ENDLESS_S = 3


@dataclass(frozen=True)
class Command:
    line: str
    output: Sequence[str] = ()


@dataclass
class Guide:
    """A reader of one page, in the directory `root`, where every `cd` of the page begins.

    `codes`: commands that end with another code than 0, by how they begin. `instead`: what stands in the place of words
    that mean something else to every reader (a registry, a base image).
    """

    home: Home
    root: Path
    codes: Mapping[str, int] = field(default_factory=dict)
    instead: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    plan: str = ""
    place: Path = field(init=False)

    def __post_init__(self) -> None:
        self.place = self.root

    def follow(self, page: str, *, skip: Sequence[str] = ()) -> None:
        """Do what the page says. Blocks that begin with one of `skip` are left out."""
        with ExitStack() as terminals:
            for language, text in _FENCE.findall((ROOT / "docs" / page).read_text()):
                if named := _FILE.match(text):
                    (self.place / named[1]).write_text(text)
                elif language == "bash" and not text.startswith(tuple(skip)):
                    self._block(text, terminals)

    def do(self, block: str) -> None:
        """Do one block of a page."""
        with ExitStack() as terminals:
            self._block(block, terminals)

    def _block(self, text: str, terminals: ExitStack) -> None:
        commands = parse(text)
        if not any(_FOREGROUND.match(c.line) for c in commands):
            for command in commands:
                self._run(command)
            terminals.close()
            return
        for command in commands:
            if _FOREGROUND.match(command.line):
                terminals.close()
                self._serve(command, terminals)
            else:
                self._run(command)
        if not _FOREGROUND.match(commands[-1].line):
            terminals.close()

    def _serve(self, command: Command, terminals: ExitStack) -> None:
        arguments = shlex.split(command.line)[1:]
        serve = terminals.enter_context(Home(self.home.path, extra=self._extra()).running(*arguments, cwd=self.place))
        terminals.callback(serve.wait, 60)
        terminals.callback(serve.terminate)
        until(lambda: listens(self.port) or serve.poll() is not None, what=f"the port of {command.line!r}")
        assert serve.poll() is None, f"{command.line}: {serve.communicate()[0]}"

    def _run(self, command: Command) -> None:
        line = command.line
        if line.startswith("cd "):
            self.place = self.root / line.removeprefix("cd ")
            return
        if _SCREEN.match(line):
            return  # test_dashboard drives it in a real terminal
        endless = _ENDLESS.match(line) is not None
        done = self._bash(f"timeout {_ENDLESS_S} {line}" if endless else self._filled_in(line))
        wanted = next((code for begin, code in self.codes.items() if line.startswith(begin)), 124 if endless else 0)
        assert done.returncode == wanted, f"{line}: {done.returncode}\n{done.stdout}{done.stderr}{self.home.log()}"
        assert done.stdout.splitlines()[: len(command.output)] == list(command.output), line
        if named := re.search(r"carry it out: dynamoctl apply (\S+)", done.stdout):
            self.plan = named[1]

    def _filled_in(self, line: str) -> str:
        """With the pid of a replica that may be killed, and the plan that was made last."""
        if "PID" in line:
            replicas = json.loads(self._bash("dynamoctl ps --json").stdout)
            line = line.replace("PID", str(next(r["pid"] for r in replicas if not r["address"])))
        for words, own in self.instead.items():
            line = line.replace(words, own)
        return line.replace("PLAN", self.plan).replace("localhost:8000", f"localhost:{self.port}")

    def _bash(self, line: str) -> subprocess.CompletedProcess[str]:
        environ = Home(self.home.path, extra=self._extra()).environ
        return subprocess.run(
            ["bash", "-c", line], cwd=self.place, env=environ, capture_output=True, text=True, timeout=200, check=False
        )

    def _extra(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:{self.home.environ['PATH']}"
        return self.home.extra | {"PATH": path, "DYNAMO_PORT": str(self.port)}


def parse(text: str) -> list[Command]:
    """The commands of a block; comment lines below one are what it prints."""
    commands: list[Command] = []
    for line in text.splitlines():
        if line.startswith("# ") and commands:
            last = commands.pop()
            commands.append(Command(last.line, (*last.output, line.removeprefix("# "))))
        elif line.strip():
            commands.append(Command(re.sub(r"\s{2,}#.*$|\s+# [^'\"]*$", "", line)))
    return commands
