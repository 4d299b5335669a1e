"""What a data folder was formatted for, and the ports it used last."""

import base64
import json
import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Self, TypedDict, cast

from streams.embedded.errors import DataFormatError
from streams.embedded.ports import BrokerPorts
from streams.embedded.release import KAFKA_VERSION
from streams.embedded.store import read_json, write_json

CARD_NAME: Final = "cluster.json"
UNREADABLE: Final = (OSError, json.JSONDecodeError, KeyError, TypeError, ValueError)


class PortsNote(TypedDict):
    """`BrokerPorts` as JSON."""

    client: int
    controller: int


class CardNote(TypedDict):
    """An `IdentityCard` as JSON."""

    cluster_id: str
    kafka_version: str
    brokers: int
    ports: list[PortsNote]


@dataclass(frozen=True, slots=True)
class IdentityCard:
    """A cluster's lasting facts.

    Attributes:
        cluster_id: Kafka's cluster id.
        kafka_version: The newest release that ran on the folder.
        brokers: Their number.
        ports: Each broker's ports at its last start.
    """

    cluster_id: str
    kafka_version: str
    brokers: int
    ports: tuple[BrokerPorts, ...]

    @classmethod
    def fresh(cls, brokers: int) -> Self:
        """A card for a folder that is not formatted yet."""
        return cls(new_cluster_id(), KAFKA_VERSION, brokers, ())

    @classmethod
    def from_note(cls, note: CardNote) -> Self:
        """Read the JSON form."""
        return cls(
            cluster_id=note["cluster_id"],
            kafka_version=note["kafka_version"],
            brokers=note["brokers"],
            ports=tuple(BrokerPorts(**ports) for ports in note["ports"]),
        )

    def at(self, ports: tuple[BrokerPorts, ...]) -> Self:
        """This cluster, run by the present release on these ports."""
        return replace(self, ports=ports, kafka_version=KAFKA_VERSION)


def new_cluster_id() -> str:
    """A random cluster id in Kafka's form: a UUID in URL-safe base64, unpadded.

    As Kafka's own, it never begins with a dash, which its tools take for an option.
    """
    while True:
        encoded = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode("ascii")
        if not encoded.startswith("-"):
            return encoded.rstrip("=")


def read_card(folder: Path, brokers: int) -> IdentityCard | None:
    """The card of a formatted folder; None when it is not formatted yet.

    Raises:
        DataFormatError: It was formatted for another number of brokers or a newer
            release, or the card cannot be read.
    """
    try:
        card = load_card(folder)
    except FileNotFoundError:
        return None
    except UNREADABLE as error:
        raise DataFormatError(
            f"{folder / CARD_NAME} cannot be read.",
            "Restore it, or choose another data folder.",
        ) from error
    refuse_mismatch(folder, card, brokers)
    return card


def load_card(folder: Path) -> IdentityCard:
    """The card as it is; raises one of `UNREADABLE` where it cannot be read."""
    return IdentityCard.from_note(cast("CardNote", read_json(folder / CARD_NAME)))


def recorded_version(folder: Path) -> str | None:
    """The Kafka release that ran on a folder last, if the folder tells."""
    try:
        return load_card(folder).kafka_version
    except UNREADABLE:
        return None


def refuse_mismatch(folder: Path, card: IdentityCard, brokers: int) -> None:
    """Check that the folder suits what is asked.

    Raises:
        DataFormatError: It does not.
    """
    if card.brokers != brokers:
        raise DataFormatError(
            f"{folder} was formatted for {card.brokers} broker(s), not {brokers}.",
            f"Start it with {card.brokers}, or choose another data folder.",
        )
    if version_key(card.kafka_version) > version_key(KAFKA_VERSION):
        raise DataFormatError(
            f"{folder} was used by Kafka {card.kafka_version}; this is the older {KAFKA_VERSION}.",
            "Upgrade acgs-streams, or choose another data folder.",
        )


def version_key(version: str) -> tuple[int, ...]:
    """A release's version for comparison."""
    return tuple(int(part) for part in version.split("."))


def write_card(folder: Path, card: IdentityCard) -> None:
    """Replace the card."""
    write_json(folder / CARD_NAME, asdict(card))
