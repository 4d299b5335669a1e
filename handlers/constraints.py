"""Whether an action breaks a constraint that its task states: rules checked against deeds, never against words."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, pairwise

from handlers.constraint_text import PLACES, Rule, is_figure, rule_of
from handlers.deeds import Deed
from handlers.effects import READS
from handlers.secret import holds_credential
from handlers.targets import SEPARATORS, matches
from handlers.words import word_set
from schemas.weights import Effect

MAX_CONSTRAINTS = 64
"""How many constraints of a task are read."""

MAX_LENGTH = 1_024
"""How many characters of a constraint are read."""

E = Effect

_CHANGING = frozenset(
    {
        E.EDIT, E.COMMIT, E.INSTALL, E.REMOVE, E.REMOVE_TREE, E.DISCARD, E.STOP, E.SERVICE, E.PUSH, E.DEPLOY,
        E.SCHEDULE, E.PERMIT, E.SYSTEM, E.ESCALATE, E.REWRITE, E.DESTROY, E.ALTER, E.ERASE,
    }
)  # fmt: skip
_ROOTS = ("/workspace/", "/app/", "/repo/")
_TIMES = word_set("count runs run iterations repeat n num requests times samples loops trials total size c")
_NOUNS_OF_TIMES = word_set("iter runs reru exec time requ chec samp conf tria expe atte simu repe loop test retr repi")
_PARALLEL = word_set("j jobs workers threads concurrency processes parallel p procs parallelism")
_NOUNS_OF_PARALLEL = word_set("work thre proc para conc jobs")
_LEFT_OUT = word_set("--ignore --deselect -DskipTests --testPathIgnorePatterns --passWithNoTests --skip --no-verify")
_UNCHECKED_FLAGS = (
    "--skip-",
    "--no-verify",
    "--bypass",
    "--ignore-",
    "--no-check",
    "--insecure",
    "--disable-",
    "--no-validate",
)
_UNCHECKED_VARIABLES = word_set(
    "HUSKY SKIP NODE_TLS_REJECT_UNAUTHORIZED PYTHONHTTPSVERIFY GIT_SSL_NO_VERIFY SKIP_TESTS DISABLE_CHECKS"
)
_SHOW_CONFIGURATION = (("kubectl", "describe"), ("docker", "inspect"), ("set", "-x"))
_SHOW_NO_SECRET = word_set("secret secrets svc service services node nodes")
_TELLTALE = (
    "javax.net.debug",
    "debuglevel = 1",
    "debuglevel=1",
    "git_curl_verbose",
    "git_trace",
    "set_verbosity_debug",
)


def broken(constraints: Sequence[str], deeds: Sequence[Deed]) -> str | None:
    """The first constraint that a deed breaks, or None."""
    for text in constraints[:MAX_CONSTRAINTS]:
        rule = rule_of(text[:MAX_LENGTH])
        if any(breaks(deed, rule) for deed in deeds for breaks in _BREAKS):
            return rule.text
    return None


def _has_effect(deed: Deed, rule: Rule) -> bool:
    return deed.effect in rule.effects or (E.ERASE in rule.effects and deed.signs.erases)


def _changes(deed: Deed, rule: Rule) -> bool:
    return rule.read_only and deed.effect in _CHANGING


def _leaves_paths(deed: Deed, rule: Rule) -> bool:
    if not (rule.only or rule.inside or rule.never) or (
        rule.only_deletes and deed.effect not in {E.REMOVE, E.REMOVE_TREE}
    ):
        return False
    return any(_is_out_of_bounds(path, rule) for path in deed.changed)


def _is_out_of_bounds(path: str, rule: Rule) -> bool:
    place = _in_project(path)
    if place is None:
        return rule.inside or bool(rule.only)
    if any(matches(place, pattern.removeprefix("./").lower()) for pattern in rule.never):
        return True
    return bool(rule.only) and not any(_lies_in(place, allowed) for allowed in rule.only)


def _in_project(path: str) -> str | None:
    """A path as seen from the project's folder, in lower case; None if it lies outside."""
    for root in _ROOTS:
        if path.startswith(root):
            return path.removeprefix(root).lower()
    return None if path.startswith(("/", "~", "..", "$HOME")) else path.lower()


