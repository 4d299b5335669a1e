"""A shell command line as the commands it would run: parsed by tree-sitter, never searched for words, never run."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache

import tree_sitter_bash
from tree_sitter import Language, Node, Parser

from handlers.words import word_set

MAX_BYTES = 8_192
"""The longest command line that is read. A longer one is refused, never cut."""

MAX_COMMANDS = 256
"""The most commands of one line, those inside substitutions and `sh -c` included."""

MAX_OPERATORS = 512
"""The most of the shell's special characters in one text: the parser's time grows with the square of some of them."""

MAX_DEPTH = 100
"""How deep statements, substitutions and quoted command lines may be nested."""

_OPERATORS = tuple(bytes((byte,)) for byte in b"|&;()<>{}$`[]=~!*?@#^+\\")

MAX_DIGITS = 15
"""A longer figure is none: it is beyond what JSON numbers hold."""

SHELLS = frozenset({"sh", "bash", "zsh", "dash", "ksh", "ash", "fish"})

_SUPERUSER = frozenset({"sudo", "doas", "su", "runuser", "pkexec"})

_WRAPPERS: dict[str, tuple[frozenset[str], int]] = {
    # what runs another command: its flags that take a value, and how many words of its own come before the command
    "sudo": (frozenset({"-u", "-g", "-h", "-p", "-C", "-D", "-R", "-T", "-U", "--user", "--group", "--chdir"}), 0),
    "doas": (frozenset({"-u", "-C"}), 0),
    "pkexec": (frozenset({"--user"}), 0),
    "env": (frozenset({"-u", "-C", "--unset", "--chdir"}), 0),
    "busybox": (frozenset(), 0),
    "nohup": (frozenset(), 0),
    "setsid": (frozenset(), 0),
    "time": (frozenset({"-f", "-o"}), 0),
    "timeout": (frozenset({"-k", "-s", "--kill-after", "--signal"}), 1),
    "nice": (frozenset({"-n", "--adjustment"}), 0),
    "ionice": (frozenset({"-c", "-n"}), 0),
    "stdbuf": (frozenset({"-i", "-o", "-e"}), 0),
    "chroot": (frozenset({"--userspec"}), 1),
    "flock": (frozenset({"-w", "-E"}), 1),
    "strace": (frozenset({"-e", "-o", "-p"}), 0),
    "unbuffer": (frozenset(), 0),
    "command": (frozenset(), 0),
    "builtin": (frozenset(), 0),
    "exec": (frozenset({"-a"}), 0),
    "xargs": (
        frozenset({"-I", "-n", "-P", "-L", "-d", "-a", "-E", "-s", "--max-args", "--max-procs", "--arg-file"}),
        0,
    ),
    "parallel": (frozenset({"-j", "--jobs", "-a"}), 0),
    "watch": (frozenset({"-n", "--interval"}), 0),
}

_CONTAINERS = frozenset({("docker",), ("podman",), ("nerdctl",), ("kubectl",), ("oc",)})

_REMOTE_VALUE_FLAGS = word_set("-b -c -D -E -e -F -I -i -J -L -l -m -O -o -p -Q -R -S -W -w")

_NEVER_FALSE = frozenset({"true", ":", "[ 1 ]", "[[ 1 ]]", "((1))", "(( 1 ))", "[ true ]", "[[ true ]]", "test 1"})


class UnparseableError(ValueError):
    """A text that cannot be read as a command line; the message says why."""


@dataclass(frozen=True, slots=True)
class Command:
    """One simple command.

    Attributes:
        words: the program, without its folder, and its arguments, with quotes removed; an expansion stands as written.
        program_path: the program as written.
        variables: the names of the variables expanded in the words.
        assignments: variables set for it (or by it: `export`), with their values.
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
        many: it runs once for each of an unknown number of inputs (`xargs`, `find -exec`, a loop over a list).
    """

    words: tuple[str, ...]
    program_path: str = ""
    variables: tuple[str, ...] = ()
    assignments: tuple[tuple[str, str], ...] = ()
    writes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    text: str | None = None
    fed_by: tuple[str, ...] = ()
    folder: str = ""
    repeats: int = 1
    endless: bool = False
    breaks: bool = False
    background: bool = False
    privileged: bool = False
    many: bool = False
    host: str = ""

    @property
    def program(self) -> str:
        """The program's name, or an empty text for a mere assignment or redirection."""
        return self.words[0] if self.words else ""


