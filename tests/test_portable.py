"""What may differ between Linux, macOS and Windows: paths, line ends, locks, files in use, processes, consoles, Apple's GPU.

Needs no GPU, no browser and no tool of Linux. The workflow runs it on the three systems; here it also runs with the other two played
(tests/elsewhere), which finds what they lack, and cannot find what they do otherwise."""
import importlib
import io
import json
import os
import pkgutil
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image

import beit3_colab
from beit3_colab import compare, evaluate, finetune, load_model, open_results, open_run, runs, UserError
from beit3_colab.commands.bench import bench
from beit3_colab.commands.cli import main, make_parser
from beit3_colab.commands.doctor import diagnose
from beit3_colab.commands.selftest import selftest
from beit3_colab.look.tables import read_csv
from beit3_colab.machine.files import atomic_write
from beit3_colab.model.beit3 import Beit3Config
from beit3_colab.scenes.sample import open_sample, sample_data_folder

TESTS = Path(__file__).parent
NAMES = ["plain.png", "two words.png", "ümlaut Ω 天.png", "UPPER.PNG", "dots.in.name.png"]
HOW = dict(device="cpu", progress=False)


def python(*arguments, **environment):
    "Run Python here, in a process of its own; the finished process."
    return subprocess.run([sys.executable, *arguments], capture_output=True, env=os.environ | environment, timeout=600)

CLI = ["-c", "import sys; from beit3_colab.commands.cli import main; sys.exit(main(sys.argv[1:]))"]

@pytest.fixture(scope="module")
def run(tmp_path_factory):
    "A finished run of 40 questions."
    return evaluate(limit=40, output_dir=tmp_path_factory.mktemp("finished")/"run", **HOW)


def test_every_module_can_be_imported():
    names = [m.name for m in pkgutil.walk_packages(beit3_colab.__path__, "beit3_colab.") if not m.name.endswith("__main__")]
    for name in names: importlib.import_module(name)
    assert len(names) > 70

def test_the_sample_has_its_known_figure():
    result = selftest(progress=False)
    assert result.ok, str(result)

def test_a_torn_line_is_answered_again_and_the_file_is_the_same(run, tmp_path):
    folder = Path(shutil.copytree(run.folder, tmp_path/"run"))
    before = Path(run.submission).read_bytes()
    (folder/run.submission.name).unlink()
    journal = folder/"answers-0.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    assert b"\r" not in journal.read_bytes()
    journal.write_bytes(b"".join(lines[:20]) + lines[20][:15])
    again = evaluate(limit=40, output_dir=folder, **HOW)
    assert again.submission.read_bytes() == before and b"\r" not in journal.read_bytes()
    assert len(again.records) == len(run.records)

