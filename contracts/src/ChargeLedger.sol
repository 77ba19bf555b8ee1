// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {Guarded} from "./Guarded.sol";

/// @title Sealed blocks of charge and discharge receipts, each bound to the one before.
/// @notice Only the hash of a block's header is stored; the header itself is in the event.
contract ChargeLedger is Guarded {
    /// @notice May seal blocks.
    bytes32 public constant SEALER_ROLE = keccak256("SEALER_ROLE");
    /// @notice Binds leaves to the same use as the anchor registry's.
    bytes32 public constant DOMAIN = keccak256("tasco.anchor.v1");
    /// @notice What a charge or discharge record is in a leaf.
    uint16 public constant LEDGER_RECORD = 8;

    /// @notice What a block says.
    struct Header {
        uint64 number;
        bytes32 previousHash;
        bytes32 root;
        uint64 fromAt;
        uint64 toAt;
        uint32 count;
        uint64 whIn;
        uint64 whOut;
    }

    mapping(uint64 number => bytes32 headerHash) private _blocks;

    /// @notice Number of the newest block; 0 before the first.
    uint64 public height;

    /// @notice A block was sealed.
    event Sealed(uint64 indexed number, bytes32 indexed headerHash, Header header, address sealer);

    /// @notice The block does not follow the newest one.
    error NotNext(uint64 number, bytes32 previousHash);
    /// @notice The block has no root, no records, or ends before it begins.
    error BadHeader();

    /// @param secondsPerWrite_ Seconds per block in the long run.
    /// @param burst_ Blocks that a quiet sealer may seal at once.
    constructor(uint64 secondsPerWrite_, uint64 burst_) Guarded(secondsPerWrite_, burst_) {}

    /// @notice Seal the next block.
    /// @param header Its number is one more than the height, its `previousHash` the head's.
    function seal(Header calldata header) external whenNotPaused onlyRole(SEALER_ROLE) rated {
        uint64 height_ = height;
        if (header.number != height_ + 1 || header.previousHash != _blocks[height_]) {
            revert NotNext(header.number, header.previousHash);
        }
        if (header.root == 0 || header.count == 0 || header.toAt < header.fromAt) revert BadHeader();
        bytes32 headerHash = hashOf(header);
        _blocks[header.number] = headerHash;
        height = header.number;
        emit Sealed(header.number, headerHash, header, msg.sender);
    }

    /// @notice Hash of the newest block's header; 0 before the first.
    function headHash() external view returns (bytes32) {
        return _blocks[height];
    }

    /// @notice Hash of a sealed block's header; 0 if there is no such block.
    function blockHash(uint64 number) external view returns (bytes32) {
        return _blocks[number];
    }

    /// @notice Tell whether a record is in a sealed block.
    /// @param header The block's header, as it was sealed.
    /// @param itemId 32 bytes that stand for the record.
    /// @param itemHash Its salted hash.
    /// @param proof Siblings from the leaf to the block's root.
    function verify(Header calldata header, bytes32 itemId, bytes32 itemHash, bytes32[] calldata proof)
        external
        view
        returns (bool)
    {
        bytes32 stored = _blocks[header.number];
        if (stored == 0 || stored != hashOf(header)) return false;
        if (proof.length > Math.log2(header.count, Math.Rounding.Ceil)) return false;
        bytes32 inner = keccak256(abi.encode(DOMAIN, LEDGER_RECORD, itemId, itemHash));
        return MerkleProof.verifyCalldata(proof, header.root, keccak256(bytes.concat(inner)));
    }

    /// @notice The hash of a header.
    function hashOf(Header calldata header) public pure returns (bytes32) {
        return keccak256(abi.encode(header));
    }
}
