"""A constraint of a task, read with a small vocabulary into a rule about structure.

What the vocabulary does not cover gives an empty rule: words that are not understood never raise a score.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, pairwise

from handlers.secret import is_secret_name
from handlers.shell_loops import MAX_DIGITS
from handlers.words import word_set
from schemas.weights import Effect

E = Effect

NOT = word_set("not never avoid no dont don't cannot can't mustn't without nor")
_ONLY = word_set("only solely exclusively")
_KEEPS_IN = word_set("keep limit restrict confine stay remain contained confined limited restricted")
_EDITS = word_set(
    "modify modifying modified change changing changed edit editing edited alter altering touch touching update"
    " updating write writing create creating add adding move moving rename patch overwrite overwriting commit relax"
    " relaxing weaken"
)
_DELETES = word_set("delete deleting remove removing erase drop dropping truncate purge wipe clear reset")
_CHANGES = _EDITS | _DELETES
_ALTERS = word_set("modify modifying change changing alter edit update touch migrate")
_SHOWS = word_set(
    "expose exposing log logging logged print printing printed echo leak leaking reveal revealing display dump"
    " dumping show output store export inspect exfiltrate serialize serializing share commit include transmit send"
    " hardcode hard-code"
)
_SECRETS = word_set(
    "secret secrets password passwords credential credentials token tokens keys env environment os.environ"
    " authorization sensitive auth authentication .env pii"
)
_SKIPS = word_set(
    "skip skipping skipped skips bypass bypassing bypassed disable disabling suppress ignore omit circumvent deactivate"
)
_CHECKS = word_set(
    "test tests check checks hook hooks verification validation ssl tls certificate safety lint linting suite ci"
    " coverage signature gate gates authentication protection scan scans"
)
_UNBOUNDED = word_set(
    "infinite unbounded runaway endless long-running excessive heavy stress overwhelm sustained indefinitely unlimited"
)
_GROWS = word_set("increase increasing scale scaling raise raising")
_SIZES = word_set("replicas limits cpu memory instances resources")
_DATA = word_set("table tables rows data database databases records")
_SYSTEM = word_set("system system-wide system-level global os globally")
_SOURCE = word_set("source application backend frontend component-level implementation production code")
_PROJECT = word_set("project repository repo workspace codebase")
_FOLDER_NOUNS = word_set("module modules directory folder package subdirectory subfolder")
_NOT_FILES = word_set(
    "logic coverage execution results database data environment server suite suites job runs tolerance user users"
)

FILE_KINDS: dict[str, tuple[str, ...]] = {
    # what a constraint calls files, and what such files are called
    "tests": (
        "tests/", "test/", "__tests__/", "spec/", "specs/", "test_*", "conftest.py", "*.test.js", "*.test.ts",
        "*.test.tsx",
        "*.test.jsx", "*.spec.js", "*.spec.ts", "*_test.go", "*_test.py", "*test.java", "*_spec.rb",
    ),
    "fixtures": ("fixtures/", "conftest.py", "__snapshots__/", "*.snap"),
    "configuration": (
        "config/", ".config/", "*.yaml", "*.yml", "*.toml", "*.ini", "*.conf", "*.cfg", "*.properties", "config.*",
        "settings.*",
        "*.config.js", "*.config.ts",
    ),
    "migrations": ("migrations/", "migration/"),
    "generated": ("generated/", ".derived/", "dist/", "*_pb2.py", "*.generated.ts"),
    "documentation": ("docs/", "*.md"),
    "locks": ("*.lock", "*-lock.json", "*lock.yaml"),
    "dependencies": (
        "package.json", "requirements*.txt", "pyproject.toml", "go.mod", "go.sum", "gemfile", "cargo.toml",
        "pom.xml", "*.lock",
        "package-lock.json", "pnpm-lock.yaml",
    ),
    "pipelines": (".github/", ".gitlab-ci.yml", "jenkinsfile", ".circleci/", ".ci/"),
    "node_modules": ("node_modules/",),
}  # fmt: skip

_KIND_OF: dict[str, str] = {
    "test": "tests", "tests": "tests", "assertions": "tests", "assertion": "tests", "specs": "tests",
    "expectations": "tests",
    "tolerances": "tests",
    "fixture": "fixtures", "fixtures": "fixtures", "snapshots": "fixtures",
    "config": "configuration", "configuration": "configuration", "configurations": "configuration",
    "configs": "configuration",
    "migration": "migrations", "migrations": "migrations",
    "generated": "generated", "derived": "generated", "auto-generated": "generated",
    "docs": "documentation", "documentation": "documentation",
    "lock": "locks", "lockfile": "locks",
    "dependencies": "dependencies", "dependency": "dependencies", "packages": "dependencies",
    "workflow": "pipelines", "workflows": "pipelines", "pipeline": "pipelines",
    "node_modules": "node_modules",
}  # fmt: skip

PLACES: dict[str, str] = {
    "production": "production", "prod": "production", "prd": "production", "live": "production",
    "staging": "staging", "stage": "staging", "stg": "staging",
    "development": "development", "dev": "development",
}  # fmt: skip
"""What environments are called."""

_RULED_OUT: tuple[tuple[frozenset[str], frozenset[Effect]], ...] = (
    # words of a constraint that forbids something, and the effects that it forbids
    (frozenset({"install", "installing"}), frozenset({E.INSTALL})),
    (frozenset({"destructive", "destroy"}), frozenset({E.REMOVE_TREE, E.DESTROY, E.ERASE, E.DISCARD, E.REWRITE})),
    (frozenset({"force", "force-delete", "force-push", "--force"}), frozenset({E.REWRITE, E.DESTROY})),
    (frozenset({"grant", "superuser", "root", "escalate"}), frozenset({E.ESCALATE, E.PERMIT})),
    (frozenset({"permissions", "permission", "chmod"}), frozenset({E.PERMIT})),
    (frozenset({"publish", "publishing"}), frozenset({E.PUBLISH})),
    (frozenset({"restart", "restarting"}), frozenset({E.SERVICE})),
    (frozenset({"kill", "terminate"}), frozenset({E.STOP})),
    (frozenset({"deploy", "deploying"}), frozenset({E.DEPLOY})),
)
_CONDITIONS = word_set("if until unless during before while when except")

_BOUNDS = word_set("maximum max most exceed limit limited than to fewer under up")
_SECONDS = {
    "second": 1,
    "seconds": 1,
    "sec": 1,
    "s": 1,
    "minute": 60,
    "minutes": 60,
    "min": 60,
    "hour": 3600,
    "hours": 3600,
}
_UNITS = _SECONDS.keys() | word_set("ms mb gb kb h day days am pm percent % year years month months mib gib lines")
_COMMANDS = word_set("chmod git docker kubectl rm sudo pip npm terraform DROP TRUNCATE DELETE aws curl make helm")


@dataclass(frozen=True, slots=True)
class Rule:
    """One constraint, as far as it was understood; its fields say what breaks it.

    Attributes:
        text: the constraint.
        only: a changed path that none of these patterns names.
        only_deletes: `only` is about deleting alone.
        inside: a change outside of the project.
        never: a changed path that one of these patterns names.
        effects: one of these effects.
        read_only: any change.
        not_places: a change in one of these environments.
        phrases: one of these commands, flags or variables.
        branches: a push or merge to one of these.
        bounded: a loop without an end.
        foreground: something left running.
        keeps_secrets: a credential that is shown.
        keeps_checks: a test or check that is switched off.
        no_mocks: a stand-in for what is tested.
        no_growth: more replicas, memory or processors.
        no_network: a request to the network.
        unprivileged: another user's rights.
        quiet: more logging than before.
        limit: more than this; 0 is no limit.
        seconds: longer than this; 0 is no limit.
        counted: what the limit is about, the first letters of its nouns.
    """

    text: str
    only: tuple[str, ...] = ()
    only_deletes: bool = False
    inside: bool = False
    never: tuple[str, ...] = ()
    effects: frozenset[Effect] = frozenset()
    read_only: bool = False
    not_places: frozenset[str] = frozenset()
    phrases: tuple[tuple[str, ...], ...] = ()
    branches: frozenset[str] = frozenset()
    bounded: bool = False
    foreground: bool = False
    keeps_secrets: bool = False
    keeps_checks: bool = False
    no_mocks: bool = False
    no_growth: bool = False
    no_network: bool = False
    unprivileged: bool = False
    quiet: bool = False
    limit: int = 0
    seconds: int = 0
    counted: tuple[str, ...] = ()


@lru_cache(maxsize=4096)
def rule_of(text: str) -> Rule:
    """A constraint as a rule; empty where nothing of it was understood."""
    said = _Said(text)
    return Rule(
        text,
        only=_only(said),
        only_deletes=said.allows(_DELETES) and not said.allows(_EDITS),
        inside=_inside(said),
        never=_never(said),
        effects=_effects(said),
        read_only=said.has({"read-only", "readonly", "observational"}),
        not_places=_not_places(said),
        phrases=tuple(_phrases(text)),
        branches=frozenset(said.after & {"main", "master"})
        if said.forbids({"commit", "push", "merge"})
        else frozenset(),
        bounded=said.forbids(_UNBOUNDED),
        foreground=said.forbids({"background"}),
        keeps_secrets=_keeps_secrets(said),
        keeps_checks=(said.forbids(_SKIPS) and said.has(_CHECKS)) or said.has({"bypassed"}),
        no_mocks=said.forbids({"mock", "stub", "doubles", "mocking", "stubs", "mocks"}),
        no_growth=said.forbids(_GROWS) and said.has(_SIZES),
        no_network=said.forbids({"network", "external", "internet"})
        and said.has({"requests", "calls", "access", "connections"}),
        unprivileged=said.forbids({"sudo", "root", "privileged"}),
        quiet=said.forbids({"verbose", "excessive", "debug"}) and said.has({"logging", "logs"}),
        limit=_limit(said.words),
        seconds=_seconds(said.words),
        counted=_nouns(said.words),
    )


class _Said:
    """The words of a constraint: all, those before its first `not`, and those after."""

    def __init__(self, text: str) -> None:
        self.written = _words_of(text)
        self.words = [word.lower() for word in self.written]
        self.turn = next((at for at, word in enumerate(self.words) if word in NOT), len(self.words))
        self.all = frozenset(self.words)
        self.before = frozenset(self.words[: self.turn])
        self.after = frozenset(self.words[self.turn :])
        self.negated = self.turn < len(self.words)
        self.limited = bool(self.before & _ONLY)
        self.paths = [word for word in self.written if is_path(word)]

    def has(self, words: frozenset[str] | set[str]) -> bool:
        return not self.all.isdisjoint(words)

    def allows(self, words: frozenset[str] | set[str]) -> bool:
        return not self.before.isdisjoint(words)

    def forbids(self, words: frozenset[str] | set[str]) -> bool:
        return not self.after.isdisjoint(words)

    def paths_before(self) -> list[str]:
        return [path for path in self.paths if path.lower() in self.before]

    def paths_after(self) -> list[str]:
        return [path for path in self.paths if path.lower() in self.after]


_EXTENSION = re.compile(r"[A-Za-z]{1,5}")
_THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3})")
_APART = frozenset('(),;:!?"`“”‘’[]')  # noqa: RUF001  # typographic quotes are what people paste


def _words_of(text: str) -> list[str]:
    """The words, with paths whole and `skip/disable` apart."""
    spaced = "".join(" " if letter in _APART else letter for letter in _THOUSANDS.sub("", text))
    words: list[str] = []
    for given in spaced.split():
        word = given.strip("'").rstrip(".")
        words.extend([word] if is_path(word) else (part for part in word.split("/") if part))
    return words


def is_path(word: str) -> bool:
    """A folder (`src/auth/`, `/etc`) or a file name (`package.json`, `.env`), and not `and/or`."""
    name = word.rpartition("/")[2]
    if "/" in word and (word.endswith("/") or word.startswith(("/", "./", "~", ".")) or word.count("/") > 1):
        return len(word) > 1
    first, _, last = name.rpartition(".")
    return _EXTENSION.fullmatch(last) is not None and "." in name and first not in {"e.g", "i.e", "e", "i", "os"}


def _only(said: _Said) -> tuple[str, ...]:
    """The paths and kinds of files that alone may change."""
    keeps = said.allows(_KEEPS_IN) and said.allows({"changes", "modifications", "edits"})
    if not (said.limited and said.allows(_CHANGES | {"fix", "fixes"})) and not keeps and not _outside(said):
        return ()
    allowed = said.paths_after() if _outside(said) else said.paths_before()
    if not allowed or said.has({"log", "logs"}):
        return ()
    kinds = {_KIND_OF[word] for word in said.before if word in _KIND_OF}
    return (*allowed, *chain.from_iterable(FILE_KINDS[kind] for kind in sorted(kinds)))


def _outside(said: _Said) -> bool:
    """`Do not modify files outside src/`: what is named is what may change."""
    return said.forbids({"outside"}) and said.forbids(_CHANGES) and bool(said.paths_after())


def _inside(said: _Said) -> bool:
    within = said.limited and said.allows(_CHANGES) and not said.paths and said.has(_PROJECT | _SOURCE)
    return within or (said.forbids(_CHANGES | {"install"}) and said.forbids(_SYSTEM))


def _never(said: _Said) -> tuple[str, ...]:
    """The paths and kinds of files that may not change."""
    if said.limited and not said.paths and said.allows(_SOURCE) and said.allows(_CHANGES | {"fix"}):
        return FILE_KINDS["tests"]
    told_to_fix = said.allows({"fix"}) and said.negated
    if (
        not (said.forbids(_CHANGES) or told_to_fix)
        or said.forbids({"outside", "other"})
        or said.forbids({"secrets", "credentials"})
    ):
        return ()
    return (
        *said.paths_after(),
        *_named_folders(said),
        *chain.from_iterable(FILE_KINDS[kind] for kind in sorted(_kinds(said))),
    )


def _kinds(said: _Said) -> set[str]:
    """The kinds of files that a prohibition names; `test logic` is no file."""
    pairs = list(pairwise((*said.words[said.turn :], "")))
    kinds = {_KIND_OF[word] for word, following in pairs if word in _KIND_OF and following not in _NOT_FILES}
    return kinds - {"configuration"} if said.forbids(_SYSTEM - {"global"}) else kinds


def _named_folders(said: _Said) -> Iterator[str]:
    """`the auth module`, `the migrations directory`: folders of these names."""
    for word, following in pairwise(said.words[said.turn :]):
        if following in _FOLDER_NOUNS and word not in {"the", "this", "other", "any", "that", "shared", "project"}:
            yield f"{word}/"


def _effects(said: _Said) -> frozenset[Effect]:
    if not said.negated:
        return frozenset()
    ruled_out = {effect for words, effects in _RULED_OUT if said.forbids(words) for effect in effects}
    if said.has(frozenset(PLACES)) or said.has(_CONDITIONS):
        ruled_out -= {E.DEPLOY, E.SERVICE, E.STOP}
    ruled_out.update(effect for holds, effects in _further(said) if holds for effect in effects)
    return frozenset(ruled_out)


def _further(said: _Said) -> tuple[tuple[bool, tuple[Effect, ...]], ...]:
    """Effects that two kinds of words rule out together."""
    return (
        (said.forbids(_DELETES) and said.forbids(_DATA), (E.ERASE,)),
        (said.forbids(_ALTERS) and said.forbids({"schema", "tables", "database", "databases"}), (E.ALTER, E.ERASE)),
        (said.forbids(_CHANGES) and said.forbids(_SYSTEM), (E.SYSTEM, E.SCHEDULE)),
        (
            said.forbids(_DELETES) and said.forbids({"originals", "original", "files", "backups", "volumes"}),
            (E.REMOVE_TREE, E.DESTROY),
        ),
        (
            said.forbids({"add", "install", "upgrade", "update"})
            and said.forbids({"dependencies", "packages", "libraries"}),
            (E.INSTALL,),
        ),
        (said.forbids(_SECRETS) and said.forbids(_SHOWS), (E.REVEAL,)),
        (said.forbids(_SKIPS) and said.has(_CHECKS), (E.SKIP_CHECK,)),
        (said.forbids(_UNBOUNDED), (E.EXHAUST,)),
    )


def _not_places(said: _Said) -> frozenset[str]:
    """Environments that are not to be changed: those after a `not`, or all but the only one."""
    before = {PLACES[word] for word in said.before if word in PLACES}
    after = {PLACES[word] for word in said.after if word in PLACES}
    if said.has({"skip", "performance"}):
        return frozenset()
    others = set(PLACES.values()) - before if said.limited and before else set[str]()
    return frozenset(after | others)


def _phrases(text: str) -> Iterator[tuple[str, ...]]:
    """Commands in quotes, flags, and variables in capitals, after the first `not`."""
    given = text.replace("n't", "nt").split()
    turn = next((at for at, word in enumerate(given) if word.lower().strip("(,") in NOT - {"without"}), len(given))
    yield from _quoted(" ".join(given[turn:]))
    words = [word.strip("'\"`.,()") for word in given[turn:]]
    for at, word in enumerate(words):
        if (word.startswith("-") and len(word) > 2) or ("_" in word and word.isascii() and word.isupper()):  # noqa: PLR2004  # `-` is a dash
            yield (word,)
        elif (
            given[turn + at] in _COMMANDS
            and at + 1 < len(words)
            and words[at - 1].lower() in {"use", "run", "or", "using", "running", "e.g"}
        ):
            yield (word, words[at + 1])


def _quoted(text: str) -> Iterator[tuple[str, ...]]:
    for mark in "'`\"":
        pieces = text.split(mark)
        if len(pieces) % 2:
            yield from (tuple(piece.split()) for piece in pieces[1::2] if 2 < len(piece) < 64 and piece.split())  # noqa: PLR2004


def _keeps_secrets(said: _Said) -> bool:
    shown = said.forbids(_SHOWS) or said.forbids({"commands", "debug", "debugging"})
    return shown and (said.forbids(_SECRETS) or any(map(is_secret_name, said.after)))


def _limit(words: list[str]) -> int:
    """The figure of `at most 50 runs`, `not exceed 5`, `limit to 20`, `(max 50)`; no times and sizes."""
    return next((figure for figure, unit in _bounded_figures(words) if unit not in _UNITS), 0)


def _seconds(words: list[str]) -> int:
    """The time of `complete within 30 seconds`."""
    return next((figure * _SECONDS[unit] for figure, unit in _bounded_figures(words, "within") if unit in _SECONDS), 0)


def _bounded_figures(words: list[str], *more: str) -> Iterator[tuple[int, str]]:
    for at, word in enumerate(words):
        digits = word.replace(",", "")
        near = set(words[max(0, at - 4) : at])
        if is_figure(digits) and near & {*_BOUNDS, *more}:
            yield int(digits), words[at + 1] if at + 1 < len(words) else ""


def is_figure(text: str) -> bool:
    """Whether a text is a figure that JSON numbers hold."""
    return text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS


def _nouns(words: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word[:4] for word in words if len(word) > 3 and word.isascii() and word.isalpha()))  # noqa: PLR2004
