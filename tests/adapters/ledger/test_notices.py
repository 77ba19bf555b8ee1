"""Statuses of credentials and verdicts on models, on every ledger: told again, done once."""

import secrets
from typing import TYPE_CHECKING, Any

import pytest
from eth_hash.auto import keccak
from sqlalchemy import delete

from backend.adapters.ledger.abi import address_of, call_of, number_in
from backend.adapters.ledger.booting import record_places
from backend.adapters.ledger.checks import NotFit, Wanted, require_fit, stand_of
from backend.adapters.ledger.contracts import CHARGE_LEDGER, MODELS, REGISTRY, STATUS, sequence_of
from backend.adapters.ledger.deeds import Sealing
from backend.adapters.ledger.deploying import DIRECTORY, Deployer, Rate, checksummed
from backend.adapters.ledger.model_deeds import RoundOpening, Verdict, round_for
from backend.adapters.ledger.status_deeds import ListPublication, StatusChange
from backend.adapters.ledger.transactions import ChainTx, ContractPlace
from backend.proofs.blocks import FIRST_PREVIOUS, BlockHeader
from tests.adapters.ledger.conftest import CAP_WEI, Bench, Told, until
from tests.adapters.ledger.test_sending import away, settle

if TYPE_CHECKING:
    from backend.adapters.ledger.deeds import Deed

COMMITMENT, MODEL, TRAINER = b"\5" * 32, b"\7" * 32, 0x1234
LIST = b"\1" * 32
NEIGHBOURS = tuple(range(512, 612))
STRANGERS = tuple(range(70_000, 170_000, 1_000))


def opening(commitment: bytes = COMMITMENT) -> RoundOpening:
    return RoundOpening(f"ntc_open_{commitment.hex()[:4]}", b"\4" * 32, commitment)


def verdict(**values: Any) -> Verdict:
    said = {"trainer": TRAINER, "model_hash": MODEL, "score": 9_000, "is_accepted": True, **values}
    return Verdict(f"ntc_verdict_{said['model_hash'].hex()[:4]}", COMMITMENT, **said)


def tell(bench: Bench, contract: str, data: bytes) -> None:
    """One transaction of the administrator, past the sender."""
    transaction = {
        "type": 2,
        "chainId": bench.ledger.chain().chain_id,
        "nonce": bench.ledger.next_nonce(bench.signer.address),
        "gas": 200_000,
        "maxFeePerGas": 10**10,
        "maxPriorityFeePerGas": 10**9,
        "to": checksummed(bench.places[contract]),
        "value": 0,
        "data": data,
    }
    raw, tx_hash = bench.signer.sign(transaction)
    assert bench.ledger.broadcast([raw]) == [""]
    until(lambda: bench.ledger.receipts([tx_hash])[0] is not None)
    assert bench.ledger.receipts([tx_hash])[0].is_success


def pause(bench: Bench, contract: str) -> None:
    role = keccak(b"PAUSER_ROLE")
    grant = call_of("grantRole(bytes32,address)", role, address_of(bench.signer.address))
    tell(bench, contract, grant)
    tell(bench, contract, call_of("pause()"))


def says(bench: Bench, name: str, index: int) -> bool:
    call = call_of(f"{name}(address,uint256)", address_of(bench.signer.address), index)
    return number_in(bench.ledger.call(bench.places[STATUS], call)) == 1


def listed(bench: Bench) -> bytes:
    call = call_of("listOf(address,bytes32)", address_of(bench.signer.address), LIST)
    answer: bytes = bench.ledger.call(bench.places[STATUS], call)
    return answer


def test_revocations_go_in_dense_lists_and_each_is_shown(bench: Bench) -> None:
    bench.deeds += [
        StatusChange("ntc_near", "revoke", NEIGHBOURS),
        StatusChange("ntc_far", "revoke", STRANGERS),
    ]

    settle(bench, bench.sender())

    near, far = bench.rows()
    assert all(bench.holds(one) for one in bench.deeds)
    assert says(bench, "isRevoked", NEIGHBOURS[-1])
    assert not says(bench, "isRevoked", NEIGHBOURS[-1] + 1)
    assert near.gas_used is not None
    assert far.gas_used is not None
    assert near.gas_used < 100 * 3_000
    assert far.gas_used < 100 * 27_000


def test_a_suspension_ends_in_order(bench: Bench) -> None:
    bench.deeds += [
        StatusChange(f"ntc_{i}", action, (5, 900))
        for i, action in enumerate(("suspend", "reinstate", "suspend"))
    ]

    settle(bench, bench.sender())

    assert says(bench, "isSuspended", 5)
    assert [one.subject for one in bench.rows()] == ["ntc_0", "ntc_1", "ntc_2"]


