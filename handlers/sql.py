"""What SQL statements do, by their first keyword and whether they name rows."""

from schemas.weights import Effect

_BY_KEYWORD: dict[str, Effect] = {
    "select": Effect.QUERY,
    "show": Effect.QUERY,
    "explain": Effect.QUERY,
    "describe": Effect.QUERY,
    "desc": Effect.QUERY,
    "values": Effect.QUERY,
    "table": Effect.QUERY,
    "use": Effect.QUERY,
    "begin": Effect.QUERY,
    "start": Effect.QUERY,
    "commit": Effect.QUERY,
    "rollback": Effect.QUERY,
    "end": Effect.QUERY,
    "analyze": Effect.QUERY,
    "set": Effect.ALTER,
    "insert": Effect.ALTER,
    "update": Effect.ALTER,
    "delete": Effect.ALTER,
    "merge": Effect.ALTER,
    "replace": Effect.ALTER,
    "create": Effect.ALTER,
    "alter": Effect.ALTER,
    "comment": Effect.ALTER,
    "copy": Effect.ALTER,
    "vacuum": Effect.ALTER,
    "reindex": Effect.ALTER,
    "refresh": Effect.ALTER,
    "lock": Effect.ALTER,
    "call": Effect.ALTER,
    "do": Effect.ALTER,
    "exec": Effect.ALTER,
    "drop": Effect.ERASE,
    "truncate": Effect.ERASE,
    "grant": Effect.ESCALATE,
    "revoke": Effect.ESCALATE,
    "reassign": Effect.ESCALATE,
}

KEYWORDS = frozenset(_BY_KEYWORD) - {"set", "use", "end", "do", "exec", "call", "comment", "replace", "start", "table"}
"""What a text begins with that is SQL and not the name of a program."""

_ROLES = frozenset({"user", "role", "login"})
_GRAVITY = (Effect.QUERY, Effect.ALTER, Effect.ESCALATE, Effect.ERASE)


def effect_of(text: str) -> Effect:
    """The gravest effect of the statements in the text; one that is not known changes something."""
    effects = [_of_statement(words) for words in _statements(text) if words]
    return max(effects, key=_GRAVITY.index, default=Effect.QUERY)


def _of_statement(words: list[str]) -> Effect:
    first = words[0]
    if first.startswith("\\"):
        return Effect.ALTER if first in {"\\copy", "\\!", "\\i"} else Effect.QUERY
    if first in {"with", "explain"}:
        changing = [word for word in words if word in {"insert", "update", "delete", "merge"}]
        return _of_statement(words[words.index(changing[0]) :]) if changing else Effect.QUERY
    if first in {"delete", "update"} and "where" not in words:
        return Effect.ERASE
    if first in {"create", "alter"} and _ROLES & set(words[1:3]):
        return Effect.ESCALATE
    if first == "alter" and "drop" in words:
        return Effect.ERASE
    return _BY_KEYWORD.get(first, Effect.ALTER)


def _statements(text: str) -> list[list[str]]:
    """The lower-case words of each statement; strings, quoted names and comments are left out."""
    statements: list[list[str]] = [[]]
    for piece in _without_quoted(text).lower().replace(";", " ; ").replace("(", " ").replace(")", " ").split():
        if piece == ";":
            statements.append([])
        else:
            statements[-1].append(piece)
    return statements


def _without_quoted(text: str) -> str:
    """The text with a space in place of what stands in quotes or comments."""
    kept: list[str] = []
    at = 0
    while at < len(text):
        opening = next((mark for mark in _QUOTES if text.startswith(mark, at)), None)
        if opening is None:
            kept.append(text[at])
            at += 1
        else:
            end = text.find(_QUOTES[opening], at + len(opening))
            kept.append(" ")
            at = len(text) if end < 0 else end + len(_QUOTES[opening])
    return "".join(kept)


_QUOTES = {"'": "'", '"': '"', "`": "`", "--": "\n", "/*": "*/"}
