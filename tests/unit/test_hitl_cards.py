"""Cards: what a message says is shown as it is, and means nothing else than that."""

import json
import re
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers import triage
from schemas.decision import Vote
from schemas.deliberation import DeliberationState, DeliberationStatus, VoteSummary
from schemas.policy import published
from streams.approvals import PendingItem
from streams.hitl import slack_card, teams_card
from streams.hitl.buttons import Subject, decode, encode
from streams.hitl.shown import Notice, Shown, exact, notice_text, plain
from tests.support.deliberated import T0, held, registry
from tests.support.platform import MAX_BLOCKS, MAX_SECTION, TEAMS_BYTES, buttons_of, shown_by, texts_of
from tests.support.product import UNKNOWN_TOOL

LINK = "https://approvals.example.com/items/1?t=2"
HOSTILE = (
    "<!channel>",
    "<@U012AB3CD>",
    "<https://evil.example|The whole item>",
    "&lt;!here&gt;",
    "```\n*Approved by ciso*\n```",
    "`code` *bold* _it_ ~no~",
    "line\nasked by   ciso of tenant acme (signed by it)",
    "\u202egnp.exe\u2066",
    "a\u200bb\x00\x1b[2J\x7f\u00a0",
    "\U000e0041\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    ":white_check_mark:",
    "https://evil.example/?x=1&y=2",
)

Fields = dict[str, Any]


def pending(arguments: Fields | None = None, **changes: Any) -> PendingItem:  # noqa: ANN401
    policy = published(registry().canonical())
    action = {"tool": UNKNOWN_TOOL, "arguments": {"n": 1} if arguments is None else arguments}
    one = held(policy, 1, **{"payload": {"action": action}, **changes})
    status = DeliberationStatus(
        item=one.item,
        state=DeliberationState.PENDING,
        partition=0,
        offset=0,
        opened=T0,
        changed=T0,
        deadline=T0 + 86_400_000,
    )
    return PendingItem(status, one.value, triage.decide(orjson.loads(one.value), policy).card)


def shown(arguments: Fields | None = None, **changes: Any) -> Shown:  # noqa: ANN401
    return Shown(pending(arguments, **changes), 1, LINK)


def carded(one: Shown) -> Fields:
    made = slack_card.card(one)
    return json.loads(orjson.dumps({"text": made.text, "blocks": made.blocks}))


def fences(card: Fields, title: str) -> str:
    """What stands in the fences under a title, put together again."""
    texts = [text for text in texts_of(card["blocks"]) if text.startswith(f"*{title}")]
    return "".join(shown_by({"blocks": [{"text": text}]}).split("```\n", 1)[1].removesuffix("\n```") for text in texts)


def is_harmless(text: str) -> bool:
    """Whether Slack finds nothing in a text that it would act on, but for links that are ours."""
    return not re.search(r"[<>]", text.replace(f"<{LINK}|The whole item>", ""))


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("place", ["arguments", "content", "from_agent", "tenant_id", "tool"])
def test_hostile_text_is_shown_and_mentions_links_and_forges_nothing(text: str, place: str) -> None:
    one = {
        "arguments": lambda: shown({"said": text, text: 1}),
        "content": lambda: shown(content={"said": text}),
        "from_agent": lambda: shown(from_agent=text),
        "tenant_id": lambda: shown(tenant_id=text),
        "tool": lambda: shown(payload={"action": {"tool": text, "arguments": {}}}),
    }[place]()
    card = carded(one)
    assert len(buttons_of(card)) == 2
    for part in [card["text"], *texts_of(card["blocks"])]:
        assert is_harmless(part)
        assert part.count("```") in {0, 2}
        assert all(character.isprintable() or character == "\n" for character in part)
    facts = next(text for text in texts_of(card["blocks"]) if "asked by" in text)
    assert facts.count("\n") == len(one.facts) + 2 - 1
    assert sum(line.startswith("asked by") for line in facts.splitlines()) == 1


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
        max_size=5,
    )
)
def test_what_is_shown_of_arguments_reads_back_to_the_same(arguments: Fields) -> None:
    card = carded(shown(arguments))
    if not buttons_of(card):
        return
    text = fences(card, "Arguments")
    assert json.loads(text) == arguments
    assert "`" not in text
    assert exact(arguments) == text


@given(st.text(max_size=60))
def test_plain_words_stay_on_their_line(words: str) -> None:
    said = plain(words)
    assert said.isprintable()
    assert "`" not in said


@pytest.mark.parametrize("size", [10, 1_000, 2_950, 3_100, 6_000, 7_000, 7_300, 7_600, 8_000, 20_000, 1_000_000])
@pytest.mark.parametrize("character", ["x", "<", "`", "\u202e", "\n", "\N{SNOWMAN}"])
def test_a_card_is_whole_with_buttons_or_says_that_it_is_not(size: int, character: str) -> None:
    said = character * size
    card = carded(shown({"said": said}))
    blocks = card["blocks"]
    assert len(blocks) <= MAX_BLOCKS
    assert all(len(text) <= MAX_SECTION for text in texts_of(blocks))
    assert sum(map(len, texts_of(blocks))) <= 8_000
    if buttons_of(card):
        assert json.loads(fences(card, "Arguments")) == {"said": said}
    else:
        assert "This is NOT the whole action" in shown_by(card)
        assert f"<{LINK}|The whole item>" in str(blocks)
        assert size >= 1_000


