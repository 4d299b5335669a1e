"""The notary as a process on a real broker: killed, restarted, and refusing once the trail is not what it signed."""

import asyncio
import re
import urllib.error
import urllib.request
from pathlib import Path

from schemas import topics
from schemas.checkpoint import Checkpoint, parse
from streams.engine.client import EngineSettings
from streams.keys import SigningKey
from streams.notary.process import REFUSED
from tests.integration.test_cli import Acgs
from tests.support.broker import embedded, engine_settings
from tests.support.deliberating import deliberating, install, publish
from tests.support.eventually import eventually
from tests.support.kafka import delete_records
from tests.support.processes import Process, of_a_worker
from tests.support.product import encoded

_PORT = re.compile(r"on port (\d+)")


def written(file: Path) -> list[Checkpoint]:
    """The whole lines of a file."""
    if not file.exists():
        return []
    return [parse(line[:-1]) for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def asked(process: Process, path: str) -> tuple[int, str]:
    found = _PORT.search(process.log.read_text())
    if found is None:
        return 0, ""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def test_a_killed_notary_goes_on_with_its_chain_an_audit_says_where_it_is_anchored_and_what_was_deleted_stops_it(
    settings: EngineSettings, tmp_path: Path
) -> None:
    file, key = tmp_path / "checkpoints.jsonl", SigningKey.generate()
    key.save(tmp_path / "notary.key")
    environment = {
        **of_a_worker(settings.bootstrap_servers, settings.prefix, "test"),
        "ACGS_NOTARY_KEY_FILE": str(tmp_path / "notary.key"),
        "ACGS_NOTARY_FILE": str(file),
        "ACGS_NOTARY_EVERY_S": "1",
    }

    def started(name: str) -> Process:
        return Process(("-m", "streams.notary.process", "--with-parent"), environment, tmp_path / name)

    async with deliberating(settings):
        first = started("first.log")
        await publish(settings, *[encoded(n) for n in range(10)])
        await eventually(lambda: written(file))
        await publish(settings, *[encoded(n) for n in range(10, 20)])
        first.kill()
        before = written(file)
        await publish(settings, *[encoded(n) for n in range(20, 30)])
    second = started("second.log")

    async def is_ready() -> bool:
        return (await asyncio.to_thread(asked, second, "/readyz"))[0] == 200

    await eventually(is_ready)
    await eventually(lambda: len(written(file)) > len(before))
    after = written(file)
    assert after[: len(before)] == before
    assert [one.number for one in after] == list(range(1, len(after) + 1))

    key_option = "--notary-key", key.public_key
    said = await Acgs(settings)("audit", "verify", "--checkpoint", str(file), *key_option, "--workers", "2")
    assert said.code == 0, said.out
    last = written(file)[-1]
    assert f"consistent, and anchored at checkpoint {last.number} of {last.signed_at}." in said.out
    assert "records of these are anchored.\n" in said.out  # and no turn came after

    second.ask_to_stop()
    assert second.wait() == 0, second.last_words()
    await delete_records(settings, f"{settings.prefix}{topics.AUDIT}", {0: 1})
    third = started("third.log")

    async def refuses() -> bool:
        status, metrics = await asyncio.to_thread(asked, third, "/metrics")
        return status == 200 and "acgs_notary_refused 1.0" in metrics

    await eventually(refuses)
    assert (await asyncio.to_thread(asked, third, "/livez"))[0] == 503
    third.ask_to_stop()
    assert third.wait() == REFUSED
    assert third.has_said("records of the trail were deleted")
    assert written(file)[-1] == last


async def test_a_notary_without_its_broker_is_not_ready_but_alive_and_says_so_once_until_it_is_back(
    prefix: str, tmp_path: Path
) -> None:
    SigningKey.generate().save(tmp_path / "notary.key")
    with embedded(tmp_path / "kafka") as broker:
        assert broker.kafka is not None
        settings = engine_settings(broker, prefix)
        await install(settings)
        environment = {
            **of_a_worker(settings.bootstrap_servers, prefix, "test"),
            "ACGS_NOTARY_KEY_FILE": str(tmp_path / "notary.key"),
            "ACGS_NOTARY_FILE": str(tmp_path / "checkpoints.jsonl"),
            "ACGS_NOTARY_EVERY_S": "1",
        }
        one = Process(("-m", "streams.notary.process", "--with-parent"), environment, tmp_path / "log")

        async def answers(path: str) -> int:
            return (await asyncio.to_thread(asked, one, path))[0]

        async def is_ready() -> bool:
            return await answers("/readyz") == 200

        async def is_not_ready() -> bool:
            return await answers("/readyz") == 503

        try:
            await eventually(is_ready)
            await asyncio.to_thread(broker.kafka.kill)
            await eventually(is_not_ready)
            assert "no broker since 20" in (await asyncio.to_thread(asked, one, "/readyz"))[1]
            assert await answers("/livez") == 200
            await eventually(lambda: "no broker since" in one.log.read_text(), account=one.last_words)
            await asyncio.to_thread(broker.kafka.restart)
            await eventually(is_ready)
            assert one.code is None
        finally:
            one.ask_to_stop()
            assert one.wait() == 0, one.last_words()
        said = one.log.read_text()
        assert (said.count("no broker since"), said.count("the broker is back after")) == (1, 1), said
        assert "aiokafka" not in said