def test_a_pause_holds_everything_but_revocations(bench: Bench) -> None:
    suspensions = [StatusChange(f"ntc_{one}", one, (3,)) for one in ("suspend", "reinstate")]
    bench.deeds += [*suspensions[:1]]
    settle(bench, bench.sender())
    pause(bench, STATUS)
    revocation = StatusChange("ntc_revoke", "revoke", (9,))
    bench.deeds += [suspensions[1], ListPublication("ntc_list", LIST, b"\2" * 32), revocation]
    bench.now.advance(minutes=1)
    sender = bench.sender()

    until(lambda: not sender.step() and says(bench, "isRevoked", 9))
    sender.step()
    assert sender.status.state == "waiting"
    assert "CredentialStatus refuses: EnforcedPause" in sender.status.reason
    assert says(bench, "isSuspended", 3)

    tell(bench, STATUS, call_of("unpause()"))
    settle(bench, sender)
    assert not says(bench, "isSuspended", 3)


def test_the_root_of_a_list_is_published_version_after_version(bench: Bench) -> None:
    sender = bench.sender()
    for root in (b"\2" * 32, b"\3" * 32):
        bench.deeds.append(ListPublication(f"ntc_{root.hex()[:4]}", LIST, root))
        settle(bench, sender)

    held = listed(bench)
    assert (number_in(held), held[32:64]) == (2, b"\3" * 32)


def test_a_verdict_waits_for_its_round_and_is_recorded_once(bench: Bench) -> None:
    rejected = verdict(model_hash=b"\x08" * 32, score=10, is_accepted=False)
    bench.deeds += [opening(), verdict(), rejected]
    sender = bench.sender()

    settle(bench, sender)

    assert round_for(bench.ledger, bench.places[MODELS], COMMITMENT) == 1
    assert all(bench.holds(one) for one in bench.deeds)
    assert {one.state for one in bench.rows()} == {"final"}
    assert all(one.gas_used and one.gas_used < 200_000 for one in bench.rows())


def test_what_was_told_before_a_backup_was_restored_is_not_told_twice(bench: Bench) -> None:
    revocation = StatusChange("ntc_revoke", "revoke", (9, 300))
    published = ListPublication("ntc_list", LIST, b"\2" * 32)
    bench.deeds += [opening(), verdict(), revocation, published]
    settle(bench, bench.sender())
    with bench.database.transaction() as db:
        db.execute(delete(ChainTx))
    sender = bench.sender()

    def _is_told() -> bool:
        bench.now.advance(minutes=6)
        sender.step()
        found = {one.subject for one in bench.rows() if one.state == "final"}
        return found == {one.subject for one in bench.deeds}

    until(_is_told)

    assert sequence_of(bench.ledger, MODELS, bench.places[MODELS]) == 1
    assert all(bench.holds(one) for one in bench.deeds)
    adopted = [one.subject for one in bench.rows() if one.nonce is None]
    assert {"ntc_revoke", opening().subject, verdict().subject} <= set(adopted)


def test_a_process_that_ends_after_sending_tells_nothing_twice(bench: Bench) -> None:
    def _sends_and_dies(signed: Any) -> list[str]:
        bench.ledger.broadcast(signed)
        away()

    published = ListPublication("ntc_list", LIST, b"\2" * 32)
    first: list[Deed] = [StatusChange("ntc_revoke", "revoke", (9, 300)), opening(), published]
    for deeds in (first, [verdict()]):
        bench.deeds += deeds
        bench.now.advance(minutes=1)
        bench.sender(Told(bench.ledger, broadcast=_sends_and_dies)).step()
        bench.now.advance(minutes=1)
        settle(bench, bench.sender())

    assert bench.states() == ["final"] * 4
    assert all(one.nonce is not None and one.attempt == 1 for one in bench.rows())
    assert sequence_of(bench.ledger, MODELS, bench.places[MODELS]) == 1
    assert number_in(listed(bench)) == 1


def test_rounds_keep_to_the_rate_that_all_of_them_share(embedded: Bench) -> None:
    bench = embedded
    bench.deeds += [opening(secrets.token_bytes(32)) for _ in range(3)]
    bench.deeds += [StatusChange("ntc_revoke", "revoke", (1,))]

    def _slow(to: str, data: bytes, *, sender: str | None = None) -> bytes:
        asked = call_of("writesLeft(address)")[:4]
        left = (2).to_bytes(32, "big")
        return left if data[:4] == asked else bytes(bench.ledger.call(to, data, sender=sender))

    bench.sender(Told(bench.ledger, call=_slow)).step()

    assert [one.contract for one in bench.rows()] == [STATUS, MODELS, MODELS]


