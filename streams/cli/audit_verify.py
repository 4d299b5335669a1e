"""`acgs audit verify`: every decision once more, from the topics."""

import json
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from schemas import topics
from streams.audit.anchoring import Checkpoints
from streams.audit.erased import NOTHING, Erased, ErasedError, read_list
from streams.audit.findings import MEANING, Finding
from streams.audit.releases import Pythons, ReleaseError, install
from streams.audit.report import Window
from streams.audit.running import Progress, Selection, UnknownLaneError, run
from streams.audit.verdict import Verdict
from streams.cli.output import clean, count, say, show_table, tell, write_line
from streams.cli.progress import bar
from streams.cli.session import settings
from streams.cli.times import moment, require_span
from streams.cli.usage import refusing
from streams.engine.worker import settle_garbage
from streams.notary import settings as notary_settings
from streams.notary.chain import by_id

STYLES = {0: "bold green", 1: "bold red", 3: "bold yellow"}


@click.command()
@click.option(
    "--agent", "agents", multiple=True, type=click.Choice(topics.LANE_AGENTS), metavar="AGENT", help="Only this agent."
)
@click.option("--lane", "lanes", multiple=True, type=click.IntRange(min=0), metavar="N", help="Only this lane.")
@click.option(
    "--from", "since", callback=moment, metavar="TIME", help="Only turns committed at or after it (RFC 3339)."
)
@click.option("--to", "until", callback=moment, metavar="TIME", help="Only turns committed before it.")
@click.option(
    "--erased",
    "erased_list",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Records that were erased, and the hashes they left: one a line, as JSON.",
)
@click.option(
    "--releases",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder with the wheels of other releases, and of what they need.",
)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes, a lane each.")
@click.option(
    "--checkpoint",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The notary's checkpoints; given again: copies from elsewhere, which must say the same.",
)
@click.option(
    "--notary-key",
    "public_keys",
    multiple=True,
    metavar="PUBLIC",
    help="Its public key, as 'acgs keys show' has it. Without: ACGS_NOTARY_PUBLIC_KEYS.",
)
@click.option("--json", "as_json", is_flag=True, help="The verdict as one JSON object.")
def verify(
    *,
    agents: tuple[str, ...],
    lanes: tuple[int, ...],
    since: int | None,
    until: int | None,
    erased_list: Path | None,
    releases: Path | None,
    workers: int,
    files: tuple[Path, ...],
    public_keys: tuple[str, ...],
    as_json: bool,
) -> None:
    r"""Read everything again, decide everything again, and compare.

    For each lane: the chain of its audit records, the inputs of each turn, the decisions as this release comes to them
    from those inputs, and the records that each turn wrote. Over all lanes: whether a topic has records that none of
    them wrote; for that no --agent, --lane, --from or --to may leave something out. Of turns before --from the chain
    alone is verified, as far back as the lane's rows are known: a lane that keeps rows is taken up at the last state
    digest that its changelog still fits, else from its first turn on.

    With --releases, turns of another decision_version are taken again by the release that has it, in an environment of
    its own that is made of the folder's wheels and nothing else.

    With --checkpoint, the whole trail is held to what the notary has signed, and the file to itself. Without it nobody
    outside has signed the trail: who owns the broker and knows this program can write a history anew that is
    consistent. docs/audit.md says what is proven, and against whom.

    \b
    Exit codes:
      0    consistent; with --checkpoint also anchored
      1    something differs, or the broker cannot be read
      2    wrong usage or settings: also no such lane, a list of erased records or a folder of releases that cannot be
           used, or nothing between --from and --to
      3    nothing differs, but something could not be verified: decided by another release, inputs that retention
           has deleted, records that were erased, positions that an operator accepted, limits that topics do not have
           now, no checkpoint in the file, no turn at all. Each is said.

    \b
    Example:
      acgs audit verify
      acgs audit verify --agent triage --from 2026-05-03T14:00:00Z --workers 4
      acgs audit verify --checkpoint checkpoints.jsonl --notary-key 'xnAzFYwTsrmgg0y3LKgMOI0r5ubSKALJ5+GZ2VUpNhk='
      acgs audit verify --json | jq '.differences[] | {kind, agent, lane, turn, at, says}'
    """
    settle_garbage()
    require_span(since, until)
    erased = NOTHING if erased_list is None else _erased(erased_list)
    checkpoints = _checkpoints(files, public_keys)
    with _installed(releases) as pythons, bar("verifying lanes") as on_progress:
        selection = Selection(agents, lanes, Window(since, until), erased, pythons)

        def on_turns(told: Progress) -> None:
            on_progress(told.lanes_done, told.lanes, count(told.turns, "turn"))

        with refusing("--lane", UnknownLaneError):
            verdict = run(settings(), selection, workers, on_turns, checkpoints)
    if as_json:
        write_line(json.dumps(verdict.document()))
    else:
        _show(verdict)
    if verdict.exit_code:
        raise click.exceptions.Exit(verdict.exit_code)


