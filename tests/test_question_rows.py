"Rows of questions from every source: files of many spellings, tables of other libraries, folders; and what is said of the rest."
import csv
import gzip
import io
import json
import logging
import re
import sys
import types
import weakref

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from beit3_colab.data.own import open_questions
from beit3_colab.data.rows import read_rows
from beit3_colab.machine.messages import UserError

def short(value): return repr(value)[:24] # for names of tests

ASKED = [dict(image="hen.png", question="Is it a hen?"), dict(image="owl.png", question="Is it an owl, really?")]

@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path

@pytest.fixture
def told(caplog):
    caplog.set_level(logging.WARNING, "beit3_colab.data")
    return lambda: [record.getMessage() for record in caplog.records]

def asked(source, **arguments):
    "Image and question of each row."
    return [{name: row.values.get(name) for name in ("image", "question")} for row in read_rows(source, **arguments)[1]]

def refusal(source, *arguments):
    with pytest.raises(UserError) as caught: list(read_rows(source, *arguments)[1])
    assert len(str(caught.value)) < 900
    return str(caught.value)

def write(name, content):
    path = (gzip.open if name.endswith(".gz") else open)(name, "wb")
    with path as file: file.write(content if isinstance(content, bytes) else content.encode())
    return name

def picture(path, kind="PNG"): Image.new("RGB", (8, 8), (200, 30, 30)).save(path, kind)

# --- CSV

BODY = 'image,question\nhen.png,Is it a hen?\nowl.png,"Is it an owl, really?"\n'
WITH = {mark: BODY.replace("image,q", f"image{mark}q").replace("png,", f"png{mark}") for mark in ";\t|"}

@pytest.mark.parametrize("content", [
    BODY, *WITH.values(), "sep=;\n" + WITH[";"], "\ufeffSEP=;\r\n" + WITH[";"].replace("\n", "\r\n"), '"sep=|"\n' + WITH["|"], "sep=\t\n" + WITH["\t"],
    BODY.replace("\n", "\r\n"), BODY.replace("\n", "\r"), "\n\n" + BODY, WITH["\t"].encode("utf-16"), WITH["\t"].encode("utf-16-le"), BODY.encode("utf-16-be"), BODY.encode("utf-32"), "\ufeff" + BODY,
    BODY.replace("\n", ",,\n"), BODY.replace("?\n", "?,,,\n").replace('"\n', '"\n,,,,\n'), BODY.replace("image", " Image ").replace("question", "QUESTION"), BODY.replace(",q", ", q").replace("png,", "png, "),
    ",image,question\n0,hen.png,Is it a hen?\n1,owl.png,\"Is it an owl, really?\"\n"], ids=short)
def test_csv_as_spreadsheets_write_it(content, told):
    assert asked(write("a.csv", content)) == ASKED and told() == []
    packed = content if isinstance(content, bytes) else content.encode()
    assert asked(write("b.csv.gz", packed)) == ASKED and asked(write("c.tsv", packed)) == ASKED

def test_a_line_is_where_a_person_finds_it():
    write("a.csv", 'sep=;\n\nimage;question\nhen.png;"Is it\r\na hen?"\n\nowl.png;Is it?\n')
    assert [(row.where, row.values["question"]) for row in read_rows("a.csv")[1]] == [("line 4", "Is it\na hen?"), ("line 7", "Is it?")]

@pytest.mark.parametrize("content, says", [
    ("image,question\nhen.png,Is it a café?\n".encode("cp1252"), "line 2 holds the byte 0xe9; save it as “CSV UTF-8”"), ("image,question\n庭.png,庭ですか\n".encode("cp932"), "is not UTF-8 text: line 2 holds the byte 0x"),
    (b"image,question\nhen.png,Is it\0?\n", "line 2 holds a zero byte"), ("image,question\nhen.png,Is it, say, a hen?\n", "line 2: 4 fields, but the header has 2; put a text that holds ',' in double quotes"),
    ('image,question\nhen.png,"Is it?\nowl.png,Is it?\n', "line 2: a quote"), ('image,question\nhen.png,Is it?\nowl.png,"Is it?\nhen.png,"Why?"\nowl.png,How?\n', "line 3: a quote"),
    ("image,question,Image\n", "more than one column image; keep the one that is meant, of 'image', 'Image'"), ("image,question,answer,gt_answer\na,b,c,d\n", "answer and gt_answer, and one of them may be a model's"),
    ("image,question,answer,answer\na,b,c,d\n", r"more than one column answer; .* several answers stand in one column, as a.b"), ("image,question\n", "holds 0 questions"), ("", "is empty"), (" \n", "holds 0 questions"), ("hen.png,Is it a hen?\n", "no column image and no column question; .* they are 'hen.png', 'Is it a hen.'"),
    ("img_path;question\na;b\n", "no column image; .*; rename 'img_path' to image"), ("image\tsent\ta\na\tb\n", "no column question; .*; rename 'sent' to question"), ("imgae,question\na,b\n", "did you mean 'image' by 'imgae'"),
    ("file_name,image_url,question\na,b,c\n", "rename the one that is meant to image: 'file_name', 'image_url'"), ("img_id,question\n1,b\n", "rename 'img_id' to image if it is a file's name"),
    (",".join(f"c{i}" for i in range(5000)) + "\n", r"they are 'c0', .* … \(5,000 columns\)"), ("A" * 300_000 + "\n", "no column image"), ("question_id,answer\n1,yes\n", "a model's answers without questions, as results files do"),
    (b"PK\3\4\x14\0[Content_Types].xml", "is a spreadsheet: save it as “CSV UTF-8”"), ("version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"), ("<!DOCTYPE html>", "is a web page")], ids=short)
