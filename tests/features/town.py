"""A town in production: two sites, an issuer that is trusted, a maker of cars, drivers."""

from dataclasses import replace
from typing import Any

from backend.features.credentials.holder import DEMO_HOLDER
from tests.conftest import House
from tests.identities import Caller, administrator_of, challenge_for, trusted_issuer

TYPES = (
    "BatteryBirthCertificateCredential",
    "ChargerSpecCredential",
    "ChargingContractCredential",
    "EmploymentCredential",
    "FleetDriverCredential",
    "PrioritySlotCredential",
    "SiteAccessCredential",
)
CAR = "did:denso:vehicle:vehicle001"
CHARGER = "did:denso:charger:site_hq_chr01"
SPEC = {
    "wmi": "WVW",
    "model": "Lab car",
    "batteryCapacityWh": 60_000,
    "maxAcPowerW": 11_000,
    "maxDcPowerW": 100_000,
    "consumptionWhPerKm": 200,
    "connector": "ccs2",
}
BATTERY = {
    "batteryCapacityWh": 60_000,
    "lifecycleStatus": "SECOND_LIFE",
    "manufacturedAt": "2021-01-01T00:00:00Z",
    "chemistry": "nmc",
}


class Town:
    """A closed house with two sites, an issuer that is trusted for all, and a maker of cars."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.admin = administrator_of(house)
        door = house.parts.door
        house.app.state.parts = replace(house.parts, door=lambda _knock, _parts: DEMO_HOLDER)
        house.site("site_hq")
        house.site("site_b")
        house.app.state.parts = replace(house.parts, door=door)
        self.issuer = trusted_issuer(house, self.admin, *TYPES)
        self.maker = trusted_issuer(house, self.admin, "VehicleSpecCredential", wmis=["WVW"])
        self.chargers = trusted_issuer(
            house, self.admin, "ChargerSpecCredential", sites=["site_hq", "site_b"]
        )

    def says(self, subject: str, kind: str, **claims: Any) -> str:
        """A credential by whoever is trusted for it."""
        issuer = {"VehicleSpec": self.maker, "ChargerSpec": self.chargers}.get(kind, self.issuer)
        return issuer.say(subject, f"{kind}Credential", claims, now=self.house.clock.now())

    def driver(self, *, site: str = "site_hq") -> Caller:
        """Somebody who may charge at one site, in a car whose maker describes it."""
        one = Caller()
        one.credentials = [
            self.says(one.did, "SiteAccess", site=site),
            self.says(CAR, "VehicleSpec", **SPEC),
        ]
        return one

    def body(self, one: Caller, **values: Any) -> dict[str, Any]:
        """A start in somebody's own name."""
        body = self.house.start_body(**values)
        body["driver"]["did"] = one.did
        body["driver"]["allowed_sites"] = None
        return body

    def start(self, one: Caller, body: dict[str, Any] | None = None, **values: Any) -> Any:
        """The answer to a start with an inline presentation."""
        body = self.body(one, **values) if body is None else body
        given = challenge_for(self.house, f"session-start:{body['charger']['did']}")
        proof = {"presentation": one.present(given), "challenge": given["challenge"]}
        return self.house.post("/sessions/start", body | proof)

    def end(self, started: Any) -> dict[str, Any]:
        """End a session, so that charger and vehicle are free again; gives what started it."""
        assert started.status_code == 200, started.text
        said: dict[str, Any] = started.json()
        path = f"/sessions/{said['session_id']}/complete"
        assert self.admin.post(self.house, path, {}).status_code == 200
        return said
