"""JSON read without tolerance: what two parsers could read differently is refused with its reason."""

import json
import math
import re
from typing import NoReturn

import orjson
from pydantic import JsonValue

from schemas.reasons import Reason

MAX_DEPTH = 32
"""How many objects and arrays may be nested."""

MAX_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader holds exactly (RFC 7493)."""

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}"]', re.DOTALL)
_CLOSES = {"}": "{", "]": "["}


class Defect(Exception):  # noqa: N818  # what is found in an input; no failure of this program
    """A text that is not strict JSON: the reason code and a detail in words."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def loads(value: bytes) -> JsonValue:
    """Parses strict JSON.

    Refuses what RFC 8259 leaves open or forbids and readers disagree on: duplicate keys at any depth, NaN and Infinity,
    floats beyond the finite range, integers beyond +-(2^53-1), lone surrogates, nesting deeper than 32.

    Raises:
        Defect: with the reason; the same bytes give the same reason on every supported Python.
    """
    fast = _loads_if_canonical(value)
    return _loads_slowly(value) if fast is None else fast


def _loads_if_canonical(value: bytes) -> JsonValue:
    """The parsed text if it equals its own compact re-encoding, which no text with a defect can; else None."""
    try:
        parsed: JsonValue = orjson.loads(value)
        if orjson.dumps(parsed, option=orjson.OPT_STRICT_INTEGER) != value:
            return None
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None
    may_be_deep = value.count(b"{") + value.count(b"[") > MAX_DEPTH
    return None if may_be_deep and _is_deeper(parsed, MAX_DEPTH) else parsed


def _is_deeper(parsed: JsonValue, allowed: int) -> bool:
    """Whether more than so many objects and arrays are nested."""
    level = [parsed]
    for _ in range(allowed):
        containers = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [inside for container in containers for inside in container]
    return any(isinstance(one, dict | list) for one in level)


def _loads_slowly(value: bytes) -> JsonValue:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Defect(Reason.NOT_UTF8, f"byte {error.start} is not UTF-8") from None
    complete = _check_nesting(text)
    try:
        parsed: JsonValue = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        reason = Reason.NOT_JSON if complete else Reason.TRUNCATED
        raise Defect(reason, f"not JSON at character {error.pos}" if complete else "the text ends too early") from None
    if "\\u" in text:
        _check_surrogates(parsed)
    return parsed


def _check_nesting(text: str) -> bool:
    """Whether every bracket and string that the text opens is closed again.

    Raises:
        Defect: nested deeper than MAX_DEPTH.
    """
    opened: list[str] = []
    for match in _TOKEN.finditer(text):
        mark = match[0]
        if mark == '"':
            return False
        if mark in "{[":
            opened.append(mark)
            if len(opened) > MAX_DEPTH:
                raise Defect(Reason.TOO_DEEP, f"nested deeper than {MAX_DEPTH}")
        elif mark in _CLOSES and (not opened or opened.pop() != _CLOSES[mark]):
            return True
    return not opened


def _check_surrogates(parsed: JsonValue) -> None:
    try:
        json.dumps(parsed, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise Defect(Reason.LONE_SURROGATE, "a string holds half of a surrogate pair") from None


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    parsed = dict(pairs)
    if len(parsed) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Defect(Reason.DUPLICATE_KEY, f"key {twice[:64]!a} stands twice in one object")
    return parsed


def _integer(digits: str) -> int:
    if len(digits) > 17 or abs(int(digits)) > MAX_INTEGER:  # noqa: PLR2004  # a sign and 16 digits are 2^53-1's length
        raise Defect(Reason.INTEGER_OUT_OF_RANGE, f"integer {digits[:20]} is beyond +-(2^53-1)")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise Defect(Reason.NOT_FINITE, f"number {digits[:20]} is too large")
    return number


def _constant(name: str) -> NoReturn:
    raise Defect(Reason.NOT_FINITE, f"{name} is not a JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant)
