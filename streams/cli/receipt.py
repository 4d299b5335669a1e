"""`acgs receipt`: one message's story in one file, and the check of such a file."""

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import click
from pydantic import ValidationError

from schemas.envelope import SourcePosition, decode_source
from schemas.receipt import Receipt
from streams.audit.kafka_log import KafkaLog, installed, moment
from streams.cli.output import clean, clock, count, say, screen, show_table, write_line
from streams.cli.session import engine, wait_for
from streams.engine.client import EngineSettings
from streams.notary import settings as notary_settings
from streams.notary.chain import by_id
from streams.receipts.anchoring import anchored, read_checkpoints, read_lines, require_checkpoints
from streams.receipts.collecting import collect
from streams.receipts.errors import NoCheckpointsError, ReceiptFileError
from streams.receipts.finding import find, require
from streams.receipts.findings import MEANING, Finding
from streams.receipts.verifying import Verdict
from streams.receipts.verifying import verify as verify_receipt

STYLES = {0: "bold green", 1: "bold red", 3: "bold yellow"}
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class _Receipts(click.Group):
    """What is no command is a message: `acgs receipt MESSAGE_ID` makes its receipt."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Puts `make` before a message's id."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["make", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Receipts, subcommand_metavar="MESSAGE_ID | verify FILE")
def receipt() -> None:
    r"""Prove one message's story in one file, which is checked without Kafka.

    'acgs receipt MESSAGE_ID' makes the file: what came in, what was decided by which policy, who signed, what went out,
    and the hashes that hold all of it to the audit trail. Of everybody else's records it has nothing but hashes. The
    policies it was decided by are in it in full.

    \b
    Example:
      acgs receipt 5bb45a45-9d55-5fd0-a2c4-d8a5c8ab6a28 --checkpoint checkpoints.jsonl --out receipt.json
      acgs receipt verify receipt.json --notary-key PUBLIC
    """


def _place(context: click.Context, parameter: click.Parameter, given: str | None) -> SourcePosition | None:
    try:
        return None if given is None else decode_source(given.encode())
    except ValueError as error:
        words = f"{given!r} is no place such as acgs.in.messages/0/12"
        raise click.BadParameter(words, context, parameter) from error


def _id(context: click.Context, parameter: click.Parameter, given: str) -> str:
    """As it was typed: a message_id is kept as it was written, in capitals too."""
    try:
        if str(UUID(given)) == given.lower():
            return given
    except ValueError:
        pass
    raise click.BadParameter(
        f"{given!r} is no message_id, such as 5bb45a45-9d55-5fd0-a2c4-d8a5c8ab6a28", context, parameter
    )


def _checkpoints(context: click.Context, parameter: click.Parameter, given: Path | None) -> Path | None:
    """A file that is no notary's is wrong usage, as one that is not there; a changed one is found later."""
    try:
        if given is not None:
            require_checkpoints(given)
    except NoCheckpointsError as error:
        raise click.BadParameter(str(error), context, parameter) from error
    return given


@receipt.command()
@click.argument("message_id", callback=_id)
@click.option("--at", callback=_place, metavar="PLACE", help="Which record, if several have that id: TOPIC/N/OFFSET.")
@click.option(
    "--checkpoint",
    type=_FILE,
    callback=_checkpoints,
    help="The notary's file: proofs up to the first that covers all turns.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Where to; else receipt-MESSAGE_ID.json.")
def make(message_id: str, at: SourcePosition | None, checkpoint: Path | None, out: Path | None) -> None:
    r"""Make the receipt of a message: 'acgs receipt MESSAGE_ID'.

    Inputs are kept for a week: a receipt has to be made before. It is verified before it is written. Topics are
    searched for the message from their beginning, and what deliberation decided is decided again from the start of its
    lane, so that it may take a while.

    \b
    Exit codes:
      0    written
      1    there is no such message, or several, or the log lacks what it takes, or the broker cannot be read
      2    wrong usage or settings

    \b
    Example:
      acgs receipt 5bb45a45-9d55-5fd0-a2c4-d8a5c8ab6a28
    """
    with _progress() as on_records:
        made = wait_for(_make(engine("receipt"), message_id, at, checkpoint, on_records))
    text = made.model_dump_json(indent=1).encode() + b"\n"
    verdict = verify_receipt(text, checkpoints=None if checkpoint is None else read_lines(checkpoint))
    if verdict.findings.differences:
        _show(verdict)
        raise click.ClickException(
            "what the log, or the file of checkpoints, has does not prove the story: 'acgs audit verify' says what "
            "differs"
        )
    file = out or Path(f"receipt-{message_id}.json")
    _keep_what_is_anchored(file, made)
    try:
        file.write_bytes(text)
    except OSError as error:
        raise ReceiptFileError(f"{file} cannot be written: {error.strerror}") from error
    _show(verdict)
    say(f"{file}: {count(len(made.turns), 'turn')}, {len(text):,} bytes. Check it with 'acgs receipt verify {file}'.")
    if checkpoint is None:
        say("With the notary's file it is anchored: --checkpoint FILE.", "dim")


