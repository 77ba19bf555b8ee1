// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ModelRegistry} from "../src/ModelRegistry.sol";
import {Base} from "./Base.sol";

contract ModelRegistryTest is Base {
    uint16 private constant ABSTAIN = type(uint16).max;
    uint256 private constant KEYS = 5;

    ModelRegistry private registry;
    address[KEYS] private trainers;
    address[KEYS] private validators; // ascending, as a quorum needs them
    uint256[KEYS] private keys;
    uint48[4] private untils;
    ModelRegistry.Ballot[] private revealed;

    error ECDSAInvalidSignatureS(bytes32 s);

    function setUp() public {
        ModelRegistry implementation = new ModelRegistry(EVERY, BURST);
        registry = ModelRegistry(cloned(address(implementation), implementation.COORDINATOR_ROLE()));
        for (uint256 i = 0; i < KEYS; ++i) {
            trainers[i] = address(uint160(0x1000 + i));
            grant(address(registry), registry.TRAINER_ROLE(), trainers[i]);
            insertKey(i, 0xA11CE + i);
        }
        for (uint256 i = 0; i < KEYS; ++i) {
            validators[i] = vm.addr(keys[i]);
            grant(address(registry), registry.VALIDATOR_ROLE(), validators[i]);
        }
        uint48 now_ = uint48(block.timestamp);
        untils = [now_ + 100, now_ + 200, now_ + 300, now_ + 400];
    }

    // The commit and reveal way, from end to end.

    function test_a_round_from_end_to_end() public {
        uint64 id = opened(3, 5000);
        submitAll(id, 3);
        commitAll(id, [uint16(9000), 4000, 7000], 5);
        revealAll(id, [uint16(9000), 4000, 7000], 5);
        vm.warp(untils[3]);
        ModelRegistry.Ballot[] memory all = ballots();
        vm.prank(STRANGER);
        registry.settle(id, all);

        statusIs(id, 0, ModelRegistry.Status.Accepted, 9000, 5);
        statusIs(id, 1, ModelRegistry.Status.Rejected, 4000, 5);
        statusIs(id, 2, ModelRegistry.Status.Accepted, 7000, 5);
        bytes32 chain = keccak256(abi.encode(bytes32(0), uint256(0), model(0)));
        chain = keccak256(abi.encode(chain, uint256(2), model(2)));
        require_(registry.roundOf(id).acceptedHash == chain, "over the accepted only");
        require_(registry.reputation(trainers[0]) == 51 && registry.reputation(trainers[1]) == 49, "standing");
        require_(registry.reputation(validators[0]) == 0, "a validator who revealed is not touched");

        vm.prank(WRITER);
        registry.publish(id, "global");
        require_(registry.roundOf(id).globalModel == "global", "published");
        wrongPhase(id, WRITER, abi.encodeCall(registry.publish, (id, "again")));
        wrongPhase(id, STRANGER, abi.encodeCall(registry.settle, (id, ballots())));
    }

    function testFuzz_the_verdict_is_the_lower_median(uint16[5] memory scores, uint8 count) public {
        uint256 voters = 1 + (uint256(count) % KEYS);
        uint64 id = opened(1, 5000);
        submitAll(id, 1);
        for (uint256 v = 0; v < voters; ++v) {
            scores[v] %= 10_001;
            commit(id, v, list(scores[v]));
        }
        vm.warp(untils[2]);
        for (uint256 v = 0; v < voters; ++v) {
            reveal(id, v, list(scores[v]));
        }
        vm.warp(untils[3]);
        settle(id);

        uint16 median = registry.submissionOf(id, 0).score;
        uint256 below = 0;
        uint256 atMost = 0;
        for (uint256 v = 0; v < voters; ++v) {
            if (scores[v] < median) ++below;
            if (scores[v] <= median) ++atMost;
        }
        require_(below <= (voters - 1) / 2 && atMost > (voters - 1) / 2, "lower median");
        bool isAccepted = registry.submissionOf(id, 0).status == ModelRegistry.Status.Accepted;
        require_(isAccepted == (median >= 5000), "accepted by it");
    }

    function test_too_few_scores_are_no_quorum_and_no_penalty() public {
        uint64 id = opened(3, 5000);
        submitAll(id, 1);
        for (uint256 v = 0; v < 4; ++v) commit(id, v, list(v < 2 ? 9000 : ABSTAIN));
        vm.warp(untils[2]);
        for (uint256 v = 0; v < 4; ++v) reveal(id, v, list(v < 2 ? 9000 : ABSTAIN));
        vm.warp(untils[3]);
        settle(id);
        statusIs(id, 0, ModelRegistry.Status.NoQuorum, 9000, 2);
        require_(registry.reputation(trainers[0]) == 50, "no penalty");
        wrongPhase(id, WRITER, abi.encodeCall(registry.publish, (id, "nothing accepted")));
    }

    function test_a_round_without_scores_settles() public {
        uint64 id = opened(1, 5000);
        submitAll(id, 1);
        vm.warp(untils[3]);
        settle(id);
        statusIs(id, 0, ModelRegistry.Status.NoQuorum, 0, 0);
    }

    function test_who_does_not_reveal_loses_standing() public {
        uint64 id = opened(1, 0);
        submitAll(id, 1);
        commit(id, 0, list(9000));
        commit(id, 1, list(9000));
        vm.warp(untils[2]);
        reveal(id, 0, list(9000));
        vm.warp(untils[3]);
        settle(id);
        registry.chargeSilence(id, validators[1]);
        require_(registry.reputation(validators[1]) == 49, "silent");
        fails(STRANGER, abi.encodeCall(registry.chargeSilence, (id, validators[0])), notCommittedBy(0));
        fails(STRANGER, abi.encodeCall(registry.chargeSilence, (id, validators[1])), notCommittedBy(1));
        fails(STRANGER, abi.encodeCall(registry.chargeSilence, (id, validators[2])), notCommittedBy(2));
    }

    function test_nobody_is_charged_before_the_round_is_settled() public {
        uint64 id = opened(1, 0);
        submitAll(id, 1);
        commit(id, 0, list(9000));
        vm.warp(untils[3]);
        wrongPhase(id, STRANGER, abi.encodeCall(registry.chargeSilence, (id, validators[0])));
    }

    function test_a_round_is_settled_with_all_its_ballots_and_no_others() public {
        uint64 id = opened(1, 5000);
        submitAll(id, 1);
        for (uint256 v = 0; v < 3; ++v) commit(id, v, list(9000));
        vm.warp(untils[2]);
        for (uint256 v = 0; v < 2; ++v) reveal(id, v, list(9000));
        vm.warp(untils[3]);
        ModelRegistry.Ballot[] memory all = ballots();
        ModelRegistry.Ballot[] memory one = new ModelRegistry.Ballot[](1);
        one[0] = all[0];
        badBallots(id, one);
        (all[0], all[1]) = (all[1], all[0]);
        badBallots(id, all);
        (all[0], all[1]) = (all[1], all[1]);
        badBallots(id, all);
        all = ballots();
        all[1].scores = list(1);
        badBallots(id, all);
        all = ballots();
        all[1] = ModelRegistry.Ballot(validators[2], list(9000), "salt"); // committed, not revealed
        badBallots(id, all);
        settle(id);
        statusIs(id, 0, ModelRegistry.Status.Accepted, 9000, 2);
    }

    function badBallots(uint64 id, ModelRegistry.Ballot[] memory all) private {
        bytes memory reason = abi.encodeWithSelector(ModelRegistry.BadBallots.selector);
        fails(STRANGER, abi.encodeCall(registry.settle, (id, all)), reason);
    }

    function notCommittedBy(uint256 v) private view returns (bytes memory) {
        return abi.encodeWithSelector(ModelRegistry.NotCommitted.selector, validators[v]);
    }

    function test_reputation_stays_within_its_bounds() public {
        for (uint256 round = 0; round < 55; ++round) {
            untils = later();
            uint64 id = opened(1, 5000);
            submitAll(id, 2);
            commitPair(id, 0);
            vm.warp(untils[3]);
            settle(id);
        }
        require_(registry.reputation(trainers[0]) == 100, "at most 100");
        require_(registry.reputation(trainers[1]) == 1, "at least 1");
    }

    // What is refused.

    function test_nobody_copies_a_model() public {
        uint64 id = opened(1, 0);
        submit(id, 0, commitmentOf(id, trainers[0], "model"));
        submit(id, 1, commitmentOf(id, trainers[0], "model")); // a copied commitment
        submit(id, 2, commitmentOf(id, trainers[2], "model")); // a guessed model
        vm.warp(untils[0]);
        vm.prank(trainers[0]);
        registry.open(id, "model", "metrics", "salt");
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.NotCommitted.selector, trainers[1]));
        vm.prank(trainers[1]);
        registry.open(id, "model", "metrics", "salt");
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.TakenModel.selector, bytes32("model")));
        vm.prank(trainers[2]);
        registry.open(id, "model", "metrics", "salt");
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.NotCommitted.selector, trainers[0]));
        vm.prank(trainers[0]);
        registry.open(id, "model", "metrics", "salt"); // opened once
    }

    function test_one_submission_each() public {
        uint64 id = opened(1, 0);
        submit(id, 0, "one");
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.Again.selector, trainers[0]));
        submit(id, 0, "two");
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.NotCommitted.selector, trainers[1]));
        submit(id, 1, 0);
    }

    function test_a_model_has_a_hash() public {
        uint64 id = opened(1, 0);
        submit(id, 0, commitmentOf(id, trainers[0], 0));
        vm.warp(untils[0]);
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.NotCommitted.selector, trainers[0]));
        vm.prank(trainers[0]);
        registry.open(id, 0, "metrics", "salt");
    }

    function test_one_commitment_and_one_reveal_per_validator() public {
        uint64 id = opened(1, 0);
        submitAll(id, 1);
        commit(id, 0, list(1));
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.Again.selector, validators[0]));
        vm.prank(validators[0]);
        registry.commitScores(id, "another");
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.NotCommitted.selector, validators[1]));
        vm.prank(validators[1]);
        registry.commitScores(id, 0);
        vm.warp(untils[2]);
        notCommitted(id, 0, list(2)); // not what was committed to
        notCommitted(id, 1, list(1)); // another's
        reveal(id, 0, list(1));
        notCommitted(id, 0, list(1)); // once
    }

    function test_nobody_scores_their_own_model() public {
        grant(address(registry), registry.TRAINER_ROLE(), validators[0]);
        uint64 id = opened(1, 0);
        vm.prank(validators[0]);
        registry.submit(id, commitmentOf(id, validators[0], "mine"));
        vm.warp(untils[0]);
        vm.prank(validators[0]);
        registry.open(id, "mine", "metrics", "salt");
        vm.warp(untils[1]);
        commit(id, 0, list(10_000));
        vm.warp(untils[2]);
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.OwnModel.selector, 0));
        vm.prank(validators[0]);
        registry.revealScores(id, list(10_000), "salt");
    }

    function test_one_may_abstain_on_their_own_model() public {
        grant(address(registry), registry.TRAINER_ROLE(), validators[0]);
        uint64 id = opened(1, 0);
        vm.prank(validators[0]);
        registry.submit(id, commitmentOf(id, validators[0], "mine"));
        vm.warp(untils[0]);
        vm.prank(validators[0]);
        registry.open(id, "mine", "metrics", "salt");
        vm.warp(untils[1]);
        commit(id, 0, list(ABSTAIN));
        vm.warp(untils[2]);
        reveal(id, 0, list(ABSTAIN));
        vm.warp(untils[3]);
        settle(id);
        statusIs(id, 0, ModelRegistry.Status.NoQuorum, 0, 0);
    }

    function testFuzz_scores_fit_the_submissions(uint16 score) public {
        vm.assume(score > 10_000 && score != ABSTAIN);
        uint64 id = opened(1, 0);
        submitAll(id, 1);
        commit(id, 0, list(score));
        commit(id, 1, new bytes(4));
        vm.warp(untils[2]);
        vm.expectRevert(ModelRegistry.BadScores.selector);
        vm.prank(validators[0]);
        registry.revealScores(id, list(score), "salt");
        vm.expectRevert(ModelRegistry.BadScores.selector);
        vm.prank(validators[1]);
        registry.revealScores(id, new bytes(4), "salt");
    }

    function test_everything_has_its_phase() public {
        uint64 id = opened(1, 0);
        bytes memory opening = abi.encodeCall(registry.open, (id, "m", "m", "s"));
        bytes memory scoring = abi.encodeCall(registry.commitScores, (id, "s"));
        bytes memory revealing = abi.encodeCall(registry.revealScores, (id, list(1), "s"));
        bytes memory settling = abi.encodeCall(registry.settle, (id, ballots()));
        bytes memory submitting = abi.encodeCall(registry.submit, (id, "c"));
        wrongPhase(id, trainers[0], opening);
        wrongPhase(id, validators[0], scoring);
        wrongPhase(id, validators[0], revealing);
        wrongPhase(id, STRANGER, settling);
        wrongPhase(id, WRITER, abi.encodeCall(registry.publish, (id, "g")));
        vm.warp(untils[0]);
        wrongPhase(id, trainers[0], submitting);
        vm.warp(untils[1]);
        wrongPhase(id, trainers[0], opening);
        vm.warp(untils[2]);
        wrongPhase(id, validators[0], scoring);
        vm.warp(untils[3]);
        wrongPhase(id, validators[0], revealing);
        wrongPhase(9, trainers[0], abi.encodeCall(registry.submit, (9, "c")));
    }

    function test_a_round_makes_sense() public {
        uint48 now_ = uint48(block.timestamp);
        badRound([now_, now_ + 2, now_ + 3, now_ + 4], 1, 0);
        badRound([now_ + 2, now_ + 2, now_ + 3, now_ + 4], 1, 0);
        badRound([now_ + 1, now_ + 3, now_ + 3, now_ + 4], 1, 0);
        badRound([now_ + 1, now_ + 2, now_ + 4, now_ + 4], 1, 0);
        badRound(untils, 0, 0);
        badRound(untils, 33, 0);
        badRound(untils, 1, 10_001);
        fails(
            WRITER,
            abi.encodeCall(registry.openRound, ("base", 0, untils, 1, 0)),
            abi.encodeWithSelector(ModelRegistry.BadRound.selector)
        );
    }

    function testFuzz_a_commitment_opens_one_round(bytes32 base, bytes32 commitment) public {
        vm.assume(commitment != 0);
        vm.prank(WRITER);
        uint64 id = registry.openRound(base, commitment, untils, 1, 0);
        require_(registry.roundFor(commitment) == id, "found again");
        fails(
            WRITER,
            abi.encodeCall(registry.openRound, ("other", commitment, untils, 2, 5)),
            abi.encodeWithSelector(ModelRegistry.KnownRound.selector, id)
        );
        require_(registry.rounds() == id, "none opened");
    }

    function test_a_round_holds_256_models_and_32_validators() public {
        uint64 id = opened(1, 0);
        for (uint256 i = 0; i <= 256; ++i) {
            address trainer = address(uint160(0x20000 + i));
            grant(address(registry), registry.TRAINER_ROLE(), trainer);
            vm.prank(trainer);
            registry.submit(id, commitmentOf(id, trainer, bytes32(i + 1)));
        }
        vm.warp(untils[0]);
        for (uint256 i = 0; i <= 256; ++i) {
            if (i == 256) vm.expectRevert(ModelRegistry.Full.selector);
            vm.prank(address(uint160(0x20000 + i)));
            registry.open(id, bytes32(i + 1), "metrics", "salt");
        }
        require_(registry.submissionCount(id) == 256, "full");
        vm.warp(untils[1]);
        for (uint256 v = 0; v <= 32; ++v) {
            address validator = address(uint160(0x30000 + v));
            grant(address(registry), registry.VALIDATOR_ROLE(), validator);
            if (v == 32) vm.expectRevert(ModelRegistry.Full.selector);
            vm.prank(validator);
            registry.commitScores(id, "scores");
        }
    }

    function testFuzz_every_role_is_needed(address who) public {
        vm.assume(who != WRITER);
        for (uint256 i = 0; i < KEYS; ++i) vm.assume(who != trainers[i] && who != validators[i]);
        uint64 id = opened(1, 0);
        refused(who, registry.COORDINATOR_ROLE(), abi.encodeCall(registry.openRound, ("b", "e", untils, 1, 0)));
        refused(who, registry.COORDINATOR_ROLE(), abi.encodeCall(registry.publish, (id, "g")));
        refused(who, registry.TRAINER_ROLE(), abi.encodeCall(registry.submit, (id, "c")));
        refused(who, registry.TRAINER_ROLE(), abi.encodeCall(registry.open, (id, "m", "m", "s")));
        refused(who, registry.VALIDATOR_ROLE(), abi.encodeCall(registry.commitScores, (id, "s")));
        refused(who, registry.VALIDATOR_ROLE(), abi.encodeCall(registry.revealScores, (id, list(1), "s")));
    }

    function test_nothing_goes_on_in_a_pause() public {
        uint64 id = opened(1, 0);
        paused(address(registry));
        bytes memory reason = abi.encodeWithSelector(EnforcedPause.selector);
        fails(WRITER, abi.encodeCall(registry.openRound, ("b", "e", untils, 1, 0)), reason);
        fails(WRITER, abi.encodeCall(registry.publish, (id, "g")), reason);
        fails(trainers[0], abi.encodeCall(registry.submit, (id, "c")), reason);
        fails(trainers[0], abi.encodeCall(registry.open, (id, "m", "m", "s")), reason);
        fails(validators[0], abi.encodeCall(registry.commitScores, (id, "s")), reason);
        fails(validators[0], abi.encodeCall(registry.revealScores, (id, list(1), "s")), reason);
        fails(STRANGER, abi.encodeCall(registry.settle, (id, ballots())), reason);
        fails(STRANGER, abi.encodeCall(registry.chargeSilence, (id, validators[0])), reason);
        fails(STRANGER, verdictCall(id, trainers[0], 9000, signatures(id, trainers[0], 9000, 3)), reason);
    }

    // The quorum way.

    function test_a_signed_verdict_is_recorded_once() public {
        uint64 id = opened(3, 0);
        bytes memory call = verdictCall(id, trainers[0], 9000, signatures(id, trainers[0], 9000, 3));
        require_(!registry.isSigned(id, "model"), "not yet");
        vm.expectEmit(true, true, true, true);
        emit ModelRegistry.Verdict(id, trainers[0], "model", 9000, 3, ModelRegistry.Status.Accepted);
        succeeds(STRANGER, call);
        require_(registry.isSigned(id, "model"), "recorded");
        fails(STRANGER, call, abi.encodeWithSelector(ModelRegistry.TakenModel.selector, bytes32("model")));
    }

    function test_a_rejection_is_signed_too() public {
        uint64 id = opened(1, 0);
        uint64 until = uint64(block.timestamp + 60);
        bytes[] memory signed = new bytes[](1);
        signed[0] = signature(0, digest(id, trainers[0], 10, false, until));
        vm.expectEmit(true, true, true, true);
        emit ModelRegistry.Verdict(id, trainers[0], "model", 10, 1, ModelRegistry.Status.Rejected);
        registry.recordVerdict(id, trainers[0], "model", 10, false, until, signed);
    }

    function test_a_quorum_is_of_distinct_validators() public {
        uint64 id = opened(3, 0);
        bytes memory bad = abi.encodeWithSelector(ModelRegistry.BadQuorum.selector);
        fails(STRANGER, verdictCall(id, trainers[0], 9000, signatures(id, trainers[0], 9000, 2)), bad);
        bytes[] memory doubled = signatures(id, trainers[0], 9000, 3);
        doubled[1] = doubled[0];
        fails(STRANGER, verdictCall(id, trainers[0], 9000, doubled), bad);
        bytes[] memory turned = signatures(id, trainers[0], 9000, 3);
        (turned[0], turned[1]) = (turned[1], turned[0]);
        fails(STRANGER, verdictCall(id, trainers[0], 9000, turned), bad);
        bytes[] memory many = new bytes[](33);
        fails(STRANGER, verdictCall(id, trainers[0], 9000, many), bad);
        bytes32 role = registry.VALIDATOR_ROLE();
        vm.prank(ADMIN);
        registry.revokeRole(role, validators[1]);
        fails(STRANGER, verdictCall(id, trainers[0], 9000, signatures(id, trainers[0], 9000, 3)), bad);
    }

    function test_nobody_signs_for_their_own_model() public {
        uint64 id = opened(3, 0);
        bytes[] memory signed = signatures(id, validators[1], 9000, 3);
        bytes memory bad = abi.encodeWithSelector(ModelRegistry.BadQuorum.selector);
        fails(STRANGER, verdictCall(id, validators[1], 9000, signed), bad);
    }

    function testFuzz_a_signature_covers_every_word(uint16 score) public {
        vm.assume(score <= 10_000 && score != 9000);
        uint64 id = opened(3, 0);
        bytes[] memory signed = signatures(id, trainers[0], 9000, 3);
        (bool isTaken,) = address(registry).call(verdictCall(id, trainers[0], score, signed));
        require_(!isTaken, "another score");
        (isTaken,) = address(registry).call(verdictCall(id, trainers[1], 9000, signed));
        require_(!isTaken, "another trainer");
        uint64 other = opened(3, 0);
        (isTaken,) = address(registry).call(verdictCall(other, trainers[0], 9000, signed));
        require_(!isTaken, "another round");
    }

    function test_a_malleable_signature_is_refused() public {
        uint64 id = opened(1, 0);
        bytes32 message = digest(id, trainers[0], 9000, true, uint64(block.timestamp + 60));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keys[0], message);
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        bytes[] memory signed = new bytes[](1);
        bytes32 turned = bytes32(order - uint256(s));
        signed[0] = abi.encodePacked(r, turned, v == 27 ? uint8(28) : uint8(27));
        bytes memory reason = abi.encodeWithSelector(ECDSAInvalidSignatureS.selector, turned);
        fails(STRANGER, verdictCall(id, trainers[0], 9000, signed), reason);
    }

    function test_a_verdict_has_a_round_a_score_and_a_deadline() public {
        uint64 id = opened(3, 0);
        bytes[] memory signed = signatures(id, trainers[0], 9000, 3);
        wrongPhase(9, STRANGER, verdictCall(9, trainers[0], 9000, signed));
        bytes memory bad = abi.encodeWithSelector(ModelRegistry.BadScores.selector);
        fails(STRANGER, verdictCall(id, trainers[0], 10_001, signed), bad);
        bytes memory call = verdictCall(id, trainers[0], 9000, signed);
        uint64 until = uint64(block.timestamp + 60);
        vm.warp(until + 1);
        fails(STRANGER, call, abi.encodeWithSelector(ModelRegistry.Expired.selector, until));
    }

    // Helpers.

    function opened(uint16 quorum, uint16 minScore) private returns (uint64) {
        bytes32 commitment = bytes32(1 + uint256(registry.rounds()));
        vm.prank(WRITER);
        return registry.openRound("base", commitment, untils, quorum, minScore);
    }

    function later() private view returns (uint48[4] memory) {
        uint48 now_ = uint48(block.timestamp) + 1000;
        return [now_ + 100, now_ + 200, now_ + 300, now_ + 400];
    }

    function model(uint256 i) private pure returns (bytes32) {
        return keccak256(abi.encode("model", i));
    }

    function commitmentOf(uint64 id, address trainer, bytes32 modelHash) private pure returns (bytes32) {
        return keccak256(abi.encode(id, trainer, modelHash, bytes32("metrics"), bytes32("salt")));
    }

    function submit(uint64 id, uint256 i, bytes32 commitment) private {
        vm.prank(trainers[i]);
        registry.submit(id, commitment);
    }

    /// @dev Leaves the round in its phase of scoring.
    function submitAll(uint64 id, uint256 count) private {
        for (uint256 i = 0; i < count; ++i) submit(id, i, commitmentOf(id, trainers[i], model(i)));
        vm.warp(untils[0]);
        for (uint256 i = 0; i < count; ++i) {
            vm.prank(trainers[i]);
            registry.open(id, model(i), "metrics", "salt");
        }
        vm.warp(untils[1]);
    }

    function commit(uint64 id, uint256 v, bytes memory scores) private {
        bytes32 commitment = keccak256(abi.encode(id, validators[v], scores, bytes32("salt")));
        vm.prank(validators[v]);
        registry.commitScores(id, commitment);
    }

    function reveal(uint64 id, uint256 v, bytes memory scores) private {
        vm.prank(validators[v]);
        registry.revealScores(id, scores, "salt");
        revealed.push(ModelRegistry.Ballot(validators[v], scores, "salt"));
    }

    function commitPair(uint64 id, uint256 v) private {
        bytes memory scores = abi.encodePacked(uint16(9000), uint16(10));
        commit(id, v, scores);
        vm.warp(untils[2]);
        reveal(id, v, scores);
    }

    function commitAll(uint64 id, uint16[3] memory scores, uint256 count) private {
        for (uint256 v = 0; v < count; ++v) commit(id, v, list(scores));
    }

    function revealAll(uint64 id, uint16[3] memory scores, uint256 count) private {
        vm.warp(untils[2]);
        for (uint256 v = 0; v < count; ++v) reveal(id, v, list(scores));
    }

    function list(uint16 score) private pure returns (bytes memory) {
        return abi.encodePacked(score);
    }

    function list(uint16[3] memory three) private pure returns (bytes memory) {
        return abi.encodePacked(three[0], three[1], three[2]);
    }

    /// @dev Who reveals is remembered, as whoever settles remembers it from the events.
    function ballots() private view returns (ModelRegistry.Ballot[] memory sorted) {
        sorted = new ModelRegistry.Ballot[](revealed.length);
        for (uint256 i = 0; i < revealed.length; ++i) {
            uint256 place = i;
            for (; place > 0 && sorted[place - 1].validator > revealed[i].validator; --place) {
                sorted[place] = sorted[place - 1];
            }
            sorted[place] = revealed[i];
        }
    }

    function settle(uint64 id) private {
        registry.settle(id, ballots());
        delete revealed;
    }

    function insertKey(uint256 count, uint256 key) private {
        uint256 place = count;
        for (; place > 0 && vm.addr(keys[place - 1]) > vm.addr(key); --place) keys[place] = keys[place - 1];
        keys[place] = key;
    }

    function digest(uint64 id, address trainer, uint16 score, bool isAccepted, uint64 until)
        private
        view
        returns (bytes32)
    {
        bytes32 typehash = registry.VERDICT_TYPEHASH();
        bytes32 message = keccak256(abi.encode(typehash, id, trainer, bytes32("model"), score, isAccepted, until));
        (, string memory name, string memory version, uint256 chainId, address at_,,) = registry.eip712Domain();
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256(bytes(name)),
                keccak256(bytes(version)),
                chainId,
                at_
            )
        );
        return keccak256(abi.encodePacked("\x19\x01", domain, message));
    }

    function signature(uint256 v, bytes32 message) private view returns (bytes memory) {
        (uint8 parity, bytes32 r, bytes32 s) = vm.sign(keys[v], message);
        return abi.encodePacked(r, s, parity);
    }

    function signatures(uint64 id, address trainer, uint16 score, uint256 count)
        private
        view
        returns (bytes[] memory signed)
    {
        bytes32 message = digest(id, trainer, score, true, uint64(block.timestamp + 60));
        signed = new bytes[](count);
        for (uint256 v = 0; v < count; ++v) signed[v] = signature(v, message);
    }

    function verdictCall(uint64 id, address trainer, uint16 score, bytes[] memory signed)
        private
        view
        returns (bytes memory)
    {
        uint64 until = uint64(block.timestamp + 60);
        return abi.encodeCall(registry.recordVerdict, (id, trainer, "model", score, true, until, signed));
    }

    function statusIs(uint64 id, uint256 index, ModelRegistry.Status status, uint16 score, uint8 voters) private view {
        ModelRegistry.Submission memory one = registry.submissionOf(id, index);
        require_(one.status == status && one.score == score && one.voters == voters, "verdict");
    }

    function notCommitted(uint64 id, uint256 v, bytes memory scores) private {
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.NotCommitted.selector, validators[v]));
        reveal(id, v, scores);
    }

    function badRound(uint48[4] memory times, uint16 quorum, uint16 minScore) private {
        vm.expectRevert(ModelRegistry.BadRound.selector);
        vm.prank(WRITER);
        registry.openRound("base", "evaluation", times, quorum, minScore);
    }

    function refused(address who, bytes32 role, bytes memory call) private {
        fails(who, call, needs(role, who));
    }

    function wrongPhase(uint64 id, address who, bytes memory call) private {
        fails(who, call, abi.encodeWithSelector(ModelRegistry.WrongPhase.selector, id));
    }

    function fails(address who, bytes memory call, bytes memory reason) private {
        vm.prank(who);
        (bool isDone, bytes memory answer) = address(registry).call(call);
        require_(!isDone && keccak256(answer) == keccak256(reason), "refused with another reason");
    }

    function succeeds(address who, bytes memory call) private {
        vm.prank(who);
        (bool isDone,) = address(registry).call(call);
        require_(isDone, "done");
    }
}
