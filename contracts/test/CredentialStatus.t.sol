// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {CredentialStatus} from "../src/CredentialStatus.sol";
import {Base} from "./Base.sol";

contract CredentialStatusTest is Base {
    CredentialStatus private status;
    address private constant OTHER = address(0x12);

    function setUp() public {
        CredentialStatus implementation = new CredentialStatus(EVERY, BURST);
        bytes32 role = implementation.ISSUER_ROLE();
        status = CredentialStatus(cloned(address(implementation), role));
        grant(address(status), role, OTHER);
    }

    function testFuzz_what_is_revoked_stays_revoked(uint256[] calldata indices) public {
        vm.assume(indices.length != 0);
        vm.prank(WRITER);
        status.revoke(indices);
        vm.prank(WRITER);
        status.revoke(indices);
        for (uint256 i = 0; i < indices.length; ++i) {
            require_(status.isRevoked(WRITER, indices[i]), "revoked");
            require_(!status.isRevoked(OTHER, indices[i]), "not for another issuer");
        }
    }

    function testFuzz_neighbours_are_untouched(uint256 index) public {
        vm.assume(index != 0 && index != type(uint256).max);
        vm.prank(WRITER);
        status.revoke(one(index));
        require_(!status.isRevoked(WRITER, index - 1) && !status.isRevoked(WRITER, index + 1), "alone");
    }

    function test_an_event_names_what_was_not_revoked_before() public {
        uint256[] memory both = new uint256[](2);
        (both[0], both[1]) = (256, 258);
        vm.prank(WRITER);
        status.revoke(one(256));
        vm.expectEmit(true, true, true, true);
        emit CredentialStatus.Revoked(WRITER, 1, 4);
        vm.prank(WRITER);
        status.revoke(both);
    }

    function testFuzz_a_suspension_ends(uint256 index) public {
        vm.prank(WRITER);
        status.suspend(one(index));
        require_(status.isSuspended(WRITER, index) && !status.isRevoked(WRITER, index), "suspended");
        vm.prank(WRITER);
        status.suspend(one(index));
        vm.prank(WRITER);
        status.reinstate(one(index));
        require_(!status.isSuspended(WRITER, index), "reinstated");
        vm.prank(WRITER);
        status.reinstate(one(index));
        require_(!status.isSuspended(WRITER, index), "twice changes nothing");
    }

    function test_a_pause_keeps_nobody_from_revoking_and_suspending() public {
        paused(address(status));
        vm.prank(WRITER);
        status.revoke(one(5));
        vm.prank(WRITER);
        status.suspend(one(6));
        require_(status.isRevoked(WRITER, 5) && status.isSuspended(WRITER, 6), "done");
        vm.expectRevert(EnforcedPause.selector);
        vm.prank(WRITER);
        status.reinstate(one(6));
        vm.expectRevert(EnforcedPause.selector);
        vm.prank(WRITER);
        status.publishListRoot("list", 1, "root");
    }

    function testFuzz_only_issuers_speak(address who) public {
        vm.assume(who != WRITER && who != OTHER);
        bytes memory reason = needs(status.ISSUER_ROLE(), who);
        vm.expectRevert(reason);
        vm.prank(who);
        status.revoke(one(1));
        vm.expectRevert(reason);
        vm.prank(who);
        status.suspend(one(1));
        vm.expectRevert(reason);
        vm.prank(who);
        status.reinstate(one(1));
        vm.expectRevert(reason);
        vm.prank(who);
        status.publishListRoot("list", 1, "root");
    }

    function testFuzz_versions_of_a_list_follow_each_other(uint64 version) public {
        vm.assume(version != 2);
        vm.expectEmit(true, true, true, true);
        emit CredentialStatus.ListPublished(WRITER, "list", 1, "root");
        vm.prank(WRITER);
        status.publishListRoot("list", 1, "root");
        vm.expectRevert(abi.encodeWithSelector(CredentialStatus.UnexpectedVersion.selector, version, 1));
        vm.prank(WRITER);
        status.publishListRoot("list", version, "other");
        CredentialStatus.StatusList memory list = status.listOf(WRITER, "list");
        require_(list.version == 1 && list.root == "root", "kept");
        require_(status.listOf(OTHER, "list").version == 0, "not for another issuer");
    }

    function test_nothing_named_is_refused() public {
        uint256[] memory none = new uint256[](0);
        vm.expectRevert(CredentialStatus.NothingNamed.selector);
        vm.prank(WRITER);
        status.revoke(none);
        vm.expectRevert(CredentialStatus.NothingNamed.selector);
        vm.prank(WRITER);
        status.suspend(none);
        vm.expectRevert(CredentialStatus.NothingNamed.selector);
        vm.prank(WRITER);
        status.publishListRoot("list", 1, 0);
    }

    function one(uint256 index) private pure returns (uint256[] memory indices) {
        indices = new uint256[](1);
        indices[0] = index;
    }
}
