"""The worker's own port: /metrics for Prometheus, /livez and /readyz for whoever restarts and routes."""

import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from types import TracebackType
from typing import Any, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from streams.engine.worker import Health
from streams.errors import SettingsError

_StartResponse = Callable[[str, list[tuple[str, str]]], object]


class Probes:
    """Serves on a thread of its own, so that a standing event loop can still be asked. A context manager."""

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        *,
        liveness: Callable[[], Health],
        readiness: Callable[[], Health],
    ) -> None:
        """Binds the port; 0 takes any.

        Raises:
            SettingsError: the address cannot be bound.
        """
        self._registry = registry
        self._checks = {"/livez": liveness, "/readyz": readiness}
        try:
            self._server = make_server(host, port, self._answer, server_class=_Server, handler_class=_Handler)
        except OSError as error:
            raise SettingsError(
                f"cannot serve metrics at {host}:{port}: {error.strerror}; set ACGS_METRICS_PORT to a free one, or 0"
            ) from error
        self.port: int = self._server.server_port

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name="probes", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start_response: _StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        check = self._checks.get(path)
        if check is not None:
            health = check()
            status = "200 OK" if health.ok else "503 Service Unavailable"
            start_response(status, [("Content-Type", "application/json")])
            return [orjson.dumps({"ok": health.ok, "why": health.why})]
        if path == "/metrics":
            start_response("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
            return [generate_latest(self._registry)]
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"there are /metrics, /livez and /readyz\n"]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    """Writes no line for each request."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the parameter's name is the base's
        """Says nothing."""
