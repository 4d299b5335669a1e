"""What an action weighs: the part of the policy that the impact score is computed from."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Annotated, cast

from pydantic import BeforeValidator, Field

from schemas.model import Contract, Name, Score


class Effect(StrEnum):
    """What one command of a command line, or one SQL statement, does."""

    NOTHING = "nothing"
    INSPECT = "inspect"
    TEST = "test"
    BUILD = "build"
    EDIT = "edit"
    COMMIT = "commit"
    RUN = "run"
    FETCH = "fetch"
    INSTALL = "install"
    REMOVE = "remove"
    REMOVE_TREE = "remove_tree"
    DISCARD = "discard"
    STOP = "stop"
    SEND = "send"
    REMOTE = "remote"
    SERVICE = "service"
    PUSH = "push"
    DEPLOY = "deploy"
    SCHEDULE = "schedule"
    PUBLISH = "publish"
    PERMIT = "permit"
    SYSTEM = "system"
    SKIP_CHECK = "skip_check"
    ESCALATE = "escalate"
    REVEAL = "reveal"
    EXHAUST = "exhaust"
    REWRITE = "rewrite"
    DESTROY = "destroy"
    REMOTE_CODE = "remote_code"
    QUERY = "query"
    ALTER = "alter"
    ERASE = "erase"
    OPAQUE = "opaque"


EFFECT_POINTS: dict[Effect, Score] = {
    Effect.NOTHING: 300,
    Effect.INSPECT: 700,
    Effect.TEST: 2_000,
    Effect.BUILD: 2_500,
    Effect.EDIT: 3_000,
    Effect.COMMIT: 3_000,
    Effect.RUN: 3_500,
    Effect.FETCH: 2_500,
    Effect.INSTALL: 4_500,
    Effect.REMOVE: 4_500,
    Effect.REMOVE_TREE: 6_000,
    Effect.DISCARD: 6_000,
    Effect.STOP: 5_000,
    Effect.SEND: 5_500,
    Effect.REMOTE: 5_500,
    Effect.SERVICE: 5_500,
    Effect.PUSH: 5_500,
    Effect.DEPLOY: 6_000,
    Effect.SCHEDULE: 6_500,
    Effect.PUBLISH: 7_500,
    Effect.PERMIT: 8_000,
    Effect.SYSTEM: 8_000,
    Effect.SKIP_CHECK: 8_000,
    Effect.ESCALATE: 8_500,
    Effect.REVEAL: 8_500,
    Effect.EXHAUST: 8_500,
    Effect.REWRITE: 8_500,
    Effect.DESTROY: 9_000,
    Effect.REMOTE_CODE: 9_000,
    Effect.QUERY: 1_500,
    Effect.ALTER: 5_500,
    Effect.ERASE: 9_000,
    Effect.OPAQUE: 8_000,
}
"""What each effect weighs where the policy does not say otherwise."""


def _over_effect_points(given: object) -> object:
    """The given points over the built-in ones, so that a document names only what it changes."""
    if not isinstance(given, dict):
        return given
    builtin = {effect.value: points for effect, points in EFFECT_POINTS.items()}
    return {**builtin, **cast("dict[str, object]", given)}


class SensitiveTarget(Contract):
    """What is dangerous to touch, recognised by its name or by its place.

    `words` match whole words of a target: `prod` matches `orders-prod` and `prod/eu`, not `product`. `paths` are
    folders (ending in `/`, absolute, or anywhere in the path if they do not begin with `/` or `~`) and file names, in
    which `*` stands at one end. `read` is added to an action that only reads, `change` to any other.
    """

    name: Name
    words: tuple[Name, ...] = ()
    paths: tuple[Name, ...] = ()
    except_paths: tuple[Name, ...] = ()
    read: Score = 0
    change: Score = 0


@dataclass(frozen=True, slots=True, eq=False)
class TargetIndex:
    """The sensitive targets as they are looked up. It is itself a key of caches, hence compared by identity.

    `words` and `names` (of files) are looked up; `places` (with their beginnings in `roots`), `folders` and `starred`
    patterns are tried one by one.
    """

    words: dict[str, tuple[SensitiveTarget, ...]]
    names: dict[str, tuple[SensitiveTarget, ...]]
    roots: tuple[str, ...]
    places: tuple[tuple[str, SensitiveTarget], ...]
    folders: tuple[tuple[str, SensitiveTarget], ...]
    starred: tuple[tuple[str, str, SensitiveTarget], ...]


def _index(targets: tuple[SensitiveTarget, ...]) -> TargetIndex:
    paths = [(path, target) for target in targets for path in target.paths]
    anchored = [(path, target) for path, target in paths if path[0] in "/~$"]
    loose = [(path, target) for path, target in paths if path[0] not in "/~$"]
    names = [(path, target) for path, target in loose if not path.endswith("/")]
    return TargetIndex(
        words=_grouped((word, target) for target in targets for word in target.words),
        names=_grouped((path, target) for path, target in names if "*" not in path),
        roots=tuple(path.rstrip("/") for path, _ in anchored),
        places=tuple(anchored),
        folders=tuple((f"/{path}", target) for path, target in loose if path.endswith("/")),
        starred=tuple((*_halves(path), target) for path, target in names if "*" in path),
    )


def _halves(pattern: str) -> tuple[str, str]:
    first, _, last = pattern.partition("*")
    return first, last


def _grouped(pairs: Iterable[tuple[str, SensitiveTarget]]) -> dict[str, tuple[SensitiveTarget, ...]]:
    grouped: dict[str, tuple[SensitiveTarget, ...]] = {}
    for key, target in pairs:
        grouped[key] = (*grouped.get(key, ()), target)
    return grouped


class Step(Contract):
    """From this many on, an action weighs this much more."""

    at_least: Annotated[int, Field(ge=1)]
    points: Score


class Weights(Contract):
    """What raises a score, in points. Each is added once, but for floors: a score is at least that.

    Attributes:
        effects: what a command of a command line weighs by its effect.
        targets: what is dangerous to touch; the gravest that matches counts.
        counts: how many things are acted on (`count_argument`, loops).
        amounts: how much is paid, in the currency's smallest unit (`amount_argument`).
        irreversible: the tool, or its caller, says that the action cannot be undone.
        privileged: it asks for another user's rights (`sudo`).
        secret: a credential stands in the arguments.
        secret_sent: floor of an action that sends a credential, or prints one.
        other_tenant: floor of an action on a tenant that is not the message's own (`tenant_argument`).
        outside: a path outside of `workspaces` is changed.
        workspaces: the folders in which agents work, absolute. Relative paths are inside.
        constraint: the action breaks a constraint of its task.
        broken_constraint: floor of an action that breaks a constraint of its task.
    """

    effects: Annotated[dict[Effect, Score], BeforeValidator(_over_effect_points)] = Field(
        default_factory=lambda: dict(EFFECT_POINTS)
    )
    targets: tuple[SensitiveTarget, ...] = ()
    counts: tuple[Step, ...] = (
        Step(at_least=10, points=500),
        Step(at_least=100, points=1_500),
        Step(at_least=1_000, points=3_000),
    )
    amounts: tuple[Step, ...] = (
        Step(at_least=10_000, points=500),
        Step(at_least=50_000, points=2_000),
        Step(at_least=500_000, points=4_000),
    )
    irreversible: Score = 2_500
    privileged: Score = 2_000
    secret: Score = 2_000
    secret_sent: Score = 8_500
    other_tenant: Score = 9_000
    outside: Score = 2_000
    workspaces: tuple[Name, ...] = ("/workspace/", "/app/", "/repo/", "/tmp/")  # noqa: S108  # names a place, opens nothing
    constraint: Score = 1_000
    broken_constraint: Score = 8_200

    @cached_property
    def target_index(self) -> TargetIndex:
        """The sensitive targets as they are looked up."""
        return _index(self.targets)
