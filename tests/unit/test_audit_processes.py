"""The processes of an audit end with it, without a word."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support.pool_process import SAYS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("is_for_all", [False, True], ids=["the parent alone", "the whole group"])
@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.2, 1.0], ids="after {:.2f} s".format)
def test_ctrl_c_ends_all_processes_wherever_they_are_and_none_says_anything(
    after_s: float, *, is_for_all: bool
) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-m", "tests.support.pool_process"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline().strip() == SAYS
        time.sleep(after_s)  # where the others are by then is what is tried
        (os.killpg if is_for_all else os.kill)(parent.pid, signal.SIGINT)
        _, said = parent.communicate(timeout=20)
        assert (parent.returncode, said) == (0, "")
        _wait_for_the_end_of(parent.pid)
    finally:
        if parent.poll() is None:
            os.killpg(parent.pid, signal.SIGKILL)
            parent.wait()


def _wait_for_the_end_of(group: int) -> None:
    """Of multiprocessing's own helper, which ends by itself, too."""
    until = time.monotonic() + 10
    while left := [one for one in psutil.process_iter() if _is_at_work(one, group)]:
        assert time.monotonic() < until, left
        time.sleep(0.02)


def _is_at_work(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False
