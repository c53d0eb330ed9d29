"""A-OKVQA, VizWiz, GQA, VQA-RAD and SLAKE: official files, tables of the Hub, files by name from a local server, wrong files, and runs about them to the end."""
import base64
import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import datasets
import pytest
from file_server import PROXIES, FileServer
from PIL import Image

from beit3_colab import evaluate, open_run
from beit3_colab.data.aokvqa import AOKVQA
from beit3_colab.data.gqa import GQA
from beit3_colab.data.slake import SLAKE
from beit3_colab.data.vizwiz import VizWiz
from beit3_colab.data.vqarad import VQARAD
from beit3_colab.machine.messages import UserError
from beit3_colab.run.task import load_dataset
from beit3_colab.scoring.figures import PROGRAMS
from beit3_colab.scoring.rules import RULES

GOLDEN = Path(__file__).parent/"golden"/"rules"
RAD = dict(qid="1", phrase_type="test_freeform", image_name="synpic1.jpg", image_organ="HEAD", question_type="PRES", question="Is the square on the left?", answer="Yes", answer_type="CLOSED ")
LAKE = dict(qid=1, img_id=1, img_name="xmlab1/source.jpg", question="What shape is it?", answer="Square", q_lang="en", location="Lung", modality="CT", answer_type="OPEN", base_type="vqa", content_type="Shape")
ASKED = dict(question="Is it red?", imageId="57203", answer="yes", isBalanced=True, types=dict(structural="verify", semantic="attr", detailed="verifyAttr"), groups={"global": None}, entailed=[], semantic=[])
KNOWS = dict(question_id="a1", image_id=42, question="Why?", choices=["rain", "sun"], correct_choice_idx=0, direct_answers=["rain"]*10, difficult_direct_answer=False, split="val")
SEEN = dict(image="VizWiz_val_00000000.jpg", question="What is it?", answers=[dict(answer="can", answer_confidence="yes")]*10, answer_type="other", answerable=1)


def golden(name): return json.loads((GOLDEN/"data"/name).read_text())

def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path

def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 48), "teal").save(path)


@pytest.fixture
def layouts(tmp_path):
    "Each data set as its authors lay it out, made up; name → (folder, split)."
    aokvqa = golden("aokvqa/aokvqa_v1p0_val.json")
    write(tmp_path/"aokvqa"/"aokvqa_v1p0_val.json", aokvqa)
    for record in aokvqa: picture(tmp_path/"aokvqa"/"coco"/"val2017"/f"{record['image_id']:012d}.jpg")
    write(tmp_path/"rad"/"VQA_RAD Dataset Public.json", [RAD | dict(qid=i, image_name=f"synpic{i//2}.jpg", answer_type=kind, phrase_type=phrase) for i, (kind, phrase) in enumerate([("CLOSED", "test_para"), ("OPEN", "test_freeform"), ("OPEN", "para"), ("CLOSED", "test_para")])])
    for i in range(2): picture(tmp_path/"rad"/"VQA_RAD Image Folder"/f"synpic{i}.jpg")
    write(tmp_path/"slake"/"test.json", [LAKE | dict(qid=i, q_lang=language) for i, language in enumerate(["en", "zh", "en"])])
    picture(tmp_path/"slake"/"imgs"/"xmlab1"/"source.jpg")
    return {"aokvqa": (tmp_path/"aokvqa", "val"), "vizwiz": (GOLDEN/"data"/"vizwiz", "val"), "gqa": (GOLDEN/"data"/"gqa", "val_all"), "vqarad": (tmp_path/"rad", "test"), "slake": (tmp_path/"slake", "test")}


# --- what is in the files

def test_aokvqa_says_what_the_official_file_says():
    data, records = AOKVQA.load("val", GOLDEN/"data"/"aokvqa"), golden("aokvqa/aokvqa_v1p0_val.json")
    assert [q.question_id for q in data.questions] == [r["question_id"] for r in records]
    assert [a.counted for a in data.annotations.values()] == [not r["difficult_direct_answer"] for r in records]
    for record, people in zip(records, data.annotations.values()):
        assert people.answers == tuple(record["direct_answers"]) # to the letter, spaces and all
        assert people.facts == {"choices": tuple(record["choices"]), "correct_choice": record["correct_choice_idx"]}
    assert (data.metric, data.program, data.label) == ("aokvqa_da", "aokvqa", "aokvqa val")

