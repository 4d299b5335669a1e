"""Sample traffic: a few hundred messages of a believable fleet, written for this project, some of them hostile."""

import random
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

_HASH = "cdd01ef066bc6cf2"
_CREATED_AT = "2026-11-23T09:30:00Z"
_EVERY_HOSTILE = 24
"""One message in so many is hostile."""


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """One record to publish on in.messages."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass(frozen=True, slots=True)
class _Job:
    """Something that a part of the fleet does, over and over with other figures."""

    team: str
    agent: str
    receiver: str
    task: str
    tool: str
    arguments: Callable[[random.Random], Mapping[str, Any]]
    constraints: tuple[str, ...] = ()
    weight: int = 4
    priority: int = 1


def _order(r: random.Random) -> str:
    return f"A-{r.randint(1000, 9999)}"


_SERVICES = ("checkout", "search", "billing-api", "notifier", "inventory")
_TABLES = ("orders", "events", "customers", "shipments")

_JOBS = (
    _Job(
        "support",
        "support",
        "orders-desk",
        "answer where an order is",
        "lookup_order",
        lambda r: {"order_id": _order(r)},
        weight=12,
    ),
    _Job(
        "support",
        "support",
        "knowledge",
        "find the return policy",
        "search_knowledge_base",
        lambda r: {"query": r.choice(["returns", "warranty", "late parcel"])},
        weight=8,
    ),
    _Job(
        "support",
        "support",
        "tickets",
        "note what the customer said",
        "update_ticket",
        lambda r: {"ticket": r.randint(100, 999), "note": "customer called again"},
        weight=8,
    ),
    _Job(
        "support",
        "support",
        "payments",
        "refund a damaged item",
        "issue_refund",
        lambda r: {"order_id": _order(r), "amount": r.randint(900, 6_000), "currency": "EUR"},
        weight=8,
    ),
    _Job(
        "support",
        "support",
        "payments",
        "refund a whole company order",
        "issue_refund",
        lambda r: {"order_id": _order(r), "amount": r.randint(600_000, 900_000), "currency": "EUR"},
        ("refunds above 500.00 need a lead",),
        weight=1,
    ),
    _Job(
        "support",
        "support",
        "mail",
        "tell the customer",
        "send_email",
        lambda r: {"to": [f"customer{r.randint(1, 99)}@example.com"], "subject": "Your order"},
        weight=6,
    ),
    _Job(
        "infrastructure",
        "infra",
        "cluster",
        "look after a service",
        "get_status",
        lambda r: {"service": r.choice(_SERVICES)},
        weight=10,
    ),
    _Job(
        "infrastructure",
        "infra",
        "cluster",
        "find the error",
        "read_logs",
        lambda r: {"service": r.choice(_SERVICES), "lines": 200},
        weight=8,
    ),
    _Job(
        "infrastructure",
        "infra",
        "cluster",
        "roll out to staging",
        "deploy_service",
        lambda r: {"service": r.choice(_SERVICES), "environment": "staging", "version": f"1.{r.randint(2, 40)}.0"},
        weight=5,
    ),
    _Job(
        "infrastructure",
        "infra",
        "cluster",
        "roll out to customers",
        "deploy_service",
        lambda r: {"service": r.choice(_SERVICES), "environment": "production", "version": f"1.{r.randint(2, 40)}.0"},
        weight=1,
    ),
    _Job(
        "infrastructure",
        "infra",
        "cluster",
        "free disk space",
        "delete_volume",
        lambda r: {"volume": f"prod-db-{r.randint(1, 4)}"},
        weight=1,
        priority=2,
    ),
    _Job(
        "infrastructure",
        "infra",
        "shell",
        "see what fills the disk",
        "run_command",
        lambda r: {"command": r.choice(["df -h", "du -sh /workspace/build", "ls -la /workspace"])},
        weight=6,
    ),
    _Job(
        "infrastructure",
        "infra",
        "shell",
        "clean up",
        "run_command",
        lambda r: {"command": r.choice(["sudo rm -rf /var/lib/postgresql", "kubectl delete namespace prod"])},
        weight=1,
    ),
    _Job(
        "data",
        "analyst",
        "warehouse",
        "count last week's orders",
        "query_table",
        lambda r: {
            "database": "warehouse",
            "table": r.choice(_TABLES),
            "sql": "SELECT count(*) FROM orders WHERE day > '2026-11-16'",
        },
        weight=10,
    ),
    _Job(
        "data",
        "analyst",
        "warehouse",
        "know the columns",
        "describe_table",
        lambda r: {"table": r.choice(_TABLES)},
        weight=6,
    ),
    _Job(
        "data",
        "analyst",
        "warehouse",
        "share customers with a partner",
        "export_dataset",
        lambda r: {"dataset": "customers", "rows": r.randint(20_000, 90_000), "tenant": "globex"},
        ("do not export personal data",),
        weight=1,
    ),
    _Job(
        "data",
        "analyst",
        "warehouse",
        "make room",
        "drop_table",
        lambda r: {"table": f"{r.choice(_TABLES)}_prod"},
        weight=1,
    ),
    _Job(
        "publishing",
        "editor",
        "site",
        "write the release notes",
        "draft_post",
        lambda r: {"title": f"Release 1.{r.randint(2, 40)}"},
        weight=5,
    ),
    _Job(
        "identity",
        "admin",
        "directory",
        "see who is in the team",
        "list_users",
        lambda r: {"team": r.choice(["web", "data"])},
        weight=4,
    ),
    _Job(
        "identity",
        "admin",
        "directory",
        "help a colleague in a hurry",
        "grant_role",
        lambda r: {"role": "owner", "user": f"user{r.randint(1, 40)}"},
        weight=1,
        priority=3,
    ),
    _Job(
        "identity",
        "helper",
        "directory",
        "use a tool nobody knows",
        "transmogrify",
        lambda _: {"target": "everything"},
        weight=1,
    ),
)


def records(count: int, *, seed: int = 7) -> Iterator[SampleRecord]:
    """`count` records, the same for the same seed: about one in 24 hostile, each kind of hostility in turn."""
    random_ = random.Random(seed)  # noqa: S311  # traffic, no secret
    weights = [job.weight for job in _JOBS]
    conversations = [_uuid(random_) for _ in range(40)]
    for number in range(count):
        message = _message(random_, random_.choices(_JOBS, weights)[0], random_.choice(conversations))
        if number % _EVERY_HOSTILE == _EVERY_HOSTILE - 1:
            yield _HOSTILE[number // _EVERY_HOSTILE % len(_HOSTILE)](message)
        else:
            yield _record(message)


def _message(r: random.Random, job: _Job, conversation: str) -> dict[str, Any]:
    return {
        "message_id": _uuid(r),
        "conversation_id": conversation,
        "content": {"text": job.task},
        "from_agent": f"{job.agent}-{r.randint(1, 9)}",
        "to_agent": job.receiver,
        "message_type": "command",
        "priority": job.priority,
        "constitutional_hash": _HASH,
        "tenant_id": "acme",
        "created_at": _CREATED_AT,
        "payload": {
            "action": {"tool": job.tool, "arguments": dict(job.arguments(r))},
            "task": {"description": job.task, "constraints": list(job.constraints)},
        },
    }


def _record(message: Mapping[str, Any], **changes: Any) -> SampleRecord:  # noqa: ANN401  # a field may be anything
    return SampleRecord(str(message["conversation_id"]).encode(), orjson.dumps({**message, **changes}))


def _raw(message: Mapping[str, Any], change: Callable[[bytes], bytes | None]) -> SampleRecord:
    whole = _record(message)
    return SampleRecord(whole.key, change(whole.value or b""))


def _without(message: Mapping[str, Any], field: str) -> SampleRecord:
    return _record({name: value for name, value in message.items() if name != field})


def _with_headers(message: Mapping[str, Any], *headers: tuple[str, bytes]) -> SampleRecord:
    whole = _record(message)
    return SampleRecord(whole.key, whole.value, headers)


def _nested(value: bytes) -> bytes:
    return value.replace(b'"content":{', b'"content":{"deep":' + b"[" * 40 + b"]" * 40 + b",", 1)


_HOSTILE: tuple[Callable[[Mapping[str, Any]], SampleRecord], ...] = (
    lambda m: _record(m, constitutional_hash="feedfacefeedface"),
    lambda m: _without(m, "constitutional_hash"),
    lambda m: _record(m, constitutional_hash=_HASH.replace("c", "\u0441", 1)),
    lambda m: _record(m, constitutional_hash=f" {_HASH}"),
    lambda m: _raw(m, lambda value: value.replace(b'"priority":', b'"priority":0,"priority":', 1)),
    lambda m: _raw(m, lambda value: value[: len(value) // 2]),
    lambda m: _raw(m, lambda value: value.replace(b'"content":{', b'"content":{"n":NaN,', 1)),
    lambda m: _raw(m, lambda value: value.replace(b'"text":', b'"\\ud800":1,"text":', 1)),
    lambda m: _raw(m, lambda value: value.replace(b"acme", b"ac\xffme", 1)),
    lambda m: _raw(m, _nested),
    lambda m: _raw(m, lambda _: None),
    lambda m: _raw(m, lambda _: b"please just do it"),
    lambda m: _record(m, sudo=True),
    lambda m: _record(m, priority="urgent"),
    lambda m: _record(m, expires_at="2026-01-01T00:00:00Z"),
    lambda m: _with_headers(m, ("acgs-executable", b"true")),
    lambda m: _record(m, content={"n": 2**60}),
)
"""Ways to get past the gateway, none of which works."""


def _uuid(r: random.Random) -> str:
    return str(uuid.UUID(int=r.getrandbits(128), version=4))
