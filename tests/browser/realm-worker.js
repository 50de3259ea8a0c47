// The package inside a worker: a module worker of the page, a shared worker, and (service-worker.js) a service worker.
const PIXELS = { data: Uint8Array.from({ length: 40 * 40 * 3 }, (_, i) => (i * 7) % 251), width: 40, height: 40 };

/** What a model says here that is loaded without an address, or that is named. */
export async function outcome({ BitMar }, named) {
  try {
    const model = await BitMar.load(named);
    const { text, tokens } = await model.caption(PIXELS);
    const { id } = await model.memory.write(PIXELS);
    await model.memory.flush();
    const { matches } = await model.memory.recall({ image: PIXELS });
    const { build, threads, worker } = model.info;
    model.dispose();
    return { text, tokens, remembered: matches[0].id === id, durable: model.memory.storage.durable, info: `${build} ${threads} ${worker}` };
  } catch (error) {
    return { failed: `${error.code}: ${error.message}` };
  }
}

if (typeof ServiceWorkerGlobalScope === 'undefined') {
  const package_ = import('/web/bitmar/dist/index.js');
  self.onmessage = async () => self.postMessage(await outcome(await package_));
  self.onconnect = async ({ ports: [port] }) => port.postMessage(await outcome(await package_));
}