def test_aokvqa_test_has_choices_and_no_answers():
    data = AOKVQA.load("test", GOLDEN/"data"/"aokvqa")
    first = data.questions[0].question_id
    assert data.annotations is None and data.choices[first] == ("right", "middle", "left", "none of these")
    form = data.answer_file({first: {"answers": ["on the left", "The left."]}})
    assert form == {first: {"multiple_choice": "left", "direct_answer": "on the left"}}
    assert "leaderboard.allenai.org/a-okvqa" in data.where_to_submit(True, 6)

def test_a_choice_of_a_tool_is_taken_as_it_is():
    data = AOKVQA.load("val", GOLDEN/"data"/"aokvqa")
    first = data.questions[0].question_id
    assert data.answer_file({first: {"answers": ["left"], "choice": "none of these"}})[first]["multiple_choice"] == "none of these"
    assert data.answer_file({first: {"answers": ["leftish"]}})[first]["multiple_choice"] == "" # nothing is invented
    assert data.answer_file({first: {"answers": ["left"], "choice": ""}})[first]["multiple_choice"] == "" # nor taken from elsewhere

def test_vizwiz_says_what_the_official_file_says():
    data, records = VizWiz.load("validation", GOLDEN/"data"/"vizwiz"), golden("vizwiz/val.json")
    assert list(data.annotations) == [q.question_id for q in data.questions] == [r["image"] for r in records]
    assert [a.facts["answerable"] for a in data.annotations.values()] == [r["answerable"] for r in records]
    assert [a.answer_type for a in data.annotations.values()] == [r["answer_type"] for r in records]
    assert all(a.answers == tuple(x["answer"] for x in r["answers"]) for a, r in zip(data.annotations.values(), records))
    data.check_pictures(data.questions)
    assert VizWiz.load("test", GOLDEN/"data"/"vizwiz").annotations is None

@pytest.mark.parametrize("folder", ["", "val", "Images", "Images/val", "images/val"])
def test_vizwiz_pictures_where_people_have_them(tmp_path, folder):
    write(tmp_path/"val.json", [SEEN])
    picture(tmp_path/folder/SEEN["image"])
    data = VizWiz.load("val", tmp_path)
    assert data.read_image(data.questions[0]).size == (64, 48) and data.questions[0].image == SEEN["image"]

def test_gqa_says_what_the_official_file_says():
    data, records, choices = GQA.load("val_all", GOLDEN/"data"/"gqa"), golden("gqa/val_all_questions.json"), golden("gqa/val_choices.json")
    assert [q.question_id for q in data.questions] == list(records) and data.questions[0].question_id == "053367207"
    for key, record in records.items():
        people = data.annotations[key]
        assert (people.answers, people.counted, people.question_type) == ((record["answer"],), record["isBalanced"], record["types"]["structural"])
        assert people.answer_type == ("open" if record["types"]["structural"] == "query" else "binary")
        facts = people.facts
        assert {k: facts[k] for k in ("structural", "semantic", "detailed")} == record["types"] and facts["group"] == record["groups"]["global"]
        assert (list(facts["entailed"]), facts["words"]) == (record["entailed"], len(record["question"].split()))
        assert (list(facts["valid"]), list(facts["plausible"])) == (choices[key]["valid"], choices[key]["plausible"])
    assert data.scene_graphs == GOLDEN/"data"/"gqa"/"val_sceneGraphs.json"
    assert data.notes == ("24 of 60 questions are not balanced: GQA's accuracy leaves them out, and its consistency needs them",)
    data.check_pictures(data.questions)

def test_gqa_read_here_is_scored_as_by_the_official_program(tmp_path):
    kept = json.loads((GOLDEN/"rules"/"gqa_official.json").read_text())
    write(tmp_path/"val_all_questions.json", kept["cases"]["questions"])
    write(tmp_path/"val_choices.json", kept["cases"]["choices"])
    records = {key: {"question_id": key, "answers": [said], "confidences": []} for key, said in kept["cases"]["predictions"].items()}
    told = {figure.name: figure.value for figure in PROGRAMS["gqa"](GQA.load("val_all", tmp_path).annotations, records, 10, 0) if not figure.group}
    for name in ("accuracy", "binary", "open", "consistency", "validity", "plausibility", "distribution"): assert told[name] == pytest.approx(kept["totals"][name], abs=1e-9), name

