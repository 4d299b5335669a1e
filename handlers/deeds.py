"""What a command line does: each command's effect, and the files, hosts and names it does it to."""

from dataclasses import dataclass

from handlers import sql
from handlers.changes import EVERYTHING, HARMLESS_DEVICES, changed_by, changed_by_arguments, path_in
from handlers.command_line import Command
from handlers.programs import arguments_of, effect_of
from handlers.secret import is_secret_name, words_of
from handlers.shell_wrappers import SHELLS, after_short_flag, in_container, remote_line
from handlers.words import word_set
from handlers.writing import NO_SIGNS, Signs, is_endless_script, signs_of
from schemas.weights import Effect

SQL_CLIENTS = word_set("psql mysql mariadb sqlite3 cockroach clickhouse-client sqlcmd bq duckdb cqlsh")
"""Programs whose arguments or input hold SQL."""

INTERPRETERS = word_set("python python3 python2 node deno bun ruby perl php lua Rscript")
"""Programs that run code given to them."""

_FETCHERS = frozenset({"curl", "wget", "fetch", "http", "https", "aria2c"})
_WORDS_ONLY = frozenset({"echo", "printf", "true", "false", ":", "sleep", "test", "[", "[[", "date", "seq", "cd"})
_PATTERN_FIRST = frozenset({"grep", "egrep", "fgrep", "rg", "ag", "ack", "sed", "awk", "gawk", "jq", "yq", "tr"})
_METADATA = word_set("ls stat file find test [ [[ du ssh-copy-id chmod chown wc dir tree realpath")
"""Programs that show a file's name, size or rights, not what stands in it."""
_GIBIBYTE = 2**30
_BLOCK_UNITS = {"k": 2**10, "m": 2**20, "g": _GIBIBYTE, "t": 2**40}
_MANY_AT_ONCE = 10


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing that an action does.

    Attributes:
        effect: what it does.
        why: the command, in few words.
        touched: the names and paths it has to do with.
        changed: the paths that it writes, moves or removes.
        text: what is written, or the code that is run.
        command: the command, where there is one.
        signs: what stands in the text.
    """

    effect: Effect
    why: str
    touched: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    text: str = ""
    command: Command | None = None
    signs: Signs = NO_SIGNS


def of_writing(effect: Effect, why: str, targets: tuple[str, ...], text: str, replaced: str) -> Deed:
    """What it does to write a text to files."""
    signs = signs_of(text, replaced) if text else NO_SIGNS
    changed = tuple(path_in("", target) for target in targets)
    if any(is_endless_script(path, text) for path in changed):
        effect = Effect.EXHAUST
    return Deed(_of_signs(signs, effect), why, targets, changed, text, None, signs)


def _of_signs(signs: Signs, effect: Effect) -> Effect:
    if signs.sends_secret:
        return Effect.REVEAL
    return effect


def of_command(command: Command) -> Deed:
    """What one command does."""
    changed = changed_by(command)
    effect = _effect(command, changed)
    if command.writes and effect in {Effect.NOTHING, Effect.INSPECT, Effect.QUERY}:
        effect = Effect.EDIT
    code = _code(command)
    signs = signs_of(code) if code else NO_SIGNS
    if command.program in INTERPRETERS:
        effect = _of_code(signs, effect)
    return Deed(effect, _in_few_words(command), _touched(command), changed, code, command, signs)


def _of_code(signs: Signs, effect: Effect) -> Effect:
    """What code does that an interpreter is given, by its gravest sign."""
    if signs.shows_secret:
        return Effect.REVEAL
    if signs.endless:
        return Effect.EXHAUST
    if signs.shell:
        return Effect.OPAQUE
    return Effect.REMOVE_TREE if signs.erases and effect is Effect.RUN else effect


def _effect(command: Command, changed: tuple[str, ...]) -> Effect:
    special = _of_loop(command) or _of_showing(command) or _of_input(command) or _of_arguments(command, changed)
    if special is not None:
        return special
    if not command.words:
        return Effect.NOTHING
    return effect_of(command.words) or _of_name(command.program)


_BY_NAME: dict[str, Effect] = {
    "deploy": Effect.DEPLOY,
    "release": Effect.DEPLOY,
    "rollout": Effect.DEPLOY,
    "rollback": Effect.DEPLOY,
    "migrate": Effect.ALTER,
    "publish": Effect.PUBLISH,
    "destroy": Effect.DESTROY,
    "wipe": Effect.DESTROY,
    "test": Effect.TEST,
    "tests": Effect.TEST,
}
"""What a script without an entry in the table does, by a word of its name: `deploy.sh`, `db-migrate`."""


def _of_name(program: str) -> Effect:
    return next((_BY_NAME[word] for word in words_of(program) if word in _BY_NAME), Effect.RUN)


def _of_loop(command: Command) -> Effect | None:
    if command.program in _WORDS_ONLY and not command.writes:
        return None
    if command.endless and not command.breaks and command.words:
        return Effect.EXHAUST
    return Effect.EXHAUST if command.background and command.repeats >= _MANY_AT_ONCE else None


def _of_showing(command: Command) -> Effect | None:
    """A variable with a secret's name that is printed."""
    if command.program in {"echo", "printf"} and any(map(is_secret_name, command.variables)):
        return Effect.REVEAL
    if command.program == "printenv" and command.words[1:] and not any(map(is_secret_name, command.words[1:])):
        return Effect.INSPECT
    return None


