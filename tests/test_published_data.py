"Data sets of others in every form that people have them: official files, the Hub's tables, VLMEvalKit's TSV, and by name from a server on this machine."
import base64
import io
import json
import shutil
import zipfile
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from file_server import FileServer

from beit3_colab import evaluate, open_run
from beit3_colab.data.hub_rows import HubRows, TsvRows, open_hub_rows
from beit3_colab.data.vqav2_online import PICTURES
from beit3_colab.machine.messages import UserError
from beit3_colab.pictures.decoding import Described, load_image
from beit3_colab.pictures.reading import ImageError
from beit3_colab.pictures.sources import describe, is_described
from beit3_colab.scoring.rules import RULES as RULES_BY_NAME
from beit3_colab.run.task import find_dataset, load_dataset
from beit3_colab.data.dataset import group_by_image

RULES = Path(__file__).parent/"golden"/"rules"
DATA, HUB, LMU = RULES/"data", RULES/"hf", RULES/"LMUData"
OKVQA_ROWS = HUB/"okvqa"/"data"/"val2014-00000-of-00001.parquet"


def read_json(*parts): return json.loads(DATA.joinpath(*parts).read_text())

def table_of(path): return datasets.Dataset(pyarrow.parquet.read_table(path))

def copied(folder, tmp_path):
    "A data set's folder with COCO's pictures beside it, to be spoilt."
    shutil.copytree(DATA/folder, tmp_path/folder)
    if folder != "textvqa": (tmp_path/"coco").symlink_to(DATA/"coco")
    return tmp_path/folder

def change(path, edit):
    content = json.loads(path.read_text())
    path.write_text(json.dumps(edit(content) or content))


# what is read

@pytest.mark.parametrize("name, split, folder, records", [
    ("okvqa", "val", "okvqa", ("OpenEnded_mscoco_val2014_questions.json", "questions")),
    ("vqav2", "val", "vqav2", ("v2_OpenEnded_mscoco_val2014_questions.json", "questions")),
    ("textvqa", "val", "textvqa", ("TextVQA_0.5.1_val.json", "data"))])
def test_the_hubs_table_says_what_the_official_files_say(name, split, folder, records):
    official, hub = load_dataset(name, split, DATA/folder), load_dataset(name, split, HUB/folder)
    written = read_json(folder, records[0])[records[1]]
    assert [(q.question_id, q.image_id, q.question) for q in official.questions] == [(r["question_id"], r["image_id"], r["question"]) for r in written]
    def facts(q): return q.question_id, q.image_id, q.question
    assert sorted(map(facts, official.questions)) == sorted(map(facts, hub.questions)) and official.metric == hub.metric
    assert {i: hub.annotations[i] for i in official.annotations} == official.annotations
    by_id = {q.question_id: q for q in official.questions}
    assert len(group_by_image(hub.questions)) == len(group_by_image(official.questions)) < len(hub.questions)
    official = official.choose_pictures(official.questions)
    for q in hub.questions: assert hub.read_image(q).tobytes() == official.read_image(by_id[q.question_id]).tobytes()
    assert hub.notes == official.notes == ()

@pytest.mark.parametrize("name, folder, file", [("okvqa", "okvqa", "val2014"), ("vqav2", "vqav2", "validation"), ("textvqa", "textvqa", "validation")])
def test_rows_stay_in_order_whatever_holds_them(name, folder, file):
    path = HUB/folder/"data"/f"{file}-00000-of-00001.parquet"
    order = [int(i) for i in pyarrow.parquet.read_table(path)["question_id"].to_pylist()]
    table = table_of(path)
    for place in (HUB/folder, HUB/folder/"data", HUB, path, table, datasets.DatasetDict({file: table, "train": table}), table.with_format("numpy")):
        if place == HUB and name != "okvqa": continue # two folders have data/validation-*
        data = load_dataset(name, "val", place)
        assert [q.question_id for q in data.questions] == order
        assert data.data_path == (place if isinstance(place, Path) else None)