def test_gqa_usual_split_and_short_names():
    data = GQA.load("testdev", GOLDEN/"data"/"gqa")
    assert (data.split, len(data.questions), data.notes) == ("testdev_balanced", 36, ()) and data.annotations["035177957"].facts["valid"] is None
    assert GQA.load(None, GOLDEN/"data"/"gqa").questions == data.questions

def test_gqa_train_all_is_several_files(tmp_path):
    for part in range(10): write(tmp_path/"train_all_questions"/f"train_all_questions_{part}.json", {f"0{part}": ASKED})
    assert [q.question_id for q in GQA.load("train_all", tmp_path).questions] == [f"0{part}" for part in range(10)]
    write(tmp_path/"train_all_questions"/"train_all_questions_9.json", {"00": ASKED})
    with pytest.raises(UserError, match="GQA train_all repeats question_id '00'"): GQA.load("train_all", tmp_path)

def test_gqa_test_and_submission_have_no_answers(tmp_path):
    for split in ("test_balanced", "challenge_all", "submission_all"):
        write(tmp_path/f"{split}_questions.json", {"00000001": dict(question="Is it?", imageId="n1", isBalanced=True)})
        data = GQA.load(split, tmp_path)
        assert data.annotations is None and data.answer_file({"00000001": {"answers": ["no", "yes"]}}) == [{"questionId": "00000001", "prediction": "no"}]
        assert ("takes these" if split == "submission_all" else "submission_all_questions.json") in data.where_to_submit(True, 1)

def test_open_and_closed(layouts):
    rad, lake = load_dataset("vqarad", None, layouts["vqarad"][0]), load_dataset("slake", None, layouts["slake"][0])
    assert {a.question_id: a.answer_type for a in rad.annotations.values()} == {0: "closed", 1: "open", 3: "closed"}
    assert [a.facts["language"] for a in lake.annotations.values()] == ["en", "zh", "en"] and "2 in English and 1 in Chinese" in lake.notes[0]
    assert [len(SLAKE.load(s, layouts["slake"][0]).questions) for s in ("test_en", "test_zh")] == [2, 1]
    for data in (rad, lake):
        assert data.metric == "exact_match" and "exact match" in RULES["exact_match"].title.lower() and "server" in data.where_to_submit(True, 3)
        data.check_pictures(data.questions)


# --- tables

def test_vizwiz_of_the_hub_has_the_ids_of_the_file():
    of_hub, of_file = VizWiz.load("val", GOLDEN/"hf"/"vizwiz"), VizWiz.load("val", GOLDEN/"data"/"vizwiz")
    assert [q.question_id for q in of_hub.questions] != [q.question_id for q in of_file.questions] # another order
    assert {q.question_id: q.question for q in of_hub.questions} == {q.question_id: q.question for q in of_file.questions}
    assert {i: (a.answers, a.answer_type) for i, a in of_hub.annotations.items()} == {i: (a.answers, a.answer_type) for i, a in of_file.annotations.items()}
    assert all(a.facts is None for a in of_hub.annotations.values()) # it does not say what can be answered
    pixels = {q.question_id: of_hub.read_image(q).tobytes() for q in of_hub.questions}
    assert pixels == {q.question_id: of_file.read_image(q).tobytes() for q in of_file.questions}

@pytest.mark.parametrize("place", ["", "testdev_balanced_instructions", "testdev_balanced_instructions/testdev-00000-of-00001.parquet"])
def test_gqa_of_the_hub_finds_its_pictures_in_the_other_table(place):
    of_hub, of_file = GQA.load("testdev", GOLDEN/"hf"/"gqa"/place), GQA.load("testdev", GOLDEN/"data"/"gqa")
    assert {i: (a.answers, a.counted) for i, a in of_hub.annotations.items()} == {i: (a.answers, a.counted) for i, a in of_file.annotations.items()}
    assert len({q.image for q in of_hub.questions}) == len({q.image_id for q in of_hub.questions}) == 10
    pixels = {q.question_id: of_hub.read_image(q).tobytes() for q in of_hub.questions}
    assert pixels == {q.question_id: of_file.read_image(q).tobytes() for q in of_file.questions}

