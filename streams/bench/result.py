"""One figure of a bench."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Result:
    """A figure and what it is of; printed as `RESULT acgs-NAME figure unit`."""

    name: str
    figure: float
    unit: str
    more: str = ""

    def line(self) -> str:
        """The line that scripts look for."""
        figure = f"{self.figure:.0f}" if self.figure >= 100 else f"{self.figure:.2f}"  # noqa: PLR2004  # digits to show
        return f"RESULT acgs-{self.name} {figure} {self.unit} {self.more}".rstrip()
