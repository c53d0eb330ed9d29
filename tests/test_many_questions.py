"What is done for hundreds of thousands of questions at once gives what was done one by one, and takes no more memory than it did."
import gc
import json
import re
import tracemalloc
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
import torch

from beit3_colab.data.dataset import Question
from beit3_colab.data.vqa_files import load_annotations, load_questions
from beit3_colab.data.vqav2 import VQAv2
from beit3_colab.machine.messages import UserError
from beit3_colab.model import batching
from beit3_colab.run import journal
from beit3_colab.run.answering import share_windows
from beit3_colab.run.folder import write_submission
from beit3_colab.run.runner import Shares
from beit3_colab.run.windows import plan_windows, read_windows
from beit3_colab.scenes.sample import open_sample


# --- a batch's confidences ---------------------------------------------------------------------------------------------------

def test_confidences_are_rounded_as_python_rounds():
    halves = np.arange(0, 100_000) * 2 + 1 # of 2·10⁵: every number that lies between two of five digits …
    near = (halves / 200_000).astype(np.float32)
    steps = [near, np.nextafter(near, np.float32(0)), np.nextafter(near, np.float32(1))] # … and its neighbours in float32
    exact = np.arange(1, 64, 2, dtype=np.float32) / 64 # those that a float32 holds exactly are of these
    small = np.array([0, 1, 1e-45, 1e-38, 4.9999e-6, 5e-6, 1e-5], np.float32)
    drawn = np.random.default_rng(0).random(300_000, dtype=np.float32)
    values = np.concatenate([*steps, exact, small, drawn, 1/(1 + np.exp(-np.linspace(-30, 30, 100_001, dtype=np.float32)))])
    values = torch.from_numpy(values[:len(values)//5*5].astype(np.float32).reshape(-1, 5))
    found, meant = batching.round_confidences(values), [[round(v, 5) for v in row] for row in values.tolist()]
    assert found == meant and repr(found) == repr(meant) # repr: -0.0 is no 0.0
    assert batching.round_confidences(torch.tensor([[1/64, 3/64]])) == [[0.01562, 0.04688]]


def test_confidences_of_other_formats_are_rounded_alike():
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        values = torch.rand(200, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
        assert batching.round_confidences(values) == [[round(v, 5) for v in row] for row in values.tolist()]
    lying = torch.tensor([[0.000145, 0.5 + 1e-15]], dtype=torch.float64) # no float32: the product with 10⁵ would be rounded
    assert batching.round_confidences(lying) == [[round(v, 5) for v in lying[0].tolist()]]


def test_rows_that_are_not_finite_are_known_one_by_one():
    class Fake:
        device, fast = torch.device("cpu"), None
        def __init__(self, logits): self.made = logits
        def logits(self, *args): return self.made
    most = torch.finfo(torch.float32).max
    logits = torch.tensor([[1., 2., 0.], [torch.inf, 0., 0.], [0., -torch.inf, 0.], [torch.nan, 0., 0.], [torch.inf, -torch.inf, 0.], [most, most, most], [3., 1., 2.]])
    part, = batching.start_batch(Fake(logits), torch.zeros(1, 2, 2, 3), [0]*7, torch.zeros(7, 3, dtype=torch.long), print, top_k=2)
    lost = [False, True, True, True, True, False, False] # sums of finite numbers may overflow: that is no fault of theirs
    assert part.confidences.isnan().all(1).tolist() == lost and part.confidences.isnan().any(1).tolist() == lost
    whole = logits[[0, 6]]
    alone, = batching.start_batch(Fake(whole), torch.zeros(1, 2, 2, 3), [0]*2, torch.zeros(2, 3, dtype=torch.long), print, top_k=2)
    assert torch.equal(alone.confidences, part.confidences[[0, 6]]) and torch.equal(alone.labels, part.labels[[0, 6]])
    assert torch.equal(alone.confidences, whole.sigmoid().topk(2).values)


# --- journals ----------------------------------------------------------------------------------------------------------------

def record(question_id, *answers, **more): return dict(question_id=question_id, answers=list(answers or ("yes", "no")), confidences=[0.61, 0.2][:len(answers) or 2], **more)

ODD = [record(1), record("1", "né", "狗 🐶"), record(10**30), record(2**63 - 1, "yes"), record(""), record("\ud800", "half \udc00"), record(1, "late", "answers"), record(7, image_error="no picture"),
       record(8, answered_in="float32"), record(9, image_error="gone", answered_in="float32", later={"a": [1]}), record(10) | {"confidences": [1, 0]}, record(11) | {"confidences": [1.0, 0]},
       record(12) | {"confidences": [0.0, -0.0]}, record(13, *"abcde"[:1]), record("a\nb\r\n\u2028"), record(14, 'quote " and \\', "],[") | {"confidences": [1e-5, 5e-324]}]

@pytest.fixture(params=[1, 7, 64, 1 << 18], ids="{} bytes at a time".format)
def piecewise(request, monkeypatch): monkeypatch.setattr(journal, "_TOGETHER", request.param)

def write(folder, rank, records, tail=b"", line_end="\n"):
    lines = [json.dumps(r, ensure_ascii=False) for r in ({"run": "abc"}, *records)]
    (folder/f"answers-{rank}.jsonl").write_bytes("".join(line + line_end for line in lines).encode("utf-8", "surrogatepass") + tail)

@pytest.mark.parametrize("tail, line_end", [(b"", "\n"), (b'{"question_id": 99, "ans', "\n"), (b"", "\r\n"), (b"\xff\xfe", "\n")])
def test_columns_say_what_dictionaries_say(tail, line_end, tmp_path, piecewise):
    write(tmp_path, 0, ODD, tail, line_end)
    write(tmp_path, 1, [record(20), *ODD[::-1]], tail, line_end)
    (tmp_path/"answers-2.jsonl").write_bytes(tail.replace(b"\xff\xfe", b"")) # nothing whole
    found, meant = journal.read_columns(tmp_path, "abc"), {}
    for r in [*ODD, record(20), *ODD[::-1]]: meant.setdefault(r["question_id"], r)
    for read in (found, journal.read_journals(tmp_path, "abc"), journal.read_journals(tmp_path, "abc", meant.keys()), journal.read_columns(tmp_path, "abc", list(meant))):
        assert repr(dict(read)) == repr(meant) and list(read) == list(meant) and len(read) == len(meant) # repr: 1 is no 1.0, and 0.0 no -0.0
    assert found.best(meant) == [r["answers"][0] for r in meant.values()]
    assert [found.count(name) for name in ("image_error", "answered_in", "later", "x")] == [2, 2, 1, 0]
    assert 99 not in found and found.get(99) is None and found == meant
    with pytest.raises(KeyError): found[99]
    found[1]["answers"].append("changed")
    assert found[1] == meant[1] # what was given out is nobody's

@pytest.mark.parametrize("read", [journal.read_journals, journal.read_columns])
@pytest.mark.parametrize("line, says", [("nonsense", "line 4 is damaged"), ("", "line 4 is damaged: it is empty"), (json.dumps(record(5, "yes") | {"confidences": [2]}), "line 4 is damaged"),
                                        (json.dumps(record(6)), "line 4 answers question_id 6, which is none of this run"), ("[" * 2000, "line 4 is damaged"), ('{"run":"abc"}', "line 4 is damaged")])
def test_a_damaged_line_has_its_number_however_it_is_read(read, line, says, tmp_path, piecewise):
    lines = [json.dumps(r) for r in ({"run": "abc"}, record(1), record(2))]
    (tmp_path/"answers-0.jsonl").write_text("\n".join([*lines, line, json.dumps(record(3)), ""]))
    with pytest.raises(UserError, match=says): read(tmp_path, "abc", {1, 2, 3})
    (tmp_path/"answers-0.jsonl").write_text("\n".join([*lines, ""]))
    with pytest.raises(UserError, match="belongs to another run"): read(tmp_path, "other")
    assert list(read(tmp_path)) == [1, 2]

def test_a_journal_that_was_written_is_the_same_when_it_is_written_again(tmp_path):
    write(tmp_path, 0, ODD)
    mine = journal.Journal(tmp_path/"answers-7.jsonl", "abc")
    mine.write(list(journal.read_columns(tmp_path).values()))
    mine.close()
    lines = [json.dumps(r, ensure_ascii=False, separators=(",", ":")) for r in ({"run": "abc"}, *(r for i, r in enumerate(ODD) if i != 6))]
    assert mine.path.read_bytes() == "".join(line + "\n" for line in lines).encode("utf-8", "surrogatepass")

def test_a_long_line_is_read_piece_by_piece(tmp_path, piecewise):
    write(tmp_path, 0, [record(1, "x"*3000), record(2)], b"y"*5000)
    assert list(journal.read_columns(tmp_path, "abc")) == [1, 2]


# --- the results file --------------------------------------------------------------------------------------------------------

TEXTS = ["yes", "né", "狗 🐶", 'say "no"\\', "a\nb\u2028", "],[", ""]

@pytest.mark.parametrize("count", [1, 2, 1999, 2000, 2001, 4000, 4001])
@pytest.mark.parametrize("name", [int, "q{} é".format, lambda i: i + 10**20, lambda i: i if i % 2 else str(i)], ids=["numbers", "texts", "huge", "both"])
def test_the_results_file_is_as_json_writes_it(count, name, tmp_path):
    questions = [Question(name(i), 1, "Is it?") for i in range(count)]
    records = {q.question_id: record(q.question_id, TEXTS[i % 7], "no") for i, q in enumerate(questions)}
    columns = journal.AnswerColumns()
    columns.keep(list(records.values())[::-1]) # a journal has another order
    meant = json.dumps([{"question_id": q.question_id, "answer": records[q.question_id]["answers"][0]} for q in questions], ensure_ascii=False).encode()
    data = VQAv2("test", questions, None, tmp_path)
    for kept in (records, columns):
        for of in (None, data): assert write_submission(tmp_path, "submit.json", questions, kept, of).read_bytes() == meant

def test_data_that_has_a_form_of_its_own_is_asked_for_it(tmp_path):
    class Other(VQAv2):
        def answer_file(self, records): return {i: r["answers"] for i, r in records.items()}
    questions = [Question(i, 1, "Is it?") for i in (2, 1)]
    columns = journal.AnswerColumns()
    columns.keep([record(1), record(2, "né", "no"), record(3)])
    assert write_submission(tmp_path, "a.json", questions, columns, Other("val", questions, None, tmp_path)).read_text(encoding="utf-8") == '{"2": ["né", "no"], "1": ["yes", "no"]}'

@pytest.mark.parametrize("questions, records, says", [
    ([1, 2], [1], "1 question of 2 without an answer: 2"), ([1, 1], [1], "repeats question_id 1"), ([], [], "0 questions"), ([True], [1], "question_id"),
    ([1, 2], [1, (2, 7)], "an answer that is int instead of str: 7"), ([1, 2], [1, (2, "\ud800")], "surrogates not allowed")])
def test_a_results_file_that_cannot_be_taken_is_not_written(questions, records, says, tmp_path):
    asked = [Question(i, 1, "Is it?") for i in questions]
    said = dict((i, {"answers": ["yes"]}) if not isinstance(i, tuple) else (i[0], {"answers": [i[1]]}) for i in records)
    with pytest.raises((UserError, UnicodeEncodeError), match=says): write_submission(tmp_path, "submit.json", asked, said)
    assert not list(tmp_path.iterdir())


# --- questions and annotations as they are parsed ----------------------------------------------------------------------------

def question(i, **more): return dict(question_id=i, image_id=i // 3, question=f"Is it né {i % 5}?") | more

QUESTIONS = dict(
    usual=[question(i) for i in range(9)],
    texts=[question(i, question_id=f"q{i}", image_id=f"pictures/{i} é.png") for i in range(4)],
    pictures=[question(0, image="a.png"), question(1), question(2, image=None), question(3, image="")],
    more=[question(0, answers={"question_id": 9, "image_id": 9, "question": "no"}, notes=[{"question": "?"}]), question(1, question="")],
    huge=[question(10**30), question(2**63)],
    odd=[question(0, question="\ud800 \u2028 \" \\"), question(1, question="\0")],
    reordered=[dict(reversed(question(i).items())) for i in range(3)])

def written(content, layout): # the same content as files hold it
    if layout == "lines": return "\n".join(json.dumps(r) for r in content)
    framed = dict(info={"year": 2017, "question": "no record"}, data_subtype="val2014", questions=content, license=None)
    return json.dumps(dict(reversed(framed.items())) if layout == "list last" else content if layout == "bare" else framed, ensure_ascii=layout != "unicode", indent=1 if layout == "wide" else None)

@pytest.mark.parametrize("kind", QUESTIONS)
@pytest.mark.parametrize("layout", ["framed", "list last", "bare", "lines", "wide", "unicode"])
@pytest.mark.parametrize("split", ["val", None])
def test_questions_that_are_made_as_they_are_parsed_are_those_of_the_whole(kind, layout, split, tmp_path):
    path = tmp_path/"questions.json"
    path.write_bytes(written(QUESTIONS[kind], layout).encode("utf-8", "surrogatepass") if kind != "odd" or layout != "unicode" else written(QUESTIONS[kind], "framed").encode())
    content = QUESTIONS[kind] if layout == "lines" else json.loads(path.read_text())
    assert load_questions(path, split) == load_questions(content, split)

@pytest.mark.parametrize("wrong", [question(1, question_id=1.0), question(1, question_id=None), question(1, question=7), question(1, image_id=1.5), question(1, image=7), {"question_id": 1}, 7, None, question(0)])
def test_what_is_wrong_with_a_question_is_said_alike(wrong, tmp_path):
    path, content = tmp_path/"questions.json", dict(questions=[question(0), wrong])
    path.write_text(json.dumps(content))
    told = []
    for source in (path, content):
        with pytest.raises(UserError) as error: load_questions(source, "val")
        told.append(re.sub(r"questions file \S+questions\.json", "questions", str(error.value)))
    assert told[0] == told[1]

def annotation(i, answers, **more): return dict(question_id=i, image_id=i // 3, question_type="is it", answer_type="yes/no", multiple_choice_answer="yes", answers=answers) | more

PEOPLE = dict(
    official=[annotation(i, [dict(answer=a, answer_confidence="yes", answer_id=n) for n, a in enumerate(["yes"]*9 + [f"né {i}"])]) for i in range(5)],
    plain=[annotation(i, ["yes", "no"]) for i in range(3)],
    mixed=[annotation(0, [dict(answer="yes"), "no"]), annotation(1, [dict(answer="a", answer_id=1, question_id=7)])],
    blank=[annotation(0, [dict(answer=None, answer_id=1), dict(answer="yes", answer_id=2)]), annotation(1, [None, "yes"])],
    absent=[{k: v for k, v in annotation(i, ["yes"]).items() if k not in ("question_type", "answer_type", "multiple_choice_answer")} for i in range(3)],
    more=[annotation(0, ["yes"], answer="no", extra={"answers": ["?"], "question_id": 5})])

@pytest.mark.parametrize("kind", PEOPLE)
@pytest.mark.parametrize("official", [False, True])
def test_annotations_that_are_made_as_they_are_parsed_are_those_of_the_whole(kind, official, tmp_path):
    path, content = tmp_path/"annotations.json", dict(info={"answers": 1}, annotations=PEOPLE[kind])
    path.write_text(json.dumps(content))
    def read(source):
        try: return load_annotations(source, official)
        except UserError as error: return str(error).partition(": ")[2]
    assert read(path) == read(content) and (official or not isinstance(read(path), str))


# --- memory: bytes for each, counted and not timed ---------------------------------------------------------------------------

def measured(work, *args): # the peak and what is held in the end, in bytes beyond what there was
    gc.collect()
    tracemalloc.start()
    try: found, (held, peak) = work(*args), tracemalloc.get_traced_memory()
    finally: tracemalloc.stop()
    return found, peak, held

MANY = 20_000

@pytest.fixture(scope="module")
def many(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    rows = [dict(question_id=10**6 + i, image_id=i // 5, question=f"How many of them are {i % 7}?") for i in range(MANY)]
    (folder/"questions.json").write_text(json.dumps(dict(questions=rows, data_subtype="test2015")))
    notes = [annotation(10**6 + i, [dict(answer=str(n % 3), answer_confidence="yes", answer_id=n + 1) for n in range(10)], image_id=i // 5) for i in range(MANY)]
    (folder/"annotations.json").write_text(json.dumps(dict(annotations=notes)))
    answers = [f"answer {i}" for i in range(300)]
    write(folder, 0, [record(10**6 + i) | dict(answers=[answers[(i + k) % 300] for k in range(5)], confidences=[(i*7 + k) % 1000 / 1000 for k in range(5)]) for i in range(MANY)])
    return folder

def test_questions_take_no_more_memory_than_they_did(many):
    size = (many/"questions.json").stat().st_size
    found, peak, held = measured(load_questions, many/"questions.json", "test")
    assert len(found) == MANY and held/MANY < 170 # the object, its id, and a fifth of a picture's name; a dictionary would be 232 and more
    assert (peak - size)/MANY < 320 # the text beside them; all records as dictionaries would be 400

def test_annotations_take_no_more_memory_than_they_did(many):
    size = (many/"annotations.json").stat().st_size
    found, peak, held = measured(load_annotations, many/"annotations.json", True)
    assert len(found) == MANY and held/MANY < 400 and peak < 2.2*size # as bytes and as text for a moment; ten dictionaries for each would be 2,000 more

def test_journals_take_no_more_memory_than_they_did(many):
    found, peak, held = measured(journal.read_journals, many, "abc")
    assert len(found) == MANY and held/MANY < 620
    assert peak - held < 2.8e6 # some thousand lines, and not the file: 3.4 MB here, 72 MB for VQAv2's test set
    columns, peak, held = measured(journal.read_columns, many, "abc")
    assert len(columns) == MANY and held/MANY < 200 and peak/MANY < 400

def test_a_results_file_takes_no_list_of_dictionaries(many):
    questions, columns = load_questions(many/"questions.json", "test"), journal.read_columns(many, "abc")
    path, peak, held = measured(write_submission, many, "submit.json", questions, columns, VQAv2("test", questions, None, many))
    assert peak/MANY < 160 and len(json.loads(path.read_text())) == MANY # two lists, a set of ids, and 2,000 entries; all entries would be 230 more

def test_plans_keep_numbers_and_not_lists(many):
    questions = load_questions(many/"questions.json", "test")
    shares, peak, held = measured(share_windows, questions, set(), 46, 2)
    assert held/MANY < 12 and sorted(i for share in shares for window in share for group in window for i in group) == list(range(MANY))
    assert Shares(questions, shares)[0].isdisjoint(Shares(questions, shares)[1]) and sum(map(len, Shares(questions, shares))) == MANY

def test_windows_take_turns_in_two_places_of_memory():
    data, places, sizes, made = open_sample(), [], [], torch.empty
    vqa = SimpleNamespace(device=torch.device("cpu"), config=SimpleNamespace(image_size=32), tokenizer=SimpleNamespace(encode_many=lambda texts: [[0, 2] for _ in texts]))
    asked = data.questions[:300]
    windows = plan_windows(asked, 2)
    def empty(*shape, **options):
        sizes.append(shape)
        return made(*shape, **options)
    with patch.object(torch, "empty", empty):
        for window in read_windows(windows, asked, data, vqa, 2, copy=True): places.append(window.images.data_ptr())
    assert len(windows) > 5 and len(set(places)) == 2 and places == (places[:2] * len(places))[:len(places)]
    assert sizes == [(2*max(map(len, windows)), 32, 32, 3)]
