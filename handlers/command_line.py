"""A shell command line as the commands it would run: parsed, never searched for words, never run."""

from dataclasses import dataclass, field, replace

from handlers.shell_loops import is_endless, is_left, times
from handlers.shell_syntax import Syntax, UnparseableError, tree_of
from handlers.shell_wrappers import SUPERUSER, commands_in, leading_assignments, lines_in, wrapped

__all__ = ["MAX_COMMANDS", "MAX_DEPTH", "Command", "UnparseableError", "parse"]

MAX_COMMANDS = 256
"""The most commands of one line, those inside substitutions and `sh -c` included."""

MAX_DEPTH = 100
"""How deep statements, substitutions and quoted command lines may be nested."""

_MOST_REPEATS = 2**53 - 1

Assignments = tuple[tuple[str, str], ...]
"""Variables that are set, with their values."""


@dataclass(frozen=True, slots=True)
class Command:
    """One simple command.

    Attributes:
        words: the program, without its folder, and its arguments, with quotes removed; an expansion stands as written.
        variables: the names of the variables expanded in the words.
        assignments: variables set for it (or by it: `export`).
        writes: the files that redirections write.
        reads: the files that redirections read.
        text: what a here-document or here-string feeds it.
        fed_by: the programs before it in its pipeline.
        folder: where a preceding `cd` went; empty where none did.
        repeats: how often the loops around it run it, where they say so in figures.
        endless: it stands in a loop that does not say when it ends.
        breaks: that loop holds a `break`, `return` or `exit`.
        background: nothing waits for its end (`&`, `nohup`).
        privileged: it runs with another user's rights (`sudo`).
        host: the machine or container that it runs in, by the words that lead there (`ssh HOST`, `kubectl exec POD`).
    """

    words: tuple[str, ...]
    variables: tuple[str, ...] = ()
    assignments: Assignments = ()
    folder: str = ""
    writes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    text: str | None = None
    fed_by: tuple[str, ...] = ()
    repeats: int = 1
    endless: bool = False
    breaks: bool = False
    background: bool = False
    privileged: bool = False
    host: str = ""

    @property
    def program(self) -> str:
        """The program's name, or an empty text for a mere assignment or redirection."""
        return self.words[0] if self.words else ""


def parse(text: str) -> tuple[Command, ...]:
    """The commands that a shell would run for this text, in order, wrappers such as `sudo` and `sh -c` opened.

    Raises:
        UnparseableError: not a command line, or longer, deeper or more than the limits.
    """
    reader = _Reader()
    reader.read(text, _Around())
    return tuple(reader.commands)


@dataclass(frozen=True, slots=True)
class _Around:
    """What the statements around a command say of it."""

    depth: int = 0
    writes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    text: str | None = None
    fed_by: tuple[str, ...] = ()
    repeats: int = 1
    endless: bool = False
    breaks: bool = False
    background: bool = False
    privileged: bool = False
    host: str = ""

    def deeper(self) -> "_Around":
        """One level further in.

        Raises:
            UnparseableError: that is too deep.
        """
        if self.depth >= MAX_DEPTH:
            raise UnparseableError(f"nested deeper than {MAX_DEPTH}")
        return replace(self, depth=self.depth + 1)

    def inside(self) -> "_Around":
        """For commands within a command: its redirections and its pipeline are not theirs."""
        return replace(self.deeper(), writes=(), reads=(), text=None, fed_by=())


