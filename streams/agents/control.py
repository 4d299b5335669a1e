"""The control input: the policy's epochs as lanes read them."""

from schemas import topics
from schemas.errors import PolicyError
from schemas.policy import PublishedPolicy, published
from streams.agents.naming import Naming
from streams.engine.agent import ControlInput
from streams.engine.errors import ControlRefusedError


def control_input(naming: Naming) -> ControlInput[PublishedPolicy]:
    """The policy as a broadcast input."""
    return ControlInput(naming.topic(topics.CONTROL), follow, lambda current: current.policy.epoch)


def follow(document: bytes, current: PublishedPolicy | None) -> PublishedPolicy:
    """The policy in the document, which must be the epoch after the current one.

    Raises:
        ControlRefusedError: it is no policy, or not the next.
    """
    try:
        proposed = published(document)
    except PolicyError as error:
        raise ControlRefusedError(str(error)) from error
    if current is not None and proposed.policy.epoch != current.policy.epoch + 1:
        raise ControlRefusedError(
            f"epoch {proposed.policy.epoch} cannot follow epoch {current.policy.epoch}: it must be the next one"
        )
    return proposed
