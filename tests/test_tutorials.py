"The tutorial notebooks, run from top to bottom in a stand-in for Colab."
import configparser
import json
import os
import re

import nbformat
import pytest
from forged_colab import ROOT, lose_machine, printed, read_tutorial
from file_server import Fault, FileServer
from official_standin import make_checkpoint, mirror, official_json, serve_json, serve_pictures
from nbclient.exceptions import CellExecutionError, DeadKernelError
from processes import PACE

from beit3_colab import load_model
from beit3_colab.model.weights import PUBLISHED
from beit3_colab.scenes.drawing import draw_scene
from beit3_colab.scenes.description import make_scene

TUTORIALS = sorted((ROOT/"nbs"/"tutorials").glob("*.ipynb"))


def answered(colab):
    "Question ids in the journals of Drive's only run, in the order in which they were answered."
    journals = list((colab.folder/"drive").glob("beit3_colab/*/answers-*.jsonl"))
    lines = [line for path in journals for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [r["question_id"] for r in map(json.loads, lines) if "question_id" in r]


def test_a_lost_machine_costs_no_answers(colab, monkeypatch):
    colab.environment["BEIT3_PACE"] = str(2*PACE)
    fields = dict(checkpoint="sample", questions=400, batch_size="16", save_to_drive=True)
    client = colab.connect(read_tutorial("colab_evaluate", **fields), monkeypatch)
    watcher = lose_machine(client, lambda: len(answered(colab)) >= 60)
    with pytest.raises(DeadKernelError): client.execute()
    watcher.join()
    before = answered(colab)
    assert 60 <= len(before) < 400
    notebook = read_tutorial("colab_evaluate", **fields)
    notebook.cells.append(nbformat.v4.new_code_cell("!beit3-colab doctor"))
    colab.connect(notebook, monkeypatch).execute() # another machine, the same Drive
    after = answered(colab)
    assert after[:len(before)] == before and len(after) == len(set(after)) >= 400 # continued, nothing twice
    folder, = (colab.folder/"drive"/"beit3_colab").iterdir()
    report = json.loads((folder/"run.json").read_text())["report"]
    assert report["questions"] == len(after) - len(before)
    text = printed(notebook)
    assert "Colab notebook\nno GPU: in the menu choose Runtime → Change runtime type → T4 GPU" in text
    assert re.search(r"Of the \d+ packages that were here, none was changed; added: none", text)
    assert re.search(r"overall +9[56]\.\d\d", text)
    assert [p.rpartition("/")[2] for p in colab.asked("downloaded")] == [f"partial_vqav2_sample_{len(after)}.json"]
    assert len(colab.asked("mounted")) == 2 # once for each machine
    place = r"place +(no terminal \(output goes to a log\)|terminal), on Colab's machine"
    assert re.search(place, text) # a command started with ! is no notebook cell
    assert re.search(r"Drive +mounted at ", text) and "no GPU on Colab\n" in text

def test_official_weights_and_questions_on_a_machine_that_is_lost(colab, monkeypatch, tmp_path):
    colab.environment["BEIT3_PACE"] = str(PACE)
    (tmp_path/"served").mkdir()
    name, files = "beit3_base_indomain_patch16_480_vqa", {**serve_json(official_json()), **serve_pictures("val2014")}
    with FileServer({**files, **make_checkpoint(tmp_path/"served", "beit3_base_indomain_patch16_480_vqa")}) as server:
        colab.environment["BEIT3_COLAB_MIRROR"] = mirror(server)
        fields = dict(checkpoint=name, split="val", questions=400, batch_size="8", save_to_drive=True)
        for path in files: # zips come late, pictures break off at first
            server.fail(path, Fault(delay=0.1, **({} if path.endswith(".zip") else {"cut": 0.5})))
        client = colab.connect(read_tutorial("colab_evaluate", **fields), monkeypatch)
        watcher = lose_machine(client, lambda: len(answered(colab)) >= 200)
        with pytest.raises(DeadKernelError): client.execute()
        watcher.join()
        before = answered(colab)
        assert 200 <= len(before) < 400
        server.requests.clear()
        server.faults.clear()
        notebook = read_tutorial("colab_evaluate", **fields)
        colab.connect(notebook, monkeypatch).execute() # another machine with an empty disk, the same Drive
        after = answered(colab)
        assert after[:len(before)] == before and len(after) == len(set(after)) >= 400 # continued, nothing twice
        asked = [r.path for r in server.requests]
        assert len(asked) == len(set(asked))
        # of 74 pictures those of the questions that were left, of the answers shown, and of the browser's first page and the next
        assert sum(p.endswith(".jpg") for p in asked) < 74
    text = printed(notebook)
    figures = f"Official VQA accuracy, {len(after)} questions, 74 images; 95 % intervals"
    assert f" px on VQAv2 val, {len(after)} questions\n{figures}" in text
    assert f"partial_vqav2_val_{len(after)}.json\nThis is part of val: it can be scored" in text
    assert [p.rpartition("/")[2] for p in colab.asked("downloaded")] == [f"partial_vqav2_val_{len(after)}.json"]
    outputs = [o for c in notebook.cells for o in c.get("outputs", [])]
    assert "v2_Questions_Val_mscoco.zip: " in text
    assert not [o for o in outputs if o.get("name") == "stderr"] # nothing in red
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) == 2 # accuracy by kind of answer, and answers over their pictures
    if where := os.environ.get("BEIT3_COLAB_KEEP"): nbformat.write(notebook, where) # to look at

