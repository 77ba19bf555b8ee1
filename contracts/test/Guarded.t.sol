// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AnchorRegistry} from "../src/AnchorRegistry.sol";
import {Directory} from "../src/Directory.sol";
import {Guarded} from "../src/Guarded.sol";
import {Base} from "./Base.sol";

contract GuardedTest is Base {
    AnchorRegistry private registry;
    AnchorRegistry private implementation;

    error InvalidInitialization();
    error DefaultAdmin();

    function setUp() public {
        implementation = new AnchorRegistry(EVERY, BURST);
        bytes32 role = implementation.ANCHOR_ROLE();
        registry = AnchorRegistry(cloned(address(implementation), role));
    }

    function test_only_clones_are_initialised_and_only_once() public {
        vm.expectRevert(InvalidInitialization.selector);
        implementation.initialize(STRANGER, DELAY);
        vm.expectRevert(InvalidInitialization.selector);
        registry.initialize(STRANGER, DELAY);
        require_(registry.defaultAdmin() == ADMIN, "the administrator");
        require_(registry.defaultAdminDelay() == DELAY, "the delay");
    }

    function test_a_rate_of_nothing_is_refused() public {
        vm.expectRevert(Guarded.NoRate.selector);
        new AnchorRegistry(0, BURST);
        vm.expectRevert(Guarded.NoRate.selector);
        new AnchorRegistry(EVERY, 0);
    }

    function testFuzz_only_the_pauser_pauses(address who) public {
        vm.assume(who != PAUSER);
        vm.expectRevert(needs(registry.PAUSER_ROLE(), who));
        vm.prank(who);
        registry.pause();
    }

    function testFuzz_only_the_administrator_goes_on(address who) public {
        vm.assume(who != ADMIN);
        paused(address(registry));
        vm.expectRevert(needs(bytes32(0), who));
        vm.prank(who);
        registry.unpause();
        vm.prank(ADMIN);
        registry.unpause();
        require_(!registry.paused(), "goes on");
    }

    function test_a_new_administrator_waits() public {
        vm.prank(ADMIN);
        registry.beginDefaultAdminTransfer(STRANGER);
        vm.prank(STRANGER);
        (bool isEarly,) = address(registry).call(abi.encodeCall(registry.acceptDefaultAdminTransfer, ()));
        require_(!isEarly, "not at once");
        vm.warp(block.timestamp + DELAY + 1);
        vm.prank(STRANGER);
        registry.acceptDefaultAdminTransfer();
        require_(registry.defaultAdmin() == STRANGER, "after the delay");
    }

    function test_a_burst_then_the_rate() public {
        for (uint64 i = 0; i < BURST; ++i) {
            require_(registry.writesLeft(WRITER) == BURST - i, "left");
            anchorNext();
        }
        require_(registry.writesLeft(WRITER) == 0, "none left");
        uint256 until = block.timestamp + EVERY;
        vm.expectRevert(abi.encodeWithSelector(Guarded.TooManyWrites.selector, WRITER, until));
        vm.prank(WRITER);
        registry.anchor("one more", 1, 1, BURST);
        vm.warp(until - 1);
        require_(registry.writesLeft(WRITER) == 0, "not yet");
        vm.warp(until);
        require_(registry.writesLeft(WRITER) == 1, "one");
        anchorNext();
        vm.warp(until + uint256(BURST) * EVERY);
        require_(registry.writesLeft(WRITER) == BURST, "a quiet writer has its burst again");
    }

    function testFuzz_never_more_than_burst_and_rate(uint16[40] calldata waits) public {
        uint256 started = block.timestamp;
        uint256 written = 0;
        for (uint256 i = 0; i < waits.length; ++i) {
            vm.warp(block.timestamp + (waits[i] % 30));
            for (uint256 n = 0; n < 10 && registry.writesLeft(WRITER) != 0; ++n) {
                anchorNext();
                ++written;
            }
        }
        require_(written <= BURST + (block.timestamp - started) / EVERY, "bounded");
    }

    function anchorNext() private {
        uint64 sequence = registry.sequence();
        vm.prank(WRITER);
        registry.anchor(keccak256(abi.encode(sequence)), 1, 1, sequence);
    }
}

contract DirectoryTest is Base {
    AnchorRegistry private implementation;

    function setUp() public {
        implementation = new AnchorRegistry(EVERY, BURST);
        cloned(address(implementation), implementation.ANCHOR_ROLE());
    }

    function test_versions_follow_each_other() public {
        address first = directory.entryOf("contract", 1);
        address second = directory.create(address(implementation), "contract", ADMIN, DELAY, "other");
        require_(directory.latest("contract") == 2, "the newest");
        require_(directory.entryOf("contract", 2) == second && first != second, "both are kept");
        directory.enter("implementation", address(implementation));
        require_(directory.entryOf("implementation", 1) == address(implementation), "entered");
    }

    function testFuzz_an_address_depends_on_who_creates(address other, bytes32 salt) public {
        vm.assume(other != address(this) && salt != "salt");
        address mine = directory.addressOf(address(implementation), address(this), salt);
        require_(mine != directory.addressOf(address(implementation), other, salt), "not another's");
        require_(directory.create(address(implementation), "x", ADMIN, DELAY, salt) == mine, "as said");
    }

    function test_what_has_no_code_is_refused() public {
        bytes memory reason = abi.encodeWithSelector(Directory.NoCode.selector, STRANGER);
        vm.expectRevert(reason);
        directory.enter("nothing", STRANGER);
        vm.expectRevert(reason);
        directory.create(STRANGER, "nothing", ADMIN, DELAY, "salt");
    }

    function testFuzz_only_deployers_enter_and_create(address who) public {
        vm.assume(who != address(this));
        bytes32 role = directory.DEPLOYER_ROLE();
        vm.expectRevert(needs(role, who));
        vm.prank(who);
        directory.enter("contract", address(implementation));
        vm.expectRevert(needs(role, who));
        vm.prank(who);
        directory.create(address(implementation), "contract", who, DELAY, "salt");
    }
}
