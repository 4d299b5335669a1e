"""The claims suite on a server that speaks S3, and what is particular to one."""

import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from streams.claims import open_claims
from streams.errors import ClaimStoreError, SettingsError
from tests.contract.claims_suite import VALUE, ClaimsSuite, Place, claim

pytest.importorskip("obstore", reason="the client of S3 is missing: pip install 'acgs-streams[s3]'")
boto3 = pytest.importorskip("boto3", reason="a server that speaks S3 is missing: pip install 'moto[s3]'")
moto_server = pytest.importorskip(
    "moto.moto_server.threaded_moto_server",
    reason="a server that speaks S3 is missing: pip install 'moto[s3]' flask flask-cors",
)

BUCKET = "claims"


class Bucket(Place):
    """A prefix of a bucket, seen through another client than the store's."""

    def __init__(self, s3: Any, prefix: str) -> None:  # noqa: ANN401  # boto3 makes its classes as it goes
        self.where = f"s3://{BUCKET}/{prefix}"
        self._s3, self._prefix = s3, f"{prefix}/"

    def names(self) -> list[str]:
        found = self._s3.list_objects_v2(Bucket=BUCKET, Prefix=self._prefix)
        return [one["Key"].removeprefix(self._prefix) for one in found.get("Contents", ())]

    def replace(self, name: str, value: bytes) -> None:
        self._s3.put_object(Bucket=BUCKET, Key=self._prefix + name, Body=value)

    def remove(self, name: str) -> None:
        self._s3.delete_object(Bucket=BUCKET, Key=self._prefix + name)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a server that speaks S3."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    started = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    started.start()
    try:
        host, port = started.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        started.stop()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As a user sets it, but for the endpoint."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "secret words", "REGION": "eu-north-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    return monkeypatch


@pytest.fixture
def place(server: str, environment: pytest.MonkeyPatch, prefix: str) -> Place:
    environment.setenv("AWS_ENDPOINT_URL", server)
    s3 = boto3.client("s3", endpoint_url=server, region_name="us-east-1")
    s3.create_bucket(Bucket=BUCKET)
    return Bucket(s3, f"installation/{prefix}")


class TestClaimsInS3(ClaimsSuite):
    async def test_prefixes_of_a_bucket_are_different_stores(self, place: Place) -> None:
        await open_claims(place.where + "/one").put(VALUE)
        await open_claims(place.where + "/other/").put(b"another")
        assert place.names() == [f"one/{claim(VALUE).sha256}", f"other/{claim(b'another').sha256}"]

    @pytest.mark.usefixtures("place")
    async def test_a_bucket_that_is_not_there_cannot_be_written(self) -> None:
        with pytest.raises(ClaimStoreError, match="s3://nobodys/claims") as raised:
            await open_claims("s3://nobodys/claims").put(VALUE)
        assert claim(VALUE).sha256 not in str(raised.value)


async def test_a_server_that_refuses_is_an_error_that_shows_neither_secrets_nor_whole_digests(
    environment: pytest.MonkeyPatch,
) -> None:
    with refusing() as endpoint:
        environment.setenv("AWS_ENDPOINT_URL", endpoint)
        store = open_claims("s3://bucket/claims")
        for call in (store.put(VALUE), store.get(claim(VALUE))):
            with pytest.raises(ClaimStoreError, match="403 Forbidden") as raised:
                await call
            assert type(raised.value) is ClaimStoreError
            assert "secret words" not in str(raised.value)
            assert claim(VALUE).sha256 not in str(raised.value)


@contextmanager
def refusing() -> Generator[str]:
    """The URL of a server that refuses everything."""

    class Refusing(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_PUT = answer  # noqa: N815  # the names that it looks for

        def log_request(self, code: object = "-", size: object = "-") -> None:
            del code, size

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "where", ["s3://", "s3:///prefix", "s3://user:secret@bucket/p", "s3://bucket/p?secret=1", "s3://bucket/a//b"]
)
def test_what_is_no_bucket_and_prefix_is_refused(where: str) -> None:
    with pytest.raises(SettingsError) as raised:
        open_claims(where)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_ENDPOINT_URL", "localhost:9000"),
        ("AWS_ENDPOINT_URL", "not a URL"),
        ("AWS_ENDPOINT_URL", "https://user:secret@host"),
        ("AWS_ENDPOINT_URL_S3", "ftp://host"),
        ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "perhaps"),
    ],
)
def test_an_environment_that_makes_no_sense_is_refused(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    with pytest.raises(SettingsError, match="AWS_") as raised:
        open_claims("s3://bucket/prefix")
    assert "secret" not in str(raised.value)