def test_drive_refused_is_told_in_one_sentence(colab, monkeypatch):
    (colab.folder/"refuse_drive").touch()
    notebook = read_tutorial("colab_evaluate", save_to_drive=True)
    refused = "(?s)UserError.*Google Drive was not mounted at .*: leave was not given"
    with pytest.raises(CellExecutionError, match=refused): colab.connect(notebook, monkeypatch).execute()
    assert not list((colab.folder/"drive").iterdir())

def test_own_pictures(colab, monkeypatch):
    draw_scene(make_scene(11)).save(colab.folder/"uploads"/"mine.png")
    with FileServer({"/drawn.png": colab.folder/"uploads"/"mine.png"}) as server:
        notebook = read_tutorial("own_pictures", question="What is the weather like?", url=f"{server.url}/drawn.png")
        colab.connect(notebook, monkeypatch).execute()
        assert len(server.requests) == 1
    assert colab.asked("uploaded") == [["mine.png"]] and "mine.png, " in printed(notebook)
    vqa = load_model("sample", device="cpu")
    answer, confidence = vqa.ask(draw_scene(make_scene(11)), "What is the weather like?")[0]
    assert printed(notebook).count(f"{confidence:6.2f}  {answer}\n") == 2 # uploaded, and by its address
    outputs = [o.get("data", {}) for c in notebook.cells for o in c.get("outputs", [])]
    pictures = [o for o in outputs if "image/png" in o]
    assert len(pictures) == 3 # the picture, where the model looked, and answers over their pictures
    html = "\n".join(o.get("text/html", "") for o in outputs)
    assert "not official VQA accuracy" in html and "answers_own_pictures.json" in html and "submit_vqav2" not in html
    assert re.search(r"22.jpg +Where was this drawn\? +beach", printed(notebook))
    assert html.count("<img") >= 4 # the page of the browser

