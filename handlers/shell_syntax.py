"""A shell text as a syntax tree: tree-sitter's nodes with the text that they stand for."""

from collections.abc import Iterator
from functools import cache

import tree_sitter_bash
from tree_sitter import Language, Node, Parser

MAX_BYTES = 8_192
"""The longest text that is read. A longer one is refused, never cut."""

MAX_OPERATORS = 512
"""The most of the shell's special characters in one text: the parser's time grows with the square of some of them."""

_OPERATORS = "|&;()<>{}$`[]=~!*?@#^+\\"
_SUBSTITUTIONS = frozenset({"command_substitution", "process_substitution"})


class UnparseableError(ValueError):
    """A text that cannot be read as a command line; the message says why."""


class Syntax:
    """A node and the text it was read from.

    The parser sees a letter in place of every character that is not ASCII: the grammar crashes the process on some of
    them, and to a shell they are all letters. One character is then one byte, and a node's text is a slice.
    """

    __slots__ = ("_node", "_text", "kind")

    def __init__(self, node: Node, text: str) -> None:
        self._node = node
        self._text = text
        self.kind = node.type

    @property
    def source(self) -> str:
        """The text as written."""
        return self._text[self._node.start_byte : self._node.end_byte]

    @property
    def parts(self) -> list["Syntax"]:
        """The named nodes directly inside."""
        return [Syntax(child, self._text) for child in self._node.named_children]

    @property
    def tokens(self) -> list["Syntax"]:
        """The nodes directly inside, punctuation included."""
        return [Syntax(child, self._text) for child in self._node.children]

    @property
    def is_compound(self) -> bool:
        """Whether there is anything inside."""
        return self._node.child_count > 0

    @property
    def is_substitution(self) -> bool:
        """Whether it is `$(...)`, backquotes or `<(...)`."""
        return self.kind in _SUBSTITUTIONS

    @property
    def is_detached(self) -> bool:
        """Whether an `&` follows."""
        following = self._node.next_sibling
        return following is not None and following.type == "&"

    def field(self, name: str) -> "Syntax | None":
        """The node inside that the grammar calls by this name."""
        found = self._node.child_by_field_name(name)
        return None if found is None else Syntax(found, self._text)

    def word(self) -> str:
        """A word as the shell would pass it, quotes removed; expansions as written."""
        source = self.source
        match self.kind:
            case "raw_string":
                return source[1:-1]
            case "string" | "translated_string":
                return _unescaped(source[source.index('"') + 1 : -1], '"\\$`\n')
            case "ansi_c_string":
                return source if "\\" in source else source[2:-1]
            case "concatenation" | "command_name":
                return "".join(part.word() for part in self.tokens)
            case "word":
                return _unescaped(source, None)
            case _:
                return source

    def variables(self) -> Iterator[str]:
        """The names expanded anywhere inside, but not in substitutions, which are commands of their own."""
        pending: list[Syntax] = [self]
        while pending:
            inside = pending.pop()
            if inside.kind == "simple_expansion" or (inside.kind == "expansion" and not inside.hides_value()):
                yield from (part.source for part in inside.parts if part.kind == "variable_name")
            pending.extend(part for part in inside.parts if not part.is_substitution)

    def hides_value(self) -> bool:
        """Whether an expansion says only whether there is a value (`${A:+yes}`), or how long it is (`${#A}`)."""
        return any(token.kind in {":+", "+", "#"} for token in self.tokens[1:3])

    def assignments(self) -> tuple[tuple[str, str], ...]:
        """The variables set here, with their values."""
        if self.kind != "variable_assignment":
            inside = (part for part in self.parts if part.kind == "variable_assignment")
            return tuple(pair for part in inside for pair in part.assignments())
        name, value = self.field("name"), self.field("value")
        return (("" if name is None else name.source, "" if value is None else value.word()),)


def tree_of(text: str) -> Syntax:
    """The syntax tree of a text.

    Raises:
        UnparseableError: no shell would read it, or it is beyond the limits.
    """
    plain = text if text.isascii() else "".join(letter if letter.isascii() else "x" for letter in text)
    if len(plain) > MAX_BYTES:
        raise UnparseableError(f"longer than {MAX_BYTES} characters")
    if "\0" in plain:
        raise UnparseableError("a text with a null character")
    if sum(map(plain.count, _OPERATORS)) > MAX_OPERATORS:
        raise UnparseableError(f"more than {MAX_OPERATORS} special characters")
    root = Parser(_language()).parse(plain.encode()).root_node
    if root.has_error:
        raise UnparseableError("no command line")
    return Syntax(root, text)


@cache
def _language() -> Language:
    return Language(tree_sitter_bash.language())


def _unescaped(source: str, only: str | None) -> str:
    """The text without the backslashes that quote what follows (`only` these, where not any)."""
    if "\\" not in source:
        return source
    kept: list[str] = []
    escaped = False
    for letter in source:
        if escaped:
            kept.append(letter if only is None or letter in only else "\\" + letter)
            escaped = False
        elif letter == "\\":
            escaped = True
        else:
            kept.append(letter)
    return "".join(kept)
