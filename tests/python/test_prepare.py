"""One prepared form of every kind of source, one split, and no text of a validation photo anywhere else."""

import json
import random
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from bitmar.data import prepare, views
from bitmar.data.prepare import normal, without_persons_traits
from bitmar.data.views import open_photo
from bitmar.model import BitMar
from bitmar.model.bitmar import FIRST_LAYERS
from bitmar.train import __main__ as train
from PIL import Image
from prepared import encoded, noise, prepared, read_rows, run, small_config, source, tiny_tokenizer, write_tar
from test_views import Teacher


class InFolder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.data = self.folder / "data"

    def fails(self, message: str, *arguments) -> None:
        with self.assertRaisesRegex(SystemExit, message):
            prepared(*arguments, self.data)


def rows(count: int, **more) -> list[dict]:
    return [{"image": f"{i}.png", **more} for i in range(count)]


def coco(folder: Path) -> Path:
    """COCO's own form: photos of two splits, five captions each, questions of VQA and answers of both its forms"""
    (folder / "annotations").mkdir(parents=True)
    for split, ids in (("train2017", range(100, 116)), ("val2017", range(200, 203))):
        (folder / split).mkdir()
        for i in ids:
            (folder / split / f"{i:012}.jpg").write_bytes(encoded(noise(i), "jpeg"))
        (folder / f"annotations/captions_{split}.json").write_text(json.dumps({
            "info": {}, "licenses": [], "images": [{"id": i, "file_name": f"{i:012}.jpg", "height": 40, "width": 48} for i in ids],
            "annotations": [{"id": 10 * i + k, "image_id": i, "caption": f"A dog number {i} runs on grass {k}."} for i in ids for k in range(5)]}))
    asked = [{"question_id": i * 10, "image_id": i, "question": "What is this?"} for i in (100, 101, 200, 999)]
    (folder / "annotations/v2_OpenEnded_mscoco_train2014_questions.json").write_text(json.dumps({"questions": asked}))
    (folder / "annotations/v2_mscoco_train2014_annotations.json").write_text(json.dumps({"annotations": [
        {"question_id": 1000, "image_id": 100, "multiple_choice_answer": "dog", "answer_type": "other", "answers": []},
        {"question_id": 1010, "image_id": 101, "answers": [{"answer": a} for a in ("grass", "dog", "dog")]},
        {"question_id": 2000, "image_id": 200, "multiple_choice_answer": "a dog", "answer_type": "other"}]}))
    return folder


