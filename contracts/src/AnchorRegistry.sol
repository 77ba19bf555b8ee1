// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {Guarded} from "./Guarded.sol";

/// @title Roots of Merkle trees over salted record hashes, in order, each once.
/// @notice `count` is stated by the writer and not proven.
contract AnchorRegistry is Guarded {
    /// @notice May anchor roots.
    bytes32 public constant ANCHOR_ROLE = keccak256("ANCHOR_ROLE");
    /// @notice Binds leaves to this use.
    bytes32 public constant DOMAIN = keccak256("tasco.anchor.v1");

    /// @notice What is known of a root; one storage slot.
    struct Anchor {
        uint64 sequence;
        uint64 blockNumber;
        uint64 anchoredAt;
        uint32 count;
        uint16 kind;
    }

    /// @dev The end of the chain of anchors; one storage slot.
    struct Head {
        uint64 sequence;
        uint64 blockNumber;
    }

    mapping(bytes32 root => Anchor) private _anchors;
    Head private _head;

    /// @notice A root was anchored.
    /// @param previousBlock Where the anchor before it stands, so that history is walked without scans.
    event Anchored(
        bytes32 indexed root,
        uint16 indexed kind,
        uint64 indexed sequence,
        uint32 count,
        address writer,
        uint64 previousBlock
    );

    /// @notice The root stands here already.
    error AlreadyAnchored(bytes32 root);
    /// @notice Another anchor came first; read the sequence and try again.
    error UnexpectedSequence(uint64 expected, uint64 current);
    /// @notice A root of nothing, or over nothing.
    error EmptyBatch();

    /// @param secondsPerWrite_ Seconds per anchor a writer may make in the long run.
    /// @param burst_ Anchors that a quiet writer may make at once.
    constructor(uint64 secondsPerWrite_, uint64 burst_) Guarded(secondsPerWrite_, burst_) {}

    /// @notice Anchor the root of a batch.
    /// @param root Root of an OpenZeppelin standard Merkle tree.
    /// @param count How many items it covers.
    /// @param kind What they are; 0 for a mixed batch.
    /// @param expectedSequence The sequence before this anchor: a lock against a second writer and a replay.
    function anchor(bytes32 root, uint32 count, uint16 kind, uint64 expectedSequence)
        external
        whenNotPaused
        onlyRole(ANCHOR_ROLE)
        rated
    {
        if (root == 0 || count == 0) revert EmptyBatch();
        if (_anchors[root].sequence != 0) revert AlreadyAnchored(root);
        Head memory head = _head;
        if (head.sequence != expectedSequence) revert UnexpectedSequence(expectedSequence, head.sequence);
        uint64 sequence_ = expectedSequence + 1;
        _anchors[root] = Anchor(sequence_, uint64(block.number), uint64(block.timestamp), count, kind);
        _head = Head(sequence_, uint64(block.number));
        emit Anchored(root, kind, sequence_, count, msg.sender, head.blockNumber);
    }

    /// @notice How many roots were anchored.
    function sequence() external view returns (uint64) {
        return _head.sequence;
    }

    /// @notice The block of the newest anchor, 0 before the first.
    function lastBlock() external view returns (uint64) {
        return _head.blockNumber;
    }

    /// @notice Tell whether a root was anchored.
    function isAnchored(bytes32 root) external view returns (bool) {
        return _anchors[root].sequence != 0;
    }

    /// @notice What is known of a root; all zero if it was not anchored.
    function anchorOf(bytes32 root) external view returns (Anchor memory) {
        return _anchors[root];
    }

    /// @notice Tell whether an item is in an anchored batch.
    /// @dev The leaf is made here from its fields; a leaf handed in could be an inner node.
    /// @param root The anchored root.
    /// @param kind What the item is.
    /// @param itemId 32 bytes that stand for the item.
    /// @param itemHash Salted hash of its record.
    /// @param proof Siblings from the leaf to the root.
    function verify(bytes32 root, uint16 kind, bytes32 itemId, bytes32 itemHash, bytes32[] calldata proof)
        external
        view
        returns (bool)
    {
        uint256 count = _anchors[root].count;
        bool isFitting = count > 0 && proof.length <= Math.log2(count, Math.Rounding.Ceil);
        return isFitting && MerkleProof.verifyCalldata(proof, root, leafOf(kind, itemId, itemHash));
    }

    /// @notice The leaf of an item.
    function leafOf(uint16 kind, bytes32 itemId, bytes32 itemHash) public pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(DOMAIN, kind, itemId, itemHash))));
    }
}
