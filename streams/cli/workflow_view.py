"""One workflow on a terminal or in a pipe: its head, its graph, what happened, and what to do next."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from compensation.status import CLOSED, PARKED
from schemas.workflow import StepStatus, WorkflowEvent, WorkflowState, WorkflowStatus
from streams.cli.output import age, clean, clock, count, iso, text
from streams.workflows.advice import Advice, advice
from streams.workflows.moments import Moment
from streams.workflows.story import NodeView, Story
from streams.workflows.tree import branches

if TYPE_CHECKING:
    from rich.text import Text

STATES: Final[Mapping[WorkflowState, str]] = {
    WorkflowState.RUNNING: "cyan",
    WorkflowState.PAUSED: "yellow",
    WorkflowState.DRAINING: "yellow",
    WorkflowState.COMPENSATING: "yellow",
    WorkflowState.COMPLETED: "green",
    WorkflowState.COMPENSATED: "magenta",
    WorkflowState.COMPENSATED_WITH_EXCEPTIONS: "magenta",
    WorkflowState.COMPENSATION_FAILED: "bold red",
    WorkflowState.PARKED_FORWARD: "bold red",
}
SIGNS: Final[Mapping[StepStatus, tuple[str, str]]] = {
    StepStatus.PENDING: ("·", "dim"),
    StepStatus.WAITING: ("◷", "yellow"),
    StepStatus.BLOCKED: ("■", "bold red"),
    StepStatus.EXECUTING: ("▶", "cyan"),
    StepStatus.COMPLETED: ("✓", "green"),
    StepStatus.NO_EFFECT: ("✗", "red"),
    StepStatus.FAILED: ("✗", "bold red"),
    StepStatus.UNKNOWN: ("?", "red"),
    StepStatus.SKIPPED: ("-", "dim"),
    StepStatus.COMPENSATING: ("↶", "yellow"),
    StepStatus.COMPENSATED: ("↩", "magenta"),
    StepStatus.COMPENSATION_FAILED: ("✗", "bold red"),
}
TONES: Final = {"good": "green", "held": "yellow", "bad": "red", "plain": "", "dim": "dim"}
WIDTH: Final = 8
QUIET: Final = frozenset({StepStatus.PENDING, StepStatus.COMPLETED, StepStatus.SKIPPED, StepStatus.COMPENSATED})
"""How nodes stand that a large graph only counts."""


def head(status: WorkflowStatus, story: Story, now_ms: int) -> Iterator["Text"]:
    """Who, what, how it stands and since when."""
    tags = f", tags {', '.join(map(clean, status.tags))}" if status.tags else ""
    yield _field("id", clean(status.workflow_id), "bold")
    yield _field("name", f"{clean(status.name)}, {count(status.nodes, 'node')}, tenant {clean(status.tenant_id)}{tags}")
    since = f" for {age(now_ms - status.changed_ms)}" if status.state not in CLOSED else ""
    state = _field("state", status.state.value, STATES[status.state])
    state.append(f"{since}{_because(status.cause)}")
    yield state
    yield _field("version", str(max(status.version, story.version)))
    started = f"{clock(status.started_ms)}, {age(now_ms - status.started_ms)} ago, by {clean(status.requested_by)}"
    yield _field("started", started)
    if status.closed_ms is not None:
        yield _field("closed", f"{clock(status.closed_ms)}, after {age(status.closed_ms - status.started_ms)}")
    if story.undone:
        yield _field("undone", ", then ".join(map(clean, story.undone)))


def _field(name: str, words: str, style: str = "") -> "Text":
    return text(f"{name:<{WIDTH}} ", "dim").append(words, style)


def _because(cause: str | None) -> str:
    return f": {clean(cause)}" if cause else ""


def graph(story: Story, limit: int | None = None) -> Iterator["Text"]:
    """The nodes as a tree. One larger than `limit` is counted, and only nodes that something is to be said of stand."""
    if story.definition is None:
        yield text("(the events of its start are gone, and with them the graph)", "dim")
        return
    if limit is not None and len(story.nodes) > limit:
        yield from _counted(story, limit)
        return
    for drawn, id_, also_after in branches({node.id: node.dependencies for node in story.definition.nodes}):
        line = text(drawn, "dim").append(_node(story.nodes[id_]))
        if also_after:
            line.append(f"  also after {', '.join(also_after)}", "dim")
        yield line


def _counted(story: Story, limit: int) -> Iterator["Text"]:
    shown = [view for view in story.nodes.values() if view.status not in QUIET]
    yield from map(_node, shown[:limit])
    counts = {status: sum(view.status is status for view in story.nodes.values()) for status in StepStatus}
    yield text(", ".join(f"{number:,} {status.value}" for status, number in counts.items() if number), "dim")


def _node(view: NodeView) -> "Text":
    sign, style = SIGNS[view.status]
    line = text(f"{sign} ", style).append(view.node.id, "bold")
    if view.node.name != view.node.id:
        line.append(f"  {clean(view.node.name)}")
    line.append(f"  {view.status.value}", style)
    if view.attempt > 1:
        line.append(f", attempt {view.attempt}", style)
    return line.append(_because(view.why))


def timeline(moments: Iterable[Moment]) -> Iterator["Text"]:
    """What happened, in order."""
    for moment in moments:
        yield from one_moment(moment)


def one_moment(moment: Moment) -> Iterator["Text"]:
    """A line for what happened, and one for each consequence."""
    at = clock(moment.at_ms)
    line = text(f"{at}  ", "dim")
    if moment.node:
        line.append(f"{moment.node}  ", "bold")
    yield line.append(clean(moment.words), TONES[moment.tone.value])
    for words in moment.follows:
        yield text(f"{'':{len(at)}}  -> {clean(words)}", "dim")


def what_next(status: WorkflowStatus, story: Story) -> Iterator["Text"]:
    """What a person can do, with the command lines; nothing where nothing is to be done."""
    found = list(advice(status, story))
    if found:
        yield text("What to do next:", "bold")
    for one in found:
        yield from _advice(one)


def _advice(one: Advice) -> Iterator["Text"]:
    yield text("  ", "").append(one.about, "bold").append(f": {clean(one.why)}")
    for number, command in enumerate(one.commands):
        yield text(f"    {'or ' if number else ''}", "dim").append(command, "cyan")


def outcome_line(state: WorkflowState, cause: str | None, took_ms: int) -> "Text":
    """How it ended, or where it is parked."""
    after = "" if state in PARKED else f" after {age(took_ms)}"
    return text(f"{state.value}{after}", STATES[state]).append(_because(cause))


def document(status: WorkflowStatus, story: Story, events: Sequence[WorkflowEvent]) -> dict[str, object]:
    """Everything of it, for scripts."""
    nodes = [
        {
            "id": view.node.id,
            "name": view.node.name,
            "kind": view.node.kind.value,
            "dependencies": list(view.node.dependencies),
            "status": view.status.value,
            "attempt": view.attempt,
            "why": view.why,
        }
        for view in story.nodes.values()
    ]
    return {
        "status": status_document(status) | {"results": _dumped(status)["results"]},
        "version": max(status.version, story.version),
        "nodes": nodes,
        "undone": story.undone,
        "next": [{"about": one.about, "why": one.why, "commands": one.commands} for one in advice(status, story)],
        "events": [event.model_dump(mode="json", exclude_defaults=True) for event in events],
    }


def status_document(status: WorkflowStatus) -> dict[str, object]:
    """A status for scripts: times in RFC 3339 besides milliseconds, and without results."""
    closed = None if status.closed_ms is None else iso(status.closed_ms)
    times = {"started_at": iso(status.started_ms), "changed_at": iso(status.changed_ms), "closed_at": closed}
    return {name: value for name, value in _dumped(status).items() if name != "results"} | times


def _dumped(status: WorkflowStatus) -> dict[str, object]:
    return status.model_dump(mode="json")
