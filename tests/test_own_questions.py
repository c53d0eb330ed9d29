"Questions about pictures of one's own, from a list, a file or a folder, through a whole run and back."
import csv
import errno
import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from file_server import FileServer

from beit3_colab import compare, evaluate, open_run
from beit3_colab.commands.cli import main
from beit3_colab.data.own import open_questions
from beit3_colab.machine.messages import UserError
from beit3_colab.look.plots import plot_accuracy, show_answers
from beit3_colab.scenes.drawing import draw_scene
from beit3_colab.scenes.description import make_scene
from beit3_colab.look.tables import read_csv


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BEIT3_COLAB_CACHE", str(tmp_path/"cache"))
    return tmp_path/"cache"

def png(seed):
    content = io.BytesIO()
    draw_scene(make_scene(seed)).save(content, "PNG")
    return content.getvalue()

def own_rows(folder):
    "Seven questions about five pictures of every kind; people answered some."
    draw_scene(make_scene(1)).save(folder/"path.png")
    array = np.asarray(draw_scene(make_scene(2)))
    return [dict(image=folder/"path.png", question="Is it day or night?"), dict(image=str(folder/"path.png"), question="Where was this drawn?"),
            dict(image=array, question="Where was this drawn?", answers="Beach."), dict(image=array, question="What is the weather like?", answers=["rainy", "it is raining"]),
            dict(image=draw_scene(make_scene(3)), question="Where was this drawn?", question_id=70),
            dict(image=png(4), question="Where was this drawn?", answers=["nowhere"], image_id="the last one"), dict(image=png(5), question="Is it day or night?")]


def test_a_run_and_everything_after_it(vqa, tmp_path, cache):
    rows, folder = own_rows(tmp_path), tmp_path/"run"
    run = evaluate(vqa, questions=rows, output_dir=folder, progress=False)
    expected = [vqa.ask(r["image"], r["question"], 1)[0] for r in rows]
    assert list(run.answers["answer"]) == [a.answer for a in expected]
    assert list(run.answers["question_id"]) == [1, 2, 3, 4, 70, 6, 7] and run.answers["image_id"].nunique() == 5
    assert json.loads(run.submission.read_text())[4] == {"question_id": 70, "answer": expected[4].answer}
    assert run.submission.name == "answers_own_pictures.json" and not list(folder.glob("*vqav2*"))
    # what people said was scored, and not under the official name
    right = [expected[2].answer == "beach", expected[3].answer in ("rainy", "it is raining"), False]
    assert run.accuracy.num_questions == 3 and run.accuracy.overall == pytest.approx(100*sum(right)/3, abs=.01) and run.soft_score is None
    assert run.accuracy.metric == "exact" and "not official VQA accuracy" in str(run.accuracy) and "exact match" in run.accuracy._repr_html_()
    assert list(run.answers["accuracy"].notna()) == [False, False, True, True, False, True, False]
    assert show_answers(run).axes and plot_accuracy(run).axes[1].get_xlabel() == "exact match, %"
    browser = run.browse()
    assert "7 answers" in repr(browser) and "exact match" in browser.saved_view() and browser.saved_view().count("<img") == 7
    # written as a table and read back; compared with another run
    assert read_csv(run.to_csv(tmp_path/"answers.csv"))["human_answers"].tolist()[:4] == [[], [], ["Beach."], ["rainy", "it is raining"]]
    same = compare(run, run)
    assert same.agreement == 100. and same.overall.questions == 3 and "not official VQA accuracy" in str(same) # of those that people answered
    # opened again elsewhere: what was given in memory was kept with the run
    shutil.rmtree(cache)
    shutil.move(folder, tmp_path/"moved")
    again = open_run(tmp_path/"moved")
    assert again.answers.drop(columns="top5").equals(run.answers.drop(columns="top5")) and str(again.accuracy) == str(run.accuracy)
    assert [np.asarray(again.data.read_image(q)).tobytes() for q in again.questions][4] == np.asarray(draw_scene(make_scene(3))).tobytes()

