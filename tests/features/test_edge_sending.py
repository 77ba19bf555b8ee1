"""A gateway at the real door: buffered telemetry with a proof by its key."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from backend.adapters.verifier.keys import SigningKey, generate_key
from backend.edge.buffer import Buffer
from backend.edge.proofs import KeyRefused, Pass
from backend.edge.sending import Reply, Sent, ServiceAway, send
from backend.features.credentials.keystore import to_text, write_private
from backend.features.vehicles.models import TelemetryPoint, Vehicle
from tests.conftest import House
from tests.identities import Caller, administrator_of

VEHICLE = "did:denso:vehicle:v1"
URL = "http://testserver"


class Door:
    """The routes of an application, remembering the proofs that came."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.proofs: list[str] = []

    def __call__(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        self.proofs.append(headers.get("DPoP", ""))
        answer = self.house.client.post(url.removeprefix(URL), content=body, headers=dict(headers))
        return Reply(answer.status_code, answer.json())


def filled(house: House, folder: Path) -> Buffer:
    with house.parts.database.transaction() as db:
        db.add(
            Vehicle(
                did=VEHICLE,
                battery_capacity_kwh=60.0,
                consumption_wh_per_km=180.0,
                max_charge_power_kw=50.0,
                registered_at=house.clock.now(),
            )
        )
    buffer = Buffer(folder / "v1.jsonl")
    for minutes in (30, 20, 10):
        moment = house.clock.now() - timedelta(minutes=minutes)
        buffer.append({"at": moment.isoformat(), "is_plugged_in": True, "soc_percent": 40.0})
    return buffer


def pass_of(caller: Caller, folder: Path, *, key: SigningKey | None = None) -> Pass:
    write_private(folder / "key.pem", to_text(key or caller.key))
    write_private(folder / "token", f"{caller.token}\n")
    return Pass.of_files(key=folder / "key.pem", token=folder / "token")


def test_a_gateway_proves_itself_with_every_request(closed_house: House, tmp_path: Path) -> None:
    holder = pass_of(administrator_of(closed_house), tmp_path)
    buffer, door = filled(closed_house, tmp_path), Door(closed_house)

    def delivered() -> Sent:
        return send(
            buffer,
            url=URL,
            vehicle_did=VEHICLE,
            holder=holder,
            deliver=door,
            clock=closed_house.clock.now,
        )

    first = delivered()
    moment = closed_house.clock.now() - timedelta(minutes=5)
    buffer.append({"at": moment.isoformat(), "is_plugged_in": True, "soc_percent": 41.0})
    second = delivered()

    assert (first, second) == (Sent(3, 0), Sent(1, 0))
    assert len(set(door.proofs)) == len(door.proofs) == 2
    with closed_house.parts.database.reading() as db:
        assert db.scalar(select(func.count()).select_from(TelemetryPoint)) == 4


@pytest.mark.parametrize("has_key", [False, True], ids=["no proof", "another key"])
def test_without_its_key_a_gateway_sends_nothing(
    closed_house: House, tmp_path: Path, *, has_key: bool
) -> None:
    caller = administrator_of(closed_house)
    holder = pass_of(caller, tmp_path, key=generate_key()) if has_key else None
    buffer, door = filled(closed_house, tmp_path), Door(closed_house)

    with pytest.raises(ServiceAway, match="401"):
        send(
            buffer,
            url=URL,
            vehicle_did=VEHICLE,
            holder=holder,
            deliver=door,
            clock=closed_house.clock.now,
        )

    assert len(list(buffer.unsent())) == 3


def test_files_that_others_may_read_or_that_are_no_key_are_refused(tmp_path: Path) -> None:
    key, token = tmp_path / "key.pem", tmp_path / "token"
    write_private(key, "no key")
    write_private(token, "token")

    with pytest.raises(KeyRefused, match="is no key"):
        Pass.of_files(key=key, token=token)
    token.chmod(0o644)
    with pytest.raises(KeyRefused, match="others may read"):
        Pass.of_files(key=key, token=token)
