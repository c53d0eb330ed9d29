"The official files, unilm's index, the answer list and pictures: equal to the reference on golden data, clear errors on bad input."
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from beit3_colab.data.answer_list import build_answer_list, check_answer_list, normalize_word, read_answer_list, soft_labels
from beit3_colab.machine.messages import UserError
from beit3_colab.pictures.reading import ImageError, normalize, preprocess, read_image
from beit3_colab.data.vqa_files import SPLITS, check_annotations, load_annotations, load_questions
from beit3_colab.data.dataset import Question, group_by_image, missing_images
from beit3_colab.data.vqav2 import open_vqav2

GOLDEN = Path(__file__).parent/"golden"/"vqav2_index"
EXPECTED = json.loads((GOLDEN/"expected_items.json").read_text())
QUESTION = {"question_id": 1, "image_id": 2, "question": "What is it?"}
ANNOTATION = {"question_id": 1, "image_id": 2, "question_type": "what", "answer_type": "other", "multiple_choice_answer": "cat",
              "answers": [{"answer": "cat", "answer_id": i, "answer_confidence": "yes"} for i in range(1, 11)]}


def annotations_of(split): return load_annotations(GOLDEN/f"v2_mscoco_{SPLITS[split]}_annotations.json")

@pytest.fixture(scope="module")
def answers(): return build_answer_list(annotations_of("train").values(), annotations_of("val").values())

def test_answer_list_equal_to_reference(answers): assert answers == read_answer_list(GOLDEN/"expected_answer2label.txt")

@pytest.mark.parametrize("split", SPLITS)
def test_items_equal_to_reference(split, answers):
    data, labels = open_vqav2(GOLDEN, split), {a: i for i, a in enumerate(answers)}
    seen = set()
    for q in data.questions:
        got = soft_labels(data.annotations[q.question_id].answers, labels) if data.annotations else ([], [])
        expected = EXPECTED[split].get(str(q.question_id))
        if expected is None: assert got == ([], []) # the reference drops questions none of whose answers is a label; we keep them
        else:
            assert (q.image, *got) == (expected["image_path"], expected["labels"], expected["scores"])
            seen.add(str(q.question_id))
    assert seen == set(EXPECTED[split])

def test_annotations_of_another_split():
    with pytest.raises(UserError, match="140 of 140 questions have no annotation"):
        check_annotations(open_vqav2(GOLDEN, "val").questions, annotations_of("train"))

@pytest.mark.parametrize("content, says", [
    ("<!DOCTYPE html><html>", "web page"), ('{"questions": [{"question_id"', "cut short"), ("", "is empty"), ('{"questions": []}', "has 0 questions"),
    ('{"annotations": []}', "holds annotations"), ('[{"question_id": 1, "answer": "cat"}]', "holds results"), ("3", "a list of questions is needed")])
def test_bad_questions_file(tmp_path, content, says):
    path = tmp_path/"questions.json"
    path.write_text(content)
    with pytest.raises(UserError, match=says) as error: load_questions(path)
    assert str(path) in str(error.value)

@pytest.mark.parametrize("changes", [{"question_id": True}, {"question_id": 1.0}, {"image_id": None}, {"image_id": True}, {"question": 3}, {"question": None}])
def test_wrong_type_in_a_question(changes):
    with pytest.raises(UserError, match=f"'{next(iter(changes))}' is "): load_questions([QUESTION | changes])

@pytest.mark.parametrize("field", QUESTION)
def test_question_lacks_a_field(field):
    with pytest.raises(UserError, match=f"lacks the field '{field}'"):
        load_questions({"questions": [{k: v for k, v in QUESTION.items() if k != field}]})

@pytest.mark.parametrize("field", ANNOTATION)
def test_annotation_lacks_a_field(field):
    with pytest.raises(UserError, match=f"lacks the field '{field}'"):
        load_annotations({"annotations": [{k: v for k, v in ANNOTATION.items() if k != field}]}, official=True)

