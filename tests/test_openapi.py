"""The document: whole, true, and with examples that work when pasted."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31

from backend.documentation import ahead, filled_in
from tests.conftest import NOON, House, house_on

METHODS = ("get", "post", "put", "patch", "delete")
TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")
Json = dict[str, Any]


@pytest.fixture
def house(sqlite_url: str, tmp_path: Path) -> Iterator[House]:
    """An application on SQLite: which database it is plays no part here."""
    with house_on(sqlite_url, tmp_path) as house:
        yield house


@pytest.fixture
def document(house: House) -> Json:
    house.site()
    answer = house.client.get("/openapi.json")
    assert answer.status_code == 200
    document: Json = answer.json()
    return document


def _operations(document: Json) -> Iterator[tuple[str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert method in METHODS
            yield f"{method.upper()} {path}", operation


def _api_operations(document: Json) -> Iterator[tuple[str, Json]]:
    return ((name, one) for name, one in _operations(document) if "/api/v1/" in name)


def _errors(document: Json, schema: Json, value: object) -> list[str]:
    """What of a value does not fit a schema of the document."""
    whole = {**schema, "components": document["components"]}
    validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    return [error.message for error in validator.iter_errors(value)]


def _bodies(document: Json) -> Iterator[tuple[str, Json, list[object]]]:
    """Each operation's body: its schema and every example of it."""
    for name, operation in _operations(document):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            continue
        schema = content["schema"]
        reference = schema.get("$ref", "").rpartition("/")[2]
        model = document["components"]["schemas"].get(reference, schema)
        named = [one["value"] for one in content.get("examples", {}).values()]
        yield name, schema, named or model.get("examples", [])


def test_the_document_is_openapi_3_1(document: Json) -> None:
    validator = jsonschema_rs.Draft202012Validator(OPENAPI_31)

    assert document["openapi"].startswith("3.1")
    assert [error.message for error in validator.iter_errors(document)] == []


def test_every_reference_leads_somewhere(document: Json) -> None:
    references = set(re.findall(r"'#/components/schemas/([^']+)'", str(document)))

    assert references <= set(document["components"]["schemas"])
    assert len(references) > 20


def test_every_operation_is_described(document: Json) -> None:
    for name, operation in _operations(document):
        assert operation["summary"], name
        assert operation["description"].endswith("."), name
        assert operation["tags"], name
        assert operation["operationId"], name


def test_every_tag_is_explained(document: Json) -> None:
    used = {tag for _, operation in _operations(document) for tag in operation["tags"]}

    assert used == {tag["name"] for tag in document["tags"]}
    assert all(tag["description"] for tag in document["tags"])


def test_every_operation_of_the_api_names_its_problems(document: Json) -> None:
    for name, operation in _api_operations(document):
        problems = {
            status: response
            for status, response in operation["responses"].items()
            if "application/problem+json" in response.get("content", {})
        }
        refusals = {"401", "403"} if "security" in operation else set()
        assert refusals | {"503"} <= set(problems), name
        assert ("422" in problems) == bool(
            operation.get("parameters") or "requestBody" in operation or name.startswith("POST")
        ), name
        for response in problems.values():
            assert "`: " in response["description"], name
            assert response["content"]["application/problem+json"]["schema"] == {
                "$ref": "#/components/schemas/ProblemDetails"
            }


def test_no_operation_promises_errors_in_another_form(document: Json) -> None:
    assert "HTTPValidationError" not in str(document)


def test_every_body_has_an_example_that_fits_its_schema(document: Json) -> None:
    bodies = list(_bodies(document))

    assert len(bodies) >= 9
    for name, schema, examples in bodies:
        assert examples, name
        for example in examples:
            assert _errors(document, schema, example) == [], name


def test_every_parameter_with_an_example_fits_its_schema(document: Json) -> None:
    for name, operation in _operations(document):
        for parameter in operation.get("parameters", []):
            for example in parameter["schema"].get("examples", []):
                assert _errors(document, parameter["schema"], example) == [], name


def test_every_path_parameter_has_an_example(document: Json) -> None:
    for name, operation in _operations(document):
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "path":
                assert parameter["schema"].get("examples") or parameter.get("examples"), name


def test_every_text_that_a_caller_sends_is_bounded(document: Json) -> None:
    for name, operation in _operations(document):
        for parameter in operation.get("parameters", []):
            schema = parameter["schema"]
            if schema.get("type") == "string" and "enum" not in schema and "format" not in schema:
                assert "maxLength" in schema, (name, parameter["name"])
                if parameter["in"] == "path":
                    assert "pattern" in schema, (name, parameter["name"])


def test_every_body_refuses_unknown_fields(document: Json) -> None:
    for name, schema, _ in _bodies(document):
        for reference in re.findall(r"#/components/schemas/(\w+)", str(schema)):
            model = document["components"]["schemas"][reference]
            if model.get("type") == "object":
                assert model["additionalProperties"] is False, (name, reference)


def test_dates_of_examples_lie_ahead_when_the_document_is_served(document: Json) -> None:
    now = NOON  # the demonstration's clock

    times = [
        datetime.fromisoformat(time)
        for _, _, examples in _bodies(document)
        for time in TIME.findall(str(examples))
    ]

    assert len(times) >= 5
    assert all(now - timedelta(minutes=2) < time < now + timedelta(days=2) for time in times)
    assert "{{now" not in str(document)


def test_the_document_is_filled_in_anew_each_time_it_is_served() -> None:
    text = f"{ahead(6)} {ahead(0, 30)}"
    now = datetime(2026, 12, 31, 20, 15, 59, tzinfo=UTC)

    assert filled_in(text, now) == "2027-01-01T02:15:00Z 2026-12-31T20:45:00Z"


def test_the_start_examples_work_when_pasted(house: House) -> None:
    assert house.post("/demo/generate-data?days=1").status_code == 200
    house.clock.shown = datetime.now(UTC)
    document = house.client.get("/openapi.json").json()
    operation = document["paths"]["/api/v1/sessions/start"]["post"]
    examples = operation["requestBody"]["content"]["application/json"]["examples"]

    answers = {name: house.post("/sessions/start", one["value"]) for name, one in examples.items()}

    assert len(answers) >= 4
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(
        answers, 200
    )


def test_every_answer_that_was_seen_fits_its_schema(house: House) -> None:
    house.site()
    session_id = house.start()["session_id"]
    document = house.client.get("/openapi.json").json()
    paths = {
        "/api/v1/sites": "/sites",
        "/api/v1/sites/{site_id}": "/sites/site_hq",
        "/api/v1/sites/{site_id}/tariffs": "/sites/site_hq/tariffs",
        "/api/v1/sites/{site_id}/analytics": "/sites/site_hq/analytics",
        "/api/v1/chargers": "/chargers",
        "/api/v1/sessions": "/sessions",
        "/api/v1/sessions/{session_id}": f"/sessions/{session_id}",
        "/api/v1/sessions/{session_id}/plan": f"/sessions/{session_id}/plan",
        "/api/v1/forecasts/site/{site_id}": "/forecasts/site/site_hq",
        "/api/v1/demo/clock": "/demo/clock",
        "/api/v1/demo/sample-dids": "/demo/sample-dids",
    }

    for template, path in paths.items():
        content = document["paths"][template]["get"]["responses"]["200"]["content"]
        answer = house.get(path)
        assert answer.status_code == 200
        assert _errors(document, content["application/json"]["schema"], answer.json()) == [], path
