// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Directory} from "../src/Directory.sol";
import {Guarded} from "../src/Guarded.sol";

/// @dev The few cheat codes of the test engine that are used here.
interface Vm {
    function addr(uint256 key) external pure returns (address);
    function assume(bool condition) external pure;
    function expectEmit(bool one, bool two, bool three, bool data) external;
    function expectRevert(bytes calldata reason) external;
    function expectRevert(bytes4 reason) external;
    function prank(address caller) external;
    function roll(uint256 blockNumber) external;
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function warp(uint256 timestamp) external;
}

/// @dev Clones with an administrator, and one account for each role.
abstract contract Base {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    bool public constant IS_TEST = true;

    address internal constant ADMIN = address(0xAD);
    address internal constant WRITER = address(0x11);
    address internal constant PAUSER = address(0x22);
    address internal constant STRANGER = address(0x99);
    uint64 internal constant EVERY = 10; // seconds per write
    uint64 internal constant BURST = 50;
    uint48 internal constant DELAY = 1 days;

    Directory internal directory;

    error AccessControlUnauthorizedAccount(address account, bytes32 neededRole);
    error EnforcedPause();

    function cloned(address implementation, bytes32 writerRole) internal returns (address clone) {
        vm.warp(1_800_000_000);
        vm.roll(1000);
        directory = new Directory(DELAY, address(this));
        directory.grantRole(directory.DEPLOYER_ROLE(), address(this));
        clone = directory.create(implementation, "contract", ADMIN, DELAY, "salt");
        grant(clone, Guarded(clone).PAUSER_ROLE(), PAUSER);
        grant(clone, writerRole, WRITER);
    }

    function grant(address target, bytes32 role, address who) internal {
        vm.prank(ADMIN);
        Guarded(target).grantRole(role, who);
    }

    function paused(address target) internal {
        vm.prank(PAUSER);
        Guarded(target).pause();
    }

    function needs(bytes32 role, address who) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(AccessControlUnauthorizedAccount.selector, who, role);
    }

    function require_(bool isSo, string memory what) internal pure {
        require(isSo, what);
    }
}
