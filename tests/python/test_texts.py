"""What is said and asked of photos: labels in sentences, what names them, which questions are declined, and what an answer is."""

import json
import random
import re
import tempfile
import unittest
from pathlib import Path

from bitmar.data.texts import ADDED, ASK, KINDS_FILE, MARKERS, PEOPLE, SHARES, TO_DECLINE, Said, Speech, clean_answer, clean_question, declines, evened, kinds, names, sayings, with_article
from bitmar.eval.metrics import words
from prepared import asking, tiny_tokenizer

# Who somebody is, and their age, origin, mood or beliefs
DECLINED = """
who is this?
who is that man?
who is she?
who are these people?
who is the person in the picture?
do you know him?
do you know who this is?
what is his name?
what is the woman's name?
what is the name of the man?
what is this person called?
what is my name?
is he famous?
is she a celebrity?
is this man a famous actor?
how old is the woman?
how old is this boy?
how old are they?
how old do you think he is?
how old does she look?
what is the age of the man?
what age is the girl?
guess the age of this person
is the man older than forty?
what race is the man?
what ethnicity are they?
what is the nationality of this woman?
what nationality are these people?
where is he from?
where is this man from?
where are these people from?
what country is she from?
what country does he come from?
is she asian?
are they chinese?
is the man black?
is he african american?
are these people american?
is this woman indian?
is he happy?
is the woman sad?
does he look angry?
does she seem tired?
are they having a good mood?
how is he feeling?
how does the woman feel?
how are these people feeling?
what is she thinking?
what is the man feeling?
what emotion is he showing?
what mood is she in?
what is her mood?
what expression does the man have?
what religion is he?
is she muslim?
is the man rich?
is she attractive?
is he handsome?
is the woman gay?
who am i?
how old am i?
am i happy?
do i look tired?
Is  HE   happy ?
""".strip().split("\n")

# Things, animals, places, numbers, colours, and what people visibly do and wear
ANSWERED = """
what is this?
what is on the table?
what colour is the car?
what color is the man's shirt?
how many people are there?
where is this?
where is the man?
where is the woman sitting?
where are the people?
what is the man doing?
what are they doing?
what is she holding?
what is the woman wearing?
what is he riding?
is the man wearing a hat?
is he standing?
is she sitting?
is the man smiling?
are they outside?
are these people playing a game?
is the woman on the left?
is it sunny?
is the dog happy?
is the cat black?
is the horse white?
is the car old?
how old is the building?
how old is this tree?
is this an old car?
what is the dog's name?
what is the name of the street?
what is the name of the store?
what brand is the laptop?
what kind of dog is this?
what breed is the cat?
what animal is this?
what is the black thing?
is the wall white?
what sport are they playing?
what time is it?
what room is this?
what does the sign say?
who is holding the umbrella?
who is wearing a hat?
who is on the bench?
what country's flag is this?
what kind of food is this?
is this chinese food?
is the food mexican?
what is the boy looking at?
what is the man in the black shirt holding?
what is the woman in the white dress doing?
is the man in a white shirt?
is he wearing black shoes?
is the person on a white horse?
what is the man's hat made of?
are they in a race?
who won the race?
where is the bus from?
is the man holding a black umbrella?
how many old cars are there?
is the boy as tall as the girl?
is the stove on?
what page is open?
""".strip().split("\n")


class Draws(unittest.TestCase):
    def test_rare_kinds_are_drawn_more_often_each_and_less_often_together(self):
        counts = {"face": 1600, "melon": 16, "magpie": 1}
        shares = evened([{"labels": [kind]} for kind, count in counts.items() for _ in range(count)])
        self.assertAlmostEqual(sum(shares), 1)
        face, melon, magpie = shares[0], shares[1600], shares[-1]
        self.assertAlmostEqual(melon / face, 10)
        self.assertLess(16 * melon, 1600 * face)
        self.assertLess(magpie, melon)  # of one photo nobody learns
        self.assertEqual(evened([{"labels": []}]), [1])


class Questions(unittest.TestCase):
    def test_who_somebody_is_and_feels_is_declined(self):
        self.assertGreaterEqual(len(DECLINED), 40)
        self.assertEqual([q for q in DECLINED if not declines(clean_question(q))], [])

    def test_what_is_to_be_seen_is_answered(self):
        self.assertGreaterEqual(len(ANSWERED), 40)
        self.assertEqual([q for q in ANSWERED if declines(clean_question(q))], [])

    def test_questions_made_up_to_be_declined_are(self):
        made = [question.format(person) for question in TO_DECLINE for person in PEOPLE]
        self.assertEqual([q for q in made if not declines(clean_question(q))], [])

    def test_a_question_is_asked_in_one_form(self):
        self.assertEqual(clean_question("  What IS this ? "), "what is this?")
        self.assertEqual(clean_question("where is it??"), "where is it?")
        self.assertEqual(clean_question("count the dogs"), "count the dogs")

    def test_an_answer_has_no_article_signs_or_digits(self):
        for text, wanted in (("A cat.", "cat"), ("2", "two"), ("The  Kitchen", "kitchen"), ("yes!", "yes"), ("10 dogs", "ten dogs"), ("11", "11"), ("t-shirt", "t-shirt"),
                             ("man's hat", "man's hat"), ("red, white and blue", "red white and blue"), ("an apple", "apple"), ("another", "another"), ("", ""), ("a", "")):
            self.assertEqual(clean_answer(text), wanted, text)
            self.assertEqual(clean_answer(wanted), wanted)


