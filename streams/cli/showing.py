"""What `acgs dev` shows: steps, decisions as they come, and the count; colour on a terminal, plain lines in a pipe."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from schemas import envelope
from schemas.deliberation import DeliberationState, DeliberationStatus
from schemas.health import ServiceHealth
from schemas.recovery import RecoveryEvent
from schemas.score import display
from schemas.workflow import WorkflowEvent, WorkflowState
from streams.audit.verdict import Verdict
from streams.cli.health_view import STATUSES
from streams.cli.recovery_view import STATES as RECOVERIES
from streams.demonstrations.audit import Tampered
from streams.demonstrations.messages import OnOutcome, Survived
from streams.demonstrations.sagas import Ended
from streams.embedded import Progress
from streams.outcomes import Fate, Outcome, Tally
from streams.supervisor import Event, WorkerEvent
from streams.workflows.moments import Tone, moment

_TONES = {Tone.GOOD: "green", Tone.HELD: "yellow", Tone.BAD: "red", Tone.PLAIN: "", Tone.DIM: "dim"}
_STATES = {
    DeliberationState.PENDING: "yellow",
    DeliberationState.APPROVED: "green",
    DeliberationState.REJECTED: "red",
    DeliberationState.EXPIRED: "magenta",
    DeliberationState.WITHDRAWN: "",
}
_STYLES = {Fate.DELIVERED: "green", Fate.HELD: "yellow", Fate.REJECTED: "red", Fate.DEAD_LETTERED: "magenta"}


class Show:
    """Writes to one console."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._states: dict[str, WorkflowState] = {}

    def step(self, words: str) -> None:
        """Something was done."""
        self._console.print(f"[dim]·[/dim] {escape(words)}")

    def title(self, words: str) -> None:
        """Something new begins."""
        self._console.print()
        self._console.print(f"[bold]{escape(words)}[/bold]")

    @contextmanager
    def progress(self) -> Generator[Callable[[Progress], None], None, None]:
        """Shows a starting broker: a spinner on a terminal, a line a phase in a pipe."""
        if self._console.is_terminal:
            with self._console.status("starting Kafka") as status:
                yield lambda progress: status.update(escape(_progress(progress)))
        else:
            yield _OncePerPhase(self.step)
        self.step("Kafka is up")

    def worker_of(self, kind: str) -> Callable[[WorkerEvent], None]:
        """Shows that a worker of a kind started, died or stopped."""

        def show(event: WorkerEvent) -> None:
            words = f"{kind} {event.number} {event.event.value} (pid {event.pid}"
            style = "red" if event.event is Event.DIED else "dim"
            self._console.print(Text(f"· {words}{'' if event.status is None else f', status {event.status}'})", style))

        return show

    def happened(self, order_id: str, event: WorkflowEvent) -> None:
        """Something happened to an order's workflow."""
        told = moment(event, self._states.get(order_id))
        self._states[order_id] = event.state
        text = Text(f"{order_id:>9} ", "bold")
        text.append(f"{told.node or '':<18} ", "cyan")
        text.append(told.words, _TONES[told.tone])
        for follows in told.follows:
            text.append(f"; {follows}", "dim")
        self._console.print(text, soft_wrap=not self._console.is_terminal)

    def orders(self, ended: Sequence[Ended]) -> None:
        """What became of the orders, and what happened outside."""
        for one in ended:
            style = "bold green" if one.state is WorkflowState.COMPLETED else "bold yellow"
            text = Text(f"{one.order_id:>9} ", "bold")
            text.append(one.state.value, style)
            text.append(f"  outside: {', '.join(one.entries)}")
            text.append(f"  (acgs workflow show {one.workflow_id})", "dim")
            self._console.print(text, soft_wrap=True)

    def stands(self, what: str, status: DeliberationStatus) -> None:
        """How an action stands that was held."""
        item = status.item
        text = Text(f"{status.state.value:>9} ", f"bold {_STATES[status.state]}")
        text.append(f"{what:<27} ")
        if status.state is DeliberationState.PENDING:
            score = "" if item.score is None else f"{display(item.score)}, "
            text.append(f"{score}waits for {item.approvals} of {'/'.join(item.roles)}", "dim")
        else:
            text.append(status.why or "", "dim")
        self._console.print(text, soft_wrap=not self._console.is_terminal)

    def health(self, row: ServiceHealth) -> None:
        """How a service stands by its breakers."""
        text = Text(f"{row.service:>9} ", "bold")
        text.append(f"{row.status.value:<12} ", STATUSES[row.status]).append(row.why, "dim")
        self._console.print(text, soft_wrap=not self._console.is_terminal)

    def recovery(self, event: RecoveryEvent) -> None:
        """A recovery has changed its state."""
        text = Text(f"{'recovery':>9} ", "bold")
        text.append(f"{event.state.value:<12} ", RECOVERIES[event.state]).append(event.why, "dim")
        self._console.print(text, soft_wrap=not self._console.is_terminal)

    def audited(self, verdict: Verdict) -> None:
        """What an audit of everything came to."""
        text = Text(f"{'audited':>9} ", "bold")
        text.append(f"{verdict.decisions:,} decisions of {verdict.verified:,} turns came out again as they were taken")
        text.append(f"; {verdict.words}", "green" if verdict.exit_code == 0 else "bold red")
        self._console.print(text, soft_wrap=not self._console.is_terminal)

    def tampered(self, tampered: Tampered | None) -> None:
        """What was changed in a copy of the log, and what the audit says to that."""
        if tampered is None:
            return
        for name, style, words in (
            ("changed", "bold", f"{tampered.where}, one byte: {tampered.before}... is now {tampered.after}..."),
            ("found", "bold red" if tampered.kind == "nothing" else "bold green", f"{tampered.kind}: {tampered.says}"),
        ):
            self._console.print(
                Text(f"{name:>9} ", style).append(words, "not bold"), soft_wrap=not self._console.is_terminal
            )

    def command(self, line: str, printed: str) -> None:
        """A command that was run, and what it printed."""
        self._console.print(Text(f"        $ {line}", "cyan"), soft_wrap=True)
        for one in printed.splitlines():
            self._console.print(Text(f"          {one}"), soft_wrap=True)

    def may_decide(self, key: Path) -> None:
        """What is held may be decided on by hand."""
        self._console.print(
            f"[dim]decide on what is held: acgs deliberation list · acgs deliberation show ITEM · "
            f"acgs deliberation approve ITEM --key {escape(str(key))}[/dim]",
            soft_wrap=True,
        )

    @contextmanager
    def live(self) -> Generator[OnOutcome, None, None]:
        """Shows each rejection and each held action as it is decided, and the counts."""
        with self._counts() as refresh:

            def decided(outcome: Outcome, tally: Tally) -> None:
                if outcome.fate is not Fate.DELIVERED:
                    self._console.print(_line(outcome), soft_wrap=not self._console.is_terminal)
                refresh(tally)

            yield decided

    @contextmanager
    def counting(self) -> Generator[OnOutcome, None, None]:
        """Shows the counts only."""
        with self._counts() as refresh:
            yield lambda _, tally: refresh(tally)

    def survived(self, survived: Survived) -> None:
        """What killing a worker cost."""
        good = survived.lost == survived.doubled == 0
        style = "bold green" if good else "bold red"
        self._console.print(
            Text(
                f"{survived.lost} lost, {survived.doubled} doubled of {survived.published}; the longest time without a "
                f"decision was {survived.gap_s:.1f} s (worker {survived.killed_pid} was killed)",
                style,
            ),
            soft_wrap=True,
        )

    def staying_up(self, servers: str, prefix: str) -> None:
        """Everything runs and goes on running."""
        self._console.print()
        self._console.print(
            f"[bold green]up[/bold green] on {escape(servers)}, prefix {escape(prefix)}; Ctrl-C stops all"
        )
        self._console.print(f"[dim]in another terminal: export ACGS_KAFKA_BOOTSTRAP_SERVERS={escape(servers)}[/dim]")
        self._console.print(
            "[dim]then: acgs status · acgs health --watch · acgs workflow list · acgs tail rejected · acgs send FILE · "
            "acgs score FILE[/dim]"
        )

    def result(self, line: str) -> None:
        """The last line, for scripts."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def _counts(self) -> Generator[Callable[[Tally], None], None, None]:
        if not self._console.is_terminal:
            yield lambda _: None
            return
        with Live(_counts(Tally()), console=self._console, refresh_per_second=10) as live:
            yield lambda tally: live.update(_counts(tally))


class _OncePerPhase:
    """Says a phase's first message only."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._phase = say, ""

    def __call__(self, progress: Progress) -> None:
        if progress.phase != self._phase:
            self._phase = progress.phase
            self._say(progress.message)


