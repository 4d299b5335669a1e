"""What an agent is told that has started a workflow and wants to know how it goes on."""

import uuid
from typing import Any

import orjson
import pytest

from compensation.definition import Retry, Timeouts
from compensation.durable.rows import Case, Closed, Head, case_key, decode, encode, head_key
from schemas import envelope, topics
from schemas.activity import Outcome
from schemas.workflow import StepStatus, WorkflowAnswer, WorkflowState
from tests.support.orchestrated import Orchestrated
from tests.support.product import HASH
from tests.support.saga import definition, node

ONCE: dict[str, Any] = {
    "retry": Retry(attempts=1),
    "timeouts": Timeouts(schedule_to_start_ms=1_000, start_to_close_ms=1_000),
    "compensation": None,
}


class Asking(Orchestrated):
    """An orchestrator that another agent has start workflows; `answers` are what it is told."""

    def __init__(self, *activities: str) -> None:
        self.answers: list[WorkflowAnswer] = []
        super().__init__(*activities)

    def ask(self, command: str = "start", *, reply_to: bytes = b"recovery/pay/ments", **fields: Any) -> None:  # noqa: ANN401
        said = {
            "command": command,
            "command_id": str(uuid.uuid4()),
            "workflow_id": "w",
            "tenant_id": "recovery",
            "requested_by": "recovery",
            "constitutional_hash": HASH,
            "created_at": "2026-01-31T09:30:00Z",
            **fields,
        }
        headers = ((envelope.VERSION, b"1"), (envelope.POLICY, b"1:x"), (envelope.REPLY_TO, reply_to))
        self.send(topics.WORKFLOWS, orjson.dumps(said), headers)

    def begin(self, *nodes: Any, **fields: Any) -> None:  # noqa: ANN401
        self.ask(definition=orjson.loads(definition(*nodes).canonical()), input={}, **fields)

    def _take_other(self, topic: str, key: str, value: bytes | None, headers: dict[str, Any]) -> None:
        if topic != topics.RECOVERY:
            super()._take_other(topic, key, value, headers)
            return
        assert key == "pay/ments"
        self.answers.append(WorkflowAnswer.model_validate_json(value or b""))


def test_a_workflow_that_completes_is_told_with_its_results() -> None:
    lane = Asking("do_a")
    lane.begin(node("a", **ONCE))
    assert lane.answers == []
    lane.answer(lane.last("a"), result=True)
    (answer,) = lane.answers
    assert (answer.state, answer.commanded, answer.taken) == (WorkflowState.COMPLETED, True, True)
    assert answer.results is not None
    assert answer.results["a"].value is True


@pytest.mark.parametrize(
    ("outcome", "taken"), [(Outcome.FAILED, True), (Outcome.NO_EFFECT, True), (Outcome.NEVER_STARTED, False)]
)
def test_one_that_fails_is_told_with_its_cause_and_whether_a_worker_took_it(outcome: Outcome, *, taken: bool) -> None:
    lane = Asking("do_a")
    lane.begin(node("a", **ONCE))
    lane.answer(lane.last("a"), outcome)
    (answer,) = lane.answers
    assert (answer.state, answer.commanded, answer.taken) == (WorkflowState.COMPENSATED, True, taken)
    assert answer.cause == f"a: {outcome.value}"


def test_one_that_no_worker_takes_is_told_as_such_once_its_time_is_over() -> None:
    lane = Asking("do_a")
    lane.begin(node("a", **ONCE))
    lane.pass_time(10_000)
    (answer,) = lane.answers
    assert (answer.state, answer.commanded, answer.taken) == (WorkflowState.COMPENSATED, True, False)


def test_a_sign_of_life_says_that_a_worker_took_it() -> None:
    lane = Asking("do_a")
    lane.begin(node("a", **ONCE))
    lane.beat(lane.last("a"))
    lane.pass_time(10_000)
    assert lane.answers[-1].taken


def test_one_whose_activity_no_worker_knows_is_told_to_be_blocked() -> None:
    lane = Asking("do_a")
    lane.begin(node("a", **ONCE))
    for _ in range(2):
        lane.answer(lane.last("a"), Outcome.UNKNOWN_ACTIVITY)
        lane.pass_time(1_000)
    (answer,) = lane.answers
    assert [(one.node, one.status) for one in answer.attention] == [("a", StepStatus.BLOCKED)]
    lane.ask("cancel", reason="it waits for a person")
    assert lane.answers[-1].state is WorkflowState.COMPENSATED


