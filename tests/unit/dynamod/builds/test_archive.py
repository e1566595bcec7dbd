"""Archives: reproducible, complete, and safe to open whoever made them."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynamo.sdk.spec import GraphSpec, ServiceSpec, encode
from dynamod.builds import archive, sources
from dynamod.builds.archive import Archive
from dynamod.builds.errors import BadArchive, BuildError
from dynamod.builds.manifest import Manifest, default_name, from_yaml, split_tag, to_yaml

SPEC = GraphSpec(name="g", target="m:A", entry="A", services=(ServiceSpec(name="A", target="m:A"),))
DOCUMENTS = {archive.SPEC: encode(SPEC), archive.LOCK: b"", archive.DOCKERFILE: b"FROM scratch\n"}


def manifest(digest: str, *, minute: int = 0) -> Manifest:
    return Manifest(
        service="m:A",
        name="g",
        version="1",
        digest=digest,
        creation_time=datetime(2026, 1, 1, 0, minute, tzinfo=UTC),
        entry_service="A",
        python_version="3.11",
    )


def built(root: Path, out: Path, *, minute: int = 0) -> Path:
    files = sources.select(root, sources.SourceRules())
    archive.write(out, root, files, manifest(archive.parts_digest(files, DOCUMENTS), minute=minute), DOCUMENTS)
    return out


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "pkg").mkdir(parents=True)
    (root / "m.py").write_text("A = 1\n")
    (root / "pkg" / "run.sh").write_text("#!/bin/sh\n")
    (root / "pkg" / "run.sh").chmod(0o755)
    return root


def test_the_same_sources_make_the_same_bytes_and_other_sources_another_digest(tmp_path: Path, project: Path) -> None:
    one, two = built(project, tmp_path / "1.tar.gz"), built(project, tmp_path / "2.tar.gz")
    assert one.read_bytes() == two.read_bytes()
    later = Archive.open(built(project, tmp_path / "3.tar.gz", minute=5))
    assert later.manifest.digest == Archive.open(one).manifest.digest
    (project / "pkg" / "run.sh").chmod(0o644)
    changed = Archive.open(built(project, tmp_path / "4.tar.gz"))
    assert changed.manifest.digest != later.manifest.digest


def test_it_unpacks_to_what_went_in(tmp_path: Path, project: Path) -> None:
    opened = Archive.open(built(project, tmp_path / "a.tar.gz"))
    opened.verify()
    assert opened.spec == SPEC
    opened.extract(tmp_path / "out")
    assert (tmp_path / "out" / "src" / "m.py").read_text() == "A = 1\n"
    assert (tmp_path / "out" / "src" / "pkg" / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "out" / "env" / "docker" / "Dockerfile").is_file()
    with pytest.raises(FileExistsError):
        opened.extract(tmp_path / "out")


def test_changed_content_is_noticed(tmp_path: Path, project: Path) -> None:
    files = sources.select(project, sources.SourceRules())
    archive.write(tmp_path / "a.tar.gz", project, files, manifest("0" * 64), DOCUMENTS)
    with pytest.raises(BadArchive, match="not what its manifest says"):
        Archive.open(tmp_path / "a.tar.gz").verify()
    (project / "m.py").write_text("A = 2\n")
    with pytest.raises(BadArchive, match=r"m\.py changed while it was being built"):
        archive.write(tmp_path / "b.tar.gz", project, files, manifest("0" * 64), DOCUMENTS)
    assert not (tmp_path / "b.tar.gz").exists()
    assert not list(tmp_path.glob(".build-*"))


def hostile(path: Path, add: Callable[[tarfile.TarFile], None]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in {archive.MANIFEST: to_yaml(manifest("0" * 64)), **DOCUMENTS}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        add(tar)
    return path


def named(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Callable[[tarfile.TarFile], None]:
    def add(tar: tarfile.TarFile) -> None:
        entry = tarfile.TarInfo(name)
        entry.type = kind
        entry.linkname = link
        tar.addfile(entry, io.BytesIO(b""))

    return add


@pytest.mark.parametrize(
    "add",
    [
        named("../evil.py"),
        named("src/../../evil.py"),
        named("/etc/evil.py"),
        named("src/link", tarfile.SYMTYPE, "/etc/passwd"),
        named("src/hard", tarfile.LNKTYPE, "dynamo.yaml"),
        named("src/device", tarfile.CHRTYPE),
        named("src/pipe", tarfile.FIFOTYPE),
    ],
)
def test_nothing_is_written_from_an_unsafe_archive(tmp_path: Path, add: Callable[[tarfile.TarFile], None]) -> None:
    path = hostile(tmp_path / "evil.tar.gz", add)
    good = Archive(path, manifest("0" * 64), SPEC, DOCUMENTS)
    with pytest.raises(BadArchive, match=r"points outside|plain files only"):
        good.extract(tmp_path / "deep" / "out")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]


def test_a_bomb_is_refused_before_it_unpacks(tmp_path: Path) -> None:
    def bomb(tar: tarfile.TarFile) -> None:
        entry = tarfile.TarInfo("src/zeros.txt")
        entry.size = 256 << 20
        tar.addfile(entry, io.BytesIO(bytes(256 << 20)))

    path = hostile(tmp_path / "bomb.tar.gz", bomb)
    with pytest.raises(BadArchive, match="unpacks to far more"):
        Archive(path, manifest("0" * 64), SPEC, DOCUMENTS).extract(tmp_path / "out")


def test_a_newer_format_and_missing_parts_are_named(tmp_path: Path) -> None:
    newer = msgspec.structs.replace(manifest("0" * 64), format=2)
    with pytest.raises(BadArchive, match="has format 2, and this program reads 1"):
        from_yaml(to_yaml(newer))
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz"):
        pass
    with pytest.raises(BadArchive, match=r"holds no dynamo\.yaml"):
        Archive.open(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=2000), packed=st.booleans())
def test_arbitrary_bytes_are_refused_and_never_crash(tmp_path: Path, data: bytes, packed: bool) -> None:
    path = tmp_path / "noise.tar.gz"
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(BadArchive):
        Archive.open(path)


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=400))
def test_arbitrary_manifests_are_refused_and_never_crash(data: bytes) -> None:
    with pytest.raises(BadArchive):
        from_yaml(data)


def test_tags() -> None:
    assert split_tag("hello-world:1.0") == ("hello-world", "1.0")
    assert split_tag("a.b_c") == ("a.b_c", None)
    assert default_name("Hello World!") == "hello-world"
    for bad in ("", "Upper:1", "a:", "a/b:1", "a:b:c", "../x"):
        with pytest.raises(BuildError, match="is no tag"):
            split_tag(bad)
