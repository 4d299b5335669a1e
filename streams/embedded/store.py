"""Small JSON files that are never seen half-written."""

import json
import os
from pathlib import Path


def write_json(path: Path, content: object) -> None:
    """Replace a file as a whole."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace a file as a whole."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def read_json(path: Path) -> object:
    """Read a JSON file.

    Raises:
        OSError: It cannot be read.
        json.JSONDecodeError: It is no JSON.
    """
    content: object = json.loads(path.read_text(encoding="utf-8"))
    return content
