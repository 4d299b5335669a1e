"""What a command does, looked up in the table of programs."""

from functools import cache

from handlers.program_table import GROUPS, SAME_AS, TABLE, VALUE_FLAGS
from schemas.weights import Effect


def effect_of(words: tuple[str, ...]) -> Effect | None:
    """What a command does, by its program, sub-command and flags; None for a program that the table does not know."""
    program, arguments = words[0], words[1:]
    if program in SAME_AS:
        program, *first = SAME_AS[program].split()
        arguments = (*first, *arguments)
    plain, flags = arguments_of(program, arguments)
    for wanted_plain, wanted_flags, effect in _compiled(program):
        if _leads(wanted_plain, plain) and all(flags & one for one in wanted_flags):
            return effect
    return _groups().get(program)


def arguments_of(program: str, arguments: tuple[str, ...]) -> tuple[list[str], set[str]]:
    """A command's plain arguments, and its flags without their values; `-rf` is also `-r` and `-f`."""
    valued = VALUE_FLAGS.get(program, frozenset())
    plain: list[str] = []
    flags: set[str] = set()
    skip = False
    for word in arguments:
        if skip:
            skip = False
        elif word.startswith("-") and len(word) > 1:
            flags.update(_flags(word))
            skip = word in valued
        else:
            plain.append(word)
    return plain, flags


def _flags(word: str) -> set[str]:
    name = word.partition("=")[0]
    if word.startswith("--") or len(name) > 6:  # noqa: PLR2004  # longer ones are words with one dash, as terraform's
        return {name}
    return {name, *(f"-{letter}" for letter in name[1:])}


@cache
def _compiled(program: str) -> tuple[tuple[tuple[frozenset[str], ...], tuple[frozenset[str], ...], Effect], ...]:
    return tuple((*_pattern(pattern), effect) for pattern, effect in TABLE.get(program, ()))


def _pattern(pattern: str) -> tuple[tuple[frozenset[str], ...], tuple[frozenset[str], ...]]:
    words = [frozenset(word.split("|")) for word in pattern.split()]
    plain = tuple(word for word in words if not any(one.startswith("-") for one in word))
    return plain, tuple(word for word in words if any(one.startswith("-") for one in word))


def _leads(wanted: tuple[frozenset[str], ...], plain: list[str]) -> bool:
    return len(plain) >= len(wanted) and all(_is_one_of(word, one) for one, word in zip(wanted, plain, strict=False))


def _is_one_of(word: str, wanted: frozenset[str]) -> bool:
    if word in wanted or "*" in wanted:
        return True
    return any(_matches(word, one) for one in wanted if "*" in one)


def _matches(word: str, pattern: str) -> bool:
    """Whether the word is the pattern, in which `*` stands for anything at either end or in the middle."""
    first, *middle, last = pattern.split("*")
    return word.startswith(first) and word.endswith(last) and all(part in word for part in middle)


@cache
def _groups() -> dict[str, Effect]:
    return {program: effect for programs, effect in GROUPS.items() for program in programs.split()}
