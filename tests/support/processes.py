"""Worker processes that a test may kill, stop and continue."""

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
_LAST_LINES, _MAX_LINE = 15, 300
_NOISE = '"logger": "aiokafka'
"""What the client says while a broker is down fills pages."""


def of_a_worker(servers: str, prefix: str, name: str) -> dict[str, str]:
    """What a worker process finds in its environment."""
    return {
        "ACGS_KAFKA_BOOTSTRAP_SERVERS": servers,
        "ACGS_PREFIX": prefix,
        "ACGS_WORKER_ID": name,
        "ACGS_METRICS_PORT": "0",
    }


class Process:
    """One worker process and its log. It ends when its standard input does, hence with the test."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        log.unlink(missing_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
            )

    @property
    def code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.poll()

    def kill(self) -> None:
        """As a crash would end it."""
        self._process.kill()
        self._end()

    def freeze(self) -> None:
        """Stops it where it stands, without its knowledge."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets it go on."""
        self._process.send_signal(signal.SIGCONT)

    def ask_to_stop(self) -> None:
        self._process.terminate()

    def wait(self, seconds: float = 60) -> int:
        """Its exit code, once it has ended."""
        code = self._process.wait(seconds)
        self._end()
        return code

    def has_said(self, words: str) -> bool:
        return words in self.log.read_text(errors="replace")

    def last_words(self) -> str:
        said = (line for line in self.log.read_text(errors="replace").splitlines() if _NOISE not in line)
        return "\n".join(line[:_MAX_LINE] for line in deque(said, _LAST_LINES))

    def _end(self) -> None:
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


class Machine:
    """What one machine of an installation runs: a worker of the product's agents and one of the example agent."""

    def __init__(self, name: str, commands: Sequence[tuple[Sequence[str], Mapping[str, str]]], logs: Path) -> None:
        self.name, self._commands, self._logs = name, commands, logs
        self.processes: list[Process] = []

    @property
    def runs(self) -> bool:
        return bool(self.processes)

    def start(self) -> None:
        self.processes = [
            Process(arguments, environment, self._logs / f"{self.name}-{number}.log")
            for number, (arguments, environment) in enumerate(self._commands)
        ]

    def kill(self) -> None:
        processes, self.processes = self.processes, []
        for process in processes:
            process.kill()

    def stop(self) -> None:
        """Ends it in good order."""
        processes, self.processes = self.processes, []
        for process in processes:
            process.ask_to_stop()
        for process in processes:
            code = process.wait()
            assert code == 0, f"{self.name} ended with {code}:\n{process.last_words()}"

    def times_said(self, words: str) -> int:
        """How often its processes have."""
        return sum(process.log.read_text(errors="replace").count(words) for process in self.processes)

    def has_said(self, words: str) -> bool:
        """Whether each of its processes has."""
        return all(process.has_said(words) for process in self.processes)

    def freeze(self) -> None:
        for process in self.processes:
            process.freeze()

    def thaw(self) -> None:
        for process in self.processes:
            process.thaw()

    def account(self) -> str:
        """The processes that ended by themselves, and what they said last."""
        ended = [p for p in self.processes if p.code is not None]
        return "\n".join(f"{self.name} ended with {p.code}:\n{p.last_words()}" for p in ended)


@contextmanager
def ending(machines: Sequence[Machine]) -> Iterator[None]:
    """Leaves no process behind."""
    try:
        yield
    finally:
        for machine in machines:
            machine.kill()
