"""From settings to brokers that are ready to be started."""

from dataclasses import dataclass

from streams.embedded.broker import BrokerPlan, format_records, write_files
from streams.embedded.cache import cache_folder
from streams.embedded.fetch import ensure_jars
from streams.embedded.folder import DataFolder
from streams.embedded.formatted import IdentityCard, read_card, write_card
from streams.embedded.java import Jvm
from streams.embedded.ports import choose_ports
from streams.embedded.progress import Heartbeat, OnProgress, Phase
from streams.embedded.resources import (
    DATA_RESERVE_MB,
    MIB,
    require_disk,
    require_memory,
)
from streams.embedded.settings import EmbeddedSettings
from streams.embedded.startup_cache import startup_options


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """What a cluster is started from.

    Attributes:
        card: The folder's lasting facts, with the ports chosen for this start.
        brokers: Each broker's plan, by index.
        is_new: Whether the folder must be formatted first.
    """

    card: IdentityCard
    brokers: tuple[BrokerPlan, ...]
    is_new: bool


def plan_cluster(settings: EmbeddedSettings, folder: DataFolder, report: OnProgress) -> ClusterPlan:
    """Check what is asked, choose the ports, and fetch what the brokers run from.

    Raises:
        EmbeddedKafkaError: See `streams.embedded.errors`; nothing was formatted.
    """
    known = read_card(folder.path, settings.brokers)
    remembered = known or IdentityCard.fresh(settings.brokers)
    ports = choose_ports(settings.brokers, settings.port, remembered.ports)
    require_disk(folder.path, DATA_RESERVE_MB * MIB, "Kafka's records")
    require_memory(settings.brokers, settings.heap_mb)
    cache = settings.cache or cache_folder()
    jars = ensure_jars(cache, report)
    startup = startup_options(cache, jars, report)
    brokers = tuple(
        BrokerPlan(folder, index, ports, Jvm(jars, settings.heap_mb, folder.broker(index), startup))
        for index in range(settings.brokers)
    )
    return ClusterPlan(remembered.at(ports), brokers, is_new=known is None)


def write_cluster(plan: ClusterPlan, folder: DataFolder, report: OnProgress) -> None:
    """Write every broker's files, and format a folder that is new.

    The card comes last: a folder whose formatting was interrupted has none, and is
    formatted again.

    Raises:
        BrokerStartError: Kafka's storage tool failed.
    """
    for broker in plan.brokers:
        write_files(broker)
    if plan.is_new:
        heartbeat = Heartbeat(report, Phase.FORMAT, "Formatting the data folder")
        for broker in plan.brokers:
            format_records(broker, plan.card.cluster_id, heartbeat)
    write_card(folder.path, plan.card)
