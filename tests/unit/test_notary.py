"""The notary: what it signs, what it refuses, and that neither crash nor outage forks or loses a checkpoint."""

import asyncio
import logging
import os
import resource
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from schemas import topics
from schemas.checkpoint import Checkpoint
from streams.backoff import Backoff
from streams.cli.main import main
from streams.engine.records import Record
from streams.errors import KeyFileError, SettingsError
from streams.keys import SigningKey
from streams.metrics import NotaryMeasures
from streams.notary.chain import Chain, ChainError, Fault, by_id
from streams.notary.checkpoint_file import CheckpointFile
from streams.notary.contact import Contact
from streams.notary.cut_off import is_cut_off
from streams.notary.delivery import Delivery
from streams.notary.errors import CheckpointFileError, FileRefusedError, HistoryRefusedError, UnusableFileError
from streams.notary.settings import NotarySettings, load
from streams.notary.signing import Notary, Origin
from streams.notary.trees import TrailTrees
from streams.supervisor import Supervisor
from tests.support.eventually import eventually
from tests.support.notarized import BEGAN, KEY, KEYS, ORIGIN, checkpoints_of, notary, read, resigned, signed, trail
from tests.support.product import encoded, policy
from tests.support.recorded import PARTITIONS, Recorder


def recorded(*batches: tuple[int, int]) -> list[Record]:
    lanes = Recorder(topics.GATEWAY_MESSAGES, topics.TRIAGE)
    lanes.publish(policy(1))
    for first, end in batches:
        lanes.send(topics.IN_MESSAGES, *[encoded(n) for n in range(first, end)])
        lanes.run()
    return trail(lanes)


RECORDS = recorded((0, 12), (12, 24))


# What it signs


def test_it_signs_what_is_new_and_nothing_where_nothing_is() -> None:
    one = notary()
    assert one.next() is None
    read(one, RECORDS[:3])
    assert one.unsigned == 3
    first = signed(one)
    assert (first.number, first.size, one.unsigned, one.next()) == (1, 3, 0, None)
    read(one, RECORDS[3:4])
    second = signed(one)
    assert (second.number, second.previous, second.size) == (2, first.digest, 4)


def test_a_checkpoint_that_was_not_kept_is_not_followed_by_another_number() -> None:
    one = notary()
    read(one, RECORDS[:3])
    lost, again = one.next(), one.next()
    assert lost is not None
    assert again is not None
    assert (lost.number, again.number) == (1, 1)


def test_what_is_read_in_another_order_of_partitions_comes_to_the_same_trees() -> None:
    one, other = notary(), notary()
    read(one, RECORDS)
    read(other, sorted(RECORDS, key=lambda record: -record.partition))
    assert one.trees.trees() == other.trees.trees()
    assert one.trees.heads() == other.trees.heads()


def test_after_a_restart_the_chain_goes_on() -> None:
    before = notary()
    read(before, RECORDS[:7])
    made = [signed(before)]
    after = notary(made[-1])
    for record in RECORDS:
        if after.trees.size < 7:
            assert after.next() is None
        read(after, [record])
    after.require_all()
    made.append(signed(after))
    chain = Chain(KEYS)
    for one in made:
        chain.take(one.line())
    assert made[1].size == len(RECORDS)


def test_heads_are_the_last_turns_and_a_stray_record_changes_none() -> None:
    trees = TrailTrees(PARTITIONS)
    turn = b'{"agent":"triage","lane":%d,"seq":1,"previous":"%s","inputs":[{"count":3}]}'
    first = trees.add(1, b"triage/1", turn % (1, b"0" * 64))
    assert first is not None
    assert (first.lane, first.seq, first.records, first.continues) == (("triage", 1), 1, 3, True)
    head = trees.heads()
    strays = (
        (0, b"triage/1", turn % (1, b"0" * 64)),
        (1, None, None),
        (1, b"triage/1", b"{"),
        (1, b"triage/1", b"[]"),
        (1, b"triage/1", b'{"agent":"triage","lane":1,"seq":0}'),
        (1, b"triage/1", b'{"agent":"triage","lane":true,"seq":1}'),
        (1, b"triage/1", b'{"agent":"triage","lane":1,"seq":9007199254740992}'),
        (1, b"triage/1", b'{"agent":"","lane":1,"seq":2}'),
    )
    for stray in strays:
        assert trees.add(*stray) is None, stray
    assert trees.heads() == head
    assert trees.size == 1 + len(strays)
    assert [tree.broken for tree in trees.trees()] == [1, len(strays) - 1]


