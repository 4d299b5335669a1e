import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from streams.embedded import State, status, stop_background
from streams.embedded.errors import (
    DataFolderInUseError,
    DataFolderUnusableError,
    DataFormatError,
    NotEnoughDiskError,
    NotEnoughMemoryError,
)
from streams.embedded.folder import open_folder, release
from streams.embedded.formatted import IdentityCard, new_cluster_id, read_card, write_card
from streams.embedded.identity import ProcessIdentity, find, identify
from streams.embedded.ports import BrokerPorts
from streams.embedded.resources import require_disk, require_memory
from streams.embedded.running import Running, read_running, write_running

PORTS = (BrokerPorts(20_001, 20_002),)


@pytest.fixture
def bystander() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that is up: until then the system may show no command line of it."""
    command = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def running_here() -> Running:
    return Running(identify(os.getpid(), ""), detached=False, started_at=datetime.now(UTC))


def test_a_folder_with_someones_files_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(DataFolderUnusableError, match="not an embedded Kafka's"):
        open_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_data_folder(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(DataFolderUnusableError, match="cannot be used"):
        open_folder(file)


def test_a_comma_in_the_path_is_refused_because_kafka_would_split_it(tmp_path: Path) -> None:
    with pytest.raises(DataFolderUnusableError, match="comma"):
        open_folder(tmp_path / "a,b")


def test_a_folder_is_for_one_owner_at_a_time(tmp_path: Path) -> None:
    _, lock_fd = open_folder(tmp_path)
    write_running(tmp_path, running_here())
    with pytest.raises(DataFolderInUseError, match="Another embedded Kafka"):
        open_folder(tmp_path)
    release(lock_fd)
    _, again = open_folder(tmp_path)
    release(again)


def test_a_card_reads_back(tmp_path: Path) -> None:
    card = IdentityCard.fresh(1).at(PORTS)
    write_card(tmp_path, card)
    assert read_card(tmp_path, 1) == card


def test_a_cluster_id_is_never_taken_for_an_option() -> None:
    ids = [new_cluster_id() for _ in range(2_000)]
    assert not [cluster_id for cluster_id in ids if cluster_id.startswith("-")]
    assert {len(cluster_id) for cluster_id in ids} == {22}


def test_a_new_folder_has_no_card(tmp_path: Path) -> None:
    assert read_card(tmp_path, 1) is None


def test_a_folder_keeps_its_number_of_brokers(tmp_path: Path) -> None:
    write_card(tmp_path, IdentityCard.fresh(3).at(PORTS))
    with pytest.raises(DataFormatError, match="formatted for 3"):
        read_card(tmp_path, 1)


def test_a_folder_of_a_newer_kafka_is_refused(tmp_path: Path) -> None:
    write_card(tmp_path, replace(IdentityCard.fresh(1).at(PORTS), kafka_version="4.10.0"))
    with pytest.raises(DataFormatError, match="older"):
        read_card(tmp_path, 1)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"brokers": "x"}'])
def test_a_damaged_card_is_an_error_and_not_a_new_format(tmp_path: Path, content: str) -> None:
    (tmp_path / "cluster.json").write_text(content)
    with pytest.raises(DataFormatError, match="cannot be read"):
        read_card(tmp_path, 1)


def test_a_running_note_reads_back(tmp_path: Path) -> None:
    me = identify(os.getpid(), "")
    note = replace(running_here(), keepers=(me,), processes=(me, me), bootstrap_servers="127.0.0.1:1")
    write_running(tmp_path, note)
    assert read_running(tmp_path) == note


def test_a_process_is_found_by_what_it_is(bystander: "subprocess.Popen[bytes]") -> None:
    identity = identify(bystander.pid, "input()")
    found = find(identity)
    assert found is not None
    assert found.pid == bystander.pid


def test_a_reused_process_id_is_not_taken_for_the_process(bystander: "subprocess.Popen[bytes]") -> None:
    identity = identify(bystander.pid, "input()")
    assert find(replace(identity, created=identity.created - 3600)) is None
    assert find(replace(identity, marker="kafka")) is None


def test_an_ended_process_is_not_found(bystander: "subprocess.Popen[bytes]") -> None:
    identity = identify(bystander.pid, "input()")
    bystander.kill()
    bystander.wait()
    assert find(identity) is None


def test_stopping_never_touches_a_process_that_only_has_a_noted_id(
    tmp_path: Path, bystander: "subprocess.Popen[bytes]"
) -> None:
    stale = ProcessIdentity(bystander.pid, identify(bystander.pid, "").created - 3600, "keeper.py")
    note = replace(running_here(), detached=True, keepers=(stale,), processes=(stale,))
    write_running(tmp_path, note)
    assert stop_background(tmp_path) is False
    assert bystander.poll() is None


def test_the_status_of_a_folder_that_does_not_exist_is_stopped(tmp_path: Path) -> None:
    found = status(tmp_path / "none")
    assert found.state is State.STOPPED
    assert found.bootstrap_servers is None
    assert found.disk_bytes == 0
    assert not (tmp_path / "none").exists()


def test_too_little_disk_is_told_with_both_figures(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughDiskError, match=r"need 1073741824 MiB .* MiB are free"):
        require_disk(tmp_path / "new" / "folder", 2**50, "Kafka's records")


def test_too_little_memory_is_told_with_both_figures() -> None:
    with pytest.raises(NotEnoughMemoryError, match=r"need 3000600 MiB, and \d+ MiB are available"):
        require_memory(3, 1_000_000)
