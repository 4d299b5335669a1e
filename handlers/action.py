"""What an action does, as deeds: read from its tool's catalogue entry and its arguments."""

from collections.abc import Mapping

from pydantic import JsonValue

from handlers import sql
from handlers.command_line import UnparseableError, parse
from handlers.deeds import Deed, of_command, of_writing
from schemas.policy import Tool, Verb
from schemas.weights import Effect

AS_EFFECT: dict[Verb, Effect] = {
    Verb.READ: Effect.INSPECT,
    Verb.CHANGE: Effect.EDIT,
    Verb.DELETE: Effect.REMOVE,
    Verb.EXECUTE: Effect.RUN,
    Verb.PAY: Effect.SEND,
    Verb.PUBLISH: Effect.PUBLISH,
    Verb.ESCALATE: Effect.ESCALATE,
}
"""The effect that stands for a verb where nothing more is known."""


class UnscorableError(ValueError):
    """An action lacks what its score depends on; the message says what."""


def deeds_of(arguments: Mapping[str, JsonValue], tool: Tool, name: str) -> tuple[Deed, ...]:
    """What an action of a catalogued tool does.

    Raises:
        UnscorableError: an argument that the catalogue names is missing, or is not what it says.
    """
    if tool.command_argument is not None:
        return _of_line(_text(arguments, tool.command_argument))
    if tool.sql_argument is not None:
        statement = _text(arguments, tool.sql_argument)
        return (Deed(sql.effect_of(statement), name, tuple(texts(arguments, tool.target_arguments))),)
    targets = targets_of(arguments, tool, name)
    if tool.verb is Verb.READ:
        return (Deed(AS_EFFECT[tool.verb], name, targets),)
    written = "\n".join(texts(arguments, tool.content_arguments))
    replaced = "" if tool.replaced_argument is None else "\n".join(texts(arguments, (tool.replaced_argument,)))
    return (of_writing(AS_EFFECT[tool.verb], name, targets, written, replaced),)


def targets_of(arguments: Mapping[str, JsonValue], tool: Tool, name: str) -> tuple[str, ...]:
    """What the arguments say that an action acts on.

    Raises:
        UnscorableError: the catalogue names an argument for it, and an action that does more than read has none.
    """
    targets = tuple(texts(arguments, tool.target_arguments))
    if tool.target_argument is not None and tool.verb is not Verb.READ and not targets:
        raise UnscorableError(f"no argument says what {name} acts on")
    return targets


def _of_line(line: str) -> tuple[Deed, ...]:
    try:
        commands = parse(line)
    except UnparseableError as error:
        raise UnscorableError(f"the command line cannot be read: {error}") from error
    return tuple(of_command(command) for command in commands)


def _text(arguments: Mapping[str, JsonValue], name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str):
        raise UnscorableError(f"the argument {name} is no text")
    return value


def texts(arguments: Mapping[str, JsonValue], names: tuple[str, ...]) -> list[str]:
    """The texts of the named arguments; a list gives each of its texts."""
    found: list[str] = []
    for name in names:
        value = arguments.get(name)
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, list):
            found.extend(item for item in value if isinstance(item, str))
    return [text for text in found if text]


def quantity(arguments: Mapping[str, JsonValue], name: str) -> int:
    """How many, or how much: a number rounded up, the length of a list, or a text of digits.

    Raises:
        UnscorableError: the argument is missing or says no quantity.
    """
    value = arguments.get(name)
    if isinstance(value, list):
        return len(value)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:  # noqa: PLR2004  # 64 bits
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnscorableError(f"the argument {name} says no quantity")
    numerator, denominator = value.as_integer_ratio()
    return abs(-(-numerator // denominator))
