// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Guarded} from "./Guarded.sol";

/// @title Revoked and suspended credentials as bitmaps of their issuers, and roots of status lists.
/// @notice An issuer speaks for itself only: everything is kept under the address that calls. A pause
/// never keeps an issuer from revoking or suspending.
contract CredentialStatus is Guarded {
    /// @notice May state the status of credentials.
    bytes32 public constant ISSUER_ROLE = keccak256("ISSUER_ROLE");

    /// @notice Version and root of a published status list.
    struct StatusList {
        uint64 version;
        bytes32 root;
    }

    mapping(address issuer => mapping(uint256 word => uint256 bits)) private _revoked;
    mapping(address issuer => mapping(uint256 word => uint256 bits)) private _suspended;
    mapping(address issuer => mapping(bytes32 listId => StatusList)) private _lists;

    /// @notice Credentials were revoked, for ever.
    /// @param word Which 256 indices; credential i is bit i % 256 of word i / 256.
    /// @param bits Those that were not revoked before.
    event Revoked(address indexed issuer, uint256 indexed word, uint256 bits);
    /// @notice Credentials were suspended (`bits` that were not) or reinstated (`bits` that were).
    event SuspensionChanged(address indexed issuer, uint256 indexed word, uint256 bits, bool isSuspended);
    /// @notice A status list was published.
    event ListPublished(address indexed issuer, bytes32 indexed listId, uint64 version, bytes32 root);

    /// @notice Nothing is named.
    error NothingNamed();
    /// @notice Another version of the list was published before.
    error UnexpectedVersion(uint64 expected, uint64 current);

    /// @param secondsPerWrite_ Seconds per published list in the long run.
    /// @param burst_ Lists that a quiet issuer may publish at once.
    constructor(uint64 secondsPerWrite_, uint64 burst_) Guarded(secondsPerWrite_, burst_) {}

    /// @notice Revoke credentials for ever; ascending indices are cheapest.
    function revoke(uint256[] calldata indices) external onlyRole(ISSUER_ROLE) {
        if (indices.length == 0) revert NothingNamed();
        uint256 place = 0;
        while (place < indices.length) {
            (uint256 word, uint256 named, uint256 next) = _wordAt(indices, place);
            uint256 before = _revoked[msg.sender][word];
            if (named & ~before != 0) {
                _revoked[msg.sender][word] = before | named;
                emit Revoked(msg.sender, word, named & ~before);
            }
            place = next;
        }
    }

    /// @notice Suspend credentials until they are reinstated.
    function suspend(uint256[] calldata indices) external onlyRole(ISSUER_ROLE) {
        _changeSuspension(indices, true);
    }

    /// @notice End the suspension of credentials.
    function reinstate(uint256[] calldata indices) external whenNotPaused onlyRole(ISSUER_ROLE) {
        _changeSuspension(indices, false);
    }

    /// @notice Publish the root of a whole status list, whatever changed in it.
    /// @param listId Which list of the issuer.
    /// @param version One more than the version before.
    /// @param root Hash of the list.
    function publishListRoot(bytes32 listId, uint64 version, bytes32 root)
        external
        whenNotPaused
        onlyRole(ISSUER_ROLE)
        rated
    {
        if (root == 0) revert NothingNamed();
        StatusList storage list = _lists[msg.sender][listId];
        if (version != list.version + 1) revert UnexpectedVersion(version, list.version);
        list.version = version;
        list.root = root;
        emit ListPublished(msg.sender, listId, version, root);
    }

    /// @notice Tell whether an issuer revoked a credential.
    function isRevoked(address issuer, uint256 index) external view returns (bool) {
        return _revoked[issuer][index >> 8] & (1 << (index & 255)) != 0;
    }

    /// @notice Tell whether an issuer suspended a credential.
    function isSuspended(address issuer, uint256 index) external view returns (bool) {
        return _suspended[issuer][index >> 8] & (1 << (index & 255)) != 0;
    }

    /// @notice The newest published state of a list; version 0 if there is none.
    function listOf(address issuer, bytes32 listId) external view returns (StatusList memory) {
        return _lists[issuer][listId];
    }

    function _changeSuspension(uint256[] calldata indices, bool toSuspended) private {
        if (indices.length == 0) revert NothingNamed();
        uint256 place = 0;
        while (place < indices.length) {
            (uint256 word, uint256 named, uint256 next) = _wordAt(indices, place);
            uint256 before = _suspended[msg.sender][word];
            uint256 changed = toSuspended ? named & ~before : named & before;
            if (changed != 0) {
                _suspended[msg.sender][word] = before ^ changed;
                emit SuspensionChanged(msg.sender, word, changed, toSuspended);
            }
            place = next;
        }
    }

    /// @dev The word of the index at a place, all bits named for it from there on in one go, and the
    /// first place of another word.
    function _wordAt(uint256[] calldata indices, uint256 place)
        private
        pure
        returns (uint256 word, uint256 named, uint256 next)
    {
        word = indices[place] >> 8;
        for (next = place; next < indices.length && indices[next] >> 8 == word; ++next) {
            named |= 1 << (indices[next] & 255);
        }
    }
}
