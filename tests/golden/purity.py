"""What a decision may not know: the clock, chance, the environment, files and sockets, and the order of hashes.

Two looks at it: at the code, and at the calls that are made while the corpus is decided again.
"""

import ast
import gc
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from functools import cache
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).parents[2]
_PACKAGES = ("handlers", "schemas", "compensation", "streams/agents")
_ENGINE = (
    *("agent", "dead_letters", "digest", "errors", "fingerprint", "records"),
    *("rerun", "state", "trail", "turn", "unreadable"),
)
NO_DECISIONS = {
    "streams/agents/health.py": "a view on Faust, whose rows remember their places",
    "compensation/__init__.py": "names what programs use, which runs workflows as well",
    "compensation/activities.py": "what workers run",
    "compensation/activity_set.py": "what workers run",
    "compensation/effects.py": "what workers remember",
    "compensation/effects_postgres.py": "what workers remember",
    "compensation/effects_sqlite.py": "what workers remember",
    "compensation/executor.py": "runs a workflow in one process, by its clock",
    "compensation/run.py": "runs a workflow in one process, by its clock",
}
"""What is in those packages and decides nothing on a lane."""

_OURS = ("handlers", "schemas", "compensation", "streams")
HANDED_THROUGH = {
    "streams/metrics.py": "measures that an agent hands on; what a handler returns for them is data",
}
"""What decides nothing, and is named by what does."""

_MODULES = frozenset(
    {
        "aiokafka",
        "base64",
        "binascii",
        "bisect",
        "collections",
        "contextlib",
        "cryptography",
        "dataclasses",
        "datetime",
        "decimal",
        "enum",
        "fnmatch",
        "fractions",
        "functools",
        "hashlib",
        "heapq",
        "hmac",
        "itertools",
        "json",
        "math",
        "operator",
        "orjson",
        "pydantic",
        "pydantic_core",
        "re",
        "rfc8785",
        "string",
        "struct",
        "tomllib",
        "tree_sitter",
        "tree_sitter_bash",
        "typing",
        "uuid",
        "zlib",
    }
)
"""What a decision may use. Another module is added once it is known to answer from nothing but what it is given."""

_NAMES = {
    "uuid": {"uuid1", "uuid4", "uuid6", "uuid7", "getnode"},
    "decimal": {"getcontext", "setcontext", "localcontext"},
    "json": {"load"},
}
_BUILTINS = frozenset({"__import__", "breakpoint", "compile", "eval", "exec", "globals", "hash", "id", "input", "open"})
_BY_NAME = frozenset({"hash", "id"})
"""Those that are handed on by name as well, such as `key=hash`."""
_LOCAL = {"astimezone": 1, "fromtimestamp": 2, "strftime": 9, "strptime": 9}
"""What asks for the zone or the language of the machine, unless it is given so much."""
_SET_METHODS = frozenset({"difference", "intersection", "symmetric_difference", "union"})
_ORDERED = frozenset({"dict", "enumerate", "filter", "iter", "list", "map", "next", "repr", "str", "tuple", "zip"})
_ORDERED_METHODS = frozenset({"extend", "fromkeys", "join"})
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
            yield from (f"imports {one.name}" for one in names if not _may_be_used(one.name))
            yield from (f"imports {one.name} under another name" for one in names if one.name in _NAMES and one.asname)
        case ast.ImportFrom(module=str(module), names=names, level=0):
            forbidden = _NAMES.get(module, set())
            yield from (f"imports {module}.{one.name}" for one in names if one.name in forbidden)
            for one in names:
                if not _may_be_used(module, one.name):
                    yield f"imports from {module}, of which it is not known that it answers from its input alone"
        case ast.ImportFrom():
            yield "imports relatively, so that nobody sees what"
        case _:
            pass


def _may_be_used(module: str, name: str = "") -> bool:
    if module.partition(".")[0] not in _OURS:
        return module.partition(".")[0] in _MODULES
    place = module.replace(".", "/")
    return not _looked_at().isdisjoint({f"{place}.py", f"{place}/__init__.py", f"{place}/{name}.py"})


@cache
def _looked_at() -> frozenset[str]:
    return frozenset({path.relative_to(ROOT).as_posix() for path in decision_code()} | HANDED_THROUGH.keys())


