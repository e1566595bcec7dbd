"""Versions are compared with what our own metadata ask for."""

from __future__ import annotations

from dynamod.doctor.versions import check_bytecode, check_extra, check_extras, check_packages, check_python
from dynamod.schema import Verdict

REQUIRED = ["msgspec>=0.1", "click>=8", "nowhere-to-be-found>=1.0; extra == 'etcd'", "psutil>=1; extra == 'gpu'"]


def test_an_old_python_is_refused() -> None:
    assert check_python((3, 11, 0), "/python").verdict is Verdict.OK
    assert "3.11" in check_python((3, 10, 12), "/python").remedy


def test_this_installation_is_whole() -> None:
    assert check_packages().verdict is Verdict.OK


def test_missing_and_old_packages_are_named() -> None:
    found = check_packages(["msgspec>=999", "nowhere-to-be-found>=1.0", "click>=8"])
    assert found.verdict is Verdict.FAIL
    assert "999 or newer is needed" in found.what
    assert "nowhere-to-be-found is not installed" in found.what
    assert "click" not in found.what


def test_a_missing_extra_matters_only_where_it_is_needed() -> None:
    assert check_extra("etcd", "discovery", needed=False, required=REQUIRED).verdict is Verdict.OK
    found = check_extra("etcd", "discovery", needed=True, because="discovery is etcd", required=REQUIRED)
    assert (found.verdict, found.remedy) == (Verdict.FAIL, "pip install 'dynamod[etcd]'")
    assert check_extra("gpu", "inventory", needed=True, required=REQUIRED).verdict is Verdict.OK


def test_the_environment_says_which_extras_are_needed() -> None:
    names = [f.name for f in check_extras({"DYN_DISCOVERY": "etcd://a:2379"}, gpus=False)]
    assert names == ["extra etcd", "extra nats", "extra gpu"]


def test_byte_code() -> None:
    assert check_bytecode({}).verdict is Verdict.OK
    assert check_bytecode({"PYTHONDONTWRITEBYTECODE": "1"}).verdict is Verdict.WARN
