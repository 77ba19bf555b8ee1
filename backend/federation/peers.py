"""Those with whom a participant sums: it knows their DIDs, and no coordinator can swap their keys.

Whoever hands out the keys that masks are made of can hand out its own, and take every mask off. So
each participant signs its keys of a sum, and the others look at the signature before they share
anything (K. Bonawitz et al., CCS 2017, the actively secure variant). Whose DID is whose they have
to know from elsewhere.
"""

import json
from collections.abc import Mapping
from typing import TypeAlias

from backend.federation.masking_messages import MaskingRefused, hellos_in
from backend.federation.signing import read_signed
from backend.federation.statements import StatementUnreadable, hash_of_letter
from backend.federation.tasks import MaskAnswer, MaskTask

Peers: TypeAlias = Mapping[str, str]
"""The did:key of each other participant, by its name."""


def peers_of(text: str) -> Peers:
    """The DIDs in a JSON object of sites.

    Raises:
        ValueError: If it is none.
    """
    said = json.loads(text)
    if not isinstance(said, dict) or not all(isinstance(one, str) for one in said.values()):
        raise ValueError("Peers are a JSON object of DIDs by site.")
    return said


def refuse_strangers(task: MaskTask, roster: bytes, peers: Peers) -> None:
    """Check that everybody in a roster has signed its own keys, for this sum.

    Raises:
        MaskingRefused: If somebody has not, or is not known; the message says who.
    """
    for name, (hello, statement) in hellos_in(roster).items():
        if name != task.participant:  # its own it knows by heart
            _refuse_stranger(task, name, MaskAnswer(name, "hello", hello, statement), peers)


def _refuse_stranger(task: MaskTask, name: str, said: MaskAnswer, peers: Peers) -> None:
    if name not in peers:
        raise MaskingRefused(f"{name} is not among those this participant sums with")
    try:
        statement = read_signed(said.signature, peers[name])
    except StatementUnreadable as unreadable:
        raise MaskingRefused(f"the keys of {name} are not signed by it") from unreadable
    found = (statement.site_id, statement.kind, statement.parent_hash, statement.content_hash)
    if found != (name, "letter", task.parent_hash, hash_of_letter(task.context, said)):
        raise MaskingRefused(f"{name} has signed other keys than these")
