"""`acgs workflow start`."""

import json
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path

import click
from pydantic import JsonValue

from compensation.definition import WorkflowDefinition
from compensation.status import PARKED
from schemas.activity import Claim
from schemas.workflow import WorkflowState
from streams.claims import open_claims
from streams.cli.output import clean, flush, iso, say, screen, text, write_line
from streams.cli.session import engine, wait_for
from streams.cli.workflow_session import Asker, json_of, opened, told_mistakes, with_sender
from streams.cli.workflow_view import one_moment, outcome_line
from streams.engine.client import EngineSettings
from streams.errors import StreamsError
from streams.lines import STANDARD_INPUT
from streams.workflows import WorkflowHandle, WorkflowOutcome
from streams.workflows.moments import moment


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What is to be started."""

    definition: WorkflowDefinition
    input: Mapping[str, JsonValue]
    workflow_id: str | None
    tags: tuple[str, ...]
    tenant_id: str
    claims: str | None


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--input", "input_", default="{}", metavar="JSON|@FILE", help="The workflow's input, a JSON object.")
@click.option("--id", "workflow_id", metavar="ID", help="Its id; default: a new UUID.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="To find it by; may be repeated.")
@click.option("--tenant", "tenant_id", default="default", show_default=True, metavar="NAME", help="Whose it is.")
@with_sender
@click.option("--claims", metavar="FOLDER|s3://...", help="With --wait: where results above 16 KiB are kept.")
@click.option("--wait", is_flag=True, help="Wait until it is closed or parked, and show how it ended.")
@click.option("--json", "as_json", is_flag=True, help="With --wait: how it ended as one JSON object, for scripts.")
def start(
    *,
    file: Path,
    input_: str,
    workflow_id: str | None,
    tags: tuple[str, ...],
    tenant_id: str,
    asker: Asker,
    claims: str | None,
    wait: bool,
    as_json: bool,
) -> None:
    r"""Start the workflow that FILE (JSON; `-`: standard input) defines, and print its id.

    Definition and input are checked before anything is sent. The same id with the same definition, input, tags and
    tenant is the same workflow: it may be started again, and is not. Returns once it has begun. With --wait the exit
    code is 0 if it completed, and 1 if it was undone or is parked; it goes on after Ctrl-C. With --key it is signed, as
    the sender whose key it is; without, in a tenant whose messages must be signed, every action waits for approval.

    \b
    Example:
      acgs workflow start order.json --input '{"order_id": "A-1"}' --id order-A-1 --tag shop
      acgs workflow start order.json --input @order-input.json --wait --json | jq .results
      acgs workflow start payout.json --tenant bank --key planner.key
    """
    if as_json and not wait:
        raise click.UsageError("--json says how it ended: add --wait")
    with told_mistakes():
        wanted = _Wanted(
            definition=WorkflowDefinition.parse(_read(file)),
            input=_input(input_),
            workflow_id=workflow_id,
            tags=tags,
            tenant_id=tenant_id,
            claims=claims,
        )
        if not wait_for(_start(engine("workflow"), asker, wanted, wait=wait, as_json=as_json)):
            raise click.exceptions.Exit(1)


def _read(file: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == STANDARD_INPUT else file.read_bytes()
    except OSError as error:
        raise StreamsError(f"{file} cannot be read: {error.strerror}") from error


def _input(given: str) -> Mapping[str, JsonValue]:
    value = json_of(_read(Path(given[1:])) if given.startswith("@") else given, "--input")
    if not isinstance(value, dict):
        raise click.BadParameter('it must be a JSON object, such as \'{"order_id": "A-1"}\'', param_hint="--input")
    return value


async def _start(settings: EngineSettings, asker: Asker, wanted: _Wanted, *, wait: bool, as_json: bool) -> bool:
    """Starts it; whether it completed, or need not be waited for."""
    async with AsyncExitStack() as entered:
        store = None if wanted.claims is None else open_claims(wanted.claims)
        if store is not None:
            entered.push_async_callback(store.aclose)
        client = await entered.enter_async_context(opened(settings, asker, wanted.tenant_id, store))
        handle = await client.start(wanted.definition, wanted.input, workflow_id=wanted.workflow_id, tags=wanted.tags)
        if not as_json:
            write_line(handle.workflow_id)
            flush()
        if not wait:
            return True
        if screen().is_terminal and not as_json:
            await _follow(handle)
        outcome = await handle.result(until_parked=True)
    _conclude(outcome, as_json=as_json)
    return outcome.success


async def _follow(handle: WorkflowHandle) -> None:
    """Shows what happens until it is closed or parked."""
    state: WorkflowState | None = None
    async with aclosing(handle.events()) as happening:
        async for event in happening:
            for line in one_moment(moment(event, state)):
                say(line)
            state = event.state
            if state in PARKED:
                return


def _conclude(outcome: WorkflowOutcome, *, as_json: bool) -> None:
    results = {node: _plain(result) for node, result in outcome.results.items()}
    status = outcome.status
    ended_ms = status.closed_ms or status.changed_ms
    if as_json:
        write_line(
            json.dumps(
                {
                    "workflow_id": outcome.workflow_id,
                    "run": outcome.run,
                    "state": outcome.state.value,
                    "cause": outcome.cause,
                    "started_at": iso(status.started_ms),
                    "ended_at": iso(ended_ms),
                    "results": results,
                }
            )
        )
        return
    say(outcome_line(outcome.state, outcome.cause, ended_ms - status.started_ms))
    for node, result in results.items():
        say(text(f"{node}  ", "bold").append(clean(json.dumps(result, ensure_ascii=False))))
    if not outcome.success:
        say(
            text(f"acgs workflow show {outcome.workflow_id}", "cyan").append(
                "  says what happened, and what to do", "dim"
            )
        )


def _plain(result: JsonValue | Claim) -> JsonValue:
    """A result as JSON; of one that is kept in a claim-check store, its digest and length."""
    return {"claim": result.model_dump(mode="json")} if isinstance(result, Claim) else result