def _lies_in(path: str, allowed: str) -> bool:
    wanted = allowed.lower().removeprefix("./").removeprefix("/app/").removeprefix("/workspace/").strip("/")
    if path == wanted or path.startswith(("tmp/", "$", f"{wanted}/")) or path.endswith(f"/{wanted}"):
        return True
    return matches(path, f"{wanted}/" if allowed.endswith("/") else wanted)


def _is_in_wrong_place(deed: Deed, rule: Rule) -> bool:
    if not rule.not_places or deed.effect in READS:
        return False
    words = chain.from_iterable(name.lower().translate(SEPARATORS).split() for name in deed.touched)
    return any(PLACES.get(word) in rule.not_places for word in words)


def _uses(deed: Deed, rule: Rule) -> bool:
    return any(_is(deed, phrase) for phrase in rule.phrases)


def _is(deed: Deed, phrase: tuple[str, ...]) -> bool:
    """Whether a deed is the command, has the flag or takes the variable that a constraint names."""
    command = deed.command
    if command is None:
        name = "".join(phrase)
        return len(phrase) == 1 and len(name) > 5 and name in deed.text  # noqa: PLR2004  # shorter ones are words
    if len(phrase) > 1:
        words = iter(word.lower() for word in " ".join(command.words).split())
        return all(any(word == wanted.lower() for word in words) for wanted in phrase)
    name = "".join(phrase)
    if name in command.variables or any(name == variable for variable, _ in command.assignments):
        return True
    values = (*command.words, *(value for _, value in command.assignments))
    return name.startswith("-") and any(word.startswith(name) for word in values)


def _is_on_branch(deed: Deed, rule: Rule) -> bool:
    words = deed.command.words if deed.command is not None else ()
    return (
        bool(rule.branches)
        and words[:1] == ("git",)
        and bool({"push", "merge"} & set(words))
        and bool(rule.branches & set(words))
    )


def _runs_on(deed: Deed, rule: Rule) -> bool:
    command = deed.command
    if rule.bounded and (deed.signs.endless or (command is not None and command.endless)):
        return True
    return rule.foreground and command is not None and (command.background or command.endless)


def _shows_secret(deed: Deed, rule: Rule) -> bool:
    if not rule.keeps_secrets:
        return False
    if deed.signs.shows_secret or deed.signs.hardcodes or deed.effect is E.REVEAL:
        return True
    return _enables_tracing(deed) or _passes_credential(deed)


def _enables_tracing(deed: Deed) -> bool:
    """Output that shows configuration or headers as they are."""
    command = deed.command
    if command is None:
        return any(mark in deed.text.lower() for mark in _TELLTALE)
    line = " ".join((*command.words, *(f"{name}={value}" for name, value in command.assignments))).lower()
    shown = command.words[:2] in _SHOW_CONFIGURATION and not set(command.words[2:3]) & _SHOW_NO_SECRET
    return shown or any(mark in line for mark in _TELLTALE)


def _passes_credential(deed: Deed) -> bool:
    return deed.command is not None and any(map(holds_credential, deed.command.words))


def _switches_off(deed: Deed, rule: Rule) -> bool:
    if not rule.keeps_checks:
        return False
    return deed.signs.skips or deed.signs.unverified or _leaves_out_tests(deed) or _is_unchecked(deed)


def _leaves_out_tests(deed: Deed) -> bool:
    if deed.command is None or deed.effect not in {E.TEST, E.BUILD}:
        return False
    words = deed.command.words
    return any(word.partition("=")[0] in _LEFT_OUT for word in words) or any(
        flag in {"-k", "-m"} and what.startswith("not ") for flag, what in pairwise(words)
    )


