// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AccessControlDefaultAdminRulesUpgradeable} from
    "@openzeppelin/contracts-upgradeable/access/extensions/AccessControlDefaultAdminRulesUpgradeable.sol";
import {PausableUpgradeable} from "@openzeppelin/contracts-upgradeable/utils/PausableUpgradeable.sol";

/// @title What every contract here shares: roles with a delayed administrator, pause, a rate per writer.
/// @notice Contracts are never upgraded. A new version is a new address in the directory; the old one
/// is paused for writing and can be read for ever.
abstract contract Guarded is AccessControlDefaultAdminRulesUpgradeable, PausableUpgradeable {
    /// @notice May pause, and nothing else; only the administrator ends a pause.
    bytes32 public constant PAUSER_ROLE = keccak256("PAUSER_ROLE");

    /// @notice Seconds that pass per write a writer may make in the long run.
    uint64 public immutable secondsPerWrite;
    /// @notice Writes that a writer who was quiet may make at once.
    uint64 public immutable burst;

    /// @dev When each writer would be back to a full burst: the theoretical arrival time of the
    /// generic cell rate algorithm (ITU-T I.371).
    mapping(address writer => uint256 fullAt) private _fullAt;

    /// @notice The writer has used up its burst.
    /// @param writer Who wrote too much.
    /// @param until When one more write is possible, in seconds since 1970.
    error TooManyWrites(address writer, uint256 until);
    /// @notice The rate or the burst is zero.
    error NoRate();

    /// @dev Locks the implementation: only clones are ever initialised.
    constructor(uint64 secondsPerWrite_, uint64 burst_) {
        if (secondsPerWrite_ == 0 || burst_ == 0) revert NoRate();
        secondsPerWrite = secondsPerWrite_;
        burst = burst_;
        _disableInitializers();
    }

    /// @notice Give a clone its administrator; called by the factory in the transaction that creates it.
    /// @param admin Who grants roles and ends a pause.
    /// @param delay Seconds between naming a new administrator and their taking over.
    function initialize(address admin, uint48 delay) external initializer {
        __AccessControlDefaultAdminRules_init(delay, admin);
        __Pausable_init();
        _afterInitialize();
    }

    /// @notice Stop everything that a pause may stop.
    function pause() external onlyRole(PAUSER_ROLE) {
        _pause();
    }

    /// @notice Go on.
    function unpause() external onlyRole(DEFAULT_ADMIN_ROLE) {
        _unpause();
    }

    /// @notice How many writes a writer may make now.
    function writesLeft(address writer) external view returns (uint256) {
        uint256 fullAt = _fullAt[writer];
        if (fullAt <= block.timestamp) return burst;
        uint256 used = (fullAt - block.timestamp + secondsPerWrite - 1) / secondsPerWrite;
        return used >= burst ? 0 : burst - used;
    }

    /// @dev Counts a write of the caller, bounding what a stolen key can do.
    modifier rated() {
        uint256 fullAt = _fullAt[msg.sender];
        if (fullAt < block.timestamp) fullAt = block.timestamp;
        fullAt += secondsPerWrite;
        uint256 latest = block.timestamp + uint256(burst) * secondsPerWrite;
        if (fullAt > latest) revert TooManyWrites(msg.sender, fullAt - uint256(burst) * secondsPerWrite);
        _fullAt[msg.sender] = fullAt;
        _;
    }

    /// @dev What a contract sets up beside its roles.
    function _afterInitialize() internal virtual {}
}
