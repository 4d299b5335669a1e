from pathlib import Path

import pytest

from streams.embedded.cache import cache_folder
from streams.embedded.fetch import ensure_jars, release_folder
from streams.embedded.progress import Progress
from streams.embedded.release import KAFKA_VERSION, format_jar, locked_jars, parse_jar


def fill(cache: Path) -> None:
    folder = release_folder(cache) / "jars"
    folder.mkdir(parents=True)
    for jar in locked_jars():
        with (folder / jar.file_name).open("wb") as file:
            file.truncate(jar.size)


def test_the_lock_is_of_the_pinned_release_and_nothing_else() -> None:
    kafka = [jar for jar in locked_jars() if jar.coordinate.startswith("org.apache.kafka:")]
    assert {jar.coordinate.split(":")[2] for jar in kafka} == {KAFKA_VERSION}
    assert f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}" in {jar.coordinate for jar in kafka}


def test_the_lock_brings_a_logger_that_kafka_finds() -> None:
    names = {jar.coordinate.split(":")[1] for jar in locked_jars()}
    assert {"slf4j-api", "log4j-slf4j-impl", "log4j-core"} <= names


def test_no_two_jars_share_a_file_name() -> None:
    jars = locked_jars()
    assert len({jar.file_name for jar in jars}) == len(jars)


def test_a_locked_line_reads_back() -> None:
    for jar in locked_jars():
        assert parse_jar(format_jar(jar)) == jar


def test_a_full_cache_is_used_without_fetching(tmp_path: Path) -> None:
    fill(tmp_path)
    reports: list[Progress] = []
    jars = ensure_jars(tmp_path, reports.append)
    assert [path.name for path in jars] == [jar.file_name for jar in locked_jars()]
    assert reports == []


def test_the_cache_folder_is_the_one_the_environment_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACGS_CACHE_DIR", str(tmp_path / "chosen"))
    assert cache_folder() == tmp_path / "chosen"


def test_the_cache_folder_is_the_users_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACGS_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder().name == "acgs-streams"
    assert cache_folder().is_relative_to(tmp_path)
