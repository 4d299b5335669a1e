"""Turns of another decision_version are taken again by the release that has it, from a wheel in a folder."""

import asyncio
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from handlers import impact, triage
from handlers.deliberation import deciding, standing
from schemas import topics
from streams.audit import releases
from streams.audit.findings import Kind, Open
from streams.audit.releases import Pythons, ReleaseError, install
from tests.support.deliberated import registry
from tests.support.product import UNKNOWN_TOOL, encoded
from tests.support.recorded import Recorder, audited, built

ROOT = Path(__file__).parents[2]
OWN, TAKES = releases._OWN, releases._TAKES  # noqa: SLF001  # as they are, before a fixture changes them
AGENTS = (topics.GATEWAY_MESSAGES, topics.TRIAGE, topics.DELIBERATOR)
CHANGES = {
    "handlers/impact.py": (("DECISION_VERSION = 1", "DECISION_VERSION = 2"),),
    "handlers/deliberation/deciding.py": (("DECISION_VERSION = 1", "DECISION_VERSION = 2"),),
    "handlers/deliberation/standing.py": (("_SECOND = 1_000", "_SECOND = 1_001"),),
}
"""Another release: a deadline's second is a millisecond longer there, and its cards name its version."""


def a_wheel_of_another_release(folder: Path) -> None:
    source = folder / "source"
    for name in ("streams", "schemas", "handlers", "compensation"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    for name, changes in CHANGES.items():
        for old, new in changes:
            text = (source / name).read_text("utf-8")
            assert text.count(old) == 1
            (source / name).write_text(text.replace(old, new), "utf-8")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", str(folder / "wheels"), str(source)], check=True)


@pytest.fixture(scope="module")
def pythons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pythons]:
    """The other release, installed. What it needs is taken from where the tests run, so that nothing is fetched."""
    folder = tmp_path_factory.mktemp("releases")
    a_wheel_of_another_release(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(releases, "_OWN", (*OWN, "--no-deps"))
        patch.setattr(releases, "_TAKES", ("-P", *TAKES[1:]))
        patch.setenv("PYTHONPATH", os.pathsep.join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))
        yield install(folder / "wheels", folder / "installed", lambda _: None)


def record(second: int) -> Recorder:
    """Items held by this release, then by the other one, then by this one again; each lets deadlines pass."""
    lanes = Recorder(*AGENTS)
    lanes.publish(registry())
    lanes.send(topics.IN_MESSAGES, *[encoded(n, tool=UNKNOWN_TOOL) for n in range(20, 24)])
    lanes.run()
    with pytest.MonkeyPatch.context() as patch:
        for module in (impact, triage, deciding):
            patch.setattr(module, "DECISION_VERSION", 2)
        patch.setattr(standing, "_SECOND", second)
        lanes.change_to(built(AGENTS))
        lanes.send(topics.IN_MESSAGES, *[encoded(n, tool=UNKNOWN_TOOL) for n in range(12)])
        lanes.run()
        lanes.pass_time(25 * 3_600_000)
        lanes.send(topics.IN_MESSAGES, *[encoded(n, tool=UNKNOWN_TOOL) for n in range(24, 30)])
        lanes.run()
    lanes.change_to(built(AGENTS))
    lanes.send(topics.IN_MESSAGES, *[encoded(n, tool=UNKNOWN_TOOL) for n in range(12, 20)])
    lanes.run()
    lanes.pass_time(25 * 3_600_000)
    return lanes


async def test_lanes_with_rows_are_verified_across_a_change_of_the_rules(pythons: Pythons) -> None:
    lanes = record(second=1_001)
    verdict = await audited(lanes.topics, lanes.agents, pythons=pythons)
    assert verdict.findings.first == {}
    assert verdict.verified == verdict.turns
    without = await audited(lanes.topics, lanes.agents)
    assert Open.OTHER_RELEASE in without.findings.first
    assert without.exit_code == 3


async def test_a_release_whose_rules_were_others_is_a_difference(pythons: Pythons) -> None:
    lanes = record(second=1_002)
    verdict = await audited(lanes.topics, lanes.agents[2:], pythons=pythons, accounts=False)
    found = verdict.findings.first[Kind.DECISION_DIFFERS]
    assert found.agent == topics.DELIBERATOR


async def test_a_release_that_does_not_answer_leaves_its_turns_unverified(tmp_path: Path) -> None:
    lanes = record(second=1_001)
    mute = tmp_path / "mute"
    mute.write_text("#!/bin/sh\nexit 1\n")
    mute.chmod(0o755)
    verdict = await audited(lanes.topics, lanes.agents, pythons={(topics.TRIAGE, 2): mute})
    assert not verdict.findings.differences()
    assert Open.OTHER_RELEASE in verdict.findings.first


async def test_a_release_that_never_answers_does_not_hold_the_audit_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "_ANSWERS_WITHIN_S", 0.2)
    lanes = record(second=1_001)
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 600\n")
    silent.chmod(0o755)
    async with asyncio.timeout(60):
        verdict = await audited(lanes.topics, lanes.agents, pythons={(topics.TRIAGE, 2): silent})
    assert not verdict.findings.differences()
    assert "did not answer" in verdict.findings.first[Open.OTHER_RELEASE].words


def test_a_folder_without_a_release_and_a_wheel_that_is_none_are_told(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="has no release"):
        install(tmp_path, tmp_path / "installed", lambda _: None)
    (tmp_path / "acgs_streams-9.9.9-py3-none-any.whl").write_bytes(b"no wheel")
    with pytest.raises(ReleaseError, match="cannot be installed"):
        install(tmp_path, tmp_path / "installed", lambda _: None)


def test_a_release_of_another_protocol_is_told() -> None:
    with pytest.raises(ReleaseError, match="it speaks protocol 2, this release 1"):
        releases.versions_of(Path("some.whl"), b'{"protocol": 2}')


def a_wheel(folder: Path, name: str, needs: str = "") -> None:
    """As small as a wheel can be."""
    folder.mkdir(exist_ok=True)
    about = f"{name}-9.dist-info"
    with zipfile.ZipFile(folder / f"{name}-9-py3-none-any.whl", "w") as made:
        made.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 9\n{needs}")
        made.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: us\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        made.writestr(f"{about}/RECORD", "")


def test_a_release_is_installed_from_its_folder_whatever_else_pip_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "_OWN", OWN)
    a_wheel(tmp_path / "folder", "acgs_streams", "Requires-Dist: elsewhere\n")
    a_wheel(tmp_path / "other", "elsewhere")
    (tmp_path / "pip.conf").write_text(f"[global]\nfind-links = {tmp_path / 'other'}\n")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "other"))
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    with pytest.raises(ReleaseError, match="elsewhere"):
        install(tmp_path / "folder", tmp_path / "installed", lambda _: None)


def test_a_release_is_asked_without_what_the_auditor_has_on_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "streams").mkdir()
    (tmp_path / "streams/__init__.py").write_text("raise SystemExit('this is not the release')")
    asked = releases._run(Path("a.whl"), [sys.executable, *TAKES], b'{"do": "versions"}\n')  # noqa: SLF001
    assert releases.versions_of(Path("a.whl"), asked)[topics.TRIAGE] == triage.DECISION_VERSION


@pytest.mark.parametrize("answer", [b"", b"[]", b"{", b'{"protocol": 1}'])
def test_what_a_release_says_that_is_no_answer_is_told(answer: bytes) -> None:
    with pytest.raises(ReleaseError, match=r"a\.whl cannot be asked"):
        releases.versions_of(Path("a.whl"), answer)
