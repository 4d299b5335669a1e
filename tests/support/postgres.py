"""A PostgreSQL server of a test's own. Whoever imports this is skipped where psycopg is missing."""

import getpass
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.eventually import eventually_sync

psycopg = pytest.importorskip("psycopg", reason="psycopg is missing: pip install 'psycopg[binary]'")

_USER, _DATABASE = "acgs", "postgres"


@contextmanager
def server() -> Generator[Path]:
    """The folder with the socket of a server. Skips the test where PostgreSQL is not installed."""
    initdb, postgres = _binary("initdb"), _binary("postgres")
    if initdb is None or postgres is None:
        pytest.skip("PostgreSQL's server is missing: install the package postgresql")
    with tempfile.TemporaryDirectory(prefix="acgs-pg-", ignore_cleanup_errors=True) as folder:
        # Neither in pytest's folder, which is only its user's, nor deep: a socket's path is at most 107 bytes.
        data = Path(folder) / "data"
        as_user = _become(Path(folder))
        log = (Path(folder) / "log").open("wb")
        with log:
            flags = ["--username", _USER, "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
            subprocess.run([initdb, "-D", data, *flags], check=True, stdout=log, **as_user)
            settings = ["-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=16MB"]
            process = subprocess.Popen([postgres, "-D", data, "-k", folder, *settings], stderr=log, **as_user)
        try:
            eventually_sync(lambda: _answers(folder), account=(Path(folder) / "log").read_text)
            yield Path(folder)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def new_schema(server: Path, name: str) -> str:
    """How to connect to a schema of that name, which is made."""
    with psycopg.connect(host=str(server), user=_USER, dbname=_DATABASE, autocommit=True) as connection:
        connection.execute(f'CREATE SCHEMA "{name}"')
    return psycopg.conninfo.make_conninfo(
        host=str(server), user=_USER, dbname=_DATABASE, options=f"-c search_path={name}"
    )


def _binary(name: str) -> str | None:
    """PostgreSQL's server programs, which Debian keeps out of the PATH."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(debian[-1]) if debian else shutil.which(name)


def _server_user() -> str:
    """Who may run the server: not root."""
    return "postgres" if os.geteuid() == 0 else getpass.getuser()


def _become(folder: Path) -> dict[str, Any]:
    """How to start the server's programs; gives them the folder."""
    if os.geteuid() != 0:
        return {}
    try:
        shutil.chown(folder, _server_user())
    except LookupError:
        pytest.skip("PostgreSQL does not run as root, and there is no user named postgres: run the tests as a user")
    return {"user": _server_user(), "cwd": str(folder)}


def _answers(folder: str) -> bool:
    try:
        psycopg.connect(host=folder, user=_USER, dbname=_DATABASE).close()
    except psycopg.OperationalError:
        return False
    return True
