// Build each tree of standard input with OpenZeppelin's library: root, and the proof of one leaf.
import { readFileSync } from "node:fs";
import { StandardMerkleTree } from "@openzeppelin/merkle-tree";

const types = ["bytes32", "uint16", "bytes32", "bytes32"];
const answers = JSON.parse(readFileSync(0, "utf8")).map(({ items, shown }) => {
  const tree = StandardMerkleTree.of(items, types);
  return { root: tree.root, proof: tree.getProof(items[shown]) };
});
console.log(JSON.stringify(answers));
