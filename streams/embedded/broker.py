"""One broker: its files, its format, its process."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from streams.embedded.deadline import Deadline
from streams.embedded.errors import BrokerStartError, BrokerStartTimeoutError
from streams.embedded.folder import DataFolder
from streams.embedded.java import (
    SERVER_CLASS,
    STORAGE_CLASS,
    Jvm,
    argument_file,
    java_environment,
    java_executable,
    jvm_options,
)
from streams.embedded.kept import Command, KeptProcess
from streams.embedded.ports import BrokerPorts
from streams.embedded.probe import serving_nodes
from streams.embedded.properties import (
    Node,
    logging_properties,
    render,
    server_properties,
)
from streams.embedded.store import write_text

TOOL_TIMEOUT: Final = timedelta(seconds=120)
TOOL_LOOK_S: Final = 0.1
TAIL_LINES: Final = 15
TAIL_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class BrokerPlan:
    """All that one broker's processes are started from.

    Attributes:
        folder: The cluster's data folder.
        index: The broker's number from 0.
        cluster: Every broker's ports.
        jvm: What its JVMs have in common.
    """

    folder: DataFolder
    index: int
    cluster: tuple[BrokerPorts, ...]
    jvm: Jvm

    @property
    def home(self) -> Path:
        """The broker's own folder."""
        return self.folder.broker(self.index)

    @property
    def properties(self) -> Path:
        """Kafka's settings."""
        return self.home / "server.properties"

    @property
    def arguments(self) -> Path:
        """The JVM's options, as the launcher reads them."""
        return self.home / "jvm.args"

    @property
    def client_port(self) -> int:
        """Where clients connect."""
        return self.cluster[self.index].client

    def java(self, *arguments: str) -> list[str]:
        """A Java command with this broker's options."""
        return [str(java_executable()), f"@{self.arguments}", *arguments]


def write_files(plan: BrokerPlan) -> None:
    """Write the broker's settings; an emptied folder for what Java unpacks."""
    shutil.rmtree(plan.home / "tmp", ignore_errors=True)
    for name in ("logs", "records", "tmp"):
        (plan.home / name).mkdir(parents=True, exist_ok=True)
    node = Node(plan.index, plan.cluster, plan.folder.records(plan.index))
    log_file = plan.folder.server_log(plan.index)
    write_text(plan.properties, render(server_properties(node)))
    write_text(plan.home / "log4j2.properties", render(logging_properties(log_file)))
    write_text(plan.arguments, argument_file(jvm_options(plan.jvm)))


def format_records(plan: BrokerPlan, cluster_id: str, on_wait: Callable[[], None]) -> None:
    """Format the broker's records folder; one that is formatted stays as it is.

    Raises:
        BrokerStartError: Kafka's storage tool failed.
    """
    asked = ["format", "--cluster-id", cluster_id, "--config", str(plan.properties)]
    done = run_tool(plan.java(STORAGE_CLASS, *asked, "--ignore-formatted"), on_wait)
    if done.returncode != 0:
        raise BrokerStartError(
            f"Kafka could not format {plan.folder.records(plan.index)}.",
            "Read its output below; another data folder may help.",
            done.stdout.strip(),
        )


def run_tool(command: list[str], on_wait: Callable[[], None]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end.

    Raises:
        BrokerStartError: It did not end in time, and was killed.
    """
    deadline = Deadline.after(TOOL_TIMEOUT)
    with subprocess.Popen(  # noqa: S603 - our own Java with our own arguments
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=java_environment(),
        encoding="utf-8",
        errors="replace",
    ) as tool:
        while not deadline.passed:
            try:
                output, _ = tool.communicate(timeout=TOOL_LOOK_S)
            except subprocess.TimeoutExpired:
                on_wait()
            else:
                return subprocess.CompletedProcess(command, tool.returncode, output)
        tool.kill()
    raise BrokerStartError(
        f"A Java tool did not end within {TOOL_TIMEOUT.total_seconds():.0f} s.",
        "The machine may be overloaded: try again.",
    )


def spawn(plan: BrokerPlan, lock_fd: int, stop_grace: timedelta) -> KeptProcess:
    """Start the broker's process under a keeper; it does not serve yet.

    Raises:
        BrokerStartError: The process could not be started.
    """
    output = plan.folder.jvm_output(plan.index)
    line = plan.java(SERVER_CLASS, str(plan.properties))
    command = Command(line, str(plan.properties), output, lock_fd, stop_grace)
    try:
        return KeptProcess(command)
    except OSError as error:
        raise BrokerStartError(
            f"Broker {plan.index} could not be started: {error}.",
            f"Read {output}.",
            tail(output),
        ) from error


def wait_until_serving(
    plan: BrokerPlan,
    process: KeptProcess,
    expected: frozenset[int],
    timeout: timedelta,
    on_wait: Callable[[], None],
) -> None:
    """Return when the broker serves clients and knows the expected nodes.

    Args:
        plan: The broker.
        process: Its process.
        expected: Node ids that its metadata must name.
        timeout: How long that may take.
        on_wait: Called between two looks, many times a second.

    Raises:
        BrokerStartError: It ended.
        BrokerStartTimeoutError: It did not get there in time.
    """
    deadline = Deadline.after(timeout)
    while not expected <= serving_nodes(plan.client_port):
        if not process.running:
            raise died(plan)
        if deadline.passed:
            raise too_slow(plan, timeout)
        on_wait()
        deadline.pause()


def died(plan: BrokerPlan) -> BrokerStartError:
    """The error for a broker that ended, with the reason it logged."""
    return BrokerStartError(
        f"Broker {plan.index} ended while starting.",
        f"Its last lines are below; all are in {plan.folder.server_log(plan.index)}.",
        last_words(plan),
    )


def too_slow(plan: BrokerPlan, timeout: timedelta) -> BrokerStartTimeoutError:
    """The error for a broker that does not answer."""
    return BrokerStartTimeoutError(
        f"Broker {plan.index} did not serve within {timeout.total_seconds():.0f} s.",
        "The machine may be overloaded: try again, or allow more time. Its last lines "
        f"are below; all are in {plan.folder.server_log(plan.index)}.",
        last_words(plan),
    )


def last_words(plan: BrokerPlan) -> str:
    """The end of what the broker logged and what its JVM printed."""
    sources = (
        plan.folder.server_log(plan.index),
        plan.folder.jvm_output(plan.index),
    )
    return "\n".join(text for text in map(tail, sources) if text)


def tail(path: Path, lines: int = TAIL_LINES) -> str:
    """The last lines of a file; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
