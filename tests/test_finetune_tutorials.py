"The tutorials on fine-tuning, run from top to bottom in a stand-in for Colab."
import json
import re
import shutil

import pytest
from forged_colab import ROOT, lose_machine, printed, read_tutorial
from nbclient.exceptions import CellExecutionError, DeadKernelError

from beit3_colab import load_model
from beit3_colab.model.weights import PUBLISHED
from beit3_colab.scenes.description import make_scene
from beit3_colab.scenes.drawing import draw_scene


def html_of(notebook):
    outputs = [o.get("data", {}) for c in notebook.cells for o in c.get("outputs", [])]
    return "\n".join(o["text/html"] for o in outputs if "text/html" in o)

def figure(name, text):
    "The last figure in a row of a printed table."
    return float(re.search(rf"^{re.escape(name)} +([\d.]+)$", text, re.M)[1])

def log_rows(folder, kind):
    "What the log of a training in Drive says so far; a line that is being written does not count."
    logs = list(folder.glob("drive/beit3_colab/*/log.jsonl"))
    lines = [line for path in logs for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [r for r in map(json.loads, lines) if r["kind"] == kind]


def test_easy_vqa_in_a_short_form(colab, monkeypatch):
    notebook = read_tutorial("finetune_easy_vqa", image_size=64, limit=400, epochs=8, batch_size=16, test_limit=300)
    colab.connect(notebook, monkeypatch).execute()
    text = printed(notebook)
    assert "train: 38,575 questions about 4,000 pictures\ntest: 9,673 questions about 1,000 pictures" in text
    assert figure("always yes", text) == 37.3 and figure("the question alone", text) == 67.0 # of the whole test set
    before, after = (figure(f"the sample's model, {when}", text) for when in ("before", "fine-tuned"))
    assert before < 30 and after > 70 # four hundred questions are enough to look at the pictures: 67.0 can be had without
    overall = re.search(r"^overall +[\d.]+ +[\d.]+ +\+[\d.]+ +\+([\d.]+) – ", text, re.M)
    assert float(overall[1]) > 40 # what the training brought, at least
    html = html_of(notebook)
    assert "wrong → right" in html and html.count("<img") >= 16
    assert not re.search(r"\bnan\b", html + text)
    assert (ROOT/"nbs"/"tutorials"/"finetune_easy_vqa.ipynb").stat().st_size < 1_000_000

def test_own_pictures_on_a_machine_that_is_lost(colab, monkeypatch):
    fields = dict(epochs=5, save_to_drive=True)
    client = colab.connect(read_tutorial("finetune_own", **fields), monkeypatch)
    watcher = lose_machine(client, lambda: len(log_rows(colab.folder, "epoch")) >= 3) # the start, and two epochs
    with pytest.raises(DeadKernelError): client.execute()
    watcher.join()
    before = log_rows(colab.folder, "step")
    assert 20 <= len(before) < 50
    notebook = read_tutorial("finetune_own", **fields)
    colab.connect(notebook, monkeypatch).execute() # another machine with an empty disk, the same Drive
    after = log_rows(colab.folder, "step")
    assert [r["step"] for r in after] == list(range(1, 51)) # ten an epoch
    assert [r["loss"] for r in after[:20]] == [r["loss"] for r in before[:20]] # they were not taken again
    folder, = (colab.folder/"drive"/"beit3_colab").iterdir()
    first, *_, last = log_rows(colab.folder, "epoch")
    assert first["accuracy"] < 20 and json.loads((folder/"training.json").read_text())["best"]["accuracy"] >= 50
    text = printed(notebook)
    assert "Colab notebook\nno GPU: in the menu choose Runtime → Change runtime type → T4 GPU" in text
    assert [p.rpartition("/")[2] for p in colab.asked("downloaded")] == ["my_model.zip"]
    vqa = load_model(folder, device="cpu") # the folder in Drive is a checkpoint
    answer, confidence = vqa.ask(draw_scene(make_scene(3207)), "What can we do here?")[0]
    assert f"{confidence:6.2f}  {answer}\n" in text
    assert set(vqa.answers) == {"swim", "row", "picnic", "shop", "cook", "read", "yes", "no"}
    html = html_of(notebook)
    assert "wrong → right" in html and html.count("<img") >= 8
    assert (ROOT/"nbs"/"tutorials"/"finetune_own.ipynb").stat().st_size < 1_000_000
    other = colab.connect(read_tutorial("finetune_own", **{**fields, "epochs": 9}), monkeypatch) # under the same name
    refused = r"(?s)UserError.*holds another training \(epochs 5 there, 9 now\); choose another output_dir"
    with pytest.raises(CellExecutionError, match=refused): other.execute()
    assert log_rows(colab.folder, "step") == after

def test_pictures_in_a_zip_in_drive(colab, monkeypatch, tmp_path):
    folder = tmp_path/"mine"/"photos"
    folder.mkdir(parents=True)
    rows = ["image,question,answers"]
    for number in range(12):
        draw_scene(make_scene(number)).save(folder/f"{number}.png")
        rows.append(f"{number}.png,Who lives here?,{('the cat', 'nobody')[number % 2]}")
    (folder/"questions.csv").write_text("\n".join(rows))
    shutil.make_archive(str(colab.folder/"drive"/"mine"), "zip", tmp_path/"mine")
    draw_scene(make_scene(40)).save(colab.folder/"uploads"/"new.png")
    notebook = read_tutorial("finetune_own", data="MyDrive/mine.zip", epochs=2, trainable="head", held_out=0.25, question="Who lives here?")
    colab.connect(notebook, monkeypatch).execute()
    text = printed(notebook)
    assert "sample trained on own pictures, 9 questions: finished" in text
    assert colab.asked("uploaded") == [["new.png"]] and re.search(r"\d\.\d\d  (cat|nobody)\n", text)

def test_the_form_offers_what_there_is():
    text = "\n".join(c.source for c in read_tutorial("finetune_own").cells)
    assert json.loads(re.search(r'^checkpoint = .* # @param (\[.*\])$', text, re.M)[1]) == ["sample", *PUBLISHED]
