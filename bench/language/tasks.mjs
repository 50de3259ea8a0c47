// The benchmarks of language understanding, in the usual zero-shot forms: a prefix, and continuations of which one is right. A causal model
// chooses the one that is likeliest; it never sees which is right.

const asked = ({ question, choices }) => choices.map((choice) => [`Question: ${question.trim()}\nAnswer:`, ` ${choice}`]);

/**
 * `options(item)`: [prefix, continuation] of each choice. `by`: how the sums of log-probabilities are compared, as usual for the benchmark: `sum` where
 * continuations are alike, `byte` where some are longer than others. `premise`: what each choice is also scored after, without its item, where that makes
 * a difference: some choices are likelier than others whatever is asked. `paper`: the accuracy that the BitMar paper reports, %.
 */
export const TASKS = {
  boolq: {
    name: 'BoolQ',
    file: 'boolq_dev.jsonl',
    by: 'sum',
    premise: 'Answer:',
    paper: 42.83,
    options: ({ context, question, choices }) => choices.map((choice) => [`${context}\nQuestion: ${question}?\nAnswer:`, ` ${choice}`]),
  },
  winogrande: {
    name: 'WinoGrande',
    file: 'winogrande_dev.jsonl',
    by: 'sum',
    paper: 54.57,
    // What follows the name is the same; how likely it is after each of the two names (partial scoring).
    options: ({ context_options, continuation }) => context_options.map((context) => [context, ` ${continuation}`]),
  },
  arc_easy: { name: 'ARC-Easy', file: 'arc_easy_test.jsonl', by: 'byte', premise: 'Answer:', paper: 28.32, options: asked },
  commonsenseqa: { name: 'CommonsenseQA', file: 'commonsenseqa_dev.jsonl', by: 'byte', premise: 'Answer:', paper: 24.57, options: asked },
  hellaswag: {
    name: 'HellaSwag',
    file: 'hellaswag_val_2000.jsonl',
    by: 'byte',
    premise: '',
    paper: 30.04,
    options: ({ context, choices }) => choices.map((choice) => [context, ` ${choice}`]),
  },
  mmlu: { name: 'MMLU', file: 'mmlu_test_40each.jsonl', by: 'byte', premise: 'Answer:', paper: 27.9, options: asked },
  piqa: { name: 'PIQA', file: 'piqa_dev.jsonl', by: 'byte', premise: 'Answer:', options: asked },
  blimp: { name: 'BLiMP', file: 'blimp_100each.jsonl', by: 'sum', options: ({ choices }) => choices.map((choice) => ['', choice]) },
};

/**
 * What a scorer found out about one choice. `alone` is its log-probability after the premise alone; by `information` a choice is worth what the item
 * adds to that (PMI_DC of Holtzman et al. 2021, arXiv 2104.08315).
 */
export function valueIn({ logProbability, tokens, bytes, alone }, by) {
  return by === 'information' ? logProbability - alone : logProbability / { sum: 1, token: tokens, byte: bytes }[by];
}

/** How much of the point for this item: 1, 0, or a part where several are equally likely, as if one of them were drawn. */
export function pointsOf(scores, answer, by) {
  const values = scores.map((score) => valueIn(score, by));
  const best = Math.max(...values);
  const equal = values.filter((value) => value > best - 1e-9).length;
  return values[answer] > best - 1e-9 ? 1 / equal : 0;
}