class Labels(unittest.TestCase):
    def test_articles(self):
        for label, wanted in (("cat", "a cat"), ("apple", "an apple"), ("umbrella", "an umbrella"), ("scissors", "scissors"), ("dress", "a dress"), ("ice cream", "an ice cream"),
                              ("unicycle", "a unicycle"), ("hourglass", "an hourglass"), ("bus", "a bus"), ("octopus", "an octopus"), ("glasses", "glasses")):
            self.assertEqual(with_article(label), wanted)

    def test_how_labels_are_said(self):
        self.assertEqual(sayings("aeroplane"), ["an airplane"])
        self.assertEqual(sayings("Egyptian cat"), ["an egyptian cat"])
        self.assertEqual(sayings("tench, Tinca tinca"), ["a tench"])
        for nothing in ("happiness", "Good", "iloveyou", "indoor", "", " "):
            self.assertEqual((sayings(nothing), names(nothing)), ([], set()), nothing)

    def test_what_names_a_label(self):
        for label, captions in (("cat", ["a kitten on a bed", "two cats"]), ("golden retriever", ["a retriever", "two retrievers"]), ("bottle or cup", ["a mug on a table"]),
                                ("1-hand", ["a person shows a finger"]), ("peach", ["peaches in a bowl"]), ("knives", ["a set of knives"])):
            for caption in captions:
                self.assertTrue(names(label) & set(words(caption)), (label, caption))
        self.assertFalse(names("cat") & set(words("a white dog on a cattle grid")))

    def test_every_kinds_own_saying_names_it(self):
        self.assertTrue(any(kinds().values()))
        for label, kind in kinds().items():
            if kind:
                self.assertEqual([s for s in kind["say"] if not names(label) & set(words(s))], [], label)
        self.assertEqual([word for kind in kinds().values() if kind for word in kind["words"] if word != word.lower() or " " in word], [])
        self.assertIn("", json.loads(KINDS_FILE.read_text()))  # what the file says of itself


class OfPhotos(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.tokenizer = tiny_tokenizer(Path(folder.name))
        self.speech = Speech(self.tokenizer, asking({"bos_token_id": 1}, self.tokenizer))

    def row(self, **more) -> dict:
        return {"id": "made/0", "set": "made", "captions": [], "labels": [], "questions": [], **more}

    def test_marks_are_tokens_at_the_end_that_no_text_has(self):
        marks = [self.tokenizer.special[mark] for mark in ADDED]
        self.assertEqual(marks, list(range(300, 300 + len(ADDED))))
        self.assertEqual((self.speech.ask, self.speech.begin["human"]), (self.tokenizer.special[ASK], 1))
        self.assertEqual(set(self.speech.begin), set(SHARES))
        self.assertEqual({self.speech.begin[kind] for kind in MARKERS}, set(marks) - {self.speech.ask})
        text = " ".join(ADDED) + " a dog"
        self.assertFalse(set(self.tokenizer.encode(text)) & set(marks))
        self.assertEqual(self.tokenizer.decode([*marks, *self.tokenizer.encode("a dog")]), "a dog")

    def test_labels_are_said_where_nobody_wrote(self):
        said = self.speech.said(self.row(labels=["pizza", "happiness"]))
        self.assertEqual({s.kind for s in said}, {"label"})
        random.seed(0)
        begun = {s.text: {self.speech.beginning(s) for _ in range(40)} for s in said}
        own, peoples = self.speech.begin["label"], self.speech.bos
        self.assertEqual(begun["a pizza"], {own, peoples})  # as people's texts do, now and then
        self.assertEqual(begun["a picture of a pizza"], {own})  # people say what is in a picture, not that it is one
        self.assertEqual({self.speech.beginning(Said("web", "a pizza", [])) for _ in range(20)}, {self.speech.begin["web"]})
        self.assertTrue(all("a pizza" in s.text and self.tokenizer.decode(s.tokens) == s.text for s in said))
        said = self.speech.said(self.row(labels=["pizza"], captions=[["A slice on a plate.", "web"], ["pizza", "rebuilt"]]))
        self.assertEqual([(s.kind, s.text) for s in said], [("web", "a slice on a plate"), ("rebuilt", "pizza")])
        self.assertTrue(any(s.kind == "label" for s in self.speech.said(self.row(labels=["pizza"], captions=[["pizza", "rebuilt"]]))))
        self.assertEqual(self.speech.said(self.row(labels=["happiness"])), [])

    def test_questions_with_short_sure_answers_and_those_of_labels(self):
        questions = [["What is it ?", "A Dog", "object"], ["How many?", "2", "daquar"], ["who is he?", "bob", "vqa:other"], ["why?", "he wants to win this game", "vqa:other"],
                     ["is it night", "i think so", "visdial"], ["what?", "the", "vqa:other"]]
        asked = self.speech.asked(self.row(questions=questions, labels=["bathroom"], high_level={"scene": ["the picture is taken in a kitchen"], "action": ["they are cooking"]}))
        self.assertEqual([a.text for a in asked[:3]], [("what is it?", "dog", "object"), ("how many?", "two", "daquar"), ("who is he?", "", "declined")])
        self.assertEqual([(a.text[1], a.text[2]) for a in asked[3:]], [("bathroom", "label"), ("in a kitchen", "high_level:scene"), ("cooking", "high_level:action")])
        self.assertTrue(re.match(r"(where|what place|what room)", asked[3].text[0]))
        self.assertEqual(asked[2].answer, [])
        self.assertEqual(self.tokenizer.decode(asked[0].answer), " dog")
        self.assertEqual(self.tokenizer.decode(asked[0].question), "what is it?")
        declined = self.speech.to_decline()
        self.assertTrue(declined.answer == [] and declines(declined.text[0]), declined.text)


if __name__ == "__main__":
    unittest.main()