def test_csv_that_cannot_be_meant(content, says):
    assert re.search(says, refusal(write("a.csv", content)))

@pytest.mark.parametrize("names, says", [
    (("img_path", "question"), "; rename 'img_path' to image"), (("image", "q"), "; rename 'q' to question"), (("jpg", "picture", "question"), "; rename the one that is meant to image: 'jpg', 'picture'"), (("imgId", "question"), "; rename 'imgId' to image if it is a file's name, else"),
    (("image", "qestion"), "; did you mean 'question' by 'qestion'? Rename it"), (("Image", "image", "question"), " has more than one column image; keep the one that is meant, of 'Image', 'image'"), (("image", "question", "answers", "humanAnswers"), " has more than one column answers; keep the one that is meant, of 'answers', 'humanAnswers'; several"),
    (("image_id", "question_id", "question"), " names its pictures by image_id and not by file, as VQAv2's questions files do")])
def test_a_header_and_a_row_are_told_the_same(names, says):
    row = dict.fromkeys(names, "a")
    for source in (write("a.csv", ",".join(names) + "\na,a,a,a\n"[:2*len(names) + 1]), [row], pd.DataFrame([row])):
        with pytest.raises(UserError) as caught: open_questions(source)
        assert says in str(caught.value)

def test_fields_of_any_length_leave_pythons_limit_alone():
    before = csv.field_size_limit(1000)
    try:
        assert len(asked(write("a.tsv", f"index\timage\tquestion\n1\t{'iVBOR' * 100_000}\tIs it?\n"))[0]["image"]) == 500_000
        refusal(write("a.tsv", f"image\tquestion\n{'A' * 200_000}\tIs it\t?\n"))
        assert csv.field_size_limit() == 1000
    finally: csv.field_size_limit(before)

def test_columns_that_are_left_out_are_told_once(told):
    assert len(asked(write("a.csv", "id,image,question,\n1,hen.png,Is it?,seen\n2,owl.png,Is it?,\n"))) == 2
    assert len(told()) == 2 and "left out 1 column without a name, such as column 4" in told()[0] and "'id' is not read; if it holds ids of questions, call it question_id" in told()[1]

# --- JSON

LINES = "".join(json.dumps(row) + "\n" for row in ASKED)
TABLE = pd.DataFrame(ASKED)

@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ndjson", "a.json.gz", "a.jsonl.gz"])
@pytest.mark.parametrize("content", [LINES, json.dumps(ASKED), json.dumps(ASKED, indent=1), json.dumps({"info": {}, "questions": ASKED}), json.dumps({"dataset_name": "x", "data": ASKED}), LINES.replace("\n", "\r\n\r\n"), "\ufeff" + LINES,
                                     *(TABLE.to_json(orient=form) for form in ("columns", "records", "index", "split", "table")), json.dumps({name: list(TABLE[name]) for name in TABLE}), BODY], ids=short)
def test_json_is_read_as_what_it_is(name, content): assert asked(write(name, content)) == ASKED

