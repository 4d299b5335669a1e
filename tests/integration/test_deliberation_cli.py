"""`acgs deliberation`, `acgs keys` and `acgs policy propose` as their users run them."""

import json
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from schemas.deliberation import DeliberationStatus
from schemas.policy import Tier
from streams import control
from streams.approvals.board import statuses
from streams.engine.client import EngineSettings
from streams.policy_changes import to_toml
from tests.integration.test_cli import Acgs
from tests.support.deliberated import THREE, registry
from tests.support.deliberating import deliberating, install, publish
from tests.support.eventually import eventually
from tests.support.product import UNKNOWN_TOOL, encoded
from tests.support.signing import approver, key, owners


@pytest.fixture
def acgs(settings: EngineSettings) -> Acgs:
    return Acgs(settings)


def key_file(folder: Path, name: str) -> str:
    file = folder / f"{name}.key"
    key(name).save(file)
    return str(file)


async def waiting(settings: EngineSettings, count: int = 1) -> list[DeliberationStatus]:
    async def all_wait() -> list[DeliberationStatus] | None:
        found = await statuses(settings)
        return found if len(found) == count else None

    found: list[DeliberationStatus] = await eventually(all_wait)
    return found


async def test_an_item_is_listed_shown_and_approved_with_two_keys(
    acgs: Acgs, settings: EngineSettings, tmp_path: Path
) -> None:
    lee, sam = key_file(tmp_path, "lee"), key_file(tmp_path, "sam")
    async with deliberating(settings):
        await publish(settings, encoded(1, tool=UNKNOWN_TOOL, content={"note": "\x1b[2J"}))
        item_id = (await waiting(settings))[0].item.item_id
        listed = await acgs("deliberation", "list")
        assert listed.code == 0
        assert item_id in listed.out
        assert "1 item waits." in listed.err
        shown = await acgs("deliberation", "show", item_id)
        for words in (
            "planner of tenant acme (not verified",
            "lead, security",
            UNKNOWN_TOOL,
            "catalogue does not have",
        ):
            assert words in shown.out
        assert "\x1b" not in shown.out
        unasked = await acgs("deliberation", "approve", item_id, "--key", lee)
        assert (unasked.code, "add --yes" in unasked.err) == (2, True)
        first = await acgs("deliberation", "approve", item_id, "--key", lee, "--yes", "--reason", "window 12")
        assert first.out == "Counted. 1 of 2 approvals so far; 1 more, the next of security.\n"
        again = await acgs("deliberation", "approve", item_id, "--key", lee, "--yes")
        assert (again.code, "already_voted" in again.err) == (1, True)
        second = await acgs("deliberation", "approve", item_id, "--key", sam, "--yes")
        assert second.out == "Counted. It is released: approved by lee, sam.\n"
        document = json.loads((await acgs("deliberation", "show", item_id, "--json")).out)
        assert [vote["reason"] for vote in document["status"]["votes"]] == ["window 12", None]
        assert "Nothing waits." in (await acgs("deliberation", "list")).err
        ended = await acgs("deliberation", "list", "--all", "--json")
        assert [one["state"] for one in ended.documents] == ["approved"]


async def test_a_key_that_is_nobodys_and_an_item_that_is_not_there_are_told(
    acgs: Acgs, settings: EngineSettings, tmp_path: Path
) -> None:
    stranger = key_file(tmp_path, "stranger")
    async with deliberating(settings):
        await publish(settings, encoded(1, tool=UNKNOWN_TOOL))
        item_id = (await waiting(settings))[0].item.item_id
        told = await acgs("deliberation", "approve", item_id, "--key", stranger, "--yes")
        assert told.code == 1
        assert f"{key('stranger').id}, is no approver's by epoch 1" in told.err
        other = await acgs("deliberation", "reject", item_id[::-1], "--key", stranger, "--reason", "no", "--yes")
        assert (other.code, "there is no item" in other.err) == (1, True)
        vetoed = await acgs(
            "deliberation", "reject", item_id, "--key", key_file(tmp_path, "cal"), "--reason", "no", "--yes"
        )
        assert (vetoed.code, "wrong_role" in vetoed.err) == (1, True)


