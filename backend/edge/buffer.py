"""Telemetry kept on the gateway until the service has it: a file that only grows.

A point is a line of JSON, written through to the disk. How far the service has taken it is in a
small file beside it, replaced whole. A line torn by a power cut is passed over.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backend.files import replace_file

NAMES = ("at", "is_plugged_in", "soc_percent", "power_kw")
HIGHEST_PERCENT = 100.0


class PointRefused(ValueError):
    """A point that the service would refuse as well."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A point in the buffer.

    Attributes:
        point: What the vehicle said.
        end: Where its line ends in the file, bytes.
    """

    point: Mapping[str, Any]
    end: int


class Buffer:
    """The points of one vehicle in an append-only file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._mark = file.with_name(f"{file.name}.sent")
        self._refused = file.with_name(f"{file.name}.refused")

    def append(self, point: Mapping[str, Any]) -> None:
        """Keep a point; it is on the disk when this returns.

        Raises:
            PointRefused: If it has no moment with an offset, no plug state, or impossible values.
        """
        line = json.dumps(_checked(point), separators=(",", ":"), allow_nan=False)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("ab") as file:
            is_torn = file.tell() > 0 and not self._ends_whole()
            file.write((b"\n" if is_torn else b"") + line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def points(self) -> Iterator[Kept]:
        """Every whole point, in the order in which they came."""
        yield from self._since(0)

    def unsent(self) -> Iterator[Kept]:
        """The points that the service has not acknowledged."""
        yield from self._since(self.sent())

    def sent(self) -> int:
        """How far the service has taken the file, bytes."""
        try:
            return int(self._mark.read_text())
        except (FileNotFoundError, ValueError):
            return 0  # sending again is harmless: the service stores a moment once

    def mark_sent(self, end: int) -> None:
        """Note that everything up to here is with the service."""
        replace_file(self._mark, str(end).encode())

    def set_aside(self, point: Mapping[str, Any], reason: str) -> None:
        """Keep a point that the service refused, with the reason, out of the way."""
        with self._refused.open("a") as file:
            file.write(json.dumps({**point, "reason": reason}) + "\n")

    def _since(self, start: int) -> Iterator[Kept]:
        if not self._file.exists():
            return
        with self._file.open("rb") as file:
            file.seek(start)
            while line := file.readline():
                if not line.endswith(b"\n"):
                    return
                try:
                    point = _checked(json.loads(line))
                except ValueError:
                    continue
                yield Kept(point, file.tell())

    def _ends_whole(self) -> bool:
        with self._file.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"


def moment_of(point: Mapping[str, Any]) -> datetime:
    """When a point was, UTC."""
    return datetime.fromisoformat(point["at"]).astimezone(UTC)


def _checked(point: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """The point with the known fields only.

    Raises:
        PointRefused: If it is none.
    """
    if not isinstance(point, Mapping):
        raise PointRefused("a point is an object")
    try:
        moment = datetime.fromisoformat(point["at"])
    except (KeyError, TypeError, ValueError) as error:
        raise PointRefused("a point needs `at`, such as 2026-05-04T17:30:00Z") from error
    if moment.tzinfo is None:
        raise PointRefused("`at` needs an offset, such as Z")
    if not isinstance(point.get("is_plugged_in"), bool):
        raise PointRefused("`is_plugged_in` is true or false")
    for name, highest in (("soc_percent", HIGHEST_PERCENT), ("power_kw", math.inf)):
        value = point.get(name)
        if value is not None and not (_is_number(value) and 0 <= value <= highest):
            raise PointRefused(f"`{name}` is out of bounds")
    return {name: point[name] for name in NAMES if point.get(name) is not None}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
