"""The chain of a lane's audit records: which turn follows which, and where the lane stood before each."""

from schemas.audit import AuditRecord
from streams.audit.entries import Entry
from streams.audit.findings import Kind, Open, position
from streams.audit.subject import Subject
from streams.engine.state import Accepted, Position


def follows(lane: Subject, entry: Entry) -> AuditRecord | None:
    """The turn, if it is one to look at; says so if it is not the next one."""
    turn, report = entry.turn, lane.report
    if turn is None:
        report.say(Kind.CHAIN_BROKEN, None, "this is no audit record any more", lane.at(entry))
        lane.lose_the_thread()
        return None
    strange, loses = _strange(lane, turn)
    if strange is not None:
        report.say(Kind.CHAIN_BROKEN, turn.seq, strange, lane.at(entry))
        if loses:
            lane.lose_the_thread()
        return None
    if turn.seq > lane.rerun.position.seq + 1:
        _tell_what_is_missing(lane, entry, turn)
        lane.lose_the_thread()
    if lane.knows_head and turn.previous != lane.rerun.position.head:
        words = f"turn {turn.seq} does not follow from the audit record before it: one of the two was changed"
        report.say(Kind.CHAIN_BROKEN, turn.seq, words, lane.at(entry))
    return turn


def _strange(lane: Subject, turn: AuditRecord) -> tuple[str | None, bool]:
    """Why the record is none of the lane's next turns, and whether the turn that stood in its place is lost."""
    if (turn.agent, turn.lane) != (lane.agent.name, lane.lane):
        return f"it stands under this lane's key and says it is of {turn.agent}/{turn.lane}", False
    if any(part.topic not in lane.agent.inputs or part.from_ > part.to for part in turn.inputs):
        return "it names inputs that the lane does not have", True
    if any(part.partition != lane.lane for part in turn.inputs):
        return "it names inputs that the lane does not have", True
    last = lane.rerun.position.seq
    return (f"turn {turn.seq} stands in the trail again, after turn {last}" if turn.seq <= last else None), False


def _tell_what_is_missing(lane: Subject, entry: Entry, turn: AuditRecord) -> None:
    seq = lane.rerun.position.seq + 1
    if lane.report.turns == 0 and lane.log.begin(lane.audit) > 0:
        lane.report.say(Open.TRAIL_DELETED, turn.seq, f"the trail begins with turn {turn.seq}", lane.at(entry))
        return
    missing = f"turn {seq} is" if turn.seq == seq + 1 else f"turns {seq} to {turn.seq - 1} are"
    lane.report.say(Kind.CHAIN_BROKEN, turn.seq, f"{missing} missing before turn {turn.seq}", lane.at(entry))


def stand_where_it_says(lane: Subject, entry: Entry, turn: AuditRecord) -> None:
    """Takes over what nothing before the turn says: its first offsets, an operator's, a chain that begins here."""
    now = lane.rerun.position
    offsets, seq = dict(now.offsets), turn.seq - 1
    accepted = None
    if turn.accepted is not None:
        accepted = Accepted(dict(turn.accepted.positions), seq, turn.accepted.operator, turn.accepted.reason)
        offsets.update(accepted.offsets)
        _tell_who_accepted(lane, entry, turn.seq, accepted)
    at = dict(offsets)
    for part in turn.inputs:
        if part.topic not in at:
            _tell_where_it_began(lane, turn, part.topic, part.from_)
            offsets[part.topic] = part.from_
        elif part.from_ != at[part.topic]:
            if lane.knows_head:
                words = f"the turn reads {part.topic} from {part.from_} on, the lane stood at {at[part.topic]}"
                where = position((part.topic, lane.lane), at[part.topic])
                lane.report.say(Kind.INPUT_GAP, turn.seq, words, where)
            offsets[part.topic] = part.from_
        at[part.topic] = part.to
    head = now.head if lane.knows_head else turn.previous
    lane.knows_head = True
    lane.rerun.stand_at(Position(offsets, seq, head, now.clock_ms), accepted)


def move_on(lane: Subject, entry: Entry, turn: AuditRecord) -> None:
    """The lane stands after the turn, by what the turn says."""
    offsets = {**lane.rerun.position.offsets, **{part.topic: part.to for part in turn.inputs}}
    lane.rerun.stand_at(Position(offsets, turn.seq, entry.hash, turn.clock))


def compare_end(lane: Subject, end: Position | None) -> None:
    """Whether the trail reaches as far as the changelog says."""
    last = lane.report.last_seq
    if end is None:
        if last:
            lane.report.say(Open.NO_POSITION, last, "nothing says how many turns there were", None)
    elif end.seq > last:
        words = f"the lane has taken {end.seq} turns by its changelog, and the trail ends with turn {last}"
        lane.report.say(Kind.TRAIL_CUT, end.seq, words, f"{lane.audit[0]}/{lane.audit[1]}")


def _tell_who_accepted(lane: Subject, entry: Entry, seq: int, accepted: Accepted) -> None:
    told = ", ".join(f"{topic} to {offset}" for topic, offset in accepted.offsets.items())
    words = f"{accepted.operator} put the lane from {lane.rerun.position.offsets} to {told}: {accepted.reason}"
    lane.report.say(Open.ACCEPTED, seq, words, lane.at(entry))


def _tell_where_it_began(lane: Subject, turn: AuditRecord, topic: str, first: int) -> None:
    if first > 0 and lane.report.turns == 0 and turn.seq == 1:
        words = f"the lane began at {topic}/{lane.lane}/{first}; what stood before was never handled"
        lane.report.say(Open.INPUTS_DELETED, turn.seq, words, position((topic, lane.lane), 0))
