"""Whether a credential is near: in a name, in a text, or about to be shown."""

import re
from itertools import pairwise

from handlers.words import word_set

_SECRET_WORDS = word_set(
    "secret secrets password passwords passwd passphrase pwd token tokens apikey credential credentials creds"
    " privkey pass requirepass"
)
_SECRET_PAIRS = word_set(
    "api-key access-key private-key secret-key signing-key auth-key account-sid encryption-key master-key session-key"
    " hmac-key license-key"
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", re.ASCII)
_MAX_NAME = 256

_LITERALS: tuple[tuple[str, re.Pattern[str]], ...] = (
    # a fixed text that is cheap to find, and what must stand there
    ("PRIVATE KEY-----", re.compile(r"PRIVATE KEY-----", re.ASCII)),
    ("AKIA", re.compile(r"AKIA[0-9A-Z]{16}", re.ASCII)),
    ("ASIA", re.compile(r"ASIA[0-9A-Z]{16}", re.ASCII)),
    ("sk_live_", re.compile(r"sk_live_\w{6}", re.ASCII)),
    ("rk_live_", re.compile(r"rk_live_\w{6}", re.ASCII)),
    ("sk-", re.compile(r"\bsk-[A-Za-z0-9_-]{20}", re.ASCII)),
    ("ghp_", re.compile(r"ghp_[A-Za-z0-9]{20}", re.ASCII)),
    ("gho_", re.compile(r"gho_[A-Za-z0-9]{20}", re.ASCII)),
    ("ghs_", re.compile(r"ghs_[A-Za-z0-9]{20}", re.ASCII)),
    ("github_pat_", re.compile(r"github_pat_\w{20}", re.ASCII)),
    ("glpat-", re.compile(r"glpat-[\w-]{16}", re.ASCII)),
    ("xoxb-", re.compile(r"xoxb-[\w-]{10}", re.ASCII)),
    ("xoxp-", re.compile(r"xoxp-[\w-]{10}", re.ASCII)),
    ("hf_", re.compile(r"\bhf_[A-Za-z0-9]{16}", re.ASCII)),
    ("SG.", re.compile(r"\bSG\.[\w-]{16}", re.ASCII)),
    ("AIza", re.compile(r"AIza[\w-]{30}", re.ASCII)),
    ("eyJ", re.compile(r"\beyJ[\w-]{10,400}\.[\w-]{10}", re.ASCII)),
    ("://", re.compile(r"://[^\s:/@$<{*]{1,64}:[^\s:/@$<{*]{3,128}@", re.ASCII)),
    ("Bearer ", re.compile(r"Bearer [A-Za-z0-9._-]{16}", re.ASCII)),
)
_MAX_HITS = 4_096
_SHORTEST = 12


def is_secret_name(name: str) -> bool:
    """Whether a variable, key or argument of this name holds a credential: `TWILIO_AUTH_TOKEN`, `api-key`."""
    words = words_of(name)
    return not _SECRET_WORDS.isdisjoint(words) or any("-".join(pair) in _SECRET_PAIRS for pair in pairwise(words))


def words_of(name: str) -> list[str]:
    """The lower-case words of a name: `fooBar-baz_9` has foo, bar, baz and 9."""
    return [word.lower() for word in _WORD.findall(name[:_MAX_NAME])]


def holds_credential(text: str) -> bool:
    """Whether a credential stands in the text, recognised by its form. Linear in the text."""
    if len(text) < _SHORTEST:
        return False
    for mark, form in _LITERALS:  # noqa: SIM110  # any() would cost a generator for every text of every message
        if mark in text and _stands(text, mark, form):
            return True
    return False


def _stands(text: str, mark: str, form: re.Pattern[str]) -> bool:
    at = text.find(mark)
    for _ in range(_MAX_HITS):
        if at < 0 or form.match(text, at):
            return at >= 0
        at = text.find(mark, at + 1)
    return True
