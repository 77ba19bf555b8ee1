// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {IAccessControlDefaultAdminRules} from
    "@openzeppelin/contracts/access/extensions/IAccessControlDefaultAdminRules.sol";
import {AnchorRegistry} from "../src/AnchorRegistry.sol";
import {ChargeLedger} from "../src/ChargeLedger.sol";
import {CredentialStatus} from "../src/CredentialStatus.sol";
import {Directory} from "../src/Directory.sol";
import {Guarded} from "../src/Guarded.sol";
import {ModelRegistry} from "../src/ModelRegistry.sol";
import {Base} from "./Base.sol";

/// @dev Every function that changes something, with arguments and callers that come as they come: who
/// lacks the role is refused whatever they send, and a pause stops all that a pause may stop.
contract AccessTest is Base {
    bytes private constant PAUSED = abi.encodeWithSelector(EnforcedPause.selector);

    AnchorRegistry private registry;
    ChargeLedger private ledger;
    CredentialStatus private status;
    ModelRegistry private models;

    function setUp() public {
        registry = new AnchorRegistry(EVERY, BURST);
        registry = AnchorRegistry(cloned(address(registry), registry.ANCHOR_ROLE()));
        ledger = new ChargeLedger(EVERY, BURST);
        ledger = ChargeLedger(cloned(address(ledger), ledger.SEALER_ROLE()));
        status = new CredentialStatus(EVERY, BURST);
        status = CredentialStatus(cloned(address(status), status.ISSUER_ROLE()));
        models = new ModelRegistry(EVERY, BURST);
        models = ModelRegistry(cloned(address(models), models.COORDINATOR_ROLE()));
        grant(address(models), models.TRAINER_ROLE(), WRITER);
        grant(address(models), models.VALIDATOR_ROLE(), WRITER);
    }

    // AnchorRegistry and ChargeLedger.

    function testFuzz_anchor(address who, bytes32 root, uint32 count, uint16 kind, uint64 expected) public {
        bytes memory call = abi.encodeCall(registry.anchor, (root, count, kind, expected));
        onlyTheRole(address(registry), who, registry.ANCHOR_ROLE(), call);
        stopsInAPause(address(registry), call);
    }

    function testFuzz_seal(address who, ChargeLedger.Header calldata header) public {
        bytes memory call = abi.encodeCall(ledger.seal, (header));
        onlyTheRole(address(ledger), who, ledger.SEALER_ROLE(), call);
        stopsInAPause(address(ledger), call);
    }

    // CredentialStatus.

    function testFuzz_revoke(address who, uint256[] calldata indices) public {
        vm.assume(indices.length != 0);
        bytes memory call = abi.encodeCall(status.revoke, (indices));
        onlyTheRole(address(status), who, status.ISSUER_ROLE(), call);
        goesOnInAPause(address(status), call);
        require_(status.isRevoked(WRITER, indices[0]), "revoked");
    }

    function testFuzz_suspend(address who, uint256[] calldata indices) public {
        vm.assume(indices.length != 0);
        bytes memory call = abi.encodeCall(status.suspend, (indices));
        onlyTheRole(address(status), who, status.ISSUER_ROLE(), call);
        goesOnInAPause(address(status), call);
        require_(status.isSuspended(WRITER, indices[0]), "suspended");
    }

    function testFuzz_reinstate(address who, uint256[] calldata indices) public {
        bytes memory call = abi.encodeCall(status.reinstate, (indices));
        onlyTheRole(address(status), who, status.ISSUER_ROLE(), call);
        stopsInAPause(address(status), call);
    }

    function testFuzz_publishListRoot(address who, bytes32 listId, uint64 version, bytes32 root) public {
        bytes memory call = abi.encodeCall(status.publishListRoot, (listId, version, root));
        onlyTheRole(address(status), who, status.ISSUER_ROLE(), call);
        stopsInAPause(address(status), call);
    }

    // ModelRegistry.

    function testFuzz_openRound(address who, bytes32 base, bytes32 set, uint48[4] calldata untils, uint16 quorum)
        public
    {
        bytes memory call = abi.encodeCall(models.openRound, (base, set, untils, quorum, quorum));
        onlyTheRole(address(models), who, models.COORDINATOR_ROLE(), call);
        stopsInAPause(address(models), call);
    }

    function testFuzz_submit(address who, uint64 id, bytes32 commitment) public {
        bytes memory call = abi.encodeCall(models.submit, (id, commitment));
        onlyTheRole(address(models), who, models.TRAINER_ROLE(), call);
        stopsInAPause(address(models), call);
    }

    function testFuzz_open(address who, uint64 id, bytes32 modelHash, bytes32 metrics, bytes32 salt) public {
        bytes memory call = abi.encodeCall(models.open, (id, modelHash, metrics, salt));
        onlyTheRole(address(models), who, models.TRAINER_ROLE(), call);
        stopsInAPause(address(models), call);
    }

    function testFuzz_commitScores(address who, uint64 id, bytes32 commitment) public {
        bytes memory call = abi.encodeCall(models.commitScores, (id, commitment));
        onlyTheRole(address(models), who, models.VALIDATOR_ROLE(), call);
        stopsInAPause(address(models), call);
    }

    function testFuzz_revealScores(address who, uint64 id, bytes calldata scores, bytes32 salt) public {
        bytes memory call = abi.encodeCall(models.revealScores, (id, scores, salt));
        onlyTheRole(address(models), who, models.VALIDATOR_ROLE(), call);
        stopsInAPause(address(models), call);
    }

    function testFuzz_publish(address who, uint64 id, bytes32 modelHash) public {
        bytes memory call = abi.encodeCall(models.publish, (id, modelHash));
        onlyTheRole(address(models), who, models.COORDINATOR_ROLE(), call);
        stopsInAPause(address(models), call);
    }

    /// @dev Anybody may bring what validators signed; without their signatures nothing is recorded.
    function testFuzz_recordVerdict(address who, uint64 id, bytes32 modelHash, uint16 score, bytes calldata signature)
        public
    {
        bytes[] memory signatures = new bytes[](1);
        signatures[0] = signature;
        bytes memory call = abi.encodeCall(
            models.recordVerdict, (id, who, modelHash, score, true, uint64(block.timestamp), signatures)
        );
        vm.prank(WRITER);
        uint64 opened = models.openRound("base", "set", [never(1), never(2), never(3), never(4)], 1, 0);
        refusedSomehow(address(models), who, call);
        require_(!models.isSigned(opened, modelHash), "not recorded");
        stopsInAPause(address(models), call);
    }

    /// @dev Anybody may settle, but only a round that is over.
    function testFuzz_settle(address who, uint64 id) public {
        bytes memory call = abi.encodeCall(models.settle, (id, new ModelRegistry.Ballot[](0)));
        refusedSomehow(address(models), who, call);
        stopsInAPause(address(models), call);
    }

    function testFuzz_chargeSilence(address who, uint64 id, address validator) public {
        bytes memory call = abi.encodeCall(models.chargeSilence, (id, validator));
        refusedSomehow(address(models), who, call);
        stopsInAPause(address(models), call);
    }

    // Guarded and Directory.

    function testFuzz_pause_and_unpause_everywhere(address who) public {
        address[4] memory all = [address(registry), address(ledger), address(status), address(models)];
        vm.assume(who != PAUSER && who != ADMIN);
        for (uint256 i = 0; i < all.length; ++i) {
            bytes memory pausing = abi.encodeCall(Guarded.pause, ());
            onlyTheRole(all[i], who, Guarded(all[i]).PAUSER_ROLE(), pausing);
            paused(all[i]);
            onlyTheRole(all[i], who, bytes32(0), abi.encodeCall(Guarded.unpause, ()));
            require_(Guarded(all[i]).paused(), "still");
        }
    }

    function testFuzz_initialize(address who, address admin, uint48 delay) public {
        address[4] memory all = [address(registry), address(ledger), address(status), address(models)];
        for (uint256 i = 0; i < all.length; ++i) {
            refusedSomehow(all[i], who, abi.encodeCall(Guarded.initialize, (admin, delay)));
            require_(Guarded(all[i]).defaultAdmin() == ADMIN, "the same administrator");
        }
    }

    function testFuzz_enter_and_create(address who, bytes32 name, address admin, uint48 delay, bytes32 salt) public {
        vm.assume(who != address(this));
        address place = address(registry);
        bytes32 role = directory.DEPLOYER_ROLE();
        onlyTheRole(address(directory), who, role, abi.encodeCall(Directory.enter, (name, place)));
        bytes memory creating = abi.encodeCall(Directory.create, (place, name, admin, delay, salt));
        onlyTheRole(address(directory), who, role, creating);
    }

    /// @dev What every contract inherits: only the administrator gives and takes roles and names another.
    function testFuzz_administration_everywhere(address who, bytes32 role, address other, uint48 delay) public {
        address[4] memory all = [address(registry), address(ledger), address(status), address(models)];
        bytes[6] memory calls = [
            abi.encodeCall(IAccessControl.grantRole, (role, other)),
            abi.encodeCall(IAccessControl.revokeRole, (role, other)),
            abi.encodeCall(IAccessControlDefaultAdminRules.beginDefaultAdminTransfer, (other)),
            abi.encodeCall(IAccessControlDefaultAdminRules.cancelDefaultAdminTransfer, ()),
            abi.encodeCall(IAccessControlDefaultAdminRules.changeDefaultAdminDelay, (delay)),
            abi.encodeCall(IAccessControlDefaultAdminRules.rollbackDefaultAdminDelay, ())
        ];
        vm.assume(who != ADMIN && role != 0 && other != who);
        for (uint256 i = 0; i < all.length; ++i) {
            for (uint256 c = 0; c < calls.length; ++c) onlyTheRole(all[i], who, bytes32(0), calls[c]);
            refusedSomehow(
                all[i], who, abi.encodeCall(IAccessControlDefaultAdminRules.acceptDefaultAdminTransfer, ())
            );
            refusedSomehow(all[i], who, abi.encodeCall(IAccessControl.renounceRole, (role, other)));
            require_(Guarded(all[i]).defaultAdmin() == ADMIN, "the same administrator");
        }
    }

    // Helpers.

    function never(uint48 phase) private view returns (uint48) {
        return uint48(block.timestamp) + 1000 * phase;
    }

    function onlyTheRole(address target, address who, bytes32 role, bytes memory call) private {
        vm.assume(who != WRITER);
        vm.prank(who);
        (bool isDone, bytes memory answer) = target.call(call);
        require_(!isDone && keccak256(answer) == keccak256(needs(role, who)), "refused for the role");
    }

    function stopsInAPause(address target, bytes memory call) private {
        paused(target);
        vm.prank(WRITER);
        (bool isDone, bytes memory answer) = target.call(call);
        require_(!isDone && keccak256(answer) == keccak256(PAUSED), "refused for the pause");
    }

    function goesOnInAPause(address target, bytes memory call) private {
        paused(target);
        vm.prank(WRITER);
        (bool isDone,) = target.call(call);
        require_(isDone, "a pause does not stop it");
    }

    function refusedSomehow(address target, address who, bytes memory call) private {
        vm.prank(who);
        (bool isDone,) = target.call(call);
        require_(!isDone, "refused");
    }
}