def test_a_card_of_long_names_is_cut_in_words() -> None:
    card = carded(shown({"said": "x" * 9_000}, from_agent="<" * 256, tenant_id="&" * 256))
    assert not buttons_of(card)
    assert "characters more)" in shown_by(card)
    assert sum(map(len, texts_of(card["blocks"]))) <= 8_000


def test_what_else_would_be_released_is_shown_and_the_arguments_only_once() -> None:
    card = carded(shown({"path": "/etc/passwd"}, content={"note": "run it"}))
    rest = json.loads(fences(card, "All else that would be released"))
    assert rest["content"] == {"note": "run it"}
    assert rest["payload"] == {"action": {"tool": UNKNOWN_TOOL}}
    assert shown_by(card).count("/etc/passwd") == 1


def test_a_button_binds_item_digest_and_nonce() -> None:
    item = pending().item
    (approve, veto) = buttons_of(carded(shown()))
    assert approve["value"] == veto["value"] == encode(item)
    assert re.fullmatch(r"[a-z0-9.-]+", approve["value"])
    subject = decode(approve["value"])
    assert subject == Subject(item.item_id, item.digest, item.nonce)
    assert subject.is_of(item)
    for changes in ({"digest": "0" * 64}, {"nonce": "0" * 32}, {"item_id": "00000000-0000-4000-8000-000000000000"}):
        assert not subject.is_of(item.model_copy(update=changes))


def test_where_no_click_may_approve_there_is_no_button_for_it() -> None:
    one = pending()
    item = one.item.model_copy(update={"relayed": 0})
    status = one.status.model_copy(update={"item": item})
    card = carded(Shown(replace(one, status=status), 1, LINK))
    assert [one["action_id"] for one in buttons_of(card)] == ["acgs_veto"]
    assert [one["action_id"] for one in buttons_of(carded(shown()))] == ["acgs_approve", "acgs_veto"]


@pytest.mark.parametrize("value", ["", "v1..", "v2.a.b.c", "v1." + "0" * 36 + "." + "0" * 64 + "." + "0" * 33])
def test_a_value_that_is_none_of_ours_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="none of ours"):
        decode(value)


@pytest.mark.parametrize("text", HOSTILE)
def test_teams_shows_hostile_text_where_it_knows_no_markup(text: str) -> None:
    content = orjson.loads(teams_card.card(shown({"said": text})))["attachments"][0]["content"]
    for block in content["body"]:
        if block["type"] == "TextBlock":
            assert text not in block["text"]
    assert "actions" not in content
    lines = [run["inlines"][0]["text"] for one in content["body"] for run in one.get("items", [])]
    begin = lines.index("{")
    assert json.loads("\n".join(lines[begin : lines.index("}") + 1])) == {"said": text}


@pytest.mark.parametrize("size", [100, 10_000, 19_000, 24_000, 1_000_000])
def test_a_card_for_teams_fits_or_says_that_it_is_not_whole(size: int) -> None:
    made = teams_card.card(shown({"said": "x" * size}))
    assert len(made) <= TEAMS_BYTES
    assert (b"x" * size in made) is not (b"This is NOT the whole action" in made)


def test_an_ended_card_says_how_and_by_whom_and_has_no_buttons() -> None:
    vote = VoteSummary(
        decision_id="00000000-0000-4000-8000-000000000000",
        approver="sue`<@U1>",
        vote=Vote.VETO,
        relay="office",
        reason="no",
        at=T0,
    )
    why = "vetoed by sue: <!channel> `no`\n"
    changes = {"state": DeliberationState.REJECTED, "by": "sue", "why": why, "votes": (vote,)}
    ended = pending(from_agent="<!here>").status.model_copy(update=changes)
    made = slack_card.ended_card(ended, LINK)
    card = json.loads(orjson.dumps({"blocks": made.blocks}))
    assert "Vetoed by sue. vetoed by sue: <!channel> \\x60no\\x60\\n" in shown_by(card)
    assert "veto     sue\\x60<@U1> through office" in shown_by(card)
    assert all(is_harmless(part) for part in [made.text, *texts_of(card["blocks"])])
    assert buttons_of(card) == []


def test_a_notice_says_what_still_waits_and_until_when() -> None:
    status = pending().status.model_copy(update={"reminders": 2})
    words = notice_text(Notice.REMINDER, status)
    assert words.startswith(
        f"Reminder 2: item {status.item.item_id} (launch-missiles, asked by planner) still waits until "
    )
    assert words.endswith("then it is denied. 0 of 2 approvals so far.")
