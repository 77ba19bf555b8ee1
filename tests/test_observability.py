"""What operators see: metrics, logs and the state of the service."""

import json

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from backend.observability import configure_logging
from tests.conftest import House


def _metrics(house: House) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels."""
    text = house.client.get("/metrics").text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_requests_are_counted_by_template_and_not_by_id(house: House) -> None:
    house.site("site_a")
    for _ in range(3):
        house.get("/sites/site_a")
    house.get("/sites/site_b")

    counted = {key[1:]: n for key, n in _metrics(house).items() if key[0] == "tasco_requests_total"}

    by_route = {key: n for key, n in counted.items() if any("{site_id}" in part for part in key)}
    assert sorted(by_route.values()) == [1.0, 3.0]
    assert not [key for key in counted if any("site_a" in part for part in key)]


def test_strangers_cannot_make_metrics_grow(house: House) -> None:
    for number in range(5):
        house.client.request(f"METHOD{number}", f"/nothing/{number}")
    _metrics(house)  # this request is counted from the next one on
    before = len(_metrics(house))
    for number in range(5, 25):
        house.client.request(f"METHOD{number}", f"/nothing/{number}")

    assert len(_metrics(house)) == before


def test_planning_time_and_waiting_events_are_measured(house: House) -> None:
    house.site()
    house.start()

    metrics = _metrics(house)

    assert ("tasco_outbox_pending",) in metrics
    assert ("tasco_open_sessions",) in metrics
    assert [n for key, n in metrics.items() if key[0] == "tasco_request_seconds_count"]


def test_a_process_without_its_database_is_healthy_but_not_ready(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def _away() -> Session:
        raise OperationalError("SELECT 1", {}, Exception("away"))

    monkeypatch.setattr(house.parts.database, "reading", _away)

    health, ready = house.client.get("/health"), house.client.get("/ready")

    assert (health.status_code, health.json()["status"]) == (200, "healthy")
    assert (ready.status_code, ready.json()["code"]) == (503, "database_unavailable")
    assert ready.headers["Retry-After"]


def test_ready_names_the_kind_of_database(house: House) -> None:
    ready = house.client.get("/ready").json()

    assert ready["status"] == "ready"
    assert ready["database"] in ("sqlite", "postgresql")
    assert ready["outbox_pending"] == 0


def test_the_root_leads_to_the_documentation(house: House) -> None:
    answer = house.client.get("/", follow_redirects=False)

    assert (answer.status_code, answer.headers["Location"]) == (307, "/docs")


def test_a_line_of_the_log_is_one_json_object_with_the_request(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging(level="info", as_json=True)
    structlog.contextvars.bind_contextvars(request_id="req_1")

    structlog.get_logger("tasco").info("session.planned", session_id="ses_1", energy_kwh=1.5)
    structlog.get_logger("tasco").debug("session.looked_at")

    structlog.contextvars.clear_contextvars()
    (line,) = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {
        "event": "session.planned",
        "level": "info",
        "request_id": "req_1",
        "session_id": "ses_1",
        "energy_kwh": 1.5,
    }


def test_the_log_names_no_person_and_no_vehicle(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(level="debug", as_json=True)
    house.site()

    session_id = house.start()["session_id"]
    house.post(f"/sessions/{session_id}/complete", {"energy_delivered_kwh": 1})
    house.settle()

    log = capsys.readouterr().err
    assert session_id in log
    assert "driver001" not in log
    assert "vehicle001" not in log
    assert "TechCorp" not in log


def test_a_defect_is_logged_with_the_request_id_of_its_answer(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(level="error", as_json=True)

    @house.app.get("/broken")
    def _broken() -> None:
        raise ValueError("the cause")

    request_id = house.client.get("/broken").json()["request_id"]

    entries = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (entry,) = (one for one in entries if one["event"] == "request.failed")
    assert entry["request_id"] == request_id
    assert "the cause" in entry["exception"]