@pytest.mark.parametrize("name, content, says", [
    ("a.jsonl", LINES + '{"image": "hen', "a.jsonl, line 3 is not JSON"), ("a.json", LINES + "{'image': 1}", "a.json, line 3 is not JSON"), ("a.jsonl", '{"image": "a"', "line 1 is not JSON"), ("a.json", json.dumps(ASKED)[:-5], "cut short after"),
    ("a.json", "[" * 100_000, "nested too deep"), ("a.json", repr(ASKED), "is the text of a Python value"), ("a.json", "[" + "1," * 100_000 + "]", "not valid JSON"), ("a.json", '{"a": 1}', "must be a list of .*not dict with 'a'"), ("a.json", "7", "not int"), ("a.json", "[]", "holds 0 questions"),
    ("a.json", json.dumps(["hen.png"] * 1000), "row 1: 'hen.png' is str; a row must be"), ("a.json", json.dumps({"0293": ASKED[0]}), "a key for every row, such as '0293'"), ("a.json", json.dumps({"image": ["a", "b"], "question": ["c"]}), "columns of one length, not image: 2, question: 1"),
    ("a.json", json.dumps({"data_subtype": "val2014", "questions": [{"image_id": 9, "question": "Is it?", "question_id": 90}] * 50}), "names its pictures by image_id .* evaluate.split='val', data_path"), ("a.json", json.dumps([{"question_id": 1, "answer": "yes"}] * 50), "a model's answers without questions"),
    ("a.json", json.dumps({"annotations": [{"question_id": 1, "image_id": 1, "answers": [], "multiple_choice_answer": "yes"}] * 50}), "answers without questions, as VQAv2's annotations files do; evaluate")], ids=short)
def test_json_that_cannot_be_meant(name, content, says):
    assert re.search(says, refusal(write(name, content)))

@pytest.mark.parametrize("name, content, says", [
    ("a.xlsx", b"PK\3\4", "save it as “CSV UTF-8”, or give pandas.read_excel"), ("a.ods", b"PK\3\4", "spreadsheet"), ("a.txt", "image\tquestion\n", "name it .csv or .tsv"), ("a.pkl", b"\x80\4", "pandas.read_pickle"), ("a.csv.zip", b"PK\3\4", "a zip archive, not a table of questions: unpack it"),
    ("a.csv.bz2", b"BZh9", "bzip2 archive"), ("a.feather", b"ARROW1", "an Arrow table"), ("a.png", b"\x89PNG\r\n\x1a\n", "is one picture: give"), ("a.md", "x", "must be a .csv, .tsv, .jsonl, .json or .parquet file"), ("a.csv.gz", b"", "is empty"), ("a.h5", b"\x89HDF\r\n\x1a\n", "holds arrays")])
def test_other_kinds_have_their_remedy(name, content, says): assert says in refusal(write(name, content))

def test_a_damaged_archive_is_told():
    (path := write("a.csv.gz", BODY))
    whole = open(path, "rb").read()
    with open(path, "wb") as file: file.write(whole[:-12])
    assert "is a gzip archive that is cut short or damaged" in refusal(path)

def test_names_of_files_that_are_none():
    write("questions.csv", BODY)
    for source, says in [("question.csv", "did you mean 'questions.csv'"), ("", "not ''"), ("https://a.b/c.csv", "is an address; fetch the file"), ("~no_such_person/a.csv", "does not exist"), ("x" * 10_000, "does not exist"), (json.dumps(ASKED * 99), "looks like JSON: give json.loads"), ("a\0b", "does not exist")]:
        assert says in refusal(source)
    with open("questions.csv") as file: assert "must not be an open file; give its path" in refusal(file)
    assert "question=… is for a folder of pictures" in refusal("questions.csv", "Why?")

# --- tables of other libraries: stand-ins with the methods that are used; no library is needed

class Polars:
    def __init__(self, rows): self._rows, self.columns = rows, list(rows[0]) if rows else ["image", "question"]
    def iter_rows(self, *, named=False, buffer_size=512): return iter([dict(r) if named else tuple(r.values()) for r in self._rows])
    def to_dict(self, *, as_series=True): raise AssertionError("read whole")
    def lazy(self): return PolarsLazy(self._rows)

class PolarsLazy:
    def __init__(self, rows): self._rows = rows
    def lazy(self): return self
    def collect_schema(self): return types.SimpleNamespace(names=lambda: list(self._rows[0]))
    def collect(self): return Polars(self._rows)

class ArrowBatch:
    def __init__(self, rows): self._rows, self.num_rows, self.schema = rows, len(rows), types.SimpleNamespace(names=list(rows[0]))
    def slice(self, start, length): return ArrowBatch(self._rows[start:start + length])
    def to_pylist(self):
        assert len(self._rows) <= 100 # a few at a time
        return list(self._rows)

class ArrowTable:
    def __init__(self, rows): self._rows, self.schema, self.num_rows = rows, types.SimpleNamespace(names=list(rows[0])), len(rows)
    def to_batches(self): return [ArrowBatch(self._rows)]
    def to_pylist(self): raise AssertionError("read whole")

class ArrowReader:
    def __init__(self, rows): self._rows, self.schema = rows, types.SimpleNamespace(names=list(rows[0]))
    def read_next_batch(self): raise AssertionError
    def __iter__(self): return iter([ArrowBatch(self._rows)])

