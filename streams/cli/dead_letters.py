"""`acgs dead-letters`: what an agent's handler failed on, and what becomes of it."""

import json
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import click

from schemas import topics
from streams.cli.confirm import confirmed
from streams.cli.output import (
    clean,
    clock,
    count,
    flush,
    iso,
    say,
    screen,
    show_below,
    show_table,
    size,
    tell,
    text,
    write_line,
)
from streams.cli.session import engine, operator, wait_for
from streams.dead_letter_box import Letter, choose, discard, letters, redrive, source_of
from streams.engine.client import EngineSettings
from streams.readable import document_bytes

agent_option = click.option(
    "--agent", type=click.Choice(topics.LANE_AGENTS), help="Only this agent's; needed where two have the same id."
)
operator_option = click.option(
    "--operator", default=operator, show_default="$USER", metavar="NAME", help="Who does this; it is kept."
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")

_PREVIEW_BYTES = 2_000
INDENT = 2


@click.group("dead-letters")
def dead_letters() -> None:
    r"""Look at, redrive or discard dead letters.

    A record that an agent's handler fails on becomes a dead letter, byte for byte and with the error; the lane goes on.
    Each has the id of the record, TOPIC/PARTITION/OFFSET. Redrive it once the cause is mended, or discard it with a
    reason: either resolution is kept beside it.

    \b
    Example:
      acgs dead-letters list
      acgs dead-letters show acgs.messages/0/4711
      acgs dead-letters redrive acgs.messages/0/4711
    """


@dead_letters.command("list")
@agent_option
@click.option("--all", "resolved_too", is_flag=True, help="Those that are resolved as well.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a letter and line, for scripts.")
def show_list(agent: str | None, *, resolved_too: bool, as_json: bool) -> None:
    r"""List unresolved dead letters, the oldest first. Exit code 1 if there are any.

    \b
    Example:
      acgs dead-letters list
      acgs dead-letters list --agent triage --all --json | jq -r .error
    """
    found = wait_for(letters(engine("dead-letters"), _agents(agent)))
    unresolved = [letter for letter in found if letter.resolution is None]
    shown = found if resolved_too else unresolved
    if as_json:
        for letter in shown:
            write_line(json.dumps(_document(letter)))
    elif shown:
        _show_all(shown)
        say("")
    if not as_json:
        say(f"{count(len(unresolved), 'dead letter')} unresolved.", "bold" if unresolved else "green")
    if unresolved:
        raise click.exceptions.Exit(1)


def _agents(agent: str | None) -> Sequence[str]:
    return topics.LANE_AGENTS if agent is None else (agent,)


def _show_all(shown: Sequence[Letter]) -> None:
    if not screen().is_terminal:
        show_table(("id", "agent", "when", "what", "error"), map(_row, shown))
        return
    for letter in shown:
        id_, agent, when, what, error = _row(letter)
        line = text(id_, "bold")
        line.append(f"  {agent}  {when}  ", "dim")
        line.append(what, "red" if letter.resolution is None else "green")
        say(line)
        show_below(error, INDENT)


def _row(letter: Letter) -> tuple[str, ...]:
    said = letter.letter
    what = said.kind.value if letter.resolution is None else clean(letter.resolution)
    return clean(letter.id), letter.agent, clock(said.timestamp), what, clean(said.error)


def _document(letter: Letter) -> dict[str, object]:
    said = letter.letter
    return {
        "id": letter.id,
        "agent": letter.agent,
        "at": iso(said.timestamp),
        "kind": said.kind.value,
        "error": said.error,
        "resolution": letter.resolution,
        "has_value": said.has_value,
        **document_bytes("key", said.key),
        "headers": [{"name": name, **document_bytes("value", content)} for name, content in said.headers],
        **document_bytes("value", said.value),
    }


@dead_letters.command()
@click.argument("id_", metavar="ID")
@agent_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
@click.option("--raw", is_flag=True, help="The record's bytes, and nothing else.")
def show(id_: str, agent: str | None, *, as_json: bool, raw: bool) -> None:
    r"""Show one dead letter: the error, the record's key, headers and bytes.

    \b
    Example:
      acgs dead-letters show acgs.messages/0/4711
      acgs dead-letters show acgs.messages/0/4711 --raw | acgs score -
    """
    letter, value = wait_for(_find(engine("dead-letters"), id_, agent))
    if raw:
        sys.stdout.buffer.write(value or b"")
        flush()
    elif as_json:
        write_line(json.dumps(_document(letter), indent=2))
    else:
        _show(letter, value)


async def _find(settings: EngineSettings, id_: str, agent: str | None) -> tuple[Letter, bytes | None]:
    letter = choose(await letters(settings, _agents(agent)), [id_], agent)[0]
    if letter.letter.has_value:
        return letter, letter.letter.value
    source = await source_of(settings, letter)
    return letter, source.value if source else None


def _show(letter: Letter, value: bytes | None) -> None:
    said = letter.letter
    for name, words in (
        ("id", letter.id),
        ("agent", letter.agent),
        ("when", iso(said.timestamp)),
        ("what", said.kind.value),
        ("error", said.error),
        ("resolved", letter.resolution or "no"),
        ("key", "(none)" if said.key is None else said.key.decode(errors="backslashreplace")),
    ):
        say(f"{name:<9} {clean(words)}")
    for name, content in said.headers:
        say(f"{'header':<9} {clean(name)}: {clean((content or b'').decode(errors='backslashreplace'))}")
    if value is None:
        say(text("\n(no value)" if said.has_value else "\n(it was too large to keep, and is gone)", "dim"))
        return
    say(f"\n{size(len(value))}:")
    say(clean(value[:_PREVIEW_BYTES].decode(errors="backslashreplace")))
    if len(value) > _PREVIEW_BYTES:
        say(f"... ({size(len(value) - _PREVIEW_BYTES)} more: --raw)", "dim")


@dead_letters.command("redrive")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every unresolved one.")
@agent_option
@operator_option
@yes_option
def redrive_command(ids: tuple[str, ...], agent: str | None, operator: str, *, every: bool, yes: bool) -> None:
    r"""Write failed records again to where they came from, so that their agent handles them once more.

    Bytes, key and headers are as they were; the partition is the same, the offset a new one. Record and resolution are
    written in one transaction: nothing is redriven twice. With --all you are asked first.

    \b
    Example:
      acgs dead-letters redrive acgs.messages/0/4711
      acgs dead-letters redrive --all --agent triage --yes
    """
    settings = engine("dead-letters")
    chosen = _chosen(settings, ids, agent, every=every)
    if every:
        chosen = _redrivable(chosen)
    if chosen and (not every or _asked(chosen, "Redrive", yes=yes)):
        _resolve(chosen, "redriven", lambda on_done: redrive(settings, chosen, operator, on_done))


@dead_letters.command("discard")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every unresolved one.")
@click.option("--reason", required=True, metavar="WHY", help="Why nothing will be done about it; it is kept.")
@agent_option
@operator_option
@yes_option
def discard_command(
    ids: tuple[str, ...], reason: str, agent: str | None, operator: str, *, every: bool, yes: bool
) -> None:
    r"""Note that nothing will be done about dead letters, and why. They are asked about first.

    \b
    Example:
      acgs dead-letters discard acgs.messages/0/4711 --reason "sent again by its producer"
    """
    settings = engine("dead-letters")
    chosen = _chosen(settings, ids, agent, every=every)
    if chosen and _asked(chosen, "Discard", yes=yes):
        _resolve(chosen, "discarded", lambda on_done: discard(settings, chosen, operator, reason, on_done))


def _chosen(settings: EngineSettings, ids: Sequence[str], agent: str | None, *, every: bool) -> list[Letter]:
    if bool(ids) == every:
        raise click.UsageError("name dead letters by their ids, or give --all")
    found = wait_for(letters(settings, _agents(agent)))
    if not every:
        return choose(found, ids, agent)
    unresolved = [letter for letter in found if letter.resolution is None]
    if not unresolved:
        say("There is no unresolved dead letter.", "green")
    return unresolved


def _redrivable(chosen: Sequence[Letter]) -> list[Letter]:
    """Without those that --all cannot mean, which is said."""
    found = [letter for letter in chosen if letter.can_be_redriven]
    if left := len(chosen) - len(found):
        tell(f"Left alone: {count(left, 'refused policy', 'refused policies')}, which can only be discarded.", "yellow")
    return found


def _asked(chosen: Sequence[Letter], verb: str, *, yes: bool) -> bool:
    if yes:
        return True
    _show_all(chosen)
    return confirmed(f"{verb} {count(len(chosen), 'dead letter')}?")


def _resolve(
    chosen: Sequence[Letter], done: str, resolve: Callable[[Callable[[int], None]], Coroutine[Any, Any, None]]
) -> None:
    counted = 0

    def on_done(some: int) -> None:
        nonlocal counted
        counted += some

    try:
        wait_for(resolve(on_done))
    finally:
        if counted or len(chosen) > 1:
            say(f"{done} {counted} of {len(chosen)}", "green" if counted == len(chosen) else "yellow")