def test_gqa_of_the_hub_without_the_table_of_pictures(tmp_path):
    shutil.copytree(GOLDEN/"hf"/"gqa"/"testdev_balanced_instructions", tmp_path/"testdev_balanced_instructions")
    shutil.copytree(GOLDEN/"data"/"gqa"/"images", tmp_path/"images")
    data = GQA.load("testdev", tmp_path)
    data.check_pictures(data.questions)
    table = datasets.Dataset.from_list([dict(id="9", image=dict(bytes=b"", path="9.jpg"))])
    (tmp_path/"testdev_balanced_images").mkdir()
    table.to_parquet(tmp_path/"testdev_balanced_images"/"testdev-00000-of-00001.parquet")
    with pytest.raises(UserError, match="has no picture '432789', which question '035177957' is about"): GQA.load("testdev", tmp_path)

def test_gqa_of_the_hub_with_all_fields():
    rows = [ASKED | dict(id="07", entailed=["08"], groups=dict({"global": "color", "local": None}), types=dict(structural="query", semantic="attr", detailed="x"), semantic=[dict(operation="select", dependencies=[], argument="x (1)")])]
    people = GQA.load("testdev", datasets.Dataset.from_list(rows)).annotations["07"]
    assert (people.answer_type, people.facts["steps"], people.facts["entailed"], people.facts["group"]) == ("open", 1, ("08",), "color")

def test_gqa_of_the_hub_without_answers():
    rows = [{k: v for k, v in ASKED.items() if k in ("question", "imageId", "isBalanced")} | dict(id="07")]
    assert GQA.load("test", datasets.Dataset.from_list(rows)).annotations is None
    with pytest.raises(UserError, match="question '07': answer is None, and must be a text"): GQA.load("val", datasets.Dataset.from_list(rows))

def test_tables_of_vlmevalkit(tmp_path):
    shown = base64.b64encode((GOLDEN/"data"/"gqa"/"images"/"57203.jpg").read_bytes()).decode()
    (tmp_path/"GQA_TestDev_Balanced.tsv").write_text(f"index\timage\tquestion\tanswer\tcategory\n0\t{shown}\tIs it red?\tyes\tverify\n1\t{shown}\tWhat is red?\tcircle\tquery\n")
    (tmp_path/"VizWiz.tsv").write_text(f"index\timage\tquestion\tanswers\n0\t{shown}\tWhat is it?\t{['can']*9 + [' a can']}\n")
    gqa, vizwiz = GQA.load("testdev", tmp_path), VizWiz.load("val", tmp_path)
    assert [(a.question_id, a.answer_type, a.answers) for a in gqa.annotations.values()] == [(0, "binary", ("yes",)), (1, "open", ("circle",))]
    assert vizwiz.annotations[0].answers == ("can",)*9 + (" a can",)
    assert len({q.image for q in gqa.questions}) == 1 and gqa.read_image(gqa.questions[1]).size == vizwiz.read_image(vizwiz.questions[0]).size

def test_a_table_of_vqarad_says_what_it_lacks(tmp_path):
    rows = [dict(image=dict(bytes=(GOLDEN/"data"/"gqa"/"images"/"57203.jpg").read_bytes(), path=None), question=f"Is it {i}?", answer="no") for i in range(3)]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path/"test-00000-of-00001.parquet")
    data = VQARAD.load("test", tmp_path)
    assert [q.question_id for q in data.questions] == ["row 0", "row 1", "row 2"] and "intervals take each question for one about a picture of its own" in data.notes[-1]
    assert {a.answer_type for a in data.annotations.values()} == {"other"} # open and closed are not guessed

