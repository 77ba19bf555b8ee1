// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AnchorRegistry} from "../src/AnchorRegistry.sol";
import {ChargeLedger} from "../src/ChargeLedger.sol";
import {CredentialStatus} from "../src/CredentialStatus.sol";
import {ModelRegistry} from "../src/ModelRegistry.sol";
import {Base, Vm} from "./Base.sol";

/// @dev Does whatever comes to it, in any order, and remembers what must hold afterwards.
contract Handler is Base {
    AnchorRegistry public immutable registry;
    ChargeLedger public immutable ledger;
    CredentialStatus public immutable status;
    ModelRegistry public immutable models;

    bytes32[] public roots;
    mapping(bytes32 root => bytes32 known) public known;
    uint256[] public revoked;
    bytes32[] public headers;
    uint64 public settled;
    bool public hadTooManyWrites;
    bool public hadTwoRounds;
    uint256 private started = 1_800_000_000;
    uint256 public writes;

    constructor(AnchorRegistry registry_, ChargeLedger ledger_, CredentialStatus status_, ModelRegistry models_) {
        (registry, ledger, status, models) = (registry_, ledger_, status_, models_);
    }

    function anchor(bytes32 root, uint32 count, uint16 kind, uint64 expected, bool isRight) external {
        if (isRight) expected = registry.sequence();
        vm.prank(WRITER);
        (bool isDone,) = address(registry).call(abi.encodeCall(registry.anchor, (root, count, kind, expected)));
        if (!isDone) return;
        roots.push(root);
        known[root] = keccak256(abi.encode(registry.anchorOf(root)));
        ++writes;
        if (writes > BURST + (block.timestamp - started) / EVERY) hadTooManyWrites = true;
    }

    function seal(ChargeLedger.Header memory header, bool isRight) external {
        if (isRight) {
            (header.number, header.previousHash) = (ledger.height() + 1, ledger.headHash());
            if (header.toAt < header.fromAt) (header.fromAt, header.toAt) = (header.toAt, header.fromAt);
        }
        vm.prank(WRITER);
        (bool isDone,) = address(ledger).call(abi.encodeCall(ledger.seal, (header)));
        if (isDone) headers.push(ledger.hashOf(header));
    }

    function revoke(uint16 index) external {
        vm.prank(WRITER);
        status.revoke(list(index));
        revoked.push(index);
    }

    function suspend(uint16 index, bool isLifted) external {
        vm.prank(WRITER);
        bytes memory call = isLifted
            ? abi.encodeCall(status.reinstate, (list(index)))
            : abi.encodeCall(status.suspend, (list(index)));
        (bool isDone,) = address(status).call(call);
        isDone;
    }

    function openAgain(uint8 former, uint48 hours_) external {
        uint48 now_ = uint48(block.timestamp) + hours_ % 1000;
        bytes memory call = abi.encodeCall(
            models.openRound,
            ("base", bytes32(1 + uint256(former)), [now_ + 1, now_ + 2, now_ + 3, now_ + 4], 1, 0)
        );
        uint64 before = models.rounds();
        if (models.roundFor(bytes32(1 + uint256(former))) == 0) return;
        vm.prank(WRITER);
        (bool isDone,) = address(models).call(call);
        if (isDone || models.rounds() != before) hadTwoRounds = true;
    }

    function scoreARound(uint16 score, uint8 quorum, bool isRevealed) external {
        uint48 now_ = uint48(block.timestamp);
        uint48[4] memory untils = [now_ + 10, now_ + 20, now_ + 30, now_ + 40];
        bytes32 commitment = bytes32(1 + uint256(models.rounds()));
        vm.prank(WRITER);
        uint64 id = models.openRound("base", commitment, untils, 1 + (quorum % 2), 5000);
        bytes32 salt = bytes32(uint256(id));
        vm.prank(WRITER);
        models.submit(id, keccak256(abi.encode(id, WRITER, salt, salt, salt)));
        vm.warp(untils[0]);
        vm.prank(WRITER);
        models.open(id, salt, salt, salt);
        vm.warp(untils[1]);
        bytes memory scores = abi.encodePacked(score % 10_001);
        vm.prank(PAUSER);
        models.commitScores(id, keccak256(abi.encode(id, PAUSER, scores, salt)));
        vm.warp(untils[2]);
        ModelRegistry.Ballot[] memory ballots = new ModelRegistry.Ballot[](isRevealed ? 1 : 0);
        if (isRevealed) {
            vm.prank(PAUSER);
            models.revealScores(id, scores, salt);
            ballots[0] = ModelRegistry.Ballot(PAUSER, scores, salt);
        }
        vm.warp(untils[3]);
        models.settle(id, ballots);
        if (!isRevealed) models.chargeSilence(id, PAUSER);
        settled = id;
    }

    function pauseOrGoOn(bool isPause) external {
        address[2] memory targets = [address(registry), address(status)];
        for (uint256 i = 0; i < 2; ++i) {
            vm.prank(isPause ? PAUSER : ADMIN);
            (bool isDone,) = targets[i].call(abi.encodeWithSignature(isPause ? "pause()" : "unpause()"));
            isDone;
        }
    }

    function wait(uint16 seconds_) external {
        vm.warp(block.timestamp + seconds_ % 100);
        vm.roll(block.number + 1);
    }

    function counts() external view returns (uint256, uint256, uint256) {
        return (roots.length, revoked.length, headers.length);
    }

    function list(uint256 index) private pure returns (uint256[] memory indices) {
        indices = new uint256[](1);
        indices[0] = index;
    }
}