class HuggingFace: # datasets.Dataset
    def __init__(self, rows, kind=None): self._rows, self.column_names, self.format, self.features = rows, list(rows[0]), dict(type=kind, columns=list(rows[0])), {}
    def with_format(self, type=None, columns=None): return HuggingFace([{name: row[name] for name in columns or row} for row in self._rows], type)
    def __len__(self): return len(self._rows)
    def __getitem__(self, key): raise AssertionError("read whole")
    def to_dict(self, batch_size=None): raise AssertionError("read whole")
    def to_pandas(self): raise AssertionError("read whole")
    def __iter__(self): return (row if self.format["type"] in (None, "custom") else dict(image=np.zeros(3), question=np.str_("?")) for row in self._rows)

class Stream: # datasets.IterableDataset
    def __init__(self, rows): self._rows, self.column_names, self.features = rows, None, None
    def with_format(self, type=None): return self
    def __iter__(self): return iter(self._rows)

class Torch: # torch.utils.data.Dataset
    def __len__(self): return len(ASKED)
    def __getitem__(self, i): return ASKED[i] if i < 2 else {}[i]
    __iter__ = None

@pytest.mark.parametrize("source", [
    TABLE, TABLE.set_index("image"), TABLE.set_index(["question", "image"]), TABLE.rename(columns=str.upper), TABLE.set_index("image", drop=False), TABLE.convert_dtypes(), pd.Series(ASKED), TABLE.itertuples(), TABLE.iterrows(), TABLE.to_records(index=False), [TABLE.iloc[0], TABLE.iloc[1]],
    Polars(ASKED), PolarsLazy(ASKED), ArrowTable(ASKED), ArrowBatch(ASKED), ArrowReader(ASKED), HuggingFace(ASKED), HuggingFace(ASKED, "numpy"), HuggingFace(ASKED, "custom"), Stream(ASKED), Torch(), dict(image=["hen.png", "owl.png"], question=[r["question"] for r in ASKED]), {n: TABLE[n] for n in TABLE},
    TABLE.to_dict(), tuple(ASKED), {"questions": ASKED}, {"data": ASKED}, np.array(ASKED, dtype=object), [{"Image": r["image"], "Question ": r["question"]} for r in ASKED], csv.DictReader(io.StringIO(BODY))], ids=lambda s: type(s).__name__)
def test_tables_of_every_library(source, told): assert asked(source) == ASKED and told() == []

def test_iterators_are_read_once():
    assert asked(dict(row) for row in ASKED) == ASKED and asked(map(dict, ASKED)) == ASKED and asked(ASKED[0]) == ASKED[:1] and asked(TABLE.iloc[1]) == ASKED[1:]

@pytest.mark.parametrize("source, says", [
    (dict(train=HuggingFace(ASKED), validation=Stream(ASKED)), "several tables in one dict: 'train', 'validation'; give one of them, such as questions['train']"), (dict(a=TABLE), "several tables"), (TABLE["question"], "questions is one column (question), a Series; give the table"), (TABLE.drop(columns="image"), "no column image"),
    (Polars([]), "holds 0 questions"), (iter([]), "holds 0 questions"), ([], "holds 0 questions"), ({}, "not dict with no columns"), (TABLE[:0], "holds 0 questions"), (pd.concat([TABLE, TABLE], axis=1), "more than one column image and question"), (HuggingFace([dict(img="a", sent="b")]), "rename 'img' to image; rename 'sent' to question"),
    (dict(image="hen.png", question=["Is it?", "Why?"]), "columns of one length, not image: one value, question: 2"), (7, "not int"), ({"a", "b"}, "not set"), (b"x", "not bytes"), (None, "not NoneType"), ([("hen.png", "Is it?")] * 99, "row 1: ('hen.png', 'Is it?') is tuple; a row must be"), (["x" * 10_000] * 99, "is str; a row must be")])
def test_tables_that_cannot_be_meant(source, says): assert says in refusal(source)

def test_rows_of_a_stream_are_not_kept():
    "A data set may have more pictures than there is memory."
    class Picture: pass
    alive = weakref.WeakSet()
    def rows():
        for i in range(50):
            made = Picture()
            alive.add(made)
            yield dict(image=made, question=f"Why {i}?")
            del made
    most = 0
    for row in read_rows(Stream(rows()))[1]:
        del row
        most = max(most, len(alive))
    assert most <= 2

def test_a_transform_of_ones_own_stays_and_a_format_goes():
    class Transformed(HuggingFace):
        def __iter__(self): return (dict(row, question=row["question"].upper()) for row in self._rows)
    assert asked(Transformed(ASKED, "custom"))[0]["question"] == "IS IT A HEN?"
    class Made(HuggingFace):
        def __iter__(self): return (dict(image=row["file"], question="Is it?") for row in self._rows)
    assert asked(Made([dict(file="hen.png")], "custom")) == [dict(image="hen.png", question="Is it?")]
    two = HuggingFace([dict(row, answers=["no"]) for row in ASKED], "torch")
    two.format["columns"] = ["image", "question"]
    assert all("answers" not in row.values for row in read_rows(two)[1])

