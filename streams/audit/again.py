"""Taking a past turn again: with the inputs, the draw and the fired timers that the trail and the log tell of."""

import re
from collections.abc import Sequence
from typing import Any

import orjson

from schemas.audit import AuditRecord
from streams.audit.entries import Entry
from streams.audit.findings import Open
from streams.audit.produced import Produced
from streams.audit.releases import Pythons, Release
from streams.audit.subject import Subject
from streams.engine.dead_letters import Kind as LetterKind
from streams.engine.errors import ControlRefusedError
from streams.engine.rerun import Past, Range
from streams.engine.turn import Bounds, Turn

_UNBOUNDED = 2**62
_LIMIT = re.compile(r"a record of \d+ bytes does not fit (\S+), which takes (\d{1,18})$")
_CHANGELOG_LIMIT = re.compile(r"does not fit the changelog, whose limit is (\d{1,18})$")
_BATCH_OVERHEAD = 128


class Again:
    """Takes the turns of one lane again."""

    def __init__(self, lane: Subject, produced: Produced, pythons: Pythons) -> None:
        self._lane, self._produced, self._pythons = lane, produced, pythons
        self._releases: dict[int, Release] = {}
        self._bounds: Bounds | None = None
        self._bounds_control: object = None

    async def take(self, entry: Entry, turn: AuditRecord, ranges: Sequence[Range]) -> Turn[Any, Any]:
        """The turn as it comes out; of several ways that the trail leaves open, the one that it tells of.

        Raises:
            ReleaseError: it is another release's, which cannot take it.
        """
        lane = self._lane
        release = await self._release(turn.decision_version)
        bounds = self._bounds_now()
        inbox = lane.agent.inbox[0], lane.lane
        recorded = sum(part.count for part in turn.outputs if (part.topic, part.partition) == inbox)
        has_timers = bool(recorded) and lane.agent.on_timer is not None
        keys = await self._produced.written_to(inbox).timers(recorded, entry.at_ms) if has_timers else []
        draw = bytes.fromhex(turn.entropy)

        async def attempt(bounds: Bounds, keys: Sequence[str]) -> Turn[Any, Any]:
            if release is not None:
                return await release.attempt(ranges, draw, bounds, keys, recorded)

            def timers(emitted: int) -> Sequence[str]:
                return keys[: max(0, recorded - emitted)]

            return lane.rerun.attempt(Past(ranges=ranges, draw=draw, bounds=bounds, timers=timers))

        first = await attempt(bounds, keys)
        if self._comes_out(first, turn):
            return first
        if has_timers:
            told = await attempt(bounds, self._due_at(entry.at_ms))
            if self._comes_out(told, turn):
                return told
        for other in (await self._bounds_of_letters(bounds, entry.at_ms), _unbounded(bounds)):
            told = await attempt(other, keys)
            if self._comes_out(told, turn):
                self._say_what_was_smaller(entry, turn, bounds, other)
                return told
        return first

    def has(self, decision_version: int) -> bool:
        """Whether the rules of that version are at hand."""
        agent = self._lane.agent
        return decision_version == agent.decision_version or (agent.name, decision_version) in self._pythons

    async def keep(self, derived: Turn[Any, Any]) -> None:
        """Makes a turn that was taken part of the lane's past."""
        for release in self._releases.values():
            await release.keep(derived)
        self._lane.rerun.keep(derived)

    async def close(self) -> None:
        """Ends the processes of other releases."""
        for release in self._releases.values():
            await release.close()

    async def _release(self, decision_version: int) -> Release | None:
        """The release that has the rules, where it is another one, standing where the lane does."""
        lane = self._lane
        python = self._pythons.get((lane.agent.name, decision_version))
        if python is None or decision_version == lane.agent.decision_version:
            return None
        if decision_version not in self._releases:
            self._releases[decision_version] = await Release.open(lane, python)
        await self._releases[decision_version].stand()
        return self._releases[decision_version]

    async def adopt_control(self, turn: AuditRecord) -> None:
        """The policy in force before the turn, from its log, where turns before it were not taken again."""
        lane = self._lane
        control, state = lane.agent.control, lane.rerun.state
        if lane.knows_control or control is None or turn.epoch is None:
            return
        place = control.topic, lane.lane
        until = next((part.from_ for part in turn.inputs if part.topic == control.topic), None)
        state.control_document = state.control = None
        async for records in lane.log.read(place, lane.log.begin(place)):
            for record in records:
                is_there = state.control is not None and control.epoch(state.control) == turn.epoch
                if record.offset >= until if until is not None else is_there:
                    break
                try:
                    state.control = control.follow(record.value or b"", state.control)
                    state.control_document = record.value
                except ControlRefusedError:
                    continue
        lane.knows_control = True

    def _comes_out(self, derived: Turn[Any, Any], turn: AuditRecord) -> bool:
        return bool(orjson.loads(self._lane.trail_of(derived))["output_digest"] == turn.output_digest)

    def _due_at(self, at_ms: int) -> list[str]:
        """The rows whose timers were due, in the order in which a lane fires them."""
        rows = self._lane.rerun.state.rows
        due = [(s.due_ms, key, s.version) for key, s in rows.items() if s.due_ms is not None and s.due_ms <= at_ms]
        return [key for _, key, _ in sorted(due)]

    def _bounds_now(self) -> Bounds:
        control = self._lane.rerun.state.control
        if self._bounds is None or self._bounds_control is not control:
            self._bounds = self._lane.facts.bounds(self._lane.agent.written_under(control))
            self._bounds_control = control
        return self._bounds

    def _say_what_was_smaller(self, entry: Entry, turn: AuditRecord, now: Bounds, then: Bounds) -> None:
        """Nothing but the letter says so: with a limit of its choice a worker could put aside whatever it likes."""
        smaller = [(topic, limit) for topic, limit in then.max_bytes.items() if limit < now.max_bytes.get(topic, limit)]
        if smaller:
            told = ", ".join(f"{topic} took {limit} bytes, takes {now.max_bytes[topic]}" for topic, limit in smaller)
            words = f"turn {turn.seq} comes out only if, as its dead letters say, {told}"
            self._lane.report.say(Open.OTHER_LIMITS, turn.seq, words, self._lane.at(entry))

    async def _bounds_of_letters(self, bounds: Bounds, at_ms: int) -> Bounds:
        """The limits that dead letters of that time name: a topic's limit may have been another one then."""
        topics = self._lane.agent.topics
        place = topics.dead_letters, self._lane.lane % bounds.partitions[topics.dead_letters]
        limits = dict(bounds.max_bytes)
        for letter in await self._produced.written_to(place).letters(at_ms):
            if letter.kind is not LetterKind.OUTPUT_TOO_LARGE:
                continue
            if found := _LIMIT.search(letter.error):
                limits[found[1]] = int(found[2]) + _BATCH_OVERHEAD
            elif found := _CHANGELOG_LIMIT.search(letter.error):
                limits[topics.changelog] = int(found[1])
        return Bounds(bounds.partitions, limits)


def _unbounded(bounds: Bounds) -> Bounds:
    return Bounds(bounds.partitions, dict.fromkeys(bounds.max_bytes, _UNBOUNDED))
