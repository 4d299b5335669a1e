"""The file of checkpoints: one a line, only ever appended to, by one process at a time."""

import errno
import fcntl
import logging
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Final, NamedTuple, Self

from schemas.checkpoint import Checkpoint
from streams.durable import sync
from streams.notary.chain import Chain, ChainError
from streams.notary.cut_off import is_cut_off
from streams.notary.errors import CheckpointFileError, FileRefusedError, UnusableFileError

_log = logging.getLogger(__name__)

_MAX_LINE: Final = 16 * 1024 * 1024
_READABLE: Final = 0o644
_LASTING: Final = frozenset(
    (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP, errno.ENAMETOOLONG)
)
"""What does not pass by itself, as a full disk may."""
_ADVICE: Final = (
    "Keep it as it is and look who has changed it; a copy that is whole, such as what the webhook has taken, can stand "
    "in for it. If it never was the notary's, set ACGS_NOTARY_FILE to another one"
)


class Line(NamedTuple):
    """A line of a file, without its end. `end` is the offset after it; one that a crash cut off is not `is_whole`."""

    number: int
    content: bytes
    end: int
    is_whole: bool


def lines(opened: IO[bytes], until: int = sys.maxsize) -> Iterator[Line]:
    """The lines of a file, from where it stands to an offset or its end, one in memory at a time."""
    number, end = 0, opened.tell()
    while content := opened.readline(min(_MAX_LINE, until - end)):
        number, end = number + 1, end + len(content)
        yield Line(number, content.removesuffix(b"\n"), end, content.endswith(b"\n"))


class CheckpointFile:
    """The notary's own file. Entering it locks it, and verifies every line against the keys.

    What a crash has left of a line that it wrote is taken back: it was never told to anybody. Whatever else is not a
    checkpoint of its own stays as it is, and is refused. `on_read` is told of each checkpoint that is there, with the
    offset after it.
    """

    def __init__(
        self,
        path: Path,
        keys: Mapping[str, bytes],
        on_read: Callable[[Checkpoint, int], None] = lambda _checkpoint, _end: None,
    ) -> None:
        self._path, self._keys, self._on_read = path, keys, on_read
        self._opened: IO[bytes] | None = None
        self._end = 0
        self.last: Checkpoint | None = None

    def __enter__(self) -> Self:
        """Makes the file if there is none.

        Raises:
            UnusableFileError: it can never be opened or written so.
            CheckpointFileError: it cannot be opened for now, or another process has locked it.
            FileRefusedError: a line is not as it was signed, or not the notary's.
        """
        is_new = not self._path.exists()
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK
            opened = os.fdopen(os.open(self._path, flags, _READABLE), "rb")
        except OSError as error:
            raise self._told(error) from error
        try:
            self._require_regular(opened)
            self._lock(opened)
            if is_new:
                sync(self._path.parent)
            self._verify(opened)
        except BaseException:
            opened.close()
            raise
        self._opened = opened
        return self

    def __exit__(self, *_: object) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def append(self, made: Checkpoint) -> int:
        """Writes a checkpoint; on return it is on the disk. Returns the offset after it.

        Raises:
            CheckpointFileError: it cannot be written. Whether it is there is seen when the file is entered again.
        """
        if self._opened is None:
            raise RuntimeError("the file is not open: with CheckpointFile(...) as file")
        try:
            self._end += _write(self._opened, made.line() + b"\n")
            os.fsync(self._opened.fileno())
        except OSError as error:
            raise self._told(error) from error
        self.last = made
        return self._end

    def _require_regular(self, opened: IO[bytes]) -> None:
        """What is written to a device or a pipe cannot be read again."""
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise UnusableFileError(f"{self._path} is no regular file: set ACGS_NOTARY_FILE to one")

    def _lock(self, opened: IO[bytes]) -> None:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CheckpointFileError(
                f"another notary writes to {self._path}. One is enough, two would not sign the same: this one tries "
                "again until that one has ended"
            ) from error
        except OSError as error:
            raise self._told(error) from error

    def _verify(self, opened: IO[bytes]) -> None:
        chain = Chain(self._keys)
        try:
            for line in lines(opened):
                try:
                    read = chain.take(line.content)
                except ChainError as error:
                    if self._is_cut_off(opened, line, chain.last):
                        self._take_back(opened, line.content)
                        break
                    raise FileRefusedError(f"{self._path}, line {line.number}: {error}. {_ADVICE}") from error
                self._end = line.end if line.is_whole else line.end + _write(opened, b"\n")
                self._on_read(read, self._end)
            os.fsync(opened.fileno())
        except OSError as error:
            raise self._told(error) from error
        self.last = chain.last

    def _is_cut_off(self, opened: IO[bytes], line: Line, last: Checkpoint | None) -> bool:
        is_last = line.end == os.fstat(opened.fileno()).st_size
        return is_last and not line.is_whole and is_cut_off(line.content, last, self._keys)

    def _take_back(self, opened: IO[bytes], content: bytes) -> None:
        """The log has it in full: if it was no crash, it is not lost."""
        _log.warning(
            "%s ends with %d bytes of a checkpoint that was not written to its end; they are taken back, from offset "
            "%d on: %s",
            *(self._path, len(content), self._end, content.decode(errors="backslashreplace")),
        )
        os.ftruncate(opened.fileno(), self._end)

    def _told(self, error: OSError) -> CheckpointFileError:
        if error.errno not in _LASTING:
            return CheckpointFileError(f"{self._path} cannot be used: {error.strerror}")
        return UnusableFileError(
            f"{self._path} cannot be used: {error.strerror}. Set ACGS_NOTARY_FILE to a file, there or not, in a folder "
            "that is there, both of which this account may write to"
        )


def _write(opened: IO[bytes], content: bytes) -> int:
    """Appends all of it, past the reader's buffer; returns its length."""
    left = memoryview(content)
    while left:
        left = left[os.write(opened.fileno(), left) :]
    return len(content)
