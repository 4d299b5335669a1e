"""`acgs lanes`: decisions on lanes that may not decide by themselves."""

import time

import click

from schemas import topics
from streams.acceptance import Choice, Held, Step, accept, decide, held_lane
from streams.agents.naming import Naming
from streams.cli.confirm import confirmed
from streams.cli.output import clean, say, show_table, text
from streams.cli.session import engine, operator, wait_for

POSITIONS = frozenset({"start", "end"})


@click.group()
def lanes() -> None:
    r"""Let a held lane go on from a stated position.

    A lane stops, and says so in 'acgs status', when retention deleted records it had not read or its position was lost:
    to go on would skip records or handle them twice, and only a person can say which is right.

    \b
    Example:
      acgs lanes accept triage 0 --reason "outage of 3 May, messages were sent again"
    """


@lanes.command("accept")
@click.argument("agent", metavar="AGENT", type=click.Choice(topics.LANE_AGENTS))
@click.argument("lane", type=click.IntRange(min=0))
@click.option(
    "--from",
    "positions",
    multiple=True,
    metavar="start|end|OFFSET",
    help="Where it goes on; for one input as TOPIC=start|end|OFFSET. Default: the log's start, if it was overtaken.",
)
@click.option("--reason", required=True, metavar="WHY", help="Kept in the lane's audit record.")
@click.option(
    "--operator", "name", default=operator, show_default="$USER", metavar="NAME", help="Who decides; it is kept."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def accept_command(agent: str, lane: int, positions: tuple[str, ...], reason: str, name: str, *, yes: bool) -> None:
    r"""Accept what a held lane has lost, so that it goes on. You see what is skipped or repeated, and are asked.

    The decision counts once, for the position at which the lane is held, and stands in its audit record with your name
    and reason. The lane finds it within some 5 s.

    \b
    Example:
      acgs lanes accept triage 0 --reason "outage of 3 May, messages were sent again"
      acgs lanes accept gateway-messages 1 --from end --reason "test data"
      acgs lanes accept triage 0 --from acgs.messages=4711 --reason "seen in the audit: handled up to there"
    """
    settings = engine("lanes")
    choices = [_choice(given, settings.prefix) for given in positions]
    held = wait_for(held_lane(settings, agent, lane, _now_ms()))
    steps = decide(held, choices)
    _show(held, steps)
    if yes or confirmed("Let it go on so?"):
        wait_for(accept(settings, held, steps, operator=name, reason=reason, now_ms=_now_ms()))
        say(f"Accepted. Lane {agent}/{lane} goes on within some 5 s; 'acgs status' shows it.", "green")


def _choice(given: str, prefix: str) -> Choice:
    topic, separator, at = given.rpartition("=")
    if at not in POSITIONS and not at.isdecimal():
        raise click.BadParameter(f"{clean(given)} is none of start, end, OFFSET and TOPIC=...", param_hint="--from")
    if not separator:
        return Choice(None, at)
    known = {one.name for one in topics.catalogue()}
    return Choice(Naming(prefix).topic(topic) if topic in known else topic, at)


def _show(held: Held, steps: tuple[Step, ...]) -> None:
    say(f"Lane {held.agent}/{held.lane} is held after turn {held.seq}:", "bold")
    say(f"  {clean(held.why)}", "red")
    say("")
    rows = [
        (
            step.standing.topic,
            "lost" if step.standing.position is None else str(step.standing.position),
            f"{step.standing.begin} to {step.standing.end}",
            str(step.goes_on_at),
            text(step.words, "" if step.words.startswith("goes on") else "bold yellow"),
        )
        for step in steps
    ]
    show_table(("input", "position", "the log has", "goes on at", "which"), rows)
    say("")


def _now_ms() -> int:
    return int(time.time() * 1000)
