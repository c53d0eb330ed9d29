"Runs have names and titles: given, kept, changed, shown, and harmless whatever somebody types."
import json
import shutil

import pytest

from beit3_colab import UserError, compare, evaluate, load_model, open_run
from beit3_colab.commands.cli import main
from beit3_colab.run.folder import label, title_data
from beit3_colab.run.run_file import as_file_name, Identity
from hostile import NASTY


def answer(vqa, folder, **more): return evaluate(vqa, **dict(limit=20, output_dir=folder, progress=False) | more)

@pytest.fixture(scope="module")
def made(vqa, tmp_path_factory): return answer(vqa, tmp_path_factory.mktemp("named")/"run", name="baseline").folder

@pytest.fixture
def named(made, tmp_path): return open_run(shutil.copytree(made, tmp_path/"run"))

def info(folder): return json.loads((folder/"run.json").read_text(encoding="utf-8"))


def test_a_name_is_shown_everywhere(named, tmp_path):
    label = "baseline: BEiT-3 sample model on the built-in sample, 23 questions"
    assert (named.name, named.title, named.label) == ("baseline", "baseline", label)
    for text in (repr(named), str(named.accuracy), str(named.report()), str(named.soft_score), repr(named.browse()),
                 named.to_html(tmp_path/"report.html").read_text(encoding="utf-8"), str(compare(named, named))): assert label in text
    assert ("name", "baseline") in named.facts()

def test_without_a_name_a_title_says_model_and_data(vqa, tmp_path):
    run = answer(vqa, tmp_path/"run")
    assert run.name is None and "name" not in info(run.folder)
    assert (run.title, run.label) == ("BEiT-3 sample model · built-in sample", "BEiT-3 sample model on the built-in sample, 23 questions")

@pytest.mark.parametrize("checkpoint, size, words", [
    ("beit3_base_patch16_480_vqa", 480, "BEiT-3 base, 480 px"), ("beit3_base_indomain_patch16_480_vqa", 384, "BEiT-3 base, in-domain, 384 px"),
    ("beit3_large_indomain_patch16_768_vgqaaug_vqa", 768, "BEiT-3 large, in-domain, VGQA, 768 px"), ("my_model", 480, "my_model")])
def test_models_in_words(checkpoint, size, words):
    assert label(Identity(checkpoint, "", "", None, "val", "", 2000, size, "float32")) == f"{words} on VQAv2 val, 2,000 questions"

def test_every_data_set_has_a_title():
    from beit3_colab.run.task import DATASETS
    titles = {name: title_data(name, "val") for name in DATASETS if name not in ("sample", "own")}
    assert all(title.endswith(" val") and title != f"{name} val" for name, title in titles.items()), titles
    assert len(set(titles.values())) == len(titles)


def test_the_name_is_no_part_of_the_identity(named, vqa, capsys):
    before = named.identity.fingerprint()
    same = answer(vqa, named.folder)
    assert same.name == "baseline" # nothing was said about it
    other = answer(vqa, named.folder, name="second", progress="log")
    assert (other.name, other.identity.fingerprint()) == ("second", before) and len(other.records) == 23
    assert "note: the run was called baseline, and is called second from now on" in capsys.readouterr().err
    assert open_run(named.folder).name == "second"

def test_an_unfinished_run_is_renamed_too(named, vqa):
    journal = named.folder/"answers-0.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:9]))
    named.submission.unlink()
    run = answer(vqa, named.folder, name="second")
    assert run.name == info(run.folder)["name"] == "second" and run.submission is not None

def test_rename(named):
    assert named.accuracy.label.startswith("baseline: ")
    before = info(named.folder)
    assert named.rename(" a\nnew\x1b[31m name ") is named
    assert named.name == open_run(named.folder).name == "a new[31m name" and named.accuracy.label.startswith("a new[31m name: ")
    assert info(named.folder) == before | dict(name="a new[31m name")
    named.rename(None)
    assert named.name is None and "name" not in info(named.folder)
    for bad in ("", "\u202e\n", "x"*101, 7):
        with pytest.raises(UserError, match="name"): named.rename(bad)

def test_a_run_renamed_while_it_goes_on_keeps_its_new_name(vqa, tmp_path):
    run = answer(vqa, tmp_path/"run", name="first", limit=200, background=True)
    while not run.begun and run.running: pass
    run.rename("meanwhile")
    assert run.wait().name == "meanwhile" and run.submission is not None

@pytest.mark.parametrize("name", [NASTY[:100], "../../etc/passwd", "-rf *", ".", "..", "CON", "a/b\\c:d", "ü"*100, "%s{0}$(rm)`x`"])
def test_hostile_names_stay_names(name, vqa, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = evaluate(vqa, limit=5, name=name, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["beit3_runs"] and [p.name for p in (tmp_path/"beit3_runs").iterdir()] == [run.folder.name]
    assert as_file_name(name) == run.folder.name[:-16] and len(run.folder.name.encode()) < 200
    assert set(run.folder.name) - set("._-") and run.folder.name.replace(".", "").replace("-", "").isidentifier() or run.folder.name[0].isdecimal()
    assert "\x1b" not in run.label and "\n" not in run.label and open_run(run.folder).name == run.name

def test_a_run_json_may_say_anything(named):
    (named.folder/"run.json").write_text(json.dumps(info(named.folder) | dict(name=NASTY*100)))
    found = open_run(named.folder)
    assert len(found.name) <= 100 and "\x1b" not in repr(found) and "\u202e" not in found.label
    (named.folder/"run.json").write_text(json.dumps(info(named.folder) | dict(name=["x"])))
    with pytest.raises(UserError, match="name must be text"): open_run(named.folder)
    (named.folder/"run.json").write_text(json.dumps(info(named.folder) | dict(name=None, score=dict(overall=1e9))))
    with pytest.raises(UserError, match="score"): open_run(named.folder)

def test_the_command_names_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "--limit", "5", "--name", "my run", "--quiet", "--device", "cpu"]) == 0
    folder, = (tmp_path/"beit3_runs").iterdir()
    assert folder.name.startswith("my_run_") and "my run: BEiT-3 sample model" in capsys.readouterr().out
    assert main(["report", "my run"]) == 0 and "my run: BEiT-3" in capsys.readouterr().out
    assert main(["compare", "my run", folder.name]) == 0 and "A  my run: " in capsys.readouterr().out
    assert main(["report", "my rum"]) == 2 and "run folder my rum does not exist" in capsys.readouterr().err