async def test_an_expired_item_is_reopened_as_a_new_one(acgs: Acgs, settings: EngineSettings, tmp_path: Path) -> None:
    hasty = Tier(
        name="high", at_least=8_000, approvals=1, roles=("lead", "security"), deadline=timedelta(milliseconds=1_000)
    )
    async with deliberating(settings, registry(tiers=(hasty, THREE))):
        await publish(settings, encoded(1, tool=UNKNOWN_TOOL))

        async def expired() -> str | None:
            listed = await acgs("deliberation", "list", "--state", "expired", "--json")
            return listed.documents[0]["item"]["item_id"] if listed.documents else None

        item_id = str(await eventually(expired))
        told = await acgs("deliberation", "reopen", item_id, "--key", key_file(tmp_path, "lee"), "--yes")
        assert told.code == 0
        anew = told.out.removeprefix("Reopened as ").removesuffix(".\n")
        shown = await acgs("deliberation", "show", item_id)
        assert f"reopened as {anew}" in shown.out
        assert "it has been reopened" in (await acgs("deliberation", "show", anew)).out


async def test_a_key_is_made_shown_and_never_overwritten(acgs: Acgs, settings: EngineSettings, tmp_path: Path) -> None:
    file = tmp_path / "ann.key"
    made = await acgs("keys", "generate", str(file))
    assert made.code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    public = made.out.split('public_key = "')[1].split('"')[0]
    assert public in (await acgs("--broker", "127.0.0.1:1", "keys", "show", str(file))).out
    await install(settings)
    shown = await acgs("keys", "show", str(file))
    assert (shown.code, "unless it is a notary's, whose public key" in " ".join(shown.out.split())) == (0, True)
    before = file.read_bytes()
    again = await acgs("keys", "generate", str(file))
    assert (again.code, "never overwritten" in again.err) == (1, True)
    assert file.read_bytes() == before
    file.chmod(0o644)
    told = await acgs("keys", "show", str(file))
    assert (told.code, "chmod 600" in told.err) == (1, True)


async def test_owners_propose_sign_and_go_back(acgs: Acgs, settings: EngineSettings, tmp_path: Path) -> None:
    ann, bob, cara = (key_file(tmp_path, name) for name in ("ann", "bob", "cara"))
    named = owners("ann", "bob")
    begun = registry(**{**named, "approvers": (*named["approvers"], approver("cara"))})
    file = tmp_path / "policy.toml"
    file.write_text(to_toml(begun.model_copy(update={"max_held_per_sender": 7})))

    async def signed(*names: str) -> None:
        item_id = (await waiting(settings))[0].item.item_id
        for name in names:
            told = await acgs("deliberation", "approve", item_id, "--key", name, "--yes")
            assert told.code == 0, told.err

    async def until(epoch: int) -> int:
        async def there() -> int | None:
            current = await control.in_force(settings)
            return current.policy.max_held_per_sender if current and current.policy.epoch == epoch else None

        found: int = await eventually(there)
        return found

    async with deliberating(settings, begun):
        refused = await acgs("policy", "publish", "--next-epoch", str(file))
        assert (refused.code, "acgs policy propose" in refused.err) == (1, True)
        wrong = await acgs("policy", "propose", str(file))
        assert (wrong.code, "only 2 can follow" in wrong.err) == (1, True)
        proposed = await acgs("policy", "propose", "--next-epoch", str(file), "--as", "build")
        assert proposed.out.startswith("It waits for 2 of the owners' signatures, for 24 h.\n")
        item_id = (await waiting(settings))[0].item.item_id
        shown = await acgs("deliberation", "show", item_id)
        assert "max_held_per_sender: 100 -> 7" in shown.out
        await signed(ann, bob)
        assert await until(2) == 7
        back = await acgs("policy", "rollback", "--key", cara)
        assert back.code == 0, back.err
        (proposed_by,) = [one.item for one in await waiting(settings)]
        assert (proposed_by.sender, proposed_by.sender_verified) == ("cara", True)
        await signed(bob, ann)
        assert await until(3) == 100


async def test_without_owners_a_rollback_is_published_and_a_proposal_refused(
    acgs: Acgs, settings: EngineSettings, tmp_path: Path
) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(to_toml(registry()))
    async with deliberating(settings):
        refused = await acgs("policy", "propose", "--next-epoch", str(file))
        assert (refused.code, "nobody owns the policy in force" in refused.err) == (1, True)
        first = await acgs("policy", "rollback")
        assert (first.code, "epoch 0 cannot be gone back to" in first.err) == (1, True)
        await control.publish(settings, registry(2, max_held_per_sender=7))
        told = await acgs("policy", "rollback", "--to", "1")
        assert "max_held_per_sender: 7 -> 100" in told.err
        assert told.out.startswith("Epoch 3 is published")
