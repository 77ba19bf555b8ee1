#!/usr/bin/env node
// A stand-in for the native compiler, on the solc package: standard JSON in, standard JSON out.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import solc from "solc";

const modules = fileURLToPath(new URL("../node_modules/", import.meta.url));

const read = (path) => {
  try {
    return { contents: readFileSync(join(modules, path), "utf8") };
  } catch {
    return { error: `File not found: ${path}` };
  }
};

export const compile = (input) =>
  JSON.parse(solc.compile(JSON.stringify(input), { import: read }));

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes("--version")) {
    const version = solc.version().replace("Emscripten.clang", "Linux.g++");
    console.log(`solc, the solidity compiler commandline interface\nVersion: ${version}`);
  } else {
    console.log(JSON.stringify(compile(JSON.parse(readFileSync(0, "utf8")))));
  }
}
