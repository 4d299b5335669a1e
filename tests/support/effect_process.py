"""A process with effects: `python -m tests.support.effect_process KIND ADDRESS GO race|hang NAME`.

KIND and ADDRESS say which effect store. The one that races begins once the file GO is there, and says what it did; the
one that hangs stays in the effect of the key NAME until it is killed or its standard input ends.
"""

import asyncio
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from pydantic import JsonValue

from compensation.effects import KeyedEffectStore
from compensation.effects_postgres import PostgresEffectStore
from compensation.effects_sqlite import SqliteEffectStore
from tests.support.eventually import eventually
from tests.support.processes import ROOT, Process

GO = "go"
KEYS = [f"k{number}" for number in range(50)]


def opened(kind: str, address: str) -> KeyedEffectStore:
    """A store by the name of its kind and what that kind calls its address."""
    return SqliteEffectStore(Path(address)) if kind == "sqlite" else PostgresEffectStore(address)


@contextmanager
def running(kind: str, address: str, folder: Path, what: str, name: str) -> Generator[Process]:
    """A process, killed in the end. Its log and the file that it waits for are in the folder."""
    arguments = ["-m", "tests.support.effect_process", kind, address, str(folder / GO), what, name]
    process = Process(arguments, {"PYTHONPATH": str(ROOT)}, folder / f"{what}-{name}.log")
    try:
        yield process
    finally:
        process.kill()


async def is_in_its_effect(process: Process) -> None:
    await eventually(lambda: process.has_said("in its effect"), account=process.last_words)


async def race(store: KeyedEffectStore, go: Path) -> None:
    async def effect() -> JsonValue:
        print("effect", key, flush=True)  # noqa: T201
        return None

    print("ready", flush=True)  # noqa: T201
    await eventually(go.exists)
    for key in KEYS:
        await store.do(key, effect)
        print("tried", key, flush=True)  # noqa: T201


async def hang() -> JsonValue:
    print("in its effect", flush=True)  # noqa: T201
    await asyncio.to_thread(sys.stdin.read)
    return None


async def main(kind: str, address: str, go: str, what: str, name: str) -> None:
    async with opened(kind, address) as store:
        await (race(store, Path(go)) if what == "race" else store.do(name, hang))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