def test_a_table_of_slake_by_language(tmp_path):
    table = datasets.Dataset.from_list([LAKE | dict(qid=i, q_lang=language) for i, language in enumerate(["en", "zh", "en"])])
    assert [len(SLAKE.load(s, table).questions) for s in ("test", "test_en", "test_zh")] == [3, 2, 1]
    assert SLAKE.load("test", datasets.DatasetDict(test=table)).notes == SLAKE.load("test", table).notes
    assert "2 in English and 1 in Chinese" in SLAKE.load("test", table).notes[0] and SLAKE.load("test_zh", table).questions[0].image == "imgs/xmlab1/source.jpg"

def test_a_table_of_aokvqa(tmp_path):
    rows = [{k: v for k, v in r.items() if k in ("question_id", "question", "choices", "correct_choice_idx", "difficult_direct_answer")} | dict(direct_answers=str(r["direct_answers"])) for r in golden("aokvqa/aokvqa_v1p0_val.json")]
    of_table, of_file = AOKVQA.load("val", datasets.Dataset.from_list(rows)), AOKVQA.load("val", GOLDEN/"data"/"aokvqa")
    assert {i: (a.answers, a.counted, a.facts) for i, a in of_table.annotations.items()} == {i: (a.answers, a.counted, a.facts) for i, a in of_file.annotations.items()}


# --- wrong files

@pytest.mark.parametrize("kind, name, content, says", [
    (AOKVQA, "aokvqa_v1p0_val.json", [KNOWS | dict(direct_answers=None)], "question_id 'a1': direct_answers must be a list of texts, not None"),
    (AOKVQA, "aokvqa_v1p0_val.json", [KNOWS | dict(direct_answers=["rain", None])], "direct_answers must be a list of texts"),
    (AOKVQA, "aokvqa_v1p0_val.json", [{k: v for k, v in KNOWS.items() if k != "correct_choice_idx"}], "has no correct_choice_idx.*is it aokvqa_v1p0_test.json under another name"),
    (AOKVQA, "aokvqa_v1p0_val.json", [KNOWS | dict(correct_choice_idx=2)], "correct_choice_idx is 2, and there are 2 choices, counted from 0"),
    (AOKVQA, "aokvqa_v1p0_val.json", [KNOWS | dict(correct_choice_idx=-1)], "correct_choice_idx must be a whole number, 0 or more, not -1"),
    (AOKVQA, "aokvqa_v1p0_val.json", [KNOWS | dict(split="test")], "is of the split 'test', and val was asked for"),
    (AOKVQA, "aokvqa_v1p0_val.json", [KNOWS, KNOWS], "A-OKVQA val repeats question_id 'a1' .entries 0 and 1."),
    (AOKVQA, "aokvqa_v1p0_val.json", {"a1": KNOWS}, "is one object .* and a list of questions is needed"),
    (AOKVQA, "aokvqa_v1p0_val.json", '[{"question_id": "a', "cut short after 19 characters; fetch it again"),
    (VizWiz, "val.json", [dict(image="VizWiz_val_00000000.jpg", question="Why?")], "has no answers.*is it test.json under another name"),
    (VizWiz, "val.json", [SEEN | dict(answers=None)], "answers must be a list of .*, not None"),
    (VizWiz, "val.json", [SEEN | dict(answerable=None)], "answerable must be 0 or 1, not None"),
    (VizWiz, "val.json", [SEEN, SEEN], "VizWiz val repeats question_id 'VizWiz_val_00000000.jpg'"),
    (VizWiz, "val.json", [SEEN | dict(image="VizWiz_test_00000000.jpg")], "is of another split, and val was asked for"),
    (VizWiz, "val.json", [SEEN | dict(image="../VizWiz_val_0.jpg")], "leads out of the data folder"),
    (VizWiz, "val.json", [LAKE], "has no image, which must be text.*give a file of VizWiz's"),
    (GQA, "val_balanced_questions.json", [ASKED | dict(questionId="1")], "is a list, and an object with the ids as keys is needed"),
    (GQA, "val_balanced_questions.json", {"1": ASKED | dict(answer=None)}, "question '1': answer is None, and must be a text"),
    (GQA, "val_balanced_questions.json", {"1": {k: v for k, v in ASKED.items() if k != "isBalanced"}}, "isBalanced is None, and must be a bool"),
    (GQA, "val_balanced_questions.json", {"1": ASKED, "2": {k: v for k, v in ASKED.items() if k != "answer"}}, "question '2' has no answer, and 1 others have one; is it val_balanced's, and whole"),
    (GQA, "val_balanced_questions.json", {"1": {k: v for k, v in ASKED.items() if k != "answer"}}, "question '1' has no answer, and 0 others"),
    (GQA, "val_balanced_questions.json", '{"1": %s, "1": %s}' % ((json.dumps(ASKED),)*2), "GQA val_balanced repeats question_id '1'"),
    (GQA, "val_balanced_questions.json", json.dumps({"1": ASKED})[:-9], "cut short; fetch it again"),
    (GQA, "val_balanced_questions.json", {"1": ASKED | dict(imageId="../../etc/x")}, "leads out of the data folder"),
    (GQA, "val_balanced_questions.json", {}, "has 0 questions"),
    (VQARAD, "VQA_RAD Dataset Public.json", [RAD | dict(answer=None)], "qid '1': answer is None, and must be a text"),
    (VQARAD, "VQA_RAD Dataset Public.json", [RAD | dict(answer_type="MAYBE")], "answer_type must be OPEN or CLOSED, not 'MAYBE'"),
    (VQARAD, "VQA_RAD Dataset Public.json", [RAD, RAD], "qid '1': this qid is there twice"),
    (SLAKE, "test.json", [LAKE | dict(answer=["Square"])], "qid 1: answer is ..Square.., and must be a text"),
    (SLAKE, "test.json", [LAKE | dict(q_lang="de")], "q_lang must be en or zh, not 'de'"),
    (SLAKE, "test.json", [LAKE, LAKE], "SLAKE test repeats question_id 1"),
    (SLAKE, "test.json", [LAKE | dict(img_name="x"*3000)], "has 3,000 characters, and no file is called so"),
    (SLAKE, "test.json", [SEEN], "has no qid, which must be a whole number or a text"),
])
def test_a_wrong_file_is_told_in_a_sentence(tmp_path, kind, name, content, says):
    write(tmp_path/name, content)
    with pytest.raises(UserError, match=says) as told: kind.load({"aokvqa_v1p0_val.json": "val", "val.json": "val", "val_balanced_questions.json": "val"}.get(name, "test"), tmp_path)
    assert len(str(told.value)) < 500

