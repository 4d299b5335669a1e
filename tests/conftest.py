"""One broker for the whole run, a fresh prefix for each test, and coroutines as tests."""

import asyncio
import inspect
import os
import uuid
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import hypothesis
import pytest

from streams.engine.client import EngineSettings
from tests.support.broker import Broker, container, embedded, engine_settings
from tests.support.kafka import remove_topics
from tests.support.platform import Platform, platform

hypothesis.settings.register_profile("acgs", deadline=None)  # how long it takes says how busy the machine is
hypothesis.settings.load_profile("acgs")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--broker", default="embedded", help="embedded (default), container (testcontainers), or HOST:PORT of a broker"
    )
    parser.addoption("--storm", action="store_true", help="run the long reliability test too (make storm)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves the long storm out unless it is asked for by --storm or by a -m expression that names it."""
    if config.getoption("--storm") or "storm" in str(config.getoption("-m")):
        return
    left_out = [item for item in items if item.get_closest_marker("storm")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs a test that is a coroutine in an event loop of its own; fixtures that can be entered are, in that loop."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}  # noqa: SLF001

    async def run() -> None:
        async with AsyncExitStack() as entered:
            for name, given in arguments.items():
                if isinstance(given, AbstractAsyncContextManager):
                    arguments[name] = await entered.enter_async_context(given)
            await pyfuncitem.obj(**arguments)

    asyncio.run(run())
    return True


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The broker that tests share. Tests that kill or reconfigure theirs start one of their own."""
    choice: str = request.config.getoption("--broker")
    if choice == "embedded":
        with embedded(tmp_path_factory.mktemp("kafka")) as started:
            yield started
    elif choice == "container":
        with container() as started:
            yield started
    else:
        yield Broker(choice)


@pytest.fixture
def prefix() -> str:
    """A prefix that no topic, group or transactional id has had before."""
    return f"t{os.getpid()}-{uuid.uuid4().hex[:8]}."


@pytest.fixture
def settings(broker: Broker, prefix: str) -> Iterator[EngineSettings]:
    """An engine of this test's own at the shared broker.

    Its topics are removed afterwards: clients ask for all that there are, and thousands take longer than the tests.
    """
    made = engine_settings(broker, prefix)
    yield made
    asyncio.run(remove_topics(made))


@pytest.fixture
def at() -> AbstractAsyncContextManager[Platform]:
    """A server that plays Slack, Teams and a webhook's platform, entered in the test's event loop."""
    return platform()
