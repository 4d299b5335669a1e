"""What docs/reference has from the code is what the code says now."""

from pathlib import Path

from streams import reference

FOLDER = Path(__file__).parents[2] / "docs" / "reference"


def test_what_is_made_from_the_code_is_current_and_complete() -> None:
    wanted = reference.documents()
    schemas = {f"schemas/{path.name}" for path in (FOLDER / "schemas").glob("*.json")}
    assert schemas == {name for name in wanted if name.startswith("schemas/")}
    assert [name for name, content in wanted.items() if (FOLDER / name).read_bytes() != content] == []
