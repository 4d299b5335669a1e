"""`acgs chaos`: break things on purpose, see what is in force, stop it."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import click

from schemas.chaos import (
    MAX_CPU_PERCENT,
    MAX_DURATION,
    MAX_LATENCY_MS,
    MAX_MEMORY_MIB,
    ChaosParameters,
    ChaosStatus,
    ChaosType,
    EmergencyStop,
)
from streams.chaos import ChaosClient, ChaosRefusedError, ChaosScenario, Operator, statuses
from streams.chaos.statuses import is_in_force
from streams.cli.chaos_view import COLUMNS, ended, how, rows
from streams.cli.keys import load
from streams.cli.operator_session import KEY_VARIABLE, owner_of
from streams.cli.output import clean, clock, count, say, show_table, tell, text, write_line
from streams.cli.session import engine, wait_for
from streams.control import accepted_hash, in_force
from streams.engine.client import EngineSettings
from streams.errors import PolicyRefusedError

key_option = click.option(
    "--key",
    "key_file",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    envvar=KEY_VARIABLE,
    show_envvar=True,
    help="Your signing key; the policy must name you among its operators.",
)
reason_option = click.option("--reason", required=True, metavar="WHY", help="Kept with it.")
json_option = click.option("--json", "as_json", is_flag=True, help="JSON, for scripts.")


@click.group()
def chaos() -> None:
    r"""Break things on purpose, within bounds, to find out what holds.

    Only processes started with --chaos are touched, only targets that the policy allows, and never for longer than
    300 s: a scenario ends by itself, whatever dies meanwhile. 'stop --all' is the emergency stop.

    \b
    Example:
      acgs chaos run slow-triage --type latency --target agent:triage --latency 500 --duration 60 \
        --key ann.key --reason "game day 12" --wait
      acgs chaos list
      acgs chaos stop --all --key ann.key --reason "enough"
    """


@chaos.command()
@click.argument("name", metavar="NAME")
@click.option(
    "--type", "chaos_type", type=click.Choice([one.value for one in ChaosType]), required=True, help="What is done."
)
@click.option(
    "--target",
    required=True,
    metavar="KIND:NAME",
    help="agent:NAME, lane:NAME/NUMBER, queue:NAME, activity:NAME or service:NAME.",
)
@click.option(
    "--duration",
    type=click.FloatRange(0, MAX_DURATION.total_seconds(), min_open=True),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long, 300 at most.",
)
@click.option(
    "--blast-radius",
    "blast_radius",
    multiple=True,
    metavar="KIND:NAME",
    help="All that may be touched; may be repeated. Default: the target alone.",
)
@click.option("--latency", type=click.IntRange(1, MAX_LATENCY_MS), metavar="MS", help="With latency: how long.")
@click.option("--memory", type=click.IntRange(1, MAX_MEMORY_MIB), metavar="MIB", help="Held by each process.")
@click.option("--cpu", type=click.IntRange(1, MAX_CPU_PERCENT), metavar="PERCENT", help="Of one processor, burnt.")
@click.option(
    "--probability", type=click.IntRange(1, 100), metavar="PERCENT", help="How many turns or calls it meets; all."
)
@key_option
@reason_option
@click.option("--wait", is_flag=True, help="Stay until it has ended; Ctrl-C stops it.")
@json_option
def run(
    *,
    name: str,
    chaos_type: str,
    target: str,
    duration: float,
    blast_radius: Sequence[str],
    latency: int | None,
    memory: int | None,
    cpu: int | None,
    probability: int | None,
    key_file: Path,
    reason: str,
    wait: bool,
    as_json: bool,
) -> None:
    r"""Bring a scenario into force, and say how to stop it.

    Signs it with your key. Refused, with the reason, where the policy does not allow it, and always for what ends
    chaos, what vetoes pass through, and the audit. docs/chaos.md: what each type does, and how a game day is run.

    \b
    Example:
      acgs chaos run slow-triage --type latency --target agent:triage --latency 500 --duration 60 \
        --key ann.key --reason "game day 12" --wait
      acgs chaos run no-bank --type circuit_breaker --target service:bank --key ann.key --reason "who notices?"
      acgs chaos run full --type resource_exhaustion --target queue:default --memory 256 --cpu 50 \
        --key ann.key --reason "a small machine"
    """
    parameters = ChaosParameters(
        latency_ms=latency, memory_mib=memory, cpu_percent=cpu, probability_percent=probability
    )
    try:
        scenario = ChaosScenario(
            name=name,
            chaos_type=ChaosType(chaos_type),
            target=target,
            duration_s=duration,
            blast_radius=frozenset(blast_radius),
            parameters=parameters,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    wait_for(_run(engine("chaos"), scenario, reason, key_file, wait=wait, as_json=as_json))


async def _run(
    settings: EngineSettings, scenario: ChaosScenario, reason: str, key_file: Path, *, wait: bool, as_json: bool
) -> None:
    scenario_id = str(uuid.uuid4())
    async with _opened(settings, key_file) as client:
        try:
            status = await client.run(scenario, reason, scenario_id=scenario_id)
            _show_begun(status, key_file, as_json=as_json)
            if wait:
                status = await client.ended(scenario_id)
                _show_ended(status, as_json=as_json)
        except asyncio.CancelledError:
            await _undo(client, scenario_id, as_json=as_json)
            raise


async def _undo(client: ChaosClient, scenario_id: str, *, as_json: bool) -> None:
    """Stops what Ctrl-C has interrupted, whether it was in force yet or not."""
    tell("Stopping it.", "dim")
    try:
        status = await client.stop(scenario_id, "interrupted")
    except ChaosRefusedError as refused:
        tell(f"Nothing to stop: {clean(refused.detail)}.")
    else:
        _show_ended(status, as_json=as_json)


def _show_begun(status: ChaosStatus, key_file: Path, *, as_json: bool) -> None:
    if as_json:
        write_line(status.model_dump_json())
        return
    badly = f", {how(status.parameters)}" if how(status.parameters) else ""
    say(
        text("In force", "bold red")
        .append(f" until {clock(status.until_ms)}: {status.chaos_type.value} on ", "")
        .append(clean(status.target), "cyan")
        .append(badly)
    )
    if status.chaos_type is ChaosType.RESOURCE_EXHAUSTION:
        say("It is done in processes of which every agent, or queue, is inside the blast radius.", "dim")
    say(f"Stop it: acgs chaos stop {status.scenario_id} --key {clean(str(key_file))} --reason WHY", "dim")


def _show_ended(status: ChaosStatus, *, as_json: bool) -> None:
    if as_json:
        write_line(status.model_dump_json())
    else:
        say(f"{ended(status)}.", "green")


@chaos.command("list")
@click.option("--all", "every", is_flag=True, help="Also what has ended within the last hour.")
@json_option
def list_(*, every: bool, as_json: bool) -> None:
    r"""List what is in force, with the time that is left and who has ordered it.

    \b
    Example:
      acgs chaos list
      acgs chaos list --all --json | jq -r 'select(.state == "stopped") | .ended_by'
    """
    now_ms = int(time.time() * 1_000)
    found = [one for one in wait_for(statuses(engine("chaos"))) if every or is_in_force(one, now_ms)]
    if as_json:
        for status in found:
            write_line(status.model_dump_json())
        return
    if found:
        show_table(COLUMNS, rows(found, now_ms))
    begun = sum(is_in_force(one, now_ms) for one in found)
    tell(f"{count(begun, 'scenario')} in force." if begun else "No chaos is in force.")


@chaos.command()
@click.argument("scenario_id", metavar="[SCENARIO]", required=False)
@click.option("--all", "every", is_flag=True, help="The emergency stop: whatever is in force.")
@key_option
@reason_option
@json_option
def stop(scenario_id: str | None, *, every: bool, key_file: Path, reason: str, as_json: bool) -> None:
    r"""End a scenario now, or all of them, and undo what it does. A breaker that is forced open is taken back with it.

    \b
    Example:
      acgs chaos stop 0b9e5b4e-0f0c-4f43-9c3e-0c7a4a5f2f10 --key ann.key --reason "seen enough"
      acgs chaos stop --all --key ann.key --reason "a real incident"
    """
    if every == (scenario_id is not None):
        raise click.UsageError("name a SCENARIO, or say --all: 'acgs chaos list' shows what is in force")
    stopped = wait_for(_stop(engine("chaos"), scenario_id, reason, key_file))
    if as_json:
        write_line(stopped.model_dump_json())
    elif isinstance(stopped, ChaosStatus):
        say(f"Stopped: {clean(stopped.name)}.", "green")
    else:
        say(f"Stopped: {count(len(stopped.stopped), 'scenario')}. Nothing is in force.", "green")


async def _stop(
    settings: EngineSettings, scenario_id: str | None, reason: str, key_file: Path
) -> ChaosStatus | EmergencyStop:
    async with _opened(settings, key_file) as client:
        return await (client.stop_all(reason) if scenario_id is None else client.stop(scenario_id, reason))


@asynccontextmanager
async def _opened(settings: EngineSettings, key_file: Path) -> AsyncGenerator[ChaosClient, None]:
    """A client of whose key it is.

    Raises:
        PolicyRefusedError: no policy is in force.
        KeyFileError: the key cannot be read, or is nobody's by the policy in force.
        BrokerError: the broker cannot be reached or refuses.
    """
    key, current = load(key_file), await in_force(settings)
    if current is None:
        raise PolicyRefusedError("no policy is in force, so that no signature counts. 'acgs policy publish' makes one")
    name = owner_of(key, current.policy, key_file).id
    operator = Operator(name=name, key=key, constitutional_hash=await accepted_hash(settings))
    async with ChaosClient(settings, operator) as client:
        yield client
