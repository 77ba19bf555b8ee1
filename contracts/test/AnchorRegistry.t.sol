// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AnchorRegistry} from "../src/AnchorRegistry.sol";
import {Base} from "./Base.sol";

contract AnchorRegistryTest is Base {
    AnchorRegistry private registry;

    function setUp() public {
        AnchorRegistry implementation = new AnchorRegistry(EVERY, BURST);
        registry = AnchorRegistry(cloned(address(implementation), implementation.ANCHOR_ROLE()));
    }

    function test_anchors_stand_in_order_with_what_is_known_of_them() public {
        vm.expectEmit(true, true, true, true);
        emit AnchorRegistry.Anchored("one", 1, 1, 7, WRITER, 0);
        write("one", 7, 1, 0);
        vm.roll(1005);
        vm.expectEmit(true, true, true, true);
        emit AnchorRegistry.Anchored("two", 0, 2, 1, WRITER, 1000);
        write("two", 1, 0, 1);

        AnchorRegistry.Anchor memory first = registry.anchorOf("one");
        require_(first.sequence == 1 && first.blockNumber == 1000 && first.count == 7, "first");
        require_(first.kind == 1 && first.anchoredAt == block.timestamp, "first, too");
        require_(registry.sequence() == 2 && registry.lastBlock() == 1005, "head");
        require_(registry.isAnchored("two") && !registry.isAnchored("three"), "known");
    }

    function testFuzz_a_root_stands_once(bytes32 root, uint32 count, uint16 kind) public {
        vm.assume(root != 0 && count != 0);
        write(root, count, kind, 0);
        vm.expectRevert(abi.encodeWithSelector(AnchorRegistry.AlreadyAnchored.selector, root));
        write(root, count, kind, 1);
    }

    function testFuzz_a_second_writer_and_a_replay_come_too_late(uint64 expected) public {
        vm.assume(expected != 1);
        write("one", 1, 1, 0);
        vm.expectRevert(abi.encodeWithSelector(AnchorRegistry.UnexpectedSequence.selector, expected, 1));
        write("two", 1, 1, expected);
    }

    function test_nothing_is_not_anchored() public {
        vm.expectRevert(AnchorRegistry.EmptyBatch.selector);
        write(0, 1, 1, 0);
        vm.expectRevert(AnchorRegistry.EmptyBatch.selector);
        write("one", 0, 1, 0);
    }

    function testFuzz_only_writers_anchor(address who) public {
        vm.assume(who != WRITER);
        vm.expectRevert(needs(registry.ANCHOR_ROLE(), who));
        vm.prank(who);
        registry.anchor("one", 1, 1, 0);
    }

    function test_nobody_anchors_in_a_pause() public {
        paused(address(registry));
        vm.expectRevert(EnforcedPause.selector);
        write("one", 1, 1, 0);
    }

    function testFuzz_an_item_of_a_pair_is_shown(uint16 kind, bytes32 id, bytes32 itemHash, bytes32 sibling) public {
        bytes32 leaf = registry.leafOf(kind, id, itemHash);
        write(above(leaf, sibling), 2, kind, 0);
        bytes32 root = above(leaf, sibling);

        require_(registry.verify(root, kind, id, itemHash, path(sibling)), "shown");
        unchecked {
            require_(!registry.verify(root, kind + 1, id, itemHash, path(sibling)), "another kind");
        }
        require_(!registry.verify(root, kind, ~id, itemHash, path(sibling)), "another item");
        require_(!registry.verify(root, kind, id, ~itemHash, path(sibling)), "another record");
        require_(!registry.verify(root, kind, id, itemHash, path(~sibling)), "another sibling");
        require_(!registry.verify(root, kind, id, itemHash, new bytes32[](0)), "no proof");
        require_(!registry.verify(~root, kind, id, itemHash, path(sibling)), "no such root");
    }

    function test_a_proof_is_no_longer_than_the_tree_is_high() public {
        bytes32 leaf = registry.leafOf(1, "id", "hash");
        bytes32 root = above(above(leaf, "a"), "b");
        write(root, 2, 1, 0); // the writer states two items, so one sibling must do
        bytes32[] memory proof = new bytes32[](2);
        (proof[0], proof[1]) = ("a", "b");
        require_(!registry.verify(root, 1, "id", "hash", proof), "over-long");
    }

    function test_a_batch_of_one_needs_no_sibling() public {
        bytes32 root = registry.leafOf(1, "id", "hash");
        write(root, 1, 1, 0);
        require_(registry.verify(root, 1, "id", "hash", new bytes32[](0)), "its own root");
    }

    function write(bytes32 root, uint32 count, uint16 kind, uint64 expected) private {
        vm.prank(WRITER);
        registry.anchor(root, count, kind, expected);
    }

    function above(bytes32 one, bytes32 other) private pure returns (bytes32) {
        return one < other ? keccak256(abi.encode(one, other)) : keccak256(abi.encode(other, one));
    }

    function path(bytes32 sibling) private pure returns (bytes32[] memory proof) {
        proof = new bytes32[](1);
        proof[0] = sibling;
    }
}
