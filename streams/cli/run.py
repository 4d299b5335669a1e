"""`acgs run` and `acgs dev`: the agents, on a given broker or on one that comes with them."""

import asyncio
import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import click

from handlers.chaos.targets import PROTECTED
from schemas import topics
from schemas.policy import Policy
from schemas.registry import Approver
from streams import control
from streams.cli.output import screen
from streams.cli.showing import Show
from streams.demonstrations import audit as audit_demonstration
from streams.demonstrations import deliberation as deliberation_demonstration
from streams.demonstrations import health as health_demonstration
from streams.demonstrations import sagas as saga_demonstration
from streams.demonstrations.messages import Demonstration, result_line
from streams.embedded import EmbeddedKafka, EmbeddedSettings
from streams.engine.client import EngineSettings
from streams.errors import BrokerError, SettingsError
from streams.installation import Installation
from streams.notary import settings as notary_settings
from streams.notary.errors import RefusedError
from streams.notary.process import REFUSED, UNUSABLE
from streams.outcomes import Outcomes
from streams.policies import default_policy
from streams.samples import bank, payment_saga
from streams.samples.approvers import ANN, BOT, approvers, key_file, names_of, unknown_to, with_approvers
from streams.settings import Settings, load
from streams.supervisor import Supervisor, activity_worker, health_worker, lane_worker, notary, sample

_DATA = Path(".run")
_WORKERS = 2
_BOT_MODULE = "streams.samples.approval_bot"
_CHECKOUT_MODULE = "streams.samples.checkout"
_RUNNABLE = (*topics.LANE_AGENTS, topics.HEALTH_TABLE, topics.NOTARY)


@click.command()
@click.argument("agents", nargs=-1, type=click.Choice(_RUNNABLE), metavar="[AGENT]...")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes to run.")
@click.option("--chaos", is_flag=True, help="Let chaos be done here that operators order ('acgs chaos').")
def run(agents: tuple[str, ...], workers: int, *, chaos: bool) -> None:
    r"""Run agents on the configured broker until Ctrl-C or SIGTERM.

    Without an AGENT, all of them but the notary. The lanes of an agent are shared between all workers that run it, here
    and elsewhere; a worker that dies is started again. Needs the topics ('acgs topics create') and a policy ('acgs
    policy publish').
    Logs are JSON lines on standard error; /metrics, /livez and /readyz are on ACGS_METRICS_PORT, counting up by worker.

    The health table runs in a process of its own, beside the workers, and serves /health on ACGS_HEALTH_PORT. If it is
    the only one that is named, --workers says how many of it run; each needs another ACGS_HEALTH_PORT, or 0.

    The notary signs checkpoints of the trail, for 'acgs audit verify --checkpoint'. It runs alone, where no worker can
    read its key; ACGS_NOTARY_KEY_FILE and ACGS_NOTARY_FILE say which key and where to (docs/operations.md). It ends
    with 1 if the trail, or the file, is not what it has signed before, and with 2 if the file cannot be used as it is
    set. Another notary on the same file is waited for.

    With --chaos, the agents that chaos is never done to run in a process of their own without it; named, they are
    refused.

    \b
    Example:
      ACGS_KAFKA_BOOTSTRAP_SERVERS=kafka:9092 acgs run --workers 2
      ACGS_KAFKA_BOOTSTRAP_SERVERS=kafka:9092 acgs run health-table
      ACGS_NOTARY_KEY_FILE=notary.key ACGS_NOTARY_FILE=/safe/checkpoints.jsonl acgs run notary
    """
    load().engine(client_id="run")
    if topics.NOTARY in agents:
        _run_notary(agents, workers, chaos=chaos)
        return
    lanes, apart = _lanes(agents, chaos=chaos)
    supervisors, ports_taken = list[Supervisor](), 0
    if lanes or not agents:
        supervisors.append(Supervisor(lane_worker(*lanes, chaos=chaos), workers=workers))
        ports_taken = workers
    if apart:
        supervisors.append(Supervisor(lane_worker(*apart, first=ports_taken), workers=1))
        ports_taken += 1
    if topics.HEALTH_TABLE in agents or not agents:
        count = 1 if supervisors else workers
        supervisors.append(Supervisor(health_worker(ports_taken), workers=count))
    asyncio.run(_until_stopped(*supervisors))


def _run_notary(agents: tuple[str, ...], workers: int, *, chaos: bool) -> None:
    """Runs the notary until it is stopped or refuses.

    Raises:
        click.UsageError: something else is to run beside it.
        RefusedError: it refuses.
        SettingsError: no key or no file is set, or the file can never be used.
        KeyFileError: the key cannot be used.
    """
    if len(agents) > 1 or workers > 1 or chaos:
        raise click.UsageError("the notary runs alone and once, without --chaos: no worker may have its key")
    own = notary_settings.load()
    own.key()
    file = own.checkpoints()
    supervisor = Supervisor(notary(), workers=1, final=(REFUSED, UNUSABLE))
    asyncio.run(_until_stopped(supervisor))
    if supervisor.gave_up == UNUSABLE:
        raise SettingsError(f"the notary cannot keep its checkpoints in {file}: its log says why, and what to set")
    if supervisor.gave_up is not None:
        raise RefusedError("the notary refuses to sign: its log says why")


