// Inflection of invented words, after the wug test (Berko 1958): does a model form plurals and tenses of words that it has never seen? Each item is a
// context, and two ways to end it of which one has the ending that the rest of the sentence asks for. Both ways are asked for: a model that
// likes long words, or short ones, is right half of the time.

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

/** [what is asked for, context, ending of the sentence, right form, wrong form] of each inflection, both ways */
function* sentences() {
  for (const noun of NOUNS) {
    yield ['plural', `this is a ${noun}. now there are two`, ' of them here.', s(noun), noun];
    yield ['plural', `these are some ${s(noun)}. give me only one`, ', please.', noun, s(noun)];
  }
  for (const verb of VERBS) {
    yield ['past', `he likes to ${verb}. yesterday he`, ' all day long.', ed(verb), verb];
    yield ['past', `yesterday he ${ed(verb)}. today he wants to`, ' again.', verb, ed(verb)];
    yield ['third person', `i ${verb} every day. she also`, ' every day.', s(verb), verb];
    yield ['third person', `she ${s(verb)} every day. they also`, ' every day.', verb, s(verb)];
    yield ['progressive', `he likes to ${verb}. look, he is`, ' now.', ing(verb), verb];
    yield ['progressive', `look, he is ${ing(verb)}. he can`, ' very well.', verb, ing(verb)];
  }
  for (const adjective of ADJECTIVES) {
    yield ['comparative', `this dog is ${adjective}. that dog is even`, ' than this one.', `${adjective}er`, adjective];
    yield ['comparative', `that dog is ${adjective}er. this dog is very`, ', too.', adjective, `${adjective}er`];
  }
}

/** Items as of the benchmarks' files: which of two continuations, of which the first is right */
export function wugs() {
  return [...sentences()].map(([kind, context, end, right, wrong], i) => ({ id: `wug-${i}`, kind, context, choices: [` ${right}${end}`, ` ${wrong}${end}`], answer: 0 }));
}
