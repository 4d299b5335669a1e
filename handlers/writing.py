"""What a text says that is written to a file or given to an interpreter: signs that are plain enough to count.

Each sign is a fixed text that is searched for in linear time. What the replaced text says too does not count.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from handlers.command_line import UnparseableError, parse
from handlers.secret import is_secret_name
from handlers.words import word_set


@dataclass(frozen=True, slots=True)
class Signs:
    """What stands in a text.

    Attributes:
        skips: a test is skipped, expected to fail or run alone.
        unverified: certificates, signatures or hosts are no longer checked.
        endless: a loop that says no end.
        shows_secret: a secret of the environment is printed, logged or sent.
        sends_secret: it is sent to another machine.
        mocks: a stand-in takes the place of what is tested.
        shell: a text is run by a shell, or evaluated.
        erases: a tree or a table is removed.
        verbose: everything is logged from now on.
        hardcodes: a credential is written down beside its name.
    """

    skips: bool = False
    unverified: bool = False
    endless: bool = False
    shows_secret: bool = False
    sends_secret: bool = False
    mocks: bool = False
    shell: bool = False
    erases: bool = False
    verbose: bool = False
    hardcodes: bool = False


NO_SIGNS = Signs()

_SKIPS = (
    "@pytest.mark.skip", "pytest.mark.xfail", "pytest.skip(", "@unittest.skip", "@unittest.expectedfailure",
    "test.skip(",
    "it.skip(", "describe.skip(", "test.only(", "it.only(", "describe.only(", "xit(", "xdescribe(", "test.todo(",
    "@ignore",
    "@disabled", "t.skip(", "#[ignore]", "continue-on-error: true", "allow_failure: true", "--passwithnotests",
)  # fmt: skip
_UNVERIFIED = (
    "verify=false", "rejectunauthorized: false", "insecureskipverify: true", "cert_none", "_create_unverified_context",
    "check_hostname = false", "node_tls_reject_unauthorized", "stricthostkeychecking no", "stricthostkeychecking=no",
    'verify_signature": false', "verify_signature': false", "sslverify = false", "jwt.decode(token) as any",
    "without verification", "verify_ssl=false", "ssl_verify=false",
)  # fmt: skip
_ENDLESS = (
    "while true",
    "while(true)",
    "while (true)",
    "while 1:",
    "while(1)",
    "while (1)",
    "for(;;)",
    "for (;;)",
    "loop {",
)
_MOCKS = ("jest.mock(", "mock.patch(", "@patch(", "vi.mock(", "sinon.stub(", "magicmock(", "monkeypatch.setattr(")
_SHELL = (
    "shell=true",
    "os.system(",
    "child_process",
    "runtime.getruntime().exec(",
    "eval(request",
    "pickle.loads(request",
)
_ERASES = ("shutil.rmtree(", "drop table", "drop database", "drop index", "truncate table", "fs.rmsync(", "rimraf(")
_ENVIRONMENT = ("os.environ", "os.getenv", "process.env", "system.getenv", "env::var", "os.getenv(", "env[")
_VERBOSE = (
    "level = debug", "level=debug", "level: debug", "setlevel(logging.debug", "level=logging.debug", "debuglevel = 1",
    "debuglevel=1", "set_verbosity_debug", "echo=true", 'level = "debug', 'level: "debug', "level: 'debug",
)  # fmt: skip
_NAME = re.compile(r"(?:\.get|\.)?[(\['\"]{0,3}([A-Za-z_][A-Za-z0-9_]{0,63})", re.ASCII)
_MAX_PLACES = 256
_SHOWS = (
    "print(",
    "console.log(",
    "logger.",
    "logging.",
    "log.info(",
    "log.debug(",
    "puts ",
    "printf(",
    "echo ",
    "fmt.print",
)
_SENDS = (
    "requests.post(",
    "requests.put(",
    "requests.get(",
    "fetch(",
    "axios.post(",
    "urlopen(",
    "http.post(",
    "httpx.post(",
)


def signs_of(text: str, replaced: str = "") -> Signs:
    """The signs that a text has and the text it replaces has not."""
    new, old = text.lower(), replaced.lower()
    secret = _takes_secret(text) and not _takes_secret(replaced)
    shows = secret and any(sign in new for sign in _SHOWS)
    sends = secret and any(sign in new for sign in _SENDS)
    return Signs(
        skips=_has(_SKIPS, new, old),
        unverified=_has(_UNVERIFIED, new, old),
        endless=_has(_ENDLESS, new, old) and not any(end in new for end in ("break", "return", "await ", "recv(")),
        shows_secret=shows or sends,
        sends_secret=sends,
        mocks=_has(_MOCKS, new, old),
        shell=_has(_SHELL, new, old),
        erases=_has(_ERASES, new, old),
        verbose=_has(_VERBOSE, new, old),
        hardcodes=_hardcodes(text) and not _hardcodes(replaced),
    )


def _has(signs: tuple[str, ...], new: str, old: str) -> bool:
    for sign in signs:  # noqa: SIM110  # any() would cost a generator for every kind of sign
        if sign in new and sign not in old:
            return True
    return False


def _takes_secret(text: str) -> bool:
    """Whether a text takes a variable with a secret's name from the environment, or all of it."""
    lower = text.lower()
    return any(_is_secret_at(text, at + len(source)) for source in _ENVIRONMENT for at in _places(lower, source))


def _places(text: str, sign: str) -> Iterator[int]:
    at = text.find(sign)
    for _ in range(_MAX_PLACES):
        if at < 0:
            return
        yield at
        at = text.find(sign, at + 1)


def _is_secret_at(text: str, at: int) -> bool:
    """Whether the name that follows is a secret's, or none follows."""
    name = _NAME.match(text, at)
    return name is None or is_secret_name(name[1])


_NO_CREDENTIAL = word_set("none null true false changeme example placeholder redacted password secret token")


def _hardcodes(text: str) -> bool:
    """Whether a line gives a name of a secret a value in quotes; YAML's `name:` and `value:` may be two lines."""
    previous = ""
    for line in text.splitlines():
        name, _, value = line.replace(":", "=", 1).partition("=")
        if value and _is_literal(value):
            key = name.strip().removeprefix("- ").strip("\"' ")
            named = previous.partition("name:")[2] if key == "value" else key
            if " " not in key and is_secret_name(named):
                return True
        previous = line
    return False


def _is_literal(value: str) -> bool:
    """A text in quotes that can be a credential: eight letters or more, no place holder and no expression."""
    bare = value.strip().rstrip(",;")
    inside = bare[1:-1]
    return (
        len(inside) >= 8  # noqa: PLR2004  # shorter ones are words
        and bare[0] in "\"'"
        and bare[-1] == bare[0]
        and not any(letter in inside for letter in "${}<> ")
        and inside.lower() not in _NO_CREDENTIAL
        and any(letter in "0123456789" for letter in inside)
    )


def is_endless_script(path: str, text: str) -> bool:
    """Whether a shell script that is written has a loop without an end."""
    if not path.endswith((".sh", ".bash")):
        return False
    try:
        commands = parse(text)
    except UnparseableError:
        return False
    return any(command.endless and not command.breaks for command in commands)
