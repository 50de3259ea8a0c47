// Shared by the subjects of this folder, each of which runs in a page of its own. A subject is
// { measure(): one figure, taken now, check(): what shows that the graph really ran }.

export const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

export async function time(work) {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** Tokens a second between two lengths of one answer: what comes before the first token cancels out. */
export async function steadyRate(speak, { first, tokens }) {
  const short = await time(() => speak(first));
  const long = await time(() => speak(first + tokens));
  return (1e3 * tokens) / (long - short);
}

/** The median time of a picture, as a subject's measure(). */
export async function pictureTime(see, pictures) {
  const times = [];
  for (let i = 0; i < pictures; i += 1) times.push(await see());
  return median(times);
}

export async function bytes(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address}: ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

/** Neither infinite nor the same everywhere. */
export function summary(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (!Number.isFinite(low) || !Number.isFinite(high)) throw new Error('the output is not finite');
  if (low === high) throw new Error(`the output is ${low} everywhere`);
  return `${values.length} values from ${low.toFixed(2)} to ${high.toFixed(2)}`;
}

/** Runs until the platform has compiled what is hot: for a while, and a few times at least. */
export async function warmUp(work, ms = 2000) {
  const start = performance.now();
  for (let i = 0; i < 3 || performance.now() - start < ms; i += 1) await work();
}
