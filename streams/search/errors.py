"""What can be wrong with an index, or with what is looked for in it.

StreamsError
+-- IndexFileError    the file cannot be used as the index of this installation
+-- UnknownIdError    nothing in the index has this id
+-- AmbiguousIdError  several things begin so
"""

from collections.abc import Sequence

from streams.errors import StreamsError


class IndexFileError(StreamsError):
    """The file cannot be used as the index of this installation."""


class UnknownIdError(StreamsError):
    """Nothing in the index has this id."""


class AmbiguousIdError(StreamsError):
    """Several things begin so; `candidates` are the first of them, each its kind and its whole id."""

    def __init__(self, words: str, candidates: Sequence[tuple[str, str]]) -> None:
        super().__init__(words)
        self.candidates = tuple(candidates)