def _progress(progress: Progress) -> str:
    return progress.message if progress.total is None else f"{progress.message} ({progress.done}/{progress.total})"


def _counts(tally: Tally) -> Text:
    text = Text()
    for fate, style in _STYLES.items():
        text.append(f"{tally.fates[fate]:>6} ", "bold")
        text.append(f"{fate.value}  ", style)
    return text


def _line(outcome: Outcome) -> Text:
    text = Text()
    text.append(f"{outcome.fate.value:>9} ", _STYLES[outcome.fate])
    if outcome.fate is Fate.HELD:
        _held(text, outcome)
    else:
        text.append(f"{outcome.headers.get(envelope.REASON, '')}", "bold")
        text.append(f"  {outcome.headers.get(envelope.DETAIL, '')}", "dim")
    return text


def _held(text: Text, outcome: Outcome) -> None:
    card, item = outcome.card, orjson.loads(outcome.headers[envelope.ITEM])
    if card is not None:
        why = ", ".join(
            f"{factor.why} +{factor.points}" if factor.points > 0 else factor.why for factor in card.factors
        )
        text.append(f"{display(card.score)} {card.tool or 'no action'}", "bold")
        text.append(f"  waits for {item['approvals']} of {'/'.join(item['roles'])}")
        text.append(f"  {why}", "dim")
