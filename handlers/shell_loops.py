"""How often a shell's loop runs what is in it."""

from handlers.shell_syntax import Syntax

MAX_DIGITS = 15
"""A longer figure is none: it is beyond what JSON numbers hold."""

_NEVER_FALSE = frozenset({"true", ":", "[ 1 ]", "[[ 1 ]]", "((1))", "(( 1 ))", "[ true ]", "[[ true ]]", "test 1"})
_UNKNOWN = frozenset({"command_substitution", "simple_expansion", "expansion"})


def times(loop: Syntax) -> int:
    """How often a `for` runs, where its head says it in figures or words; else 1."""
    head = [part for part in loop.parts if part.kind not in {"variable_name", "do_group", "comment"}]
    if loop.kind == "c_style_for_statement":
        return _largest(" ".join(part.source for part in head))
    if len(head) == 1 and head[0].kind in {"brace_expression", "command_substitution"}:
        return _largest(head[0].source)
    return 1 if any(part.kind in _UNKNOWN for part in head) else max(1, len(head))


def _largest(head: str) -> int:
    """The largest figure in the head of a counted loop: `{1..200}`, `$(seq 1 200)`, `i=0 i<200 i++`."""
    if not any(sign in head for sign in ("seq", "..", "<", ">")):
        return 1
    digits = "".join(letter if letter in "0123456789" else " " for letter in head)
    return max((int(run) for run in digits.split() if len(run) <= MAX_DIGITS), default=1)


def is_endless(loop: Syntax) -> bool:
    """Whether a `while` has a condition that is never false."""
    condition = next((part for part in loop.parts if part.kind not in {"do_group", "comment"}), None)
    return condition is not None and " ".join(condition.source.split()) in _NEVER_FALSE


def is_left(loop: Syntax) -> bool:
    """Whether a loop's body holds a command that leaves it."""
    pending = [loop]
    while pending:
        inside = pending.pop()
        if inside.kind == "command_name" and inside.source in {"break", "return", "exit"}:
            return True
        pending.extend(inside.parts)
    return False
