"""The parent's side of a keeper."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO, Final

import psutil

from streams.embedded import keeper as keeper_script
from streams.embedded.deadline import Deadline
from streams.embedded.identity import ProcessIdentity, find, identify
from streams.embedded.java import java_environment

KEEPER_MARKER: Final = "keeper.py"
AFTER_GRACE: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Command:
    """What a keeper shall run.

    Attributes:
        line: The program and its arguments.
        marker: A text within it that tells this process from others.
        output: File for all that it prints; emptied first.
        lock_fd: The lock on the data folder, to be shared.
        stop_grace: Time for an orderly stop on SIGTERM.
    """

    line: Sequence[str]
    marker: str
    output: Path
    lock_fd: int
    stop_grace: timedelta


class KeptProcess:
    """A process under a keeper: it ends when this process does, unless detached."""

    def __init__(self, command: Command) -> None:
        """Start keeper and process; both are in a session of their own.

        A terminal's Ctrl-C therefore reaches neither, and the caller can still
        finish its work with the broker before it stops it.

        Raises:
            OSError: The process could not be started.
        """
        self._popen = start_keeper(command)
        self.keeper: Final = identify(self._popen.pid, KEEPER_MARKER)
        self.process: Final = self._first_news(command)

    def _first_news(self, command: Command) -> ProcessIdentity:
        """Wait for the keeper to name the process it started."""
        words = pipe(self._popen.stdout).readline().split()
        try:
            return identify(int(words[1]), command.marker)
        except (IndexError, psutil.NoSuchProcess) as error:
            self._close()
            self._popen.wait()
            raise ChildProcessError("it ended at once") from error

    @property
    def running(self) -> bool:
        """Whether the keeper runs, and so perhaps its process."""
        return self._popen.poll() is None

    def request_stop(self, grace: timedelta) -> None:
        """Ask for an orderly stop with SIGKILL after the grace; do not wait."""
        self._say(f"stop {grace.total_seconds()}")

    def wait_stopped(self, grace: timedelta, on_wait: Callable[[], None] = lambda: None) -> None:
        """Wait until both are gone; end them by force when the keeper fails to."""
        deadline = Deadline.after(grace + AFTER_GRACE)
        while self.running and not deadline.passed:
            on_wait()
            deadline.pause()
        if self.running:
            self._popen.kill()
            self._popen.wait()
        self._close()
        end_by_force(self.process)

    def kill(self) -> None:
        """SIGKILL the process through its keeper, which cannot hit a reused id."""
        self._say("kill")
        self.wait_stopped(timedelta())

    def detach(self) -> None:
        """Let keeper and process outlive this one."""
        self._say("detach")
        self._close()
        # It is no longer ours to wait for; without a status Popen would warn.
        self._popen.returncode = 0

    def _say(self, line: str) -> None:
        """Send a line; a keeper that is gone needs none."""
        stdin = pipe(self._popen.stdin)
        if stdin.closed:
            return
        try:
            stdin.write(f"{line}\n".encode("ascii"))
            stdin.flush()
        except BrokenPipeError:
            return

    def _close(self) -> None:
        """Close both pipes."""
        for stream in (pipe(self._popen.stdin), pipe(self._popen.stdout)):
            try:
                stream.close()
            except BrokenPipeError:
                continue


def pipe(stream: IO[bytes] | None) -> IO[bytes]:
    """One of the keeper's pipes, which are always there."""
    if stream is None:
        raise TypeError("the keeper is started with pipes")
    return stream


def start_keeper(command: Command) -> subprocess.Popen[bytes]:
    """Start the keeper as an isolated script, which imports nothing of the user's."""
    script = os.path.abspath(keeper_script.__file__)  # noqa: PTH100 - no symlink walk
    grace_s = str(command.stop_grace.total_seconds())
    arguments = [script, str(command.lock_fd), grace_s, *command.line]
    with command.output.open("wb") as output:
        return subprocess.Popen(  # noqa: S603 - our own script under our own Python
            [sys.executable, "-I", "-S", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            pass_fds=[command.lock_fd],
            env=java_environment(),
            cwd=command.output.parent,
            start_new_session=True,
        )


def end_by_force(identity: ProcessIdentity) -> None:
    """SIGKILL a process if it is still this very one."""
    process = find(identity)
    if process is not None:
        process.kill()
        process.wait()