@pytest.mark.parametrize("load, record", [(load_questions, QUESTION), (load_annotations, ANNOTATION)])
def test_official_ids_are_numbers(load, record): # others may have texts, see test_vqa_files.py
    with pytest.raises(UserError, match=r"'question_id' is '1' \(str\); it must be int$"): load([record | {"question_id": "1"}], official=True)

@pytest.mark.parametrize("answers", [[], None, "cat", [{}], [{"answer": 3}], [None]])
def test_bad_answers(answers):
    with pytest.raises(UserError, match="question_id 1: 'answers'"): load_annotations([ANNOTATION | {"answers": answers}])

@pytest.mark.parametrize("load, record", [(load_questions, QUESTION), (load_annotations, ANNOTATION)])
def test_repeated_question_id(load, record):
    with pytest.raises(UserError, match=r"repeats question_id 1 \(entries 0 and 1\)"): load([record, record])

@pytest.mark.parametrize("text", ["   ", "", "a\x00b\x1f", "🐈‍⬛?", "why " * 500])
def test_odd_questions_are_kept(text): assert load_questions([QUESTION | {"question": text}])[0].question == text

def test_questions_of_a_picture_come_together():
    questions = [Question(i, n, "", f"{n}.jpg") for i, n in enumerate([5, 3, 5, 5, 3, 1])]
    assert group_by_image(questions) == [[0, 2, 3], [1, 4], [5]]

def test_missing_images_are_listed(tmp_path):
    for p in GOLDEN.glob("v2_*val2014*"): (tmp_path/p.name).write_bytes(p.read_bytes())
    data = open_vqav2(tmp_path, "val")
    assert missing_images(data) == data.questions
    present = data.image_path(data.questions[0])
    present.parent.mkdir()
    present.touch()
    assert missing_images(data) == [q for q in data.questions if q.image != data.questions[0].image]

def test_index_of_unilm(tmp_path):
    (tmp_path/"answer2label.txt").write_bytes((GOLDEN/"expected_answer2label.txt").read_bytes())
    item = {"image_path": "test2015/COCO_test2015_000000000042.jpg", "text_segment": list(range(4, 104)), "labels": [], "scores": [], "qid": 42000}
    (tmp_path/"vqa.test.jsonl").write_text(json.dumps(item) + "\n")
    question, = open_vqav2(tmp_path, "test").questions
    assert (question.question_id, question.image_id, question.question) == (42000, 42, "")
    assert question.token_ids == (0, *range(4, 66), 2)
    with pytest.raises(UserError, match="vqa.train.jsonl"): open_vqav2(tmp_path, "train")

@pytest.mark.parametrize("content, says", [("", "is empty"), ("[]", "is empty"), ("yes\nno\nyes\n", "'yes' twice"), ('["yes", 2]', "holds 2"),
                                           ('{"answer": "yes", "label": 1}', "without gaps"), ('{"answer": "yes", "la', "is cut short")])
def test_bad_answer_list(tmp_path, content, says):
    (tmp_path/"answers").write_text(content)
    with pytest.raises(UserError, match=says): read_answer_list(tmp_path/"answers")

def test_answer_list_of_the_wrong_length():
    with pytest.raises(UserError, match="has 2 answers, but the head has 3129"): check_answer_list(["yes", "no"], 3129)

@pytest.mark.parametrize("text, expected", [("Black/White", "black white"), ("black /white", "black white"), ("10,000", "10000"), ("2.5 m.", "2.5 m"),
                                            ("the", ""), ("none", "0"), ("dont", "don't"), ("." * 40, "." * 8)])
def test_normalize_word(text, expected): assert normalize_word(text) == expected

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))