def _keep_what_is_anchored(file: Path, made: Receipt) -> None:
    """A receipt that the notary vouches for is worth more than one that nobody does, and cannot always be made again.

    Raises:
        click.ClickException: it would be replaced by one that is not anchored.
    """
    if made.checkpoint is not None or not file.exists():
        return
    try:
        there = Receipt.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return
    if there.checkpoint is not None:
        raise click.ClickException(
            f"{file} is an anchored receipt, and the new one would not be: give --checkpoint FILE, or another --out"
        )


async def _make(
    settings: EngineSettings,
    message_id: str,
    at: SourcePosition | None,
    file: Path | None,
    on_records: Callable[[int], None],
) -> Receipt:
    facts = await installed(settings)
    async with KafkaLog(settings, await moment(settings, facts)) as log:
        if at is not None:
            await require(log, facts, message_id, at)
        source = at or await find(log, facts, message_id, on_records)
        made = await collect(log, facts, message_id, source, on_records)
        return made if file is None else await anchored(made, log, facts, read_checkpoints(file), on_records)


def _keys(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, bytes]:
    try:
        return by_id(given or notary_settings.load().public_keys)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from error


@receipt.command()
@click.argument("file", type=_FILE)
@click.option(
    "--checkpoint",
    type=_FILE,
    callback=_checkpoints,
    help="Your own copy of the notary's file, to hold the receipt's to. It is held to itself, too.",
)
@click.option(
    "--notary-key",
    "keys",
    multiple=True,
    callback=_keys,
    metavar="PUBLIC",
    help="The notary's public key, from the notary and not with the receipt. Without: ACGS_NOTARY_PUBLIC_KEYS.",
)
@click.option("--json", "as_json", is_flag=True, help="The verdict as one JSON object.")
def verify(file: Path, checkpoint: Path | None, keys: dict[str, bytes], *, as_json: bool) -> None:
    r"""Check a receipt: needs no Kafka, no network, and nothing but the file.

    From the records shown to the hashes of their turns, to the audit records, to the checkpoint's trees and its
    signature; and from what was decided upon to what was decided, by this release's rules. docs/receipts.md says what
    that proves, and against whom.

    \b
    Exit codes:
      0    proven; whether it is anchored is said
      1    something differs, a line of your copy of the notary's file was changed, or the file is no receipt
      2    wrong usage, such as a --checkpoint that is no file of checkpoints at all
      3    nothing differs, but something could not be verified: decided by another release, or on what others did, a
           checkpoint was given that the receipt cannot be held to, or others than lanes have written audit records.
           Each is said.

    \b
    Example:
      acgs receipt verify receipt.json --checkpoint checkpoints.jsonl --notary-key PUBLIC
    """
    checkpoints = None if checkpoint is None else read_lines(checkpoint)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ReceiptFileError(f"{file} cannot be read: {error.strerror}") from error
    verdict = verify_receipt(content, keys, checkpoints)
    if as_json:
        write_line(json.dumps(verdict.document()))
    else:
        _show(verdict)
    if verdict.exit_code:
        raise click.exceptions.Exit(verdict.exit_code)


@contextmanager
def _progress() -> Generator[Callable[[int], None], None, None]:
    """How many records were read, on a terminal; nothing in a pipe."""
    console = screen(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    total = 0
    with console.status("reading the log") as status:

        def read(more: int) -> None:
            nonlocal total
            total += more
            status.update(f"reading the log: {count(total, 'record')}")

        yield read


def _show(verdict: Verdict) -> None:
    if verdict.receipt is not None:
        say(clean(f"Message {verdict.receipt.message_id}, {verdict.receipt.source}"), "bold")
    if verdict.moments:
        rows = [(clock(one.at_ms), clean(one.where), clean(one.words)) for one in verdict.moments]
        show_table(("time", "decided on", "what"), rows, last_wraps=True)
        say("Shown is what the story rests on. What came later, or did not count, may have been left out.", "dim")
        say("")
    for title, found in (
        ("What differs:", verdict.findings.differences),
        ("Not verified:", verdict.findings.unverified),
    ):
        if found:
            _show_findings(title, found)
    say(f"{clean(verdict.words)}.", STYLES[verdict.exit_code])


def _show_findings(title: str, found: list[Finding]) -> None:
    say(title, "bold")
    rows = [(one.kind.value, clean(one.at or "-"), clean(f"{MEANING[one.kind]}: {one.words}")) for one in found]
    show_table(("kind", "turn", "what"), rows, last_wraps=True)
    say("")