def test_who_may_write_to_the_topic_does_not_choose_how_long_a_checkpoint_is() -> None:
    trees = TrailTrees(1)
    for number in range(300):
        turn = b'{"agent":"%d","lane":0,"seq":1,"previous":"%s"}' % (number, b"0" * 64)
        trees.add(0, b"%d/0" % number, turn)
    assert len(trees.heads()) == 256
    assert trees.tree(0).broken == 300 - 256


@pytest.mark.parametrize("count", [b"1e400", b"1e308", b'"9"', b"-1", b"[]", b"null", b"NaN"])
def test_a_count_that_is_none_does_not_end_the_notary(count: bytes) -> None:
    TrailTrees(1).add(0, b"a/0", b'{"agent":"a","lane":0,"seq":1,"inputs":[{"count":%s}]}' % count)


@pytest.mark.parametrize(
    ("key", "seq", "previous"),
    [(b"triage/0", 1, "0" * 64), (b"triage/0", 3, "first"), (b"triage/0", 2, "a" * 64), (b"other/0", 2, "first")],
)
def test_a_turn_that_does_not_continue_its_lane_is_told(key: bytes, seq: int, previous: str) -> None:
    trees = TrailTrees(1)
    first = trees.add(0, b"triage/0", b'{"agent":"triage","lane":0,"seq":1,"previous":"%s"}' % (b"0" * 64))
    assert first is not None
    named = first.sha256 if previous == "first" else previous
    seen = trees.add(0, key, f'{{"agent":"triage","lane":0,"seq":{seq},"previous":"{named}"}}'.encode())
    assert seen is not None
    assert not seen.continues
    assert trees.tree(0).broken == 1


# What it refuses


def test_a_trail_that_was_rewritten_or_cut_while_it_was_away_is_refused() -> None:
    before = notary()
    read(before, RECORDS[:-2])
    last = signed(before)
    other = recorded((0, 12), (30, 42))
    with pytest.raises(HistoryRefusedError, match=r"not those that checkpoint 1 of .* history was rewritten"):
        read(notary(last), other)
    short = notary(last)
    read(short, RECORDS[:-8])
    assert short.next() is None
    with pytest.raises(HistoryRefusedError, match="the trail was cut"):
        short.require_all()


@pytest.mark.parametrize(
    ("origin", "partitions", "why"),
    [
        (Origin("other.", "cluster"), PARTITIONS, "prefix 'other.' at cluster cluster"),
        (Origin("t.", "anew"), PARTITIONS, "cluster anew"),
        (ORIGIN, 3, "audit has 3 partitions"),
    ],
)
def test_another_installations_checkpoints_are_not_continued(origin: Origin, partitions: int, why: str) -> None:
    (last, *_) = checkpoints_of(RECORDS)
    with pytest.raises(HistoryRefusedError, match=why):
        Notary(KEY, origin, partitions, last)


# The file


def filled(file: Path, records: int = 10, every: int = 5) -> list[Checkpoint]:
    made = checkpoints_of(RECORDS[:records], every)
    with CheckpointFile(file, KEYS) as opened:
        for one in made:
            opened.append(one)
    return made


def test_what_is_appended_is_there_at_the_next_start(tmp_path: Path) -> None:
    made = filled(tmp_path / "file")
    ends: list[tuple[int, int]] = []
    with CheckpointFile(tmp_path / "file", KEYS, lambda one, end: ends.append((one.number, end))) as opened:
        assert opened.last == made[-1]
    sizes = [len(one.line()) + 1 for one in made]
    assert ends == [(1, sizes[0]), (2, sum(sizes))]


