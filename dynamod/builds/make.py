"""Make a build: read the graph in its own interpreter, choose its sources, lock its dependencies, write the archive.

`python -m dynamod.builds.make --options FILE` does it as a program: progress as JSON lines on stdout, the
last one `{"built": …a Build…}`, or `{"error": …}` and exit code 2.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec

from dynamo.sdk.spec import GraphSpec, SpecError, decode, encode
from dynamod.builds import archive, lock, own_wheel, sources
from dynamod.builds.dockerfile import dockerfile
from dynamod.builds.errors import BuildError
from dynamod.builds.layout import Layout
from dynamod.builds.manifest import Manifest, build_of, default_name, default_version, portable, services_of, split_tag
from dynamod.program import run, tell
from dynamod.schema.builds import Build, BuildOptions

INSPECT_TIMEOUT_S = 300.0

Step = Callable[[str], None]


def build(options: BuildOptions, step: Step) -> tuple[Manifest, Path]:
    """Make the archive in `output_dir`.

    Raises:
        BuildError: one line: what failed, on what, what to do.
    """
    root = Path(options.working_dir or Path.cwd()).resolve()
    asked_name, asked_version = split_tag(options.tag) if options.tag else (None, None)
    step(f"reading {options.target}")
    spec = portable(_inspect(options, root))
    python = ".".join((spec.python_version or platform.python_version()).split(".")[:2])
    step("choosing sources")
    files = sources.select(root, sources.read_rules(root))
    step(f"locking dependencies ({len(files)} files chosen)")
    output = Path(options.output_dir).resolve()
    output.mkdir(parents=True, exist_ok=True)
    needed = lock.wanted(root, llm=sources.mention(root, files, b"dynamo.llm"))
    locked = lock.make(needed, python=python, cache=_cache(output))
    documents = {
        archive.SPEC: encode(spec),
        archive.LOCK: locked.text.encode(),
        archive.DOCKERFILE: dockerfile(spec).encode(),
        f"{archive.WHEELS}/{own_wheel.file_name()}": own_wheel.wheel(),
    }
    digest = archive.parts_digest(files, documents)
    name = asked_name or default_name(spec.name)
    manifest = Manifest(
        service=spec.target,
        name=name,
        version=asked_version or default_version(digest),
        digest=digest,
        creation_time=datetime.now(UTC).replace(microsecond=0),
        entry_service=spec.entry,
        graph=spec.name,
        python_version=python,
        sdk_version=version("dynamod"),
        labels=options.labels,
        envs=spec.envs,
        services=services_of(spec),
        packages=locked.packages,
        files=len(files),
        source_bytes=sum(one.size for one in files),
    )
    step("writing the archive")
    try:
        return manifest, _write(options, output, root, files, manifest, documents)
    except OSError as error:
        raise BuildError(f"cannot write the archive to {output}: {error.strerror}") from None


def _write(
    options: BuildOptions,
    output: Path,
    root: Path,
    files: Sequence[sources.SourceFile],
    manifest: Manifest,
    documents: dict[str, bytes],
) -> Path:
    """The archive's path; a tag that names another build is taken from it only by force."""
    path = output / f"{manifest.name}-{manifest.version}.tar.gz"
    kept = Layout(Path(options.keep_in)) if options.keep_in else None
    before = kept.find(manifest.name, manifest.version) if kept is not None else None
    others = [before.digest] if before is not None else []
    if path.exists():
        others.append(archive.Archive.open(path).manifest.digest)
    if not options.force and any(digest != manifest.digest for digest in others):
        raise BuildError(
            f"{manifest.tag} is there already, with other content", field="tag", remedy="choose another tag, or --force"
        )
    archive.write(path, root, files, manifest, documents)
    if kept is None:
        return path
    if before is not None and before.digest != manifest.digest:
        kept.retag(before.digest, before.name, before.version, default_version(before.digest))
    return kept.keep(path, manifest.digest, manifest.name, manifest.version)


def _cache(output: Path) -> Path:
    """Resolutions are kept per user: the answer to the same question is the same for every project."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "dynamod" / "locks" if os.environ.get("HOME") else output


def _inspect(options: BuildOptions, root: Path) -> GraphSpec:
    interpreter = options.interpreter or sys.executable
    command = [interpreter, "-m", "dynamo.sdk.inspect", options.target, "--working-dir", str(root)]
    if options.config_file is not None:
        command += ["--file", options.config_file]
    try:
        done = subprocess.run(
            [*command, *options.overrides], capture_output=True, timeout=INSPECT_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise BuildError(f"the graph was not imported within {INSPECT_TIMEOUT_S:.0f} s") from None
    except OSError as error:
        raise BuildError(f"cannot run {interpreter}: {error.strerror}", field="python") from None
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise BuildError(words[-1].removeprefix("error: "), field="target")
    try:
        return decode(done.stdout)
    except SpecError as error:
        raise BuildError(str(error), field="target") from None


def _answer(options: BuildOptions) -> dict[str, Build]:
    return {"built": _described(*build(options, lambda text: tell({"step": text})))}


def _described(manifest: Manifest, path: Path) -> Build:
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    return msgspec.structs.replace(build_of(manifest, checksum, path.stat().st_size), path=str(path))


if __name__ == "__main__":
    sys.exit(run("dynamod.builds.make", BuildOptions, _answer))
