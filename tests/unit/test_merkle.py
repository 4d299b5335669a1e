"""RFC 6962 trees: the published vectors, and that proofs prove what is so and nothing else."""

import hashlib
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.notary import merkle
from streams.notary.merkle import ProofInProgress, leaf_hash, node_hash, proves_consistency, proves_inclusion, root_of

LEAVES = [
    bytes.fromhex(leaf)
    for leaf in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
"""The leaves of the test vectors of the Certificate Transparency project, and its roots over the first 1 to 8."""
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
AUDIT_PATH_OF_LEAF_0_IN_8 = (
    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
)
CONSISTENCY_OF_6_IN_8 = (
    "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
)

SIZES = st.integers(1, 200)


def hashes(count: int) -> list[bytes]:
    return [leaf_hash(str(number).encode()) for number in range(count)]


def defined(leaves: Sequence[bytes]) -> bytes:
    """The root by the words of RFC 6962, section 2.1."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    left = 1
    while left * 2 < len(leaves):
        left *= 2
    return node_hash(defined(leaves[:left]), defined(leaves[left:]))


def proof(begun: ProofInProgress, leaves: Sequence[bytes]) -> tuple[bytes, ...]:
    for leaf in leaves:
        begun.add(leaf)
    return begun.hashes()


def test_the_published_vectors_come_out() -> None:
    leaves = [leaf_hash(leaf) for leaf in LEAVES]
    assert merkle.EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert tuple(root_of(leaves[:size]).hex() for size in range(1, 9)) == ROOTS
    assert tuple(one.hex() for one in proof(merkle.inclusion(0, 8), leaves)) == AUDIT_PATH_OF_LEAF_0_IN_8
    assert tuple(one.hex() for one in proof(merkle.consistency(6, 8), leaves)) == CONSISTENCY_OF_6_IN_8


@given(SIZES)
def test_a_growing_tree_has_the_root_that_the_standard_defines(size: int) -> None:
    assert root_of(hashes(size)) == defined(hashes(size))


@given(st.data(), SIZES)
def test_an_inclusion_proof_proves_its_leaf_and_no_other(data: st.DataObject, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    leaves = hashes(size + 3)
    path, root = proof(merkle.inclusion(index, size), leaves), root_of(leaves[:size])
    assert len(path) <= size.bit_length()
    assert proves_inclusion(leaves[index], index, size, path, root)
    assert not proves_inclusion(leaf_hash(b"another"), index, size, path, root)
    assert not proves_inclusion(leaves[index], index + 1, size, path, root)
    assert not proves_inclusion(leaves[index], index, size, (*path, root), root)
    assert not path or not proves_inclusion(leaves[index], index, size, path[:-1], root)


@given(st.data(), SIZES)
def test_a_consistency_proof_proves_a_beginning_and_nothing_else(data: st.DataObject, new: int) -> None:
    old = data.draw(st.integers(1, new))
    leaves = hashes(new + 3)
    begun = proof(merkle.consistency(old, new), leaves)
    old_root, new_root = root_of(leaves[:old]), root_of(leaves[:new])
    assert proves_consistency(old, old_root, new, new_root, begun)
    forged = [leaf_hash(b"forged"), *leaves[1:]]
    assert not proves_consistency(old, root_of(forged[:old]), new, new_root, begun)
    assert not proves_consistency(old, old_root, new, root_of(forged[:new]), begun)
    assert not proves_consistency(
        old, old_root, new, root_of(forged[:new]), proof(merkle.consistency(old, new), forged)
    )
    assert not proves_consistency(old, old_root, new, new_root, (*begun, new_root))
    assert not begun or not proves_consistency(old, old_root, new, new_root, begun[:-1])


def test_a_node_is_never_taken_for_a_leaf() -> None:
    one, other = hashes(2)
    assert leaf_hash(one + other) != node_hash(one, other)


@pytest.mark.parametrize(
    "ask", [lambda: merkle.inclusion(3, 3), lambda: merkle.consistency(0, 3), lambda: merkle.consistency(4, 3)]
)
def test_a_proof_of_what_is_not_there_is_refused(ask: Callable[[], ProofInProgress]) -> None:
    with pytest.raises(ValueError, match="a tree of"):
        ask()


def test_a_proof_is_not_given_before_its_leaves_have_passed() -> None:
    begun = merkle.inclusion(0, 4)
    for leaf in hashes(3):
        begun.add(leaf)
    with pytest.raises(ValueError, match="needs 4 leaves, 3 were given"):
        begun.hashes()