def test_a_file_that_is_too_large_says_which_limit(tmp_path, monkeypatch):
    write(tmp_path/"val_balanced_questions.json", {"1": ASKED})
    monkeypatch.setenv("BEIT3_COLAB_LIMITS", "pieces_bytes=100")
    with pytest.raises(UserError, match="BEIT3_COLAB_LIMITS=pieces_bytes=NUMBER"): GQA.load("val", tmp_path)

def test_wrong_choices_of_gqa(tmp_path):
    write(tmp_path/"val_balanced_questions.json", {"1": ASKED})
    write(tmp_path/"val_choices.json", {"2": {}, "1": {"valid": None, "plausible": []}})
    with pytest.raises(UserError, match="choices file .*question '1': valid and plausible must be lists"): GQA.load("val", tmp_path)

def test_a_blank_answer_of_slake_is_counted_and_not_scored(tmp_path):
    write(tmp_path/"train.json", [LAKE, LAKE | dict(qid=1622, answer="")])
    data = SLAKE.load("train", tmp_path)
    assert (len(data.questions), list(data.annotations), data.notes) == (2, [1], ("questions with a blank answer, not scored: 1 (qid 1622)",))


# --- by name

def packed(files, tar=False):
    buffer = io.BytesIO()
    if not tar:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as z:
            for name, content in files.items(): z.writestr(name, content)
        return buffer.getvalue()
    with tarfile.open(fileobj=buffer, mode="w:gz") as out:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return buffer.getvalue()

def official(name): return (GOLDEN/"data"/name).read_bytes()

