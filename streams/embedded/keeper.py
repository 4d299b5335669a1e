"""The process that owns one broker's JVM, so that none is ever left behind.

Run as a script by `streams.embedded.kept`; it uses the standard library only, and
imports nothing of this package, so that it starts quickly and stays small.

It ends the JVM, in good order and after a grace by SIGKILL, when
- its parent says so on its standard input,
- its parent is gone: end of file there, or another parent process id (the second is
  for parents whose forks still hold the pipe), unless `detach` was said before,
- it gets SIGTERM.
It ends when the JVM has ended. Should the keeper itself be killed, Linux kills the
JVM at once (`PR_SET_PDEATHSIG`); on macOS, which has no such thing, that JVM stays
until `acgs kafka stop`.

Input lines: `stop <seconds>`, `kill`, `detach`. Output lines: `started <pid>`, `ended
<exit status>`.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

PR_SET_PDEATHSIG = 1
LOOK_AROUND_S = 0.5
ORPHAN_GRACE_S = 1.5
READ_SIZE = 4096
USAGE = "keeper.py <lock fd> <stop grace in seconds> <command> ..."


class Keeper:
    """Watches one JVM on one side and its parent on the other."""

    def __init__(self, lock_fd: int, grace_s: float, command: list[str]) -> None:
        """Start the JVM; it shares the lock on the data folder."""
        self.grace_s = grace_s
        self.parent_pid = os.getppid()
        self.attached = True
        self.kill_at: float | None = None
        self.unread = b""
        self.wakeup = wakeup_on_signals()
        self.jvm = start_jvm(command, lock_fd)

    def run(self) -> int:
        """Watch until the JVM has ended; return its exit status."""
        say(f"started {self.jvm.pid}")
        while self.jvm.poll() is None:
            self.wait_for_news()
            if self.attached and os.getppid() != self.parent_pid:
                self.lose_parent()
            if self.kill_at is not None and time.monotonic() >= self.kill_at:
                self.jvm.kill()
        status = self.jvm.wait()
        say(f"ended {status}")
        return status

    def wait_for_news(self) -> None:
        """Sleep until a line, a signal or the next look at parent and deadline."""
        sources = [self.wakeup, *([0] if self.attached else [])]
        readable, _, _ = select.select(sources, [], [], self.next_look())
        if self.wakeup in readable:
            self.take_signals(os.read(self.wakeup, READ_SIZE))
        if 0 in readable:
            self.take_input(os.read(0, READ_SIZE))

    def next_look(self) -> float:
        """Seconds until something must be checked."""
        if self.kill_at is None:
            return LOOK_AROUND_S
        return min(LOOK_AROUND_S, max(0.0, self.kill_at - time.monotonic()))

    def take_signals(self, numbers: bytes) -> None:
        """SIGTERM asks for an orderly stop; SIGCHLD only wakes us."""
        if signal.SIGTERM in numbers:
            self.stop(self.grace_s)

    def take_input(self, received: bytes) -> None:
        """Do what whole lines say; end of file means that the parent is gone."""
        if not received:
            self.lose_parent()
            return
        *lines, self.unread = (self.unread + received).split(b"\n")
        for line in lines:
            self.obey(line.decode("ascii").split())

    def obey(self, words: list[str]) -> None:
        """One line from the parent."""
        match words:
            case ["stop", grace_s]:
                self.stop(float(grace_s))
            case ["kill"]:
                self.jvm.kill()
            case ["detach"]:
                self.attached = False
            case _:
                complain(f"unknown line {words}")

    def lose_parent(self) -> None:
        """Nobody is left to wait for us: stop at once, with little grace."""
        self.attached = False
        self.stop(min(self.grace_s, ORPHAN_GRACE_S))

    def stop(self, grace_s: float) -> None:
        """Ask the JVM to end, and set the time to kill it; a nearer one stays."""
        kill_at = time.monotonic() + grace_s
        if self.kill_at is None:
            self.jvm.terminate()
        self.kill_at = kill_at if self.kill_at is None else min(self.kill_at, kill_at)


def wakeup_on_signals() -> int:
    """Make SIGTERM and SIGCHLD readable on a descriptor, which is returned.

    A terminal's signals do not concern the keeper: its parent decides what they mean.
    """
    reading, writing = os.pipe()
    for end in (reading, writing):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, only_wake_up)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    return reading


def only_wake_up(_number: int, _frame: object) -> None:
    """Do nothing: the wake-up descriptor has the signal's number."""


def start_jvm(command: list[str], lock_fd: int) -> "subprocess.Popen[bytes]":
    """Start the JVM with its output to our standard error, which is a file."""
    return subprocess.Popen(  # noqa: S603 - the parent, which is us, names the command
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno(),
        stderr=sys.stderr.fileno(),
        pass_fds=[lock_fd],
        # The keeper has one thread, so that nothing can hold a lock across the fork.
        preexec_fn=die_with_keeper(os.getpid()) if sys.platform == "linux" else None,  # noqa: PLW1509
    )


def die_with_keeper(keeper_pid: int) -> Callable[[], None]:
    """What a child runs before its program: tie its life to this process."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def tie() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != keeper_pid:
            os._exit(1)

    return tie


def say(line: str) -> None:
    """Tell the parent, if it still listens."""
    with suppress(OSError):
        os.write(1, f"{line}\n".encode("ascii"))


def complain(text: str) -> None:
    """Write to standard error, which is the broker's output file."""
    sys.stderr.write(f"keeper: {text}\n")
    sys.stderr.flush()


def main(arguments: list[str]) -> int:
    """Keep one JVM; return 0 when it ended as asked, else 1."""
    if len(arguments) < 3:  # noqa: PLR2004 - see USAGE
        complain(USAGE)
        return 2
    lock_fd, grace_s, *command = arguments
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    return 0 if Keeper(int(lock_fd), float(grace_s), command).run() == 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
