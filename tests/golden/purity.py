"""What a decision may not know: the clock, chance, the environment, files and sockets, and the order of hashes.

Two looks at it: at the code, and at the calls that are made while the corpus is decided again.
"""

import ast
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).parents[2]
_PACKAGES = ("handlers", "schemas", "compensation", "streams/agents")
_ENGINE = ("agent", "dead_letters", "digest", "records", "rerun", "state", "trail", "turn", "unreadable")
NO_DECISIONS = {
    "streams/agents/health.py": "a view on Faust, whose rows remember their places",
    "compensation/activities.py": "what workers run",
    "compensation/activity_set.py": "what workers run",
    "compensation/effects.py": "what workers remember",
    "compensation/effects_postgres.py": "what workers remember",
    "compensation/effects_sqlite.py": "what workers remember",
    "compensation/executor.py": "runs a workflow in one process, by its clock",
    "compensation/run.py": "runs a workflow in one process, by its clock",
}
"""What is in those packages and decides nothing on a lane."""

_MODULES = frozenset(
    {
        "asyncio",
        "concurrent",
        "getpass",
        "http",
        "io",
        "locale",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "platform",
        "queue",
        "random",
        "resource",
        "secrets",
        "select",
        "selectors",
        "shutil",
        "signal",
        "socket",
        "ssl",
        "subprocess",
        "tempfile",
        "threading",
        "time",
        "urllib",
        "weakref",
    }
)
_NAMES = {"uuid": {"uuid1", "uuid4", "uuid6", "uuid7", "getnode"}}
_CALLS = frozenset({"hash", "id", "input", "open"})
_NOW = frozenset({"now", "utcnow", "today"})


def decision_code() -> Iterator[Path]:
    """Every module that takes part in a decision."""
    for package in _PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.relative_to(ROOT).as_posix() not in NO_DECISIONS:
                yield path
    yield from (ROOT / "streams" / "engine" / f"{name}.py" for name in _ENGINE)


def impure(source: str) -> Iterator[str]:
    """What stands in a module that a decision may not know, each with its line."""
    for found in ast.walk(ast.parse(source)):
        for words in _of(found):
            yield f"line {getattr(found, 'lineno', '?')}: {words}"


def _of(found: ast.AST) -> Iterator[str]:
    yield from _imported(found)
    yield from _asked(found)
    yield from _unordered(found)


def _imported(found: ast.AST) -> Iterator[str]:
    match found:
        case ast.Import(names=names):
            yield from (f"imports {one.name}" for one in names if one.name.partition(".")[0] in _MODULES)
        case ast.ImportFrom(module=str(module), names=names, level=0):
            forbidden = _NAMES.get(module, set())
            if module.partition(".")[0] in _MODULES:
                yield f"imports from {module}"
            yield from (f"imports {module}.{one.name}" for one in names if one.name in forbidden)
        case _:
            pass


def _asked(found: ast.AST) -> Iterator[str]:
    match found:
        case ast.Attribute(value=ast.Name(id=name), attr=attribute) if attribute in _NAMES.get(name, ()):
            yield f"uses {name}.{attribute}"
        case ast.Attribute(value=ast.Name(id="datetime" | "date"), attr=attribute) if attribute in _NOW:
            yield f"asks for the present: {attribute}"
        case ast.Call(func=ast.Attribute(attr=attribute)) if attribute in _NOW:
            yield f"asks for the present: {attribute}()"
        case ast.Call(func=ast.Name(id=name)) if name in _CALLS:
            yield f"calls {name}()"
        case _:
            pass


def _unordered(found: ast.AST) -> Iterator[str]:
    match found:
        case ast.For(iter=source) | ast.comprehension(iter=source) if _is_set(source):
            yield "goes through a set, whose order is chance: sort it"
        case ast.Call(func=ast.Name(id="list" | "tuple" | "next" | "iter" | "enumerate" as name), args=[source, *_]):
            if _is_set(source):
                yield f"makes a {name} of a set, whose order is chance: sort it"
        case _:
            pass


def _is_set(source: ast.AST) -> bool:
    match source:
        case ast.Set() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id="set" | "frozenset")):
            return True
        case ast.BinOp(left=left, op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor(), right=right):
            return _is_set(left) or _is_set(right)
        case _:
            return False


@contextmanager
def watched() -> Iterator[list[str]]:
    """The calls, while it lasts, of what a decision may not know: which, and from where. It slows Python down."""
    told: list[str] = []

    def profile(frame: FrameType, event: str, called: object) -> None:
        words = _called(called) if event == "c_call" else _entered(frame) if event == "call" else None
        if words is not None:
            told.append(f"{words} from {_caller(frame)}")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield told
    finally:
        sys.setprofile(before)


def _called(called: object) -> str | None:
    name, owner = getattr(called, "__name__", ""), getattr(called, "__self__", None)
    module = getattr(called, "__module__", None) or getattr(owner, "__name__", "")
    if module in {"time", "posix", "io", "_io", "_socket", "select"} and name != "setprofile":
        return f"{module}.{name}()"
    if isinstance(owner, type) and issubclass(owner, date) and name in _NOW:
        return f"{owner.__name__}.{name}()"
    return f"random's {name}()" if isinstance(owner, random.Random) else None


def _entered(frame: FrameType) -> str | None:
    is_environment = frame.f_globals.get("__name__") == "os" and frame.f_code.co_qualname.startswith("_Environ.")
    return "os.environ" if is_environment else None


def _caller(frame: FrameType | None) -> str:
    """The nearest frame of ours."""
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT) and ".venv" not in path.parts:
            return f"{path.relative_to(ROOT)}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"