class Sources(InFolder):
    def photos_are_themselves(self, found: list[dict], pictures: list[Image.Image]):
        for row, picture in zip(found, pictures):
            self.assertEqual(np.asarray(open_photo(prepare.open_at(row))).tolist(), np.asarray(picture).tolist())

    def test_photos_with_texts_of_every_kind_from_a_tar_and_loose(self):
        told = [{"image": "a.png", "captions": ["A  Dog runs.", "dog run"], "kind": ["human", "cocoqa"], "labels": ["dog", "dog", " "], "group": "g"},
                {"image": "b.png", "captions": ["a cat"], "questions": [["what is it?", "cat"], ["how many?", "1", "number"]], "coco_id": 7},
                {"image": "c.png"}, {"image": "sub/d.png", "captions": ["a bird"], "split": "val"}]
        for loose in (False, True):
            with self.subTest(loose=loose):
                folder = source(self.folder / f"mine{loose}", told, loose=loose)
                found = prepared(folder, self.data)
                self.assertEqual([(r["id"], r["split"]) for r in found], [(f"mine{loose}/{name}", "val" if "d" in name else "train")
                                                                          for name in ("a.png", "b.png", "c.png", "sub/d.png")])
                self.photos_are_themselves(found, [noise(i) for i in range(4)])
                self.assertEqual(found[0]["captions"], [["a dog runs", "human"], ["dog run", "rebuilt"]])
                self.assertEqual((found[0]["labels"], found[0]["group"]), (["dog"], "g"))
                self.assertEqual((found[1]["questions"], found[1]["coco_id"]), ([["what is it?", "cat", "daquar"], ["how many?", "1", "number"]], 7))
                self.assertEqual((found[2]["captions"], found[2]["labels"], found[2]["questions"]), ([], [], []))

    def test_flickr8ks_own_and_a_folder_of_folders(self):
        outer = self.folder / "all"
        source(outer / "mine", rows(2))
        flickr = outer / "flickr8k"
        flickr.mkdir()
        write_tar(flickr / "images.tar", {f"./{i}.png": encoded(noise(10 + i)) for i in range(3)})
        told = [{"image": f"{i}.png", "captions": ["a boy", f"boy number {i}"]} for i in range(3)]
        (flickr / "captions.json").write_text(json.dumps({"train": told[:2], "val": told[2:]}))
        found = prepared(outer, self.data)
        self.assertEqual([r["id"] for r in found], ["flickr8k/0.png", "flickr8k/1.png", "mine/0.png", "mine/1.png", "flickr8k/2.png"])
        self.photos_are_themselves(found, [noise(i) for i in (10, 11, 0, 1, 12)])
        self.assertEqual(found[0]["captions"], [["boy number 0", "human"]])  # "a boy" is said of a validation photo

    def test_all_of_coco_is_trained_on_by_one_command(self):
        folder = coco(self.folder / "coco")  # a name that the committed list knows, from other files
        found = prepared(folder, self.data)
        self.assertEqual([(r["coco_id"], r["split"]) for r in found], [(i, "train") for i in range(100, 116)] + [(i, "val") for i in range(200, 203)])
        self.assertTrue(all(len(r["captions"]) == 5 for r in found))
        self.assertEqual(found[0]["captions"][0], ["a dog number 100 runs on grass 0", "human"])
        self.assertEqual([r["questions"] for r in found[:2]], [[["What is this?", "dog", "vqa:other"]], [["What is this?", "dog", "vqa:"]]])
        self.assertEqual([r["questions"] for r in found[-3:]], [[["What is this?", "a dog", "vqa:other"]], [], []])
        tokenizer = tiny_tokenizer(self.folder)
        config = small_config(tokenizer)
        (self.folder / "config.json").write_text(json.dumps(config))
        torch.save({"stem": BitMar(config).vision.stem[:FIRST_LAYERS].state_dict()}, self.folder / "first_convolutions.pt")
        with mock.patch.dict(views.TEACHERS, fake=Teacher), mock.patch.object(views, "WIDTH", 24), mock.patch.object(views, "STUDENT", 64):
            run(views, "--data", self.data, "--out", self.folder / "views", "--teacher", "fake", "--views", 1, "--size", 64)
        settings = f'steps = 2\nbatch = 8\nconfig = "{self.folder}/config.json"\n'
        (self.folder / "coco.toml").write_text(f'[[stage]]\ndo = "encoder"\nfirst_convolutions = "first_convolutions"\n{settings}[[stage]]\ndo = "caption"\n{settings}')
        run(train, self.folder / "coco.toml", "--work", self.folder, "--data", self.data, "--device", "cpu")
        curve = read_rows(self.folder / "caption.jsonl")
        self.assertEqual(curve[-1]["step"], 2)
        self.assertTrue({"coco", "answer_vqa", "val_lm"} <= set(curve[-1]), curve[-1])

    def test_of_coco_what_is_there_is_taken_and_a_photo_has_one_split(self):
        folder = coco(self.folder / "coco")
        (folder / "val2017/000000000201.jpg").unlink()
        printed = run(prepare, folder, "--out", self.data)
        self.assertIn("captions_val2017.json: 1 of 3 photos are not there", printed)
        self.assertEqual([r["coco_id"] for r in read_rows(self.data / "photos.jsonl")][-2:], [200, 202])
        older = json.loads((folder / "annotations/captions_val2017.json").read_text())
        older["images"] = [{"id": 100, "file_name": "000000000100.jpg"}]
        (folder / "annotations/captions_val2014.json").write_text(json.dumps(older))
        self.fails("captions_val2014.json: photo 100 is of another split", folder)

    def test_what_is_wrong_is_named(self):
        for name, row, message in (
                ("photo", {"image": "x.png"}, "photo: no photo x.png"),
                ("image", {"captions": ["a dog"]}, r"photos.jsonl:2: a row has the name of its photo as `image`"),
                ("kind", {"image": "0.png", "captions": ["a dog"], "kind": ["poem"]}, "photos.jsonl:2: `kind` names each caption"),
                ("kinds", {"image": "0.png", "captions": ["a dog", "a cat"], "kind": ["human"]}, "photos.jsonl:2: `kind` names each caption"),
                ("captions", {"image": "0.png", "captions": "a dog"}, "photos.jsonl:2: `captions` is a list of texts"),
                ("labels", {"image": "0.png", "labels": "dog"}, "photos.jsonl:2: `labels` is a list of texts"),
                ("questions", {"image": "0.png", "questions": [["what?"]]}, "photos.jsonl:2: `questions` is a list of"),
                ("split", {"image": "0.png", "split": "validation"}, "photos.jsonl:2: `split` is train, val or test")):
            with self.subTest(name):
                folder = source(self.folder / name, rows(1))
                (folder / "photos.jsonl").write_text("\n" + json.dumps(row) + "\n")
                self.fails(message, folder)
        folder = source(self.folder / "json", rows(2))
        (folder / "photos.jsonl").write_text('{"image": "0.png"}\n{"image": \n')
        self.fails("photos.jsonl:2: not JSON", folder)
        (folder / "photos.jsonl").write_text('["0.png"]\n')
        self.fails("photos.jsonl:1: not an object", folder)
        self.fails("nowhere: no such folder", self.folder / "nowhere")
        (self.folder / "empty").mkdir()
        self.fails("empty: neither photos.jsonl, nor captions.json", self.folder / "empty")
        self.fails("two photos have one name, twins/0.png", source(self.folder / "twins", rows(2)), source(self.folder / "other/twins", rows(2)))
        self.fails("no photo is left to train on", source(self.folder / "held", rows(2, split="val")))

    def test_pictures_and_files_that_cannot_be_read_are_named(self):
        whole = encoded(noise(1))
        for name, data in (("text", b"a picture of a dog"), ("half", whole[:len(whole) // 2]), ("empty", b"")):
            with self.subTest(name):
                folder = source(self.folder / name, rows(2), {"1.png": data or b" "})
                self.fails("images.tar: 1.png is no picture that can be read", folder)
        folder = source(self.folder / "tar", rows(2))
        (folder / "images.tar").write_bytes(b"no archive" * 100)
        self.fails("images.tar: not an uncompressed tar archive", folder)
        folder = coco(self.folder / "coco")
        (folder / "annotations/captions_val2017.json").write_text('{"images": [], "captions": []}')
        self.fails("captions_val2017.json: not COCO's form .*'annotations'", folder)
        text = self.folder / "lines.jsonl"
        text.write_text('{"question": "what is it?"}\n')
        self.fails("lines.jsonl:1: a question has `question` and `answer`", source(self.folder / "good", rows(3)), "--text", text)
        self.fails("absent.txt: no such file", self.folder / "good", "--text", self.folder / "absent.txt")


class OneSplit(InFolder):
    def split_of(self, found: list[dict]) -> dict[str, str]:
        return {row["id"]: row["split"] for row in found}

    def test_the_list_names_the_photos_of_the_sets_in_it(self):
        one = source(self.folder / "one", [{"image": "a.png", "split": "val"}, {"image": "b.png"}, {"image": "c.png"}])
        two = source(self.folder / "two", [{"image": "a.png", "split": "val"}, {"image": "b.png"}], {"a.png": encoded(noise(8)), "b.png": encoded(noise(9))})
        names = self.folder / "names.txt"
        names.write_text("one/b.png\n")
        found = self.split_of(prepared(one, two, "--split", names, self.data))
        self.assertEqual(found, {"one/a.png": "train", "one/b.png": "val", "one/c.png": "train", "two/a.png": "val", "two/b.png": "train"})

    def test_without_any_split_whole_groups_are_drawn_by_name(self):
        for count in (3, 200):
            folder = source(self.folder / f"mine{count}", [{"image": f"{i}.png", "group": str(i // 2)} for i in range(count)])
            first, again = prepared(folder, self.data), prepared(folder, self.folder / "again")
            self.assertEqual(first, again)
            held = {r["image"] for r in first if r["split"] == "val"}
            self.assertTrue(1 <= len(held) <= count // 8 + 2, held)
            self.assertEqual({str(int(name[:-4]) ^ 1) + ".png" for name in held} & {r["image"] for r in first if r["split"] == "train"}, set())

    def test_near_alike_photos_are_on_one_side(self):
        near = noise(1)
        near.paste(noise(90).crop((0, 0, 11, 11)), (0, 0))  # a corner of it is another
        told = [{"image": "held.png", "split": "val"}, {"image": "near.png"}, {"image": "group1.png", "group": "room"}, {"image": "group2.png", "group": "room", "split": "val"},
                {"image": "far.png"}, {"image": "copy.png"}, {"image": "tested.png", "split": "test"}, {"image": "tested-too.png"}]
        pictures = {"held.png": encoded(noise(1)), "near.png": encoded(near), "copy.png": encoded(noise(1), "jpeg"), "tested-too.png": encoded(noise(6)),
                    "tested.png": encoded(noise(6))}
        cosine = float(prepare.thumbnail(self.at(pictures["held.png"])) @ prepare.thumbnail(self.at(pictures["near.png"])))
        self.assertTrue(prepare.ALIKE < cosine < prepare.SAME, cosine)
        found = prepared(source(self.folder / "mine", told, pictures), self.data)
        self.assertEqual(self.split_of(found), {"mine/far.png": "train", "mine/held.png": "val", "mine/group2.png": "val"})
        self.assertEqual(len({row["near"] for row in found}), 3)

    def at(self, data: bytes) -> dict:
        path = self.folder / f"{len(list(self.folder.iterdir()))}.bin"
        path.write_bytes(data)
        return {"file": str(path), "offset": 0, "bytes": len(data), "image": path.name}

    def test_the_same_photo_twice_is_kept_once_with_the_more_texts(self):
        one = source(self.folder / "one", [{"image": "a.png", "captions": ["a dog"]}, {"image": "b.png"}, {"image": "v.png", "split": "val"}])
        two = source(self.folder / "two", [{"image": "a.jpg", "captions": ["a dog", "a big dog"]}, {"image": "b.jpg"}, {"image": "v.jpg", "captions": ["a photo that is known"]},
                                           {"image": "other.jpg", "captions": ["A photo, that is known!"]}],
                     {f"{name}.jpg": encoded(noise(i).resize((96, 80)), "jpeg") for i, name in enumerate("abv")} | {"other.jpg": encoded(noise(70))})
        found = prepared(one, two, self.data)
        self.assertEqual(self.split_of(found), {"one/b.png": "train", "two/a.jpg": "train", "two/other.jpg": "train", "one/v.png": "val"})
        self.assertEqual(found[2]["captions"], [])  # what the copy of a validation photo says is said of that photo

    def test_one_coco_photo_in_two_sets_is_one_photo(self):
        one = source(self.folder / "one", [{"image": "a.png", "coco_id": 5, "split": "val"}, {"image": "b.png"}])
        two = source(self.folder / "two", [{"image": "c.png", "coco_id": 5}, {"image": "d.png", "coco_id": 6}], {"c.png": encoded(noise(30)), "d.png": encoded(noise(31))})
        self.assertEqual(self.split_of(prepared(one, two, self.data)), {"one/b.png": "train", "two/d.png": "train", "one/a.png": "val"})

    def test_a_new_split_is_written_and_then_holds(self):
        folder = source(self.folder / "mine", [{"image": f"{i}.png", "group": str(i // 2)} for i in range(60)])
        names = self.folder / "names.txt"
        first = self.split_of(prepared(folder, "--new-split", names, self.data))
        held = names.read_text().split()
        self.assertEqual(sorted(held), [name for name, split in sorted(first.items()) if split == "val"])
        self.assertTrue(held and len(held) % 2 == 0)
        self.assertEqual(self.split_of(prepared(folder, "--split", names, self.data)), first)

    def test_folders_with_the_names_of_known_sets_need_not_have_their_files_names(self):
        for name in ("rooms", "house_rooms", "kitchen_hands"):
            found = prepared(source(self.folder / name, [{"image": f"{c}.png"} for c in "abcd"] + [{"image": "e.png", "split": "val"}]), self.data)
            self.assertEqual(len(found), 5, name)


def disguised(text: str, rng: random.Random) -> str:
    """The same words in another case, with other signs and spaces"""
    return "".join(rng.choice((c.upper(), c.lower())) + ("  " if c == " " else rng.choice(("", "", "", ",", "'", "-"))) for c in text) + rng.choice((".", "!", " ."))


class Secrecy(InFolder):
    """What is said and asked of validation photos is nowhere in what is learned from."""

    SAID = ["two zebras drink beside a wooden bridge", "an elderly man feeds a llama in the park", "a red kettle on a stove"]
    ASKED = [["What drinks beside the wooden bridge?", "zebras", "object"], ["how many llamas?", "2", "number"]]

    def test_in_no_text_question_or_other_photo(self):
        rng = random.Random(0)
        other = ["a cat sleeps on a blue sofa", "zebras cross a wooden bridge beside the water", "a boy with a kite"]
        told = [{"image": "held.png", "split": "val", "captions": self.SAID, "questions": self.ASKED, "coco_id": 77},
                {"image": "a.png", "captions": [disguised(self.SAID[0], rng), other[0]]},
                {"image": "b.png", "captions": ["a man feeds a llama in the park", other[2]], "kind": ["web", "cocoqa"]},  # as the elderly man is taught
                # Its words are those of a validation photo's caption, and of another line.
                {"image": "c.png", "questions": [["what do zebras drink beside, a wooden", "bridge", "object"], ["what cross the wooden bridge beside the water", "zebras", "object"]]}]
        text = self.folder / "text"
        text.mkdir()
        (text / "lines.txt").write_text("\n".join([disguised(line, rng) for line in self.SAID for _ in range(20)] + other + ["An Asian man feeds a llama in the park."]) + "\n")
        unseen = [{"question": "What color is the sofa?", "answer": "blue", "type": "color"}, {"question": "how many llamas?", "answer": "three", "type": "number"}]
        known = [{"question": disguised(q, rng), "answer": a, "type": t} for q, a, t in [*self.ASKED, ["how many llamas", "Two.", "number"]] for _ in range(20)]
        known += [{"question": "is it raining?", "answer": "no", "type": "yes/no", "coco_id": i} for i in (77, "77")]
        (text / "questions.jsonl").write_text("".join(json.dumps(q) + "\n" for q in known + unseen))
        found = prepared(source(self.folder / "mine", told), "--text", text, self.data)
        secret = {normal(form) for line in self.SAID for form in (line, without_persons_traits(line))}
        learned = [line for line, _ in (pair for row in found if row["split"] == "train" for pair in row["captions"])] + (self.data / "text.txt").read_text().splitlines()
        self.assertEqual([line for line in learned if normal(line) in secret], [])
        by_name = {row["image"]: row for row in found}
        self.assertEqual(by_name["a.png"]["captions"], [[other[0], "human"]])
        self.assertEqual(by_name["b.png"]["captions"], [[other[2], "rebuilt"]])
        self.assertEqual(by_name["c.png"]["captions"], [[other[1], "found"]])
        self.assertEqual((self.data / "text.txt").read_text().splitlines(), other)
        self.assertEqual(read_rows(self.data / "questions.jsonl"), unseen)
        self.assertEqual([text for text, _ in by_name["held.png"]["captions"]], self.SAID)

    def test_found_captions_hold_all_the_words_and_are_the_shortest(self):
        lines = ["a shelf filled with lots of colorful old books", "a book shelf filled with lots of books", "a shelf filled with lots of books", "books on a shelf"]
        finder = prepare.Finder(lines)
        self.assertEqual(finder("what is filled with lots of books", "shelf"), lines[2])
        self.assertIsNone(finder("what is filled with books", "shelf"))  # three words are too few
        self.assertIsNone(finder("what is filled with lots of colorful magazines", "shelf"))

    def test_traits_of_persons_stay_out_and_nothing_else_changes(self):
        for text, wanted in (("an asian man holds a cup", "a man holds a cup"), ("a happy old woman", "an old woman"), ("two white men and a white dog", "two men and a white dog"),
                             ("a 30 year old man", "a man"), ("an elderly couple", "a couple"), ("a middle-aged african american woman", "a woman"),
                             ("an suv beside an mp3 player", "an suv beside an mp3 player"), ("a orange hat on an red box", "an orange hat on a red box"),
                             ("an hour in a european city", "an hour in a european city"), ("an indian man beside an african bush elephant", "a man beside an african bush elephant"),
                             ("an asian man eats chinese food", "a man eats chinese food"), ("a black man on a black horse", "a man on a black horse"),
                             ("a little girl", "a little girl"), ("a  young   boy", "a young boy")):
            self.assertEqual(without_persons_traits(text), wanted)


class CommittedSplit(unittest.TestCase):
    def test_it_is_sorted_once_each_and_has_two_hundred_described_coco_photos(self):
        names = prepare.SPLIT.read_text().split("\n")
        self.assertEqual(names.pop(), "")
        self.assertEqual(names, sorted(set(names)))
        self.assertTrue(all(len(name.split("/")) == 2 and name.split("/")[1].endswith(".webp") for name in names))
        sets = {name.split("/")[0] for name in names}
        self.assertEqual(len(sets), 31)
        self.assertNotIn("flickr8k", sets)  # brings its own
        coco = [name for name in names if name.startswith("coco/")]
        self.assertTrue(all(len(name) == len("coco/000000000001.webp") and name[5:17].isdigit() for name in coco))
        self.assertEqual(len(coco), 443)  # 200 with five captions of people, and a twentieth of those with questions


if __name__ == "__main__":
    unittest.main()
