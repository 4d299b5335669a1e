"""`acgs send`: publish messages from a file."""

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import click
import orjson

from schemas import topics
from schemas.errors import SchemaError
from streams.agents.naming import Naming
from streams.cli.operator_session import key_of, sender_key_option
from streams.cli.output import say, tell
from streams.cli.progress import bar
from streams.cli.session import engine, wait_for
from streams.control import accepted_hash
from streams.engine.client import EngineSettings
from streams.errors import StreamsError
from streams.keys import SigningKey
from streams.lines import STANDARD_INPUT, Line, arriving, opened
from streams.sending import Sent, Unsent
from streams.sending import send as send_lines

_SHOWN_FAILURES = 20


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["messages", "stepshield"]),
    default="messages",
    show_default=True,
    help="messages: each line is one, sent as it is. stepshield: trajectories, a message for each step.",
)
@click.option("--topic", default=topics.IN_MESSAGES, show_default=True, help="Where to, without the prefix.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), metavar="N", help="At most N messages a second.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Stop after N messages.")
@sender_key_option
def send(*, file: Path, form: str, topic: str, rate: float | None, limit: int | None, key_file: Path | None) -> None:
    r"""Publish FILE (`-`: standard input), one JSON object a line. A .gz file is decompressed.

    Bytes travel unchanged, under the line's conversation_id as key if it has one. Nothing is checked here: the gateway
    does that. Blank lines are ignored; a line that the topic cannot take is reported, and makes the exit code 1. With
    --key each is signed; the gateway then wants its from_agent to be the sender whose key it is.

    \b
    Example:
      acgs send messages.jsonl
      acgs send --rate 50 - < messages.jsonl
      acgs send --format stepshield train.jsonl.gz
      acgs send --key planner.key messages.jsonl
    """
    key, settings = key_of(key_file), engine("send")
    if form == "stepshield":
        _send_stepshield(settings, file, topic, rate=rate, limit=limit, key=key)
        return
    is_stdin = file == STANDARD_INPUT
    with opened(file, sys.stdin.buffer) as lines:
        size = None if is_stdin or limit else file.stat().st_size
        _send(
            settings,
            topic,
            arriving(lines, sys.stdin.buffer if is_stdin else None),
            limit=limit,
            rate=rate,
            size=size,
            key=key,
        )


def _send_stepshield(
    settings: EngineSettings,
    file: Path,
    topic: str,
    *,
    rate: float | None,
    limit: int | None,
    key: SigningKey | None,
) -> None:
    if file == STANDARD_INPUT:
        raise click.BadParameter("trajectories are read from a file, not from standard input", param_hint="FILE")
    lines = arriving(_steps(file, wait_for(accepted_hash(settings))), None)
    _send(settings, topic, lines, limit=limit, rate=rate, key=key)


def _steps(file: Path, constitutional_hash: str) -> Iterator[Line]:
    from streams.samples import stepshield  # noqa: PLC0415  # only for this format

    messages = (
        message
        for trajectory in stepshield.read(file)
        for message in stepshield.messages(trajectory, constitutional_hash)
    )
    for number, message in enumerate(messages, start=1):
        yield Line(number, orjson.dumps(message), 0)


async def _first(lines: AsyncIterator[Line], limit: int | None) -> AsyncIterator[Line]:
    count = 0
    async for line in lines:
        yield line
        count += 1
        if count == limit:
            return


def _send(
    settings: EngineSettings,
    topic: str,
    lines: AsyncIterator[Line],
    *,
    limit: int | None,
    rate: float | None,
    size: int | None = None,
    key: SigningKey | None,
) -> None:
    progress, failures = Sent(), _Failures()
    try:
        with bar("sending", counts=False, times=True) as on_progress:

            def on_sent(sent: Sent) -> None:
                on_progress(sent.read, size, f"{sent.sent:,} sent, {sent.failed:,} failed")

            sending = send_lines(
                settings,
                Naming(settings.prefix).topic(topic),
                _first(lines, limit),
                rate=rate,
                on_unsent=failures.tell,
                on_progress=on_sent,
                progress=progress,
                key=key,
            )
            wait_for(sending)
    except (KeyboardInterrupt, StreamsError, SchemaError):
        if progress.sent or progress.failed:
            _conclude(progress, failures)
        raise
    _conclude(progress, failures)
    if progress.failed or progress.stopped_at is not None:
        raise click.exceptions.Exit(1)


def _conclude(progress: Sent, failures: "_Failures") -> None:
    failures.tell_rest()
    if progress.stopped_at is not None:
        tell(f"Stopped at line {progress.stopped_at}: it and all after it were not sent.", "yellow")
    say(f"sent {progress.sent}, failed {progress.failed}")


class _Failures:
    """Tells the first failures one by one, and how many more there were."""

    def __init__(self) -> None:
        self._count = 0

    def tell(self, unsent: Unsent) -> None:
        """Tells one, if it is among the first."""
        self._count += 1
        if self._count <= _SHOWN_FAILURES:
            tell(f"line {unsent.number} was not sent: {unsent.why}", "red")

    def tell_rest(self) -> None:
        """Tells how many were not told."""
        if self._count > _SHOWN_FAILURES:
            tell(f"... and {self._count - _SHOWN_FAILURES} more lines", "red")
