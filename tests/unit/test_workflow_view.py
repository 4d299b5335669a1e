"""Workflows as people see them: from statuses and events that a test makes."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from compensation.definition import Kind, Node, SignalWait
from schemas.activity import Direction, Outcome
from schemas.workflow import (
    Asked,
    CommandKind,
    EventKind,
    Step,
    StepStatus,
    WorkflowState,
)
from streams.cli.workflow_table import duration, row, summary
from streams.cli.workflow_view import graph, head, outcome_line, status_document, timeline, what_next
from streams.workflows.board import Selection, needs_somebody, to_order
from streams.workflows.moments import Tone, moments
from streams.workflows.retrying import retryable
from streams.workflows.story import Story
from streams.workflows.tree import branches
from tests.support.workflow_log import NOW, Log, attention, node, status

_DONE, _RUNS, _LATER = StepStatus.COMPLETED, StepStatus.EXECUTING, StepStatus.PENDING


def lines(shown: Iterable[Text]) -> list[str]:
    return [line.plain.rstrip() for line in shown]


# The graph


def test_a_chain_is_not_indented_and_what_branches_is() -> None:
    diamond = {"a": [], "b": ["a"], "c": ["b"], "d": ["c"], "e": ["c"], "f": ["d", "e"], "g": []}
    drawn = [f"{branch.drawn}{branch.id}" for branch in branches(diamond)]
    assert drawn == ["a", "b", "c", "├─ d", "│  f", "└─ e", "g"]
    assert [branch.also_after for branch in branches(diamond) if branch.id == "f"] == [("e",)]


def test_a_node_below_a_branch_that_is_not_the_last_keeps_its_line() -> None:
    drawn = [f"{one.drawn}{one.id}" for one in branches({"a": [], "b": ["a"], "c": ["b"], "d": ["b"], "e": ["a"]})]
    assert drawn == ["a", "├─ b", "│  ├─ c", "│  └─ d", "└─ e"]


@given(st.lists(st.sets(st.integers(0, 30)), max_size=30))
def test_every_node_is_drawn_once_after_one_it_waits_for_and_names_the_others(drawn: list[set[int]]) -> None:
    graph_ = {str(number): [str(one) for one in before if one < number] for number, before in enumerate(drawn)}
    seen: set[str] = set()
    for branch in branches(graph_):
        needed = set(graph_[branch.id])
        assert set(branch.also_after) <= needed
        assert len(needed) - len(branch.also_after) == min(1, len(needed))
        assert not needed or needed - set(branch.also_after) <= seen
        seen.add(branch.id)
    assert seen == set(graph_)


def test_a_chain_of_five_thousand_nodes_is_drawn() -> None:
    chain = {str(number): [str(number - 1)] if number else [] for number in range(5_000)}
    assert {branch.drawn for branch in branches(chain)} == {""}


def test_the_graph_shows_how_each_node_stands_by_sign_and_word() -> None:
    log = Log(node("a"), node("b", "a"), node("c", "a"), statuses={"a": _RUNS, "b": _LATER, "c": _LATER})
    log.answered("a", statuses={"a": _DONE, "b": _RUNS, "c": _RUNS})
    again = Asked(step=Step.CALL, node="b", direction=Direction.DO, round=0, attempt=2)
    log.answered("b", Outcome.FAILED, why="no route", statuses={"b": StepStatus.WAITING})
    log.add(EventKind.TIMER, node="b", why="retry", statuses={"b": _RUNS}, asked=(again,))
    assert lines(graph(log.story)) == [
        "✓ a  completed",
        "├─ ▶ b  executing, attempt 2: no route",
        "└─ ▶ c  executing",
    ]


def test_what_is_over_is_no_longer_a_nodes_error() -> None:
    log = Log(node("a")).answered("a", Outcome.FAILED, why="no route", statuses={"a": StepStatus.WAITING})
    log.answered("a", attempt=2, statuses={"a": _DONE})
    assert lines(graph(log.story)) == ["✓ a  completed"]


def test_a_name_that_says_more_than_the_id_stands_beside_it() -> None:
    assert lines(graph(Log(node("a", name="Reserve the stock")).story)) == ["· a  Reserve the stock  pending"]


def test_a_large_graph_is_counted_and_what_is_not_quiet_is_named() -> None:
    nodes = [node(f"n{number}") for number in range(100)]
    log = Log(*nodes, statuses={f"n{number}": _DONE for number in range(90)})
    log.answered("n95", Outcome.FINAL, why="no", statuses={"n95": StepStatus.BLOCKED})
    assert lines(graph(log.story, limit=40)) == ["■ n95  blocked: no", "9 pending, 1 blocked, 90 completed"]


def test_without_the_events_of_its_start_there_is_no_graph_and_that_is_said() -> None:
    log = Log(node("a")).answered("a", statuses={"a": _DONE})
    story = Story.of(log.events[1:])
    assert lines(graph(story)) == ["(the events of its start are gone, and with them the graph)"]
    assert story.version == 2


# What happened


def told(log: Log) -> list[str]:
    """The timeline without its clock."""
    return [line.split("  ", 1)[1].strip() for line in lines(timeline(moments(log.events)))]


def test_the_timeline_tells_what_was_called_undone_and_why_in_order() -> None:
    def call(id_: str, direction: Direction = Direction.DO) -> tuple[Asked, ...]:
        return (Asked(step=Step.CALL, node=id_, direction=direction, round=0, attempt=1),)

    log = Log(node("a"), node("b", "a"), asked=call("a"), statuses={"a": _RUNS, "b": _LATER})
    log.answered("a", statuses={"a": _DONE, "b": _RUNS}, asked=call("b"))
    back, cause = WorkflowState.COMPENSATING, "b: no money"
    unknown = {"b": StepStatus.UNKNOWN, "a": StepStatus.COMPENSATING}
    log.answered(
        "b", Outcome.FINAL, why="no money", state=back, cause=cause, statuses=unknown, asked=call("a", Direction.UNDO)
    )
    end = {"state": WorkflowState.COMPENSATED, "cause": cause, "statuses": {"a": StepStatus.COMPENSATED}}
    log.answered("a", direction=Direction.UNDO, **end)
    assert told(log) == [
        "started by ada",
        "-> calls a",
        "a  completed",
        "-> calls b",
        "b  failed for good: no money",
        "-> may have had its effect: b",
        "-> undoes a",
        "-> the workflow is compensating: b: no money",
        "a  undone",
        "-> the workflow is compensated: b: no money",
    ]
    assert log.story.undone == ["a"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"event": EventKind.CANCELLED, "by": "bob", "why": "twice"}, "cancelled by bob: twice"),
        ({"event": EventKind.PAUSED, "by": "bob", "why": "x", "verified": True}, "paused by bob (signed): x"),
        ({"event": EventKind.SIGNALLED, "by": "bob"}, "signalled by bob"),
        ({"event": EventKind.VERDICT, "why": "approved: it is fine"}, "approved: it is fine"),
        (
            {"event": EventKind.ORDERED, "order": CommandKind.MARK_DONE, "by": "bob", "why": "by hand"},
            "marked as done by bob: by hand",
        ),
        ({"event": EventKind.TIMER, "why": "answer"}, "no answer in time"),
        ({"event": EventKind.TIMER}, "its deadline has passed"),
        ({"event": EventKind.IGNORED, "why": "it was late"}, "ignored: it was late"),
        ({"event": EventKind.ANSWERED, "outcome": Outcome.NO_EFFECT, "why": "x"}, "failed without an effect: x"),
        (
            {"event": EventKind.ANSWERED, "direction": Direction.UNDO, "outcome": Outcome.FAILED, "attempt": 3},
            "its undo: failed (attempt 3)",
        ),
    ],
)
def test_each_kind_of_event_has_its_words(fields: dict[str, Any], words: str) -> None:
    log = Log(node("a"))
    log.add(fields.pop("event"), **fields)
    assert list(moments(log.events))[1].words == words


def test_a_signal_that_came_before_its_node_is_told_as_such() -> None:
    log = Log(node("a")).add(EventKind.TIMER, node="a", why="signal", statuses={"a": _DONE})
    log.add(EventKind.TIMER, node="a", why="signal", statuses={"a": StepStatus.NO_EFFECT})
    assert told(log)[1:] == ["a  its signal has come before", "a  the time for its signal is over"]


def test_what_is_asked_for_names_some_nodes_and_counts_the_others() -> None:
    calls = [Asked(step=Step.CALL, node=f"n{n}", direction=Direction.DO, round=0, attempt=1) for n in range(12)]
    ask = Asked(step=Step.ASK, node="pay", score=8_500, why="2 approvals of tier high")
    log = Log(
        node("a"), asked=(*calls, ask, Asked(step=Step.STOP, node="x", direction=Direction.DO, round=0, attempt=1))
    )
    assert next(moments(log.events)).follows == (
        "asks for an approval of pay, as it weighs 0.8500: 2 approvals of tier high",
        "calls n0, n1, n2, n3, n4, n5, n6, n7 and 4 more",
        "tells to stop: x",
    )


def test_a_failure_is_bad_an_undo_is_not_good_and_what_is_ignored_is_dim() -> None:
    log = Log(node("a")).answered("a").answered("a", Outcome.FAILED).answered("a", direction=Direction.UNDO)
    log.add(EventKind.IGNORED, why="late")
    assert [one.tone for one in moments(log.events)] == [Tone.PLAIN, Tone.GOOD, Tone.BAD, Tone.HELD, Tone.DIM]


def test_what_workers_say_cannot_write_on_the_terminal() -> None:
    log = Log(node("a")).answered("a", Outcome.FAILED, why="\x1b[31mred\nline")
    assert told(log)[-1] == "a  failed: \\x1b[31mred\\nline"


# The head, and what to do next


def test_the_head_says_since_when_and_why() -> None:
    shown = lines(head(status(tags=("shop", "eu"), state=WorkflowState.COMPENSATING, cause="b: no"), Story(), NOW))
    assert shown[:4] == [
        "id       w",
        "name     order, 3 nodes, tenant acme, tags shop, eu",
        "state    compensating for 5 s: b: no",
        "version  1",
    ]
    assert shown[4].endswith("1 min ago, by ada")


def test_a_parked_node_has_its_command_lines_at_the_version_of_the_last_event() -> None:
    log = Log(node("a")).answered("a", Outcome.FINAL, statuses={"a": StepStatus.UNKNOWN})
    parked = status(
        state=WorkflowState.PARKED_FORWARD,
        attention=(attention("a", StepStatus.UNKNOWN, "no money"),),
        attention_count=1,
    )
    assert lines(what_next(parked, log.story)) == [
        "What to do next:",
        "  a: no money",
        "    acgs workflow retry w a --version 2 --reason WHY",
        "    or acgs workflow skip w a --version 2 --reason WHY",
        "    or acgs workflow mark-done w a --version 2 --reason WHY",
    ]


def test_a_blocked_node_names_the_worker_that_it_lacks() -> None:
    log = Log(node("a", queue="payments"), statuses={"a": StepStatus.BLOCKED})
    blocked = status(attention=(attention("a", StepStatus.BLOCKED, "unknown_activity"),), attention_count=1)
    assert "start a worker of queue payments that knows do_a, then retry" in lines(what_next(blocked, log.story))[1]


def test_a_node_that_waits_for_a_signal_has_the_line_that_gives_it() -> None:
    wait = Node(id="paid", name="paid", kind=Kind.SIGNAL, signal=SignalWait(deadline_ms=1))
    waiting = status(attention=(attention("paid", StepStatus.WAITING, "a signal"),), attention_count=1)
    assert lines(what_next(waiting, Log(wait).story))[2] == "    acgs workflow signal w paid --payload JSON"


def test_a_paused_workflow_can_be_resumed_but_not_one_whose_start_is_held() -> None:
    paused = status(state=WorkflowState.PAUSED)
    assert "    acgs workflow resume w --reason WHY" in lines(what_next(paused, Story()))
    held = status(state=WorkflowState.PAUSED, attention=(attention(None, None, "an approval"),), attention_count=1)
    assert lines(what_next(held, Story()))[1] == "  the start: an approval"
    assert not [line for line in lines(what_next(held, Story())) if "resume" in line]


def test_nodes_that_the_status_does_not_list_are_counted() -> None:
    many = status(attention=(attention("a", StepStatus.BLOCKED),), attention_count=31)
    assert lines(what_next(many, Story()))[-1] == "  30 more nodes: they wait as well"


def test_nothing_is_to_be_done_where_it_goes_on() -> None:
    assert lines(what_next(status(), Story())) == []


def test_an_outcome_has_its_time_and_a_parked_one_has_none() -> None:
    assert outcome_line(WorkflowState.COMPLETED, None, 1_500).plain == "completed after 1 s"
    assert outcome_line(WorkflowState.PARKED_FORWARD, "b: no", 1_500).plain == "parked_forward: b: no"


# The table


def test_a_line_of_the_table_says_what_it_waits_for_or_why_it_ended() -> None:
    waiting = status(attention=(attention("paid", StepStatus.WAITING, "a signal"),), attention_count=3)
    closed = status(state=WorkflowState.COMPENSATED, cause="b: no", closed_ms=NOW - 30_000)
    assert [str(cell) for cell in row(waiting, NOW)] == [
        *("w", "order", "running", "1 min", "5 s", "3"),
        "paid: a signal (and 2 more nodes)",
    ]
    assert [str(cell) for cell in row(closed, NOW)][4:] == ["30 s", "3", "b: no"]


def test_the_summary_counts_states_and_those_that_need_somebody() -> None:
    found = [status(), status(), status(state=WorkflowState.PARKED_FORWARD), status(state=WorkflowState.COMPLETED)]
    assert summary(found).plain == "4 workflows: 2 running, 1 completed, 1 parked_forward. 1 needs somebody."
    assert summary([]).plain == "0 workflows."


def test_a_status_for_scripts_has_times_to_read_and_no_results() -> None:
    document = status_document(status(started_ms=0, state=WorkflowState.COMPLETED, results={}))
    assert document["started_at"] == "1970-01-01T00:00:00.000Z"
    assert document["closed_at"] is None
    assert "results" not in document


# Choosing


def test_a_selection_asks_for_all_that_it_names() -> None:
    one = status(workflow_id="one", tags=("a", "b"), started_ms=NOW - 7_200_001)
    two = status(workflow_id="two", tags=("a",), state=WorkflowState.COMPLETED, name="other")

    def chosen(**fields: Any) -> list[str]:  # noqa: ANN401
        return [status_.workflow_id for status_ in Selection(**fields).of([one, two], NOW)]

    assert chosen() == ["one", "two"]
    assert chosen(tags=frozenset({"a"})) == ["one", "two"]
    assert chosen(tags=frozenset({"a", "b"})) == ["one"]
    assert chosen(states=frozenset({WorkflowState.COMPLETED})) == ["two"]
    assert chosen(name="other") == ["two"]
    assert chosen(older_than=timedelta(hours=2)) == ["one"]
    assert chosen(needs_attention=True) == []


@pytest.mark.parametrize(
    ("changes", "needs"),
    [
        ({}, False),
        ({"state": WorkflowState.PAUSED}, True),
        ({"state": WorkflowState.COMPENSATION_FAILED}, True),
        ({"attention_count": 1}, True),
        ({"state": WorkflowState.COMPLETED}, False),
    ],
)
def test_who_does_not_go_on_by_itself_needs_somebody(changes: dict[str, Any], *, needs: bool) -> None:
    assert needs_somebody(status(**changes)) is needs


def test_only_parked_and_blocked_nodes_are_retried() -> None:
    listed = (
        attention(None, None),
        attention("a", StepStatus.WAITING),
        attention("b", StepStatus.BLOCKED),
        attention("c", StepStatus.COMPENSATION_FAILED),
        attention("d", StepStatus.UNKNOWN),
    )
    one, other = status(attention=listed), status(workflow_id="other", attention=listed[:2])
    assert [found.node for found in to_order(one)] == ["b", "c", "d"]
    assert retryable([one, other]) == [one]


@pytest.mark.parametrize(
    ("words", "length"),
    [
        ("90s", timedelta(seconds=90)),
        ("15min", timedelta(minutes=15)),
        ("2 h", timedelta(hours=2)),
        ("3d", timedelta(3)),
    ],
)
def test_a_length_of_time_is_a_number_and_a_unit(words: str, length: timedelta) -> None:
    assert _duration(words) == length


@pytest.mark.parametrize("words", ["", "2", "h", "2x", "-1h", "1.5h", "1000000000d"])
def test_what_is_no_length_of_time_is_refused(words: str) -> None:
    with pytest.raises(click.BadParameter, match="no length of time"):
        _duration(words)


def _duration(words: str) -> timedelta | None:
    option = click.Option(["--older-than"])
    return duration(click.Context(click.Command("x")), option, words)
