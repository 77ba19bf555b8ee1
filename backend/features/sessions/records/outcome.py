"""What an import did, counted while it runs and printed at its end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

EXAMPLES = 5  # of each reason


@dataclass
class Tally:
    """How often something was found, and where at first."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, where: str) -> None:
        """Count one more."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(where)


@dataclass
class Outcome:
    """What an import did.

    Attributes:
        known: Rows that an earlier import had stored.
        refused: Reasons, each with its rows.
        remarks: What was odd about rows that were kept.
        notes: Sentences about the whole.
    """

    file: str
    read: int = 0
    kept: int = 0
    known: int = 0
    energy_kwh: float = 0.0
    sites: list[str] = field(default_factory=list)
    chargers: int = 0
    drivers: int = 0
    vehicles: int = 0
    refused: dict[str, Tally] = field(default_factory=dict)
    remarks: dict[str, Tally] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    duration_s: float = 0.0

    @property
    def refusals(self) -> int:
        """Rows refused."""
        return sum(tally.count for tally in self.refused.values())

    def refuse(self, reason: str, where: str) -> None:
        """Count a refused row."""
        self.refused.setdefault(reason, Tally()).add(where)

    def remark(self, remark: str, where: str) -> None:
        """Count something odd that was kept."""
        self.remarks.setdefault(remark, Tally()).add(where)

    def text(self) -> str:
        """The summary to print."""
        created = f" ({shown(self.sites)})" if self.sites else ""
        return "\n".join(
            [
                f"{self.file}: {self.read:,} rows read in {self.duration_s:.1f} s",
                _line(self.kept, f"kept, {self.energy_kwh:,.1f} kWh"),
                _line(self.known, "known from an earlier import"),
                _line(self.refusals, "refused"),
                _line(len(self.sites), f"sites created{created}"),
                _line(self.chargers, "chargers created"),
                _line(self.drivers, "drivers created"),
                _line(self.vehicles, "vehicles created"),
                *_section("Refused:", self.refused),
                *_section("Kept, but odd:", self.remarks),
                *self.notes,
            ]
        )


def _section(title: str, tallies: Mapping[str, Tally]) -> list[str]:
    """The reasons, most frequent first, with their first rows."""
    ordered = sorted(tallies.items(), key=lambda item: -item[1].count)
    lines = [
        _line(tally.count, f"{reason}: {shown(tally.examples, of=tally.count)}")
        for reason, tally in ordered
    ]
    return [title, *lines] if lines else []


def _line(count: int, text: str) -> str:
    return f"  {count:>9,}  {text}"


def shown(names: Sequence[str], *, of: int | None = None) -> str:
    """The first few of many."""
    total = len(names) if of is None else of
    return ", ".join(names[:EXAMPLES]) + (", …" if total > min(len(names), EXAMPLES) else "")