def test_a_last_line_that_a_crash_has_cut_off_anywhere_is_taken_back_and_the_chain_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "file"
    made = filled(file)
    whole = file.read_bytes()
    begin = len(made[0].line()) + 1
    for cut in (*range(begin, len(whole) - 1, 97), len(whole) - 2):
        file.write_bytes(whole[:cut])
        with CheckpointFile(file, KEYS) as opened:
            assert opened.last == made[0]
            opened.append(made[1])
        assert file.read_bytes() == whole
    file.write_bytes(whole[:-1])
    with CheckpointFile(file, KEYS) as opened:
        assert opened.last == made[1]
    assert file.read_bytes() == whole


def test_every_beginning_of_a_line_is_taken_back_and_the_log_has_what_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd = Origin('t"\\\u00e9\x01.', "clu/ster")
    one = Notary(KEY, odd, PARTITIONS, None, lambda: BEGAN)
    for record in RECORDS[:5]:
        one.read(record.partition, record.key, record.value)
    first = signed(one)
    for record in RECORDS[5:]:
        one.read(record.partition, record.key, record.value)
    for last, line in ((None, first.line()), (first, signed(one).line())):
        assert all(is_cut_off(line[:cut], last, KEYS) for cut in range(1, len(line)))
    file = tmp_path / "file"
    file.write_bytes(first.line()[:200])
    with caplog.at_level(logging.WARNING), CheckpointFile(file, KEYS) as opened:
        assert opened.last is None
    assert "200 bytes of a checkpoint" in caplog.text
    assert first.line()[:200].decode() in caplog.text
    assert file.read_bytes() == b""


def without_end(line: bytes) -> bytes:
    return line.removesuffix(b"\n")


@pytest.mark.parametrize(
    "change",
    [
        lambda _, __: b"my notes, no newline",
        lambda _, __: b'{"cluster_id": "mine"',
        lambda _, __: bytes(4096),
        lambda first, _: first + b"my notes, no newline",
        lambda first, last: first + bytes(len(last)),
        lambda first, last: first + without_end(last).replace(b'"seq":', b'"seq":1', 1),
        lambda first, last: first + without_end(last).replace(b'"seq":', b'"seq":1', 1)[:-1],
        lambda first, last: first + without_end(last).replace(b'"seq":', b'"seq":1', 1)[:-7],
        lambda first, last: first + without_end(last) + b" ",
        lambda first, last: first + without_end(last)[:-1] + b"]",
        lambda first, last: first + without_end(last).replace(b'"number":2', b'"number":3')[:-20],
        lambda first, last: first + without_end(last).replace(b"cluster", b"klaster", 1)[:400],
        lambda first, _: first + without_end(first)[:-20],
        lambda first, _: first + without_end(first),
    ],
)
def test_what_is_no_beginning_of_its_own_next_line_is_refused_and_stays(
    change: Callable[[bytes, bytes], bytes], tmp_path: Path
) -> None:
    file = tmp_path / "file"
    first, last = (one.line() + b"\n" for one in filled(file))
    given = change(first, last)
    assert not (first + last).startswith(given)
    file.write_bytes(given)
    with pytest.raises(FileRefusedError, match=r"line [12]: .* Keep it as it is"), CheckpointFile(file, KEYS):
        pass
    assert file.read_bytes() == given


def test_a_disk_that_is_full_is_said_and_what_it_has_taken_of_a_line_is_taken_back(tmp_path: Path) -> None:
    file = tmp_path / "file"
    made = checkpoints_of(RECORDS[:10], 5)
    with CheckpointFile(file, KEYS) as opened:
        end = opened.append(made[0])
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (end + 50, hard))
        try:
            with pytest.raises(CheckpointFileError, match="cannot be used: File too large") as raised:
                opened.append(made[1])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not isinstance(raised.value, UnusableFileError)
    assert file.stat().st_size == end + 50
    with CheckpointFile(file, KEYS) as opened:
        assert opened.last == made[0]
        opened.append(made[1])
    with CheckpointFile(file, KEYS) as opened:
        assert opened.last == made[1]