HOLD = """
import sys, time
from beit3_colab.run.journal import Journal
journal = Journal(sys.argv[1], sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""

def test_two_runs_do_not_write_into_one_folder(run, tmp_path):
    folder = Path(shutil.copytree(run.folder, tmp_path/"run"))
    journal = folder/"answers-0.jsonl"
    whose = json.loads(journal.read_text(encoding="utf-8").splitlines()[0])["run"]
    holding = subprocess.Popen([sys.executable, "-c", HOLD, str(journal), whose], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    from beit3_colab.run.journal import Journal
    from beit3_colab.run.run_list import is_locked
    try:
        assert holding.stdout.readline().strip() == "held"
        assert is_locked(journal)
        with pytest.raises(UserError, match="is writing in folder"): Journal(journal, whose, patience=.3)
        assert len(open_run(folder).records) == len(run.records) # who looks on is not kept out
    finally: holding.communicate()
    assert not is_locked(journal)
    Journal(journal, whose, patience=.3).close() # free again

def test_two_processes_give_the_same_file(run, tmp_path):
    both = evaluate(limit=40, output_dir=tmp_path/"both", processes=2, **HOW)
    assert both.submission.read_bytes() == run.submission.read_bytes() and b"\r" not in run.submission.read_bytes()

def test_a_run_in_the_background_is_stopped_and_goes_on(tmp_path):
    going = evaluate(limit=300, output_dir=tmp_path/"run", background=True, **HOW)
    limit = time.monotonic() + 120
    while going.state == "preparing" and time.monotonic() < limit: time.sleep(.05)
    going.stop()
    going.wait(120)
    finished = evaluate(limit=300, output_dir=tmp_path/"run", **HOW)
    assert len(finished.records) == len(finished.questions)

@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos of mine")
    for i, name in enumerate(NAMES): Image.new("RGB", (40 + i, 30), (40*i, 90, 0)).save(folder/name)
    return folder

@pytest.mark.parametrize("form", ["lines of Windows", "semicolons with BOM", "UTF-16", "backslashes", "json"])
def test_tables_of_every_system_are_read(pictures, tmp_path, form):
    path = tmp_path/"questions.csv"
    names = [f"{pictures.name}\\{name}" if form == "backslashes" else str(pictures/name) for name in NAMES]
    lines = ["image,question"] + [f'"{name}","What is this?"' for name in names]
    if form == "lines of Windows": path.write_bytes("\r\n".join(lines).encode("utf-8"))
    if form == "semicolons with BOM": path.write_bytes("\r\n".join(line.replace(",", ";") for line in lines).encode("utf-8-sig"))
    if form == "UTF-16": path.write_bytes("\n".join(lines).encode("utf-16"))
    if form == "backslashes":
        path = pictures.parent/"questions with backslashes.csv"
        path.write_bytes("\n".join(lines).encode("utf-8"))
    if form == "json":
        path = path.with_suffix(".json")
        path.write_text(json.dumps([dict(image=name, question="What is this?") for name in names]), encoding="utf-8")
    found = evaluate(questions=path, output_dir=tmp_path/"run", **HOW)
    assert len(found.records) == len(NAMES)
    again = open_run(found.folder)
    assert [again.data.read_image(q).size[0] for q in again.questions] == [40 + i for i in range(len(NAMES))]

def test_a_folder_of_pictures_and_pictures_in_memory(pictures, tmp_path):
    found = evaluate(questions=pictures, question="What is this?", output_dir=tmp_path/"folder", **HOW)
    assert len(found.records) == len(NAMES)
    rows = [dict(image=Image.new("RGB", (30, 30)), question="What?"), dict(image=(pictures/NAMES[0]).read_bytes(), question="What?")]
    found = evaluate(questions=rows, output_dir=tmp_path/"memory", **HOW)
    assert len(open_run(found.folder).records) == 2 and len(list((found.folder/"pictures").iterdir())) == 2

def test_official_files_and_a_zip_of_pictures(run, tmp_path):
    data = Path(shutil.copytree(sample_data_folder(), tmp_path/"data"))
    with zipfile.ZipFile(data/"val2014.zip", "w") as z:
        for path in sorted((data/"val2014").iterdir()): z.write(path, f"val2014/{path.name}")
    shutil.rmtree(data/"val2014")
    found = evaluate("sample", split="val", data_path=data, limit=40, output_dir=tmp_path/"run", **HOW)
    assert [r["answers"] for r in found.records.values()] == [r["answers"] for r in run.records.values()]

def test_pages_and_tables_are_written_and_read(run, tmp_path):
    page = Path(run.to_html(tmp_path/"report.html", n=5))
    assert "</html>" in page.read_text(encoding="utf-8")
    assert Path(run.to_html(page, n=5)) == page # once more over what is there
    table = run.to_csv(tmp_path/"answers.csv")
    assert read_csv(table)["answer"].tolist() == run.to_pandas()["answer"].tolist()
    assert main(["report", str(run.folder), "--csv", str(tmp_path/"again.csv")]) == 0
    assert (tmp_path/"again.csv").read_bytes() == Path(table).read_bytes()

def test_a_file_is_replaced_while_somebody_still_reads_it(tmp_path):
    "Windows refuses that for as long as the file is open; a moment is waited for."
    path = atomic_write(tmp_path/"status.json", "old")
    reading = path.open("rb")
    closing = threading.Timer(.3, reading.close)
    closing.start()
    try: atomic_write(path, "new")
    finally: closing.join()
    assert path.read_text(encoding="utf-8") == "new" and [p.name for p in tmp_path.iterdir()] == ["status.json"]

def test_tags_and_notes_are_kept(run, tmp_path):
    folder = Path(shutil.copytree(run.folder, tmp_path/"run"))
    opened = open_run(folder)
    opened.remarks.tag(opened.questions[0], "hard").note(opened.questions[1], "two\nlines, ü")
    opened.remarks.tag(opened.questions[2], "hard")
    again = open_run(folder).remarks
    assert again.counts == {"hard": 2} and list(again.notes.values()) == ["two\nlines, ü"]
    assert b"\r" not in (folder/"notes.jsonl").read_bytes()

def test_runs_are_listed_compared_and_deleted(run, tmp_path):
    place = tmp_path/"beit3_runs"
    place.mkdir()
    for name in ("a", "b"): shutil.copytree(run.folder, place/name)
    found = runs(place)
    assert len(found.listed.runs) == 2
    assert compare(place/"a", place/"b").overall.difference == 0
    found.delete(1)
    assert len(runs(place).listed.runs) == 1 and len(list(place.iterdir())) == 1

def test_runs_of_elsewhere_are_opened():
    "Folders that were written on Linux."
    for name in ("sample", "own", "stopped"): assert open_run(TESTS/"golden"/"old_runs"/name).records

def test_results_of_other_tools_are_opened():
    golden = TESTS/"golden"/"rules"
    found = open_results(golden/"results"/"official"/"vqav2_val_results.json", dataset="vqav2", split="val", data_path=golden/"data"/"vqav2")
    assert found.accuracy is not None and found.accuracy.num_questions > 10

def test_a_checkpoint_is_saved_over_itself_and_converted(tmp_path):
    vqa = load_model("sample", device="cpu")
    folder = vqa.save(tmp_path/"model")
    loaded = load_model(folder, device="cpu")
    question = Image.new("RGB", (40, 30), (0, 90, 0)), "What is this?"
    before = loaded.ask(*question)
    try: loaded.save(folder)
    except UserError as error: # Windows replaces no file that is mapped into memory, as its weights are
        assert "choose another" in str(error) and not hasattr(os, "getuid") or os.environ.get("BEIT3_ELSEWHERE") == "windows"
    assert load_model(folder, device="cpu").ask(*question) == before
    assert main(["convert", str(folder), str(tmp_path/"official.pth")]) == 0
    again = load_model(tmp_path/"official.pth", config={"num_heads": vqa.config.num_heads}, answers=vqa.answers,
                       tokenizer=folder/"sentencepiece.model", device="cpu")
    assert again.ask(*question) == before

def test_a_training_goes_on_where_it_was(tmp_path):
    sample = open_sample()
    rows = [dict(image=str(sample.image_path(q)), question=q.question, answers=list(sample.annotations[q.question_id].answers))
            for q in sample.questions[:24]]
    how = dict(questions=rows, batch_size=6, output_dir=tmp_path/"tuned", answers="checkpoint", **HOW)
    first = finetune("sample", epochs=2, **how)
    again = finetune("sample", epochs=2, **how)
    assert len(again.results) == len(first.results) and load_model(first.folder, device="cpu").answers

def test_bench_and_doctor_know_this_machine(monkeypatch):
    small = Beit3Config(image_size=32, embed_dim=64, num_heads=2, num_layers=2, ffn_dim=256, vocab_size=64, num_classes=8)
    monkeypatch.setattr("beit3_colab.commands.bench.read_size", lambda size: small) # what is asked of the machine is the same
    monkeypatch.setattr("beit3_colab.commands.bench.Clock.slice", .05)
    found = bench(120, "base-32", "float32", "cpu", progress=False)
    assert found.rows[0].rate or "would not have fitted" in found.rows[0].why_not, str(found)
    assert all(found.machine.values())
    shown = diagnose()
    assert not [row for rows in shown.sections.values() for row in rows.values() if row.startswith(("AttributeError", "ImportError", "ModuleNotFound"))]

COMMANDS = sorted(action for action in make_parser().commands)

CONSOLE = """
import io, json, os, sys
from beit3_colab.commands.cli import main
console = sys.stdout.encoding, sys.stdout.errors
for arguments in json.loads(sys.argv[1]):
    sys.stdout = io.TextIOWrapper(open(os.dup(1), "wb"), *console) # as it was at the start
    try: status = main(arguments)
    except SystemExit as ended: status = ended.code
    assert not status, arguments
    sys.stdout.flush()
    os.write(1, bytes(9))
