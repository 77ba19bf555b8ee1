"""What private training has cost a site, kept and enforced by the site itself.

The service keeps ledgers too, of the updates it took. A site does not depend on them: one that came
too late was seen all the same, and a service can ask for more than it admits.
"""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from backend.federation.demand import Rows
from backend.federation.participant import context_of
from backend.federation.privacy import BudgetExhausted, PrivacyLedger, usual_delta
from backend.federation.tasks import TrainTask
from backend.files import replace_file

ANY_MODEL = "any model"
REMEMBERED = 1_000


class BudgetRefused(Exception):
    """A task that would tell more of the site's data than the site allows."""


class Budget:
    """The privacy that one site's examples have left, in a file that is replaced whole.

    There is one ledger for all models, since all of them are learned from the same examples.

    Args:
        file: Where it is kept; made when something is spent first.
        site_id: Whose examples.
        max_epsilon: What may be spent in all.
    """

    def __init__(self, file: Path, *, site_id: str, max_epsilon: float) -> None:
        self._file, self._site_id, self._max_epsilon = file, site_id, max_epsilon

    def spend(self, task: TrainTask, rows: Rows) -> None:
        """Enter what a task costs before it is trained; asked again, it costs nothing more.

        The noise is a function of the task, the rows and the site's key: the same ones give the
        same update.

        Raises:
            BudgetRefused: If it costs too much, or would train without noise.
        """
        if task.settings.clip_norm is None or task.settings.noise_multiplier <= 0:
            raise BudgetRefused("the task is to train without noise, which this site does not")
        examples, mark = len(rows), sha256(context_of(task, rows)).hexdigest()
        ledger, paid = self._read(examples)
        if mark in paid:
            return
        try:
            after = ledger.spend(task.settings, examples=examples)
        except BudgetExhausted as spent:
            raise BudgetRefused(str(spent)) from spent
        self._write(after, [*paid, mark][-REMEMBERED:])

    def _read(self, examples: int) -> tuple[PrivacyLedger, list[str]]:
        fresh = PrivacyLedger(self._site_id, ANY_MODEL, usual_delta(examples), self._max_epsilon)
        if not self._file.exists():
            return fresh, []
        try:
            said = json.loads(self._file.read_text(encoding="utf-8"))
            kept = PrivacyLedger.from_json(json.dumps(said["ledger"]))
            paid = [str(one) for one in said["paid"]]
        except (OSError, ValueError, TypeError, KeyError) as error:
            # Beginning anew would forget what was spent.
            raise BudgetRefused(f"{self._file} is no ledger of privacy") from error
        if kept.site_id != self._site_id:
            raise BudgetRefused(f"{self._file} is the ledger of {kept.site_id}")
        return replace(kept, max_epsilon=self._max_epsilon), paid

    def _write(self, ledger: PrivacyLedger, paid: list[str]) -> None:
        text = json.dumps({"ledger": json.loads(ledger.to_json()), "paid": paid}, indent=2)
        replace_file(self._file, text.encode())