def test_continued_unless_it_is_another_run(vqa, tmp_path, cache):
    rows, folder = own_rows(tmp_path), tmp_path/"run"
    def again(rows, **more): return evaluate(vqa, questions=rows, output_dir=folder, progress=False, **more)
    before = again(rows)
    journal = folder/"answers-0.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(b"".join(whole.splitlines(keepends=True)[:4]) + b'{"quest') # killed after three answers
    (folder/before.submission.name).unlink()
    assert again(rows).records == before.records and again(rows).report().questions == 4
    rows[2]["answers"] = ["beach"]*10 # what people said may be added later
    assert again(rows).accuracy.num_questions == 3
    draw_scene(make_scene(6)).save(tmp_path/"path.png")
    with pytest.raises(UserError, match="holds another run .questions_sha256"): again(rows)
    with pytest.raises(UserError, match="holds another run"): again(rows[:5])

def test_ten_answers_make_the_official_accuracy(vqa, tmp_path, cache):
    rows = [dict(image=png(2), question="Where was this drawn?", answers=["beach"]*2 + ["sea"]*8), dict(image=png(3), question="Where was this drawn?")]
    run = evaluate(vqa, questions=rows, output_dir=tmp_path/"run", progress=False)
    assert run.accuracy.metric == "official" and run.accuracy.num_questions == 1 and str(run.accuracy).count("Official VQA accuracy") == 1
    unknown = evaluate(vqa, questions=[{k: v for k, v in row.items() if k != "answers"} for row in rows], output_dir=tmp_path/"unknown", progress=False)
    for pair in ((unknown, run), (run, unknown)): assert "Official VQA accuracy" in str(compare(*pair)) # whichever brings the answers
    said = run.answers["answer"][0]
    assert run.accuracy.overall == {"beach": 60., "sea": 100.}.get(said, 0.) and run.soft_score.num_questions == 1

def test_a_comparison_tells_of_other_pictures_and_other_people(vqa, tmp_path, cache):
    def run(name, seed, answers):
        draw_scene(make_scene(seed)).save(tmp_path/"a.png")
        return evaluate(vqa, questions=[dict(image=tmp_path/"a.png", question="Where was this drawn?", answers=answers)], output_dir=tmp_path/name, progress=False)
    first, other = run("first", 2, ["beach"]), run("other", 3, ["beach"])
    assert "the pictures' contents are not" in str(compare(first, other)) and "judged by" not in str(compare(first, other))
    again = run("again", 2, ["sea"])
    assert "pictures' contents" not in str(compare(first, again)) and "both are judged by those of A" in str(compare(first, again))
    assert "not." not in str(compare(first, first)).partition("Same answer")[2].partition("Exact")[0]

def test_processes_give_the_same(tmp_path, cache):
    rows = own_rows(tmp_path)
    one = evaluate("sample", questions=rows, output_dir=tmp_path/"one", device="cpu", progress=False, limit=5)
    two = evaluate("sample", questions=rows, output_dir=tmp_path/"two", device="cpu", progress=False, limit=5, processes=2)
    assert one.submission.name == f"answers_own_pictures_part_{len(one.questions)}.json"
    assert two.submission.read_bytes() == one.submission.read_bytes() and two.identity == one.identity
    assert (tmp_path/"two"/"pictures").is_dir() and str(open_run(tmp_path/"two").accuracy) == str(one.accuracy)

def test_a_file_with_addresses_from_the_shell(tmp_path, cache, capsys):
    with FileServer({"/a.png": png(1)}) as server:
        draw_scene(make_scene(2)).save(tmp_path/"b.png")
        with open(tmp_path/"holiday.csv", "w", newline="") as f:
            csv.writer(f).writerows([["image", "question", "answers"], [f"{server.url}/a.png", "Is it day or night?", "day | night"], ["b.png", "Where was this drawn?", ""]])
        arguments = ["evaluate", "--questions", tmp_path/"holiday.csv", "--output-dir", tmp_path/"run", "--device", "cpu", "--quiet"]
        for _ in range(2): assert main(list(map(str, arguments))) == 0
        out = capsys.readouterr().out
        assert "Exact match" in out and "answers: " in out and "submission" not in out
        assert [r.status for r in server.requests].count(200) == 1 # fetched once for both; the second run may ask whether it is the same
        with open(tmp_path/"holiday.csv", "a") as f: f.write(f"{server.url}/gone.png,Is it?,\nnone.png,Is it?,\n")
        assert main(list(map(str, arguments))) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1 and "2 of the questions cannot be asked: line 4: " in told and "404" in told and "line 5: picture none.png does not exist" in told
        arguments[4] = tmp_path/"blank"
        assert main([*map(str, arguments), "--bad-images", "blank"]) == 0
        assert open_run(tmp_path/"blank").answers["image_error"].notna().tolist() == [False, False, True, True]

