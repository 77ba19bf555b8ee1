// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AccessControlDefaultAdminRules} from
    "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";
import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {Guarded} from "./Guarded.sol";

/// @title Makes contracts for operators and keeps the list of what stands where.
/// @notice A clone is created and initialised in one transaction: there is no moment in which somebody
/// else could initialise it. Entries are never changed; a new version names its predecessor.
contract Directory is AccessControlDefaultAdminRules {
    /// @notice May publish implementations and create contracts from them.
    bytes32 public constant DEPLOYER_ROLE = keccak256("DEPLOYER_ROLE");

    mapping(bytes32 name => mapping(uint64 version => address)) private _entries;
    /// @notice The newest version of a name; 0 if there is none.
    mapping(bytes32 name => uint64) public latest;

    /// @notice An address was entered.
    event Entered(bytes32 indexed name, uint64 indexed version, address indexed location, address predecessor);
    /// @notice A clone was made and given its administrator.
    event Created(address indexed implementation, address indexed clone, address indexed admin, address creator);

    /// @notice There is no code at the address.
    error NoCode(address location);

    /// @param delay Seconds between naming a new administrator and their taking over.
    /// @param admin Who grants roles.
    constructor(uint48 delay, address admin) AccessControlDefaultAdminRules(delay, admin) {}

    /// @notice Enter the next version under a name.
    function enter(bytes32 name, address location) external onlyRole(DEPLOYER_ROLE) {
        _enter(name, location);
    }

    /// @notice Create a contract for an operator and enter it under a name.
    /// @param implementation Whose code the clone runs.
    /// @param name What to enter it under.
    /// @param admin The clone's administrator.
    /// @param delay Delay of a change of administrator at the clone.
    /// @param salt Chosen by the caller; the address depends on it and on the caller.
    function create(address implementation, bytes32 name, address admin, uint48 delay, bytes32 salt)
        external
        onlyRole(DEPLOYER_ROLE)
        returns (address clone)
    {
        if (implementation.code.length == 0) revert NoCode(implementation);
        clone = Clones.cloneDeterministic(implementation, _saltOf(msg.sender, salt));
        emit Created(implementation, clone, admin, msg.sender);
        _enter(name, clone);
        Guarded(clone).initialize(admin, delay);
    }

    /// @notice Where `create` puts the clone of a caller.
    function addressOf(address implementation, address creator, bytes32 salt) external view returns (address) {
        return Clones.predictDeterministicAddress(implementation, _saltOf(creator, salt));
    }

    /// @notice The address under a name and version; zero if there is none.
    function entryOf(bytes32 name, uint64 version) external view returns (address) {
        return _entries[name][version];
    }

    function _enter(bytes32 name, address location) private {
        if (location.code.length == 0) revert NoCode(location);
        uint64 version = ++latest[name];
        _entries[name][version] = location;
        emit Entered(name, version, location, _entries[name][version - 1]);
    }

    function _saltOf(address creator, bytes32 salt) private pure returns (bytes32) {
        return keccak256(abi.encode(creator, salt));
    }
}
