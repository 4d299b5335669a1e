"""A request on a connection that has just closed.

asyncio's transports take it and drop it; uvloop's raise a bare RuntimeError, which ends whatever task of aiokafka sent
it (aio-libs/aiokafka#1038): a consumer without its metadata task waits for its group's coordinator for ever and keeps
lanes that are another's by then. Here it is the connection error that aiokafka retries on.
"""

# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# This module is about the client's insides, which have neither public names nor types.

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from aiokafka import conn
from aiokafka.errors import KafkaConnectionError, KafkaError

_Connection: Any = conn.AIOKafkaConnection


def install() -> None:
    """Lets every client of this process survive it. May be called again."""
    replaced: Any = conn
    replaced.AIOKafkaConnection = ClosingConnection


class ClosingConnection(_Connection):  # type: ignore[misc]  # the client's class has no types
    """aiokafka's connection; a transport that has closed counts as a broken one."""

    def send(self, request: object, expect_response: bool = True) -> Any:  # noqa: ANN401, FBT001, FBT002  # as the client's
        """As the client's own."""
        with self._telling_of_closed():
            return super().send(request, expect_response)

    def _send_sasl_token(self, payload: bytes, expect_response: bool = True) -> Any:  # noqa: ANN401, FBT001, FBT002
        with self._telling_of_closed():
            return super()._send_sasl_token(payload, expect_response)

    @contextmanager
    def _telling_of_closed(self) -> Generator[None, None, None]:
        try:
            yield
        except KafkaError:
            raise
        except RuntimeError as error:
            self.close(reason=conn.CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {self._host}:{self._port} broken: {error}") from error