def _asked(found: ast.AST) -> Iterator[str]:
    match found:
        case ast.Attribute(value=ast.Name(id=name), attr=attribute) if attribute in _NAMES.get(name, ()):
            yield f"uses {name}.{attribute}"
        case ast.Attribute(value=ast.Name(id="datetime" | "date"), attr=attribute) if attribute in _NOW:
            yield f"asks for the present: {attribute}"
        case ast.Call(func=ast.Attribute(attr=attribute)) if attribute in _NOW:
            yield f"asks for the present: {attribute}()"
        case ast.Call(func=ast.Attribute(attr=attribute), args=given) if attribute in _LOCAL:
            if len(given) < _LOCAL[attribute]:
                yield f"asks for the zone or the language of the machine: {attribute}()"
        case _:
            yield from _called_by_name(found)


def _called_by_name(found: ast.AST) -> Iterator[str]:
    match found:
        case ast.Call(func=ast.Attribute(attr="__hash__")):
            yield "calls __hash__()"
        case ast.Call(func=ast.Name(id="map" | "filter"), args=[ast.Name(id=name), *_]) if name in _BY_NAME:
            yield f"hands on {name}()"
        case ast.keyword(value=ast.Name(id=name)) if name in _BY_NAME:
            yield f"hands on {name}()"
        case ast.Call(func=ast.Name(id=name)) if name in _BUILTINS:
            yield f"calls {name}()"
        case ast.Global():
            yield "changes what all that is decided later can see"
        case _:
            pass


def _unordered(found: ast.AST) -> Iterator[str]:
    match found:
        case ast.For(iter=source) | ast.comprehension(iter=source) if _is_set(source):
            yield "goes through a set, whose order is chance: sort it"
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            if any(isinstance(one, ast.Starred) and _is_set(one.value) for one in parts):
                yield "makes a list of a set, whose order is chance: sort it"
        case ast.Call(func=ast.Name(id=name), args=sources) if name in _ORDERED:
            if any(map(_is_set, sources)):
                yield f"makes a {name} of a set, whose order is chance: sort it"
        case ast.Call(func=ast.Attribute(attr=name), args=sources) if name in _ORDERED_METHODS:
            if any(map(_is_set, sources)):
                yield f"takes a set in the order of chance for {name}(): sort it"
        case ast.FormattedValue(value=source) if _is_set(source):
            yield "writes a set, whose order is chance: sort it"
        case _:
            pass


def _is_set(source: ast.AST) -> bool:
    match source:
        case ast.Set() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id="set" | "frozenset")):
            return True
        case ast.Call(func=ast.Attribute(attr=name)) if name in _SET_METHODS:
            return True
        case ast.BinOp(left=left, op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor(), right=right):
            return any(_is_set(one) or _is_view(one) for one in (left, right))
        case _:
            return False


def _is_view(source: ast.AST) -> bool:
    """The keys of an object: what is added to or taken from them is a set."""
    return isinstance(source, ast.Call) and isinstance(source.func, ast.Attribute) and source.func.attr == "keys"


@contextmanager
def watched() -> Iterator[list[str]]:
    """The calls, while it lasts, of what a decision may not know: which, and from where. It slows Python down.

    No garbage is collected meanwhile: who is told of that, as hypothesis is, looks at the clock in the midst of it all.
    """
    told: list[str] = []

    def profile(frame: FrameType, event: str, called: object) -> None:
        words = _called(called) if event == "c_call" else _entered(frame) if event == "call" else None
        if words is not None:
            told.append(f"{words} from {_caller(frame)}")

    before, collects = sys.getprofile(), gc.isenabled()
    gc.disable()
    sys.setprofile(profile)
    try:
        yield told
    finally:
        sys.setprofile(before)
        if collects:
            gc.enable()


def _called(called: object) -> str | None:
    name, owner = getattr(called, "__name__", ""), getattr(called, "__self__", None)
    module = getattr(called, "__module__", None) or getattr(owner, "__name__", "")
    if module in {"time", "posix", "io", "_io", "_socket", "select", "_uuid", "_locale"} and name != "setprofile":
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
