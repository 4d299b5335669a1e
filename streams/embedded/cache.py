"""Where Kafka's jars are kept between runs."""

import os
import sys
from pathlib import Path
from typing import Final

CACHE_VARIABLE: Final = "ACGS_CACHE_DIR"
FOLDER_NAME: Final = "acgs-streams"


def cache_folder() -> Path:
    """The folder named by `ACGS_CACHE_DIR`, else the platform's per-user cache."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser().absolute()
    return platform_cache() / FOLDER_NAME


def platform_cache() -> Path:
    """`~/Library/Caches` on macOS, else `$XDG_CACHE_HOME`, else `~/.cache`."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg)
    return Path.home() / ".cache"