def test_one_that_waits_for_approval_is_told_then_and_when_it_goes_on() -> None:
    lane = Asking("grave_a")
    lane.begin(node("a", activity="grave_a", **ONCE))
    lane.verdict(approved=True)
    lane.answer(lane.last("a"))
    assert [(one.state, one.commanded, len(one.attention)) for one in lane.answers] == [
        (WorkflowState.RUNNING, False, 1),
        (WorkflowState.RUNNING, True, 0),
        (WorkflowState.COMPLETED, True, 0),
    ]


def test_one_that_is_not_approved_was_never_commanded() -> None:
    lane = Asking("grave_a")
    lane.begin(node("a", activity="grave_a", **ONCE))
    lane.verdict(approved=False)
    assert (lane.answers[-1].state, lane.answers[-1].commanded) == (WorkflowState.COMPENSATED, False)
    assert lane.answers[-1].cause == "a: said so"


def test_a_start_that_is_refused_is_rejected_and_told() -> None:
    lane = Asking("do_a")
    lane.begin(node("a", queue="nowhere", **ONCE))
    assert [one.reason for one in lane.rejected] == ["unknown_queue"]
    assert (lane.answers[-1].refused or "").startswith("unknown_queue: node 'a'")
    lane.ask("cancel", reason="there is none")
    assert len(lane.answers) == 1


def test_a_start_that_comes_again_is_told_how_the_workflow_stands_also_if_others_have_started_it() -> None:
    lane = Asking("do_a")
    given = definition(node("a", **ONCE))
    lane.start(given, tenant_id="recovery")
    lane.begin(node("a", **ONCE))
    assert (lane.answers[-1].state, lane.answers[-1].commanded) == (WorkflowState.RUNNING, True)
    lane.answer(lane.last("a"), result="well")
    lane.begin(node("a", **ONCE))
    assert [one.state for one in lane.answers] == [WorkflowState.RUNNING, WorkflowState.COMPLETED]


def test_what_workers_write_is_never_taken_for_an_agents_command() -> None:
    lane = Asking("do_a")
    said = {"command": "start", "command_id": str(uuid.uuid4()), "workflow_id": "w", "tenant_id": "recovery"}
    more = {"requested_by": "recovery", "constitutional_hash": HASH, "created_at": "2026-01-31T09:30:00Z"}
    value = orjson.dumps({**said, **more, "definition": {}, "input": {}})
    lane.send(topics.ACTIVITY_RESULTS, value, ((envelope.REPLY_TO, b"recovery/pay/ments"),))
    assert ([one.reason for one in lane.rejected], lane.answers) == (["invalid_value"], [])


def test_answers_go_to_no_other_topic_whatever_the_header_says() -> None:
    lane = Asking("do_a")
    lane.begin(node("a", **ONCE), reply_to=b"deliveries/planner")
    assert [one.reason for one in lane.rejected] == ["invalid_value"]
    assert (lane.answers, lane.sent) == ([], [])


def test_workflows_that_others_start_are_told_to_nobody() -> None:
    lane = Asking("do_a")
    lane.start(definition(node("a", **ONCE)))
    lane.answer(lane.last("a"))
    assert lane.answers == []


def test_rows_of_the_release_before_are_read() -> None:
    lane = Orchestrated("do_a")
    lane.start(definition(node("a")))
    case, head = (lane.driver.state.rows[key("w")].row for key in (case_key, head_key))
    assert isinstance(case, Case)
    assert isinstance(head, Head)
    assert decode(_before(case)) == case
    assert decode(_before(head)) == head
    closed = Closed("0" * 32, "s", "c", "acme", WorkflowState.COMPLETED, 3)
    assert decode(orjson.dumps([1, *orjson.loads(encode(closed))[1:]])) == closed


def _before(row: Case | Head) -> bytes:
    """The row as version 1 wrote it: without its last field."""
    return orjson.dumps([1, *orjson.loads(encode(row))[1:-1]])