def test_shards_in_order(tmp_path):
    (tmp_path/"data").mkdir()
    table = pyarrow.parquet.read_table(OKVQA_ROWS)
    for i in range(3): pyarrow.parquet.write_table(table.slice(8*i, 8), tmp_path/"data"/f"val2014-{i:05}-of-00003.parquet", row_group_size=3)
    whole, parts = load_dataset("okvqa", "val", HUB/"okvqa"), load_dataset("okvqa", "val", tmp_path)
    assert parts.questions == whole.questions and parts.annotations == whole.annotations
    assert [parts.read_image(q).tobytes() for q in parts.questions] == [whole.read_image(q).tobytes() for q in whole.questions]
    one = load_dataset("okvqa", "val", tmp_path/"data"/"val2014-00001-of-00003.parquet")
    assert one.questions[0].question_id == whole.questions[8].question_id and "one of 3 files of its table" in one.notes[0]
    (tmp_path/"data"/"val2014-00001-of-00003.parquet").unlink()
    with pytest.raises(UserError, match="has 2 of 3 parquet files of val2014: part 1 is missing"): load_dataset("okvqa", "val", tmp_path)

def test_vqav2s_test_has_no_answers():
    test = load_dataset("vqav2", "test", HUB/"vqav2")
    assert test.annotations is None and len(test.questions) == 8 and test.read_image(test.questions[7]).size == (48, 32)

@pytest.mark.parametrize("name, file, column", [("textvqa", "TextVQA_VAL.tsv", "answer"), ("docvqa", "DocVQA_VAL.tsv", "answer")])
def test_vlmevalkits_tsv(name, file, column):
    import pandas
    read = pandas.read_csv(LMU/file, sep="\t", keep_default_na=False)
    for place in (LMU, LMU/file, LMU.parent):
        data = load_dataset(name, "val", place)
        assert [(q.question_id, q.question) for q in data.questions] == list(zip(read["index"], read["question"]))
        import ast
        assert [list(data.annotations[i].answers) for i in read["index"]] == [ast.literal_eval(a) for a in read[column]]
        assert len(group_by_image(data.questions)) == read["image"].nunique() < len(read)
        for q, image in zip(data.questions, read["image"]): assert data.read_image(q).tobytes() == load_picture(image).tobytes()

def load_picture(text):
    from PIL import Image
    return Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")

def test_textvqa_test_and_words_in_pictures():
    val, test = load_dataset("textvqa", None, DATA/"textvqa"), load_dataset("textvqa", "test", DATA/"textvqa")
    assert val.split == "val" and test.annotations is None and test.questions[0].image.startswith("test_images/")
    words = {r["image_id"]: tuple(r["ocr_tokens"]) for r in read_json("textvqa", "TextVQA_Rosetta_OCR_v0.2_val.json")["data"]}
    assert all(a.facts == {"ocr_tokens": words[a.image_id]} for a in val.annotations.values())
    assert test.where_to_submit(True, 24).startswith("EvalAI takes these")

def vqacp(folder):
    "VQA-CP v2 in small: VQAv2's questions, half of them about pictures of train2014."
    questions = read_json("vqav2", "v2_OpenEnded_mscoco_val2014_questions.json")["questions"]
    people = read_json("vqav2", "v2_mscoco_val2014_annotations.json")["annotations"]
    folders = {image: ("train2014", "val2014")[i % 2] for i, image in enumerate(dict.fromkeys(q["image_id"] for q in questions))}
    (folder/"vqacp").mkdir(parents=True)
    for kind, records in (("questions", questions), ("annotations", people)):
        (folder/"vqacp"/f"vqacp_v2_test_{kind}.json").write_text(json.dumps([r | dict(coco_split=folders[r["image_id"]]) for r in records]))
    for image, name in folders.items():
        (folder/name).mkdir(exist_ok=True)
        shutil.copy(DATA/"coco"/"val2014"/f"COCO_val2014_{image:012}.jpg", folder/name/f"COCO_{name}_{image:012}.jpg")
    return folder

def vqav1(folder):
    "VQA's first release in small: VQAv2's questions under ids of one digit and names without v2_."
    folder.mkdir(exist_ok=True)
    (folder/"coco").symlink_to(DATA/"coco")
    for name, key in (("v2_OpenEnded_mscoco_val2014_questions.json", "questions"), ("v2_mscoco_val2014_annotations.json", "annotations")):
        content = read_json("vqav2", name)
        for r in content[key]: r["question_id"] = r["image_id"]*10 + r["question_id"] % 10
        (folder/name.removeprefix("v2_")).write_text(json.dumps(content))
    return folder