def test_a_file_that_was_changed_is_not_gone_on_with(tmp_path: Path) -> None:
    file = tmp_path / "file"
    filled(file)
    whole = file.read_bytes()
    for changed in (
        whole.replace(b'"seq":', b'"seq":1', 1),
        whole[whole.index(b"\n") + 1 :],
        whole + whole,
        whole.replace(b"\n", b"\n\n"),
    ):
        file.write_bytes(changed)
        with pytest.raises(FileRefusedError, match=r"line [123]: .* Keep it as it is"), CheckpointFile(file, KEYS):
            pass
        assert file.read_bytes() == changed


def test_with_a_new_key_the_old_ones_checkpoints_still_count_if_it_is_named(tmp_path: Path) -> None:
    file, new = tmp_path / "file", SigningKey.generate()
    (last,) = filled(file, 5)
    with pytest.raises(FileRefusedError, match="not the notary's"), CheckpointFile(file, by_id([new.public_key])):
        pass
    one = notary(last, key=new)
    read(one, RECORDS)
    with CheckpointFile(file, by_id([new.public_key, KEY.public_key])) as opened:
        opened.append(signed(one))
    with CheckpointFile(file, by_id([new.public_key, KEY.public_key])) as opened:
        assert opened.last is not None
        assert (opened.last.number, opened.last.key_id) == (2, new.id)


def test_two_notaries_do_not_write_to_one_file(tmp_path: Path) -> None:
    with (
        CheckpointFile(tmp_path / "file", KEYS),
        pytest.raises(CheckpointFileError, match=r"another notary writes to .* tries again until") as raised,
        CheckpointFile(tmp_path / "file", KEYS),
    ):
        pass
    assert not isinstance(raised.value, UnusableFileError)
    with CheckpointFile(tmp_path / "file", KEYS):
        pass


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with (
        pytest.raises(CheckpointFileError, match="No such file or directory"),
        CheckpointFile(tmp_path / "no" / "file", KEYS),
    ):
        pass


@pytest.mark.parametrize(
    ("change", "fault", "why"),
    [
        (lambda one: {"trees": [{**tree, "size": 0} for tree in one["trees"]]}, Fault.FORKED, "fewer records"),
        (lambda one: {"trees": [{**tree, "root": "a" * 64} for tree in one["trees"]]}, Fault.FORKED, "other records"),
        (lambda one: {"trees": [{**tree, "broken": 1} for tree in one["trees"]]}, Fault.FORKED, "other records"),
        (lambda one: {"trees": one["trees"][:1]}, Fault.BROKEN, "has 1 trees, those before have 2"),
        (lambda one: {"prefix": one["prefix"] + "x"}, Fault.BROKEN, "is of prefix 't.x'"),
        (lambda _: {"cluster_id": "another"}, Fault.BROKEN, "at cluster another"),
    ],
)
def test_what_the_notary_would_never_sign_is_not_believed_even_with_its_signature(
    change: Callable[[dict[str, Any]], dict[str, Any]], fault: Fault, why: str
) -> None:
    first, *_ = checkpoints_of(RECORDS)
    same = first.model_dump(mode="json") | {"number": 2, "previous": first.digest}
    chain = Chain(KEYS)
    chain.take(first.line())
    with pytest.raises(ChainError, match=why) as raised:
        chain.take(resigned(same | change(same)).line())
    assert raised.value.fault is fault
    assert chain.last == first


# The webhook


class Receiver:
    """A webhook that is away for the first `fails` attempts."""

    def __init__(self, fails: int = 0) -> None:
        self.fails, self.taken, self.tokens = fails, list[bytes](), set[str | None]()

    async def take(self, request: web.Request) -> web.Response:
        if self.fails > 0:
            self.fails -= 1
            return web.Response(status=503)
        self.taken.append(await request.read())
        self.tokens.add(request.headers.get("Authorization"))
        return web.Response(status=204)


