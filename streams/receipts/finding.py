"""Where a message stands in the log. An index may take the place of this search: nothing else looks for messages."""

from collections.abc import Callable
from contextlib import aclosing

from schemas import topics
from schemas.envelope import SourcePosition
from streams.audit.facts import InstalledTopics
from streams.audit.log import Log
from streams.receipts.errors import UnknownMessageError
from streams.receipts.subject import message_id_of

_NAMED = 5


async def require(log: Log, facts: InstalledTopics, message_id: str, place: SourcePosition) -> None:
    """Whether the message stands at a place.

    Raises:
        UnknownMessageError: it does not.
    """
    topic = facts.naming.topic(topics.IN_MESSAGES)
    if place.topic == topic and 0 <= place.partition < facts.partitions[topic]:
        async with aclosing(log.read((topic, place.partition), place.offset)) as read:
            async for records in read:
                found = next((one for one in records if one.offset >= place.offset), None)
                if found is not None and found.offset == place.offset and message_id_of(found.value) == message_id:
                    return
                if found is not None:
                    break
    where = "/".join(map(str, place))
    raise UnknownMessageError(f"message {message_id} does not stand at {where}: leave out --at to have it looked for")


async def find(
    log: Log, facts: InstalledTopics, message_id: str, on_records: Callable[[int], None] = lambda _: None
) -> SourcePosition:
    """The one record on `in.messages` that has this message_id.

    Raises:
        UnknownMessageError: there is none, or more than one: each is a message of its own.
    """
    topic, wanted = facts.naming.topic(topics.IN_MESSAGES), message_id.encode()
    found: list[SourcePosition] = []
    for partition in range(facts.partitions[topic]):
        place = topic, partition
        async for records in log.read(place, log.begin(place)):
            on_records(len(records))
            found += [
                SourcePosition(topic, partition, record.offset)
                for record in records
                if record.value is not None and wanted in record.value and message_id_of(record.value) == message_id
            ]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UnknownMessageError(
            f"no record on {topic} has message_id {message_id}. Inputs are kept for a while only: a receipt has to be "
            "made before they are deleted"
        )
    places = ", ".join("/".join(map(str, one)) for one in found[:_NAMED])
    raise UnknownMessageError(
        f"{len(found)} records on {topic} have message_id {message_id}, each with a story of its own: name one with "
        f"--at, such as --at {'/'.join(map(str, found[0]))}. They are {places}"
    )