def _lanes(agents: tuple[str, ...], *, chaos: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The agents whose lanes run in the workers (none: all), and those that run in a process apart from chaos.

    Raises:
        click.UsageError: chaos is never done to one that is named, or to any.
    """
    lanes = tuple(agent for agent in agents if agent != topics.HEALTH_TABLE)
    if not chaos:
        return lanes, ()
    if agents and not lanes:
        raise click.UsageError("--chaos is for agents with lanes: none is ever done to the health-table")
    protected = tuple(agent for agent in lanes or topics.LANE_AGENTS if agent in PROTECTED)
    if lanes and protected:
        raise click.UsageError(f"chaos is never done to {', '.join(protected)}: run them without --chaos")
    return lanes or tuple(agent for agent in topics.LANE_AGENTS if agent not in PROTECTED), protected


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=_DATA, show_default=True, help="Folder of the broker.")
@click.option("--workers", type=click.IntRange(1, 16), default=_WORKERS, show_default=True, help="Processes to run.")
@click.option("--sample/--no-sample", default=False, help="Send sample traffic and show what becomes of it.")
@click.option("--kill/--no-kill", default=False, help="After the sample, kill a worker with SIGKILL and count.")
@click.option("--once", is_flag=True, help="End after the sample instead of staying up.")
def dev(*, data: Path, workers: int, sample: bool, kill: bool, once: bool) -> None:
    r"""Everything in one go on this machine: an embedded Kafka, topics, the default policy, and every agent.

    Stays up until Ctrl-C, which stops everything. The broker's data and all logs stay in the data folder, so that the
    next start goes on where this one ended. With ACGS_KAFKA_BOOTSTRAP_SERVERS set, that broker is used instead.

    \b
    Example:
      acgs dev --sample --kill
    """
    show = Show(screen())
    settings = load()
    data.mkdir(parents=True, exist_ok=True)
    with _broker(settings, data, show) as here, (data / "workers.log").open("ab") as log:
        wanted = _Wanted(here, data, workers, sample, kill, once, is_ours=settings.kafka_bootstrap_servers is None)
        result = asyncio.run(_dev(wanted, show, log))
    if once and result:
        show.result(result)


@dataclass(frozen=True, slots=True)
class _Wanted:
    settings: Settings
    data: Path
    workers: int
    sample: bool
    kill: bool
    once: bool
    is_ours: bool

    @property
    def shop(self) -> Path:
        """Where the activities of the sample write."""
        return self.data / "shop"

    @property
    def keys(self) -> Path:
        """Where the keys of the sample's approvers are."""
        return self.data / "keys"


@contextmanager
def _broker(settings: Settings, data: Path, show: Show) -> Generator[Settings, None, None]:
    if settings.kafka_bootstrap_servers:
        yield settings
        return
    kafka = EmbeddedKafka(EmbeddedSettings(data=data / "kafka"))
    with show.progress() as on_progress:
        kafka.start(on_progress)
    try:
        yield settings.model_copy(update={"kafka_bootstrap_servers": kafka.bootstrap_servers})
    finally:
        show.step("stopping Kafka")
        kafka.stop()


async def _dev(wanted: _Wanted, show: Show, log: IO[bytes]) -> str | None:
    """Runs everything until it is stopped, or until the demonstration has ended; returns the latter's result."""
    engine = wanted.settings.engine(client_id="dev")
    has_approvers = await _install(wanted, engine, show)
    environment = _environment(wanted.settings, wanted.shop)
    lanes = Supervisor(
        lane_worker(), workers=wanted.workers, environment=environment, log=log, on_event=show.worker_of("worker")
    )
    activities = Supervisor(
        activity_worker(payment_saga.__name__),
        workers=1,
        environment=environment,
        log=log,
        on_event=show.worker_of("activity worker"),
    )
    bot = Supervisor(
        sample(_BOT_MODULE, "--name", BOT, "--key", str(key_file(wanted.keys, BOT))),
        workers=1 if has_approvers else 0,
        environment=environment,
        log=log,
        on_event=show.worker_of("approval bot"),
    )
    health = Supervisor(
        health_worker(wanted.workers),
        workers=1,
        environment=environment,
        log=log,
        on_event=show.worker_of("health table"),
    )
    checkout = Supervisor(
        sample(_CHECKOUT_MODULE),
        workers=1 if wanted.sample else 0,
        environment=environment,
        log=log,
        on_event=show.worker_of("checkout"),
    )
    every = (lanes, activities, bot, health, checkout)
    running = asyncio.create_task(_until_stopped(*every))
    try:
        demonstrating = asyncio.create_task(_demonstrate(wanted, engine, lanes, show, has_approvers=has_approvers))
        await asyncio.wait([running, demonstrating], return_when=asyncio.FIRST_COMPLETED)
        result = demonstrating.result() if demonstrating.done() else None
        demonstrating.cancel()
        if not wanted.once and not running.done():
            if result:
                show.result(result)
            show.staying_up(engine.bootstrap_servers, wanted.settings.prefix)
            if has_approvers:
                show.may_decide(key_file(wanted.keys, ANN))
            await running
        return result
    finally:
        for supervisor in every:
            supervisor.stop()
        await running


async def _install(wanted: _Wanted, engine: EngineSettings, show: Show) -> bool:
    """Makes what is missing; returns whether the approvers of the sample may decide here."""
    settings = wanted.settings
    installation = Installation(engine, partitions=settings.partitions, replication=settings.replication)
    try:
        created = await installation.create()
    except BrokerError as error:
        if wanted.is_ours:
            raise
        own = "'acgs dev' uses the broker that is set; without ACGS_KAFKA_BOOTSTRAP_SERVERS it starts one of its own"
        raise BrokerError(f"{error}. {own}") from error
    show.step(f"topics: {len(created.made)} made, {len(created.existed)} there")
    if created.lost:
        raise SettingsError(f"the changelog of {', '.join(created.lost)} is gone: 'acgs status' says what to do")
    found = approvers(wanted.keys)
    in_force = await control.in_force(engine)
    if in_force is None:
        in_force = await control.publish(engine, _with_samples(default_policy(), found))
    elif wanted.is_ours and not in_force.policy.owners:
        following = _with_samples(in_force.policy, found)
        if following != in_force.policy:
            following = following.model_copy(update={"epoch": in_force.policy.epoch + 1})
            in_force = await control.publish(engine, following)
    show.step(f"policy: epoch {in_force.policy.epoch} ({in_force.digest[:8]})")
    unknown = unknown_to(in_force.policy, found, wanted.keys)
    if unknown is not None:
        show.step(f"approvals: {unknown}")
    return unknown is None


def _with_samples(policy: Policy, found: tuple[Approver, ...]) -> Policy:
    """The policy with what the demonstration needs of it, where it has nothing of those names."""
    if not any(map(policy.approver, names_of(found))):
        policy = with_approvers(policy, found)
    return policy if bank.SERVICE in policy.recoveries else bank.with_recovery(policy)


async def _recovers_the_bank(engine: EngineSettings) -> bool:
    in_force = await control.in_force(engine)
    return in_force is not None and bank.SERVICE in in_force.policy.recoveries


async def _demonstrate(
    wanted: _Wanted, engine: EngineSettings, supervisor: Supervisor, show: Show, *, has_approvers: bool
) -> str | None:
    if not wanted.sample:
        return None
    outcomes = Outcomes(engine)
    await outcomes.start()
    try:
        demonstration = Demonstration(engine, outcomes)
        show.title("sample traffic")
        with show.live() as on_outcome:
            tally = await demonstration.sample(on_outcome)
        if wanted.kill:
            show.title("now a worker is killed with SIGKILL while 3,000 more messages come in")
            with show.counting() as on_outcome:
                survived = await demonstration.kill_a_worker(supervisor, on_outcome)
            show.survived(survived)
        results = [result_line(tally)]
        if has_approvers:
            show.title("three dangerous actions: a bot and two people decide, and on one nobody does")
            decided = await deliberation_demonstration.run(engine, wanted.keys, show.stands, show.command)
            results.insert(0, deliberation_demonstration.result_line(decided))
        show.title("three orders through the payment saga; the carrier serves two of them")
        ended = await saga_demonstration.run(engine, wanted.shop, show.happened)
        show.orders(ended)
        results.insert(0, saga_demonstration.result_line(ended))
        if await _recovers_the_bank(engine):
            show.title("the bank fails: a circuit breaker opens, and a recovery closes it")
            recovered = await health_demonstration.run(engine, wanted.shop, show.health, show.recovery)
            results.insert(0, health_demonstration.result_line(recovered))
        show.title("the audit: every decision once more; then a byte is changed in a copy")
        verdict, tampered = await audit_demonstration.run(engine, show.audited)
        show.tampered(tampered)
        results.append(audit_demonstration.result_line(verdict, tampered))
        return "\n".join(results)
    finally:
        await outcomes.stop()


async def _until_stopped(*supervisors: Supervisor) -> None:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for supervisor in supervisors:
            supervisor.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    await asyncio.gather(*(supervisor.run() for supervisor in supervisors))


def _environment(settings: Settings, shop: Path) -> dict[str, str]:
    """What the workers need beyond this process's own variables; their ports are any that are free."""
    return {
        "ACGS_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers or "",
        "ACGS_METRICS_PORT": os.environ.get("ACGS_METRICS_PORT", "0"),
        "ACGS_HEALTH_PORT": os.environ.get("ACGS_HEALTH_PORT", "0"),
        "ACGS_WORKER_ID": "dev",
        payment_saga.FOLDER_VARIABLE: str(shop.resolve()),
    }
