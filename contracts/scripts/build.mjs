// Compile src/ into artifacts/, or with --check compare the two byte for byte.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import solc from "solc";
import { compile } from "./solc.mjs";

const root = new URL("../", import.meta.url);
const abstract = new Set(["Guarded"]);
const settings = {
  evmVersion: "cancun",
  optimizer: { enabled: true, runs: 1000 },
  metadata: { bytecodeHash: "none", appendCBOR: false },
  outputSelection: {
    "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "evm.deployedBytecode.immutableReferences"] },
  },
};

const files = readdirSync(new URL("src/", root)).sort();
const sources = Object.fromEntries(
  files.map((file) => [`src/${file}`, { content: readFileSync(new URL(`src/${file}`, root), "utf8") }]),
);
const output = compile({ language: "Solidity", sources, settings });
const complaints = output.errors ?? [];
if (complaints.length) {
  console.error(complaints.map((one) => one.formattedMessage).join("\n"));
  process.exit(1);
}

const digest = (text) => createHash("sha256").update(text).digest("hex");
const hashes = Object.fromEntries(files.map((file) => [file, digest(sources[`src/${file}`].content)]));
const { outputSelection, ...compiled } = settings;
let differs = false;
for (const file of files) {
  const name = file.replace(".sol", "");
  if (abstract.has(name)) continue;
  const { abi, evm } = output.contracts[`src/${file}`][name];
  const artifact = {
    contract: name,
    compiler: solc.version(),
    settings: compiled,
    sources: { [file]: hashes[file], "Guarded.sol": hashes["Guarded.sol"] },
    abi,
    bytecode: "0x" + evm.bytecode.object,
    deployedBytecode: "0x" + evm.deployedBytecode.object,
    immutables: Object.values(evm.deployedBytecode.immutableReferences).flat(),
  };
  const text = JSON.stringify(artifact, null, 1) + "\n";
  const path = new URL(`artifacts/${name}.json`, root);
  if (!process.argv.includes("--check")) {
    writeFileSync(path, text);
  } else if (readFileSync(path, "utf8") !== text) {
    differs = true;
    console.error(`${name}: the artifact is not what its source compiles to`);
  }
}
process.exit(differs ? 1 : 0);
