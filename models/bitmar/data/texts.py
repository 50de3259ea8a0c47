"""What is said and asked of the photos of a prepared data set (see prepare.py), as texts and as tokens.

Every text has a kind. The decoder begins a caption of a person's with BOS and one of another kind with that kind's marker, so that
it learns from all and speaks like people. It begins an answer with the mark of a question, which is also what the text encoder
begins a question with. An empty answer declines.
"""

from __future__ import annotations

import functools
import json
import random
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from .dataset import clean_caption

KINDS_FILE = Path(__file__).with_name("kinds.json")
ASK = "<ask>"
MARKERS = {"web": "<web>", "rebuilt": "<rebuilt>", "label": "<label>", "found": "<found>"}
ADDED = [ASK, *MARKERS.values()]  # special tokens at the end of the vocabulary, in this order
SHARES = {"human": 1.0, "web": 0.7, "rebuilt": 0.25, "label": 0.3, "found": 1.0}  # how often a text is drawn beside the photo's others
# How often texts of these kinds begin as people's do: what was found is a person's of another photo, or speaks as they do; and rare things are
# named by labels alone.
AS_PEOPLE = {"found": 0.7, "label": 0.7}

FEW, COMMON = 10, 100  # photos of a kind
SENTENCES = ["{}", "a close up of {}", "a picture of {}", "there is {} here", "this is {}"]  # of labels
STIFF = ("a picture of ", "there is ", "this is ")  # as nobody describes a picture: they never begin as people's texts do
QUESTIONS_OF_LABELS = ["what is this?", "what is in the picture?", "what do you see?", "what is that?", "what is shown here?", "what can you see?"]
QUESTIONS_OF_PLACES = ["where is this?", "what place is this?", "what room is this?", "where was this taken?"]
PLACES = {"bathroom", "kitchen", "bedroom", "forest", "street", "sea", "mountain", "glacier", "living room", "office", "classroom"}

# Who somebody is, their age, origin, mood or beliefs: not answered. Of things and animals these are ordinary questions.
SOMEBODY = (r"(?:he|she|him|her|his|they|them|(?:the|this|that|these|those) (?:young |old |older |little )?(?:man|woman|boy|girl|person|lady|guy|child|kid|baby|people|player|"
            r"men|women|ladies|guys|boys|girls|children|kids|couple|driver|skier|surfer|skateboarder|batter)|we|us)")
PERSON = rf"(?:{SOMEBODY}|i|you|me)"
OWN = rf"(?:his|her|their|my|your|{SOMEBODY}'s)"
IS = r"(?:is|are|am|was|were|does|do|did)"
TRAIT = r"(?:age|race|ethnicity|nationality|religion)"
OF_A_PERSON = (r"(?:happy|sad|angry|upset|tired|bored|excited|mad|scared|depressed|nervous|lonely|asian|white|black|caucasian|indian|chinese|japanese|korean|hispanic|latino|african|arab|"
               r"american|european|mexican|russian|french|german|british|elderly|attractive|pretty|handsome|beautiful|ugly|rich|poor|gay|straight|muslim|christian|jewish|hindu|religious|"
               r"famous|an? (?:celebrity|famous \w+)|(?:older|younger) than)")
DECLINED = [re.compile(p) for p in (
    rf"\bhow old\b.*\b{SOMEBODY}\b", r"\bhow old (?:am i|are you|do i)\b", rf"\bwhat {TRAIT}\b", rf"\b(?:{TRAIT}|name|job) of (?!his|her\b|their){PERSON}\b(?!'s| animal)",
    rf"\b{OWN} (?:{TRAIT}|emotion)\b", rf"\bwhat {IS} {OWN} (?:name|job)\b",
    rf"\bwho {IS} (?:this|that|these|those|it|{PERSON})(?: (?:in|on) (?:the|this) (?:picture|photo|image|photograph))?\s*\??$",
    rf"\bdo you know (?:{PERSON}\s*\??$|who (?:this|that|{SOMEBODY})\b)", rf"\bwhat {IS} {SOMEBODY} called\b",
    rf"\bwhat (?:country|ethnic group) {IS} {PERSON}\b.*\bfrom\b", rf"\bwhere {IS} {PERSON} (?:come )?from\b",
    rf"\b{IS} {PERSON} (?:look |seem |looking |feeling |feel )?{OF_A_PERSON}\b",
    rf"\b(?:how|what) {IS} (?:{SOMEBODY}|i) (?:feel|feeling|think|thinking)\b", r"\bwhat (?:emotion|expression|feeling)", r"\bmood\b")]
