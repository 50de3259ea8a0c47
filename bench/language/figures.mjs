// Accuracies with their intervals, and tables of them.

const Z = 1.96; // 95 %

/** Wilson's score interval (1927) of a share of n. */
export function wilson(share, n) {
  if (n === 0) return [0, 1];
  const middle = (share + Z ** 2 / (2 * n)) / (1 + Z ** 2 / n);
  const half = (Z / (1 + Z ** 2 / n)) * Math.sqrt((share * (1 - share)) / n + Z ** 2 / (4 * n ** 2));
  return [middle - half, middle + half];
}

export const percent = (share) => (100 * share).toFixed(1);

export function withInterval(share, n) {
  const [low, high] = wilson(share, n);
  return `${percent(share)} (${percent(low)}–${percent(high)})`;
}

export function mean(numbers) {
  return numbers.reduce((sum, each) => sum + each, 0) / numbers.length;
}

/** The share of the answer that is right most often, and the expected share of a guess. */
export function floorsOf(items) {
  const counts = new Map();
  for (const { answer } of items) counts.set(answer, (counts.get(answer) ?? 0) + 1);
  return { majority: Math.max(...counts.values()) / items.length, chance: mean(items.map(({ choices }) => 1 / choices)) };
}

/** A table in Markdown; the first row names the columns. */
export function table([head, ...rows]) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
