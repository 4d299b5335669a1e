"""What a test's installation does from its start to its end."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Self


class Lifetime(ABC):
    """An async context manager that is written as one function."""

    _open: AbstractAsyncContextManager[Self]

    @abstractmethod
    def _running(self) -> AbstractAsyncContextManager[Self]:
        """Yields the instance itself."""

    async def __aenter__(self) -> Self:
        self._open = self._running()
        return await self._open.__aenter__()

    async def __aexit__(self, *about: object) -> None:
        await self._open.__aexit__(*about)  # type: ignore[arg-type]


@contextmanager
def accounted(account: Callable[[], str]) -> Iterator[None]:
    """A failure within says what the state of things was."""
    try:
        yield
    except BaseException as error:
        error.add_note(account())
        raise
