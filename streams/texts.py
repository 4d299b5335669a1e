"""Texts that people give, checked before they are signed or sent."""

from streams.errors import UnfitTextError


def require_text(text: str, what: str, at_most: int) -> None:
    """That a text can travel: it is not empty, not longer than that many characters, and can be written as UTF-8.

    Raises:
        UnfitTextError: it cannot; the message says what to do.
    """
    if not text:
        raise UnfitTextError(f"{what} is empty: say something, or leave it out")
    if len(text) > at_most:
        raise UnfitTextError(f"{what} has {len(text):,} characters, allowed are {at_most:,}: shorten it")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UnfitTextError(f"{what} is no UTF-8 text, at character {error.start + 1}: type it anew") from error
