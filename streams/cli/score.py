"""`acgs score`: why a message scores what it does."""

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import click
import orjson

from schemas.policy import PublishedPolicy, from_toml, published
from schemas.score import ScoreCard, display
from streams.cli.output import age, clean, count, flush, say, screen, table, tell, text, write_line
from streams.cli.session import engine_if_any, wait_for
from streams.control import in_force
from streams.errors import StreamsError
from streams.lines import Line, opened
from streams.policies import default_policy
from streams.readable import display_points
from streams.scoring import Verdict, judge

_SHOWN_DIGEST = 8
_STYLES = {"reject": "red", "hold": "yellow", "deliver": "green"}
_MEANS = {"reject": "rejected", "hold": "held", "deliver": "delivered"}
DEFAULT = "default"


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option(
    "--policy",
    "policy_file",
    metavar="FILE|default",
    help="Score by this document instead of the one in force: a TOML file, or the policy that ships.",
)
@click.option("--signed", is_flag=True, help="As if each were signed by its sender.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a message and line, for scripts.")
def score(file: Path, policy_file: str | None, *, signed: bool, as_json: bool) -> None:
    r"""Say why each message of FILE (`-`: standard input) scores what it does. Nothing is sent.

    One message is one line of JSON. The policy is the one in force, or the default one where no broker is set. A
    message that the gateway would refuse is shown with the reason, and with its score where it keeps the contract.
    Without --signed all count as unsigned: of tenants whose messages must be signed, every action is held.

    \b
    Example:
      acgs score messages.jsonl
      head -1 messages.jsonl | acgs score - --policy default
      acgs score messages.jsonl --json | jq -r 'select(.verdict == "hold") | .card.score'
    """
    by = _policy(policy_file)
    counts = dict.fromkeys(_MEANS, 0)
    with opened(file, sys.stdin.buffer) as lines:
        for line, verdict in _verdicts(lines, by, signed=signed):
            counts[verdict.word] += 1
            if as_json:
                write_line(orjson.dumps(_document(line, verdict)).decode())
            else:
                _show(line, verdict)
    flush()
    told = ", ".join(f"{number} {_MEANS[word]}" for word, number in counts.items() if number)
    tell(f"{count(sum(counts.values()), 'message')}: {told or 'none'}.")


def _verdicts(lines: Iterable[Line], by: PublishedPolicy, *, signed: bool) -> Iterator[tuple[Line, Verdict]]:
    for line in lines:
        yield line, judge(line.value, by, int(time.time() * 1000), sender_verified=signed)


def _policy(given: str | None) -> PublishedPolicy:
    """The policy to score by, which is said."""
    if given is not None and given != DEFAULT:
        return _told(published(from_toml(_read(Path(given))).canonical()), f"the document {given}")
    settings = None if given else engine_if_any("score")
    if settings is None:
        why = "" if given else "; no broker is set"
        return _told(published(default_policy().canonical()), f"the default policy that ships{why}")
    current = wait_for(in_force(settings))
    if current is None:
        return _told(published(default_policy().canonical()), "the default policy that ships; none is in force")
    return _told(current, "the policy in force")


def _told(by: PublishedPolicy, what: str) -> PublishedPolicy:
    tell(f"Scored by {what} (epoch {by.policy.epoch}, digest {by.digest[:_SHOWN_DIGEST]}...).", "dim")
    return by


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StreamsError(f"{file} cannot be read: {error}") from error


def _show(line: Line, verdict: Verdict) -> None:
    """One message: what becomes of it, and each factor on a line of its own."""
    head = text(f"line {line.number}: ", "bold")
    head.append(_MEANS[verdict.word], f"bold {_STYLES[verdict.word]}")
    triage = verdict.triage
    if triage is not None:
        head.append(f"  {display(triage.card.score)}  {clean(triage.card.tool or 'no action')}", "bold")
        head.append(f"  {triage.card.verb or ''}".rstrip())
    say(head)
    if verdict.refused is not None:
        say(f"  {verdict.refused.reason}: {clean(verdict.refused.detail)}", "red")
    if triage is None:
        return
    _show_factors(triage.card)
    terms = triage.terms
    if terms is not None:
        of = f"{terms.approvals} of {', '.join(dict.fromkeys(terms.roles))}"
        say(f"  tier {terms.tier}: {of} must agree within {age(terms.deadline_s * 1_000)}")


def _show_factors(card: ScoreCard) -> None:
    rows = [(factor.name, display_points(factor.points), factor.why) for factor in card.factors]
    if not rows:
        say("  nothing raises its score")
    elif screen().is_terminal:
        from rich.padding import Padding  # noqa: PLC0415  # only on a terminal

        made = table(("factor", "points", "why"), rows, last_wraps=True)
        made.show_header = False
        screen().print(Padding(made, (0, 0, 0, 2)), soft_wrap=False)
    else:
        width = max(len(name) for name, _, _ in rows)
        for name, points, why in rows:
            write_line(f"  {name:<{width}}  {points}  {clean(why)}")


def _document(line: Line, verdict: Verdict) -> dict[str, object]:
    refused, triage = verdict.refused, verdict.triage
    return {
        "line": line.number,
        "verdict": verdict.word,
        "reason": refused and refused.reason.value,
        "detail": refused and refused.detail,
        "tier": triage and triage.terms and triage.terms.tier,
        "executable": triage and triage.executable,
        "card": triage and asdict(triage.card),
    }