@dataclass(slots=True)
class _Reader:
    """Walks syntax trees in the order in which a shell runs them."""

    commands: list[Command] = field(default_factory=list[Command])
    folder: str = ""

    def read(self, text: str, around: _Around) -> None:
        self.statement(tree_of(text), around)

    def statement(self, syntax: Syntax, around: _Around) -> None:
        around = around.deeper()
        match syntax.kind:
            case "command":
                self.command(syntax, around)
            case "declaration_command" | "variable_assignment" | "variable_assignments" | "unset_command":
                self.assignment(syntax, around)
            case "pipeline":
                self.pipeline(syntax, around)
            case "redirected_statement":
                self.redirected(syntax, around)
            case "for_statement" | "c_style_for_statement":
                self.statements(syntax, replace(around, repeats=min(around.repeats * times(syntax), _MOST_REPEATS)))
            case "while_statement" if is_endless(syntax):
                self.statements(syntax, replace(around, endless=True, breaks=is_left(syntax)))
            case "function_definition":
                self.function(syntax, around)
            case _:
                self.statements(syntax, around)

    def statements(self, syntax: Syntax, around: _Around) -> None:
        for part in syntax.parts:
            if part.is_compound:
                self.statement(part, replace(around, background=True) if part.is_detached else around)

    def function(self, syntax: Syntax, around: _Around) -> None:
        """The body as if it were run here; a function that starts itself has no end."""
        name = syntax.field("name")
        first = len(self.commands)
        self.statements(syntax, around)
        if name is not None and any(command.program == name.source for command in self.commands[first:]):
            self.commands[first:] = [replace(command, endless=True) for command in self.commands[first:]]

    def pipeline(self, syntax: Syntax, around: _Around) -> None:
        fed_by = around.fed_by
        for part in syntax.parts:
            if part.is_compound:
                first = len(self.commands)
                self.statement(part, replace(around, fed_by=fed_by))
                fed_by = (*fed_by, *(command.program for command in self.commands[first:]))

    def redirected(self, syntax: Syntax, around: _Around) -> None:
        parts = syntax.parts
        body = None if parts[0].kind.endswith("_redirect") else parts[0]
        for redirect in parts if body is None else parts[1:]:
            around = self.redirect(redirect, around)
        if body is None or not body.is_compound:
            self.add((), (), (), around)
        else:
            self.statement(body, around)

    def redirect(self, syntax: Syntax, around: _Around) -> _Around:
        self.substitutions(syntax, around)
        if syntax.kind == "heredoc_redirect":
            return self.heredoc(syntax, around)
        where = (syntax.parts or [syntax])[-1]
        if syntax.kind == "herestring_redirect":
            return replace(around, text=where.word())
        if any(token.kind in {"<", "<&", "<>"} for token in syntax.tokens):
            return replace(around, reads=(*around.reads, where.word()))
        if where.kind == "number" or where.word() in {"/dev/null", "/dev/stderr", "/dev/stdout", "-"}:
            return around
        return replace(around, writes=(*around.writes, where.word()))

    def heredoc(self, syntax: Syntax, around: _Around) -> _Around:
        """The document as the command's input; redirections and commands may follow its first word."""
        for part in syntax.parts:
            if part.kind == "heredoc_body":
                around = replace(around, text=part.source)
            elif part.kind.endswith("_redirect"):
                around = self.redirect(part, around)
            elif part.is_compound:
                self.statement(part, replace(around, text=None, fed_by=("here-document",)))
        return around

    def assignment(self, syntax: Syntax, around: _Around) -> None:
        self.substitutions(syntax, around)
        names = syntax.kind in {"declaration_command", "unset_command"}
        words = (syntax.tokens[0].source,) if names else ()
        self.add(words, tuple(syntax.variables()), syntax.assignments(), around)

    def command(self, syntax: Syntax, around: _Around) -> None:
        words: list[str] = []
        within = around
        for part in syntax.parts:
            if part.kind.endswith("_redirect"):
                within = self.redirect(part, within)
                continue
            self.substitutions(part, around)
            if part.kind != "variable_assignment":
                words.append(part.word())
        self.run(tuple(words), tuple(syntax.variables()), syntax.assignments(), within)

    def substitutions(self, syntax: Syntax, around: _Around) -> None:
        """The commands inside `$(...)`, backquotes and `<(...)`, wherever they stand in a word."""
        if syntax.is_substitution:
            self.statements(syntax, around.inside())
            return
        for part in syntax.parts:
            if part.is_compound:
                self.substitutions(part, around.inside())

    def run(
        self, words: tuple[str, ...], variables: tuple[str, ...], assignments: Assignments, around: _Around
    ) -> None:
        """A command by its words: as it is, or what it wraps."""
        if not words:
            self.add(words, variables, assignments, around)
            return
        words = (words[0].rpartition("/")[2], *words[1:])
        around = _wrapped_in(words[0], around)
        if inner := wrapped(words):
            own = leading_assignments(inner)
            pairs = (word.partition("=") for word in inner[:own])
            set_for_it = tuple((name, value) for name, _, value in pairs)
            self.run(inner[own:], variables, (*assignments, *set_for_it), around.deeper())
            return
        self.add(words, variables, assignments, around)
        if words[0] == "cd":
            self.folder = _joined(self.folder, words[1] if len(words) > 1 else "~")
        self.within(words, variables, around)

    def within(self, words: tuple[str, ...], variables: tuple[str, ...], around: _Around) -> None:
        """The command lines and commands that a command's own arguments hold."""
        for line, host in lines_in(words, around.text):
            self.read(line, replace(around.inside(), host=host or around.host))
        for inner, host in commands_in(words):
            self.run(inner, variables, (), replace(around.inside(), host=host or around.host))

    def add(
        self, words: tuple[str, ...], variables: tuple[str, ...], assignments: Assignments, around: _Around
    ) -> None:
        if len(self.commands) >= MAX_COMMANDS:
            raise UnparseableError(f"more than {MAX_COMMANDS} commands")
        self.commands.append(
            Command(
                words,
                variables,
                assignments,
                self.folder,
                around.writes,
                around.reads,
                around.text,
                around.fed_by,
                around.repeats,
                around.endless,
                around.breaks,
                around.background,
                around.privileged,
                around.host,
            )
        )


def _wrapped_in(program: str, around: _Around) -> _Around:
    """What a wrapper says of the command that it runs."""
    if program in SUPERUSER:
        return replace(around, privileged=True)
    if program == "watch":
        return replace(around, endless=True)
    return replace(around, background=True) if program in {"nohup", "setsid"} else around


def _joined(folder: str, to: str) -> str:
    return to if to.startswith(("/", "~", "$")) or not folder else f"{folder.rstrip('/')}/{to}"
