"""Activities: how they are marked and found, what they are given, and what their ends mean."""

import asyncio
import hashlib
import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import orjson
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from compensation import CONSTITUTIONAL_HASH, DAGExecutor, DAGNode, NoEffect, NonRetryableError, WorkflowContext
from compensation.activities import ActivityContext, ActivityDefinitionError, BaseActivities, activity
from compensation.activity_set import collect
from compensation.constitution import HashValidation
from schemas import strict_json
from schemas.activity import (
    MAX_ERROR_CHARACTERS,
    MAX_RESULT_BYTES,
    ActivityCancel,
    ActivityResult,
    Direction,
    Given,
    Heartbeat,
    Outcome,
)
from schemas.policy import AcceptedHash
from streams.activities import attempt as attempts
from streams.activities.attempt import Cut
from streams.activities.calling import Answer
from streams.activities.cancels import Cancels
from streams.activities.loading import load
from streams.activities.wire import NotJsonError, encode_heartbeat, encode_result, encode_value, words_of
from streams.claims import FolderClaims
from streams.errors import SettingsError
from tests.support.attempts import Runner, command
from tests.support.eventually import eventually
from tests.support.product import HASH, NEXT_HASH, policy

FOREVER_S = 3_600


@activity
async def echo(context: ActivityContext) -> object:
    return context["n"]


@activity(name="charge_payment")
async def charge(context: WorkflowContext) -> dict[str, object]:
    return {"order": context["n"], "key": context.idempotency_key, "effect": context.effect_key, **context.results}


@activity
async def wait_for_ever(_: ActivityContext) -> None:
    await asyncio.sleep(FOREVER_S)


class Payments(BaseActivities):
    def __init__(self) -> None:
        super().__init__()
        self.charged = 0

    @activity
    async def charge(self, context: ActivityContext) -> int:
        del context
        self.charged += 1
        return self.charged

    @activity(name="refund")
    async def give_back(self, context: ActivityContext) -> bool:
        return context.result is not None

    async def helper(self) -> None:
        """Not an activity."""


# How they are marked and found


def test_an_activity_has_its_functions_name_or_the_given_one() -> None:
    assert list(collect(echo, charge)) == ["echo", "charge_payment"]


def test_methods_that_are_marked_are_activities_and_others_are_not() -> None:
    assert sorted(collect(Payments)) == ["charge", "refund"]


async def test_the_methods_of_an_instance_share_its_state() -> None:
    payments = Payments()
    found = collect(payments)
    await found["charge"].function(ActivityContext(constitutional_hash=HASH))
    assert payments.charged == 1


def test_a_function_that_is_not_async_is_refused_with_its_place() -> None:
    def blocking(_: ActivityContext) -> None:
        """Blocks."""

    with pytest.raises(ActivityDefinitionError, match=r"blocking .*test_activities.py:\d+\) is no async function"):
        activity(cast("Any", blocking))


def test_two_activities_of_one_name_are_refused_with_both_places() -> None:
    @activity(name="echo")
    async def other(_: ActivityContext) -> None:
        """Another."""

    with pytest.raises(ActivityDefinitionError, match=r"named 'echo': .*\.echo \(.*other \(.*Rename one"):
        collect(echo, other)


def test_an_override_takes_the_place_of_what_it_overrides() -> None:
    class Cheaper(Payments):
        @activity
        async def charge(self, context: ActivityContext) -> int:
            del context
            return 0

    assert "Cheaper.charge" in collect(Cheaper())["charge"].place


def test_a_class_that_needs_arguments_is_refused_with_what_to_do() -> None:
    class Needs(BaseActivities):
        def __init__(self, shop: str) -> None:
            super().__init__()
            self.shop = shop

        @activity
        async def work(self, _: ActivityContext) -> None:
            """Works."""

    with pytest.raises(ActivityDefinitionError, match="make an instance in its module"):
        collect(Needs)


def test_a_module_serves_its_functions_instances_and_classes_each_once() -> None:
    module = ModuleType("shop")
    made = type("Made", (Payments,), {"__module__": "shop"})
    vars(module).update(again=echo, echo=echo, charge=charge, Made=made, made=made(), BaseActivities=BaseActivities)
    assert sorted(collect(module)) == ["charge", "charge_payment", "echo", "refund"]
    assert collect(module)["charge"].owner is vars(module)["made"]