@asynccontextmanager
async def receiving(receiver: Receiver) -> AsyncIterator[SecretStr]:
    app = web.Application()
    app.router.add_post("/", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield SecretStr(f"http://127.0.0.1:{runner.addresses[0][1]}/")
    finally:
        await runner.cleanup()


def delivery(url: SecretStr, file: Path, registry: CollectorRegistry | None = None) -> Delivery:
    soon = Backoff(timedelta(milliseconds=5), timedelta(milliseconds=10))
    return Delivery(url, SecretStr("token"), file, NotaryMeasures(registry or CollectorRegistry()), soon)


@asynccontextmanager
async def running(one: Delivery) -> AsyncIterator[None]:
    task = asyncio.create_task(one.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_each_checkpoint_is_posted_in_order_an_outage_only_delays_it_and_a_restart_goes_on(
    tmp_path: Path,
) -> None:
    file, receiver, registry = tmp_path / "file", Receiver(fails=3), CollectorRegistry()
    made = checkpoints_of(RECORDS, every=3)
    assert len(made) >= 4
    async with receiving(receiver) as url:
        first = delivery(url, file, registry)
        with CheckpointFile(file, KEYS, first.note) as opened:
            async with running(first):
                for one in made[:2]:
                    first.note(one, opened.append(one))
                await eventually(lambda: len(receiver.taken) == 2)
                await eventually(lambda: first.waiting == 0)
            opened.append(made[2])  # and killed before it is posted
        second = delivery(url, file)
        with CheckpointFile(file, KEYS, second.note) as opened:
            second.require_all()
            assert second.waiting == 1
            second.note(made[3], opened.append(made[3]))
            async with running(second):
                await eventually(lambda: second.waiting == 0)
    assert receiver.taken == [one.line() for one in made[:4]]
    assert receiver.tokens == {"Bearer token"}
    assert registry.get_sample_value("acgs_notary_deliveries_total", {"outcome": "failed"}) == 3
    assert registry.get_sample_value("acgs_notary_deliveries_total", {"outcome": "delivered"}) == 2


async def test_a_file_that_has_lost_what_the_webhook_has_is_not_gone_on_with(tmp_path: Path) -> None:
    file, receiver = tmp_path / "file", Receiver()
    made = filled(file)
    async with receiving(receiver) as url:
        one = delivery(url, file)
        with CheckpointFile(file, KEYS, one.note):
            async with running(one):
                await eventually(lambda: one.waiting == 0)
        os.truncate(file, len(made[0].line()) + 1)
        again = delivery(url, file)
        with (
            CheckpointFile(file, KEYS, again.note),
            pytest.raises(FileRefusedError, match="ends with checkpoint 1, and the webhook has taken 2"),
        ):
            again.require_all()
        forked = checkpoints_of(RECORDS, every=3)[1]
        fork = checkpoints_of(RECORDS, every=3)[0]
        file.write_bytes(fork.line() + b"\n" + forked.line() + b"\n")
        other = delivery(url, file)
        with (
            pytest.raises(FileRefusedError, match="another checkpoint 2 than the webhook has taken"),
            CheckpointFile(file, KEYS, other.note),
        ):
            pass
    assert len(receiver.taken) == 2


# The broker


def test_an_outage_is_told_once_and_once_that_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    times = [0.0]
    one = Contact(timedelta(seconds=10), lambda: times[-1], lambda: BEGAN + timedelta(seconds=times[-1]))
    with caplog.at_level(logging.INFO):
        times.append(4)
        one.heard()
        times.append(14)
        one.missed("too early to say")
        assert not one.is_lost
        for later in (15, 25, 31):
            times.append(later)
            assert one.is_lost
            one.missed("it is away")
        times.append(32)
        one.heard()
        assert not one.is_lost
        one.heard()
        times.append(43)
        one.heard()
    assert caplog.messages == [
        "no broker since 2026-05-03T14:00:04Z, and nothing is signed until it is back: it is away",
        "the broker is back after 28 s",
        caplog.messages[2],
        "the broker is back after 11 s",
    ]
    assert caplog.messages[2].startswith("no broker since 2026-05-03T14:00:32Z, ")


# Settings and commands


def test_what_must_be_set_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="ACGS_NOTARY_KEY_FILE"):
        load().key()
    with pytest.raises(SettingsError, match="ACGS_NOTARY_FILE"):
        load().checkpoints()
    monkeypatch.setenv("ACGS_NOTARY_FILE", ".")
    with pytest.raises(SettingsError, match="is a folder"):
        load().checkpoints()
    monkeypatch.setenv("ACGS_NOTARY_KEY_FILE", str(tmp_path / "none"))
    with pytest.raises(KeyFileError, match="cannot be read"):
        load().key()
    monkeypatch.setenv("ACGS_NOTARY_WEBHOOK_URL", "http://example.com/secret")
    with pytest.raises(SettingsError, match="https:// address") as raised:
        load()
    assert "secret" not in str(raised.value)


def test_public_keys_are_given_by_commas(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    other = SigningKey.generate()
    monkeypatch.setenv("ACGS_NOTARY_PUBLIC_KEYS", f"{KEY.public_key}, {other.public_key}")
    assert load().public_keys == (KEY.public_key, other.public_key)
    (tmp_path / "acgs.toml").write_text("[notary]\nevery_s = 3\n[health]\nport = 0\n")
    assert load().every_s == 3
    assert NotarySettings().linger_s == 60


@pytest.mark.parametrize("arguments", [("notary", "triage"), ("notary", "--workers", "2"), ("notary", "--chaos")])
def test_the_notary_runs_alone(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACGS_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    result = CliRunner().invoke(main, ["run", *arguments])
    assert result.exit_code == 2
    assert "the notary runs alone" in result.output


def test_an_audit_by_checkpoints_wants_to_know_whose_signature_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    for arguments, why in (
        (("--checkpoint", "file"), "whose signature counts?"),
        (("--checkpoint", "file", "--notary-key", "x"), "a public key is base64"),
        (("--notary-key", KEY.public_key), "is for --checkpoint"),
        (("--checkpoint", "none"), "does not exist"),
    ):
        result = CliRunner().invoke(main, ["audit", "verify", *arguments])
        assert (result.exit_code, why in " ".join(result.output.split())) == (2, True), result.output


def set_up(monkeypatch: pytest.MonkeyPatch, folder: Path, file: str) -> None:
    monkeypatch.chdir(folder)
    KEY.save(folder / "key")
    for name, value in {
        "ACGS_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "ACGS_METRICS_PORT": "0",
        "ACGS_NOTARY_KEY_FILE": "key",
        "ACGS_NOTARY_FILE": file,
    }.items():
        monkeypatch.setenv(name, value)


def test_a_notary_whose_file_was_changed_ends_at_once_and_so_does_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    set_up(monkeypatch, tmp_path, "file")
    filled(tmp_path / "file")
    damaged = (tmp_path / "file").read_bytes().replace(b"2026", b"2027", 1)
    (tmp_path / "file").write_bytes(damaged)
    began = time.monotonic()
    result = CliRunner().invoke(main, ["run", "notary"])
    assert time.monotonic() - began < NotarySettings().linger_s / 2
    assert result.exit_code == 1
    assert "the notary refuses to sign" in str(result.output) + str(result.exception)
    assert "Keep it as it is" in capfd.readouterr().err
    assert (tmp_path / "file").read_bytes() == damaged


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("none/file", "No such file or directory. Set ACGS_NOTARY_FILE"),
        ("key/file", "Not a directory. Set ACGS_NOTARY_FILE"),
        ("folder", "Is a directory. Set ACGS_NOTARY_FILE"),
        ("/dev/null", "is no regular file: set ACGS_NOTARY_FILE"),
        ("damaged", "Remove it, and everything is delivered again"),
    ],
)
def test_a_file_that_can_never_be_used_ends_the_command_and_it_is_said_what_to_set(
    file: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "damaged.delivered").write_text("what?")
    set_up(monkeypatch, tmp_path, file)
    if file == "damaged":
        monkeypatch.setenv("ACGS_NOTARY_WEBHOOK_URL", "http://127.0.0.1:1/")
    result = CliRunner().invoke(main, ["run", "notary"])
    assert result.exit_code == 2, result.output
    assert f"the notary cannot keep its checkpoints in {file}" in result.output
    assert why in capfd.readouterr().err


async def test_a_supervisor_gives_up_on_a_status_that_is_final() -> None:
    supervisor = Supervisor(lambda _: ("-c", "import sys; sys.exit(3)"), workers=1, final=(3,))
    await supervisor.run()
    assert supervisor.gave_up == 3
