"""A real Apache Kafka under this process's control."""

import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from streams.embedded import folder as folders
from streams.embedded.broker import BrokerPlan, spawn, wait_until_serving, write_files
from streams.embedded.errors import WrongStateError
from streams.embedded.identity import identify
from streams.embedded.kept import KeptProcess
from streams.embedded.planning import plan_cluster, write_cluster
from streams.embedded.ports import LOOPBACK, require_free
from streams.embedded.progress import Heartbeat, OnProgress, Phase, Progress, ignore_progress
from streams.embedded.running import Running, remove_running, write_running
from streams.embedded.settings import EmbeddedSettings


@dataclass(frozen=True, slots=True)
class _Held:
    """What a started cluster holds.

    Attributes:
        folder: Its data folder.
        lock_fd: The lock on it.
        plans: Each broker's plan.
        processes: Each broker's newest process, dead or alive.
        running: The note in the data folder.
    """

    folder: folders.DataFolder
    lock_fd: int
    plans: tuple[BrokerPlan, ...]
    processes: dict[int, KeptProcess]
    running: Running


class EmbeddedKafka:
    """One to three Kafka brokers (KRaft) that live no longer than this process.

    Guarantees:
        - `start` returns when every broker serves clients on 127.0.0.1.
        - The brokers end when this process does, however it ends: within about 2 s
          after a SIGKILL. On Linux that holds even when a keeper process is killed.
        - Ctrl-C in the terminal does not reach the brokers; `stop` does, and so
          does leaving the `with` block or the end of the process.
        - What is in the data folder survives `stop`, `kill` and this process; the
          next start uses the same ports if they are free.
        - Two clusters never run on one data folder.

    Linux and macOS. Not thread-safe: call it from one thread at a time.
    """

    def __init__(self, settings: EmbeddedSettings) -> None:
        """Touch nothing yet."""
        self._settings = settings
        self._held: _Held | None = None

    @property
    def bootstrap_servers(self) -> str:
        """Every broker's `host:port`, separated by commas.

        Raises:
            WrongStateError: The cluster is not started.
        """
        return ",".join(f"{LOOPBACK}:{plan.client_port}" for plan in self._started().plans)

    def start(self, on_progress: OnProgress | None = None) -> None:
        """Fetch, prepare and format what is missing, and start every broker.

        The first start on a machine fetches 45 MB and takes about half a minute;
        later ones take a few seconds and need no network. After an error nothing
        runs, and the folder can be used again.

        Args:
            on_progress: Told at every change and at least once a second, from this
                thread.

        Raises:
            WrongStateError: It is started already.
            EmbeddedKafkaError: See `streams.embedded.errors`.
        """
        if self._held is not None:
            raise WrongStateError("This Kafka is started already.", "Stop it first.")
        report = on_progress or ignore_progress
        folder, lock_fd = folders.open_folder(self._settings.data)
        self._held = _Held(folder, lock_fd, (), {}, this_process_runs())
        try:
            self._note_running(self._held.running)
            plan = plan_cluster(self._settings, folder, report)
            write_cluster(plan, folder, report)
            self._held = replace(self._held, plans=plan.brokers)
            self._launch(report)
        except BaseException:
            self.stop()
            raise
        report(Progress(Phase.READY, f"Kafka serves at {self.bootstrap_servers}"))

    def stop(self) -> None:
        """Stop every broker: in good order, and by SIGKILL after the stop grace.

        Returns when all are gone. Does nothing when nothing runs.
        """
        held, self._held = self._held, None
        if held is None:
            return
        grace = self._settings.stop_grace
        alive = [process for process in held.processes.values() if process.running]
        for process in alive:
            process.request_stop(grace)
        for process in held.processes.values():
            process.wait_stopped(grace)
        remove_running(held.folder.path)
        folders.release(held.lock_fd)

    def kill(self, broker: int = 0) -> None:
        """SIGKILL one broker, as a crash would; its data stays.

        Returns when it is gone. Does nothing when it is dead already.

        Raises:
            WrongStateError: The cluster is not started, or has no such broker.
        """
        self._process(broker).kill()

    def pid(self, broker: int = 0) -> int:
        """The process id of one broker, for whoever wants to stop it for a while.

        Raises:
            WrongStateError: The cluster is not started, or has no such broker.
        """
        return self._process(broker).process.pid

    def restart(self, broker: int = 0) -> None:
        """Start a killed broker again, on the same ports and data.

        Returns when it serves; that includes the recovery of its logs.

        Raises:
            WrongStateError: It runs, or there is no such broker.
            PortInUseError: Another process took one of its ports.
            BrokerStartError: It did not start.
        """
        if self._process(broker).running:
            raise WrongStateError(f"Broker {broker} runs.", "Kill it first.")
        held = self._started()
        plan = held.plans[broker]
        for port in (plan.cluster[broker].client, plan.cluster[broker].controller):
            require_free(port)
        write_files(plan)
        self._spawn(plan)
        self._await(plan, frozenset({broker}), ignore_progress)
        self._note_running(held.running)

    def detach(self) -> None:
        """Let the brokers outlive this process; `stop_background` ends them.

        Raises:
            WrongStateError: The cluster is not started.
        """
        held = self._started()
        self._note_running(replace(held.running, detached=True))
        for process in held.processes.values():
            process.detach()
        # Not released: the brokers share the lock and hold it from here on.
        os.close(held.lock_fd)
        self._held = None

    def __enter__(self) -> Self:
        """Start, unless it is started."""
        if self._held is None:
            self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    def _started(self) -> _Held:
        """What the started cluster holds."""
        if self._held is None:
            raise WrongStateError("This Kafka is not started.", "Call start() first.")
        return self._held

    def _process(self, broker: int) -> KeptProcess:
        """One broker's process."""
        processes = self._started().processes
        if broker not in processes:
            raise WrongStateError(
                f"There is no broker {broker}.",
                f"Choose one from 0 to {len(processes) - 1}.",
            )
        return processes[broker]

    def _launch(self, report: OnProgress) -> None:
        """Start every broker, and wait until each knows all."""
        plans = self._started().plans
        for plan in plans:
            self._spawn(plan)
        everyone = frozenset(plan.index for plan in plans)
        for plan in plans:
            self._await(plan, everyone, report)
        self._note_running(replace(self._started().running, bootstrap_servers=self.bootstrap_servers))

    def _spawn(self, plan: BrokerPlan) -> None:
        """Start one broker's process."""
        held = self._started()
        grace = self._settings.stop_grace
        held.processes[plan.index] = spawn(plan, held.lock_fd, grace)

    def _await(self, plan: BrokerPlan, expected: frozenset[int], report: OnProgress) -> None:
        """Wait until one broker serves."""
        heartbeat = Heartbeat(report, Phase.START, f"Starting broker {plan.index}")
        process = self._process(plan.index)
        timeout = self._settings.start_timeout
        wait_until_serving(plan, process, expected, timeout, heartbeat)

    def _note_running(self, running: Running) -> None:
        """Bring the data folder's note up to date."""
        held = self._started()
        noted = replace(
            running,
            keepers=tuple(process.keeper for process in held.processes.values()),
            processes=tuple(process.process for process in held.processes.values()),
        )
        self._held = replace(held, running=noted)
        write_running(held.folder.path, noted)


def this_process_runs() -> Running:
    """The note for a cluster that this process starts now."""
    return Running(identify(os.getpid(), ""), detached=False, started_at=now())


def now() -> datetime:
    """The present, aware, in UTC."""
    return datetime.now(UTC)
