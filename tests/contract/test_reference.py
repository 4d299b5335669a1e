"""The JSON Schemas under docs/ are those of the contracts as they are now."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "reference" / "schemas"
reference = pytest.importorskip("streams.reference", reason="streams/reference.py is not there yet")


def test_the_schemas_under_docs_are_current_and_complete() -> None:
    wanted = reference.documents()
    there = {path.name: path.read_bytes() for path in FOLDER.glob("*.json")}
    assert wanted
    assert sorted(there) == sorted(wanted)
    assert [name for name, content in wanted.items() if there[name] != content] == []
