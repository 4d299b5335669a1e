"""Cards as Teams shows them: Adaptive Cards with a link. An incoming webhook cannot call back, so they have no buttons.

What comes from a message stands in text runs, which know no Markdown; TextBlock and FactSet do. Teams refuses messages
of more than 28 KB.
"""

from typing import Any, Final

import orjson

from streams.hitl.shown import Shown

MAX_BYTES: Final = 24 * 1024
_DECIDE: Final = "Decide with 'acgs deliberation approve' or 'reject'; this card has no buttons."
_NOT_WHOLE: Final = "This is NOT the whole action: it is too large for a card. Read all of it at the link. "

Json = dict[str, Any]


def card(shown: Shown) -> bytes:
    """The message with the item whole; where that does not fit, what it is about, and words that it is not whole."""
    whole = _message(
        [
            _title("High-Risk Agent Action Detected"),
            _verbatim(shown.facts_text),
            *([_title("Why it scores so"), _verbatim(shown.factors_text)] if shown.factors_text else []),
            _title("Arguments"),
            _verbatim(shown.arguments_text),
            _title("All else that would be released"),
            _verbatim(shown.rest_text),
            _run(_DECIDE),
            _link(shown.link),
        ]
    )
    return whole if len(whole) <= MAX_BYTES else _short(shown)


def _short(shown: Shown) -> bytes:
    return _message(
        [
            _title("High-Risk Agent Action Detected"),
            _verbatim(shown.short_facts_text),
            _run(_NOT_WHOLE + _DECIDE),
            _link(shown.link),
        ]
    )


def note(words: str, link: str) -> bytes:
    """A short message about an item."""
    return _message([_run(words), _link(link)])


def _message(body: list[Json]) -> bytes:
    content = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
        "msteams": {"width": "Full"},
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": content}
    return orjson.dumps({"type": "message", "attachments": [attachment]})


def _title(words: str) -> Json:
    return {"type": "TextBlock", "text": words, "weight": "Bolder", "wrap": True}


def _verbatim(text: str) -> Json:
    """Lines as they are. A run does not break lines everywhere: each is a block of its own."""
    return {"type": "Container", "spacing": "Small", "items": [_run(line, mono=True) for line in text.splitlines()]}


def _run(words: str, *, mono: bool = False) -> Json:
    style = {"fontType": "Monospace"} if mono else {}
    return {
        "type": "RichTextBlock",
        "spacing": "None" if mono else "Default",
        "inlines": [{"type": "TextRun", "text": words, **style}],
    }


def _link(link: str) -> Json:
    return {"type": "TextBlock", "text": f"[The whole item]({link})", "wrap": True}