@pytest.fixture
def server(tmp_path, monkeypatch):
    for name in PROXIES: monkeypatch.delenv(name, raising=False)
    files = {"/aokvqa/aokvqa/aokvqa_v1p0.tar.gz": packed({f"./aokvqa_v1p0_{s}.json": official(f"aokvqa/aokvqa_v1p0_{s}.json") for s in ("val", "test")}, tar=True),
             "/vizwiz/VizWiz_final/vqa_data/Annotations.zip": packed({f"{s}.json": official(f"vizwiz/{s}.json") for s in ("val", "test")}),
             "/gqa/nlp/data/gqa/questions1.2.zip": packed({"testdev_balanced_questions.json": official("gqa/testdev_balanced_questions.json"), "train_all_questions/train_all_questions_0.json": b"{}"}),
             "/hub/datasets/BoKelvin/SLAKE/resolve/main/validation.json": json.dumps([LAKE]).encode()}
    places = {"aokvqa": "prior-datasets.s3.us-east-2.amazonaws.com", "vizwiz": "vizwiz.cs.colorado.edu", "gqa": "downloads.cs.stanford.edu", "hub": "huggingface.co"}
    with FileServer(files) as server:
        monkeypatch.setenv("BEIT3_COLAB_CACHE", str(tmp_path/"cache"))
        monkeypatch.setenv("BEIT3_COLAB_MIRROR", ";".join(f"https://{host}={server.url}/{key}" for key, host in places.items()))
        yield server

@pytest.mark.parametrize("kind, split, count", [(AOKVQA, "val", 24), (AOKVQA, "test", 6), (VizWiz, "val", 24), (GQA, "testdev", 36), (SLAKE, "val_en", 1)])
def test_by_name(server, kind, split, count):
    assert not kind.is_here(kind.known_split(split))
    data = kind.load(split)
    assert (len(data.questions), data.data_path) == (count, None) and kind.is_here(data.split)
    asked = len(server.requests)
    assert kind.load(split).questions == data.questions and len(server.requests) == asked # from the cache
    if kind is AOKVQA and split == "test": assert len(data.choices) == 6

def test_a_tar_that_is_none_is_fetched_again_next_time(server, tmp_path, monkeypatch):
    with FileServer({"/a/aokvqa/aokvqa_v1p0.tar.gz": b"<html>Sign in</html>"*100}) as other:
        monkeypatch.setenv("BEIT3_COLAB_MIRROR", f"https://prior-datasets.s3.us-east-2.amazonaws.com={other.url}/a")
        with pytest.raises(UserError): AOKVQA.load("val")
    monkeypatch.setenv("BEIT3_COLAB_MIRROR", f"https://prior-datasets.s3.us-east-2.amazonaws.com={server.url}/aokvqa")
    assert len(AOKVQA.load("val").questions) == 24

@pytest.mark.parametrize("kind, split, says", [(VQARAD, "test", "is not fetched by name: give data_path="), (GQA, "train_all", "unpack train_all_questions/train_all_questions_0.json and its kin, and give data_path="),
                                               (GQA, "val_all", "unpack val_all_questions.json and its kin")])
def test_not_fetched_by_name(kind, split, says):
    with pytest.raises(UserError, match=says): kind.load(split)
    assert not kind.is_here(split)


# --- to the end

@pytest.mark.parametrize("name", ["aokvqa", "vizwiz", "gqa", "vqarad", "slake"])
def test_a_run_to_the_end(layouts, vqa, tmp_path, name):
    place, split = layouts[name]
    run = evaluate(vqa, dataset=name, split=split, data_path=place, output_dir=tmp_path/"run", device="cpu", progress=False)
    data = load_dataset(name, split, place)
    assert (run.metric, run.data.label, len(run.questions)) == (RULES[data.rule].name, f"{name} {split}", len(data.questions))
    rule, counted = RULES[data.rule], [q for q in data.annotations if data.annotations[q].counted]
    expected = [rule.fraction(run.records[q]["answers"][0], data.annotations[q].answers) for q in counted]
    assert run.accuracy.overall == pytest.approx(100*sum(expected)/len(expected), abs=.01)
    again = open_run(tmp_path/"run", data_path=place)
    assert again.accuracy.overall == run.accuracy.overall and again.metric == RULES[data.rule].name
    written = json.loads(run.submission.read_text())
    def ordered(form): return form if isinstance(form, dict) else sorted(form, key=str)
    assert ordered(written) == ordered(data.answer_file(run.records)) and len(written) == len(run.questions)
    assert run.submission.name == f"submit_{name}_{split}.json"