PEOPLE = ["he", "she", "the man", "the woman", "the boy", "the girl", "this person", "the person", "this man", "this woman", "the child", "the lady", "the guy", "they", "these people"]
TO_DECLINE = ["who is this?", "who is that?", "who is {}?", "what is {}'s name?", "what is his name?", "what is her name?", "what is the name of {}?", "how old is {}?", "what age is {}?", "what is his age?",
              "what is her age?", "how old are {}?", "guess the age of {}", "what race is {}?", "what ethnicity is {}?", "is {} asian?", "is {} white?", "is {} black?", "what nationality is {}?",
              "where is {} from?", "where are {} from?", "what country is {} from?", "is {} happy?", "is {} sad?", "is {} angry?", "does {} look happy?", "does {} look tired?", "how is {} feeling?", "how does {} feel?", "what is {} feeling?",
              "what emotion is {} showing?", "what mood is {} in?", "what is his mood?", "what is her emotion?", "is {} attractive?", "is {} rich?", "what religion is {}?", "is {} famous?", "do you know {}?", "who are these people?",
              "what is {} thinking?", "is {} a celebrity?", "what does {} feel?", "is {} in a good mood?", "is {} american?", "is {} upset?", "who am i?", "how old am i?", "what is my name?", "am i happy?"]
SMALL = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
         "eighteen nineteen").split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
ARTICLES = ("a", "an", "the")
UNSURE = re.compile(r"\b(not sure|can ?not tell|can'?t tell|don'?t know|can'?t see|unsure|cannot see|not visible|hard to tell|i think|maybe|possibly)\b")


@functools.lru_cache(None)
def kinds() -> dict:
    return {k: v for k, v in json.loads(KINDS_FILE.read_text()).items() if k}


def with_article(label: str) -> str:
    if re.search(r"[^siu]s$", label):  # plural
        return label
    return f"{'an' if re.match(r'(?!uni[^nm]|use|eu|one)[aeiou]|hour|honest|heir', label) else 'a'} {label}"


def sayings(label: str) -> list[str]:
    """How a label is said; [] for one that nobody would say of a picture."""
    label = label.split(",")[0].strip()
    kind = kinds().get(label, {})
    return [] if kind is None or not label else kind.get("say", [with_article(label.lower())])


def names(label: str) -> set[str]:
    """Words of which a caption that names the label holds one."""
    if not sayings(label):
        return set()
    kind = kinds().get(label.split(",")[0].strip())
    if kind:
        return set(kind["words"])
    last = label.split(",")[0].lower().split()[-1]
    return {last, last + "s", last + "es", last.rstrip("s"), label.lower()}


def holds_one(said: list[str], wanted: set[str]) -> bool:
    """Whether a caption's words hold one of names(), which may be of several words."""
    return not wanted.isdisjoint(said) or any(" " in name and name in " ".join(said) for name in wanted)


def evened(rows: list[dict]) -> list[float]:
    """How often photos are drawn of which labels tell: kinds of thing between their numbers and equality (1 / root of the number), or a dozen
    melons were lost beside a thousand faces. Kinds of which there are next to none are no likelier than common ones. Sums to 1."""
    kinds = [row["labels"][0].split(",")[0].strip() if row["labels"] else "" for row in rows]
    counts = Counter(kinds)
    weights = [(counts[kind] if counts[kind] >= FEW else COMMON) ** -0.5 for kind in kinds]
    total = sum(weights)
    return [weight / total for weight in weights]


def bare(phrase: str) -> str:
    return re.sub(r"^(a|an|the) ", "", phrase)


def clean_question(text: str) -> str:
    """As it is asked: lower case, single spaces, no space before the question mark."""
    return re.sub(r"\s*\?+\s*$", "?", " ".join(text.lower().split()))


def number_word(word: str, most: int) -> str:
    """'24' -> 'twenty-four'; numbers above `most` (99 at most) and other words stay."""
    if not word.isdecimal() or (n := int(word)) > most:
        return word
    tens, ones = divmod(n, 10)
    return SMALL[n] if n < 20 else TENS[tens - 2] + (f"-{SMALL[ones]}" if ones else "")


def clean_answer(text: str) -> str:
    """As it is learned: without signs, the article at its beginning, and digits up to 10."""
    words = [number_word(w, 10) for w in re.sub(r"[^\w\s'-]", " ", text.lower()).split()]
    return " ".join(words[1:] if words[:1] and words[0] in ARTICLES else words)