def parse(text: str) -> tuple[Command, ...]:
    """The commands that a shell would run for this text, in order, wrappers such as `sudo` and `sh -c` opened.

    Raises:
        UnparseableError: not a command line, or longer, deeper or more than the limits of this module.
    """
    reader = _Reader()
    reader.read(text, _Around())
    return tuple(reader.commands)


@dataclass(frozen=True, slots=True)
class _Around:
    """What the statements around a command say of it."""

    depth: int = 0
    fed_by: tuple[str, ...] = ()
    repeats: int = 1
    endless: bool = False
    breaks: bool = False
    background: bool = False
    privileged: bool = False
    many: bool = False
    host: str = ""
    writes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    text: str | None = None


@dataclass(slots=True)
class _Reader:
    commands: list[Command] = field(default_factory=list[Command])
    folder: str = ""

    def read(self, text: str, around: _Around) -> None:
        source = text.encode("utf-8", "surrogatepass")
        if len(source) > MAX_BYTES:
            raise UnparseableError(f"longer than {MAX_BYTES} bytes")
        if sum(map(source.count, _OPERATORS)) > MAX_OPERATORS:
            raise UnparseableError(f"more than {MAX_OPERATORS} special characters")
        tree = Parser(_language()).parse(source)
        if tree.root_node.has_error:
            raise UnparseableError("not a command line")
        self.statement(tree.root_node, around)

    def statement(self, node: Node, around: _Around) -> None:
        around = replace(around, depth=around.depth + 1)
        if around.depth > MAX_DEPTH:
            raise UnparseableError(f"nested deeper than {MAX_DEPTH}")
        match node.type:
            case "command":
                self.command(node, around)
            case "declaration_command" | "variable_assignment" | "variable_assignments" | "unset_command":
                self.assignment(node, around)
            case "pipeline":
                self.pipeline(node, around)
            case "redirected_statement":
                self.redirected(node, around)
            case "for_statement" | "c_style_for_statement":
                self.statements(node, _within_for(node, around))
            case "while_statement":
                self.statements(node, _within_while(node, around))
            case "function_definition":
                self.function(node, around)
            case _:
                self.statements(node, around)

    def statements(self, node: Node, around: _Around) -> None:
        """Every statement inside, in order; one before an `&` runs in the background."""
        for child in node.children:
            if child.is_named and child.child_count:
                following = child.next_sibling
                detached = following is not None and following.type == "&"
                self.statement(child, replace(around, background=True) if detached else around)

    def function(self, node: Node, around: _Around) -> None:
        """The body as if it were run here; a function that starts itself has no end."""
        name = node.child_by_field_name("name")
        first = len(self.commands)
        self.statements(node, around)
        if name is not None and any(command.program == _source(name) for command in self.commands[first:]):
            self.commands[first:] = [replace(command, endless=True) for command in self.commands[first:]]

    def pipeline(self, node: Node, around: _Around) -> None:
        fed_by = around.fed_by
        for child in node.children:
            if child.is_named and child.child_count:
                first = len(self.commands)
                self.statement(child, replace(around, fed_by=fed_by))
                fed_by = (*fed_by, *(command.program for command in self.commands[first:]))

    def redirected(self, node: Node, around: _Around) -> None:
        parts = [child for child in node.children if child.is_named]
        body = None if parts[0].type.endswith("_redirect") else parts[0]
        redirects = parts if body is None else parts[1:]
        within = around
        for redirect in redirects:
            within = self.redirect(redirect, within)
        if body is None or not body.child_count:
            self.add(Command((), writes=within.writes, reads=within.reads, text=within.text, folder=self.folder))
        else:
            self.statement(body, within)

    def redirect(self, node: Node, around: _Around) -> _Around:
        self.substitutions(node, around)
        if node.type == "heredoc_redirect":
            return self.heredoc(node, around)
        where = node.named_children[-1] if node.named_children else node
        if node.type == "herestring_redirect":
            return replace(around, text=_text(where))
        if any(child.type in {"<", "<&", "<>"} for child in node.children):
            return replace(around, reads=(*around.reads, _text(where)))
        if where.type == "number" or _text(where) in {"/dev/null", "/dev/stderr", "/dev/stdout", "-"}:
            return around
        return replace(around, writes=(*around.writes, _text(where)))

    def heredoc(self, node: Node, around: _Around) -> _Around:
        """The document as the command's input; redirections and commands may follow its first word."""
        for child in node.named_children:
            if child.type == "heredoc_body":
                around = replace(around, text=_source(child))
            elif child.type.endswith("_redirect"):
                around = self.redirect(child, around)
            elif child.type not in {"heredoc_start", "heredoc_end", "file_descriptor"} and child.child_count:
                self.statement(child, replace(around, text=None, fed_by=("here-document",)))
        return around

    def assignment(self, node: Node, around: _Around) -> None:
        self.substitutions(node, around)
        words = (node.children[0].type,) if node.type in {"declaration_command", "unset_command"} else ()
        pairs = _assignments(node)
        self.add(Command(words, assignments=pairs, variables=_variables(node), folder=self.folder))

    def command(self, node: Node, around: _Around) -> None:
        words: list[str] = []
        within = around
        for child in node.named_children:
            if child.type.endswith("_redirect"):
                within = self.redirect(child, within)
            elif child.type != "variable_assignment":
                words.append(_text(child))
                self.substitutions(child, around)
            else:
                self.substitutions(child, around)
        self.words(tuple(words), _variables(node), _assignments(node), within)

    def substitutions(self, node: Node, around: _Around) -> None:
        """The commands inside `$(...)`, backquotes and `<(...)`, wherever they stand in a word."""
        inside = replace(around, depth=around.depth + 1, writes=(), reads=(), text=None, fed_by=())
        for child in node.named_children:
            if child.type in {"command_substitution", "process_substitution"}:
                self.statement(child, inside)
            elif child.child_count:
                if inside.depth > MAX_DEPTH:
                    raise UnparseableError(f"nested deeper than {MAX_DEPTH}")
                self.substitutions(child, inside)
        if node.type in {"command_substitution", "process_substitution"}:
            self.statements(node, inside)

    def words(
        self,
        words: tuple[str, ...],
        variables: tuple[str, ...],
        assignments: tuple[tuple[str, str], ...],
        around: _Around,
    ) -> None:
        """A command by its words: as it is, or what it wraps."""
        if around.depth > MAX_DEPTH:
            raise UnparseableError(f"nested deeper than {MAX_DEPTH}")
        program = words[0].rpartition("/")[2] if words else ""
        if program in _SUPERUSER:
            around = replace(around, privileged=True)
        if program in _WRAPPERS and not (program == "env" and "-S" in words) and (inner := _wrapped(program, words)):
            self.words(*_leading_assignments(inner, variables, assignments), _around_wrapped(program, around))
            return
        command = Command(
            (program, *words[1:]),
            words[0] if words else "",
            variables,
            assignments,
            around.writes,
            around.reads,
            around.text,
            around.fed_by,
            self.folder,
            around.repeats,
            around.endless,
            around.breaks,
            around.background,
            around.privileged,
            around.many,
            around.host,
        )
        self.add(command)
        if program == "cd":
            self.folder = _joined(self.folder, words[1] if len(words) > 1 else "~")
        self.inner(command, replace(around, depth=around.depth + 1, writes=(), reads=(), text=None, fed_by=()))

    def inner(self, command: Command, around: _Around) -> None:
        """The command lines and commands that a command's own arguments hold."""
        for line, host in _lines_in(command):
            self.read(line, replace(around, host=host or around.host))
        for inner, host in _commands_in(command):
            self.words(inner, command.variables, (), replace(around, host=host or around.host, many=not host))

    def add(self, command: Command) -> None:
        if len(self.commands) >= MAX_COMMANDS:
            raise UnparseableError(f"more than {MAX_COMMANDS} commands")
        self.commands.append(command)


