"""Where a bench runs: the configured broker, or an embedded one for the time of the bench."""

import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from streams.embedded import EmbeddedKafka, EmbeddedSettings, Progress
from streams.engine.client import EngineSettings
from streams.settings import Settings


@contextmanager
def place(settings: Settings, say: "Say") -> Generator[EngineSettings, None, None]:
    """Engine settings on a prefix of the bench's own; an embedded broker is stopped and its data removed at the end."""
    prefix = f"bench-{uuid4().hex[:8]}."
    if settings.kafka_bootstrap_servers:
        yield replace(settings.engine(client_id="bench"), prefix=prefix)
        return
    with tempfile.TemporaryDirectory(prefix="acgs-bench-") as folder:
        kafka = EmbeddedKafka(EmbeddedSettings(data=Path(folder) / "kafka", heap_mb=1024))
        kafka.start(say)
        try:
            here = settings.model_copy(update={"kafka_bootstrap_servers": kafka.bootstrap_servers})
            yield replace(here.engine(client_id="bench"), prefix=prefix)
        finally:
            kafka.stop()


class Say:
    """Prints what a starting broker does, a line a phase."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write, self._last = write, ""

    def __call__(self, progress: Progress) -> None:
        """Shows a phase once."""
        if progress.phase != self._last:
            self._last = progress.phase
            self._write(progress.message)