def test_a_folder_and_one_question(vqa, tmp_path, cache):
    for seed in (1, 2): draw_scene(make_scene(seed)).save(tmp_path/f"{seed}.png")
    run = evaluate(vqa, questions=tmp_path, question=["Is it day or night?", "Where was this drawn?"], output_dir=tmp_path/"run", progress=False)
    assert list(run.answers["image_id"]) == ["1.png"]*2 + ["2.png"]*2 and run.accuracy is None
    for wrong, says in [(dict(split="val"), "leave them out"), (dict(question="Why?", questions=None), "pass questions="), (dict(bad_images="skip"), "'stop' or 'blank'")]:
        with pytest.raises(UserError, match=says): evaluate(vqa, **{"questions": tmp_path, "question": "Why?", **wrong})

def test_in_the_background(vqa, tmp_path, cache):
    run = evaluate(vqa, questions=own_rows(tmp_path), output_dir=tmp_path/"run", background=True, progress=False).wait()
    assert run.state == "finished" and len(run.answers) == 7 and run.metric == "exact"

def test_no_picture_is_taken_from_outside_the_run(vqa, tmp_path, cache):
    draw_scene(make_scene(1)).save(tmp_path/"outside.png")
    with pytest.raises(UserError, match="row 1: image memory:.* stands for pictures that are no files"): evaluate(vqa, questions=[dict(image=f"memory:{tmp_path}/outside.png", question="Why?")])
    folder = evaluate(vqa, questions=[dict(image=png(1), question="Is it night?")], output_dir=tmp_path/"run", progress=False).folder
    kept = json.loads((folder/"own_questions.json").read_text())
    for field, value in (("image", "memory:../outside.png"), ("image", f"memory:{tmp_path}/outside.png"), ("question_id", "<img>"), ("question", None)): # in a folder that somebody sent
        (folder/"own_questions.json").write_text(json.dumps({**kept, "questions": [{**kept["questions"][0], field: value}]}))
        with pytest.raises(UserError, match="is damaged"): open_run(folder)

def test_images_are_vqav2s(vqa, tmp_path, cache):
    for own in (dict(questions=own_rows(tmp_path)), dict(split="sample")):
        with pytest.raises(UserError, match="is about VQAv2's pictures; leave it out for (your own|sample)"): evaluate(vqa, images=tmp_path/"gone.zip", **own)

@pytest.mark.parametrize("place", ["beit3_colab.data.own.atomic_write", "beit3_colab.data.own.save_questions"])
def test_a_full_disk_is_told(vqa, tmp_path, cache, monkeypatch, place):
    def fail(*args, **kwargs): raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(place, fail)
    with pytest.raises(UserError, match="full.*free some space"): evaluate(vqa, questions=[dict(image=png(5), question="Why?")], output_dir=tmp_path/"run", progress=False)

def test_the_rule_is_found_once():
    "It looks at every annotation, and each answer of a run asks for it."
    class Counting(dict):
        looks = 0
        def values(self):
            Counting.looks += 1
            return super().values()
    scenes = [draw_scene(make_scene(seed)) for seed in (7, 11)]
    data = open_questions([dict(image=scene, question="Where was this drawn?", answers=["lake"]*10) for scene in scenes])
    data = replace(data, annotations=Counting(data.annotations))
    assert {data.metric for _ in range(5)} == {"official"} and Counting.looks == 1
    assert replace(data, annotations={1: replace(data.annotations[1], answers=("lake",))}).metric == "exact"