"""

@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "ascii", "utf-8"])
def test_any_console_takes_what_is_printed(run, pictures, encoding):
    "A console of Windows may know 256 characters, and a prompt has others."
    commands = ["--help"], ["report", str(run.folder)], ["ask", str(pictures/NAMES[2]), "Is this a “sœur”, 天?", "--device", "cpu"], ["doctor"]
    done = python("-c", CONSOLE, json.dumps(commands), PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr[-1000:]
    *printed, rest = done.stdout.split(bytes(9))
    assert len(printed) == len(commands) and all(printed) and not rest
    for text in printed: text.decode(encoding)

def test_help_of_every_command():
    assert {"evaluate", "bench", "doctor"} <= set(COMMANDS)
    for command in COMMANDS:
        with pytest.raises(SystemExit) as ended: main([command, "--help"])
        assert ended.value.code == 0

def test_a_closed_pipe_is_no_traceback(run):
    "`| head`, and what other systems call the like."
    going = subprocess.Popen([sys.executable, *CLI, "report", str(run.folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    going.stdout.close()
    assert b"Traceback" not in going.stderr.read()
    going.wait(120)

def test_names_of_folders_fit_every_system(tmp_path, monkeypatch):
    "A run's folder is named after the model, whose name may hold anything."
    from beit3_colab.run.runner import default_folder
    for name in ("a:b", "what?", "x/y", "tab\there", "end. ", "con", "a*b|c<d>"):
        part = default_folder(name).name
        assert not set(part) & set('<>:"/\\|?*') and part == part.strip(". ") and part.isprintable()
        (tmp_path/part).mkdir()

# Apple's GPU

def has_mps(): # runners of GitHub say that there is one, and give it no memory
    if not torch.backends.mps.is_available(): return False
    try: return bool(torch.ones(1 << 20, device="mps").sum() > 0)
    except RuntimeError: return False

if has_mps(): # Apple's GPU
    def test_apples_gpu_answers_as_the_processor_does(tmp_path):
        ours, theirs = (evaluate(output_dir=tmp_path/device, device=device, progress=False) for device in ("cpu", "mps"))
        different = [i for i, r in ours.records.items() if r["answers"][0] != theirs.records[i]["answers"][0]]
        assert not different and len(ours.records) == 1093
        assert max(abs(r["confidences"][0] - theirs.records[i]["confidences"][0]) for i, r in ours.records.items()) < 1e-3
        rows = bench(60, ["base-224"], device="mps", progress=False).rows
        assert any(row.rate for row in rows), [row.why_not for row in rows]