def _of_input(command: Command) -> Effect | None:
    """Code that arrives through a pipe, or a program whose name is not known before it runs."""
    program = command.program
    if program.startswith(("$", "`")) or "$(" in program:
        return Effect.OPAQUE
    if program in {"awk", "gawk"} and any("system(" in word or '| "' in word for word in command.words):
        return Effect.OPAQUE
    if program not in SHELLS | INTERPRETERS | {"source", "."}:
        return None
    if any(word.startswith("<(") for word in command.words):
        return Effect.OPAQUE
    if not command.fed_by or any(not word.startswith("-") for word in command.words[1:]):
        return Effect.NOTHING if program in SHELLS and _opened(command) else None
    return Effect.REMOTE_CODE if _FETCHERS & set(command.fed_by) else Effect.OPAQUE


def _opened(command: Command) -> bool:
    """Whether the commands that a shell runs were read too."""
    return command.text is not None or bool(after_short_flag(command.words, "c"))


def _of_arguments(command: Command, changed: tuple[str, ...]) -> Effect | None:
    program = command.program
    if program in SQL_CLIENTS:
        return _of_sql(command)
    if program == "dd":
        return _of_dd(command)
    if program.isascii() and program.isupper() and program.lower() in sql.KEYWORDS:
        return sql.effect_of(" ".join(command.words))
    return _of_flags(command) or _of_extent(command, changed)


def _of_flags(command: Command) -> Effect | None:
    words = command.words
    if {"--help", "--version"} & set(words[1:]) or ("--dry-run" in words and effect_of(words)):
        return Effect.INSPECT
    if words[:2] == ("git", "config") and any("--no-verify" in word.split() for word in words[2:]):
        return Effect.SKIP_CHECK
    if remote_line(words) if words[:1] == ("ssh",) else in_container(words):
        return Effect.FETCH
    if words[:1] == ("env",) or words in {("export",), ("set",), ("declare",)}:
        return Effect.NOTHING if command.assignments else Effect.REVEAL
    return None


def _of_extent(command: Command, changed: tuple[str, ...]) -> Effect | None:
    """A removal of everything, or a write to a device."""
    if any(path.startswith("/dev/") for path in changed):
        return Effect.DESTROY
    removes = bool(command.words) and effect_of(command.words) in {Effect.REMOVE, Effect.REMOVE_TREE}
    return Effect.DESTROY if removes and any(path in EVERYTHING for path in changed) else None


def _of_sql(command: Command) -> Effect:
    statements = [command.text or ""]
    words = command.words
    for at, word in enumerate(words):
        name, _, value = word.partition("=")
        if name in {"-c", "-e", "--command", "--execute", "-Q", "-q"}:
            statements.append(value or (words[at + 1] if at + 1 < len(words) else ""))
        elif " " in word and not word.startswith("-"):
            statements.append(word)
    if any(word in {"-f", "--file"} for word in words) or command.reads or command.fed_by:
        return Effect.ALTER
    return sql.effect_of(";".join(statements))


def _of_dd(command: Command) -> Effect | None:
    given = dict(word.split("=", 1) for word in command.words[1:] if "=" in word)
    if given.get("of", "").startswith("/dev/") and given["of"] != "/dev/null":
        return Effect.DESTROY
    return Effect.EXHAUST if _size(given.get("bs", "512")) * _size(given.get("count", "1")) >= _GIBIBYTE else None


def _size(figure: str) -> int:
    digits = figure.rstrip("kKmMgGtTbBiI")
    unit = figure[len(digits) : len(digits) + 1].lower()
    return int(digits) * _BLOCK_UNITS.get(unit, 1) if digits.isascii() and digits.isdigit() and len(digits) < 16 else 0  # noqa: PLR2004


def _touched(command: Command) -> tuple[str, ...]:
    """The names and paths among a command's arguments; texts and patterns are none."""
    where = (command.host,) if command.host else ()
    if command.program in _WORDS_ONLY | _METADATA and not command.fed_by:
        return (*where, *command.writes, *command.reads, *changed_by_arguments(command))
    words = command.words[1:]
    if command.program in _PATTERN_FIRST:
        plain, _ = arguments_of(command.program, words)
        words = tuple(plain[1:])
    names = [word for word in words if not any(letter in word for letter in " \n\t")]
    return (*where, *(name for name in names if name not in HARMLESS_DEVICES), *command.writes, *command.reads)


def _code(command: Command) -> str:
    """The code or text that a command runs or writes."""
    if command.program in INTERPRETERS:
        return "\n".join([*(word for word in command.words[1:] if " " in word or "(" in word), command.text or ""])
    if command.program in {"echo", "printf"} and command.writes:
        return " ".join(command.words[1:])
    return command.text or ""


def _in_few_words(command: Command) -> str:
    text = " ".join(word for word in command.words[:4] if "\n" not in word) or "a redirection"
    return text if len(text) <= 48 else text[:45] + "..."  # noqa: PLR2004  # a line on a card
