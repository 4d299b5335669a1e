"""The demonstration of deliberation: one action is approved, one vetoed, and one waits until it expires."""

import asyncio
import sys
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

from schemas.decision import Vote
from schemas.deliberation import DeliberationState, DeliberationStatus
from streams.approvals import ApprovalClient
from streams.control import accepted_hash
from streams.engine.client import EngineSettings
from streams.samples.approvers import ANN, BEA, BOT, key_file

_EXPIRES_IN = timedelta(seconds=10)
_WITHIN_S = 60.0
_LOOK_AGAIN_S = 0.2

OnStatus = Callable[[str, DeliberationStatus], None]
"""Is told of what an action asks for, and how it stands."""
OnCommand = Callable[[str, str], None]
"""Is told of a command line, and of what it printed."""


@dataclass(frozen=True, slots=True)
class _Action:
    says: str
    tool: str
    arguments: dict[str, str]


_DEPLOY = _Action(
    "deploy checkout 2.4.1", "deploy_service", {"service": "checkout", "environment": "production", "version": "2.4.1"}
)
_DROP = _Action("drop the customers' table", "drop_table", {"table": "customers_prod"})
_NOBODYS = _Action("a tool that nobody knows", "transmogrify", {"target": "everything"})


async def run(
    settings: EngineSettings, keys: Path, on_status: OnStatus, on_command: OnCommand
) -> list[DeliberationStatus]:
    """Has three actions held, and follows them to their ends; the commands are run as anybody would run them.

    Raises:
        TimeoutError: not within a minute.
    """
    async with asyncio.timeout(_WITHIN_S), ApprovalClient(settings) as client:
        hash_ = await accepted_hash(settings)
        deploy, drop, nobodys = [await _hold(client, action, hash_, on_status) for action in (_DEPLOY, _DROP, _NOBODYS)]
        await _until_voted(client, deploy, BOT)
        approve = ("approve", deploy, "--key", str(key_file(keys, BEA)), "--reason", "in the change window", "--yes")
        on_command(*await _acgs(settings, *approve))
        on_status(_DEPLOY.says, await client.ended(deploy))
        reject = ("reject", drop, "--key", str(key_file(keys, ANN)), "--reason", "that is production", "--yes")
        on_command(*await _acgs(settings, *reject))
        on_status(_DROP.says, await client.ended(drop))
        on_status(_NOBODYS.says, await client.ended(nobodys))
        return [await client.ended(item_id) for item_id in (deploy, drop, nobodys)]


async def _hold(client: ApprovalClient, action: _Action, hash_: str, on_status: OnStatus) -> str:
    now = datetime.now(UTC)
    message_id, conversation_id = str(uuid.uuid4()), str(uuid.uuid4())
    said = {
        "message_id": message_id,
        "conversation_id": conversation_id,
        "content": {"text": action.says},
        "payload": {"action": {"tool": action.tool, "arguments": action.arguments}},
        "from_agent": "infra-1",
        "to_agent": "executor",
        "message_type": "command",
        "priority": 1,
        "constitutional_hash": hash_,
        "tenant_id": "infra",
        "created_at": now.isoformat(),
        "expires_at": (now + _EXPIRES_IN).isoformat() if action is _NOBODYS else None,
    }
    status = await client.hold(message_id, conversation_id, orjson.dumps(said))
    on_status(action.says, status)
    return status.item.item_id


async def _until_voted(client: ApprovalClient, item_id: str, approver: str) -> None:
    """Returns once somebody has approved."""
    while True:
        votes = (await client.get(item_id)).status.votes
        if any(vote.approver == approver and vote.vote is Vote.APPROVE for vote in votes):
            return
        await asyncio.sleep(_LOOK_AGAIN_S)


async def _acgs(settings: EngineSettings, *arguments: str) -> tuple[str, str]:
    """Runs the command `acgs deliberation`; returns its line and what it printed."""
    line = ("deliberation", *arguments)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streams.cli.main", "--broker", settings.bootstrap_servers, *line),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    shown = " ".join(f'"{word}"' if " " in word else word for word in line)
    return f"acgs {shown}", printed.decode().strip()


def result_line(ended: list[DeliberationStatus]) -> str:
    """The line for scripts."""
    states = Counter(status.state for status in ended)
    told = ", ".join(f"{states[state]} {state.value}" for state in DeliberationState if states[state])
    return f"RESULT deliberation {len(ended)} held, {told}"
