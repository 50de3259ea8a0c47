// Inflection of invented words, after the wug test (Berko 1958): does a model form plurals and tenses of words that it has never seen? Each item is a
// context and two continuations, of which one has the form that the sentence asks for. Each of the two forms is given and each is asked for, so that a
// preference for long words, for short ones, for words of the context, or against them gives 50 %.

// Berko's words, and more that sound like English.
const NOUNS = ['wug', 'gutch', 'kazh', 'niz', 'tull', 'lun', 'cra', 'tass', 'blick', 'dax', 'fep', 'zib', 'morp', 'plim', 'snad', 'glorp'];
const VERBS = ['rick', 'spow', 'mot', 'bod', 'gling', 'bing', 'zib', 'naz', 'loodge', 'plick', 'drell', 'frop', 'stib', 'grosh', 'wund', 'marp'];
const ADJECTIVES = ['quirk', 'plosh', 'gorb', 'snib', 'drast', 'flen', 'mulk', 'stoll'];

const sibilant = (word) => /(?:s|z|x|sh|ch|zh)$/.test(word);
const s = (word) => word + (sibilant(word) ? 'es' : 's');
const stem = (word) => word.replace(/e$/, '');
const doubled = (word) => (/^[^aeiou]*[aeiou][bdgmnpt]$/.test(word) ? word + word.at(-1) : stem(word));
const ed = (word) => `${doubled(word)}ed`;
const ing = (word) => `${doubled(word)}ing`;

/** [inflection, context, rest of the sentence, right form, wrong form, whether the context has the right form] */
function* sentences() {
  // A form is given and a form is asked for: each of both, so that half of the answers repeat a word of the context.
  function* both(kind, forms, given, asked, ends) {
    for (const [i, context] of given.entries()) {
      for (const [j, question] of asked.entries()) yield [kind, `${context} ${question}`, ends[j], forms[j], forms[1 - j], i === j];
    }
  }
  for (const noun of NOUNS) {
    yield* both('plural', [noun, s(noun)], [`this is a ${noun}.`, `these are some ${s(noun)}.`], ['give me only one', 'now there are two'], [', please.', ' of them here.']);
  }
  for (const verb of VERBS) {
    yield* both('past', [verb, ed(verb)], [`he likes to ${verb}.`, `last week he ${ed(verb)}.`], ['today he wants to', 'yesterday he'], [' again.', ' all day long.']);
    yield* both('third person', [verb, s(verb)], [`i ${verb} every day.`, `my father ${s(verb)} every day.`], ['they also', 'she also'], [' every day.', ' every day.']);
    yield* both('progressive', [verb, ing(verb)], [`he likes to ${verb}.`, `look, he is ${ing(verb)}.`], ['i can', 'now she is'], [' very well.', ' too.']);
  }
  for (const adjective of ADJECTIVES) {
    yield* both('comparative', [adjective, `${adjective}er`], [`that dog is ${adjective}.`, `that dog is ${adjective}er.`], ['this dog is very', 'this dog is even'], [', too.', ' than that one.']);
  }
}

/** Items with two continuations, of which the first is right */
export function wugs() {
  return [...sentences()].map(([kind, context, end, right, wrong, repeated]) => ({ id: `${context} ${right}`, kind, repeated, context, choices: [` ${right}${end}`, ` ${wrong}${end}`], answer: 0 }));
}
