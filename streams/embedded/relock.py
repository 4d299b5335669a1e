"""Write `jars.txt` anew, after a change of `KAFKA_VERSION`.

Run `python -m streams.embedded.relock`; it resolves with jgo and needs the network.
"""

import hashlib
import tempfile
from pathlib import Path
from typing import Final

from jgo.maven import Artifact, MavenContext

from streams.embedded.release import KAFKA_VERSION, LOCK_NAME, Jar, format_jar

KAFKA: Final = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}"
CORE_ARTIFACT: Final = "log4j-core"
BINDING: Final = "org.apache.logging.log4j:log4j-slf4j-impl"


def main() -> None:
    """Resolve the release and replace the lock beside this module."""
    with tempfile.TemporaryDirectory() as scratch:
        jars = [measured(artifact) for artifact in resolved(Path(scratch))]
    lines = sorted(format_jar(jar) for jar in jars)
    lock = Path(__file__).with_name(LOCK_NAME)
    lock.write_text("\n".join(lines) + "\n", encoding="ascii")


def resolved(repository: Path) -> list[Artifact]:
    """Kafka's artifacts, and log4j's SLF4J binding, which Kafka leaves to its packager.

    The binding is added by itself, at log4j's version: resolved together with Kafka
    its dependency management would replace Kafka's own clients by older ones.
    """
    context = MavenContext(repo_cache=repository, timeout=60)
    kafka, others = context.resolver.resolve([context.create_dependency(KAFKA)])
    artifacts = [dependency.artifact for dependency in (*kafka, *others)]
    core = next(a for a in artifacts if a.artifactId == CORE_ARTIFACT)
    binding = context.create_dependency(f"{BINDING}:{core.version}")
    return [*artifacts, binding.artifact]


def measured(artifact: Artifact) -> Jar:
    """Fetch one artifact and note its size and digest."""
    content = artifact.resolve().read_bytes()
    coordinate = f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}"
    return Jar(coordinate, len(content), hashlib.sha256(content).hexdigest())


if __name__ == "__main__":
    main()
