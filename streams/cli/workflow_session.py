"""What commands for workflows begin with: who asks, and a client."""

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

import click
import orjson
from pydantic import JsonValue

from compensation.errors import CompensationError, DefinitionError
from streams.claims import ClaimStore
from streams.cli.operator_session import key_of, key_option, owner_of, sender_key_option, sender_of
from streams.cli.session import operator
from streams.control import accepted_hash, in_force
from streams.engine.client import EngineSettings
from streams.errors import StreamsError
from streams.keys import SigningKey
from streams.workflows import WorkflowClient

id_argument = click.argument("workflow_id", metavar="ID")
node_argument = click.argument("node", metavar="NODE")
reason_option = click.option("--reason", required=True, metavar="WHY", help="Kept with what happens.")


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, and by which policy generation; `constitutional_hash` None is one that the policy in force accepts.

    With a `key`, who asks is whose key it is: an operator's, or a sender's of the tenant where it `is_sender`.
    """

    requested_by: str
    constitutional_hash: str | None
    key: SigningKey | None = None
    is_sender: bool = False


_hash_option = click.option(
    "--hash",
    "constitutional_hash",
    metavar="HASH",
    help="The policy generation you accept; default: one that the policy in force accepts.",
)


def _by_option(help_: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option("--as", "requested_by", default=operator, show_default="$USER", metavar="NAME", help=help_)


def with_asker(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options that say who asks; the command is given them as `asker`."""

    @wraps(command)
    def asked(*, requested_by: str, constitutional_hash: str | None, **given: object) -> None:
        command(asker=Asker(requested_by, constitutional_hash), **given)

    return _by_option("Who asks; it is kept.")(_hash_option(asked))


def with_operator(command: Callable[..., None]) -> Callable[..., None]:
    """As with_asker, for what is for operators only: with the option of a key, which signs it."""

    @wraps(command)
    def asked(*, requested_by: str, constitutional_hash: str | None, key_file: Path | None, **given: object) -> None:
        command(asker=Asker(requested_by, constitutional_hash, key_of(key_file)), **given)

    return _by_option("Who asks, where no key says it; it is kept.")(_hash_option(key_option(asked)))


async def identified(settings: EngineSettings, asker: Asker, tenant_id: str = "") -> tuple[str, str]:
    """Who asks, and by which policy generation; with a sender's key, the sender of that tenant.

    Raises:
        PolicyRefusedError: no hash is given, and there is no policy that accepts one.
        KeyFileError: the key is nobody's by the policy in force, or no sender's of the tenant.
        BrokerError: the broker cannot be reached or refuses.
    """
    chosen, requested_by = asker.constitutional_hash or await accepted_hash(settings), asker.requested_by
    if asker.key is not None and (current := await in_force(settings)) is not None:
        is_sender, policy = asker.is_sender, current.policy
        requested_by = sender_of(asker.key, policy, tenant_id).agent if is_sender else owner_of(asker.key, policy).id
    return requested_by, chosen


def with_sender(command: Callable[..., None]) -> Callable[..., None]:
    """As with_asker, for what agents ask: with the option of a key, which signs it."""

    @wraps(command)
    def asked(*, requested_by: str, constitutional_hash: str | None, key_file: Path | None, **given: object) -> None:
        asker = Asker(requested_by, constitutional_hash, key_of(key_file), is_sender=True)
        command(asker=asker, **given)

    return _by_option("Who asks, where no key says it; it is kept.")(_hash_option(sender_key_option(asked)))


@asynccontextmanager
async def opened(
    settings: EngineSettings, asker: Asker, tenant_id: str, claims: ClaimStore | None = None
) -> AsyncGenerator[WorkflowClient, None]:
    """A client; large results come from `claims`.

    Raises:
        PolicyRefusedError: no hash is given, and there is no policy that accepts one.
        KeyFileError: the key is nobody's by the policy in force, or no sender's of the tenant.
        BrokerError: the broker cannot be reached or refuses.
    """
    requested_by, chosen = await identified(settings, asker, tenant_id)
    async with WorkflowClient(
        settings,
        tenant_id=tenant_id,
        requested_by=requested_by,
        constitutional_hash=chosen,
        claims=claims,
        key=asker.key,
    ) as client:
        yield client


@contextmanager
def told_mistakes() -> Generator[None, None, None]:
    """Turns what is wrong with a definition, an input or a field into a message.

    Raises:
        StreamsError: with every problem on a line of its own.
    """
    try:
        yield
    except DefinitionError as error:
        raise StreamsError("\n  ".join(("this workflow cannot run:", *error.problems))) from error
    except CompensationError as error:
        raise StreamsError(str(error)) from error


def json_of(text: str | bytes, option: str) -> JsonValue:
    """What a user gives as JSON.

    Raises:
        click.BadParameter: it is none.
    """
    try:
        value: JsonValue = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise click.BadParameter(f"no JSON: {error}. Quote it for your shell: '{{...}}'", param_hint=option) from None
    return value