def test_vqacp_takes_pictures_of_two_folders(tmp_path):
    data = load_dataset("vqacp2", None, vqacp(tmp_path)/"vqacp")
    assert (data.split, data.metric, data.image_root) == ("test", "official_vqa", tmp_path) and len(data.annotations) == 24
    data = data.choose_pictures(data.questions)
    assert {q.image.partition("/")[0] for q in data.questions} == {"train2014", "val2014"}
    assert data.source.missing([q.image for q in data.questions]) == [] and is_described(data.source)
    with zipfile.ZipFile(tmp_path/"train2014.zip", "w") as z:
        for path in (tmp_path/"train2014").iterdir(): z.write(path, f"train2014/{path.name}")
    before = [data.read_image(q).tobytes() for q in data.questions]
    shutil.rmtree(tmp_path/"train2014")
    zipped = data.choose_pictures(data.questions)
    assert type(zipped.source.parts["train2014"]).__name__ == "ZipPictures" and [zipped.read_image(q).tobytes() for q in zipped.questions] == before
    assert "were trained" in data.notes_on("beit3_base_patch16_480_vqa")[0] and data.notes_on("mine") == ()

def test_vqas_first_release(tmp_path):
    data = load_dataset("vqav1", "val2014", vqav1(tmp_path/"v1"))
    v2 = load_dataset("vqav2", "val", DATA/"vqav2")
    assert [q.question for q in data.questions] == [q.question for q in v2.questions] and data.questions[0].question_id == v2.questions[0].image_id*10 + v2.questions[0].question_id % 10
    assert [a.answers for a in data.annotations.values()] == [v2.annotations[q.question_id].answers for q in v2.questions]
    assert data.read_image(data.questions[0]).size == (48, 32)


# pictures

@pytest.mark.parametrize("place", [HUB/"okvqa", LMU/"TextVQA_VAL.tsv", "two folders"])
def test_pictures_are_read_by_other_processes_as_here(place, tmp_path):
    import numpy as np
    data = (load_dataset("vqacp2", "test", vqacp(tmp_path)/"vqacp") if place == "two folders" else
            load_dataset("textvqa" if place.suffix else "okvqa", "val", place))
    data = data.choose_pictures(data.questions)
    for q in data.questions[:6]:
        here, there = np.zeros((2, 32, 32, 3), np.uint8)
        assert load_image(data, q, 32, here)[0] is None
        said = json.loads(json.dumps(describe(data.source, q.image)))
        assert load_image(Described(), said, 32, there)[0] is None and (here == there).all() and here.any()

def test_a_picture_that_is_a_path_lies_beside_its_table(tmp_path):
    pair = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    picture = (DATA/"coco"/"val2014"/"COCO_val2014_000000004263.jpg")
    (tmp_path/"in").mkdir()
    for place in (tmp_path/"in"/"near.jpg", tmp_path/"far.jpg"): shutil.copy(picture, place)
    paths = ["near.jpg", "../far.jpg", str(tmp_path/"far.jpg"), "C:\\far.jpg", "gone.jpg", "https://example.com/x.jpg"]
    table = pyarrow.parquet.read_table(OKVQA_ROWS).slice(0, len(paths)).drop_columns(["image"])
    table = table.append_column("image", pyarrow.array([dict(bytes=None, path=p) for p in paths], pair))
    pyarrow.parquet.write_table(table, tmp_path/"in"/"rows.parquet")
    source = open_hub_rows(tmp_path/"in"/"rows.parquet", ()).pictures()
    assert source.read("row 0").size == (48, 32)
    for i, why in enumerate(["leads out of", "leads out of", "leads out of", "gone.jpg does not exist|No such file", "no server is asked"], 1):
        with pytest.raises(ImageError, match=why): source.read(f"row {i}")
    saved = datasets.Dataset(table).cast_column("image", datasets.Image())
    assert HubRows.of_table(saved).pictures().read("row 2").size == (48, 32) # whoever makes a table in memory chooses its paths
    loaded = datasets.Dataset.from_parquet(str(tmp_path/"in"/"rows.parquet"), cache_dir=str(tmp_path/"cache")).cast_column("image", datasets.Image())
    with pytest.raises(ImageError, match="leads out of"): HubRows.of_table(loaded).pictures().read("row 2") # a file may be from anybody

