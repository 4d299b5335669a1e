"""What `acgs audit`, `receipt` and `replay` refuse as wrong usage: exit code 1 would say that something differs."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.cli.main import main

USAGE = 2
EARLY, LATE = "2026-05-03T14:00:00Z", "2026-05-03T15:00:00Z"


def refused(*arguments: str) -> str:
    """What is said. Nothing listens there: what asks the broker first fails otherwise."""
    told = CliRunner().invoke(main, ["--broker", "127.0.0.1:1", *arguments])
    assert (told.exit_code, told.stdout) == (USAGE, "")
    return told.stderr


@pytest.mark.parametrize("given", ["", " "])
@pytest.mark.parametrize(
    "command",
    [
        ("audit", "explain"),
        *(("audit", "search", option) for option in ("--message", "--item", "--workflow")),
    ],
    ids=" ".join,
)
def test_an_empty_id_begins_every_other_and_is_refused(command: tuple[str, ...], given: str) -> None:
    assert "it is empty: give an id" in refused(*command, given)


def test_a_receipt_of_an_empty_id_is_refused() -> None:
    assert "is no message_id" in refused("receipt", "")


@pytest.mark.parametrize("until", [EARLY, "2026-05-03T13:00:00Z"])
@pytest.mark.parametrize("command", [("audit", "verify"), ("audit", "search"), ("replay", "--into", "try-1.")])
def test_nothing_can_be_between_a_time_and_an_earlier_one(command: tuple[str, ...], until: str) -> None:
    assert "--to is not after --from" in refused(*command, "--from", EARLY, "--to", until)


def test_no_score_is_between_one_and_a_lower_one_or_beside_none() -> None:
    assert "--min-score is above --max-score" in refused("audit", "search", "--min-score", "0.8", "--max-score", "0.7")
    assert "it is no number" in refused("audit", "search", "--min-score", "nan")


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"garbage", "line 1 of"), (b"\xde\xff", "is no text"), (b'{"\\u001b[2J": 1}', "is no erased record")],
)
def test_what_is_no_list_of_erased_records_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "erased.jsonl"
    file.write_bytes(content)
    said = refused("audit", "verify", "--erased", str(file))
    assert says in said
    assert "codec" not in said
    assert "\x1b" not in said


def test_a_folder_without_a_release_or_with_one_that_is_none_is_refused(tmp_path: Path) -> None:
    assert "has no release" in refused("audit", "verify", "--releases", str(tmp_path))
    (tmp_path / "acgs_streams-9.9.9-py3-none-any.whl").write_bytes(b"junk")
    assert "cannot be installed or asked" in refused("audit", "verify", "--releases", str(tmp_path))


@pytest.mark.parametrize("place", ["t.in.messages/0", "/0/0", "t.in.messages/0/٣", "t.in.messages/x/0"])
def test_what_is_no_place_of_a_record_leaves_no_hash(place: str) -> None:
    assert "is no place of a record: TOPIC/PARTITION/OFFSET" in refused("audit", "hashes", place)