def test_pictures_of_hugging_face_are_files_and_not_decoded_ones(place):
    from dataclasses import dataclass
    @dataclass
    class Feature:
        decode: bool = True
        mode: str = None
        def decode_example(self, value):
            if "gone" in value["path"]: raise FileNotFoundError(value["path"])
            return f"decoded {value['path']}"
    Feature.__name__ = "Image"
    picture(place/"there.png")
    kept = [dict(bytes=b"content", path="x.png"), dict(bytes=None, path=str(place/"there.png")), dict(bytes=None, path="hf://x.png"), dict(bytes=None, path="gone.png")]
    class Decoding(HuggingFace):
        def __init__(self, decode=True): super().__init__([dict(image=value, question="Is it?") for value in kept]); self.features = {"image": Feature(decode)}
        def cast_column(self, name, feature): return Decoding(feature.decode)
        def __iter__(self):
            assert not self.features["image"].decode
            return super().__iter__()
    assert [row.values["image"] for row in read_rows(Decoding())[1]] == [b"content", str(place/"there.png"), "decoded hf://x.png", "gone.png"]

def test_parquet_is_read_by_row_groups(monkeypatch):
    class ParquetFile:
        schema_arrow, num_row_groups = types.SimpleNamespace(names=["image", "question"]), 2
        def __init__(self, path):
            if "cut" in str(path): raise OSError("no footer")
        def iter_batches(self, batch_size, row_groups): return [ArrowBatch([ASKED[row_groups[0]]])]
    parquet = types.ModuleType("pyarrow.parquet")
    parquet.ParquetFile = ParquetFile
    package = types.ModuleType("pyarrow")
    package.parquet = parquet
    for name in ("a.parquet", "cut.parquet", "named.csv"): write(name, b"PAR1....PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert "which pyarrow reads: install it (pip install pyarrow)" in refusal("a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", package)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", parquet)
    assert asked("a.parquet") == asked("named.csv") == ASKED
    assert "cannot be read as Parquet: no footer" in refusal("cut.parquet")

# --- folders

def test_what_is_no_picture_is_counted(place, told):
    for name in ("b.png", "a.JPG", "10.jpeg"): picture(place/name, "PNG")
    picture(place/"000000042")
    picture(place/"000000043.", "JPEG")
    for name in ("x.h5", "x.mpg", "x.eps", "x.ps", "x.pdf", "x.grib", "x.bufr", "x.wmf", "readme", "Thumbs.db", ".hidden.png", "._a.JPG"): (place/name).write_bytes(b"\x89HDF\r\n\x1a\n")
    for name in ("1.HEIC", "2.heif"): (place/name).write_bytes(b"\0\0\0\x18ftypheic")
    (place/"gone.png").symlink_to(place/"nowhere.png")
    (place/"folder.png").mkdir()
    (place/"cats"/"black").mkdir(parents=True)
    (place/".cache").mkdir()
    for name in ("cats/1.png", "cats/black/2.png", ".cache/3.png"): picture(place/name)
    (place/"cats"/"notes.txt").touch()
    assert [row["image"] for row in asked(place, question="Is it?")] == ["000000042", "000000043.", "10.jpeg", "a.JPG", "b.png"]
    said = [text.split("not asked about ")[1] for text in told()]
    assert [text.split(",")[0] for text in said] == ["2 HEIC pictures", "10 files that Pillow does not know as a picture", "1 entry that cannot be opened", "2 pictures in subfolders"]
    assert "convert them to JPEG" in said[0] and "gone.png" in said[2] and "cats/1.png: give the subfolder, or a list" in said[3].replace("\\", "/")

def test_pictures_in_subfolders_only(place):
    (place/"album"/"100% cats").mkdir(parents=True)
    for i in range(3): picture(place/"album"/"100% cats"/f"{i}.png")
    assert "holds no pictures that Pillow knows, but 3 pictures in subfolders, such as 100% cats" in refusal(place/"album", "Is it?")

@pytest.mark.parametrize("question", [[], "", " ", ["Is it?", ""], ["Is it?", None], 7, {"Is it?"}, {"question": "Is it?"}, b"Is it?", ()])
def test_questions_of_a_folder_that_are_none(place, question):
    picture(place/"a.png")
    assert "question must be a text or a list of texts" in refusal(place, question)
    assert asked(place, question=(text for text in ("Is it?", "Why?"))) == [dict(image="a.png", question="Is it?"), dict(image="a.png", question="Why?")]