def _erased(file: Path) -> Erased:
    """The list of erased records.

    Raises:
        click.BadParameter: it is none.
    """
    with refusing("--erased", ErasedError):
        return read_list(file)


def _checkpoints(files: tuple[Path, ...], public_keys: tuple[str, ...]) -> Checkpoints | None:
    """What the trail is to be held to.

    Raises:
        click.UsageError: there are files without a key, or the other way round, or a key is none.
    """
    if not files:
        if public_keys:
            raise click.UsageError("--notary-key is for --checkpoint FILE")
        return None
    keys = public_keys or notary_settings.load().public_keys
    if not keys:
        raise click.UsageError(
            "whose signature counts? Give the notary's public key, --notary-key PUBLIC, from whoever runs it: 'acgs "
            "keys show' shows it. A key that came with the checkpoints would prove nothing"
        )
    try:
        return Checkpoints.as_of_now(files, by_id(keys))
    except ValueError as error:
        raise click.UsageError(f"--notary-key: {error}") from error


@contextmanager
def _installed(releases: Path | None) -> Generator[Pythons, None, None]:
    """Other releases in environments of their own, for as long as they are needed."""
    if releases is None:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="acgs-releases-") as folder:
        with refusing("--releases", ReleaseError):
            pythons = install(releases, Path(folder), tell)
        yield pythons


def _show(verdict: Verdict) -> None:
    for title, found in (
        ("Differences", verdict.findings.differences()),
        ("Not verified", verdict.findings.unverified()),
    ):
        if found:
            _show_findings(title, found, verdict)
    lanes = sum(1 for lane in verdict.lanes if lane.turns)
    say(
        f"{count(verdict.decisions, 'input record')} in {verdict.verified:,} of "
        f"{count(verdict.turns - verdict.before, 'turn')} of {count(lanes, 'lane')} came out as recorded."
    )
    if verdict.before:
        say(f"{count(verdict.before, 'turn')} before --from: the chain was verified, and not all else.")
    if verdict.accounted is None:
        say("Records that no turn wrote were not looked for: --agent, --lane, --from or --to leaves turns out.")
    elif not verdict.findings.differences():
        say(f"{count(verdict.accounted, 'record')} on the topics that only lanes write: each has its turn.")
    if verdict.anchor is not None and verdict.is_anchored:
        after = f"; {count(verdict.turns_after, 'turn')} came after the last checkpoint: consistent, not anchored yet"
        say(
            f"{count(verdict.anchored, 'input record')} of these {'is' if verdict.anchored == 1 else 'are'} anchored"
            f"{after if verdict.turns_after else ''}."
        )
    say(f"{verdict.words}.", STYLES[verdict.exit_code])


def _show_findings(title: str, found: Sequence[Finding], verdict: Verdict) -> None:
    say(f"{title}, the first of each kind:", "bold")
    rows = [
        (
            one.kind.value,
            f"{verdict.findings.count[one.kind]:,}",
            clean(f"{one.agent}/{one.lane}"),
            "-" if one.seq is None else str(one.seq),
            clean(one.at or "-"),
            clean(f"{MEANING[one.kind]}: {one.words}"),
        )
        for one in found
    ]
    show_table(("kind", "times", "lane", "turn", "where", "what"), rows, last_wraps=True)
    say("")
