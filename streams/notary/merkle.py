"""Merkle trees of RFC 6962 over SHA-256: roots and proofs from one pass over the leaves, in memory of O(log n).

Everything here takes leaf hashes, so that a leaf itself is needed only once. A tree of n leaves is at its root the
hash of two subtrees, the left one as large as a power of two below n can be; a proof is the roots of ranges of leaves.
"""

import hashlib
from collections.abc import Iterable, Sequence

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

Range = tuple[int, int]
"""Leaves from a number, counted from 0, to before another."""


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of a leaf: no node can have it, since 0x00 stands before what is hashed, and 0x01 in a node."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node over two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """A tree that only grows. It keeps the roots of its full subtrees, at most one for each bit of its size."""

    __slots__ = ("_full", "size")

    def __init__(self) -> None:
        self.size = 0
        self._full: list[bytes] = []

    def add(self, leaf: bytes) -> None:
        """Appends a leaf, given as its hash."""
        size, node = self.size, leaf
        while size & 1:
            node = node_hash(self._full.pop(), node)
            size >>= 1
        self._full.append(node)
        self.size += 1

    def root(self) -> bytes:
        """The root over all leaves so far; of none, SHA-256 of nothing."""
        if not self._full:
            return EMPTY_ROOT
        node = self._full[-1]
        for left in reversed(self._full[:-1]):
            node = node_hash(left, node)
        return node


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The root over leaves that are given as their hashes."""
    tree = Tree()
    for leaf in leaves:
        tree.add(leaf)
    return tree.root()


class ProofInProgress:
    """Collects the hashes of a proof while the leaves pass by, from the first on. More than needed do no harm."""

    __slots__ = ("_at", "_next", "_order", "_ranges", "_roots", "_tree")

    def __init__(self, ranges: Sequence[Range]) -> None:
        self._order, self._ranges = ranges, sorted(ranges)
        self._roots: dict[Range, bytes] = {}
        self._at = self._next = 0
        self._tree = Tree()

    def add(self, leaf: bytes) -> None:
        """The next leaf, given as its hash."""
        if self._next < len(self._ranges):
            first, end = self._ranges[self._next]
            if self._at >= first:
                self._tree.add(leaf)
            if self._at == end - 1:
                self._roots[first, end] = self._tree.root()
                self._tree = Tree()
                self._next += 1
        self._at += 1

    @property
    def is_whole(self) -> bool:
        """Whether every leaf that the proof needs has passed by."""
        return self._next == len(self._ranges)

    def hashes(self) -> tuple[bytes, ...]:
        """The proof.

        Raises:
            ValueError: it is not whole yet.
        """
        if not self.is_whole:
            raise ValueError(f"the proof needs {self._ranges[-1][1]} leaves, {self._at} were given")
        return tuple(self._roots[one] for one in self._order)


def inclusion(index: int, size: int) -> ProofInProgress:
    """The proof that the leaf of that number, counted from 0, is in the tree of that size.

    Raises:
        ValueError: there is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    ranges: list[Range] = []
    first, end = 0, size
    while end - first > 1:
        middle = first + _left_size(end - first)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((first, middle))
            first = middle
    return ProofInProgress(ranges[::-1])


def consistency(old: int, new: int) -> ProofInProgress:
    """The proof that the tree of the old size is the beginning of the tree of the new size.

    Raises:
        ValueError: the sizes are not 0 < old <= new.
    """
    if not 0 < old <= new:
        raise ValueError(f"a tree of {old} leaves is no beginning of one of {new}")
    ranges: list[Range] = []
    first, end = 0, new
    while old != end:
        middle = first + _left_size(end - first)
        if old <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((first, middle))
            first = middle
    if first:
        ranges.append((first, end))
    return ProofInProgress(ranges[::-1])


def proves_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the proof shows that a leaf, given as its hash, is at that place of the tree with that root."""
    if not 0 <= index < size:
        return False
    node, at, last = leaf, index, size - 1
    for other in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            node = node_hash(other, node)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            node = node_hash(node, other)
        at, last = at >> 1, last >> 1
    return last == 0 and node == root


def proves_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the proof shows that the tree of the old root is the beginning of the tree of the new one."""
    if not 0 < old <= new:
        return False
    if old == new:
        return not proof and old_root == new_root
    hashes = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not hashes:
        return False
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    before = after = hashes[0]
    for other in hashes[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            before, after = node_hash(other, before), node_hash(other, after)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            after = node_hash(after, other)
        at, last = at >> 1, last >> 1
    return last == 0 and before == old_root and after == new_root


def _left_size(size: int) -> int:
    """How many leaves the left subtree of a tree of two or more has."""
    return 1 << ((size - 1).bit_length() - 1)
