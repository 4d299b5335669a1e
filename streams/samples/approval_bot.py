"""A bot that approves by a written rule: `python -m streams.samples.approval_bot --key bot.key`.

The rule: a deployment of a plain released version is approved; the removal of a whole namespace is vetoed; everything
else is left to people. Change `judged` and it is yours. docs/approvals.md tells the rest.
"""

import argparse
import asyncio
import logging
import re
from datetime import timedelta
from pathlib import Path

from schemas.decision import Vote
from streams import logs
from streams.approvals import ApprovalClient, DecisionRefusedError, DeliberationTimeoutError, PendingItem
from streams.asking import ANSWER_WITHIN
from streams.control import accepted_hash
from streams.keys import Signer, SigningKey
from streams.serving import run_until_told
from streams.settings import load

_log = logging.getLogger(__name__)

_RELEASED = re.compile(r"\d+\.\d+\.\d+", re.ASCII)
_REMOVES_ALL = re.compile(r"\bkubectl\s+delete\s+(ns|namespace)\b")


def judged(one: PendingItem) -> tuple[Vote, str] | None:
    """What this bot says of an item, and why; None where people are to decide."""
    if one.tool == "deploy_service" and _RELEASED.fullmatch(str(one.arguments.get("version"))):
        return Vote.APPROVE, f"version {one.arguments['version']} is a released one"
    if one.tool == "run_command" and _REMOVES_ALL.search(str(one.arguments.get("command"))):
        return Vote.VETO, "no agent removes a namespace"
    return None


async def run(key: SigningKey, name: str, *, answer_within: timedelta = ANSWER_WITHIN) -> None:
    """Decides on everything that waits, and on what comes, until it is cancelled; nobody is waited for any longer."""
    settings = load().engine(client_id=name)
    signer = Signer(approver=name, key=key, constitutional_hash=await accepted_hash(settings))
    async with ApprovalClient(settings, signer, answer_within=answer_within) as client:
        async for one in client.pending():
            decision = judged(one)
            if decision is None:
                continue
            try:
                await client.decide(one.item, *decision)
            except (DecisionRefusedError, DeliberationTimeoutError) as error:  # late ones count once they are taken
                _log.warning("item %s: %s", one.item_id, error)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m streams.samples.approval_bot", description=__doc__)
    parser.add_argument("--key", type=Path, required=True, help="its signing key ('acgs keys generate')")
    parser.add_argument("--name", default="release-bot", help="its id in the policy")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input does")
    options = parser.parse_args()
    logs.configure()
    asyncio.run(run_until_told(run(SigningKey.load(options.key), options.name), with_parent=options.with_parent))