def test_a_folder_of_pictures_by_images(tmp_path):
    alone = copied("textvqa", tmp_path)
    (alone/"train_images").rename(tmp_path/"photos")
    data = load_dataset("textvqa", "val", alone)
    with pytest.raises(UserError, match=r"24 questions have no picture: .*images='zip' \(--images zip\) to fetch all of them"):
        data.choose_pictures(data.questions).check_pictures(data.questions)
    found = data.choose_pictures(data.questions, tmp_path/"photos")
    assert found.read_image(data.questions[3]).size == (48, 32) and is_described(found.source)
    with zipfile.ZipFile(tmp_path/"all.zip", "w") as z:
        for path in (tmp_path/"photos").iterdir(): z.write(path, f"train_images/{path.name}")
    assert data.choose_pictures(data.questions, str(tmp_path/"all.zip")).read_image(data.questions[3]).size == (48, 32)
    (tmp_path/"all.zip").rename(alone/"train_val_images.zip") # its official name, beside the questions: found without a word
    assert type(data.choose_pictures(data.questions).source).__name__ == "ZipPictures"
    for images, why in [(tmp_path/"nowhere", "has no train_images/"), (alone, "has no train_images/"), ("single", "is about COCO's pictures")]:
        with pytest.raises(UserError, match=why): data.choose_pictures(data.questions, images)
    rows = load_dataset("textvqa", "val", LMU)
    with pytest.raises(UserError, match="are in its rows; leave it out"): rows.choose_pictures(rows.questions, tmp_path/"photos")


# to the end

@pytest.mark.parametrize("dataset, place", [("okvqa", DATA/"okvqa"), ("okvqa", HUB/"okvqa"), ("textvqa", DATA/"textvqa"), ("textvqa", LMU),
                                            ("docvqa", LMU/"DocVQA_VAL.tsv"), ("vqav2", HUB/"vqav2"), ("vqav2", HUB/"vqav2"/"data"/"validation-00000-of-00001.parquet")])
def test_evaluated_and_opened_again(dataset, place, vqa, tmp_path):
    run = evaluate(vqa, dataset=dataset, split="val", data_path=place, output_dir=tmp_path/"run", progress=False)
    assert len(run.questions) == len(run.answers) == 24 and run.data.metric == find_dataset(dataset)("val", [], None, Path()).metric
    entries = json.loads(run.submission.read_text())
    key, name = ("index", f"answers_{dataset}_val_by_index.json") if run.data.by_row else ("question_id", f"submit_{dataset}_val.json")
    assert run.data.by_row == (LMU in (place, place.parent)) and run.submission.name == name
    assert [e[key] for e in entries] == [q.question_id for q in run.questions]
    again = open_run(tmp_path/"run")
    assert again.accuracy == run.accuracy and again.answers.equals(run.answers) and RULES_BY_NAME[run.accuracy.metric] is RULES_BY_NAME[run.metric]
    assert again.data.read_image(again.questions[-1]).size == (48, 32)

def test_evaluated_on_a_table_in_memory(vqa, tmp_path):
    table = table_of(OKVQA_ROWS)
    run = evaluate(vqa, dataset="okvqa", data_path=table, output_dir=tmp_path/"run", progress=False)
    of_files = evaluate(vqa, dataset="okvqa", data_path=HUB/"okvqa", output_dir=tmp_path/"files", progress=False)
    assert run.accuracy.overall == of_files.accuracy.overall and list(run.answers["answer"]) == list(of_files.answers["answer"])
    with pytest.raises(UserError, match=r"came from a datasets.Dataset, which is no file: give it again \(data_path="): open_run(tmp_path/"run")
    for place in (table, HUB/"okvqa"): assert open_run(tmp_path/"run", place).accuracy == run.accuracy
    with pytest.raises(UserError, match="cannot be sent to other processes: write it to a file, table.to_parquet"):
        evaluate("sample", dataset="okvqa", data_path=table, output_dir=tmp_path/"two", processes=2, device="cpu", progress=False)
    with pytest.raises(UserError, match="are not those that were asked"): open_run(tmp_path/"run", table.select(range(23, -1, -1)))

def test_two_processes_on_parquet_files(tmp_path):
    run = evaluate("sample", dataset="okvqa", split="val", data_path=HUB/"okvqa", output_dir=tmp_path/"run", processes=2, device="cpu", progress=False)
    assert len(run.answers) == 24 and open_run(tmp_path/"run").accuracy == run.accuracy


# by name

HOSTS = ("okvqa.allenai.org", "dl.fbaipublicfiles.com", "computing.ece.vt.edu", "s3.amazonaws.com")

