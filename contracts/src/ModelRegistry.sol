// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {EIP712Upgradeable} from "@openzeppelin/contracts-upgradeable/utils/cryptography/EIP712Upgradeable.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {Guarded} from "./Guarded.sol";

/// @title Rounds of federated training: who submitted which model, who scored it how, what was accepted.
/// @notice The chain shows who said what and when, not that a score is true. Whoever holds the
/// evaluation set that a round commits to can score again.
contract ModelRegistry is Guarded, EIP712Upgradeable {
    /// @notice May open rounds and publish their models.
    bytes32 public constant COORDINATOR_ROLE = keccak256("COORDINATOR_ROLE");
    /// @notice May submit models.
    bytes32 public constant TRAINER_ROLE = keccak256("TRAINER_ROLE");
    /// @notice May score models.
    bytes32 public constant VALIDATOR_ROLE = keccak256("VALIDATOR_ROLE");
    /// @notice What validators sign in the quorum way.
    bytes32 public constant VERDICT_TYPEHASH = keccak256(
        "Verdict(uint64 roundId,address trainer,bytes32 modelHash,uint16 score,bool isAccepted,uint64 deadline)"
    );
    /// @notice Submissions of one round.
    uint256 public constant MAX_SUBMISSIONS = 256;
    /// @notice Validators whose scores of one round count.
    uint256 public constant MAX_VALIDATORS = 32;
    /// @notice Best possible score.
    uint16 public constant MAX_SCORE = 10_000;
    /// @notice Instead of a score: this validator does not judge this model.
    uint16 public constant ABSTAIN = type(uint16).max;
    /// @notice Reputation of a newcomer, and its bounds from 1.
    uint16 public constant START_REPUTATION = 50;
    /// @notice Best possible reputation.
    uint16 public constant MAX_REPUTATION = 100;

    /// @notice Where a round or a submission stands.
    enum Status {
        None,
        Open,
        Settled,
        Accepted,
        Rejected,
        NoQuorum
    }

    /// @notice A round; times, counts and status share one slot. Its four phases follow each other: commit models, open them, commit scores, reveal them.
    struct Round {
        bytes32 baseModel;
        bytes32 evaluationCommitment;
        uint48 submitUntil;
        uint48 openUntil;
        uint48 scoreUntil;
        uint48 revealUntil;
        uint16 quorum;
        uint16 minScore;
        uint8 committed;
        uint8 revealed;
        Status status;
        bytes32 acceptedHash;
        bytes32 globalModel;
    }

    /// @notice An opened submission; the hash, and one slot for the rest.
    struct Submission {
        bytes32 modelHash;
        address trainer;
        uint16 score;
        uint8 voters;
        Status status;
    }

    /// @notice What a validator revealed, as it stands in the event of the reveal.
    struct Ballot {
        address validator;
        bytes scores;
        bytes32 salt;
    }

    /// @notice Number of rounds so far.
    uint64 public rounds;
    /// @notice The round of an evaluation commitment; 0 if there is none.
    mapping(bytes32 evaluationCommitment => uint64 roundId) public roundFor;
    /// @notice Standing of a trainer or validator; 0 for one who was never seen.
    mapping(address who => uint16) public reputation;

    mapping(uint64 roundId => Round) private _rounds;
    /// @dev The commitment; after it was opened, which submission it became.
    mapping(uint64 roundId => mapping(address trainer => bytes32)) private _modelCommitments;
    mapping(uint64 roundId => mapping(bytes32 modelHash => bool)) private _isTaken;
    mapping(uint64 roundId => Submission[]) private _submissions;
    /// @dev 255 bits of the commitment; the lowest bit tells whether it was revealed.
    mapping(uint64 roundId => mapping(address validator => uint256)) private _ballots;
    mapping(uint64 roundId => mapping(bytes32 modelHash => bool)) private _isSigned;

    /// @notice A round began.
    event RoundOpened(uint64 indexed roundId, bytes32 indexed baseModel, bytes32 evaluationCommitment);
    /// @notice A trainer committed to a model without showing it.
    event ModelCommitted(uint64 indexed roundId, address indexed trainer);
    /// @notice A trainer opened the commitment.
    event ModelOpened(
        uint64 indexed roundId, address indexed trainer, uint256 index, bytes32 modelHash, bytes32 metricsHash
    );
    /// @notice A validator committed to a vector of scores.
    event ScoresCommitted(uint64 indexed roundId, address indexed validator);
    /// @notice A validator revealed it; whoever settles the round hands this in again.
    event ScoresRevealed(uint64 indexed roundId, address indexed validator, bytes scores, bytes32 salt);
    /// @notice A validator who never revealed lost standing.
    event SilenceCharged(uint64 indexed roundId, address indexed validator);
    /// @notice What became of a submission.
    event Verdict(
        uint64 indexed roundId,
        address indexed trainer,
        bytes32 indexed modelHash,
        uint16 score,
        uint8 voters,
        Status status
    );
    /// @notice A round was settled.
    event RoundSettled(uint64 indexed roundId, bytes32 acceptedHash, uint256 accepted);
    /// @notice The model over the accepted submissions of a round.
    event GlobalModel(uint64 indexed roundId, bytes32 indexed modelHash, bytes32 acceptedHash);

    /// @notice There is no such round, or not in the state that this needs.
    error WrongPhase(uint64 roundId);
    /// @notice Times, quorum or scores of a round make no sense.
    error BadRound();
    /// @notice The evaluation commitment has its round: opening it again opens nothing.
    error KnownRound(uint64 roundId);
    /// @notice The caller did this already.
    error Again(address who);
    /// @notice What was shown is not what was committed to.
    error NotCommitted(address who);
    /// @notice Another submission of the round has this hash.
    error TakenModel(bytes32 modelHash);
    /// @notice The round has as many submissions or validators as it can hold.
    error Full();
    /// @notice Not one score, at most MAX_SCORE or ABSTAIN, for every submission.
    error BadScores();
    /// @notice Not every revealed ballot, each once, in ascending order of the validators.
    error BadBallots();
    /// @notice A validator scored its own model.
    error OwnModel(uint256 index);
    /// @notice Too few signatures, one by no validator, or not in ascending order of their signers.
    error BadQuorum();
    /// @notice The signed verdict is too old.
    error Expired(uint64 deadline);

    /// @param secondsPerWrite_ Seconds per write of one caller in the long run.
    /// @param burst_ Writes that a quiet caller may make at once.
    constructor(uint64 secondsPerWrite_, uint64 burst_) Guarded(secondsPerWrite_, burst_) {}

    /// @notice Begin a round.
    /// @param baseModel Hash of the model that training starts from.
    /// @param evaluationCommitment Hash of evaluation set, seed, metric code and a salt of this round's own:
    /// each opens one round, so that a coordinator who asks again finds the round that there is.
    /// @param untils Ends of the four phases, ascending: submit, open, score, reveal.
    /// @param quorum Scores that a verdict needs.
    /// @param minScore Lower median that an accepted model needs.
    function openRound(
        bytes32 baseModel,
        bytes32 evaluationCommitment,
        uint48[4] calldata untils,
        uint16 quorum,
        uint16 minScore
    ) external whenNotPaused onlyRole(COORDINATOR_ROLE) rated returns (uint64 roundId) {
        bool isOrdered = untils[0] < untils[1] && untils[1] < untils[2] && untils[2] < untils[3];
        bool isSensible = quorum != 0 && quorum <= MAX_VALIDATORS && minScore <= MAX_SCORE;
        if (untils[0] <= block.timestamp || !isOrdered || !isSensible || evaluationCommitment == 0) revert BadRound();
        if (roundFor[evaluationCommitment] != 0) revert KnownRound(roundFor[evaluationCommitment]);
        roundId = ++rounds;
        roundFor[evaluationCommitment] = roundId;
        Round storage round = _rounds[roundId];
        (round.baseModel, round.evaluationCommitment) = (baseModel, evaluationCommitment);
        (round.submitUntil, round.openUntil) = (untils[0], untils[1]);
        (round.scoreUntil, round.revealUntil) = (untils[2], untils[3]);
        (round.quorum, round.minScore, round.status) = (quorum, minScore, Status.Open);
        emit RoundOpened(roundId, baseModel, evaluationCommitment);
    }

    /// @notice Commit to a model; nobody can copy what nobody sees.
    /// @param commitment keccak256(abi.encode(roundId, trainer, modelHash, metricsHash, salt)).
    function submit(uint64 roundId, bytes32 commitment) external whenNotPaused onlyRole(TRAINER_ROLE) {
        Round storage round = _rounds[roundId];
        if (round.status != Status.Open || block.timestamp >= round.submitUntil) revert WrongPhase(roundId);
        if (_modelCommitments[roundId][msg.sender] != 0) revert Again(msg.sender);
        if (commitment == 0) revert NotCommitted(msg.sender);
        _modelCommitments[roundId][msg.sender] = commitment;
        if (reputation[msg.sender] == 0) reputation[msg.sender] = START_REPUTATION;
        emit ModelCommitted(roundId, msg.sender);
    }

    /// @notice Open one's commitment.
    function open(uint64 roundId, bytes32 modelHash, bytes32 metricsHash, bytes32 salt)
        external
        whenNotPaused
        onlyRole(TRAINER_ROLE)
    {
        Round storage round = _rounds[roundId];
        if (block.timestamp < round.submitUntil || block.timestamp >= round.openUntil) revert WrongPhase(roundId);
        bytes32 shown = keccak256(abi.encode(roundId, msg.sender, modelHash, metricsHash, salt));
        if (_modelCommitments[roundId][msg.sender] != shown) revert NotCommitted(msg.sender);
        if (modelHash == 0) revert NotCommitted(msg.sender);
        if (_isTaken[roundId][modelHash]) revert TakenModel(modelHash);
        uint256 index = _submissions[roundId].length;
        if (index == MAX_SUBMISSIONS) revert Full();
        _modelCommitments[roundId][msg.sender] = _openedAs(index);
        _isTaken[roundId][modelHash] = true;
        _submissions[roundId].push(Submission(modelHash, msg.sender, 0, 0, Status.Open));
        emit ModelOpened(roundId, msg.sender, index, modelHash, metricsHash);
    }

    /// @notice Commit to the scores of all opened models at once.
    /// @param commitment keccak256(abi.encode(roundId, validator, scores, salt)).
    function commitScores(uint64 roundId, bytes32 commitment) external whenNotPaused onlyRole(VALIDATOR_ROLE) {
        Round storage round = _rounds[roundId];
        if (block.timestamp < round.openUntil || block.timestamp >= round.scoreUntil) revert WrongPhase(roundId);
        if (_ballots[roundId][msg.sender] != 0) revert Again(msg.sender);
        if (uint256(commitment) < 2) revert NotCommitted(msg.sender);
        uint8 committed = round.committed;
        if (committed == MAX_VALIDATORS) revert Full();
        round.committed = committed + 1;
        _ballots[roundId][msg.sender] = _unrevealed(commitment);
        emit ScoresCommitted(roundId, msg.sender);
    }

    /// @notice Reveal one's scores.
    /// @param scores Two bytes, the higher first, for each submission in the order they were opened.
    /// @param salt What the commitment was made with.
    function revealScores(uint64 roundId, bytes calldata scores, bytes32 salt)
        external
        whenNotPaused
        onlyRole(VALIDATOR_ROLE)
    {
        Round storage round = _rounds[roundId];
        if (block.timestamp < round.scoreUntil || block.timestamp >= round.revealUntil) revert WrongPhase(roundId);
        uint256 ballot = _ballotOf(roundId, msg.sender, scores, salt);
        if (_ballots[roundId][msg.sender] != ballot) revert NotCommitted(msg.sender);
        _requireScores(roundId, scores);
        _ballots[roundId][msg.sender] = ballot | 1;
        ++round.revealed;
        emit ScoresRevealed(roundId, msg.sender, scores, salt);
    }

    /// @notice Turn the revealed scores of a round into verdicts; anybody may, from the events alone.
    /// @param ballots Everything that was revealed, in ascending order of the validators.
    function settle(uint64 roundId, Ballot[] calldata ballots) external whenNotPaused {
        Round storage round = _rounds[roundId];
        if (round.status != Status.Open || block.timestamp < round.revealUntil) revert WrongPhase(roundId);
        _requireAllBallots(roundId, round.revealed, ballots);
        round.status = Status.Settled;
        bytes32 acceptedHash = 0;
        uint256 accepted = 0;
        uint256 count = _submissions[roundId].length;
        for (uint256 i = 0; i < count; ++i) {
            bytes32 modelHash = _judge(roundId, i, ballots);
            if (modelHash == 0) continue;
            acceptedHash = keccak256(abi.encode(acceptedHash, i, modelHash));
            ++accepted;
        }
        round.acceptedHash = acceptedHash;
        emit RoundSettled(roundId, acceptedHash, accepted);
    }

    /// @notice Lower the standing of a validator who committed to scores and never revealed them; anybody may.
    function chargeSilence(uint64 roundId, address validator) external whenNotPaused {
        if (_rounds[roundId].status != Status.Settled) revert WrongPhase(roundId);
        uint256 ballot = _ballots[roundId][validator];
        if (ballot == 0 || ballot & 1 == 1) revert NotCommitted(validator);
        _ballots[roundId][validator] = 0;
        _lower(validator);
        emit SilenceCharged(roundId, validator);
    }

    /// @notice Publish the model over the accepted submissions; once, and only if there are any.
    function publish(uint64 roundId, bytes32 modelHash) external whenNotPaused onlyRole(COORDINATOR_ROLE) {
        Round storage round = _rounds[roundId];
        bool isReady = round.status == Status.Settled && round.acceptedHash != 0;
        if (!isReady || round.globalModel != 0 || modelHash == 0) revert WrongPhase(roundId);
        round.globalModel = modelHash;
        emit GlobalModel(roundId, modelHash, round.acceptedHash);
    }

    /// @notice The quorum way: one transaction with the signatures of known validators.
    /// @param roundId An open round.
    /// @param trainer Who trained the model; never one of the signers.
    /// @param modelHash Its hash; one verdict per model and round.
    /// @param score What the validators agreed on.
    /// @param isAccepted Whether they accept it.
    /// @param deadline Until when the verdict may be recorded.
    /// @param signatures At least the round's quorum, in ascending order of their signers.
    function recordVerdict(
        uint64 roundId,
        address trainer,
        bytes32 modelHash,
        uint16 score,
        bool isAccepted,
        uint64 deadline,
        bytes[] calldata signatures
    ) external whenNotPaused rated {
        Round storage round = _rounds[roundId];
        if (round.status != Status.Open) revert WrongPhase(roundId);
        if (block.timestamp > deadline) revert Expired(deadline);
        if (score > MAX_SCORE) revert BadScores();
        if (_isSigned[roundId][modelHash]) revert TakenModel(modelHash);
        _isSigned[roundId][modelHash] = true;
        bytes32 message =
            keccak256(abi.encode(VERDICT_TYPEHASH, roundId, trainer, modelHash, score, isAccepted, deadline));
        _requireQuorum(round.quorum, trainer, _hashTypedDataV4(message), signatures);
        Status status = isAccepted ? Status.Accepted : Status.Rejected;
        emit Verdict(roundId, trainer, modelHash, score, uint8(signatures.length), status);
    }

    /// @notice What is known of a round.
    function roundOf(uint64 roundId) external view returns (Round memory) {
        return _rounds[roundId];
    }

    /// @notice How many models were opened in a round.
    function submissionCount(uint64 roundId) external view returns (uint256) {
        return _submissions[roundId].length;
    }

    /// @notice A submission of a round.
    function submissionOf(uint64 roundId, uint256 index) external view returns (Submission memory) {
        return _submissions[roundId][index];
    }

    /// @notice Tell whether a verdict on a model was recorded the quorum way.
    function isSigned(uint64 roundId, bytes32 modelHash) external view returns (bool) {
        return _isSigned[roundId][modelHash];
    }

    function _afterInitialize() internal override onlyInitializing {
        __EIP712_init("TASCO ModelRegistry", "1");
    }

    /// @dev Takes the place of a commitment that was opened: which submission it became.
    function _openedAs(uint256 index) private pure returns (bytes32) {
        return bytes32(type(uint256).max - index);
    }

    function _unrevealed(bytes32 commitment) private pure returns (uint256) {
        return uint256(commitment) & ~uint256(1);
    }

    function _ballotOf(uint64 roundId, address validator, bytes calldata scores, bytes32 salt)
        private
        pure
        returns (uint256)
    {
        return _unrevealed(keccak256(abi.encode(roundId, validator, scores, salt)));
    }

    /// @dev The callers know that there are enough scores.
    function _scoreAt(bytes calldata scores, uint256 index) private pure returns (uint256 score) {
        assembly ("memory-safe") {
            score := shr(240, calldataload(add(scores.offset, shl(1, index))))
        }
    }

    /// @dev A score for each submission, none of them for the caller's own.
    function _requireScores(uint64 roundId, bytes calldata scores) private view {
        uint256 count = _submissions[roundId].length;
        if (scores.length != 2 * count) revert BadScores();
        for (uint256 i = 0; i < count; ++i) {
            uint256 score = _scoreAt(scores, i);
            if (score > MAX_SCORE && score != ABSTAIN) revert BadScores();
        }
        uint256 own = type(uint256).max - uint256(_modelCommitments[roundId][msg.sender]);
        if (own < count && _scoreAt(scores, own) != ABSTAIN) revert OwnModel(own);
    }

    /// @dev The ballots are those that were revealed, all of them and each once.
    function _requireAllBallots(uint64 roundId, uint8 revealed, Ballot[] calldata ballots) private view {
        if (ballots.length != revealed) revert BadBallots();
        address last = address(0);
        for (uint256 v = 0; v < ballots.length; ++v) {
            Ballot calldata one = ballots[v];
            uint256 ballot = _ballotOf(roundId, one.validator, one.scores, one.salt) | 1;
            if (one.validator <= last || _ballots[roundId][one.validator] != ballot) revert BadBallots();
            last = one.validator;
        }
    }

    /// @dev Stores the verdict on a submission; gives the hash of an accepted model, else 0.
    function _judge(uint64 roundId, uint256 index, Ballot[] calldata ballots) private returns (bytes32) {
        Submission storage one = _submissions[roundId][index];
        (uint16 median, uint8 voters) = _lowerMedian(ballots, index);
        Status status = _statusOf(_rounds[roundId], median, voters);
        (bytes32 modelHash, address trainer) = (one.modelHash, one.trainer);
        (one.score, one.voters, one.status) = (median, voters, status);
        if (status == Status.Accepted) _raise(trainer);
        if (status == Status.Rejected) _lower(trainer);
        emit Verdict(roundId, trainer, modelHash, median, voters, status);
        return status == Status.Accepted ? modelHash : bytes32(0);
    }

    function _statusOf(Round storage round, uint16 median, uint8 voters) private view returns (Status) {
        if (voters < round.quorum) return Status.NoQuorum;
        return median >= round.minScore ? Status.Accepted : Status.Rejected;
    }

    /// @dev The lower median of the scores that a submission got, and how many it got.
    function _lowerMedian(Ballot[] calldata ballots, uint256 index)
        private
        pure
        returns (uint16 median, uint8 voters)
    {
        uint256[] memory sorted = new uint256[](ballots.length);
        uint256 count = 0;
        for (uint256 v = 0; v < ballots.length; ++v) {
            uint256 score = _scoreAt(ballots[v].scores, index);
            if (score == ABSTAIN) continue;
            uint256 place = count++;
            for (; place > 0 && sorted[place - 1] > score; --place) {
                sorted[place] = sorted[place - 1];
            }
            sorted[place] = score;
        }
        voters = uint8(count);
        median = count == 0 ? 0 : uint16(sorted[(count - 1) / 2]);
    }

    function _raise(address who) private {
        uint16 before = reputation[who];
        if (before < MAX_REPUTATION) reputation[who] = before + 1;
    }

    function _lower(address who) private {
        uint16 before = reputation[who];
        if (before == 0) reputation[who] = START_REPUTATION - 1;
        else if (before > 1) reputation[who] = before - 1;
    }

    /// @dev Distinct validators, none of them the trainer, signed the digest.
    function _requireQuorum(uint16 quorum, address trainer, bytes32 digest, bytes[] calldata signatures)
        private
        view
    {
        if (signatures.length < quorum || signatures.length > MAX_VALIDATORS) revert BadQuorum();
        address last = address(0);
        for (uint256 i = 0; i < signatures.length; ++i) {
            address signer = ECDSA.recover(digest, signatures[i]);
            if (signer <= last || signer == trainer || !hasRole(VALIDATOR_ROLE, signer)) revert BadQuorum();
            last = signer;
        }
    }
}
