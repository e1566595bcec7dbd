"""The archive of a build: one reproducible `.tar.gz`.

    dynamo.yaml             the manifest
    spec.json               the GraphSpec, canonical JSON, without interpreter and working directory
    requirements.lock       every distribution, pinned and with hashes
    wheels/dynamod-….whl    the SDK that it was built with
    env/docker/Dockerfile   how an image is made of it
    src/…                   the sources

Writing is deterministic: entries by name, no owner, one time stamp. Reading trusts nothing: names, kinds,
counts and sizes are checked before anything is written to disk.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from dynamo.sdk.spec import GraphSpec, SpecError, decode
from dynamod.builds.errors import BadArchive, BuildError
from dynamod.builds.manifest import Manifest, content_digest, from_yaml, split_tag, to_yaml
from dynamod.builds.sources import SourceFile

MANIFEST = "dynamo.yaml"
SPEC = "spec.json"
LOCK = "requirements.lock"
WHEELS = "wheels"
DOCKERFILE = "env/docker/Dockerfile"
SOURCES = "src"

MAX_ENTRIES = 100_000
MAX_BYTES = 4 << 30
"""What an archive may unpack to. A build holds sources, not weights."""
MAX_DOCUMENT_BYTES = 64 << 20
"""Everything but the sources, together: it is read into memory."""
MAX_RATIO = 200
"""More times its packed size than this, and it is a bomb (beyond the first 64 MiB, which any text may reach)."""
_FREE_BYTES = 64 << 20
STAMP = 315_532_800  # 1980-01-01, the earliest time that zip-minded tools also understand


def parts_digest(files: Sequence[SourceFile], documents: Mapping[str, bytes]) -> str:
    """The content digest of a build: of its sources with their modes, and of its other documents."""
    parts = {f"{SOURCES}/{one.path}": f"{one.sha256}{'+x' if one.executable else ''}" for one in files}
    parts |= {name: hashlib.sha256(data).hexdigest() for name, data in documents.items()}
    return content_digest(parts)


def write(
    path: Path, root: Path, files: Sequence[SourceFile], manifest: Manifest, documents: Mapping[str, bytes]
) -> None:
    """Write the archive to `path`, whole or not at all.

    Raises:
        BadArchive: a source changed while it was being read.
        OSError: it cannot be written (a full disk).
    """
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".build-", delete=False) as out:
        try:
            with (
                gzip.GzipFile(fileobj=out, mode="wb", mtime=STAMP, filename="", compresslevel=6) as packed,
                tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
            ):
                for name, data in sorted({MANIFEST: to_yaml(manifest), **documents}.items()):
                    tar.addfile(_entry(name, len(data)), io.BytesIO(data))
                for one in files:
                    _add_source(tar, root, one)
            out.flush()
            os.fsync(out.fileno())
            os.fchmod(out.fileno(), 0o644)
            Path(out.name).replace(path)
        except BaseException:
            Path(out.name).unlink(missing_ok=True)
            raise


def _entry(name: str, size: int, *, executable: bool = False) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size = size
    entry.mtime = STAMP
    entry.mode = 0o755 if executable else 0o644
    return entry


def _add_source(tar: tarfile.TarFile, root: Path, one: SourceFile) -> None:
    data = (root / one.path).read_bytes()
    if hashlib.sha256(data).hexdigest() != one.sha256:
        raise BadArchive(f"{one.path} changed while it was being built", remedy="build again")
    tar.addfile(_entry(f"{SOURCES}/{one.path}", len(data), executable=one.executable), io.BytesIO(data))


class Archive:
    """An opened archive, its manifest and spec read and checked."""

    def __init__(self, path: Path, manifest: Manifest, spec: GraphSpec, documents: Mapping[str, bytes]) -> None:
        self.path = path
        self.manifest = manifest
        self.spec = spec
        self.documents = documents

    @classmethod
    def open(cls, path: Path) -> Archive:
        """Read everything but the sources.

        Raises:
            BadArchive: it is damaged, unsafe, incomplete, or of a newer format.
        """
        documents: dict[str, bytes] = {}
        total = 0
        with _reading(path) as entries:
            for entry, data in entries:
                if entry.name.startswith(f"{SOURCES}/"):
                    continue
                total += entry.size
                if total > MAX_DOCUMENT_BYTES:
                    raise BadArchive(f"{path.name}: {entry.name} is larger than such a file can be")
                documents[entry.name] = data.read()
        for name in (MANIFEST, SPEC, LOCK):
            if name not in documents:
                raise BadArchive(f"{path.name} holds no {name}: it is no build")
        manifest = from_yaml(documents.pop(MANIFEST))
        try:
            split_tag(manifest.tag)  # it becomes a file name
        except BuildError as error:
            raise BadArchive(f"{path.name}: {MANIFEST}: {error.detail}") from None
        try:
            spec = decode(documents[SPEC])
        except SpecError as error:
            raise BadArchive(f"{path.name}: {SPEC}: {error}") from None
        return cls(path, manifest, spec, documents)

    def verify(self) -> None:
        """Recompute the content digest.

        Raises:
            BadArchive: what is inside is not what the manifest says.
        """
        files = []
        with _reading(self.path) as entries:
            for entry, data in entries:
                if entry.name.startswith(f"{SOURCES}/"):
                    name = entry.name.removeprefix(f"{SOURCES}/")
                    digest = _digest(data)
                    files.append(SourceFile(name, entry.size, bool(entry.mode & 0o100), digest))
        if parts_digest(files, self.documents) != self.manifest.digest:
            raise BadArchive(
                f"the content of {self.manifest.tag} is not what its manifest says", remedy="fetch or build it again"
            )

    def extract(self, target: Path) -> None:
        """Unpack everything into the new directory `target`, whole or not at all.

        Raises:
            BadArchive: see `open`.
            FileExistsError: `target` is there already.
        """
        if target.exists():
            raise FileExistsError(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=target.parent, prefix=".extract-"))
        try:
            with _reading(self.path) as entries:
                for entry, data in entries:
                    place = work / entry.name
                    place.parent.mkdir(parents=True, exist_ok=True)
                    with place.open("xb") as out:
                        shutil.copyfileobj(data, out)
                    place.chmod(0o755 if entry.mode & 0o100 else 0o644)
            work.chmod(0o755)
            work.rename(target)
        except FileExistsError as error:
            shutil.rmtree(work, ignore_errors=True)
            raise BadArchive(f"{self.path.name} holds {error.filename} twice") from None
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise


@contextmanager
def _reading(path: Path) -> Iterator[Iterator[tuple[tarfile.TarInfo, IO[bytes]]]]:
    """The regular files of an archive, each checked before it is given out."""
    try:
        with tarfile.open(path, mode="r:gz") as tar:
            yield _checked(path, tar)
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, OSError) as error:
        if isinstance(error, FileNotFoundError | FileExistsError | PermissionError):
            raise
        raise BadArchive(f"{path.name} is damaged, or no archive: {error}") from None


def _checked(path: Path, tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    packed = path.stat().st_size
    entries = total = 0
    for entry in tar:
        entries += 1
        total += entry.size
        if entries > MAX_ENTRIES:
            raise BadArchive(f"{path.name} holds more than {MAX_ENTRIES} entries")
        if total > MAX_BYTES or (total > _FREE_BYTES and total > packed * MAX_RATIO):
            raise BadArchive(f"{path.name} unpacks to far more than its {packed} bytes: refused")
        if entry.isdir():
            continue
        if not entry.isreg():
            raise BadArchive(f"{path.name}: {entry.name!r} is a link or device; builds hold plain files only")
        if not _is_safe(entry.name):
            raise BadArchive(f"{path.name}: {entry.name!r} points outside of the archive")
        data = tar.extractfile(entry)
        if data is None:
            raise BadArchive(f"{path.name}: {entry.name!r} cannot be read")
        yield entry, data


def _digest(data: IO[bytes]) -> str:
    whole = hashlib.sha256()
    while chunk := data.read(1 << 20):
        whole.update(chunk)
    return whole.hexdigest()


def python_version_of(tree: Path) -> str:
    """The Python version that an unpacked build asks for."""
    return from_yaml((tree / MANIFEST).read_bytes()).python_version


def _is_safe(name: str) -> bool:
    path = PurePosixPath(name)
    return (
        bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\\" not in name and "\0" not in name
    )