def zipped(**files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name, content in files.items(): z.writestr(name, content)
    return out.getvalue()

@pytest.fixture
def server(tmp_path, monkeypatch):
    "The authors' servers in small, and an empty cache."
    v1, cp = vqav1(tmp_path/"v1"), vqacp(tmp_path/"cp")/"vqacp"
    files = {f"/okvqa.allenai.org/static/data/{p.name}.zip": zipped(**{p.name: p.read_bytes()}) for p in (DATA/"okvqa").iterdir()}
    files["/dl.fbaipublicfiles.com/textvqa/data/TextVQA_0.5.1_val.json"] = DATA/"textvqa"/"TextVQA_0.5.1_val.json"
    pictures = {f"train_images/{p.name}": p.read_bytes() for p in (DATA/"textvqa"/"train_images").iterdir()}
    files["/dl.fbaipublicfiles.com/textvqa/images/train_val_images.zip"] = zipped(**pictures)
    files |= {f"/computing.ece.vt.edu/~aish/vqacp/{p.name}": p for p in cp.iterdir()}
    for kind, name in (("Questions", "OpenEnded_mscoco_val2014_questions.json"), ("Annotations", "mscoco_val2014_annotations.json")):
        files[f"/s3.amazonaws.com/cvmlp/vqa/mscoco/vqa/{kind}_Val_mscoco.zip"] = zipped(**{name: (v1/name).read_bytes(), f"MultipleChoice_{name}": b"{}"})
    host = PICTURES.removeprefix("https:/")
    for folder in (DATA/"coco"/"val2014", tmp_path/"cp"/"train2014"): files |= {f"{host}/{folder.name}/{p.name}": p for p in folder.iterdir()}
    with FileServer(files) as server:
        monkeypatch.setenv("BEIT3_COLAB_CACHE", str(tmp_path/"cache"))
        monkeypatch.setenv("BEIT3_COLAB_MIRROR", ";".join(f"https://{host}={server.url}/{host}" for host in HOSTS))
        yield server

@pytest.mark.parametrize("dataset, split, images", [("okvqa", "val", "auto"), ("vqav1", "val", "auto"), ("vqacp2", "test", "auto"), ("textvqa", "val", "zip")])
def test_fetched_by_name(server, dataset, split, images, vqa, tmp_path):
    run = evaluate(vqa, dataset=dataset, images=images, limit=6, output_dir=tmp_path/"run", progress=False)
    assert run.data.split == split and len(run.data.questions) == 24 and run.data.data_path is None and 6 <= len(run.answers) <= 8
    asked = len(server.requests)
    assert open_run(tmp_path/"run").accuracy == run.accuracy and load_dataset(dataset).questions == run.data.questions
    assert len(server.requests) == asked # all of it is kept
    kept = open_run(tmp_path/"run")
    assert kept.data.read_image(kept.questions[0]).size == (48, 32) and len(server.requests) == asked

def test_a_run_by_name_is_not_fetched_for_unasked(server, vqa, tmp_path):
    evaluate(vqa, dataset="okvqa", limit=3, output_dir=tmp_path/"run", progress=False)
    shutil.rmtree(tmp_path/"cache"/"okvqa")
    with pytest.raises(UserError, match="OK-VQA val is not in the cache, and nothing is fetched unasked"): open_run(tmp_path/"run")
    assert len(open_run(tmp_path/"run", fetch_pictures=True).answers) >= 3
    assert open_run(tmp_path/"run", DATA/"okvqa").answers.shape[0] >= 3 # the same files on a disk

def test_a_file_that_is_not_the_data_sets_is_fetched_again(server, tmp_path):
    name = "/okvqa.allenai.org/static/data/mscoco_val2014_annotations.json.zip"
    right = server.files[name]
    server.files[name] = zipped(**{"mscoco_val2014_annotations.json": (tmp_path/"v1"/"mscoco_val2014_annotations.json").read_bytes()})
    with pytest.raises(UserError, match="has no 'raw_answer'"): load_dataset("okvqa")
    server.files[name] = right
    assert len(load_dataset("okvqa").annotations) == 24

def test_pictures_of_the_cache_are_shared(server, tmp_path):
    by_name = load_dataset("okvqa")
    by_name = by_name.choose_pictures(by_name.questions)
    for q in by_name.questions: by_name.read_image(q)
    files = copied("okvqa", tmp_path)
    (tmp_path/"coco").unlink()
    on_disk = load_dataset("okvqa", "val", files)
    assert on_disk.choose_pictures(on_disk.questions).read_image(on_disk.questions[0]).size == (48, 32)
    assert load_dataset("vqav1").choose_pictures(by_name.questions).source.to_fetch([q.image for q in by_name.questions]) == []


# what is wrong

def wrong_folder(tmp_path): return DATA/"vqav2"

def first_release(tmp_path): return vqav1(tmp_path/"v1")

def okvqas_files(tmp_path): return DATA/"okvqa"

def annotations_of_another_split(tmp_path):
    folder = copied("okvqa", tmp_path)
    change(folder/"mscoco_val2014_annotations.json", lambda c: c | dict(data_subtype="train2014"))
    return folder

def answers_to_other_questions(tmp_path):
    folder = copied("okvqa", tmp_path)
    change(folder/"mscoco_val2014_annotations.json", lambda c: c | dict(annotations=[a | dict(question_id=a["question_id"] + 7) for a in c["annotations"]]))
    return folder

def about_other_pictures(tmp_path):
    folder = copied("okvqa", tmp_path)
    change(folder/"mscoco_val2014_annotations.json", lambda c: c | dict(annotations=[a | dict(image_id=1) for a in c["annotations"]]))
    return folder

def repeated(tmp_path):
    folder = copied("okvqa", tmp_path)
    change(folder/"OpenEnded_mscoco_val2014_questions.json", lambda c: c | dict(questions=c["questions"] + c["questions"][:1]))
    return folder

def text_for_a_number(tmp_path):
    folder = copied("okvqa", tmp_path)
    change(folder/"OpenEnded_mscoco_val2014_questions.json", lambda c: c | dict(questions=[q | dict(image_id=f"../{q['image_id']}") for q in c["questions"]]))
    return folder

def cut_short(tmp_path):
    folder = copied("okvqa", tmp_path)
    path = folder/"OpenEnded_mscoco_val2014_questions.json"
    path.write_text(path.read_text()[:900])
    return folder

def five_answers(tmp_path):
    folder = copied("okvqa", tmp_path)
    change(folder/"mscoco_val2014_annotations.json", lambda c: c | dict(annotations=[a | dict(answers=a["answers"][:5]) for a in c["annotations"]]))
    return folder

def no_parquet(tmp_path):
    (tmp_path/"data").mkdir()
    (tmp_path/"data"/"val2014-00000-of-00001.parquet").write_text("question_id,question\n1,what?\n")
    return tmp_path

def vqav2s_table(tmp_path): return HUB/"vqav2"/"data"/"validation-00000-of-00001.parquet"

def edited_table(tmp_path, edit):
    pyarrow.parquet.write_table(edit(pyarrow.parquet.read_table(OKVQA_ROWS)), tmp_path/"rows.parquet")
    return tmp_path/"rows.parquet"

def numbers_for_answers(tmp_path):
    return edited_table(tmp_path, lambda t: t.set_column(t.schema.get_field_index("answers"), "answers", [list(range(24))]))

def repeated_rows(tmp_path): return edited_table(tmp_path, lambda t: pyarrow.concat_tables([t, t.slice(3, 1)]))

def no_rows(tmp_path): return edited_table(tmp_path, lambda t: t.slice(0, 0))

def a_file(tmp_path): return DATA/"okvqa"/"mscoco_val2014_annotations.json"

def still_packed(tmp_path):
    folder = copied("okvqa", tmp_path)
    path = folder/"mscoco_val2014_annotations.json"
    path.rename(f"{path}.zip")
    return folder

def repeated_index(tmp_path):
    lines = (LMU/"TextVQA_VAL.tsv").read_text().splitlines(keepends=True)
    (tmp_path/"TextVQA_VAL.tsv").write_text("".join(lines + lines[1:2]))
    return tmp_path

def a_tsv_of_another(tmp_path): return LMU/"VizWiz.tsv"

def a_cut_tsv(tmp_path):
    (tmp_path/"TextVQA_VAL.tsv").write_bytes((LMU/"TextVQA_VAL.tsv").read_bytes()[:5000])
    return tmp_path

@pytest.mark.parametrize("dataset, make, why", [
    ("okvqa", wrong_folder, "has no OpenEnded_mscoco_val2014_questions.json and no mscoco_val2014_annotations.json .*v2_OpenEnded_mscoco_val2014_questions.json is there: is it"),
    ("okvqa", first_release, r"mscoco_val2014_annotations.json has no 'raw_answer', .* pass dataset='vqav1' \(--dataset vqav1\)"),
    ("vqav1", okvqas_files, r"is OK-VQA's, .* pass dataset='okvqa' \(--dataset okvqa\)"),
    ("okvqa", annotations_of_another_split, "says that it is of 'train2014', and val2014 is wanted"),
    ("okvqa", answers_to_other_questions, "annotations.json: 24 of 24 questions have no annotation .first 42630, 42631, 42632, ….: are the annotations of another split"),
    ("okvqa", about_other_pictures, "annotations.json: question 42630 is about picture 1, and about 4263 in the questions"),
    ("okvqa", repeated, r"repeats question_id 42630 \(entries 0 and 24\)"),
    ("okvqa", text_for_a_number, "'image_id' must be a number of COCO's, not '../4263'"),
    ("okvqa", cut_short, "questions.json is cut short after 900 characters"),
    ("okvqa", five_answers, "question 42630 has 5 answers, and its data set gives ten"),
    ("okvqa", no_parquet, "cannot be read as Parquet"),
    ("okvqa", vqav2s_table, "has a column 'multiple_choice_answer', which OK-VQA's table has not"),
    ("vqav2", lambda _: OKVQA_ROWS, "has no column 'image_id' and no 'multiple_choice_answer', which VQAv2's table has"),
    ("okvqa", numbers_for_answers, "row 0: 'answers' must be a list, not 0"),
    ("okvqa", repeated_rows, "repeats question_id .* .entries 3 and 24."),
    ("okvqa", no_rows, "has 0 rows"),
    ("okvqa", a_file, "is a file; data_path is the folder that holds OpenEnded_mscoco_val2014_questions.json and"),
    ("okvqa", still_packed, "has no mscoco_val2014_annotations.json .*: OK-VQA val needs it; .*mscoco_val2014_annotations.json.zip is there: unpack it$"),
    ("textvqa", repeated_index, "TextVQA_VAL.tsv repeats question_id 0 .entries 0 and 24."),
    ("textvqa", wrong_folder, "has no TextVQA_0.5.1_val.json .*and no table such as data/validation-.*.parquet or TextVQA_VAL.tsv"),
    ("textvqa", a_tsv_of_another, "has no column 'answer', which TextVQA's table has"),
    ("textvqa", a_cut_tsv, "row 2 has 2 fields where 4 are named"),
    ("vqacp2", wrong_folder, "has no vqacp_v2_test_questions.json and no vqacp_v2_test_annotations.json"),
    ("docvqa", wrong_folder, "has no val_v1.0_withQT.json .*no table such as DocVQA/validation-.*.parquet or DocVQA_VAL.tsv: DocVQA val needs it$")])
def test_what_is_wrong_is_said(dataset, make, why, tmp_path):
    with pytest.raises(UserError, match=why) as told: load_dataset(dataset, None if dataset == "vqacp2" else "val", make(tmp_path))
    assert len(str(told.value).replace(str(tmp_path), "")) < 800 and "\n" not in str(told.value)

def test_tables_that_are_not_read_here():
    with pytest.raises(UserError, match="whose rows come one after the other"): load_dataset("okvqa", "val", table_of(OKVQA_ROWS).to_iterable_dataset())
    with pytest.raises(UserError, match="the DatasetDict has no 'train' or 'train2014'"): load_dataset("okvqa", "train", datasets.DatasetDict(val2014=table_of(OKVQA_ROWS)))
    with pytest.raises(UserError, match="DocVQA is not fetched by name: give data_path=… .--data-path."): load_dataset("docvqa")
    with pytest.raises(UserError, match="split 'test' is not one of OK-VQA's: use one of val, train"): load_dataset("okvqa", "test")

@pytest.mark.parametrize("name, split, place, other", [
    ("vqav2", "val", HUB/"vqav2"/"data"/"test-00000-of-00001.parquet", "test"), ("vqav2", "test-dev", HUB/"vqav2"/"data"/"test-00000-of-00001.parquet", "test"),
    ("okvqa", "train", OKVQA_ROWS, "val"), ("docvqa", "test", LMU/"DocVQA_VAL.tsv", "val")])
def test_a_file_of_another_split_by_its_name(name, split, place, other):
    with pytest.raises(UserError, match=f"'s {other} by its name, and {split} is wanted: pass split='{other}' .--split {other}."): load_dataset(name, split, place)

def test_a_table_says_its_split(tmp_path):
    def loaded(*source, **more): return datasets.load_dataset(*source, cache_dir=str(tmp_path/"cache"), **more)
    files = {"data_files": str(OKVQA_ROWS)}
    for table in (loaded(str(HUB/"okvqa")), loaded(str(HUB/"okvqa"), split="val2014"), loaded("parquet", **files, split="train")): # what files are called without a word
        assert load_dataset("okvqa", "val", table["train"] if "train" in table else table).notes == ()
    shutil.copytree(HUB/"okvqa", tmp_path/"own")
    (tmp_path/"own"/"data"/OKVQA_ROWS.name).rename(tmp_path/"own"/"data"/"train2014-00000-of-00001.parquet")
    with pytest.raises(UserError, match="the table is OK-VQA's train by its name, and val is wanted: pass split='train'"):
        load_dataset("okvqa", "val", loaded(str(tmp_path/"own"), split="train2014"))
    data = load_dataset("okvqa", "val", loaded(str(HUB/"okvqa"), split="val2014[:5]"))
    assert len(data.questions) == 5 and data.notes == ("the table is val2014[:5], not all of val2014",)

def test_a_table_that_is_none_of_datasets():
    with pytest.raises(UserError, match="data_path is Table, and a datasets.Dataset is read"): load_dataset("okvqa", "val", pyarrow.parquet.read_table(OKVQA_ROWS))

@pytest.mark.parametrize("images", ["beside", "server"])
def test_a_table_without_pictures_takes_cocos(images, server, tmp_path):
    table = pyarrow.parquet.read_table(HUB/"vqav2"/"data"/"validation-00000-of-00001.parquet").drop_columns(["image"])
    (tmp_path/"rows").mkdir()
    pyarrow.parquet.write_table(table, tmp_path/"rows"/"validation-00000-of-00001.parquet")
    if images == "beside": (tmp_path/"coco").symlink_to(DATA/"coco")
    data = load_dataset("vqav2", "val", tmp_path/"rows" if images == "beside" else datasets.Dataset(table))
    data = data.choose_pictures(data.questions)
    assert data.read_image(data.questions[0]).size == (48, 32) and data.questions[0].image.startswith("val2014/COCO_val2014_")
    assert data.remote == bool(server.requests) == (images == "server")

def test_pictures_of_2017_come_from_the_server(server, tmp_path):
    from beit3_colab.data.vqav2_online import official_pictures
    path = next((DATA/"coco"/"val2017").iterdir())
    server.files[f"{PICTURES.removeprefix('https:/')}/val2017/{path.name}"] = path
    source = official_pictures("val2017", [f"val2017/{path.name}"])
    assert source.read(f"val2017/{path.name}").size == (48, 32) and (tmp_path/"cache"/"vqav2"/"val2017"/path.name).is_file()
    for name in ("val2017/COCO_val2017_000000000042.jpg", "val2014/000000000042.jpg", f"../{path.name}"):
        with pytest.raises(ImageError, match="no name that COCO gives"): source.read(name)

def test_some_rows_without_answers_are_counted(tmp_path):
    answers = pyarrow.parquet.read_table(OKVQA_ROWS)["answers"].to_pylist()
    path = edited_table(tmp_path, lambda t: t.set_column(t.schema.get_field_index("answers"), "answers", [[None, []] + answers[2:]]))
    data = load_dataset("okvqa", "val", path)
    assert len(data.questions) == 24 and len(data.annotations) == 22 and data.notes[0].startswith("2 questions of ") and "not scored" in data.notes[0]

def test_a_row_of_a_tsv_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setenv("BEIT3_COLAB_LIMITS", "picture_bytes=300; cell_letters=100")
    with pytest.raises(UserError, match="line 2 is longer than any row with a picture"): TsvRows(LMU/"TextVQA_VAL.tsv")
    monkeypatch.setenv("BEIT3_COLAB_LIMITS", "table_group_bytes=1000")
    shutil.copy(OKVQA_ROWS, tmp_path/"new.parquet") # not among the groups that are kept
    with pytest.raises(ImageError, match="bytes of pictures together"): open_hub_rows(tmp_path/"new.parquet", ()).pictures().read("row 0")


# files that are only too large

@pytest.mark.parametrize("name, value", [("zip_bytes", 100), ("file_bytes", 100)])
def test_a_zip_that_is_only_too_large_is_kept(server, name, value, monkeypatch):
    monkeypatch.setenv("BEIT3_COLAB_LIMITS", f"{name}={value}")
    with pytest.raises(UserError, match=f"BEIT3_COLAB_LIMITS={name}=NUMBER"): load_dataset("okvqa")
    with pytest.raises(UserError, match=f"BEIT3_COLAB_LIMITS={name}=NUMBER"): load_dataset("okvqa")
    asked = len(server.requests)
    monkeypatch.delenv("BEIT3_COLAB_LIMITS")
    assert len(load_dataset("okvqa").questions) == 24
    names = [request.path for request in server.requests]
    assert len(names) == len(set(names)) and asked >= 1 # nothing was fetched twice
