"""Takes past turns again by this release's rules, for the auditor of another one: see streams.audit.wire."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from prometheus_client import CollectorRegistry

from streams.agents.building import build_agents
from streams.agents.naming import Naming
from streams.audit import wire
from streams.engine import fingerprint
from streams.engine.agent import Agent
from streams.engine.rerun import Past, Rerun
from streams.engine.state import Accepted, Position, StoredRow, row_headers, row_key
from streams.engine.turn import Bounds, Turn
from streams.metrics import Measures


def main() -> None:
    """Answers each line of the input with one of the output, until the input ends."""
    lane = _Lane()
    for line in sys.stdin.buffer:
        try:
            answer = lane.answer(orjson.loads(line))
        except Exception as error:  # noqa: BLE001  # whatever it is, the auditor is told and goes on
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
        sys.stdout.buffer.flush()


class _Lane:
    """The lane that an auditor asks about."""

    def __init__(self) -> None:
        self._rerun: Rerun[Any, Any] | None = None
        self._attempts: list[Turn[Any, Any]] = []

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        match request["do"]:
            case "versions":
                versions = {agent.name: agent.decision_version for agent in _built((), "")}
                return {"protocol": wire.PROTOCOL, "versions": versions}
            case "open":
                self._rerun = Rerun(_built([request["agent"]], request["prefix"])[0], request["lane"])
            case "stand":
                self._stand(self._lane, request)
            case "attempt":
                turn = self._attempt(self._lane, request)
                return {"batches": wire.of_batches(turn.batches), "records": turn.records}
            case "keep":
                number: int = request["attempt"]
                self._lane.keep(self._attempts[number])
            case other:
                raise ValueError(f"{other!r} is nothing that this release does")
        return {}

    @property
    def _lane(self) -> Rerun[Any, Any]:
        if self._rerun is None:
            raise ValueError("no lane was opened")
        return self._rerun

    def _stand(self, rerun: Rerun[Any, Any], request: Mapping[str, Any]) -> None:
        self._attempts = []
        accepted = request["accepted"]
        rerun.stand_at(Position(**request["position"]), None if accepted is None else Accepted(**accepted))
        control, state = rerun.agent.control, rerun.state
        if "control" in request and control is not None:
            state.control_document = wire.content(request["control"])
            document = state.control_document
            state.control = None if document is None else control.follow(document, None)
        if "rows" in request:
            state.rows, state.fingerprint = {}, fingerprint.EMPTY
            for key, value, due_ms, version in request["rows"]:
                self._put(rerun, key, wire.content(value) or b"", due_ms, version)

    @staticmethod
    def _put(rerun: Rerun[Any, Any], key: str, value: bytes, due_ms: int | None, version: int) -> None:
        codec = rerun.agent.rows
        if codec is None:
            raise ValueError(f"{rerun.agent.name} keeps no rows in this release")
        hashed = fingerprint.row_hash(row_key(key), value, row_headers(due_ms, version))
        rerun.state.put(key, StoredRow(codec.decode(value), due_ms, version, hashed))

    def _attempt(self, rerun: Rerun[Any, Any], request: Mapping[str, Any]) -> Turn[Any, Any]:
        keys, recorded = request["timers"], request["recorded"]
        turn = rerun.attempt(
            Past(
                ranges=wire.ranges_of(request["ranges"], rerun.partition),
                draw=bytes.fromhex(request["draw"]),
                bounds=Bounds(request["partitions"], request["max_bytes"]),
                timers=lambda emitted: keys[: max(0, recorded - emitted)],
            )
        )
        self._attempts.append(turn)
        return turn


def _built(names: Sequence[str], prefix: str) -> Sequence[Agent[Any, Any]]:
    return build_agents(names, Naming(prefix), Measures(CollectorRegistry()))


if __name__ == "__main__":
    main()