def normalised(answer: str) -> str:
    """As answers are compared, whoever gave them: lower case, digits as words, without any article and final punctuation."""
    words = [number_word(w, 99) for w in answer.lower().strip().rstrip(".,;:!?").split()]
    return " ".join([w for w in words if w not in ARTICLES] or words)


def same_answer(said: str, wanted: str) -> bool:
    return normalised(said) == normalised(wanted)


def declines(question: str) -> bool:
    return any(p.search(question) for p in DECLINED)


def answered(question: str, answer: str, kind: str) -> tuple[str, str, str] | None:
    """Question, answer and kind as they are learned, the answer empty where it is declined; None where the answer tells nothing."""
    question, answer = clean_question(question), clean_answer(answer)
    if declines(question):
        return question, "", "declined"
    return (question, answer, kind) if answer and len(answer.split()) <= 4 and not UNSURE.search(answer) else None


@dataclass
class Said:
    kind: str
    text: str
    tokens: list[int]  # without begin and end


@dataclass
class Asked:
    question: list[int]
    answer: list[int]  # empty: declined
    text: tuple[str, str, str]  # question, answer, type


class Speech:
    """Texts and questions of one photo after another, as tokens of one tokenizer."""

    def __init__(self, tokenizer, config: dict):
        self.tokenizer = tokenizer
        self.bos = config["bos_token_id"]
        self.begin = {"human": self.bos, **{kind: tokenizer.special[mark] for kind, mark in MARKERS.items()}}
        self.ask = tokenizer.special[ASK]

    def said(self, row: dict) -> list[Said]:
        """All that is said of a photo; labels in sentences only where nobody wrote of it."""
        out = [(kind, clean_caption(text)) for text, kind in row["captions"]]
        if not any(kind in ("human", "web") for kind, _ in out):
            rng = random.Random(row["id"])
            phrases = [s for label in row["labels"][:3] for s in sayings(label)]
            if row.get("scene") and row["set"] == "webcam_people":
                out += [("web", row["scene"].split(", or ")[0])]
                phrases = []
            if row.get("what"):
                phrases = [row["what"].replace("person", "a person", 1)]
            if phrases:
                out += [("label", sentence.format(rng.choice(phrases))) for sentence in SENTENCES]
        return [Said(kind, text, self.tokenizer.encode(text)) for kind, text in out if text]

    def beginning(self, said: Said) -> int:
        """The token that the text begins with, this time"""
        stiff = said.kind == "label" and said.text.startswith(STIFF)
        return self.bos if not stiff and random.random() < AS_PEOPLE.get(said.kind, 0.0) else self.begin[said.kind]

    def answer(self, text: str) -> list[int]:
        return self.tokenizer.encode(" " + text) if text else []

    def asked(self, row: dict) -> list[Asked]:
        """Questions people asked of a photo, and what its labels answer."""
        pairs = [pair for question, answer, kind in row["questions"] if (pair := answered(question, answer, kind or "vqa:"))]
        rng = random.Random(row["id"])
        for label in row["labels"][:1] if row["set"] != "rooms" else []:
            for phrase in sayings(label)[:1]:
                pairs.append((rng.choice(QUESTIONS_OF_PLACES if label in PLACES else QUESTIONS_OF_LABELS), bare(phrase), "label"))
        if row.get("scene_guess"):
            pairs.append((rng.choice(QUESTIONS_OF_PLACES), row["scene_guess"], "label"))
        for part, asks in (("scene", ["where is this?", "where was this taken?", "where are they?"]), ("action", ["what are they doing?", "what is happening?", "what is going on?"])):
            for text in row.get("high_level", {}).get(part, []):
                # clean_answer took the article at its beginning
                answer = re.sub(r"^(?:(?:picture|photo|image) (?:is|was) (?:taken|shot)|this is(?: taken)?|they are|(?:subject|he|she) is) (?=\w)", "", clean_answer(text))
                if len(answer.split()) <= 6:
                    pairs.append((rng.choice(asks), answer, f"high_level:{part}"))
        return [self.as_asked(*pair) for pair in pairs]

    def as_asked(self, question: str, answer: str, kind: str) -> Asked:
        return Asked(self.tokenizer.encode(question), self.answer(answer), (question, answer, kind))

    def to_decline(self) -> Asked:
        """A question that is not answered, made up"""
        question = random.choice(TO_DECLINE).format(random.choice(PEOPLE))
        return Asked(self.tokenizer.encode(question), [], (question, "", "declined"))