def _lines_in(command: Command) -> Iterator[tuple[str, str]]:
    """Texts that a command hands to a shell, each with the machine it goes to."""
    words = command.words
    if command.program in SHELLS | {"su", "runuser"}:
        if line := after_short_flag(words, "c"):
            yield line, ""
        elif command.text is not None and command.program in SHELLS:
            yield command.text, ""
    elif command.program in {"eval", "trap"}:
        yield " ".join(words[1:] if command.program == "eval" else words[1:2]), ""
    elif command.program == "env" and (line := after_short_flag(words, "S")):
        yield line, ""
    elif command.program == "ssh" and (line := remote_line(words)):
        yield line, " ".join(words[1:-1])


def _commands_in(command: Command) -> Iterator[tuple[tuple[str, ...], str]]:
    """Commands whose words stand among a command's own, each with the container they go to."""
    words = command.words
    if command.program == "find":
        for inner in _found(words):
            yield inner, ""
    elif inner := in_container(words):
        yield inner, " ".join(words[1 : len(words) - len(inner)])


@cache
def _language() -> Language:
    return Language(tree_sitter_bash.language())


def _source(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


def _text(node: Node) -> str:
    """A word as the shell would pass it, quotes removed; expansions as written."""
    source = _source(node)
    match node.type:
        case "raw_string":
            return source[1:-1]
        case "string" | "translated_string":
            return _unescaped(source[source.index('"') + 1 : -1], '"\\$`\n')
        case "ansi_c_string":
            return source if "\\" in source else source[2:-1]
        case "concatenation" | "command_name":
            return "".join(_text(child) for child in node.children)
        case "word":
            return _unescaped(source, None)
        case _:
            return source


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


def _variables(node: Node) -> tuple[str, ...]:
    """The names expanded anywhere inside, but not in substitutions, which are commands of their own."""
    names: list[str] = []
    pending = [node]
    while pending:
        inside = pending.pop()
        if inside.type == "simple_expansion" or (inside.type == "expansion" and not _hides(inside)):
            names.extend(_source(child) for child in inside.named_children if child.type == "variable_name")
        pending.extend(
            child
            for child in inside.named_children
            if child.type not in {"command_substitution", "process_substitution"}
        )
    return tuple(names)


def _hides(expansion: Node) -> bool:
    """Whether an expansion says only whether there is a value (`${A:+yes}`), or how long it is (`${#A}`)."""
    return any(child.type in {":+", "+", "#"} for child in expansion.children[1:2] + expansion.children[2:3])


def _assignments(node: Node) -> tuple[tuple[str, str], ...]:
    if node.type == "variable_assignment":
        name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        return ((_source(name) if name else "", _text(value) if value else ""),)
    return tuple(
        pair for child in node.named_children if child.type == "variable_assignment" for pair in _assignments(child)
    )


def _within_for(node: Node, around: _Around) -> _Around:
    times = _times(node)
    if times is None:
        return replace(around, many=True)
    return replace(around, repeats=min(around.repeats * times, 2**53))


def _times(node: Node) -> int | None:
    """How often a `for` runs, where its head says it in figures; 0 is an endless one's."""
    head = [child for child in node.named_children if child.type not in {"variable_name", "do_group", "comment"}]
    if node.type == "c_style_for_statement":
        return _counted(" ".join(_source(child) for child in head))
    if len(head) == 1 and head[0].type in {"brace_expression", "command_substitution"}:
        return _counted(_source(head[0]))
    if any(child.type in {"command_substitution", "simple_expansion", "expansion"} for child in head):
        return None
    if any("*" in _source(child) or "?" in _source(child) for child in head):
        return None
    return max(1, len(head))


def _counted(head: str) -> int | None:
    """The largest figure in the head of a counted loop: `{1..200}`, `$(seq 1 200)`, `i=0 i<200 i++`."""
    figures = [
        int(run) for run in "".join(c if c in "0123456789" else " " for c in head).split() if len(run) <= MAX_DIGITS
    ]
    return max(figures) if figures and ("seq" in head or ".." in head or "<" in head or ">" in head) else None


def _within_while(node: Node, around: _Around) -> _Around:
    condition = next((child for child in node.named_children if child.type not in {"do_group", "comment"}), None)
    if condition is None or " ".join(_source(condition).split()) not in _NEVER_FALSE:
        return replace(around, many=True)
    return replace(around, endless=True, breaks=_leaves(node))


def _leaves(node: Node) -> bool:
    """Whether a loop's body holds a command that leaves it."""
    pending = [node]
    while pending:
        inside = pending.pop()
        if inside.type == "command_name" and _source(inside) in {"break", "return", "exit"}:
            return True
        pending.extend(inside.named_children)
    return False


def _around_wrapped(program: str, around: _Around) -> _Around:
    around = replace(around, depth=around.depth + 1)
    if program in {"xargs", "parallel"}:
        return replace(around, many=True)
    if program == "watch":
        return replace(around, endless=True)
    return replace(around, background=True) if program in {"nohup", "setsid"} else around


def _wrapped(program: str, words: tuple[str, ...]) -> tuple[str, ...]:
    """The words of the command that a wrapper runs; none if it runs none."""
    valued, own = _WRAPPERS[program]
    at = 1
    while at < len(words):
        word = words[at]
        if word == "--":
            at += 1
            break
        if word.startswith("-") and len(word) > 1:
            at += 2 if word in valued else 1
        else:
            break
    return words[at + own :]


def _leading_assignments(
    words: tuple[str, ...], variables: tuple[str, ...], assignments: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[str, str], ...]]:
    """`A=1 B=2 command`, as `env` takes it: the words from the command on, and what is set for it."""
    at = 0
    while at < len(words) and "=" in words[at] and words[at].partition("=")[0].isidentifier():
        at += 1
    pairs = tuple((name, value) for name, _, value in (word.partition("=") for word in words[:at]))
    return words[at:], variables, (*assignments, *pairs)


