"""The check of a receipt: from hashes to audit records, from those to the decisions that follow. Reads nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from handlers.deliberation.entitled import check_approver, check_signer
from schemas import envelope, topics
from schemas.decision import Vote
from schemas.deliberation import DeliberationState, DeliberationVerdict
from schemas.reasons import Reason
from schemas.receipt import Receipt
from streams.agents.naming import Naming
from streams.audit import comparing
from streams.engine.digest import of_bytes
from streams.engine.records import InputRecord, first_header
from streams.receipts.deciding import Decided, Deciding, decide_turn, is_timer, same_but_for_place
from streams.receipts.findings import Findings, Kind, Open
from streams.receipts.subject import Subject
from streams.receipts.turns import ProvenTurn, Wrote, prove

PROVEN, DIFFERENT, UNVERIFIABLE = 0, 1, 3

_RESTS_ON_OTHERS = frozenset({Reason.TOO_MANY_HELD, Reason.EPOCH_PENDING, Reason.NOT_APPLICABLE})
"""Why deliberation refuses what it would not refuse if nothing else had happened on its lane."""


@dataclass(slots=True)
class Checked:
    """What came of a receipt. `story` are its decisions, turn by turn, as far as they could be taken again."""

    receipt: Receipt
    turns: list[ProvenTurn] = field(default_factory=list[ProvenTurn])
    story: list[tuple[ProvenTurn, list[Decided]]] = field(default_factory=list[tuple[ProvenTurn, list[Decided]]])
    findings: Findings = field(default_factory=Findings)

    @property
    def exit_code(self) -> int:
        """0 proven, 1 something differs, 3 nothing differs and something could not be verified."""
        if self.findings.differences:
            return DIFFERENT
        return UNVERIFIABLE if self.findings.unverified else PROVEN


def check(receipt: Receipt) -> Checked:
    """Verifies everything that the receipt itself holds. What is wrong first keeps what rests on it from being judged.

    What it does not look at: the checkpoint (streams.receipts.anchoring).
    """
    checked = Checked(receipt)
    findings = checked.findings
    _contents(receipt, findings)
    proven = [prove(shown, receipt.contents, findings) for shown in receipt.turns]
    checked.turns = [turn for turn in proven if turn is not None]
    if findings.every:
        return checked
    lanes = _lanes(receipt, checked.turns, findings)
    subject = Subject(receipt.message_id, receipt.source, Naming(receipt.prefix))
    for turn in checked.turns:
        subject.learn(turn.outputs)
    _is_one_story(checked.turns, lanes, subject, findings)
    if findings.every:
        return checked
    unknown: set[tuple[str, int]] = set()
    for turn in checked.turns:
        lane = turn.record.agent, turn.record.lane
        if lane not in unknown and not _decide(turn, lanes[lane], checked):
            unknown.add(lane)
    return checked


def _contents(receipt: Receipt, findings: Findings) -> None:
    inputs = [one.value for turn in receipt.turns for one in turn.inputs]
    outputs = [one.value for turn in receipt.turns for one in turn.outputs]
    named = {name for name in (*inputs, *outputs, *receipt.policies) if name is not None}
    for name, content in receipt.contents.items():
        if of_bytes(content) != name:
            findings.say(Kind.DAMAGED, None, f"content {name[:8]}... has another hash than its name")
    for name in sorted(named - receipt.contents.keys()):
        findings.say(Kind.DAMAGED, None, f"content {name[:8]}... is not there")
    for name in sorted(receipt.contents.keys() - named):
        findings.say(Kind.DAMAGED, None, f"content {name[:8]}... is of no record that is shown")


def _lanes(receipt: Receipt, turns: Sequence[ProvenTurn], findings: Findings) -> dict[tuple[str, int], Deciding]:
    lanes: dict[tuple[str, int], Deciding] = {}
    last: dict[tuple[str, int], int] = {}
    for turn in turns:
        lane = turn.record.agent, turn.record.lane
        if turn.record.agent not in topics.LANE_AGENTS:
            findings.say(Kind.STORY_BROKEN, turn.name, "there is no agent of that name")
            continue
        if turn.record.seq <= last.get(lane, 0):
            findings.say(Kind.STORY_BROKEN, turn.name, f"it is shown after turn {last[lane]} of the same lane")
        last[lane] = turn.record.seq
        if lane not in lanes:
            lanes[lane] = Deciding(*lane, receipt.prefix)
            for policy in receipt.policies:
                lanes[lane].take_for_known(receipt.contents[policy])
    return lanes


def _is_one_story(
    turns: Sequence[ProvenTurn], lanes: dict[tuple[str, int], Deciding], subject: Subject, findings: Findings
) -> None:
    """Whether every record is of this message, and comes from where it says."""
    written = {(one.topic, one.partition, one.key, one.value, one.headers) for turn in turns for one in turn.outputs}
    begins = False
    for turn in turns:
        deciding = lanes.get((turn.record.agent, turn.record.lane))
        if deciding is None:
            continue
        controls = [one for one in turn.inputs if deciding.is_control(one.record.topic)]
        read = sum(part.count for part in turn.record.inputs if deciding.is_control(part.topic))
        if len(controls) != read:
            words = f"the turn read {read} policies, {len(controls)} are shown"
            findings.say(Kind.STORY_BROKEN, turn.name, words)
        for record in (one.record for one in turn.inputs if not deciding.is_control(one.record.topic)):
            place = f"{record.topic}/{record.partition}/{record.offset}"
            is_input = record.topic in deciding.agent.inputs and record.partition == deciding.lane
            if not is_input or not subject.has(turn.record.agent, record):
                findings.say(Kind.STORY_BROKEN, turn.name, f"{place} is not about message {subject.message_id}")
            elif turn.record.agent == topics.GATEWAY_MESSAGES:
                begins = True
            elif _must_be_linked(turn.record.agent, record) and _as_written(record) not in written:
                findings.say(Kind.STORY_BROKEN, turn.name, f"no turn that is shown wrote {place}")
    if not begins:
        words = f"the message itself, {subject.source}, is not shown with the turn that read it"
        findings.say(Kind.STORY_BROKEN, None, words)


def _must_be_linked(agent: str, record: InputRecord) -> bool:
    """Votes and withdrawals may come from turns that are not shown, timers do: what they do is proven by itself."""
    is_item = agent == topics.DELIBERATOR and first_header(record.headers, envelope.ITEM) is not None
    return agent == topics.TRIAGE or (is_item and not is_timer(record))


def _as_written(record: InputRecord) -> tuple[object, ...]:
    return record.topic, record.partition, record.key, record.value, tuple(record.headers)


def _decide(turn: ProvenTurn, deciding: Deciding, checked: Checked) -> bool:
    """Takes the story's decisions of a turn again; False where the lane's state is not known from there on."""
    findings, naming = checked.findings, Naming(checked.receipt.prefix)
    ours, theirs = turn.record.decision_version, deciding.agent.decision_version
    if ours != theirs:
        words = f"decided by decision_version {ours}; this release decides by {theirs}: use the release that decided"
        findings.say(Open.OTHER_RELEASE, turn.name, words)
        return False
    decided = decide_turn(turn, deciding)
    if decided is None:
        words = f"epoch {deciding.epoch} was in force, and its document is not shown with the turn that read it"
        findings.say(Kind.POLICY_DIFFERS, turn.name, words)
        return False
    if deciding.epoch != turn.record.epoch:
        words = f"epoch {turn.record.epoch} was in force after the turn, by what is shown it is {deciding.epoch}"
        findings.say(Kind.POLICY_DIFFERS, turn.name, words)
        return False
    checked.story.append((turn, decided))
    _votes(turn, decided, naming, findings)
    follows = [one for each in decided for one in each.outputs]
    if same_but_for_place(follows, turn.outputs, naming.topic(topics.CONTROL)):
        return True
    if turn.record.agent == topics.DELIBERATOR and _was_refused_for_others(follows, turn.outputs, naming):
        words = "it was refused for what waits, or has ended, besides; that it was is proven, that it had to be is not"
        findings.say(Open.STATE_UNKNOWN, turn.name, words)
        return False
    findings.say(Kind.DECISION_DIFFERS, turn.name, _differs(follows, turn.outputs))
    return False


def _was_refused_for_others(follows: Sequence[Wrote], shown: Sequence[Wrote], naming: Naming) -> bool:
    """Whether all that does not follow was refused, some of it for what others did: votes are, where their item is."""
    derived = {(one.topic, one.key, one.value, one.headers) for one in follows}
    others = [one for one in shown if (one.topic, one.key, one.value, one.headers) not in derived]
    is_refused = all(one.topic == naming.topic(topics.REJECTED) for one in others)
    return is_refused and any(_rests_on_others(one, naming) for one in others)


def _rests_on_others(one: Wrote, naming: Naming) -> bool:
    reason = (first_header(one.headers, envelope.REASON) or b"").decode(errors="replace")
    return one.topic == naming.topic(topics.REJECTED) and reason in _RESTS_ON_OTHERS


def _differs(follows: Sequence[Wrote], shown: Sequence[Wrote]) -> str:
    """What was written and what follows, in words."""
    was, now = sorted(one.topic for one in shown), sorted(one.topic for one in follows)
    if was != now:
        return f"written was {', '.join(was) or 'nothing'}; what follows is {', '.join(now) or 'nothing'}"
    for one in shown:
        images = [other for other in follows if other.topic == one.topic]
        if not any((other.key, other.value, other.headers) == (one.key, one.value, one.headers) for other in images):
            record = InputRecord(one.topic, one.partition, 0, 0, one.key, one.value, one.headers)
            other = images[0]
            return f"on {one.topic}: {comparing.differing((other.key, other.value, tuple(other.headers)), record)}"
    return "the same records, another number of times"


def _votes(turn: ProvenTurn, decided: Sequence[Decided], naming: Naming, findings: Findings) -> None:
    """Every approval that a release rests on: signed by whom it names, who may."""
    for one in turn.outputs:
        if one.topic != naming.topic(topics.VERDICTS) or not decided:
            continue
        try:
            verdict = DeliberationVerdict.model_validate_json(one.value or b"")
        except ValidationError:
            continue  # no verdict follows from anything: it is told apart as such
        policy = decided[-1].policy.policy
        if verdict.state is not DeliberationState.APPROVED:
            continue
        for vote in verdict.votes:
            if not vote.stands or vote.decision.vote is not Vote.APPROVE:
                continue
            refused = check_signer(vote.decision, policy, vote.at, verdict.closed)
            refused = refused or check_approver(vote.decision, verdict.item, policy)
            if refused is not None:
                words = f"the approval of {vote.decision.approver!a} does not stand, {refused.reason}: {refused.detail}"
                findings.say(Kind.SIGNATURE_INVALID, turn.name, words)
        if verdict.deadline is not None and verdict.closed >= verdict.deadline:
            words = f"it was released at {verdict.closed}, after its deadline {verdict.deadline}"
            findings.say(Kind.DECISION_DIFFERS, turn.name, words)