def test_processes_know_the_name(tmp_path, capsys):
    run = evaluate(limit=20, name="two of us", output_dir=tmp_path/"run", processes=2, device="cpu", progress=False)
    assert run.name == "two of us" and info(run.folder)["score"]["overall"] == run.accuracy.overall
    again = evaluate(limit=20, name="renamed", output_dir=tmp_path/"run", processes=2, device="cpu", progress="log")
    assert again.name == "renamed" and "was called two of us, and is called renamed" in capsys.readouterr().err


def test_two_models_of_one_name_are_told_apart(vqa, tmp_path):
    runs = [answer(vqa, tmp_path/"a"), evaluate(limit=20, image_size=96, output_dir=tmp_path/"b", progress=False)]
    legend = dict(compare(*runs).legend())
    assert "image_size 192" in legend["A"] and "image_size 96" in legend["B"]

def test_what_people_try(vqa, tmp_path, capsys):
    run = answer(vqa, tmp_path/"run", limit=50, progress="log")
    assert "note: limit=50 asks 52 questions" in capsys.readouterr().err
    assert len(run) == len(list(run)) == len(run.answers) == 52 and next(iter(run))["answer"] == run.answers["answer"].iloc[0]
    score = run.accuracy
    assert score["overall"] == score.overall == float(score) and score["yes/no"] == score.per_answer_type["yes/no"]
    assert f"{score:.1f}" == f"{score.overall:.1f}" and f"{score}" == str(score)
    with pytest.raises(UserError, match="did you mean 'overall'"): score["overal"]
    assert load_model(device="cpu").name == "sample"

def test_a_run_without_answers_is_no_nothing(vqa, tmp_path):
    run = answer(vqa, tmp_path/"run")
    run.records = {}
    assert len(run) == 0 and run

def test_messages_name_what_was_meant(vqa, tmp_path):
    answer(vqa, tmp_path/"r50", limit=50)
    with pytest.raises(UserError, match="limit 50 there, 20 now"): answer(vqa, tmp_path/"r50", limit=20)
    with pytest.raises(UserError, match="r5 does not exist; did you mean 'r50'"): open_run(tmp_path/"r5")
    with pytest.raises(UserError, match="did you mean sample"): load_model("sampel")
    with pytest.raises(UserError, match="did you mean 'val'"): evaluate(vqa, split="validation")
    import beit3_colab
    with pytest.raises(AttributeError, match="did you mean 'evaluate'"): beit3_colab.evalaute


class Handle:
    "An output of a cell."
    def __init__(self, shown): self.shown = [shown]
    def update(self, shown, raw): self.shown.append(shown)

def test_a_background_run_as_last_value_of_a_cell(vqa, tmp_path, monkeypatch):
    handles = []
    def display(shown, raw, display_id):
        handles.append(Handle(shown))
        return handles[-1]
    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.setattr("beit3_colab.evaluation.background.in_notebook", lambda: True)
    run = answer(vqa, tmp_path/"run", name="behind", limit=None, background=True)
    run._ipython_display_()
    while not run.begun: pass
    run.stop()
    run.wait()
    run._thread.join() # it tells the end after those who wait were woken
    texts = [shown["text/plain"] for shown in handles[0].shown]
    assert "behind: BEiT-3" in texts[-1] and ": stopped, " in texts[-1] and "preparing" not in texts[-1]
    run._ipython_display_()
    assert len(handles) == 2 and ": stopped, " in handles[1].shown[-1]["text/plain"]
    failed = answer(vqa, tmp_path/"other", questions=tmp_path/"nothing.csv", limit=None, background=True)
    failed._ipython_display_()
    with pytest.raises(UserError): failed.wait()
    while failed._thread.is_alive(): pass
    assert "failed: " in handles[2].shown[-1]["text/plain"] and "<p>" in handles[2].shown[-1]["text/html"]

def test_a_background_run_is_a_line_of_html_before_it_has_a_folder(vqa, tmp_path):
    failed = answer(vqa, tmp_path/"other", questions=tmp_path/"nothing.csv", limit=None, background=True)
    assert failed._repr_html_().startswith("<p>BackgroundRun(preparing") or not failed.running
    with pytest.raises(UserError): failed.wait()
    assert failed._repr_html_().startswith("<p>BackgroundRun(failed: ")

def test_without_a_notebook_it_is_printed(vqa, tmp_path, capsys):
    run = answer(vqa, tmp_path/"run", background=True)
    run.wait()
    run._ipython_display_()
    assert "BackgroundRun(BEiT-3 sample model" in capsys.readouterr().out