contract InvariantTest is Base {
    Handler private handler;
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
        models = new ModelRegistry(1, 1000);
        models = ModelRegistry(cloned(address(models), models.COORDINATOR_ROLE()));
        grant(address(models), models.TRAINER_ROLE(), WRITER);
        grant(address(models), models.VALIDATOR_ROLE(), PAUSER);
        handler = new Handler(registry, ledger, status, models);
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function invariant_the_sequence_is_the_number_of_roots() external view {
        (uint256 roots,,) = handler.counts();
        require_(registry.sequence() == roots, "sequence");
    }

    function invariant_a_root_is_unique_and_never_changes() external view {
        (uint256 roots,,) = handler.counts();
        for (uint256 i = 0; i < roots; ++i) {
            bytes32 root = handler.roots(i);
            AnchorRegistry.Anchor memory anchor = registry.anchorOf(root);
            require_(anchor.sequence == i + 1 && anchor.count != 0, "in order");
            require_(keccak256(abi.encode(anchor)) == handler.known(root), "as it was written");
        }
    }

    function invariant_nothing_is_un_revoked() external view {
        (, uint256 revoked,) = handler.counts();
        for (uint256 i = 0; i < revoked; ++i) {
            require_(status.isRevoked(WRITER, handler.revoked(i)), "revoked for ever");
        }
    }

    function invariant_the_ledger_is_unbroken() external view {
        (,, uint256 headers) = handler.counts();
        require_(ledger.height() == headers, "height");
        for (uint256 i = 0; i < headers; ++i) {
            require_(ledger.blockHash(uint64(i + 1)) == handler.headers(i), "every block");
        }
    }

    function invariant_a_verdict_has_its_quorum() external view {
        for (uint64 id = 1; id <= handler.settled(); ++id) {
            ModelRegistry.Submission memory one = models.submissionOf(id, 0);
            ModelRegistry.Round memory round = models.roundOf(id);
            bool isJudged =
                one.status == ModelRegistry.Status.Accepted || one.status == ModelRegistry.Status.Rejected;
            require_(isJudged == (one.voters >= round.quorum), "quorum");
            require_((one.status == ModelRegistry.Status.Accepted) == (round.acceptedHash != 0), "accepted");
        }
    }

    function invariant_writers_keep_to_their_rate() external view {
        require_(!handler.hadTooManyWrites(), "rate");
        require_(registry.writesLeft(WRITER) <= BURST, "burst");
    }

    function invariant_a_commitment_has_one_round() external view {
        require_(!handler.hadTwoRounds(), "one round");
        for (uint64 id = 1; id <= models.rounds(); ++id) {
            require_(models.roundFor(models.roundOf(id).evaluationCommitment) == id, "its own");
        }
    }

    function invariant_reputation_is_bounded() external view {
        require_(models.reputation(WRITER) <= 100 && models.reputation(PAUSER) <= 100, "bounded");
    }
}
