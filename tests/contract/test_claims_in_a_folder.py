"""The claims suite on a folder."""

from pathlib import Path

import pytest

from tests.contract.claims_suite import ClaimsSuite, Place


class Folder(Place):
    def __init__(self, folder: Path) -> None:
        self.folder, self.where = folder, str(folder)

    def names(self) -> list[str]:
        return [file.name for file in self.folder.iterdir()]

    def replace(self, name: str, value: bytes) -> None:
        (self.folder / name).write_bytes(value)

    def remove(self, name: str) -> None:
        (self.folder / name).unlink()


class TestClaimsInAFolder(ClaimsSuite):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return Folder(tmp_path / "made" / "claims")