def encoded(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()

def rotated():
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(NOISE, "jpeg", exif=exif)

READABLE = {"cmyk": encoded(NOISE.convert("CMYK"), "jpeg"), "gray": encoded(NOISE.convert("L"), "jpeg"),
            "16 bit": encoded(Image.fromarray(np.arange(4800, dtype=np.uint16).reshape(60, 80) * 13), "png"),
            "palette": encoded(NOISE.convert("P"), "png", transparency=b"\x00\x80"), "alpha": encoded(NOISE.convert("RGBA"), "png"),
            "exif": rotated(), "1x1": encoded(NOISE.crop((0, 0, 1, 1)), "png"), "wide": encoded(Image.new("RGB", (20000, 10), "red"), "png")}

@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize("name", READABLE)
def test_read_as_pillow_does(name, tmp_path):
    path = tmp_path/"picture.jpg"
    path.write_bytes(READABLE[name])
    image, reference = read_image(path), Image.open(path).convert("RGB")
    assert image.mode == "RGB" and image.size == reference.size and image.tobytes() == reference.tobytes()
    assert read_image(READABLE[name]).tobytes() == reference.tobytes()
    assert preprocess(image, 32).shape == (32, 32, 3)

def test_exif_rotation_is_not_applied(): assert read_image(READABLE["exif"]).size == (80, 60)

@pytest.mark.parametrize("content, says", [(b"", "is empty"), (b"hello", "not a picture"), (b"<!DOCTYPE html>", "web page"),
                                           (encoded(NOISE, "jpeg")[:900], "truncated"), (encoded(NOISE, "png")[:900], "cannot be read"),
                                           (encoded(Image.new("1", (20000, 20000)), "png"), "too large")])
def test_unreadable_picture(content, says, tmp_path):
    path = tmp_path/"picture.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=says) as error: read_image(path)
    assert str(path) in str(error.value)

def test_picture_that_does_not_exist(tmp_path):
    with pytest.raises(ImageError, match="does not exist"): read_image(tmp_path/"no.jpg")

def test_pixels_equal_to_torchvision():
    torch, transforms = pytest.importorskip("torch"), pytest.importorskip("torchvision.transforms")
    reference = transforms.Compose([transforms.Resize((48, 48), interpolation=transforms.InterpolationMode.BICUBIC), transforms.ToTensor(), transforms.Normalize([.5]*3, [.5]*3)])
    assert torch.equal(normalize(torch.tensor(preprocess(NOISE, 48))[None])[0], reference(NOISE))

ODD_LINES = [dict(labels=[None]), dict(labels=["0"]), dict(labels=[True]), dict(labels=[2]), dict(labels=[-1]), dict(labels=None), dict(labels=[[0]]), dict(scores=[float("nan")]), dict(scores=[1.5]), dict(scores=["1"]),
             dict(scores=[]), dict(scores=None), dict(text_segment="abc"), dict(text_segment=[1.5]), dict(text_segment=[-1]), dict(text_segment={"0": 1}), dict(qid=None), dict(qid=True), dict(qid=10**30),
             dict(image_path="../../home/passport_1.png"), dict(image_path="/etc/passwd"), dict(image_path=None), dict(image_path="val2014/x\0_1.jpg")]

@pytest.mark.parametrize("odd", ODD_LINES)
def test_a_line_of_the_index_that_cannot_be_is_named(tmp_path, odd):
    "A label of null would have counted as right for every answer that is not in the list."
    item = dict(image_path="val2014/COCO_val2014_000000000042.jpg", text_segment=[9, 15], labels=[1], scores=[.9], qid=42000)
    (tmp_path/"answer2label.txt").write_text('{"answer": "yes", "label": 0}\n{"answer": "no", "label": 1}\n')
    (tmp_path/"vqa.val.jsonl").write_text(json.dumps(item) + "\n" + json.dumps(item | dict(qid=1) | odd) + "\n")
    with pytest.raises(UserError, match="vqa.val.jsonl, line 2 is damaged .*: make the index again") as error: open_vqav2(tmp_path, "val")
    assert len(str(error.value)) < 500

@pytest.mark.parametrize("line", ["[" * 100_000, '{"qid": ' + "9"*5000 + "}", "7", "[]", "null", '"a"', '{"qid": 1}'])
def test_a_line_of_the_index_that_is_no_record(tmp_path, line):
    (tmp_path/"answer2label.txt").write_text('{"answer": "yes", "label": 0}\n')
    (tmp_path/"vqa.val.jsonl").write_text(line + "\n")
    with pytest.raises(UserError, match="vqa.val.jsonl.*(line 1 is damaged|is )"): open_vqav2(tmp_path, "val")
