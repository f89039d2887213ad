// Draws images with onnxruntime-web in Node: node onnxruntime_web.mjs MODEL Z LABELS OUTPUT COUNT. The files are raw and
// little-endian; LABELS may be missing. Prints the shape and the names of the inputs and outputs as JSON.
import { readFileSync, writeFileSync, existsSync } from "node:fs";
import * as ort from "onnxruntime-web";

const [model, zFile, labelFile, output, number] = process.argv.slice(2);
const raw = (file) => {
  const bytes = readFileSync(file);
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
};

ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(readFileSync(model), { executionProviders: ["wasm"] });
const z = new Float32Array(raw(zFile));
const count = Number(number);
const feed = { z: new ort.Tensor("float32", z, [count, z.length / count]) };
if (existsSync(labelFile)) {
  feed.label = new ort.Tensor("int64", new BigInt64Array(raw(labelFile)), [count]);
}
const { image } = await session.run(feed, ["image"]);
writeFileSync(output, image.data);
console.log(JSON.stringify({ shape: image.dims, outputs: session.outputNames, inputs: session.inputNames }));
