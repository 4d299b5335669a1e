"""Claims in a folder; run as a program, a process that puts values into one."""

import asyncio
import hashlib
import os
import stat
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from schemas.activity import Claim
from streams.claims import FolderClaims, open_claims
from streams.errors import ClaimMissingError, ClaimStoreError, SettingsError
from tests.support.eventually import eventually
from tests.support.processes import ROOT, Process

MIB = 1024 * 1024
LARGE = 32 * MIB


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "claims"


def value_of(number: int, length: int) -> bytes:
    return number.to_bytes(8) * (length // 8)


def claim(value: bytes) -> Claim:
    return Claim(sha256=hashlib.sha256(value).hexdigest(), bytes=len(value))


def shown(folder: Path) -> list[Path]:
    """What is there, but for what was never finished."""
    return [file for file in folder.iterdir() if file.suffix != ".partial"]


def partial(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if file.suffix == ".partial"]


@contextmanager
def putting(folder: Path, name: str, *lengths: int) -> Generator[Process]:
    log = folder.with_name(f"{name}.log")
    log.parent.mkdir(exist_ok=True)
    process = Process([__file__, str(folder), *map(str, lengths)], {"PYTHONPATH": str(ROOT)}, log)
    try:
        yield process
    finally:
        process.kill()


async def test_processes_that_put_the_same_values_at_once_leave_each_once_and_whole(folder: Path) -> None:
    lengths = [1024, MIB, 2 * MIB] * 10
    with putting(folder, "a", *lengths) as one, putting(folder, "b", *lengths) as two:
        for process in (one, two):
            await eventually(lambda process=process: process.has_said("ready"), account=process.last_words)
        folder.with_name("go").touch()
        for process in (one, two):
            assert process.wait() == 0, process.last_words()
    store = FolderClaims(folder)
    values = [value_of(number, length) for number, length in enumerate(lengths)]
    assert [await store.get(claim(value)) for value in values] == values
    assert sorted(file.name for file in shown(folder)) == sorted(claim(value).sha256 for value in values)
    assert partial(folder) == []


async def test_a_put_killed_half_way_shows_nothing_and_can_be_made_again(tmp_path: Path) -> None:
    value = value_of(0, LARGE)
    folder = await killed_half_way(tmp_path)
    assert shown(folder) == []
    store = FolderClaims(folder)
    with pytest.raises(ClaimMissingError):
        await store.get(claim(value))
    assert await store.get(await store.put(value)) == value


async def killed_half_way(tmp_path: Path) -> Path:
    """The folder of a process that was killed while it wrote. One that was done before it was killed does not count."""
    for number in range(10):
        folder = tmp_path / str(number) / "claims"
        with putting(folder, "writer", LARGE) as process:
            await eventually(lambda process=process: process.has_said("ready"), account=process.last_words)
            folder.with_name("go").touch()
            while process.code is None and not any(file.stat().st_size for file in partial(folder)):
                pass  # any pause would be too long
            process.kill()
        if partial(folder):
            return folder
    pytest.fail("every process was done before it was killed")


async def test_a_value_is_on_disk_before_it_has_its_name_and_its_name_before_put_returns(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What survives a power cut cannot be seen from here: only what is asked of the system, and in what order."""
    store = FolderClaims(folder)
    asked: list[str] = []
    fsync, replace = os.fsync, os.replace

    def seen_fsync(descriptor: int) -> None:
        of = os.fstat(descriptor)
        asked.append("sync folder" if stat.S_ISDIR(of.st_mode) else f"sync {of.st_size} bytes")
        fsync(descriptor)

    def seen_replace(old: Path, new: Path) -> None:
        asked.append("rename")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "replace", seen_replace)
    for _ in range(2):  # the second does not trust that the first has come to its end
        await store.put(b"value")
    assert asked == ["sync 5 bytes", "rename", "sync folder"] * 2


async def test_a_put_that_fails_is_an_error_and_leaves_nothing(folder: Path) -> None:
    store = open_claims(str(folder))
    (folder / claim(b"value").sha256).mkdir()
    with pytest.raises(ClaimStoreError, match="Is a directory") as raised:
        await store.put(b"value")
    assert claim(b"value").sha256 not in str(raised.value)
    assert partial(folder) == []


async def test_what_cannot_be_read_is_an_error_other_than_missing(folder: Path) -> None:
    store = open_claims(str(folder))
    (folder / claim(b"value").sha256).mkdir()
    with pytest.raises(ClaimStoreError) as raised:
        await store.get(claim(b"value"))
    assert type(raised.value) is ClaimStoreError


async def test_a_folder_that_was_removed_is_an_error(folder: Path) -> None:
    store = open_claims(str(folder))
    await asyncio.to_thread(folder.rmdir)
    with pytest.raises(ClaimStoreError, match=str(folder)):
        await store.put(b"value")


def test_the_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    for _ in range(2):
        open_claims(str(tmp_path / "a" / "b" / "c"))
    assert (tmp_path / "a" / "b" / "c").is_dir()


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_what_cannot_be_a_folder_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ClaimStoreError, match="file"):
        open_claims(str(tmp_path / name))


async def test_a_relative_folder_stays_the_same_when_the_process_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_claims("claims")
    kept = await store.put(b"value")
    monkeypatch.chdir("/")
    assert await store.get(kept) == b"value"


@pytest.mark.parametrize("where", ["", "gs://user:secret@bucket", "https://host/bucket", "file:///tmp"])
def test_another_kind_of_place_is_refused(where: str) -> None:
    with pytest.raises(SettingsError, match="a folder or under s3://bucket/prefix") as raised:
        open_claims(where)
    assert "secret" not in str(raised.value)


def test_s3_without_its_client_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name == "streams.claims_s3" or name.startswith("obstore")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(SettingsError, match=r"pip install 'acgs-streams\[s3\]'"):
        open_claims("s3://bucket/prefix")


async def main(folder: Path, lengths: list[int]) -> None:
    store = FolderClaims(folder)
    print("ready", flush=True)  # noqa: T201
    await eventually(folder.with_name("go").exists)
    for number, length in enumerate(lengths):
        await store.put(value_of(number, length))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), list(map(int, sys.argv[2:]))))
