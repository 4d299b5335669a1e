"""Bring the release's jars into the cache, once."""

import hashlib
import shutil
import tempfile
import threading
from collections.abc import Generator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from streams.embedded.cache import CACHE_VARIABLE
from streams.embedded.errors import FetchError, NetworkUnavailableError
from streams.embedded.progress import OnProgress, Phase, Progress
from streams.embedded.release import KAFKA_VERSION, Jar, locked_jars
from streams.embedded.resources import require_disk

if TYPE_CHECKING:
    from collections.abc import Callable

    from jgo.maven import MavenContext

CONNECTIONS: Final = 6
ATTEMPTS: Final = 3
HTTP_TIMEOUT_S: Final = 20
REPORT_EVERY_S: Final = 0.25
UNPACK_FACTOR: Final = 2


def release_folder(cache: Path) -> Path:
    """The cache's folder for this release."""
    return cache / f"kafka-{KAFKA_VERSION}"


def ensure_jars(cache: Path, on_progress: OnProgress) -> tuple[Path, ...]:
    """Return the release's jars as files, fetching those that are missing.

    A jar appears under its name only when whole and its digest right, so that a
    process killed while fetching leaves nothing wrong behind, and two may fetch at
    once. With all jars in place neither the network nor a resolver is touched.

    Args:
        cache: The cache's root; created when missing.
        on_progress: Told the bytes fetched so far, about four times a second.

    Returns:
        The paths in classpath order.

    Raises:
        NetworkUnavailableError: Jars are missing and the repository is out of reach.
        NotEnoughDiskError: The missing jars would not fit.
        FetchError: The cache cannot be written, or the repository lacks a jar.
    """
    folder = release_folder(cache) / "jars"
    jars = locked_jars()
    missing = [jar for jar in jars if not is_present(folder, jar)]
    if missing:
        fetch(missing, folder, on_progress)
    return tuple(folder / jar.file_name for jar in jars)


def is_present(folder: Path, jar: Jar) -> bool:
    """Whether the whole jar lies in the folder; its digest was checked on arrival."""
    try:
        return (folder / jar.file_name).stat().st_size == jar.size
    except OSError:
        return False


def fetch(jars: list[Jar], folder: Path, on_progress: OnProgress) -> None:
    """Fetch jars into the folder; see `ensure_jars`."""
    require_disk(folder, UNPACK_FACTOR * sum(jar.size for jar in jars), "Kafka's jars")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix="incoming-", dir=folder.parent))
    except OSError as error:
        raise FetchError(
            f"Kafka's jars cannot be stored in {folder}: {error.strerror}.",
            f"Make that folder writable, or set {CACHE_VARIABLE} to one that is.",
        ) from error
    try:
        fetch_through(staging, jars, folder, on_progress)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def fetch_through(staging: Path, jars: list[Jar], folder: Path, on_progress: OnProgress) -> None:
    """Fetch into the staging repository, and move each checked jar to the folder."""
    meter = ByteMeter()
    context = maven_context(staging, meter)
    with ThreadPoolExecutor(CONNECTIONS, "jar") as pool:
        pending = {pool.submit(fetch_jar, context, jar, folder) for jar in jars}
        try:
            follow(pending, meter, len(jars), sum(j.size for j in jars), on_progress)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@dataclass(slots=True)
class ByteMeter:
    """Counts the bytes that arrive in all threads."""

    total: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, count: int) -> None:
        """Count bytes that arrived."""
        with self._lock:
            self.total += count

    @contextmanager
    def of_file(self, _name: str, _size: int) -> "Generator[Callable[[int], None]]":
        """What jgo asks of its progress callback: an adder for one file."""
        yield self.add


def maven_context(repository: Path, meter: ByteMeter) -> "MavenContext":
    """A pure-Python Maven client: neither `mvn` nor a JDK is looked for."""
    from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415 - 0.3 s, once

    resolver = PythonResolver(progress_callback=meter.of_file)
    return MavenContext(resolver, repo_cache=repository, timeout=HTTP_TIMEOUT_S)


def follow(
    pending: set[Future[None]],
    meter: ByteMeter,
    count: int,
    size: int,
    on_progress: OnProgress,
) -> None:
    """Report until every future is done; raise the first error."""
    while pending:
        done, pending = wait(pending, REPORT_EVERY_S, FIRST_EXCEPTION)
        for future in done:
            future.result()
        said = f"Fetching Apache Kafka {KAFKA_VERSION} ({count - len(pending)}/{count})"
        on_progress(Progress(Phase.FETCH, said, min(meter.total, size), size))


def fetch_jar(context: "MavenContext", jar: Jar, folder: Path) -> None:
    """Fetch one jar, again after a broken transfer, and move it to the folder."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            path = download(context, jar)
        except NetworkUnavailableError:
            if attempt == ATTEMPTS:
                raise
            continue
        if hashlib.sha256(path.read_bytes()).hexdigest() == jar.sha256:
            path.replace(folder / jar.file_name)
            return
        path.unlink()
    raise FetchError(
        f"{jar.coordinate} arrived {ATTEMPTS} times with a wrong SHA-256.",
        "Something between this machine and the Maven repository alters files; try another network.",
    )


def download(context: "MavenContext", jar: Jar) -> Path:
    """One transfer through jgo; a partial file is removed."""
    import requests  # noqa: PLC0415 - comes with jgo, needed only here

    artifact = context.create_dependency(jar.coordinate).artifact
    try:
        return artifact.resolve()
    except requests.RequestException as error:
        remove_partial(artifact.cached_path)
        raise NetworkUnavailableError(
            f"Apache Kafka {KAFKA_VERSION} is not yet on this machine, and the Maven "
            f"repository cannot be reached ({type(error).__name__}).",
            "Connect to the internet (or set HTTPS_PROXY) for the first start; later "
            f"ones need no network. Or set {CACHE_VARIABLE} to a filled cache, or "
            "ACGS_KAFKA_BOOTSTRAP_SERVERS to a Kafka that runs.",
        ) from error
    except (RuntimeError, OSError) as error:
        remove_partial(artifact.cached_path)
        raise FetchError(
            f"{jar.coordinate} could not be fetched: {error}",
            "Try again; if it stays so, the Maven repository or a mirror before it lacks this file.",
        ) from error


def remove_partial(path: Path | None) -> None:
    """Remove what a broken transfer left, for jgo takes any file for a whole one."""
    if path is not None:
        path.unlink(missing_ok=True)
