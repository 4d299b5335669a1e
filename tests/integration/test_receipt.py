"""A receipt of a message that was held and released on a real broker, checked by somebody who has nothing but it."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from schemas import topics
from schemas.decision import Vote
from streams.engine.client import EngineSettings
from tests.integration.test_cli import Acgs
from tests.support.deliberating import client_of, deliberating, publish
from tests.support.kafka import read_topics
from tests.support.product import UNKNOWN_TOOL, encoded
from tests.support.receipted import NOTARY, checkpoint_over, id_of

HELD = 1
CUT_OFF = """
import socket, sys

def refuse(*_):
    raise SystemExit("a receipt is checked without a network")

socket.socket.connect = socket.socket.connect_ex = socket.create_connection = refuse
from streams.cli.main import run
run(sys.argv[1:])
"""


async def release_one(settings: EngineSettings) -> None:
    """Messages that are delivered, and one that is held and released by two people."""
    async with deliberating(settings), client_of(settings, "lee") as lee, client_of(settings, "sam") as sam:
        delivered = [encoded(number) for number in range(10, 40)]
        await publish(settings, *delivered, encoded(HELD, tool=UNKNOWN_TOOL), b"{", *delivered)
        async with asyncio.timeout(60):
            item = (await anext(lee.pending())).item
        await lee.decide(item, Vote.APPROVE)
        await sam.decide(item, Vote.APPROVE)
        await sam.ended(item.item_id)


async def alone(*arguments: str) -> tuple[int, str]:
    """Runs `acgs` where no broker is set and no connection can be made."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ACGS_")}
    environment = {**kept, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CUT_OFF, *arguments),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_a_released_message_is_proven_to_somebody_without_a_broker(
    settings: EngineSettings, tmp_path: Path
) -> None:
    await release_one(settings)
    audit = f"{settings.prefix}{topics.AUDIT}"
    trails = (await read_topics(settings, [audit]))[audit]
    checkpoints, receipt = tmp_path / "checkpoints.jsonl", tmp_path / "receipt.json"
    signed = checkpoint_over([trails[partition] for partition in sorted(trails)], settings.prefix)
    checkpoints.write_bytes(signed.line() + b"\n")
    acgs = Acgs(settings)
    made = await acgs("receipt", id_of(HELD), "--checkpoint", str(checkpoints), "--out", str(receipt))
    assert made.code == 0, made.out + made.err
    code, said = await alone("receipt", "verify", str(receipt), "--notary-key", NOTARY.public_key)
    assert code == 0, said
    assert "released to executor, on the signatures of lee, sam" in said
    assert f"anchored at checkpoint 1 of {signed.signed_at}, signed by the notary's key {NOTARY.id}." in said
    bare = await acgs("receipt", id_of(HELD), "--out", str(receipt))
    assert (bare.code, "is an anchored receipt" in bare.err) == (1, True)
    receipt.write_bytes(receipt.read_bytes().replace(b'"index": 0', b'"index": 1', 1))
    code, said = await alone("receipt", "verify", str(receipt), "--json")
    assert code == 1
    assert json.loads(said)["differences"]
    unknown = await acgs("receipt", id_of(99))
    assert (unknown.code, "no record on" in unknown.err) == (1, True)
    assert (await acgs("receipt", "nonsense")).code == 2
