"""The Kafka release that is run, and the jars it is made of."""

from dataclasses import dataclass
from importlib.resources import files
from typing import Final

KAFKA_VERSION: Final = "4.4.0"
LOCK_NAME: Final = "jars.txt"


@dataclass(frozen=True, slots=True)
class Jar:
    """One jar of the release.

    Attributes:
        coordinate: Maven's `group:artifact:version`.
        size: Bytes.
        sha256: Hex digest of the jar; nothing else is ever put on the classpath.
    """

    coordinate: str
    size: int
    sha256: str

    @property
    def file_name(self) -> str:
        """`artifact-version.jar`, which is unique within a release."""
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"


def locked_jars() -> tuple[Jar, ...]:
    """The release's jars in classpath order, as `streams.embedded.relock` wrote them.

    A lock and not a resolution at the user's: it needs no POMs (10 s of 13 s of a
    first fetch), knows the total beforehand, and checks what arrives. Resolving
    Kafka beside its log4j binding with jgo 3.2 even picked kafka-clients 3.9.1.
    """
    text = files("streams.embedded").joinpath(LOCK_NAME).read_text(encoding="ascii")
    return tuple(parse_jar(line) for line in text.splitlines() if line)


def parse_jar(line: str) -> Jar:
    """One line of the lock: coordinate, size and digest, separated by spaces."""
    coordinate, size, sha256 = line.split()
    return Jar(coordinate, int(size), sha256)


def format_jar(jar: Jar) -> str:
    """The line that `parse_jar` reads back."""
    return f"{jar.coordinate} {jar.size} {jar.sha256}"
