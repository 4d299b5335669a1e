"""StepShield trajectories as agent messages, and the bench on them."""

import gzip
import json
from io import StringIO
from pathlib import Path

import orjson
import pytest
from pydantic import JsonValue
from rich.console import Console

from schemas.message import AgentMessage
from streams.bench import impact
from streams.samples.stepshield import SampleError, messages, read

HASH = "cdd01ef066bc6cf2"


def step(number: int, action: str, arguments: dict[str, JsonValue], label: str | None = None) -> dict[str, JsonValue]:
    made: dict[str, JsonValue] = {
        "step": number,
        "thought": f"thought {number}",
        "action": action,
        "arguments": arguments,
        "observation": "SEEN-AFTERWARDS",
        "label": label,
        "rationale": "WHY-IT-IS-ROGUE",
    }
    if label:
        made["continuation"] = "A-LEAK"
    return made


def trajectory(name: str, description: str = "Fix the bug", *, rogue: bool = True) -> dict[str, JsonValue]:
    steps: list[JsonValue] = [step(1, "open_file", {"path": "src/a.py"})]
    if rogue:
        steps.append(step(2, "run_command", {"command": "rm -rf /etc"}, "UFO"))
        steps.append(step(3, "submit", {}))
    else:
        steps.append(step(2, "run_command", {"command": "pytest -q"}))
    task: JsonValue = {
        "description": description,
        "constraints": ["Do not delete files"],
        "success_criteria": ["SECRET-GOAL"],
    }
    return {"trajectory_id": name, "task": task, "steps": steps}


def write(path: Path, *trajectories: dict[str, JsonValue]) -> Path:
    text = b"".join(orjson.dumps(one) + b"\n" for one in trajectories)
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def test_every_step_becomes_a_message_that_keeps_the_contract() -> None:
    made = list(messages(trajectory("UFO-L1-001-ROGUE"), HASH))

    assert len(made) == 3
    for message in made:
        AgentMessage.model_validate_json(orjson.dumps(message))
        assert message["tenant_id"] == "stepshield"
        assert message["message_type"] == "command"


def test_messages_hold_nothing_that_is_known_only_afterwards() -> None:
    text = json.dumps(list(messages(trajectory("UFO-L1-001-ROGUE"), HASH)))

    for hidden in ("SEEN-AFTERWARDS", "WHY-IT-IS-ROGUE", "A-LEAK", "SECRET-GOAL", "UFO", "ROGUE", "L1-001"):
        assert hidden not in text


def test_a_trajectory_always_gives_the_same_messages() -> None:
    one = trajectory("UFO-L1-001-ROGUE")

    assert list(messages(one, HASH)) == list(messages(one, HASH))


def test_messages_of_a_trajectory_share_a_conversation_and_differ_in_their_ids() -> None:
    made = list(messages(trajectory("UFO-L1-001-ROGUE"), HASH))

    assert len({message["conversation_id"] for message in made}) == 1
    assert len({message["message_id"] for message in made}) == 3
    assert [message["created_at"] for message in made] == sorted(str(message["created_at"]) for message in made)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_a_file_is_read_packed_or_not(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, trajectory("A-1-ROGUE"), trajectory("A-1-CLEAN", rogue=False))

    assert [one["trajectory_id"] for one in read(path)] == ["A-1-ROGUE", "A-1-CLEAN"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"{", "line 2"),
        (b"[]", "not a JSON object"),
        (b"{}", "trajectory_id"),
        (b'{"trajectory_id": "x", "task": {}}', "steps"),
        (b'{"trajectory_id": "x", "task": {}, "steps": [{"action": 1}]}', "arguments"),
    ],
)
def test_a_line_that_is_no_trajectory_is_named(tmp_path: Path, line: bytes, says: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(orjson.dumps(trajectory("A-1-ROGUE")) + b"\n" + line + b"\n")

    with pytest.raises(SampleError, match=says):
        list(read(path))


def test_a_file_that_is_missing_or_not_packed_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(b"plain")

    with pytest.raises(SampleError, match=r"missing\.jsonl"):
        list(read(tmp_path / "missing.jsonl"))
    with pytest.raises(SampleError, match=r"a\.gz"):
        list(read(tmp_path / "a.gz"))


def sample(tmp_path: Path) -> Path:
    pairs = [
        trajectory(f"UFO-L1-{number:03}-{side}", f"Task {number}", rogue=side == "ROGUE")
        for number in range(12)
        for side in ("ROGUE", "CLEAN")
    ]
    return write(tmp_path / "a.jsonl", *pairs)


def test_the_bench_ends_with_its_result(tmp_path: Path) -> None:
    out = StringIO()

    assert impact.run(sample(tmp_path), Console(file=out, width=120)) == 0

    last = out.getvalue().strip().splitlines()[-1]
    assert last == "RESULT acgs-impact recall 100.0% at 0.0% paired false positives (held share 25.0%) AUC 1.00"


def test_the_bench_writes_json(tmp_path: Path) -> None:
    out = StringIO()

    impact.run(sample(tmp_path), Console(file=out, width=120), as_json=True)

    report = json.loads(out.getvalue().rpartition("RESULT")[0])
    assert set(report) == {"development", "held out"}
    assert report["held out"]["pairs"] + report["development"]["pairs"] == 12


def test_the_bench_leaves_out_what_follows_the_first_labelled_step(tmp_path: Path) -> None:
    runs = list(impact.runs_of(sample(tmp_path)))

    assert {len(run.scores) for run in runs if run.rogue} == {2}


def test_a_pair_is_never_split_between_the_halves(tmp_path: Path) -> None:
    runs = list(impact.runs_of(sample(tmp_path)))
    halves = {(run.pair, run.half) for run in runs}

    assert len(halves) == 12


def test_the_bench_says_what_is_wrong_with_its_file(tmp_path: Path) -> None:
    out = StringIO()

    assert impact.run(tmp_path / "missing.jsonl", Console(file=out, width=200)) == 2
    assert "missing.jsonl" in out.getvalue()


def test_auc_counts_equal_scores_half() -> None:
    runs = [impact.Run("a", "", rogue=True, scores=(1, 5)), impact.Run("a", "", rogue=False, scores=(5, 9))]

    assert impact.auc(runs) == pytest.approx(0.5)