# How they are loaded


@contextmanager
def written(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> Iterator[None]:
    (folder / f"{name}.py").write_text(text)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    try:
        yield
    finally:
        sys.modules.pop(name, None)


_MODULE = """
from compensation.activities import BaseActivities, activity

@activity
async def look(context): ...

class Shop(BaseActivities):
    @activity
    async def sell(self, context): ...

shop = Shop()
chosen = [look]
nothing = 3
"""


@pytest.mark.parametrize(
    ("named", "served"),
    [
        ("acgs_sample", {"look", "sell"}),
        ("acgs_sample:Shop", {"sell"}),
        ("acgs_sample:shop", {"sell"}),
        ("acgs_sample:chosen", {"look"}),
        ("acgs_sample:look", {"look"}),
    ],
)
def test_a_module_of_the_working_folder_or_what_is_named_in_it_is_served(
    named: str, served: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with written(tmp_path, monkeypatch, "acgs_sample", _MODULE):
        assert set(load(named)) == served


@pytest.mark.parametrize(
    ("named", "text", "said"),
    [
        ("acgs_missing", "", r"there is no module 'acgs_missing'; looked in"),
        ("acgs_sample.py", "", r"without \.py"),
        ("acgs_sample", "import acgs_absent", r"No module named 'acgs_absent' \(.*acgs_sample.py:1\)"),
        ("acgs_sample", "x = 1\n1 / 0", r"ZeroDivisionError.*\(.*acgs_sample.py:2\)"),
        ("acgs_sample", "def", r"cannot be imported: .*SyntaxError"),
        ("acgs_sample", "", r"module acgs_sample has no activities: mark async functions"),
        ("acgs_sample:missing", _MODULE, r"module acgs_sample has no 'missing'"),
        ("acgs_sample:nothing", _MODULE, r"3 is no activity"),
    ],
)
def test_what_cannot_be_served_is_told_with_what_to_do(
    named: str, text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with written(tmp_path, monkeypatch, "acgs_sample", text), pytest.raises(SettingsError, match=f"(?s){said}"):
        load(named)


# The three that every set has


async def test_the_hash_is_checked_against_the_expected_one() -> None:
    base = BaseActivities()
    assert (await base.validate_constitutional_hash(CONSTITUTIONAL_HASH)).is_valid
    refused = await base.validate_constitutional_hash(NEXT_HASH)
    assert not refused["is_valid"]
    assert NEXT_HASH not in refused.reason


async def test_without_an_evaluator_nothing_is_allowed() -> None:
    answer = await BaseActivities().evaluate_policy({"tool": "look"})
    assert answer["allowed"] is False
    assert "no evaluator" in answer["reason"]


async def test_an_evaluator_decides_and_only_true_allows() -> None:
    async def says(action: Mapping[str, Any], context: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"allowed": action["answer"], "reason": "because", "role": context["role"]}

    base = BaseActivities(says)
    allowed = await base.evaluate_policy({"answer": True}, {"role": "lead"})
    assert allowed == {"allowed": True, "reason": "because", "role": "lead"}
    assert (await base.evaluate_policy({"answer": "yes"}, {"role": ""}))["allowed"] is False
    assert (await BaseActivities(lambda *_: {}).evaluate_policy({})) == {"allowed": False, "reason": ""}


async def test_an_audit_records_id_is_the_digest_of_what_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "compensation.activities"):
        id_ = await BaseActivities().record_audit("charged", {"order": 7, "by": "shop"})
        again = await BaseActivities().record_audit("charged", {"by": "shop", "order": 7})
    word, logged, record = caplog.messages[0].split(" ", 2)
    assert (word, logged, again) == ("audit", id_, id_)
    assert hashlib.sha256(record.encode()).hexdigest() == id_
    assert rfc8785.dumps(orjson.loads(record)).decode() == record


# What they are given


async def test_one_function_runs_in_a_worker_and_in_a_dag_executor() -> None:
    answer = await Runner(charge).run(command("charge_payment", 7, inputs={"stock": Given(value=3)}))
    assert answer is not None
    assert answer.result is not None
    assert orjson.loads(answer.result)["value"] == {"order": 7, "key": "key-7", "effect": "effect-7", "stock": 3}
    dag = DAGExecutor("shop")
    dag.add_node(DAGNode("charge", "Charge", charge))
    ran = await dag.execute(WorkflowContext(constitutional_hash=HASH, input={"n": 8}))
    assert ran.results["charge"]["order"] == 8


async def test_the_context_holds_what_the_command_does() -> None:
    seen: list[ActivityContext] = []

    @activity
    async def look(context: ActivityContext) -> bool:
        seen.append(context)
        return True

    wanted = command(
        "look",
        3,
        direction=Direction.UNDO,
        round=2,
        attempt=4,
        input={"a": 1},
        inputs={"x": Given(value=[1])},
        result=Given(value={"paid": True}),
        details={"done": 5},
    )
    await Runner(look).run(wanted)
    (context,) = seen
    assert dict(context) == {"a": 1}
    assert (context.results, context.result, context.details) == ({"x": [1]}, {"paid": True}, {"done": 5})
    assert (context.workflow_id, context.run_id, context.node) == ("order-3", wanted.run, "node")
    assert (context.direction, context.round, context.attempt) == (Direction.UNDO, 2, 4)
    assert (context.tenant_id, context.constitutional_hash) == ("acme", HASH)
    assert context.as_dict()["result"] == {"paid": True}


def test_a_context_made_by_hand_takes_heartbeats() -> None:
    context = ActivityContext(constitutional_hash=HASH, input={"a": 1})
    context.heartbeat({"done": 1})
    assert not context.is_cancelled


# What their ends mean


class Unspeakable(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise RuntimeError("no words")


@activity
async def raise_it(context: ActivityContext) -> None:
    raise {
        "no effect": NoEffect("nothing"),
        "final": NonRetryableError("never"),
        "bug": ValueError("x" * 5_000),
        "exit": SystemExit(3),
        "own cancel": asyncio.CancelledError(),
        "unspeakable": Unspeakable(),
        "surrogate": ValueError("\ud800"),
    }[context["how"]]


@pytest.mark.parametrize(
    ("how", "outcome", "said"),
    [
        ("no effect", Outcome.NO_EFFECT, "NoEffect: nothing"),
        ("final", Outcome.FINAL, "NonRetryableError: never"),
        ("bug", Outcome.FAILED, "ValueError: xxx"),
        ("exit", Outcome.FAILED, "SystemExit: 3"),
        ("own cancel", Outcome.FAILED, "CancelledError"),
        ("unspeakable", Outcome.FAILED, "Unspeakable"),
        ("surrogate", Outcome.FAILED, "ValueError: "),
    ],
)
async def test_what_an_activity_raises_says_how_it_failed(how: str, outcome: Outcome, said: str) -> None:
    wanted = command("raise_it", input={"how": how})
    answer = await Runner(raise_it).run(wanted)
    assert answer is not None
    result = ActivityResult.model_validate_json(encode_result(wanted, "w", answer.outcome, None, answer.error))
    assert result.outcome is outcome
    assert (result.error or "").startswith(said)
    assert len(result.error or "") <= MAX_ERROR_CHARACTERS


@activity
async def give(context: ActivityContext) -> object:
    return {"nan": float("nan"), "object": object(), "big": 2**53, "large": "x" * MAX_RESULT_BYTES, "false": False}[
        context["what"]
    ]


@pytest.mark.parametrize("what", ["nan", "object", "big"])
async def test_a_result_that_is_no_json_is_final(what: str) -> None:
    answer = await Runner(give).run(command("give", input={"what": what}))
    assert answer is not None
    assert answer.outcome is Outcome.FINAL
    assert "the result of activity give is no JSON" in (answer.error or "")


async def test_a_large_result_without_a_store_is_final_with_what_to_do() -> None:
    answer = await Runner(give).run(command("give", input={"what": "large"}))
    assert answer is not None
    assert answer.outcome is Outcome.FINAL
    assert "--claims" in (answer.error or "")


async def test_a_large_result_is_kept_and_found_again_by_the_next(tmp_path: Path) -> None:
    store = FolderClaims(tmp_path)
    answer = await Runner(give, claims=store).run(command("give", input={"what": "large"}))
    assert answer is not None
    assert answer.result is not None
    kept = Given.model_validate_json(answer.result)
    assert kept.claim is not None

    @activity
    async def measure(context: ActivityContext) -> int:
        return len(context.results["large"])

    wanted = command("measure", inputs={"large": kept})
    assert await Runner(measure, claims=store).run(wanted) == Answer(
        Outcome.COMPLETED, result=b'{"value":%d}' % MAX_RESULT_BYTES
    )
    without = await Runner(measure).run(wanted)
    assert without is not None
    assert (without.outcome, "--claims" in (without.error or "")) == (Outcome.FAILED, True)
    (tmp_path / kept.claim.sha256).unlink()
    lost = await Runner(measure, claims=store).run(wanted)
    assert lost is not None
    assert (lost.outcome, "ClaimMissingError" in (lost.error or "")) == (Outcome.FAILED, True)


async def test_an_undo_that_returns_false_has_failed() -> None:
    wanted = command("give", direction=Direction.UNDO, input={"what": "false"})
    assert await Runner(give).run(wanted) == Answer(Outcome.FAILED, "compensation give returned False")


async def test_an_undos_result_does_not_travel() -> None:
    wanted = command("give", direction=Direction.UNDO, input={"what": "large"})
    assert await Runner(give).run(wanted) == Answer(Outcome.COMPLETED)


async def test_an_unknown_activity_is_said_to_be() -> None:
    answer = await Runner(echo).run(command("nobody"))
    assert answer is not None
    assert answer.outcome is Outcome.UNKNOWN_ACTIVITY


async def test_a_command_that_comes_too_late_never_starts() -> None:
    answer = await Runner(raise_it).run(command("raise_it", not_after=1))
    assert answer is not None
    assert answer.outcome is Outcome.NEVER_STARTED


@pytest.mark.parametrize("changes", [{"not_after": 1}, {"activity": "nobody"}, {"constitutional_hash": "f" * 16}])
async def test_nobody_says_that_nothing_happened_where_another_worker_may_have_begun_it(
    changes: dict[str, object],
) -> None:
    wanted = command(**{"activity": "echo", **changes})
    answer = await Runner(echo).run(wanted, may_have_begun=True)
    assert answer is not None
    assert answer.outcome is Outcome.FAILED
    assert "another worker may have begun it before" in (answer.error or "")


async def test_what_the_activity_itself_says_counts_also_where_another_worker_may_have_begun_it() -> None:
    answer = await Runner(echo).run(command("echo"), may_have_begun=True)
    assert answer is not None
    assert answer.outcome is Outcome.COMPLETED


# The constitutional hash


@pytest.mark.parametrize(
    ("provided", "direction", "outcome"),
    [
        (HASH, Direction.DO, Outcome.COMPLETED),
        (NEXT_HASH, Direction.DO, Outcome.NO_EFFECT),
        ("f" * 16, Direction.DO, Outcome.NO_EFFECT),
        ("nonsense", Direction.DO, Outcome.NO_EFFECT),
        (NEXT_HASH, Direction.UNDO, Outcome.COMPLETED),
        ("f" * 16, Direction.UNDO, Outcome.FAILED),
        ("nonsense", Direction.UNDO, Outcome.FAILED),
    ],
)
async def test_doing_needs_an_accepted_hash_and_undoing_one_that_the_policy_names(
    provided: str, direction: Direction, outcome: Outcome
) -> None:
    withdrawn = AcceptedHash(hash=NEXT_HASH, until=datetime.now(UTC) - timedelta(hours=1))
    document = policy().model_copy(update={"accepted_hashes": (withdrawn, AcceptedHash(hash=HASH))})
    answer = await Runner(echo, document=document).run(
        command("echo", constitutional_hash=provided, direction=direction)
    )
    assert answer is not None
    assert answer.outcome is outcome
    assert outcome is Outcome.COMPLETED or (answer.error or "").startswith("ConstitutionalError: the hash ")
    assert provided not in (answer.error or "")


async def test_a_set_may_check_the_hash_in_its_own_way() -> None:
    class Strict(Payments):
        async def validate_constitutional_hash(
            self, provided_hash: str, expected_hash: str = CONSTITUTIONAL_HASH
        ) -> HashValidation:
            assert provided_hash == expected_hash
            return HashValidation(is_valid=False, reason="not on Sundays")

    strict = Strict()
    answer = await Runner(strict).run(command("charge"))
    assert answer == Answer(Outcome.NO_EFFECT, "ConstitutionalError: not on Sundays")
    assert strict.charged == 0


# Their time


async def test_an_activity_that_takes_too_long_is_cancelled() -> None:
    answer = await Runner(wait_for_ever).run(command("wait_for_ever", start_to_close_ms=20))
    assert answer == Answer(Outcome.FAILED, "no end within 20 ms")


async def test_an_activity_without_its_heartbeat_is_cancelled() -> None:
    answer = await Runner(wait_for_ever).run(command("wait_for_ever", heartbeat_ms=30))
    assert answer == Answer(Outcome.FAILED, "no heartbeat within 30 ms")


async def test_heartbeats_keep_an_activity_alive_and_pass_on_its_newest_details() -> None:
    @activity
    async def beats(context: ActivityContext) -> None:
        for number in range(40):
            context.heartbeat({"done": number})
            await asyncio.sleep(0.01)
        context.heartbeat()
        await asyncio.sleep(0.2)

    runner = Runner(beats)
    answer = await runner.run(command("beats", heartbeat_ms=300))
    assert answer is not None
    assert answer.outcome is Outcome.COMPLETED
    assert runner.heartbeats[0] == b'{"done":0}'
    assert runner.heartbeats[-1] == b'{"done":39}', "None keeps those before"
    assert len(runner.heartbeats) < 12, "at most one per 100 ms"


async def test_the_newest_details_are_passed_on_though_nothing_follows_them() -> None:
    @activity
    async def beats(context: ActivityContext) -> None:
        for number in range(3):
            context.heartbeat(number)
        await eventually(lambda: len(runner.heartbeats) > 1)

    runner = Runner(beats)
    await runner.run(command("beats", heartbeat_ms=600))
    assert runner.heartbeats == [b"0", b"2"]


async def test_a_heartbeat_without_details_keeps_those_of_the_attempt_before() -> None:
    @activity
    async def beats(context: ActivityContext) -> None:
        context.heartbeat()

    runner = Runner(beats)
    await runner.run(command("beats", details=[1, 2]))
    assert runner.heartbeats == [b"[1,2]"]


async def test_details_that_cannot_travel_are_dropped_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    @activity
    async def beats(context: ActivityContext) -> None:
        context.heartbeat({"done": 1})
        context.heartbeat(object())
        context.heartbeat("x" * 5_000)
        await asyncio.sleep(0)

    runner = Runner(beats)
    await runner.run(command("beats"))
    assert runner.heartbeats == [b'{"done":1}']
    assert len([line for line in caplog.messages if "details of a heartbeat" in line]) == 1


async def test_a_thread_may_send_heartbeats_and_see_that_it_is_cancelled() -> None:
    ended = threading.Event()

    def work(context: ActivityContext) -> None:
        while not context.is_cancelled and not ended.wait(0.005):
            context.heartbeat("busy")
        ended.set()

    @activity
    async def threaded(context: ActivityContext) -> None:
        await asyncio.to_thread(work, context)

    runner = Runner(threaded)
    attempt = runner.start(command("threaded"))
    await eventually(lambda: runner.heartbeats)
    attempt.cut(Cut.CANCELLED)
    await runner.is_over.wait()
    assert await asyncio.to_thread(ended.wait, 10)
    assert runner.answer == Answer(Outcome.FAILED, "cancelled")


# Being asked to end


async def test_what_has_begun_fails_when_it_is_cancelled() -> None:
    runner = Runner(wait_for_ever)
    attempt = runner.start(command("wait_for_ever"))
    await eventually(lambda: attempt.has_begun)
    attempt.cut(Cut.CANCELLED)
    await runner.is_over.wait()
    assert runner.answer == Answer(Outcome.FAILED, "cancelled")


async def test_what_has_not_begun_never_starts_when_it_is_cancelled() -> None:
    answer = await Runner(raise_it).run(command("raise_it"), lambda attempt: attempt.cut(Cut.CANCELLED))
    assert answer == Answer(Outcome.NEVER_STARTED, "cancelled")


async def test_an_undo_is_not_cancelled() -> None:
    wanted = command("echo", direction=Direction.UNDO)
    answer = await Runner(echo).run(wanted, lambda attempt: attempt.cut(Cut.CANCELLED))
    assert answer == Answer(Outcome.COMPLETED)


@pytest.mark.parametrize("why", [Cut.STOPPED, Cut.WITHDRAWN])
async def test_what_has_not_begun_is_not_answered_for_when_its_worker_or_its_partition_goes(why: Cut) -> None:
    assert await Runner(raise_it).run(command("raise_it"), lambda attempt: attempt.cut(why)) is None


async def test_what_has_begun_is_not_withdrawn() -> None:
    runner = Runner(wait_for_ever)
    attempt = runner.start(command("wait_for_ever"))
    await eventually(lambda: attempt.has_begun)
    assert not attempt.cut(Cut.WITHDRAWN)
    assert attempt.cut(Cut.STOPPED)
    await runner.is_over.wait()
    assert runner.answer == Answer(Outcome.FAILED, "worker stopped")


async def test_what_completes_although_it_is_cancelled_has_completed() -> None:
    @activity
    async def stubborn(_: ActivityContext) -> str:
        try:
            await asyncio.sleep(FOREVER_S)
        except asyncio.CancelledError:
            return "done all the same"
        return ""

    runner = Runner(stubborn)
    attempt = runner.start(command("stubborn"))
    await eventually(lambda: attempt.has_begun)
    attempt.cut(Cut.CANCELLED)
    await runner.is_over.wait()
    assert runner.answer == Answer(Outcome.COMPLETED, result=b'{"value":"done all the same"}')


async def test_what_does_not_end_is_answered_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_GRACE_S", 0.05)
    may_end = asyncio.Event()

    @activity
    async def deaf(_: ActivityContext) -> None:
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                continue

    runner = Runner(deaf)
    runner.start(command("deaf", start_to_close_ms=10))
    await runner.is_answered.wait()
    assert runner.answer == Answer(Outcome.FAILED, "no end within 10 ms")
    assert not runner.is_over.is_set()
    may_end.set()
    await runner.is_over.wait()


async def test_a_cancel_may_come_before_its_command() -> None:
    cancels, runner, wanted = Cancels(), Runner(raise_it), command("raise_it")
    identity = {name: getattr(wanted, name) for name in ActivityCancel.model_fields}
    cancels.cancel(ActivityCancel(**(identity | {"token": "0" * 32})))
    cancels.cancel(ActivityCancel(**identity))
    assert await runner.run(wanted, cancels.begins) == Answer(Outcome.NEVER_STARTED, "cancelled")


async def test_a_cancel_of_another_attempt_is_none_of_this_ones() -> None:
    cancels, runner, wanted = Cancels(), Runner(echo), command("echo")
    identity = {name: getattr(wanted, name) for name in ActivityCancel.model_fields}
    cancels.cancel(ActivityCancel(**(identity | {"token": "0" * 32})))
    cancels.cancel(ActivityCancel(**(identity | {"attempt": 2})))
    answer = await runner.run(wanted, cancels.begins)
    assert answer is not None
    assert answer.outcome is Outcome.COMPLETED


# What is written


_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
_NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
_JSON = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(_JSON)
def test_every_json_value_travels_as_it_is(value: object) -> None:
    wanted = command("echo", 5, attempt=3)
    encoded = encode_value(value)
    assert strict_json.loads(encoded) == value
    written_ = encode_result(wanted, "w", Outcome.COMPLETED, b'{"value":' + encoded + b"}", None)
    result = ActivityResult.model_validate_json(written_)
    assert result.result is not None
    assert result.result.value == value
    heartbeat = Heartbeat.model_validate_json(encode_heartbeat(wanted, "w", encoded))
    assert heartbeat.details == value
    for told in (result, heartbeat):
        assert (told.workflow_id, told.run, told.node) == (wanted.workflow_id, wanted.run, wanted.node)
        assert (told.direction, told.round, told.attempt, told.token) == (Direction.DO, 0, 3, wanted.token)


@given(st.sampled_from([float("nan"), float("inf"), 2**53, "\ud800", {1}, b"bytes"]), st.integers(0, 3))
@settings(max_examples=30)
def test_what_readers_could_read_differently_does_not_travel(value: object, depth: int) -> None:
    for _ in range(depth):
        value = [value]
    with pytest.raises(NotJsonError):
        encode_value(value)


def test_a_value_that_holds_itself_does_not_travel() -> None:
    around: list[object] = []
    around.append(around)
    with pytest.raises(NotJsonError):
        encode_value(around)
    with pytest.raises(NotJsonError):
        encode_value({1: "a", "1": "b"})


def test_an_exception_without_words_is_told_by_its_class() -> None:
    assert words_of(Unspeakable()) == "Unspeakable"
    assert words_of(ValueError()) == "ValueError"