@pytest.mark.parametrize("name, content", [("metadata.csv", BODY.replace("image", "file_name")), ("metadata.jsonl", LINES.replace('"image"', '"file_name"')), ("questions.ndjson", LINES), ("questions.tsv", WITH["\t"]), ("questions.csv.gz", BODY)])
def test_a_folder_stands_for_its_file(place, told, name, content):
    picture(place/"hen.png")
    write(name, content)
    assert asked(place) == asked(place/name) == ASKED and read_rows(place)[0] == place/name and told() == []
    if name.startswith("metadata"): assert asked(place, question="Is it?") == [dict(image="hen.png", question="Is it?")] and "1 file that Pillow does not know as a picture, such as metadata" in told()[0]

def test_folders_without_questions_say_what_they_are(place):
    for name in ("saved/dataset_info.json", "hub/a.parquet", "split/train/metadata.csv", "two/questions.csv", "two/questions.json"):
        (place/name).parent.mkdir(parents=True, exist_ok=True)
        (place/name).write_text("{}")
    for name, says in [("saved", "datasets.load_from_disk("), ("hub", "holds Parquet tables: give one, such as a.parquet"), ("split", "give a subfolder that does, such as"), ("two", "holds questions.csv and questions.json; give the file that is meant"), (".", "or pass question=… (--question)")]:
        assert says in refusal(place/name)

# --- names

BOTH = ("image", "question")

@pytest.fixture
def owl(place):
    picture(place/"owl.png")
    return dict(image="owl.png", question="Is it an owl?")

PEOPLES = ["gt", "ground truth answer", "GroundTruth", "gt_answers", "gold", "goldAnswer", "golden_answer", "reference", "reference_answer", "references", "expected_answer", "expected", "label", "labels", "target", "true answer",
           "correct_answers", "answer_gt", "answers_list", "answer_text", "all_answers", "raw_answer", "most_common_answer", "majority_answer", "direct_answers", "solution", "multiple_choice_answer", "expected_output", "crowd_answers", "reference_1"]

@pytest.mark.parametrize("name", PEOPLES)
def test_a_model_is_not_measured_against_itself(owl, name):
    for row in ([owl | {"answer": "yes", name: "no"}], pd.DataFrame([{name: "no", "answer": "yes"} | owl])):
        with pytest.raises(UserError) as caught: open_questions(row)
        assert f"has answer and {name}, and one of them may be a model's; rename the one that people said to answers, and leave out the other" in str(caught.value)
    assert open_questions([owl | {"answers": "yes", name: "no"}]).annotations[1].answers == ("yes",)
    alone = open_questions([owl | {name: "no"}])
    assert alone.annotations is None and f"column {name}; if it holds what people answered, call it answers" in alone.notes[0]

@pytest.mark.parametrize("name", ["prediction", "pred", "model_answer", "response", "output", "generated", "predicted_answer", "answer_type", "question_type", "answer_id", "answerable", "raw_text", "all_text", "label_id", "hint"])
def test_people_answered_beside_what_is_none_of_theirs(owl, name):
    data = open_questions([owl | {"answer": "no", name: "yes"}])
    assert data.annotations[1].answers == ("no",) and data.notes == ()

@pytest.mark.parametrize("name", ["confidence", "prob", "scores", "logit", "answer_prob", "top5"])
def test_an_answer_beside_its_probability_is_a_models(owl, name):
    data = open_questions([owl | {"answer": "no", name: .9}])
    assert data.annotations is None and "nothing is scored" in data.notes[0]

@pytest.mark.parametrize("beside", ["confidence_1", "prob1", "score_2", "logit0", "answer_1_confidence", "answer1_score", "score_answer1", "correct", "correct_option", "correct_answer_idx", "is_correct", "label", "answer_idx", "answer_key", "choices", "confidence", "logprob_1", "rank_1"])
@pytest.mark.parametrize("numbered", [("answer_1", "answer_2"), ("answer0", "answer1"), ("Answer 1", "Answer 2")])
def test_choices_and_guesses_are_not_what_people_said(owl, numbered, beside):
    row = owl | dict.fromkeys(numbered, "yes")
    with pytest.raises(UserError, match="may be choices or answers of people, or a model's guesses; write what people answered to one column answers"): open_questions([row | {beside: 1}])
    assert open_questions([row | dict(question_type="is it", split="val")]).annotations[1].answers == ("yes", "yes")
    assert open_questions([row | dict(answers="no", **{beside: 1})]).annotations[1].answers == ("no",)

def test_flat_answers_of_vqav2_keep_how_sure_people_were(owl):
    flat = {f"answers.{i}.{name}": value for i in range(10) for name, value in dict(answer="yes", answer_confidence="maybe", answer_id=i + 1).items()}
    assert open_questions([owl | flat]).annotations[1].answers == ("yes",)*10

