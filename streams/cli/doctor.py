"""`acgs doctor`: what is wrong, and what to do about it."""

import json
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict
from typing import Final

import click

from streams.cli.kafka import default_data
from streams.cli.output import clean, count, flush, say, text, write_line
from streams.cli.session import settings, wait_for
from streams.doctor import Check, Grade, examine
from streams.embedded import BrokerStatus
from streams.embedded import status as embedded_status
from streams.engine.client import EngineSettings
from streams.settings import Settings

SIGNS: Final = {
    Grade.GOOD: ("✓", "green"),
    Grade.WARNING: ("!", "yellow"),
    Grade.WRONG: ("✗", "bold red"),
    Grade.SKIPPED: ("-", "dim"),
}
WIDTH: Final = 12


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a check and line, for scripts.")
def doctor(*, as_json: bool) -> None:
    r"""Look for what is wrong: broker, versions, topics, clock, disk, policy, lanes.

    Each line says what was found and, where something is wrong, what to do next. Exit code 1 if something is wrong.

    \b
    Example:
      acgs doctor
      acgs doctor --json | jq -r 'select(.grade == "wrong") | .next_step'
    """
    found = settings()
    engine = found.engine(client_id="acgs-doctor") if found.kafka_bootstrap_servers else None
    checks = wait_for(_examine(found, engine, embedded_status(default_data()), as_json=as_json))
    wrong = [check for check in checks if check.grade is Grade.WRONG]
    if not as_json:
        say("")
        say(f"{count(len(wrong), 'thing')} wrong." if wrong else "Nothing is wrong.", "bold red" if wrong else "green")
    if wrong:
        raise click.exceptions.Exit(1)


async def _examine(
    found: Settings, engine: EngineSettings | None, embedded: BrokerStatus, *, as_json: bool
) -> Sequence[Check]:
    checks: list[Check] = []
    async with aclosing(examine(found, engine, embedded)) as examined:
        async for check in examined:
            checks.append(check)
            if as_json:
                write_line(json.dumps(asdict(check)))
                flush()
            else:
                _show(check)
    return checks


def _show(check: Check) -> None:
    sign, style = SIGNS[check.grade]
    line = text(f"{sign} ", style)
    line.append(f"{check.name:<{WIDTH}}  ", "bold")
    line.append(clean(check.found))
    say(line)
    if check.next_step:
        say(text(f"{'':>{WIDTH + 4}}{check.next_step}", "cyan"))
