"""The broker's access rights that make the gateway the only door, from the catalogue's writers and readers."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from schemas import topics
from schemas.topics import Topic
from streams.agents.naming import Naming
from streams.named import NOTHING_NAMED, Named

POLICY_PUBLISHER = "policy-publisher"
OPERATORS = "operators"
INSTALLER = "installer"
REDRIVE = "redrive"
_EVERY_LANE = frozenset({"every lane", "every worker"})
_WITHOUT_GROUPS = frozenset({POLICY_PUBLISHER, OPERATORS, INSTALLER, REDRIVE, topics.NOTARY})


class Kind(StrEnum):
    """What a right is about, as `kafka-acls` names it."""

    TOPIC = "topic"
    GROUP = "group"
    TRANSACTIONAL_ID = "transactional-id"


@dataclass(frozen=True, slots=True, order=True)
class Acl:
    """What one principal may do with one resource. With `prefixed`, with all whose names begin so."""

    principal: str
    kind: Kind
    name: str
    prefixed: bool
    operations: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class _Right:
    role: str
    kind: Kind
    name: str
    operations: tuple[str, ...]
    why: str
    prefixed: bool = False


def acls(prefix: str, named: Named = NOTHING_NAMED, principals: Mapping[str, str] | None = None) -> list[Acl]:
    """Every right that an installation needs, and no more.

    Who publishes from outside may write to public topics and to nothing else, and has no transactional id; who receives
    may read its topics with groups of its own. `principals` gives roles a principal other than `User:` and the role's
    name; several roles may share one.
    """
    naming = Naming(prefix)
    given = principals or {}
    rights = (*_of_topics(naming, named), *_of_lanes(naming, named), *_of_tools(naming))
    found: dict[tuple[str, Kind, str, bool], tuple[set[str], str]] = {}
    for right in rights:
        principal = given.get(right.role, f"User:{right.role}")
        key = principal, right.kind, right.name, right.prefixed
        operations, _ = found.setdefault(key, (set(), right.why))
        operations.update(right.operations)
    return sorted(Acl(*key, tuple(sorted(operations)), why) for key, (operations, why) in found.items())


def roles(named: Named = NOTHING_NAMED) -> list[str]:
    """Every role that a right is given to."""
    return sorted({right.role for right in (*_of_topics(Naming(""), named), *_of_tools(Naming("")))})


def command(acl: Acl) -> str:
    """The line for `kafka-acls.sh` that allows it; add --bootstrap-server and --command-config."""
    pattern = " --resource-pattern-type prefixed" if acl.prefixed else ""
    operations = " ".join(f"--operation {operation}" for operation in acl.operations)
    return f"kafka-acls.sh --add --allow-principal '{acl.principal}' {operations} --{acl.kind} {acl.name}{pattern}"


def _of_topics(naming: Naming, named: Named) -> Iterator[_Right]:
    for topic in named.catalogue():
        name = naming.topic(topic.name)
        for role in _roles(topic.writers):
            yield _Right(role, Kind.TOPIC, name, ("Describe", "Write"), topic.purpose)
        for role in _roles(topic.readers):
            yield _Right(role, Kind.TOPIC, name, ("Describe", "Read"), topic.purpose)
            if not _is_inside(role):
                yield _Right(
                    role, Kind.GROUP, f"{naming.prefix}{role}.", ("Describe", "Read"), "its own groups", prefixed=True
                )


def _roles(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if name in _EVERY_LANE:
            yield from topics.LANE_AGENTS
        else:
            yield name.replace(" of ", ".").replace(" ", "-")


def _is_inside(role: str) -> bool:
    return role in topics.LANE_AGENTS or role in _WITHOUT_GROUPS


def _of_lanes(naming: Naming, named: Named) -> Iterator[_Right]:
    written = {role: set[str]() for role in topics.LANE_AGENTS}
    for topic in named.catalogue():
        for role in _roles(topic.writers):
            written.get(role, set()).add(naming.topic(topic.name))
    for agent in topics.LANE_AGENTS:
        yield _Right(agent, Kind.GROUP, f"{naming.prefix}{agent}", ("Describe", "Read"), "the group of its lanes")
        yield _Right(
            agent,
            Kind.TRANSACTIONAL_ID,
            f"{naming.prefix}{agent}-",
            ("Describe", "Write"),
            "one transactional id a lane",
            prefixed=True,
        )
        for name in sorted(written[agent]):
            yield _Right(agent, Kind.TOPIC, name, ("DescribeConfigs",), "lanes look up size limits")


def _of_tools(naming: Naming) -> Iterator[_Right]:
    prefix = naming.prefix
    publisher, control = f"{prefix}{POLICY_PUBLISHER}", naming.topic(topics.CONTROL)
    yield _Right(POLICY_PUBLISHER, Kind.TRANSACTIONAL_ID, publisher, ("Describe", "Write"), "acgs policy publish")
    yield _Right(POLICY_PUBLISHER, Kind.TOPIC, control, ("Read",), "acgs policy publish")
    yield _Right(
        OPERATORS, Kind.TOPIC, prefix, ("Describe", "DescribeConfigs"), "acgs status, acgs doctor", prefixed=True
    )
    yield _Right(OPERATORS, Kind.TOPIC, control, ("Read",), "acgs policy show")
    yield _Right(topics.APPROVERS, Kind.TOPIC, control, ("Describe", "Read"), "acgs hitl: whose account is whose")
    yield _Right(
        topics.AUDITORS,
        Kind.TOPIC,
        prefix,
        ("Describe", "DescribeConfigs", "Read"),
        "acgs audit, acgs receipt, acgs replay",
        prefixed=True,
    )
    yield from _operators_on_lanes(naming)
    yield _Right(
        INSTALLER, Kind.TOPIC, prefix, ("Create", "Describe", "DescribeConfigs"), "acgs topics create", prefixed=True
    )
    yield _Right(INSTALLER, Kind.TOPIC, naming.topic(topics.LANES), ("Read", "Write"), "acgs topics create")
    yield _Right(INSTALLER, Kind.TRANSACTIONAL_ID, f"{prefix}installation", ("Describe", "Write"), "acgs topics create")
    for agent in topics.LANE_AGENTS:
        changelog = naming.topic(topics.changelog(agent))
        yield _Right(INSTALLER, Kind.TOPIC, changelog, ("Write",), "acgs topics create marks it as new")


def _operators_on_lanes(naming: Naming) -> Iterator[_Right]:
    ids = f"{naming.prefix}operators-"
    yield _Right(
        OPERATORS,
        Kind.TRANSACTIONAL_ID,
        ids,
        ("Describe", "Write"),
        "acgs lanes accept, dead-letters discard",
        prefixed=True,
    )
    redrive = "acgs dead-letters redrive"
    yield _Right(REDRIVE, Kind.TRANSACTIONAL_ID, ids, ("Describe", "Write"), redrive, prefixed=True)
    for agent in topics.LANE_AGENTS:
        changelog, letters = naming.topic(topics.changelog(agent)), naming.topic(topics.dead_letters(agent))
        yield _Right(OPERATORS, Kind.TOPIC, changelog, ("Read", "Write"), "acgs lanes accept")
        yield _Right(REDRIVE, Kind.TOPIC, letters, ("Describe", "Read", "Write"), redrive)
    for topic in _inboxes():
        name = naming.topic(topic.name)
        yield _Right(REDRIVE, Kind.TOPIC, name, ("Describe", "DescribeConfigs", "Read", "Write"), redrive)


def _inboxes() -> Iterator[Topic]:
    """What lanes handle, other than the policy: where a dead letter can have come from."""
    for topic in topics.catalogue():
        is_own = any(topic.name == topics.changelog(agent) for agent in topics.LANE_AGENTS)
        if topic.name != topics.CONTROL and not is_own and set(topic.readers) & set(topics.LANE_AGENTS):
            yield topic
