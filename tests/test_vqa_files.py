"Annotations of VQAv2's relatives are read, files of other programs are called what they are, and names have neighbours."
import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from beit3_colab import check_submission, score
from beit3_colab.data.dataset import Annotation
from beit3_colab.data.vqa_files import SPLITS, annotations_file, check_annotations, load_annotations, load_questions, questions_file, split_name
from beit3_colab.data.vqav2 import open_vqav2
from beit3_colab.data.vqav2_online import official_file, pictures_at
from beit3_colab.machine.messages import UserError

IDS = (11, 12, 21)
SAID = {11: ["surfing"]*6 + ["surf"]*4, 12: ["2"]*10, 21: ["yes"]*9 + ["no"]}

def people(i, raw=False): return [dict(answer_id=k, answer=a, answer_confidence="yes", **({"raw_answer": f"{a}!"} if raw else {})) for k, a in enumerate(SAID[i], 1)]
def official(i, **more): return dict(question_id=i, image_id=i//10, question_type="what", answer_type="other", multiple_choice_answer=SAID[i][0], answers=people(i)) | more
def question(i, **more): return dict(question_id=i, image_id=1, question="What is it?") | more

OFFICIAL = [official(i) for i in IDS]
RESULTS = [dict(question_id=11, answer="surf"), dict(question_id=12, answer="2"), dict(question_id=21, answer="no")] # 100, 100, 30
TABLE = pd.DataFrame(OFFICIAL)

FORMS = {
    "OK-VQA": {"info": {}, "data_subtype": "val2014", "annotations": [dict(image_id=i//10, answer_type="other", question_type="two", question_id=i, answers=people(i, raw=True), confidence=3) for i in IDS]},
    "TextVQA": {"dataset_name": "textvqa", "data": [dict(question=f"Q{i}?", image_id=f"003a{i//10}", image_classes=["Sign"], answers=SAID[i], question_id=i, set_name="val") for i in IDS]},
    "only what scoring needs": [dict(question_id=i, image_id=i//10, answers=SAID[i]) for i in IDS],
    "by picture, with ids": [dict(question_id=i, image=f"{i//10}.jpg", answers=SAID[i]) for i in IDS],
    "rows of Hugging Face": [dict(official(i), question="What?", image=object()) for i in IDS],
    "NumPy in the records": [dict(official(i), question_id=np.int64(i), image_id=np.int32(i//10), answers=np.array(people(i))) for i in IDS],
    "NumPy texts": [dict(official(i), answers=[np.str_(a) for a in SAID[i]]) for i in IDS],
    "DataFrame": TABLE,
    "DataFrame of Parquet": TABLE.assign(answers=[np.array(people(i), object) for i in IDS]),
    "tuples": tuple(official(i, answers=tuple(SAID[i])) for i in IDS),
}

@pytest.mark.parametrize("form", FORMS)
def test_the_figure_is_the_same_in_every_form(form):
    found, usual = score(FORMS[form], RESULTS), score(OFFICIAL, RESULTS)
    assert found.per_question == usual.per_question == {11: 100, 12: 100, 21: 30}
    assert (found.overall, found.num_images, found.num_questions, found.interval) == (usual.overall, 2, 3, usual.interval)
    assert all(type(i) is int for i in found.per_question)

@pytest.mark.parametrize("write", ["list", "lines", "header"])
def test_files(write, tmp_path):
    path = tmp_path/"annotations.json"
    path.write_text({"list": json.dumps(OFFICIAL), "lines": "".join(json.dumps(a) + "\n" for a in OFFICIAL), "header": json.dumps({"annotations": OFFICIAL})}[write])
    assert load_annotations(path) == load_annotations(OFFICIAL)
    questions = [question(i) for i in IDS]
    path.write_text({"list": json.dumps(questions), "lines": "".join(json.dumps(q) + "\n" for q in questions), "header": json.dumps({"questions": questions})}[write])
    assert load_questions(path) == load_questions(questions)

class Dataset: # of Hugging Face's
    def __init__(self, rows, kind): self.rows, self.column_names, self.features = rows, list(rows[0]), {"image": SimpleNamespace(dtype=kind)}
    def with_format(self, type=None, columns=None): return self
    def select_columns(self, names): return Dataset([{name: row[name] for name in names} for row in self.rows], "")
    def __iter__(self):
        for row in self.rows:
            assert not isinstance(row.get("image"), bytes)
            yield row

def test_pictures_in_tables_are_left_out_and_their_names_are_not():
    named = [question(i, image=f"{i}.jpg") for i in IDS]
    large = [question(i, image=b"large", answers=SAID[i]) for i in IDS]
    for table in (named, pd.DataFrame(named), Dataset(named, "string")): assert [q.image for q in load_questions(table)] == [f"{i}.jpg" for i in IDS]
    assert load_questions(Dataset(large, "PIL.Image.Image")) == load_questions([question(i) for i in IDS])
    assert [a.answers for a in load_annotations(Dataset(large, "PIL.Image.Image")).values()] == [tuple(SAID[i]) for i in IDS]

def test_what_a_data_set_does_not_have_is_left_open():
    plain = load_annotations(FORMS["only what scoring needs"])[21]
    assert plain == Annotation(21, 2, "other", "other", None, tuple(SAID[21]))
    okvqa = load_annotations(FORMS["OK-VQA"])[11]
    assert (okvqa.question_type, okvqa.multiple_choice_answer, okvqa.answers) == ("two", None, tuple(SAID[11]))

@pytest.mark.parametrize("field", ["question_type", "answer_type", "multiple_choice_answer"])
def test_a_field_that_only_some_records_have_was_lost(field):
    less = {k: v for k, v in official(12).items() if k != field}
    with pytest.raises(UserError, match=f"question_id 12 lacks the field '{field}'"): load_annotations([official(11), less])
    with pytest.raises(UserError, match=f"the first entry lacks '{field}', and question 11 has it: it was lost in some"): load_annotations([less, official(11)])
    with pytest.raises(UserError, match=f"question_id 12 lacks the field '{field}'"): load_annotations([less], official=True)

@pytest.mark.parametrize("field", ["question_id", "image_id", "answers"])
def test_a_field_that_scoring_needs(field):
    with pytest.raises(UserError, match=f"lacks the field '{field}'"): load_annotations([{k: v for k, v in official(11).items() if k != field}])

def test_vizwiz_is_known_by_its_pictures(tmp_path):
    records = [dict(image=f"VizWiz_val_{i:08}.jpg", question="What is it?", answers=[dict(answer=a, answer_confidence="maybe") for a in SAID[i]], answer_type="other", answerable=1) for i in IDS]
    results = [dict(image=f"VizWiz_val_{r['question_id']:08}.jpg", answer=r["answer"]) for r in RESULTS]
    for name, content in [("a.json", records), ("r.json", results)]: (tmp_path/name).write_text(json.dumps(content))
    for found in (score(records, results), score(tmp_path/"a.json", tmp_path/"r.json"), score(records, [dict(r, question_id=i) for i, r in enumerate(results)])):
        assert found.per_question == {"VizWiz_val_00000011.jpg": 100, "VizWiz_val_00000012.jpg": 100, "VizWiz_val_00000021.jpg": 30} and found.num_images == 3
    with pytest.raises(UserError, match="question_id 1 is int, not a text, as the annotations have: 'VizWiz_val_00000011.jpg'"): score(records, {1: "yes"})
    with pytest.raises(UserError, match="entries 0 and 1 are about one picture, 'VizWiz_val_00000011.jpg'"): load_annotations([records[0]]*2)
    with pytest.raises(UserError, match="holds results .answers of a model., not annotations"): load_annotations(tmp_path/"r.json")

@pytest.mark.parametrize("ids", [("22Mex", "07333408", "n21"), ("11", "12", "21"), (11, "12", "07")])
def test_ids_that_are_texts_stay_texts(ids):
    records, answers = [official(i, question_id=t) for i, t in zip(IDS, ids)], [r["answer"] for r in RESULTS]
    assert list(load_annotations(records)) == list(ids)
    assert list(score(records, [dict(question_id=t, answer=a) for t, a in zip(ids, answers)]).per_question.values()) == [100, 100, 30]
    asked = load_questions([question(i, question_id=t) for i, t in zip(IDS, ids)])
    assert check_submission([dict(question_id=t, answer=a) for t, a in zip(ids, answers)], asked).ok
    with pytest.raises(UserError, match=r"must be int$"): load_annotations(records, official=True)
    with pytest.raises(UserError, match=r"must be int$"): load_questions([question(11, question_id="22Mex")], official=True)

OTHERS = {
    "A-OKVQA": ([dict(split="val", image_id=1, question_id="22Mex", question="Why?", choices=["a"], correct_choice_idx=0, direct_answers=["a"]*10)], "is A-OKVQA's annotations.*with its direct_answers as answers"),
    "LXMERT": ([dict(answer_type="other", img_id="COCO_val2014_000000000001", label={"net": 1, "cat": .3}, question_id=1, sent="What?")], "is a file of LXMERT's.*give VQAv2's own"),
    "GQA": ({"201": dict(imageId="n1", question="What?", answer="cat", fullAnswer="It is a cat.")}, "is a file of GQA's.*metric='exact'"),
    "ALBEF": ([dict(question_id=1, question="What?", image="val2014/a.jpg", dataset="vqa", answer=["cat"]*10)], "as ALBEF and BLIP write it: .*“?answers”?|'answers'"),
    "LLaVA": ([dict(id=1, image="a.jpg", conversations=[])], "is a file of conversations"),
    "questions": ({"questions": [question(1)]}, "it holds questions; give the annotations file"),
    "results": (RESULTS, "holds results"),
    "results with more": ([dict(question_id=1, answer="cat", score=.5, image="a.jpg")], "holds results"),
    "a header": ({"info": {}, "licenses": [], "images": []}, "has no 'annotations': its keys are 'info', 'licenses', 'images'"),
}

@pytest.mark.parametrize("name", OTHERS)
def test_files_of_others_are_called_what_they_are(name, tmp_path):
    content, says = OTHERS[name]
    (tmp_path/"other.json").write_text(json.dumps(content))
    for source in (content, tmp_path/"other.json"):
        with pytest.raises(UserError, match=says) as error: load_annotations(source)
        assert len(str(error.value)) < 400 + len(str(tmp_path))

@pytest.mark.parametrize("content, says", [
    ("version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a Git LFS pointer.*git lfs pull"), ("<html>", "a web page"), ("question_id,answer\n1,yes", "a table of text"),
    ("[{'question_id': 1}]", "the text of a Python value"), ('{"annotations": [{"question_id": 1', "cut short")])
@pytest.mark.parametrize("load", [load_questions, load_annotations])
def test_contents_that_are_no_json(load, content, says, tmp_path):
    (tmp_path/"file.json").write_text(content)
    with pytest.raises(UserError, match=says): load(tmp_path/"file.json")

@pytest.mark.parametrize("record, says", [
    (dict(question_id=1, img_id=3, answers=["a"]), "lacks the field 'image_id' .it has 'img_id': name it 'image_id'"),
    (dict(questionId=1, image_id=3, answers=["a"]), "entry 0 lacks the field 'question_id' .it has 'questionId'"),
    (dict(question_id=1, image_id=3.5, answers=["a"]), "'image_id' is 3.5 .float.; it must be int or str"),
    (dict(question_id=1.0, image_id=3, answers=["a"]), "'question_id' is 1.0 .float.; it must be int or str"),
    (dict(question_id=math.nan, image_id=3, answers=["a"]), "'question_id' is nan"),
    (dict(question_id=1, image_id=3, answers="a|b"), "'answers' is 'a.b' .str.; it must be list or tuple"),
    (dict(question_id=1, image_id=3, answers=[{"text": "a"}]), "'answers' must be a list, not empty and not all blank, of strings"),
    (dict(question_id=10**5000, image_id=True, answers=["a"]), "question_id int: 'image_id' is True"),
    (dict(question_id="x"*10**6, answers=["a"]), "lacks the field 'image_id'")])
def test_one_wrong_record(record, says):
    with pytest.raises(UserError, match=says) as error: load_annotations([record])
    assert len(str(error.value)) < 400

def test_long_values_are_not_quoted_whole():
    big = {"k"*10**5: 1, "l"*10**5: 2}
    for call in (lambda: load_annotations(big), lambda: load_questions([question(1)]*2 + [question("y"*10**6)]*2), lambda: check_annotations(load_questions([question("z"*10**6)]), {}),
                 lambda: load_annotations([["x"*10**6]]), lambda: load_questions(f"/{'n'*4000}.json"), lambda: split_name("s"*10**6), lambda: split_name(["val"]*10**5)):
        with pytest.raises(UserError) as error: call()
        assert len(str(error.value)) < 500


# splits and files

@pytest.mark.parametrize("split, near", [("validaton", "validation"), ("Val", "val"), ("VAL2014", "val2014"), ("val 2014", "val2014"), ("training", "train"), ("sampel", "sample"), ("smaple", "sample"),
    ("testdev2015", "test-dev2015"), ("test2105", "test2015"), ("tst", "test")])
def test_the_nearest_split_is_named(split, near):
    with pytest.raises(UserError, match=f"is unknown: use one of train, val, test, test-dev, or “sample”, the built-in one; did you mean '{near}'"): split_name(split)

@pytest.mark.parametrize("split", ["test-std", "test_standard", "teststd"])
def test_test_standard_is_a_phase(split):
    with pytest.raises(UserError, match="EvalAI's test-standard phase takes answers to test"): split_name(split)

@pytest.mark.parametrize("split", [None, 3, [], {}, "", "xyzzy"])
def test_splits_that_are_none(split):
    with pytest.raises(UserError, match=r"is unknown: use one of train, val, test, test-dev, or “sample”, the built-in one$"): split_name(split)

def test_every_name_of_a_split(): assert {split_name(name) for names in SPLITS.items() for name in names} == set(SPLITS)

@pytest.mark.parametrize("there, says", [
    ("v2_Questions_Val_mscoco.zip", "v2_Questions_Val_mscoco.zip is there: unpack it into"),
    ("annotations/v2_OpenEnded_mscoco_val2014_questions.json", "is there: move it into"),
    ("vqa/OpenEnded_mscoco_val2014_questions.json", "is there: is it that file under another name, or of another split or version"),
    ("vqa/v2_OpenEnded_mscoco_train2014_questions.json", "train2014_questions.json is there: is it that file"),
    ("notes.json", r"\(vqa.\*.jsonl and answer2label.txt\)$")])
def test_a_missing_file_has_neighbours(there, says, tmp_path):
    (tmp_path/there).parent.mkdir(exist_ok=True)
    (tmp_path/there).touch()
    with pytest.raises(UserError, match=says): open_vqav2(tmp_path, "val")

def test_vqav2s_own_files_must_have_all_of_it(tmp_path):
    (tmp_path/questions_file("val")).write_text(json.dumps({"questions": [question(i) for i in IDS]}))
    (tmp_path/annotations_file("val")).write_text(json.dumps({"annotations": [{k: v for k, v in a.items() if k != "answer_type"} for a in OFFICIAL]}))
    with pytest.raises(UserError, match="question_id 11 lacks the field 'answer_type'"): open_vqav2(tmp_path, "val")
    (tmp_path/questions_file("val")).write_text(json.dumps({"questions": [question(i, question_id=str(i)) for i in IDS]}))
    with pytest.raises(UserError, match=r"'question_id' is '11' \(str\); it must be int$"): open_vqav2(tmp_path, "val")

def test_an_index_that_is_something_else(tmp_path):
    (tmp_path/"answer2label.txt").write_text('{"answer": "yes", "label": 0}\n')
    (tmp_path/"vqa.test.jsonl").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(UserError, match="vqa.test.jsonl is a Git LFS pointer, not an index: .*git lfs pull"): open_vqav2(tmp_path, "test")

@pytest.mark.parametrize("choice, near", [("Zip", "zip"), ("signle", "single"), ("automatic", "auto")])
def test_the_nearest_source_of_pictures_is_named(choice, near):
    with pytest.raises(UserError, match=f"did you mean '{near}'"): pictures_at(Path(choice), "val2014")

def test_the_nearest_official_file_is_named():
    with pytest.raises(UserError, match="did you mean 'v2_mscoco_val2014_annotations.json'"): official_file("v2_mscoco_val2014_annotation.json")


@pytest.mark.parametrize("nothing", ["", None, float("nan"), np.nan, pd.NA])
@pytest.mark.parametrize("wrap", [lambda a: a, lambda a: dict(answer=a, answer_id=1)])
def test_a_blank_is_one_of_ten_answers_that_nothing_matches(nothing, wrap):
    found = load_annotations([official(11, answers=[*map(wrap, ["surf"]*2 + ["sea"]*7), wrap(nothing)])])
    assert found[11].answers == ("surf",)*2 + ("sea",)*7 + ("",)
    scored = score(found, [dict(question_id=11, answer="surf")])
    assert scored.metric == "official" and scored.overall == 60

@pytest.mark.parametrize("answers", [["", None], [None], [dict(answer=None)]*10, [" ", float("nan")]])
def test_nothing_alone_is_refused_as_an_empty_list_is(answers):
    with pytest.raises(UserError, match="question_id 11: 'answers' must be a list, not empty and not all blank"): load_annotations([official(11, answers=answers)])

@pytest.mark.parametrize("records, says", [
    ({"data": [dict(questionId=i, question="What?", image="a.png", docId=3, answers=["x"]) for i in IDS]}, "lacks the field 'question_id' .it has 'questionId': name it 'question_id'"),
    ([dict(image="a.png", answers=["x"]), dict(image="b.png", answers=["x"]), dict(image="a.png", answers=["y"])], "has no question_id, and entries 0 and 2 are about one picture, 'a.png'; give each its question_id"),
    ([dict(question_id=1, answers=["x"])], "question_id 1 lacks the field 'image_id', by which the intervals .* write its question_id there")])
def test_what_is_missing_is_called_by_its_name(records, says):
    with pytest.raises(UserError, match=says) as error: load_annotations(records)
    assert "repeats" not in str(error.value)

def test_blank_texts_alone_are_scored_as_the_official_program_does():
    found = score([official(11, answers=[""]*10), official(12)], [dict(question_id=11, answer="surf"), dict(question_id=12, answer="2")])
    assert found.per_question == {11: 0, 12: 100}
