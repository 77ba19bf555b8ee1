"""What the documentation says of the credential types is what the profiles say."""

from backend.adapters.verifier.profiles import PROFILES
from backend.components import ROOT
from backend.features.credentials.reference import reference


def test_the_documentation_names_every_type_and_claim() -> None:
    page = (ROOT / "docs" / "credentials.md").read_text(encoding="utf-8")

    _, _, types = page.partition("## Types\n\n")

    assert types.strip() == reference().strip()


def test_every_claim_of_every_type_is_in_the_reference() -> None:
    text = reference()

    for profile in PROFILES.values():
        assert f"### {profile.name}\n" in text
        for name in profile.claims_schema()["properties"]:
            assert f"| `{name}` |" in text
