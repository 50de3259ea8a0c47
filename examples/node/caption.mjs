// npm i bitmar, then: node caption.mjs photo.jpg ...
import { openAsBlob } from 'node:fs';
import { BitMar } from 'bitmar';

const model = await BitMar.load();
for (const path of process.argv.slice(2)) {
  try {
    const { text, confidence } = await model.caption(await openAsBlob(path), { numBeams: 8 });
    console.log(`${path}: ${text} (${Math.round(100 * confidence)} % sure)`);
  } catch (error) {
    console.error(`${path}: ${error.message}`);
    process.exitCode = 1;
  }
}
model.dispose();
