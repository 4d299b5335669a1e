"""Cards as Slack shows them: Block Kit, with nothing in it that a message could turn into markup.

Slack refuses a section of more than 3,000 characters and more than 50 blocks. How much text a whole message may have is
not documented: 9,597 characters in 15,561 of JSON have been seen to pass, 11,341 in 17,694 to be refused
(slackapi/bolt-js#2867). Ours have at most 8,000 of text in 14,000 of JSON; what does not fit is no card to decide on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import orjson
from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import (
    ActionsBlock,
    Block,
    ButtonElement,
    ConfirmObject,
    DividerBlock,
    HeaderBlock,
    MarkdownTextObject,
    PlainTextObject,
    SectionBlock,
)

from schemas.decision import Vote
from schemas.deliberation import DeliberationStatus
from streams.hitl import buttons
from streams.hitl.shown import DIGEST_SHOWN, Shown, lines, outcome, plain, shortened

MAX_TEXT: Final = 8_000
MAX_JSON: Final = 14_000
MAX_BLOCKS: Final = 50
_SECTION: Final = 2_900
_HEADER: Final = "\N{POLICE CARS REVOLVING LIGHT} High-Risk Agent Action Detected"
_NOT_WHOLE: Final = (
    "*This is NOT the whole action: it is too large for a card.* Nothing can be decided here. Read all of it at the "
    "link below, and decide with `acgs deliberation approve` or `reject`."
)
_ESCAPES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Card:
    """A message for Slack. `text` is what notifications show."""

    text: str
    blocks: tuple[Json, ...]
    is_whole: bool


def card(shown: Shown) -> Card:
    """The item whole, with buttons; where that does not fit, what it is about, with a link and no buttons."""
    whole = _made(shown, _whole(shown))
    return whole if whole is not None else short_card(shown)


def short_card(shown: Shown) -> Card:
    """What the item is about, in words that it is not whole, with a link and without buttons."""
    blocks = [
        _header(),
        *_fenced("", shown.short_facts_text),
        _words(_NOT_WHOLE),
        _words(_link(shown.link)),
    ]
    return Card(_text(shown), tuple(map(_json, blocks)), is_whole=False)


def ended_card(status: DeliberationStatus, link: str) -> Card:
    """A card whose item has ended: how, by whom, and no buttons."""
    item = status.item
    facts = (
        ("outcome", shortened(outcome(status))),
        ("asked by", shortened(f"{plain(item.sender)} of tenant {plain(item.tenant_id)}")),
        ("tool", shortened(plain(item.tool or "none"))),
        ("digest", item.digest[:DIGEST_SHOWN]),
        ("item", item.item_id),
    )
    votes = "\n".join(
        shortened(f"{vote.vote.value:<8} {plain(vote.approver)}{f' through {plain(vote.relay)}' if vote.relay else ''}")
        for vote in status.votes[:MAX_VOTES]
    )
    blocks = [
        HeaderBlock(text=PlainTextObject(text=f"Held action: {status.state.value}", emoji=False)),
        *_fenced("", lines(facts)),
        *_fenced("*Votes*", votes),
        _words(_link(link)),
    ]
    text = f"Item {item.item_id}: {escaped(shortened(outcome(status)))}"
    return Card(text, tuple(map(_json, blocks)), is_whole=True)


MAX_VOTES: Final = 20


def escaped(words: str) -> str:
    """Words in which Slack finds no link, mention or entity."""
    return "".join(_ESCAPES.get(character, character) for character in words)


def _whole(shown: Shown) -> Iterator[Block]:
    yield _header()
    yield from _fenced("", shown.facts_text)
    yield from _fenced("*Why it scores so*", shown.factors_text)
    yield from _fenced("*Arguments*", shown.arguments_text)
    yield from _fenced("*All else that would be released*", shown.rest_text)
    yield _words(_link(shown.link))
    yield DividerBlock()
    yield ActionsBlock(block_id="acgs", elements=list(_buttons(shown)))


def _made(shown: Shown, blocks: Iterator[Block]) -> Card | None:
    """The card, or None where it does not fit."""
    made = list(blocks)
    try:
        documents = tuple(map(_json, made))
    except SlackObjectFormationError:
        return None
    has_room = len(documents) <= MAX_BLOCKS and len(orjson.dumps(documents)) <= MAX_JSON
    return Card(_text(shown), documents, is_whole=True) if has_room and _text_size(documents) <= MAX_TEXT else None


def _json(block: Block) -> Json:
    """A block as Slack takes it.

    Raises:
        SlackObjectFormationError: it is larger than Slack allows.
    """
    made: Any = block
    return cast("Json", made.to_dict())


def _text_size(part: object) -> int:
    """How much text there is in blocks."""
    match part:
        case str():
            return len(part)
        case dict():
            named = cast("Json", part)
            return sum(_text_size(value) for name, value in named.items() if name not in {"type", "value"})
        case list() | tuple():
            return sum(map(_text_size, cast("Sequence[object]", part)))
        case _:
            return 0


def _header() -> Block:
    return HeaderBlock(text=PlainTextObject(text=_HEADER, emoji=True))


def _words(words: str) -> Block:
    return SectionBlock(text=MarkdownTextObject(text=words, verbatim=True))


def _link(link: str) -> str:
    return f"<{escaped(link)}|The whole item>"


def _text(shown: Shown) -> str:
    item = shown.pending.item
    tool = escaped(shortened(plain(shown.pending.tool or "no tool")))
    return f"A high-risk agent action waits for approval: {tool}, item {item.item_id}"


def _fenced(title: str, text: str) -> Iterator[Block]:
    """Text that Slack shows as it is, in as many sections as it takes; each but the first says that it goes on."""
    for number, piece in enumerate(_pieces(text)):
        head = (f"{title}, continued" if number else title) if title else ""
        yield _words(f"{head}\n```\n{escaped(piece)}\n```".lstrip("\n"))


def _pieces(text: str) -> Iterator[str]:
    """Text in pieces that fit a section once escaped, cut at line ends where there are any."""
    begin = 0
    while begin < len(text):
        end = _fitting(text, begin)
        if end < len(text) and (line_end := text.rfind("\n", begin + 1, end)) > begin:
            yield text[begin:line_end]
            begin = line_end + 1
        else:
            yield text[begin:end]
            begin = end


def _fitting(text: str, begin: int) -> int:
    """Where to stop so that what lies between fits a section."""
    size = 0
    for at in range(begin, len(text)):
        size += len(_ESCAPES.get(text[at], " "))
        if size > _SECTION:
            return at
    return len(text)


def _buttons(shown: Shown) -> Iterator[ButtonElement]:
    value = buttons.encode(shown.pending.item)
    digest = shown.pending.item.digest[:DIGEST_SHOWN]
    for action, vote in buttons.ACTIONS.items():
        if vote is Vote.APPROVE and not shown.may_be_approved:
            continue
        word = "Approve" if vote is Vote.APPROVE else "Veto"
        yield ButtonElement(
            text=PlainTextObject(text=word, emoji=False),
            action_id=action,
            value=value,
            style="primary" if vote is Vote.APPROVE else "danger",
            confirm=ConfirmObject(
                title=PlainTextObject(text=f"{word} exactly this?"),
                text=PlainTextObject(
                    text=f"It is signed in your name, for the bytes of digest {digest} and no others."
                ),
                confirm=PlainTextObject(text=word),
                deny=PlainTextObject(text="Back"),
            ),
        )
