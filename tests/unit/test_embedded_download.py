"""Downloads with the real client from a Maven repository on this machine."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from jgo.maven import MavenContext, PythonResolver

from streams.embedded.errors import FetchError, NetworkUnavailableError
from streams.embedded.fetch import ByteMeter, fetch_jar
from streams.embedded.ports import choose_free
from streams.embedded.release import Jar

CONTENT = b"a jar" * 1000
JAR = Jar("org.example:thing:1.0", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "repository"


@pytest.fixture
def server(repository: Path) -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(repository))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def meter() -> ByteMeter:
    return ByteMeter()


@pytest.fixture
def context(server: ThreadingHTTPServer, meter: ByteMeter, tmp_path: Path) -> MavenContext:
    address = f"http://127.0.0.1:{server.server_port}"
    return MavenContext(PythonResolver(progress_callback=meter.of_file), tmp_path / "staging", [], {"local": address})


@pytest.fixture
def jars(tmp_path: Path) -> Path:
    folder = tmp_path / "jars"
    folder.mkdir()
    return folder


def publish(repository: Path, content: bytes) -> None:
    file = repository / "org" / "example" / "thing" / "1.0" / "thing-1.0.jar"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)


def test_a_jar_arrives_whole_and_its_bytes_are_counted(
    repository: Path, context: MavenContext, meter: ByteMeter, jars: Path
) -> None:
    publish(repository, CONTENT)
    fetch_jar(context, JAR, jars)
    assert (jars / "thing-1.0.jar").read_bytes() == CONTENT
    assert meter.total == len(CONTENT)


def test_an_altered_jar_never_reaches_the_cache(repository: Path, context: MavenContext, jars: Path) -> None:
    publish(repository, CONTENT.replace(b"jar", b"rat"))
    with pytest.raises(FetchError, match="wrong SHA-256"):
        fetch_jar(context, JAR, jars)
    assert list(jars.iterdir()) == []


def test_a_jar_that_the_repository_lacks_is_named(repository: Path, context: MavenContext, jars: Path) -> None:
    repository.mkdir()
    with pytest.raises(FetchError, match="could not be fetched"):
        fetch_jar(context, JAR, jars)


def test_a_repository_out_of_reach_is_told_apart(tmp_path: Path, jars: Path) -> None:
    nobody = f"http://127.0.0.1:{choose_free(1)[0]}"
    context = MavenContext(None, tmp_path / "staging", [], {"local": nobody})
    with pytest.raises(NetworkUnavailableError) as caught:
        fetch_jar(context, JAR, jars)
    assert "Connect to the internet" in caught.value.next_step