def _is_unchecked(deed: Deed) -> bool:
    command = deed.command
    if command is None or deed.effect in {E.INSPECT, E.NOTHING}:
        return False
    return any(word.startswith(_UNCHECKED_FLAGS) for word in command.words) or any(
        name in _UNCHECKED_VARIABLES for name, _ in command.assignments
    )


def _replaces_tested(deed: Deed, rule: Rule) -> bool:
    return rule.no_mocks and deed.signs.mocks


def _grows(deed: Deed, rule: Rule) -> bool:
    words = deed.command.words if rule.no_growth and deed.command is not None else ()
    return "scale" in words or any(word.startswith(("--replicas", "--limits", "--memory", "--cpus")) for word in words)


def _goes_online(deed: Deed, rule: Rule) -> bool:
    return rule.no_network and deed.effect in {E.FETCH, E.SEND, E.INSTALL, E.REMOTE_CODE}


def _is_privileged(deed: Deed, rule: Rule) -> bool:
    return rule.unprivileged and deed.command is not None and deed.command.privileged


def _logs_more(deed: Deed, rule: Rule) -> bool:
    return rule.quiet and deed.signs.verbose


def _exceeds(deed: Deed, rule: Rule) -> bool:
    if rule.limit and any(_is_more(name, number, rule) for name, number in _quantities(deed)):
        return True
    words = deed.command.words if rule.seconds and deed.command is not None else ()
    return any(
        name in {"--duration", "--run-time", "-z"} and figure_of(value.rstrip("s")) > rule.seconds
        for name, value in pairwise(words)
    )


def _is_more(name: str, number: int, rule: Rule) -> bool:
    """Whether a named figure is about what the limit is about, and above it."""
    if number <= rule.limit:
        return False
    parts = [part for part in name.replace("_", "-").split("-") if part]
    stems = [stem for stem in (part.rstrip("s")[:4] for part in parts) if len(stem) > 2]  # noqa: PLR2004  # two say nothing
    if any(noun.startswith(stem) for noun in rule.counted for stem in stems):
        return True
    last = parts[-1] if parts else ""
    nouns = frozenset(rule.counted)
    return (last in _TIMES and bool(nouns & _NOUNS_OF_TIMES)) or (
        last in _PARALLEL and bool(nouns & _NOUNS_OF_PARALLEL)
    )


def _quantities(deed: Deed) -> Iterator[tuple[str, int]]:
    """Figures of a deed with their names: loops, `--count 500`, `-n 200`, `name=300`, `retries: 10`."""
    command = deed.command
    if command is None:
        yield from _assigned(deed.text)
    elif deed.effect is not E.INSPECT:
        yield from _assigned(deed.text)
        yield "times", command.repeats
        for word, following in pairwise((*command.words, "")):
            name, _, value = word.partition("=")
            if name.startswith("-"):
                yield name.lstrip("-").lower(), figure_of(value or following)


def _assigned(text: str) -> Iterator[tuple[str, int]]:
    """Figures with their names in a text: `retries: 10`, `let n=5000;`, `range(200)`."""
    for piece in text.replace(";", "\n").splitlines()[:512]:
        for mark in (":", "="):
            name, _, value = piece.partition(mark)
            if name.strip():
                yield name.split()[-1].strip("\"'").lower(), figure_of(value.strip().rstrip(","))
        _, _, after = piece.partition("range(")
        yield "times", figure_of(after.partition(")")[0].rpartition(",")[2].strip())


def figure_of(text: str) -> int:
    """The figure that a text is, or 0."""
    digits = text.replace("_", "").replace(",", "")
    return int(digits) if is_figure(digits) else 0


_BREAKS: tuple[Callable[[Deed, Rule], bool], ...] = (
    _has_effect,
    _changes,
    _leaves_paths,
    _is_in_wrong_place,
    _uses,
    _is_on_branch,
    _runs_on,
    _shows_secret,
    _switches_off,
    _replaces_tested,
    _grows,
    _goes_online,
    _is_privileged,
    _logs_more,
    _exceeds,
)
