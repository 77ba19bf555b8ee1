"""Cards and contracts: kept hashed, theirs who registered them, started by who reads them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.features.credentials import cards
from backend.features.credentials.card_numbers import (
    CardNumberInvalid,
    check_digit,
    normalised,
)
from backend.features.sessions.models import ChargingSession
from tests.conftest import House
from tests.features.town import CAR, CHARGER, SPEC, Town
from tests.identities import Caller

UID = "04:a2:2b:9c:6f:61:80"
CARD = {"kind": "rfid", "number": UID, "vehicle_did": CAR}
# Published with the clearing house protocol OCHP and by several roaming platforms.
VECTORS = {
    "NN123ABCDEFGHI": "T",
    "FRXYZ123456789": "2",
    "ITA1B2C3E4F5G6": "4",
    "ESZU8WOX834H1D": "R",
    "PT73902837ABCZ": "Z",
    "DE83DUIEN83QGZ": "D",
    "DE83DUIEN83ZGQ": "M",
    "DE8AA001234567": "0",
}
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
CODES = st.tuples(
    st.text(LETTERS, min_size=2, max_size=2),
    st.text(LETTERS + "0123456789", min_size=12, max_size=12),
).map("".join)


def test_check_digits_are_those_that_were_published() -> None:
    assert {code: check_digit(code) for code in VECTORS} == VECTORS


@given(CODES, st.data())
def test_one_wrong_character_or_two_swapped_ones_show(code: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(2, 13))
    other = data.draw(st.sampled_from(LETTERS + "0123456789").filter(lambda it: it != code[place]))
    wrong = code[:place] + other + code[place + 1 :]
    swapped = code[: place - 1] + code[place] + code[place - 1] + code[place + 1 :]

    assert check_digit(wrong) != check_digit(code)
    assert swapped == code or check_digit(swapped) != check_digit(code)


def test_a_number_has_one_spelling() -> None:
    assert normalised("rfid", UID) == normalised("rfid", "04A2 2B9C-6F61.80") == "04A22B9C6F6180"
    assert normalised("emaid", "de-8aa-001234567") == normalised("emaid", "DE8AA0012345670")
    for kind, number in (
        ("rfid", "04A22B9C6F"),
        ("rfid", "04A22B9C6F618G"),
        ("rfid", "\u0660\u0664A22B9C"),
        ("emaid", "DE8AA0012345671"),
        ("emaid", "D8AA001234567"),
        ("emaid", "DE8AA00123456Å"),
    ):
        with pytest.raises(CardNumberInvalid):
            normalised(kind, number)  # type: ignore[arg-type]


def _rows(house: House) -> str:
    with house.parts.database.reading() as db:
        found = db.connection().exec_driver_sql("SELECT * FROM cards").all()
        trail = db.connection().exec_driver_sql("SELECT * FROM audit_events").all()
    return repr((found, trail)).upper()


def test_a_card_is_kept_as_a_hash_and_shown_by_its_end(town: Town) -> None:
    anna = town.driver().log_in(town.house)
    path = f"/drivers/{anna.did}/tokens"

    added = anna.post(town.house, path, CARD)
    again = anna.post(town.house, path, CARD | {"number": "04A22B9C6F6180"})
    listed = anna.get(town.house, path).json()["data"]

    assert added.status_code == 201, added.text
    assert again.json()["code"] == "card_taken"
    assert [(one["last4"], one["vehicle_did"]) for one in listed] == [("6180", CAR)]
    assert "04A22B9C" not in _rows(town.house)


def test_the_hash_needs_the_services_key() -> None:
    one = cards.hash_of(b"1" * 32, "rfid", UID)

    assert one != cards.hash_of(b"2" * 32, "rfid", UID)
    assert one == cards.hash_of(b"1" * 32, "rfid", UID.upper())
    assert one != cards.hash_of(b"1" * 32, "emaid", "DE8AA001234567")


def test_another_driver_sees_and_takes_nothing(town: Town) -> None:
    anna, bert = town.driver().log_in(town.house), town.driver().log_in(town.house)
    added = anna.post(town.house, f"/drivers/{anna.did}/tokens", CARD).json()
    theirs, unknown = f"/drivers/{anna.did}/tokens", "/drivers/did:x:unknown/tokens"

    for path in (theirs, unknown):
        assert bert.get(town.house, path).status_code == 404
        assert bert.post(town.house, path, CARD | {"number": "DEADBEEF"}).status_code == 404
        gone = bert.send(town.house, "DELETE", f"{path}/{added['token_id']}")
        assert gone.status_code == 404
    own = f"/drivers/{bert.did}/tokens/{added['token_id']}"
    assert bert.send(town.house, "DELETE", own).status_code == 404


def _charger(town: Town, did: str = CHARGER) -> Caller:
    """A charger with a key of its own, logged in."""
    caller = Caller()
    with town.house.parts.database.transaction() as db:
        from backend.features.credentials import dids  # noqa: PLC0415 - as an operator would

        dids.register(db, did, controller=caller.did, by=town.admin.did, now=town.house.clock.now())
    spec = {"site": "site_hq", "maxPowerW": 150_000, "connector": "ccs2"}
    caller.did, caller.method = did, f"{did}#key-1"
    caller.credentials = [town.says(did, "ChargerSpec", **spec)]
    return caller.log_in(town.house)


def _with_a_card(town: Town) -> Caller:
    anna = town.driver()
    town.end(town.start(anna))  # registers driver and vehicle
    anna.log_in(town.house)
    assert anna.post(town.house, f"/drivers/{anna.did}/tokens", CARD).status_code == 201
    return anna


READ = {"kind": "rfid", "number": "04A22B9C6F6180", "charger_did": CHARGER}


def test_a_charger_starts_for_whom_the_card_stands(town: Town) -> None:
    anna, charger = _with_a_card(town), _charger(town)

    started = charger.post(town.house, "/sessions/start-by-card", READ)

    assert started.status_code == 200, started.text
    assert started.json()["assurance"] == "card"
    assert started.json()["plan"]["target_soc_percent"] == pytest.approx(80)
    with town.house.parts.database.reading() as db:
        stored = db.get_one(ChargingSession, started.json()["session_id"])
    assert (stored.driver_did, stored.vehicle_did) == (anna.did, CAR)
    assert SPEC["batteryCapacityWh"] == 1000 * stored.battery_capacity_kwh


def test_a_card_starts_nothing_for_those_who_may_not_read_it(town: Town) -> None:
    anna, charger = _with_a_card(town), _charger(town)

    def _status(who: Caller, **values: Any) -> tuple[int, str]:
        answer = who.post(town.house, "/sessions/start-by-card", READ | values)
        return answer.status_code, answer.json()["code"]

    assert _status(anna) == (403, "not_allowed")
    other, unknown = "did:denso:charger:site_hq_chr02", "did:denso:charger:nowhere"
    assert _status(charger, charger_did=other) == (404, "charger_not_found")
    assert _status(charger, charger_did=unknown) == (404, "charger_not_found")
    assert _status(charger, number="DEADBEEF") == (403, "card_not_accepted")


def test_a_card_ends_when_it_is_revoked_and_with_what_it_rests_upon(town: Town) -> None:
    anna, charger = _with_a_card(town), _charger(town)
    path = f"/drivers/{anna.did}/tokens"
    card_id = anna.get(town.house, path).json()["data"][0]["token_id"]

    assert anna.send(town.house, "DELETE", f"{path}/{card_id}").status_code == 200
    revoked = charger.post(town.house, "/sessions/start-by-card", READ)
    assert anna.post(town.house, path, CARD).status_code == 201
    issuers = town.admin.get(town.house, "/issuers").json()["data"]
    mine = next(one for one in issuers if one["issuer_did"] == town.issuer.did)
    identity = mine.get("accreditation_id") or mine["id"]
    assert town.admin.send(town.house, "DELETE", f"/issuers/{identity}").status_code == 200
    ended = charger.post(town.house, "/sessions/start-by-card", READ)

    assert (revoked.status_code, revoked.json()["code"]) == (403, "card_not_accepted")
    assert ended.status_code in (401, 403)  # the charger's own token rests upon the registry too


def test_an_operators_card_holds_at_their_sites(town: Town) -> None:
    anna = town.driver()
    town.end(town.start(anna))
    operator = Caller()
    employment = {"employer": "Sites Ltd", "role": "operator", "sites": ["site_b"]}
    operator.credentials = [town.says(operator.did, "Employment", **employment)]
    operator.log_in(town.house)
    path = f"/drivers/{anna.did}/tokens"

    added = operator.post(town.house, path, CARD).json()
    here = operator.post(
        town.house, "/sessions/start-by-card", READ | {"charger_did": _at("site_b")}
    )
    there = operator.post(town.house, "/sessions/start-by-card", READ)
    by_admin = town.admin.post(town.house, "/sessions/start-by-card", READ)

    assert added["sites"] == ["site_b"]
    assert here.status_code == 200, here.text
    assert there.status_code == 404
    assert (by_admin.status_code, by_admin.json()["code"]) == (403, "site_not_allowed")


def _at(site: str) -> str:
    return f"did:denso:charger:{site}_chr01"
