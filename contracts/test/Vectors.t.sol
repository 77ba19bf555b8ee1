// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AnchorRegistry} from "../src/AnchorRegistry.sol";
import {Base} from "./Base.sol";

interface Files {
    function isFile(string calldata path) external view returns (bool);
    function readFileBinary(string calldata path) external view returns (bytes memory);
}

/// @dev Trees and proofs that another language made; skipped when there are none.
contract VectorsTest is Base {
    struct Vector {
        bytes32 root;
        uint32 count;
        uint16 kind;
        bytes32 itemId;
        bytes32 itemHash;
        bytes32[] proof;
    }

    string private constant PATH = "cache/vectors.bin";

    function test_trees_made_elsewhere_verify_here() public {
        Files files = Files(address(vm));
        if (!files.isFile(PATH)) return;
        Vector[] memory vectors = abi.decode(files.readFileBinary(PATH), (Vector[]));
        AnchorRegistry implementation = new AnchorRegistry(1, 1_000_000);
        AnchorRegistry registry = AnchorRegistry(cloned(address(implementation), implementation.ANCHOR_ROLE()));
        for (uint64 i = 0; i < vectors.length; ++i) {
            Vector memory one = vectors[i];
            vm.prank(WRITER);
            registry.anchor(one.root, one.count, one.kind, i);
            require_(registry.verify(one.root, one.kind, one.itemId, one.itemHash, one.proof), "shown");
            require_(!registry.verify(one.root, one.kind, one.itemId, ~one.itemHash, one.proof), "changed");
        }
    }
}
