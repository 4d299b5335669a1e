"""`acgs workflow show`."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import click

from compensation.status import PARKED
from schemas.workflow import WorkflowEvent, WorkflowStatus
from streams.cli.output import say, screen, write_line
from streams.cli.session import engine, wait_for
from streams.cli.workflow_session import id_argument
from streams.cli.workflow_view import document, graph, head, one_moment, outcome_line, timeline, what_next
from streams.engine.client import EngineSettings
from streams.workflows.board import status_of
from streams.workflows.history import events
from streams.workflows.moments import Moment, moment, moments
from streams.workflows.story import Story
from streams.workflows.watching import Watch, watching

if TYPE_CHECKING:
    from rich.text import Text

REFRESH_S: Final = 0.25
MAX_WATCHED_NODES: Final = 40
"""A larger graph does not fit on a terminal beside all the rest."""


@click.command()
@id_argument
@click.option("--json", "as_json", is_flag=True, help="Everything as one JSON object, for scripts.")
@click.option("--watch", is_flag=True, help="Go on showing it until it is closed.")
def show(workflow_id: str, *, as_json: bool, watch: bool) -> None:
    r"""Show one workflow: how it stands, its graph, what happened, and what to do next.

    The graph has a line a node, under the last of those it waits for. What happened is told in order, by the broker's
    time: what was called, how it ended, what was approved, what was undone and why. Events are kept for 60 days.

    \b
    Signs:
      · pending     ◷ waiting      ■ blocked       ▶ executing    ✓ completed    - skipped
      ✗ failed      ? unknown      ↶ compensating  ↩ compensated

    \b
    Example:
      acgs workflow show order-A-1
      acgs workflow show order-A-1 --watch
      acgs workflow show order-A-1 --json | jq -r '.next[].commands[0]'
    """
    if as_json and watch:
        raise click.UsageError("--json shows it once: leave --watch out, or use 'acgs tail workflow-events --json'")
    settings = engine("workflow")
    if watch:
        wait_for(_watch(settings, workflow_id))
        return
    status, happened = wait_for(_look(settings, workflow_id))
    story = Story.of(happened)
    if as_json:
        write_line(json.dumps(document(status, story, happened), indent=2))
        return
    for line in _page(status, story, timeline(moments(happened))):
        say(line)


async def _look(settings: EngineSettings, workflow_id: str) -> tuple[WorkflowStatus, list[WorkflowEvent]]:
    status = await status_of(settings, workflow_id)
    async with aclosing(events(settings, status, follow=False)) as happened:
        return status, [event async for event in happened]


async def looked_at(settings: EngineSettings, workflow_id: str) -> tuple[WorkflowStatus, Story]:
    """A workflow as of now.

    Raises:
        WorkflowUnknownError: there is no workflow of this id.
        BrokerError: the broker cannot be reached or refuses.
    """
    status, happened = await _look(settings, workflow_id)
    return status, Story.of(happened)


def _page(status: WorkflowStatus, story: Story, told: Iterator["Text"]) -> Iterator["Text | str"]:
    yield from head(status, story, _now_ms())
    yield ""
    yield from graph(story)
    yield ""
    yield from told
    todo = list(what_next(status, story))
    if todo:
        yield ""
        yield from todo


@dataclass(slots=True)
class _Told:
    """What has been told so far."""

    story: Story = field(default_factory=Story)
    moments: list[Moment] = field(default_factory=list[Moment])

    def take(self, event: WorkflowEvent) -> Moment:
        """Takes an event; returns it in words."""
        said = moment(event, self.story.state if self.moments else None)
        self.story.take(event)
        self.moments.append(said)
        return said


async def _watch(settings: EngineSettings, workflow_id: str) -> None:
    async with watching(settings, workflow_id) as watch:
        happening = events(settings, _latest(watch), follow=True)
        async with aclosing(happening):
            if screen().is_terminal:
                await _watch_live(watch, happening)
            else:
                await _watch_plainly(watch, happening)
    status = _latest(watch)
    say(outcome_line(status.state, status.cause, status.changed_ms - status.started_ms))


async def _watch_plainly(watch: Watch, happening: AsyncGenerator[WorkflowEvent, None]) -> None:
    """A line for whatever happens, and what to do where it is parked."""
    told = _Told()
    for line in head(_latest(watch), told.story, _now_ms()):
        say(line)
    say("")
    async for event in happening:
        was_parked = told.story.state in PARKED
        for line in one_moment(told.take(event)):
            say(line)
        if event.state in PARKED and not was_parked:
            status = await watch.until(partial(_has_reached, event.version))
            for line in what_next(status, told.story):
                say(line)


async def _watch_live(watch: Watch, happening: AsyncGenerator[WorkflowEvent, None]) -> None:
    """Head, graph, the newest moments, and what to do; drawn anew while it goes on."""
    from rich.live import Live  # noqa: PLC0415  # only on a terminal

    told = _Told()

    async def listen() -> None:
        async for event in happening:
            told.take(event)

    listening = asyncio.create_task(listen())
    try:
        with Live(console=screen(), auto_refresh=False) as live:
            while True:
                await asyncio.wait([listening], timeout=REFRESH_S)
                live.update(_picture(_latest(watch), told), refresh=True)
                if listening.done():
                    break
        listening.result()
    finally:
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening


def _picture(status: WorkflowStatus, told: _Told) -> "Text":
    from rich.text import Text  # noqa: PLC0415  # only on a terminal

    above = [*head(status, told.story, _now_ms()), Text(), *graph(told.story, MAX_WATCHED_NODES), Text()]
    below = list(what_next(status, told.story))
    room = max(3, screen().height - len(above) - len(below) - 2)
    newest = list(timeline(told.moments[-room:]))[-room:]
    return Text("\n", no_wrap=True, overflow="ellipsis").join([*above, *newest, *([Text(), *below] if below else [])])


def _has_reached(version: int, status: WorkflowStatus) -> bool:
    return status.version >= version


def _latest(watch: Watch) -> WorkflowStatus:
    if watch.latest is None:
        raise RuntimeError("a watch has a status from its beginning on")
    return watch.latest


def _now_ms() -> int:
    return int(time.time() * 1000)