# Before anything is sent


@pytest.mark.parametrize("contract", [STATUS, MODELS])
def test_a_contract_that_was_never_deployed_is_named(embedded: Bench, contract: str) -> None:
    with embedded.database.transaction() as db:
        db.execute(delete(ContractPlace).where(ContractPlace.contract == contract))

    with (
        embedded.database.reading() as db,
        pytest.raises(NotFit, match=f"{contract} missing: python -m backend chain deploy"),
    ):
        stand_of(db, embedded.ledger.chain())


def test_only_what_is_missing_is_deployed(embedded: Bench) -> None:
    kept = {name: embedded.places[name] for name in (DIRECTORY, REGISTRY, CHARGE_LEDGER, STATUS)}
    deployer = Deployer(embedded.ledger, embedded.signer, CAP_WEI, Rate(1, 1_000_000))

    places = deployer.deploy(writer=embedded.signer.address, having=kept)

    assert {name: places[name] for name in kept} == kept
    assert places[MODELS] != embedded.places[MODELS]
    wanted = Wanted(None, is_demo=True, cap_wei=CAP_WEI)
    require_fit(embedded.ledger, embedded.ledger.chain(), places, embedded.signer, wanted)


def test_a_new_contract_of_statuses_is_told_everything_again(embedded: Bench) -> None:
    bench = embedded
    bench.add(1)
    bench.deeds += [StatusChange("ntc_1", "revoke", (7,)), opening()]
    settle(bench, bench.sender())
    deployer = Deployer(bench.ledger, bench.signer, CAP_WEI, Rate(1, 1_000_000))
    kept = {name: bench.places[name] for name in (DIRECTORY, REGISTRY, CHARGE_LEDGER, MODELS)}
    bench.places = deployer.deploy(writer=bench.signer.address, having=kept)
    with bench.database.transaction() as db:
        record_places(db, bench.ledger.chain(), bench.places)
    assert not says(bench, "isRevoked", 7)
    bench.now.advance(minutes=6)

    settle(bench, bench.sender())

    assert says(bench, "isRevoked", 7)
    assert sorted(bench.states()) == ["final", "final", "final", "superseded"]


def test_new_contracts_get_all_blocks_and_rounds_from_the_first_on(embedded: Bench) -> None:
    bench, former = embedded, dict(embedded.places)
    first = BlockHeader(1, FIRST_PREVIOUS, b"\x0b" * 32, 1, 2, 1, 1000, 0)
    second = BlockHeader(2, first.hash(), b"\x0c" * 32, 2, 3, 1, 1000, 0)
    bench.deeds = [Sealing("blk_1", first), opening()]
    settle(bench, bench.sender())
    bench.deeds.append(Sealing("blk_2", second))
    bench.sender(Told(bench.ledger, broadcast=away)).step()  # signed, and not sent
    deployer = Deployer(bench.ledger, bench.signer, CAP_WEI, Rate(1, 1_000_000))
    bench.places = deployer.deploy(writer=bench.signer.address)
    with bench.database.transaction() as db:
        record_places(db, bench.ledger.chain(), bench.places)
    bench.deeds.append(verdict())
    bench.now.advance(minutes=6)

    settle(bench, bench.sender())

    assert former[CHARGE_LEDGER] != bench.places[CHARGE_LEDGER]
    assert all(bench.holds(one) for one in bench.deeds)
    assert sequence_of(bench.ledger, CHARGE_LEDGER, bench.places[CHARGE_LEDGER]) == 2


@pytest.mark.parametrize(
    ("contract", "role"),
    [(STATUS, "ISSUER_ROLE"), (MODELS, "VALIDATOR_ROLE"), (MODELS, "COORDINATOR_ROLE")],
)
def test_a_role_that_was_taken_away_is_named(embedded: Bench, contract: str, role: str) -> None:
    who = address_of(embedded.signer.address)
    tell(embedded, contract, call_of("revokeRole(bytes32,address)", keccak(role.encode()), who))
    wanted = Wanted(None, is_demo=True, cap_wei=CAP_WEI)

    with pytest.raises(NotFit, match=f"may not write to {contract}: it lacks {role}"):
        require_fit(
            embedded.ledger, embedded.ledger.chain(), embedded.places, embedded.signer, wanted
        )
