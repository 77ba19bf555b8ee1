"""A real node that is killed, forgets, reorganises and mines slowly."""

from collections.abc import Callable

from backend.adapters.ledger.contracts import REGISTRY, sequence_of
from backend.database import Database
from tests.adapters.ledger.conftest import Anvil, Bench, node_bench, rpc, until

Start = Callable[..., Anvil]


def anchored(bench: Bench) -> int:
    return sequence_of(bench.ledger, REGISTRY, bench.places[REGISTRY])


def test_a_reorganisation_five_blocks_deep_heals(database: Database, start_anvil: Start) -> None:
    node = start_anvil()
    bench = node_bench(database, node.url)
    sender = bench.sender(confirmations=6, window=1)
    for _ in range(5):
        bench.add(1)
        until(lambda: not sender.step() and bench.states()[-1] == "included")

    rpc(node.url, "anvil_reorg", 5, [])
    assert anchored(bench) == 0
    until(lambda: not sender.step() and anchored(bench) == 5)
    rpc(node.url, "anvil_mine", "0x8")
    until(lambda: not sender.step() and set(bench.states()) >= {"final"})

    live = [one for one in bench.rows() if one.state == "final"]
    assert len(live) == 5
    assert sum(one.reorgs for one in bench.rows()) >= 5
    assert all(bench.holds(one) for one in bench.deeds)


def test_a_node_killed_after_it_took_transactions_gets_them_again(
    database: Database, start_anvil: Start
) -> None:
    node = start_anvil()
    bench = node_bench(database, node.url)
    until(node.has_saved)
    sender = bench.sender()
    bench.add(5)
    sender.step()
    until(lambda: not sender.step() and set(bench.states()) == {"final"})

    node.kill()
    bench.add(3)
    assert not sender.step()
    assert sender.status.state == "unavailable"
    node.start()
    bench.now.advance(minutes=1)
    until(lambda: not sender.step() and anchored(bench) == 8)

    assert all(bench.holds(one) for one in bench.deeds)
    assert [one.state for one in bench.rows() if one.state in {"sent", "signed"}] == []


def test_what_a_node_forgot_before_a_waiting_transaction_is_sent_again_first(
    database: Database, start_anvil: Start
) -> None:
    node = start_anvil()
    bench = node_bench(database, node.url)
    until(node.has_saved)
    kept = (node.saved_height() or 0) + 1
    sender = bench.sender()
    bench.add(1)
    until(lambda: not sender.step() and bench.states() == ["final"])
    until(node.has_saved)
    node.freeze_file()  # what comes now is forgotten

    bench.add(1)
    until(lambda: not sender.step() and bench.states() == ["final"] * 2)
    bench.add(1)
    sender.step()  # this one is sent, and not seen in a block any more
    node.kill()
    node.start()
    assert int(rpc(node.url, "eth_blockNumber"), 16) == kept
    assert bench.states() == ["final", "final", "sent"]
    bench.now.advance(seconds=5)
    until(lambda: not sender.step() and anchored(bench) == 3)

    until(lambda: not sender.step() and bench.states() == ["final"] * 3)


def test_final_waits_for_the_chains_own_word(database: Database, start_anvil: Start) -> None:
    node = start_anvil("--slots-in-an-epoch", "4")
    bench = node_bench(database, node.url)
    bench.add(2)
    sender = bench.sender(confirmations=None)

    until(lambda: not sender.step() and bench.states() == ["included"] * 2)
    rpc(node.url, "anvil_mine", "0x10")
    until(lambda: not sender.step() and bench.states() == ["final"] * 2)


def test_a_stuck_transaction_is_replaced_at_a_real_node(
    database: Database, start_anvil: Start
) -> None:
    node = start_anvil()
    bench = node_bench(database, node.url)
    rpc(node.url, "evm_setAutomine", False)  # noqa: FBT003 - JSON
    bench.add(2)
    sender = bench.sender()
    sender.step()
    bench.now.advance(seconds=95)
    sender.step()
    assert sorted(bench.states()) == ["replaced", "sent", "sent"]

    rpc(node.url, "evm_mine")
    until(lambda: not sender.step() and sorted(bench.states()) == ["final", "final", "replaced"])

    assert anchored(bench) == 2


def test_a_contract_whose_code_is_gone_is_not_written_to(
    database: Database, start_anvil: Start
) -> None:
    node = start_anvil()
    bench = node_bench(database, node.url)
    rpc(node.url, "anvil_setCode", bench.places[REGISTRY], "0x")
    bench.add(1)
    sender = bench.sender()

    sender.step()

    assert sender.status.state == "refused"
    assert bench.rows() == []


def test_both_ledgers_agree_on_gas(database: Database, start_anvil: Start) -> None:
    from backend.adapters.ledger.booting import boot  # noqa: PLC0415
    from backend.adapters.ledger.embedded import EmbeddedLedger  # noqa: PLC0415
    from backend.adapters.ledger.signers import new_signer  # noqa: PLC0415
    from tests.adapters.ledger.conftest import _bench  # noqa: PLC0415

    node = node_bench(database, start_anvil().url)
    ledger, signer = EmbeddedLedger(), new_signer()
    boot(database, ledger, ledger.chain(), signer)
    own = _bench(database, ledger, signer)
    used = []
    for bench in (node, own):
        bench.deeds = [*bench.add(2)] if bench is node else node.deeds
        used.append(_gas_used(bench))

    ledger.close()
    assert used[0] == used[1]


def _gas_used(bench: Bench) -> list[int]:
    sender = bench.sender()
    until(lambda: not sender.step() and len(_mined(bench)) == 2)
    return _mined(bench)


def _mined(bench: Bench) -> list[int]:
    genesis = bench.ledger.chain().genesis_hash
    rows = [one for one in bench.rows() if one.genesis_hash == genesis]
    return [one.gas_used for one in rows if one.gas_used]