@pytest.mark.parametrize("name", "answer_id answer_ids answered question_idx image_idx image_ids question_type answer_type image_width image_height question_en image_source answer_count question_family_index answerability imageUrls".split())
def test_longer_words_are_columns_of_their_own(owl, name):
    for rows in ([owl | {name: 1}], [owl | {name: 1, "answers": "no"}]): assert len(open_questions(rows).questions) == 1

@pytest.mark.parametrize("name, meant", [("anwsers", "answers"), ("awnser", "answers"), ("answerss", "answers"), ("Answrs", "answers"), ("qestion_id", "question_id"), ("question_di", "question_id"), ("imgae_id", "image_id")])
def test_a_letter_amiss_is_told(owl, name, meant):
    with pytest.raises(UserError) as caught: open_questions([owl | {name: "1"}])
    assert f"unknown field '{name}'; did you mean '{meant}'? Correct it; nothing" in str(caught.value)

def test_names_of_other_data_sets_are_told_all_at_once():
    row = dict(img_id="owl", sent="Is it?", question_id=1, question_type="is it", answer_type="yes/no", label={"yes": 1})
    for source in ([row], pd.DataFrame([row])):
        with pytest.raises(UserError) as caught: open_questions(source)
        assert "rename 'sent' to question" in str(caught.value) and "rename 'img_id' to image" in str(caught.value) and "did you mean" not in str(caught.value)

@pytest.mark.parametrize("more, says", [
    (dict(annotator1="yes", annotator2="no"), "2 columns annotator1 and annotator2; if they hold what people answered, write it to one column answers, as snowy|cold"), (dict(response="yes"), "column response"), (dict(gold_answers=["yes"]), "column gold_answers"), (dict(answers_list="yes|no"), "column answers_list"),
    (dict(workerAnswer="yes"), "column workerAnswer"), (dict(answer_en="yes"), "column answer_en"), (dict(reponse="oui"), "column reponse"), (dict(gt_answer_1="a", gt_answer_2="b"), "2 columns gt_answer_1 and gt_answer_2"), (dict(rater_1="a", rater_2="b", rater_3="c", rater_4="d", rater_5="e"), "5 columns rater_1 and rater_2 and rater_3 and rater_4, …")])
def test_columns_that_may_hold_answers_are_said(owl, more, says):
    data = open_questions([owl | more])
    assert data.annotations is None and len(data.notes) == 1 and says in data.notes[0] and data.notes[0].endswith("to have it scored")

def test_plain_tables_are_left_in_peace(owl):
    plain = dict(question_id=1, comment="nice", notes="seen", split="val", source="zoo", category="birds", response_time="2.5", annotator_id="7", annotator="Ann", worker="Bo", rater=["Ann"], answerable=True, worker_country="NG", prediction="yes", model_response="yes", response="long " * 100)
    assert open_questions([owl | plain]).notes == ()

# --- classes of Hugging Face's

class ClassLabel:
    def __init__(self, *names): self.names = list(names)

class Sequence: # also List and LargeList
    def __init__(self, feature): self.feature = feature

YES_NO = ClassLabel("no", "yes")
CODED = [dict(image="hen.png", question="Is it a hen?", answer=1, question_id=1), dict(image="owl.png", question="Is it a hen?", answer=0, question_id=0), dict(image="owl.png", question="Is it?", answer=-1, question_id=7)]
NAMED = ["yes", "no", None]

@pytest.mark.parametrize("kind", [None, "numpy", "custom"])
def test_classes_are_read_by_their_names(kind):
    class Coded(HuggingFace):
        def __init__(self, rows, kind=None): super().__init__(rows, kind); self.features = dict(answer=YES_NO, question_id=YES_NO)
        def with_format(self, type=None, columns=None): return Coded(self._rows, type)
    values = [row.values for row in read_rows(Coded(CODED, kind))[1]]
    assert [v["answer"] for v in values] == NAMED and [v["question_id"] for v in values] == [1, 0, 7]

@pytest.mark.parametrize("feature, value, expected", [
    (Sequence(YES_NO), [1, 1, 0], ["yes", "yes", "no"]), ([YES_NO], [0], ["no"]), (Sequence({"answer": YES_NO}), {"answer": [1, 0], "by": [5, 6]}, {"answer": ["yes", "no"], "by": [5, 6]}),
    ([{"answer": YES_NO}], [{"answer": 1, "by": 5}], [{"answer": "yes", "by": 5}]), (YES_NO, "yes", "yes"), (YES_NO, 2, 2), (YES_NO, np.int64(1), "yes"), (Sequence(YES_NO), None, None)])
