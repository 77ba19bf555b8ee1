// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ChargeLedger} from "../src/ChargeLedger.sol";
import {Base} from "./Base.sol";

contract ChargeLedgerTest is Base {
    ChargeLedger private ledger;

    function setUp() public {
        ChargeLedger implementation = new ChargeLedger(EVERY, BURST);
        ledger = ChargeLedger(cloned(address(implementation), implementation.SEALER_ROLE()));
    }

    function test_blocks_follow_each_other() public {
        ChargeLedger.Header memory first = header(1, 0, "root");
        bytes32 firstHash = ledger.hashOf(first);
        vm.expectEmit(true, true, true, true);
        emit ChargeLedger.Sealed(1, firstHash, first, WRITER);
        write(first);
        ChargeLedger.Header memory second = header(2, ledger.headHash(), "other");
        write(second);
        require_(ledger.height() == 2 && ledger.headHash() == ledger.hashOf(second), "head");
        require_(ledger.blockHash(1) == ledger.hashOf(first) && ledger.blockHash(3) == 0, "blocks");
    }

    function testFuzz_what_does_not_follow_is_refused(uint64 number, bytes32 previousHash) public {
        vm.assume(number != 1 || previousHash != 0);
        vm.expectRevert(abi.encodeWithSelector(ChargeLedger.NotNext.selector, number, previousHash));
        write(header(number, previousHash, "root"));
    }

    function test_a_block_has_records_and_runs_forward() public {
        vm.expectRevert(ChargeLedger.BadHeader.selector);
        write(header(1, 0, 0));
        ChargeLedger.Header memory empty = header(1, 0, "root");
        empty.count = 0;
        vm.expectRevert(ChargeLedger.BadHeader.selector);
        write(empty);
        ChargeLedger.Header memory backward = header(1, 0, "root");
        (backward.fromAt, backward.toAt) = (2, 1);
        vm.expectRevert(ChargeLedger.BadHeader.selector);
        write(backward);
    }

    function testFuzz_only_sealers_seal(address who) public {
        vm.assume(who != WRITER);
        vm.expectRevert(needs(ledger.SEALER_ROLE(), who));
        vm.prank(who);
        ledger.seal(header(1, 0, "root"));
    }

    function test_nobody_seals_in_a_pause() public {
        paused(address(ledger));
        vm.expectRevert(EnforcedPause.selector);
        write(header(1, 0, "root"));
    }

    function testFuzz_a_record_of_a_block_is_shown(bytes32 id, bytes32 itemHash) public {
        bytes32 words = keccak256(abi.encode(ledger.DOMAIN(), uint16(8), id, itemHash));
        ChargeLedger.Header memory sealed_ = header(1, 0, keccak256(abi.encode(words)));
        bytes32[] memory none = new bytes32[](0);
        require_(!ledger.verify(sealed_, id, itemHash, none), "not sealed yet");
        write(sealed_);
        require_(ledger.verify(sealed_, id, itemHash, none), "shown");
        require_(!ledger.verify(sealed_, ~id, itemHash, none), "another record");
        require_(!ledger.verify(sealed_, id, itemHash, new bytes32[](1)), "over-long");
        sealed_.whOut += 1;
        require_(!ledger.verify(sealed_, id, itemHash, none), "another header");
    }

    function header(uint64 number, bytes32 previousHash, bytes32 root)
        private
        view
        returns (ChargeLedger.Header memory)
    {
        uint64 now_ = uint64(block.timestamp);
        return ChargeLedger.Header(number, previousHash, root, now_ - 600, now_, 1, 12_000, 500);
    }

    function write(ChargeLedger.Header memory one) private {
        vm.prank(WRITER);
        ledger.seal(one);
    }
}
