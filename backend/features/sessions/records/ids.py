"""Ids for what a record names: the same each time, valid, never two for one or one for two."""

import re
from datetime import datetime
from hashlib import sha256

from ulid import ULID

SITE_ID = re.compile(r"[a-z0-9][a-z0-9_-]{1,62}", re.ASCII)
LONGEST_PLAIN = 180  # what a DID holds after `charger:`, with room for a hash
HASH_DIGITS = 24


def site_id_of(name: str) -> str:
    """The name itself where it is a site id, else what is left of it and a hash of all of it."""
    if SITE_ID.fullmatch(name):
        return name
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:40]
    return f"{plain or 'site'}_{_hash(name)[:12]}"


def charger_did_of(site_id: str, station: str) -> str:
    """`did:denso:charger:<site>_<station>`.

    In the station every character but letters, digits, `.` and `-` is percent-encoded, so that the
    last `_` parts site and station; one that is too long is cut and its hash follows a colon.
    """
    plain = "".join(map(_encoded, station))
    if len(site_id) + len(plain) >= LONGEST_PLAIN:
        plain = f"{plain[:80]}:{_hash(station)[:HASH_DIGITS]}"
    return f"did:denso:charger:{site_id}_{plain}"


def _encoded(character: str) -> str:
    if character.isascii() and (character.isalnum() or character in ".-"):
        return character
    return "".join(f"%{byte:02X}" for byte in character.encode())


def pseudonym_of(user: str, *, charger_did: str, salt: str) -> str:
    """What driver and vehicle of a user are called; of an unknown user, those of the charger."""
    known = ["user", salt, user] if user else ["charger", salt, charger_did]
    return f"record_{_hash(*known)[:HASH_DIGITS]}"


def session_ids_of(site_id: str, session_id: str, *, arrival: datetime) -> tuple[str, str]:
    """Ids of the session, which sort by its arrival, and of its bill, whatever its times say."""
    digest = bytes.fromhex(_hash(site_id, session_id))
    milliseconds = int(arrival.timestamp() * 1000).to_bytes(6, "big")
    return f"ses_{ULID(milliseconds + digest[:10])}", f"cdr_{ULID(digest[:16])}"


def _hash(*parts: str) -> str:
    return sha256("\0".join(parts).encode()).hexdigest()
