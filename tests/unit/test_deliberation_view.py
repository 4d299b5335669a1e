"""What waits, as `acgs deliberation` shows it, and what it is told."""

import io
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from handlers import triage
from schemas.decision import MAX_REASON_CHARACTERS, Vote
from schemas.deliberation import CHANGE_POLICY, DeliberationState, DeliberationStatus
from streams.approvals import ItemUnknownError, PendingItem
from streams.approvals.errors import ItemAmbiguousError
from streams.approvals.finding import require_id, the_one
from streams.cli.deliberation import wanted_states
from streams.cli.deliberation_view import columns, grouped, page, rows, so_far
from streams.cli.main import main
from streams.cli.output import table
from streams.errors import UnfitTextError
from streams.hitl.shown import Shown
from streams.policy_changes import to_toml
from tests.support.deliberated import CAL, LEE, SUE, Desk, held, registry
from tests.support.signing import decide, owners, signer

ITEM = "0b9e5b4e-0f0c-4f43-9c3e-0c7a4a5f2f10"


def statuses(count: int = 3) -> list[DeliberationStatus]:
    desk = Desk()
    items = [desk.hold(held(desk.in_force, number, from_agent="an-agent-of-a-long-name")) for number in range(count)]
    return [status for item in items if (status := desk.status(item)) is not None]


@pytest.mark.parametrize("width", [80, 99, 100, 120, 139, 140, 200])
def test_an_id_is_never_wrapped_on_a_terminal(width: int) -> None:
    found, written = statuses(), io.StringIO()
    shown = columns(width)
    Console(file=written, width=width).print(table(shown, rows(found, 0, shown), whole="item"), soft_wrap=False)
    lines = written.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    for status in found:
        assert sum(status.item.item_id in line for line in lines) == 1


def test_a_pipe_has_every_column() -> None:
    assert set(columns(None)) > set(columns(139)) > set(columns(80))
    assert len(next(rows(statuses(1), 0))) == len(columns(None))


def test_what_asks_for_the_same_stands_beneath_the_first_of_it() -> None:
    one, two, three = statuses()
    alike = three.model_copy(update={"item": three.item.model_copy(update={"action": one.item.action})})
    assert grouped([one, two, alike]) == [one, alike, two]


def test_a_state_that_is_named_is_the_only_one_that_is_listed() -> None:
    assert (
        wanted_states("rejected", every=True) == wanted_states("rejected", every=False) == {DeliberationState.REJECTED}
    )
    assert wanted_states(None, every=True) == frozenset(DeliberationState)
    assert wanted_states(None, every=False) == {DeliberationState.PENDING}


def test_an_id_may_be_given_by_its_beginning_if_no_other_begins_so() -> None:
    other = "0b9e5b4e-ffff-4f43-9c3e-0c7a4a5f2f10"
    assert the_one([ITEM, other], require_id("0B9E5B4E-0f")) == ITEM
    with pytest.raises(ItemAmbiguousError, match=f"2 items begin with 0b9e5b4e: {ITEM}, {other}"):
        the_one([ITEM, other], require_id("0b9e5b4e"))
    with pytest.raises(ItemUnknownError):
        the_one([ITEM], require_id("ffffffff"))


@pytest.mark.parametrize("given", ["", "0b9e5b4", "item", ITEM + "0", "0b9e5b4e\udcff", "../etc/passwd", "0b9e5b4e%"])
def test_what_is_no_id_is_told_before_anything_is_asked(given: str) -> None:
    with pytest.raises(UnfitTextError, match="acgs deliberation list"):
        require_id(given)
    assert "is no item's id" in run("show", given).stderr


def run(*arguments: str) -> Result:
    told = CliRunner().invoke(main, ["deliberation", *arguments])
    assert told.exit_code in {1, 2}, told.exception
    return told


@pytest.mark.parametrize(
    ("reason", "words"),
    [("", "is empty"), ("x" * (MAX_REASON_CHARACTERS + 1), "allowed are 2,000"), ("caf\udce9", "no UTF-8 text")],
    ids=["empty", "long", "not UTF-8"],
)
def test_a_reason_that_cannot_travel_is_told_and_nothing_is_signed(reason: str, words: str) -> None:
    item = held(Desk().in_force).item
    for vote in (Vote.VETO, Vote.APPROVE):
        with pytest.raises(UnfitTextError, match=words):
            signer("sam").decide(item, vote, reason)
    assert words in run("reject", ITEM, "--key", "nowhere", "--reason", reason).stderr


def test_what_is_counted_says_of_whom_more_is_needed() -> None:
    desk = Desk()
    item = desk.hold(held(desk.in_force))
    desk.take(decide("sam", item), decide("sue", item))
    said = desk.status(item)
    assert said is not None
    assert so_far(said) == "1 of 2 approvals so far; 1 more, the next of lead"
    desk.publish(registry(2, approvers=(LEE, SUE, CAL)))
    desk.pass_time(6 * 3_600_000)
    said = desk.status(item)
    assert said is not None
    assert "of the votes, 1 no longer standing" in so_far(said)


def test_a_proposal_is_shown_as_what_owners_sign_not_as_an_unknown_tool() -> None:
    policy = registry(**owners("ann", "bob"))
    desk = Desk(policy)
    document = orjson.loads(registry(2, **owners("ann", "eve")).canonical())
    action = {"tool": CHANGE_POLICY, "arguments": {"document": document}}
    one = held(desk.in_force, tool=None, payload={"action": action})
    status = desk.status(desk.hold(one))
    assert status is not None
    card = triage.decide(orjson.loads(one.value), desk.in_force).card
    shown = PendingItem(status, one.value, card)
    told = "\n".join(map(str, page(shown, 0, policy)))
    for page_ in (told, Shown(shown, 1, "").page_text):
        assert "of the policy's owners" in page_
        assert "it changes the policy" in page_
        assert "another role" not in page_
        assert "catalogue" not in page_


@pytest.mark.parametrize("name", ["", "x" * 257, "caf\udce9"])
def test_a_proposers_name_that_cannot_travel_is_told(name: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(to_toml(registry()))
    environment = {"ACGS_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    told = CliRunner().invoke(main, ["policy", "propose", str(file), "--as", name], env=environment)
    assert (told.exit_code, "the name of who proposes" in told.stderr) == (1, True)
