"""The command `acgs`: its groups, its global options, and how its failures are told."""

import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from streams.cli.lazy import Entry, LazyGroup
from streams.cli.output import OutputClosed, clean
from streams.errors import SettingsError, StreamsError

INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141
USAGE: Final = 2


SECTIONS: Final[dict[str, dict[str, Entry]]] = {
    "Begin": {
        "dev": Entry("streams.cli.run", "dev", "Run everything on this machine: Kafka, topics, policy, agents."),
        "run": Entry("streams.cli.run", "run", "Run stream agents against the Kafka that is set."),
        "kafka": Entry(
            "streams.cli.kafka", "kafka", "Run a real Apache Kafka on this machine, with nothing to install."
        ),
    },
    "Set up": {
        "topics": Entry("streams.cli.topics", "topics", "Create, compare and describe topics; print their ACLs."),
        "policy": Entry("streams.cli.policy", "policy", "Check, publish, propose and show the policy that decides."),
        "doctor": Entry("streams.cli.doctor", "doctor", "Look for what is wrong with broker, topics, clock and lanes."),
    },
    "Messages": {
        "send": Entry("streams.cli.send", "send", "Publish messages from a file, one JSON object a line."),
        "tail": Entry("streams.cli.tail", "tail", "Follow a topic: who sent what to whom, and what was decided."),
        "score": Entry("streams.cli.score", "score", "Say why a message scores what it does, without sending it."),
    },
    "Workflows": {
        "worker": Entry("streams.cli.worker", "worker", "Run the activities of a Python module for workflows."),
        "workflow": Entry(
            "streams.cli.workflow", "workflow", "Start workflows, see how they stand, tell them what to do."
        ),
    },
    "Deliberation": {
        "deliberation": Entry(
            "streams.cli.deliberation", "deliberation", "See what is held, and decide on it with your signature."
        ),
        "keys": Entry("streams.cli.keys", "keys", "Make and show the keys that approvers and agents sign with."),
        "hitl": Entry("streams.cli.hitl", "hitl", "Post held items to Slack, Teams or a webhook, and take decisions."),
    },
    "Audit": {
        "audit": Entry(
            "streams.cli.audit", "audit", "Take every decision again from the topics, and say what differs."
        ),
        "replay": Entry("streams.cli.replay", "replay", "Try a policy on past traffic, and see what it would change."),
        "receipt": Entry("streams.cli.receipt", "receipt", "Prove one message's story in one file; check such a file."),
    },
    "Health": {
        "health": Entry("streams.cli.health", "health", "Show how services stand by their circuit breakers."),
        "recovery": Entry(
            "streams.cli.recovery", "recovery", "See how services are recovered; approve, cancel and schedule it."
        ),
        "chaos": Entry("streams.cli.chaos", "chaos", "Break things on purpose, see what is in force, stop it."),
    },
    "Operate": {
        "status": Entry("streams.cli.status", "status", "Show every lane, and what to do next."),
        "lanes": Entry("streams.cli.lanes", "lanes", "Let a held lane go on from a stated position."),
        "dead-letters": Entry("streams.cli.dead_letters", "dead_letters", "Look at, redrive or discard dead letters."),
    },
    "Measure": {
        "bench": Entry("streams.cli.bench", "bench", "Measure speed, latency and scoring."),
    },
}
"""Every command, in the order and sections of the overview."""

ENTRIES: Final = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


class Failure(click.ClickException):
    """An expected failure: one message on standard error, exit code 1."""


class Misconfigured(Failure):
    """What is set cannot work, or something is not set: exit code 2."""

    exit_code = USAGE


class Acgs(LazyGroup):
    """The root group: shows its commands in sections, and turns expected errors into messages and exit codes."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The overview, in sections."""
        del ctx
        width = max(map(len, ENTRIES))
        for title, entries in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), entry.says) for name, entry in entries.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Runs the command.

        Raises:
            Failure: what is expected to go wrong did; the message says what to do next.
            click.exceptions.Exit: 130 after Ctrl-C, 141 when nobody reads the output any more.
        """
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            raise Misconfigured(_words(error)) from error
        except StreamsError as error:
            raise Failure(_words(error)) from error
        except (KeyboardInterrupt, click.Abort):
            click.echo(err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None
        except OutputClosed:
            _let_go_of_output()
            raise click.exceptions.Exit(PIPE_CLOSED) from None
        except Exception as error:
            if failure := _as_failure(error):
                raise failure from error
            raise


_EXPECTED: Final = (
    ("streams.engine.errors", "EngineError"),
    ("schemas.errors", "SchemaError"),
    ("streams.embedded.errors", "EmbeddedKafkaError"),
)


def _as_failure(error: Exception) -> Failure | None:
    """The failure that an error of a heavier module means. If it came from one, that module is loaded by now."""
    loaded = ((sys.modules.get(module), name) for module, name in _EXPECTED)
    expected = tuple(kind for module, name in loaded if isinstance(kind := getattr(module, name, None), type))
    return Failure(_words(error)) if isinstance(error, expected) else None


def _words(error: Exception) -> str:
    """What an error says, safe on a terminal: it may hold what somebody else wrote, such as an id."""
    return "\n".join(map(clean, str(error).split("\n")))


def _let_go_of_output() -> None:
    """Keeps the interpreter from complaining about a closed pipe when it flushes at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _log_to_stderr(*, verbose: bool) -> None:
    """The Kafka client's own words go to standard error if asked for; else the commands tell what matters."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    if not verbose:
        for name in ("aiokafka", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _show_version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:  # noqa: FBT001
    if asked:
        from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415  # it is slow

        try:
            click.echo(f"acgs {version('acgs-streams')}")
        except PackageNotFoundError:
            click.echo("acgs, from source that is not installed")
        ctx.exit()


HELP: Final = """Governed message streams for fleets of AI agents, on Kafka.

Agents publish messages; a gateway checks each against its contract and the policy in force, and triage scores the
impact of its action. What is harmless is delivered, what is dangerous is held for approvals, what is malformed is
rejected with its reason. Each message exactly once.

\b
Try first:
  acgs dev                 everything on this machine, Kafka included
  acgs send messages.jsonl publish some messages (in another terminal)
  acgs tail deliveries     see what is delivered, and how it scored

A broker is set by ACGS_KAFKA_BOOTSTRAP_SERVERS=host:port, in acgs.toml, or by --broker. Without one, commands use the
Kafka that 'acgs kafka start' runs on this machine. Every setting is an ACGS_... variable or a line of acgs.toml.
"""


@click.group(
    "acgs",
    cls=Acgs,
    entries=ENTRIES,
    help=HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version."
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Settings file (TOML); without it acgs.toml in this folder, if there is one.",
)
@click.option("--broker", metavar="HOST:PORT", help="Kafka to use, in place of the one that is set.")
@click.option("-v", "--verbose", is_flag=True, help="Show the Kafka client's own log on standard error.")
def main(config: Path | None, broker: str | None, *, verbose: bool) -> None:
    """See HELP."""
    if config is not None:
        os.environ["ACGS_CONFIG"] = str(config)
    if broker is not None:
        os.environ["ACGS_KAFKA_BOOTSTRAP_SERVERS"] = broker
    _log_to_stderr(verbose=verbose)


def run(arguments: Sequence[str] | None = None) -> None:
    """Runs `acgs` as a program and exits."""
    main.main(args=None if arguments is None else list(arguments), prog_name="acgs")


if __name__ == "__main__":
    run()
