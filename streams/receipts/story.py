"""The story that a receipt proves, in a few lines for people."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from schemas import envelope, topics
from schemas.decision import Decision, Vote
from schemas.deliberation import DeliberationState, DeliberationStatus, DeliberationVerdict
from schemas.score import decode_card, display
from streams.agents.naming import Naming
from streams.engine.records import Record, first_header
from streams.receipts.checking import Checked
from streams.receipts.deciding import Decided, is_timer
from streams.receipts.subject import item_of
from streams.receipts.turns import ProvenTurn, Wrote

_HOUR = 3_600
_SAYS = {Vote.APPROVE: "approves", Vote.VETO: "vetoes", Vote.ABSTAIN: "abstains", Vote.REOPEN: "reopens it"}


class Moment(NamedTuple):
    """Something that happened: when by the lane's time, where the record stands that it was decided on, and what."""

    at_ms: int
    where: str
    words: str


def story(checked: Checked) -> list[Moment]:
    """What was decided, in the order of time."""
    teller = _Teller(Naming(checked.receipt.prefix))
    told = [moment for turn, every in checked.story for decided in every for moment in teller.tell(turn, decided)]
    return sorted(told, key=lambda moment: moment.at_ms)


@dataclass(frozen=True, slots=True)
class _Teller:
    naming: Naming

    def tell(self, turn: ProvenTurn, decided: Decided) -> Iterator[Moment]:
        record = decided.read.record
        for words in self._words(turn.record.agent, decided, record):
            yield Moment(decided.read.clock_ms, f"{record.topic}/{record.partition}/{record.offset}", words)

    def _words(self, agent: str, decided: Decided, record: Record) -> Iterator[str]:
        refused = self._refused(decided.outputs)
        if agent == topics.GATEWAY_MESSAGES:
            yield _received(record.value)
            yield refused or f"admitted under epoch {decided.policy.policy.epoch} of the policy"
        elif agent == topics.TRIAGE:
            yield from self._scored(decided.outputs)
            if refused:
                yield refused
        elif agent == topics.GATEWAY_DECISIONS:
            if refused:
                yield f"{_said(record.value)}, {refused}"
        else:
            yield from self._deliberated(decided, record, refused)

    def _scored(self, outputs: Sequence[Wrote]) -> Iterator[str]:
        for one in outputs:
            text = first_header(one.headers, envelope.CARD)
            if text is None:
                continue
            try:
                card = decode_card(text)
            except ValueError:
                continue  # it came with the record, and no gateway lets that pass
            why = ", ".join(factor.why for factor in card.factors)
            item = item_of(one.headers)
            then = f"held as item {item.item_id}" if item else f"delivered to {_text(one.key)}"
            yield f"scored {display(card.score)} ({why}), {then}"

    def _deliberated(self, decided: Decided, record: Record, refused: str | None) -> Iterator[str]:
        item = None if is_timer(record) else item_of(record.headers)
        if item is not None:
            yield refused or f"waits for {item.approvals} of {'/'.join(item.roles)}, at most {_length(item.deadline_s)}"
        elif not is_timer(record) and first_header(record.headers, envelope.WITHDRAWN) is None:
            yield f"{_said(record.value)}, {refused or 'which counts'}"
        verdict = next((one for one in decided.outputs if self._is_on(one, topics.VERDICTS)), None)
        if verdict is not None:
            yield _ended(DeliberationVerdict.model_validate_json(verdict.value or b""))
        elif is_timer(record):
            yield from self._reminded(decided.outputs)

    def _reminded(self, outputs: Sequence[Wrote]) -> Iterator[str]:
        for one in outputs:
            if self._is_on(one, topics.DELIBERATION_STATUS) and one.value is not None:
                status = DeliberationStatus.model_validate_json(one.value)
                yield f"still waits: reminded {status.reminders} times{', escalated' if status.escalated else ''}"

    def _refused(self, outputs: Sequence[Wrote]) -> str | None:
        for one in outputs:
            if self._is_on(one, topics.REJECTED):
                return f"rejected, {_text(first_header(one.headers, envelope.REASON))}: {_detail(one)}"
            if one.topic.endswith(topics.dead_letters("")):
                return "not decided: the handler failed, and the record was put aside as a dead letter"
        return None

    def _is_on(self, one: Wrote, topic: str) -> bool:
        return one.topic == self.naming.topic(topic)


def _received(value: bytes | None) -> str:
    try:
        said = orjson.loads(value or b"")
        receiver = said.get("to_agent") or "anybody"
        return f"received: {said['message_type']} from {said['from_agent']} to {receiver}, tenant {said['tenant_id']}"
    except (ValueError, KeyError, AttributeError, TypeError):
        return "received"


def _said(value: bytes | None) -> str:
    try:
        said = Decision.model_validate_json(value or b"")
    except ValueError:
        return "a decision that is none"
    by = "" if said.relay is None else f" through {said.relay}"
    return f"{said.approver} {_SAYS[said.vote]}{by}, signed with key {said.key_id}"


def _ended(verdict: DeliberationVerdict) -> str:
    if verdict.state is not DeliberationState.APPROVED:
        return f"{verdict.state.value}: {verdict.why}"
    stands = [vote.decision.approver for vote in verdict.votes if vote.stands and vote.decision.vote is Vote.APPROVE]
    return f"released to {verdict.item.receiver or 'its receiver'}, on the signatures of {', '.join(stands)}"


def _length(seconds: int) -> str:
    return f"{seconds // _HOUR} h" if seconds % _HOUR == 0 else f"{seconds} s"


def _detail(one: Wrote) -> str:
    return _text(first_header(one.headers, envelope.DETAIL))


def _text(content: bytes | None) -> str:
    return "" if content is None else content.decode("utf-8", "backslashreplace")
