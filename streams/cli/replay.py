"""`acgs replay`: a policy tried on past traffic, before it is in force."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from schemas.policy import Policy
from schemas.score import display
from streams.cli.confirm import confirmed
from streams.cli.output import clean, count, iso, say, show_table, tell, write_line
from streams.cli.policy_file import read_policy
from streams.cli.progress import OnProgress, bar
from streams.cli.session import engine, settings, wait_for
from streams.cli.times import require_span, time_option
from streams.control import in_force
from streams.engine.client import EngineSettings
from streams.errors import StreamsError
from streams.replay import writing
from streams.replay.comparing import Change, Difference
from streams.replay.diffing import difference
from streams.replay.marker import Finish, Marker
from streams.replay.prefixes import require_apart
from streams.replay.running import Order
from streams.replay.running import replay as make

_CLIENT = "replay"


@click.group(invoke_without_command=True)
@time_option("--from", "since", "Inputs that the broker had at or after it (RFC 3339, without a zone UTC).")
@time_option("--to", "until", "Inputs that it had before it.")
@click.option("--into", "prefix", metavar="PREFIX", help="Begins the names of the replay's own topics, such as try-1.")
@click.option(
    "--policy",
    "file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="The policy to try (TOML). Default: the one in force, as this release decides by it.",
)
@click.option("--next-epoch", is_flag=True, help="Number the policy: one more than what is in force.")
@click.pass_context
def replay(
    context: click.Context,
    *,
    since: int | None,
    until: int | None,
    prefix: str | None,
    file: Path | None,
    next_epoch: bool,
) -> None:
    r"""Try a policy on past traffic: decide it once more, into topics of its own.

    What the six gateways and triage would decide on each record of the public topics from --from to --to, under the
    given policy: accepted, or rejected and why; delivered, or held, and with which score. 'acgs replay diff PREFIX'
    compares it with what was decided.

    Nothing live is written, and nothing is acted upon: no lane, worker or callback server reads the replay's topics.
    Votes, workflows, recoveries and chaos are not replayed, since they rest on what people signed and workers
    answered under the policy of then.

    The replay's topics are kept until 'acgs replay remove PREFIX'. PREFIX must not begin as the live prefix does.

    \b
    Exit codes:
      0    the replay is complete
      1    it could not be made, and what had been made is removed
      2    wrong usage or settings

    \b
    Example:
      acgs replay --from 2026-05-03 --to 2026-05-10 --into try-1. --policy stricter.toml --next-epoch
      acgs replay diff try-1.
      acgs replay diff try-1. --json > try-1.json
      acgs policy propose stricter.toml --next-epoch --replay-diff try-1.json
      acgs replay remove try-1.
    """
    if context.invoked_subcommand is not None:
        if any(one is not None for one in (since, until, prefix, file)) or next_epoch:
            raise click.UsageError(f"options of 'acgs replay' itself do not go with '{context.invoked_subcommand}'.")
        return
    if since is None or until is None or prefix is None:
        raise click.UsageError("--from, --to and --into are needed: 'acgs replay --help' has an example.")
    require_span(since, until)
    if next_epoch and file is None:
        raise click.UsageError("--next-epoch numbers the policy in --policy FILE, which is not given.")
    loaded = settings()
    order = Order(prefix, since, until, loaded.replication)
    policy = None if file is None else read_policy(file)
    marker, finish = _made(loaded.engine(client_id=f"acgs-{_CLIENT}"), order, policy, next_epoch=next_epoch)
    _show_made(marker, finish, prefix)


def _made(live: EngineSettings, order: Order, policy: Policy | None, *, next_epoch: bool) -> tuple[Marker, Finish]:
    begun = False

    def on_begun(told: OnProgress) -> Callable[[int, int], None]:
        def note(done: int, total: int) -> None:
            nonlocal begun
            begun = True
            told(done, total)

        return note

    async def numbered() -> tuple[Marker, Finish]:
        chosen = policy
        if policy is not None and next_epoch:
            current = await in_force(live)
            chosen = policy.model_copy(update={"epoch": current.policy.epoch + 1 if current else 1})
        return await make(live, order, chosen, on_begun(on_progress))

    with bar("replaying inputs") as on_progress:
        try:
            return wait_for(numbered())
        except BaseException:
            if begun:
                _take_back(replace(live, prefix=order.into))
            raise


def _take_back(own: EngineSettings) -> None:
    """Removes what an unfinished replay has left, or says how to."""
    tell("Removing what was made so far.")
    try:
        wait_for(writing.remove(own))
    except (KeyboardInterrupt, StreamsError):
        tell(f"Topics that begin with {own.prefix} are left: 'acgs replay remove {own.prefix}' removes them.", "red")


def _show_made(marker: Marker, finish: Finish, prefix: str) -> None:
    span = f"{iso(marker.since)} to {iso(marker.until)}"
    say(f"{count(finish.inputs, 'input')} of {span} decided under epoch {marker.epoch}, {marker.policy[:8]}.", "green")
    for window in marker.windows:
        if window.cut:
            tell(
                f"{window.topic}/{window.partition} begins at offset {window.first}: what stood before it in that "
                "time, retention has deleted.",
                "yellow",
            )
    say(f"  acgs replay diff {prefix}")
    say(f"  acgs replay remove {prefix}")


@replay.command()
@click.argument("prefix")
@click.option("--json", "as_json", is_flag=True, help="All of it as one JSON object, for 'acgs policy propose' too.")
def diff(prefix: str, *, as_json: bool) -> None:
    r"""Show what a replay decided otherwise, by kind and with examples.

    What was decided is read from the live topics. Inputs of which nothing is found there are counted apart: they are
    not decided yet, or retention has deleted what came of them (rejections are kept for 3 days). So compare soon.

    The digest at its end is of the whole difference. 'acgs policy propose --replay-diff' puts it on what owners sign.

    \b
    Exit codes:
      0    every decision that could be compared is the same
      1    some would change, or the comparison could not be made
      2    wrong usage or settings

    \b
    Example:
      acgs replay diff try-1.
      acgs replay diff try-1. --json | jq '.changes[] | {kind, count}'
    """
    with bar("comparing records") as on_progress:
        found = wait_for(difference(engine(_CLIENT), prefix, on_progress))
    if as_json:
        write_line(json.dumps(found.document()))
    else:
        _show(found)
    if found.changed:
        raise click.exceptions.Exit(1)


@replay.command()
@click.argument("prefix")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(prefix: str, *, yes: bool) -> None:
    r"""Delete the topics of a replay.

    Only topics that the replay's own record names, all of them under PREFIX. An unfinished one is removed as well.

    \b
    Example:
      acgs replay remove try-1. --yes
    """
    live = engine(_CLIENT)
    require_apart(prefix, live.prefix)
    own = replace(live, prefix=prefix)
    begun, _ = wait_for(writing.marker_of(own))
    if not yes:
        named = count(1 + len(begun.made if begun else ()), "topic")
        confirmed(f"Delete {named} of the replay under {prefix}?")
    say(f"{count(len(wait_for(writing.remove(own))), 'topic')} deleted.", "green")


def _show(found: Difference) -> None:
    document = found.document()
    epochs = ", ".join(f"{number:,} by epoch {epoch}" for epoch, number in sorted(found.epochs.items()))
    say(f"{count(found.compared, 'decision')} compared with epoch {found.marker.epoch}: {epochs or 'none'}.")
    if any(window.cut for window in found.marker.windows):
        say("Some of that time's inputs retention may have deleted before they were replayed.", "yellow")
    if found.unknown:
        say(f"{count(found.unknown, 'input')} not compared: nothing is found of what was decided on them.", "yellow")
    if found.changed:
        rows = [(clean(kind), f"{number:,}", _share(number, found)) for kind, number in found.kinds.most_common()]
        show_table(("would be decided otherwise", "inputs", "of all"), rows)
        say("")
        for kind, _ in found.kinds.most_common():
            _show_examples(kind, found.examples[kind])
        say(f"Scores: {found.raised:,} higher, {found.lowered:,} lower.")
    else:
        say("Every decision is the same.", "green")
    say(f"digest {document['sha256']}")


def _share(number: int, found: Difference) -> str:
    return f"{100 * number / found.compared:.1f}%"


def _show_examples(kind: str, examples: list[Change]) -> None:
    say(f"{clean(kind)}, for example:", "bold")
    rows = [
        (
            str(one.place),
            clean(one.who.sender or "-"),
            clean(one.after.tool or one.before.tool or "-"),
            _scores(one),
            clean(_why(one.document())),
        )
        for one in examples
    ]
    show_table(("input", "from", "tool", "score", "what changes"), rows, last_wraps=True)
    say("")


def _scores(one: Change) -> str:
    old, new = ("-" if score is None else display(score) for score in (one.before.score, one.after.score))
    return old if old == new else f"{old} -> {new}"


def _why(document: dict[str, Any]) -> str:
    said = [f"{one['name']} {one['before']} -> {one['after']}" for one in document.get("factors", ())]
    if terms := document.get("terms"):
        said.append(
            " -> ".join("none" if one is None else f"{one[1]} of {', '.join(one[2])} ({one[0]})" for one in terms)
        )
    return "; ".join(said) or "-"
