"""The JSON Schemas of the public contracts, as they stand under docs/reference/schemas.

`python -m streams.reference --write docs/reference` writes them; `--check` says which are not current.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from schemas.audit import AuditRecord
from schemas.deliberation import DeliberationItem
from schemas.message import AgentMessage
from schemas.policy import Policy
from schemas.rejection import Rejection
from schemas.score import CARD

_CONTRACTS: Mapping[str, type[BaseModel] | TypeAdapter[Any]] = {
    "agent-message": AgentMessage,
    "audit-record": AuditRecord,
    "deliberation-item": DeliberationItem,
    "policy": Policy,
    "rejection": Rejection,
    "score-card": CARD,
}

_FOLDER = "schemas"


def documents() -> dict[str, bytes]:
    """File name and content of each contract's JSON Schema."""
    return {f"{name}.json": _document(contract) for name, contract in _CONTRACTS.items()}


def _document(contract: type[BaseModel] | TypeAdapter[Any]) -> bytes:
    schema = contract.json_schema() if isinstance(contract, TypeAdapter) else contract.model_json_schema()
    return (json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes or checks the files; 1 if one is not current."""
    parser = argparse.ArgumentParser(prog="python -m streams.reference", description=__doc__)
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--write", type=Path, metavar="FOLDER", help="write the schemas below this folder")
    group.add_argument("--check", type=Path, metavar="FOLDER", help="compare the schemas below this folder")
    options = parser.parse_args(arguments)
    return _write(options.write / _FOLDER) if options.write else _check(options.check / _FOLDER)


def _write(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in documents().items():
        (folder / name).write_bytes(content)
    return 0


def _check(folder: Path) -> int:
    stale = [name for name, content in documents().items() if not _is(folder / name, content)]
    for name in stale:
        sys.stderr.write(f"{folder / name} is not current: python -m streams.reference --write {folder.parent}\n")
    return 1 if stale else 0


def _is(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


if __name__ == "__main__":
    sys.exit(main())
