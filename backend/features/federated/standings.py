"""What is kept of a participant over all rounds: its failures, and what its privacy has cost."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.features.federated.models import FederatedParticipant, FederatedRound
from backend.features.federated.queries import ACTIVE
from backend.features.federated.terms import Terms
from backend.federation.checking import Verdict
from backend.federation.privacy import BudgetExhausted, PrivacyLedger, usual_delta
from backend.federation.reputation import Failure, Reputation

SUSPENDED = "suspended"
FAILURES, LEDGERS, EXAMPLES = "failures", "privacy", "num_examples"
UNPROTECTED = "updates_without_noise"


def note_verdicts(
    db: Session, terms: Terms, verdicts: Mapping[str, str | None], committee: Sequence[str]
) -> None:
    """Remember what became of each update; who keeps failing is not asked any more.

    Exclusion from one round changes nothing: only failures before different committees add up.
    """
    number = db.scalar(select(func.count()).select_from(FederatedRound)) or 0
    for name, verdict in verdicts.items():
        row = _held(db, terms, name)
        if row is None or verdict is None:
            continue
        before = Reputation(name, _failures(row))
        after = before.after(Verdict(verdict), round_number=number, committee=committee)
        if after == before:
            continue
        kept = [
            [one.round_number, str(one.verdict), sorted(one.committee)] for one in after.failures
        ]
        row.standing = {**row.standing, FAILURES: kept}
        row.strikes = len(after.failures)
        row.state = SUSPENDED if after.is_suspended else row.state


def _held(db: Session, terms: Terms, name: str) -> FederatedParticipant | None:
    """A participant whose standing nobody else changes until the commit."""
    return db.get(FederatedParticipant, (name, terms.engine), with_for_update=True)


def _failures(row: FederatedParticipant) -> tuple[Failure, ...]:
    return tuple(
        Failure(int(number), Verdict(verdict), frozenset(committee))
        for number, verdict, committee in row.standing.get(FAILURES, ())
    )


def spend(db: Session, terms: Terms, name: str, num_examples: int) -> None:
    """Enter what an update cost its site, in the transaction that stores it.

    One that is sent without noise is counted, masked or not: no epsilon of the others bounds what
    it says.

    Raises:
        BudgetExhausted: If the site's budget does not allow it; nothing is spent then.
    """
    row = _held(db, terms, name)
    if row is None:
        return
    if terms.privacy is None:
        count = row.standing.get(UNPROTECTED, 0) + 1
        row.standing = {**row.standing, UNPROTECTED: count}
        return
    ledger = _ledger(row, terms, num_examples).spend(terms.settings, examples=num_examples)
    ledgers = {**row.standing.get(LEDGERS, {}), terms.family: ledger.to_json()}
    row.standing = {**row.standing, LEDGERS: ledgers, EXAMPLES: num_examples}


def _ledger(row: FederatedParticipant, terms: Terms, num_examples: int) -> PrivacyLedger:
    """The site's ledger of this model, under the budget of this experiment."""
    budget = float((terms.privacy or {})["max_epsilon"])
    stored = row.standing.get(LEDGERS, {}).get(terms.family)
    if stored is None:
        return PrivacyLedger(row.site_id, terms.family, usual_delta(num_examples), budget)
    return replace(PrivacyLedger.from_json(stored), max_epsilon=budget)


def barred(db: Session, terms: Terms, names: Collection[str]) -> dict[str, str]:
    """Who of these may not be asked, and why: suspended, or its privacy budget is spent."""
    found = {}
    for name in names:
        row = db.get(FederatedParticipant, (name, terms.engine))
        if row is None:
            continue
        if row.state != ACTIVE:
            found[name] = row.state
        elif terms.privacy is not None and _is_exhausted(row, terms):
            found[name] = "privacy budget spent"
    return found


def _is_exhausted(row: FederatedParticipant, terms: Terms) -> bool:
    """Whether one more round would go beyond the budget, as far as its examples are known."""
    known = row.standing.get(EXAMPLES)
    if known is None:
        return False
    try:
        _ledger(row, terms, known).spend(terms.settings, examples=known)
    except BudgetExhausted:
        return True
    return False


def privacy_figures(db: Session, terms: Terms, names: Collection[str]) -> dict[str, Any]:
    """The largest epsilon of these participants, with delta and what it does not cover."""
    if terms.privacy is None:
        return {}
    found = [db.get(FederatedParticipant, (name, terms.engine)) for name in names]
    standings = [row.standing for row in found if row is not None]
    stored = [one.get(LEDGERS, {}).get(terms.family) for one in standings]
    ledgers = [PrivacyLedger.from_json(one) for one in stored if one is not None]
    if not ledgers:
        return {}
    worst = max(ledgers, key=lambda one: one.epsilon)
    return {
        "epsilon": worst.epsilon,
        "delta": worst.delta,
        "privacy_unit": worst.privacy_unit,
        "noise_scale": terms.noise_scale,
        "epsilon_by_site": {one.site_id: round(one.epsilon, 4) for one in ledgers},
        UNPROTECTED: max(int(one.get(UNPROTECTED, 0)) for one in standings),
    }