def test_lists_of_classes(feature, value, expected):
    stream = Stream([dict(image="a.png", question="Is it?", answers=value)])
    stream.features = dict(answers=feature)
    assert next(read_rows(stream)[1]).values["answers"] == expected

def test_classes_of_an_arrow_table():
    label = dict(names=["no", "yes"], _type="ClassLabel")
    table = ArrowTable([dict(row, answers=[row["answer"]]) for row in CODED])
    features = dict(answer=label, answers=dict(feature=label, _type="List"), question_id=label, image=dict(dtype="string", _type="Value"))
    table.schema.metadata = {b"huggingface": json.dumps(dict(info=dict(features=features))).encode()}
    values = [row.values for row in read_rows(table)[1]]
    assert [v["answer"] for v in values] == NAMED and [v["answers"] for v in values] == [[one] for one in NAMED] and values[0]["question_id"] == 1

def test_classes_of_a_parquet_file(owl, monkeypatch):
    features = dict(answer=dict(names=["no", "yes"], _type="ClassLabel"))
    class ParquetFile:
        schema_arrow, num_row_groups = types.SimpleNamespace(names=["image", "question", "answer"], metadata={b"huggingface": json.dumps(dict(info=dict(features=features))).encode()}), 1
        def __init__(self, path): pass
        def iter_batches(self, batch_size, row_groups): return [ArrowBatch([owl | dict(answer=1), owl | dict(answer=0)])]
    parquet = types.SimpleNamespace(ParquetFile=ParquetFile)
    monkeypatch.setitem(sys.modules, "pyarrow", types.SimpleNamespace(parquet=parquet))
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", parquet)
    write("a.parquet", b"PAR1....PAR1")
    assert [a.answers for a in open_questions("a.parquet").annotations.values()] == [("yes",), ("no",)]

# --- what is said is kept

def test_what_reading_says_is_kept_and_logged_once(place, told, owl):
    (place/"album").mkdir()
    for name in ("a.png", "cats/b.png"):
        (place/"album"/name).parent.mkdir(exist_ok=True)
        picture(place/"album"/name)
    (place/"album"/"gone.png").symlink_to(place/"nowhere.png")
    (place/"album"/"ticket.pdf").touch()
    write("a.csv", "id,image,question,\n1,owl.png,Is it?,seen\n")
    for source, more, parts in [("album", dict(question="Is it?"), ["1 file that Pillow", "1 entry that cannot", "1 picture in subfolders"]), ("a.csv", {}, ["without a name, such as column 4", "column 'id' is not read"]),
                                ([owl | dict(id=7)], {}, ["column 'id' is not read"]), (pd.DataFrame([owl | dict(id=7)]), {}, ["column 'id' is not read"]), (iter([owl | dict(id=7)]), {}, ["column 'id' is not read"])]:
        before = len(told())
        data = open_questions(source, **more)
        assert list(data.notes) == told()[before:] and len(data.notes) == len(parts) and all(part in note for part, note in zip(parts, data.notes))

def test_answers_in_rows_of_their_own(owl):
    many = [owl | dict(answer=answer) for answer in ("yes", "no", "yes")]
    data = open_questions([*many, owl | dict(question="Why?", answer="so")])
    assert len(data.questions) == 4 and len(data.notes) == 1
    assert "1 question about one picture stands in several rows with different answers, such as row 1 and row 2" in data.notes[0] and "written in one row, as snowy|cold" in data.notes[0]
    with pytest.raises(UserError, match=r"question_id 5 is that of row 1 already; several answers to one question stand in one row, as snowy\|cold; else give every row one of its own"): open_questions([row | dict(question_id=5) for row in many])
    for rows in (many[::2], [owl | dict(answers="yes|no"), owl | dict(answers="no|no")], [owl, owl]): assert open_questions(rows).notes == ()

# --- where pictures are

def test_a_table_of_a_run_elsewhere_is_told_what_to_give(owl):
    row = dict(image="val2014/hen.png", question="Is it?", answer="yes", confidence=.9, top5="[]", image_error=None)
    for source in ([row], pd.DataFrame([row])):
        with pytest.raises(UserError, match="val2014/hen.png does not exist in .* The table is that of a run: give own_questions.json of the run's folder"): open_questions(source)
    with pytest.raises(UserError) as caught: open_questions([owl | dict(image="val2014/hen.png")])
    assert "of a run" not in str(caught.value)

def test_a_message_has_its_marks_and_names_once(place):
    write("bad.jpg", "none")
    with pytest.raises(UserError) as caught: open_questions(place, question="Is it?")
    assert "cannot be asked: picture bad.jpg is not a picture" in str(caught.value) and str(caught.value).count("bad.jpg") == 1