def after_short_flag(words: tuple[str, ...], letter: str) -> str:
    """The word after the first short flag that holds the letter (`-c`, `-lc`)."""
    for at, word in enumerate(words[1:-1], start=1):
        if word.startswith("-") and not word.startswith("--") and letter in word:
            return words[at + 1]
    return ""


def remote_line(words: tuple[str, ...]) -> str:
    """What `ssh` runs on the other machine."""
    at = 1
    while at < len(words) and words[at].startswith("-"):
        at += 2 if words[at] in _REMOTE_VALUE_FLAGS else 1
    return " ".join(words[at + 1 :])


def _found(words: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The commands that `find` runs on what it finds."""
    found: list[tuple[str, ...]] = []
    at = 0
    while at < len(words):
        if words[at] in {"-exec", "-execdir", "-ok", "-okdir"}:
            end = next((i for i in range(at + 1, len(words)) if words[i] in {";", "+"}), len(words))
            found.append(words[at + 1 : end])
            at = end
        at += 1
    return found


def in_container(words: tuple[str, ...]) -> tuple[str, ...]:
    """The command that `docker exec`, `docker run` or `kubectl exec` runs inside."""
    if words[:1] not in _CONTAINERS or "exec" not in words:
        return ()
    if "--" in words:
        return words[words.index("--") + 1 :]
    if words[0] in {"kubectl", "oc"}:
        return ()
    at = words.index("exec") + 1
    while at < len(words) and words[at].startswith("-"):
        at += 2 if words[at] in {"-e", "-u", "-w", "--env", "--user", "--workdir"} else 1
    return words[at + 1 :]


def _joined(folder: str, to: str) -> str:
    return to if to.startswith(("/", "~", "$")) or not folder else f"{folder.rstrip('/')}/{to}"