def test_browse_answers(colab, monkeypatch):
    notebook, changed = read_tutorial("browse_answers"), 0
    for cell in notebook.cells: # fewer questions, in every run alike
        cell.source, n = re.subn(r'evaluate\((vqa|"sample")', r"evaluate(\1, limit=200", cell.source)
        changed += n
    assert changed == 4
    colab.environment["BEIT3_PACE"] = str(PACE) # it is to be met at work
    colab.connect(notebook, monkeypatch).execute()
    outputs = [o.get("data", {}) for c in notebook.cells for o in c.get("outputs", [])]
    html = [o["text/html"] for o in outputs if "text/html" in o]
    assert sum("image/png" in o for o in outputs) == 5 # attention and four figures
    pages = [h.count("<img") for h in html if "Run the cell to browse all" in h]
    assert pages[:2] + pages[-2:] == [8, 4, 4, 4] and len(pages) == 6 and pages[2] == pages[3] > 1 # mistakes, tagged ones
    assert "\nrun.browse(tag='look again', per_page=4)\n" in printed(notebook) # the call that was copied
    asked, = (h for h in html if "chosen questions" in h and "<table" in h and "mistakes, 128 px" in h and ".compare(1, 2)" not in h)
    listed, = (h for h in html if ".compare(1, 2)" in h) # runs()
    assert "0.00" in asked and all(name in listed for name in ("192 px", "128 px", "mistakes, 128 px", "tags, 1 note"))
    assert "the brown thing is a ball" in html[-1] # by the run that was opened again
    assert any("Finished" in h and "overall" in h for h in html)
    assert any("Stopped" in h and "continues" in h for h in html)
    total, answered = map(int, re.search(r"^\((\d+), (\d+)\)$", printed(notebook), re.M).groups())
    assert total >= 200 and 0 < answered <= total - 50 # what was answered before the stop is not asked again
    assert "wrong → right" in "".join(html)
    assert all(name in printed(notebook) for name in ("answers.csv\n", "report.html\n"))
    assert (ROOT/"nbs"/"tutorials"/"browse_answers.ipynb").stat().st_size < 1_000_000

def test_anybodys_answers(colab, monkeypatch):
    notebook = read_tutorial("anybodys_answers", path="samples_person.jsonl", dataset="sample", split="")
    for cell in notebook.cells: cell.source = cell.source.replace('evaluate("sample"', 'evaluate("sample", limit=200')
    colab.connect(notebook, monkeypatch).execute()
    text = printed(notebook)
    html = "\n".join(o.get("data", {}).get("text/html", "") for c in notebook.cells for o in c.get("outputs", []))
    assert "lmms-eval" in html and "VLMEvalKit" in html and "p (Holm)" in html # two tools' files, every pair corrected
    for rule in ("lavis_vqa", "lmms_vqav2_v030", "vlmeval_vqa_score"): assert rule in html
    assert re.search(r"overall +63.89 .*\n(.*\n){3}samples_person.jsonl \(lmms-eval\) on sample", text) # all 1,093, by the form
    assert "comparison.html\n" in text and "person.html\n" in text
    assert not re.search(r"\bnan\b", html)
    assert (ROOT/"nbs"/"tutorials"/"anybodys_answers.ipynb").stat().st_size < 1_000_000


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda p: p.stem)
def test_the_badge_opens_this_notebook(path):
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(ROOT/"settings.ini")
    s = settings["DEFAULT"]
    text = "\n".join(c.source for c in nbformat.read(path, 4).cells)
    at_github = f"github/{s['user']}/{s['repo']}/blob/{s['branch']}/nbs/tutorials/{path.name}"
    assert f"https://colab.research.google.com/{at_github}" in text
    assert f"git+https://github.com/{s['user']}/{s['repo']}" in text

WITH_A_FORM = [p for p in TUTORIALS if p.stem in ("colab_evaluate", "own_pictures")] # the others have the sample alone

@pytest.mark.parametrize("path", WITH_A_FORM, ids=lambda p: p.stem)
def test_the_form_offers_what_there_is(path):
    text = "\n".join(c.source for c in nbformat.read(path, 4).cells)
    offered = json.loads(re.search(r'^checkpoint = .* # @param (\[.*\])$', text, re.M)[1])
    assert offered == ["sample", *PUBLISHED]
