"""The lanes without their trail, so that a bench can say what the trail costs: no process of the product runs this.

No record is hashed, and no turn writes an audit record; everything else is done as it is. Started in place of
`streams.worker_process`, with its arguments.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from zlib import crc32

from streams import worker_process
from streams.engine import digest, lane
from streams.engine.agent import Control
from streams.engine.errors import OutputTooLargeError
from streams.engine.records import Headers, Record, Row
from streams.engine.turn import Output, Turn, TurnInProgress


class UntrailedTurn(TurnInProgress[Row, Control]):
    """A turn that leaves nothing for an auditor."""

    def finish(self) -> Turn[Row, Control]:
        """Everything that the turn's transaction writes but its audit record."""
        turn = super().finish()
        audit = self._agent.topics.audit
        return replace(turn, batches={at: records for at, records in turn.batches.items() if at[0] != audit})

    def _place(
        self, topic: str, partition: int | None, key: bytes | None, value: bytes | None, headers: Headers
    ) -> tuple[Any, Output, bytes]:
        if partition is None:
            count = self._partitions.get(topic) or self._no_output(topic)
            partition = (self._partition if key is None else crc32(key)) % count
        group = self._groups.get((topic, partition)) or self._new_group(topic, partition)
        size = len(key or b"") + len(value or b"")
        for name, content in headers:
            size += len(name) + len(content or b"")
        if size > group.limit:
            raise OutputTooLargeError(f"a record of {size} bytes does not fit {topic}, which takes {group.limit}")
        return group, (key, value, headers, size), b""


def lanes(*agents: str) -> Callable[[int], Sequence[str]]:
    """The arguments of Python for a worker of these agents, by its number."""
    return lambda number: ("-m", "streams.bench.untrailed", "--with-parent", "--number", str(number), *agents)


def _unhashed(_prefix: bytes, _record: Record) -> bytes:
    return b""


def main() -> int:
    """As streams.worker_process."""
    replaced: Any = digest
    replaced.input_hash = _unhashed
    replaced = lane
    replaced.TurnInProgress = UntrailedTurn
    return worker_process.main()


if __name__ == "__main__":
    sys.exit(main())
