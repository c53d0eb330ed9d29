"`beit3-colab probe`: what it prints and writes, which model it asks, how it is stopped and goes on, and bad input in one line."
import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from processes import environment, wait_until

from beit3_colab import convert, evaluate, open_run
from beit3_colab.commands.cli import main
from beit3_colab.run.probes import PROBES

FEW = "--quiet --device cpu --workers 1 --batch-size 8".split()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    "A run of the sample, small and quick."
    folder = tmp_path_factory.mktemp("probed")/"run"
    evaluate(limit=20, image_size=48, device="cpu", output_dir=folder, progress=False)
    return folder

@pytest.fixture
def run(made, tmp_path): # a copy, without probes
    return shutil.copytree(made, tmp_path/"run", ignore=shutil.ignore_patterns("probes"))

def probe(run, *more): return main(list(map(str, ["probe", run, *FEW, *more])))

def kept(run, seed=0): # variant → lines of its journal
    return {path.parent.name: len(path.read_text().splitlines()) - 1 for path in (run/"probes"/f"seed-{seed}").glob("*/answers-0.jsonl")}


def test_it_prints_the_table_and_the_areas_and_they_are_those_of_the_folder(run, capsys):
    assert probe(run, "--probes", "covered", "capitals", "--limit", 6) == 0
    out, err = capsys.readouterr()
    found = open_run(run).probes()
    assert err == "" and out == f"{found}\n" and "Areas below the curves" in out and "in capitals" in out
    assert set(found) == set(kept(run)) == {"unchanged", "capitals", *(v.name for v in PROBES["covered"].variants)}
    assert len(set(kept(run).values())) == 1 and 6 <= kept(run)["blank"] < 12 # whole pictures

def test_again_it_asks_nothing_and_more_is_asked_beside_what_is_there(run, capsys):
    assert probe(run, "--probes", "blank", "--limit", 6) == 0
    first = capsys.readouterr().out
    before = {path: path.read_bytes() for path in run.rglob("answers-0.jsonl")}
    assert probe(run, "--probes", "blank", "--limit", 6) == 0
    assert capsys.readouterr().out == first and {path: path.read_bytes() for path in run.rglob("answers-0.jsonl")} == before
    assert probe(run, "--probes", "blank", "noise-3") == 0
    after = {path: path.read_bytes() for path in run.rglob("answers-0.jsonl")}
    assert all(after[path].startswith(content) for path, content in before.items()) and kept(run) == dict.fromkeys(("unchanged", "blank", "noise-3"), len(open_run(run).questions))

def test_a_seed_has_a_folder_of_its_own(run, capsys):
    for seed in (0, 3): assert probe(run, "--probes", "shuffled", "--limit", 6, "--seed", seed) == 0
    assert set(kept(run, 3)) == set(kept(run, 0)) == {"unchanged", "shuffled"}
    texts = [[json.loads(line).get("asked") for line in (run/"probes"/f"seed-{seed}"/"shuffled"/"answers-0.jsonl").read_text().splitlines()[1:]] for seed in (0, 3)]
    assert texts[0] != texts[1] and "seed 3" in capsys.readouterr().out

def test_tables_as_json_and_as_csv(run, tmp_path, capsys):
    assert probe(run, "--probes", "covered", "typo", "--limit", 6, "--json", "--csv", tmp_path/"table.csv") == 0
    out, err = capsys.readouterr()
    told, found = json.loads(out), open_run(run).probes()
    assert err.strip() == str(tmp_path/"table.csv") and set(told) == {"run", "seed", "table", "consistency", "curves", "areas", "left_out", "notes"}
    for name in ("table", "consistency", "curves", "areas"):
        rows, expected = told[name], getattr(found, name)
        assert len(rows) == len(expected) and list(rows[0]) == list(expected.columns)
        for row, (_, wanted) in zip(rows, expected.iterrows()):
            for column, value in row.items(): assert value == wanted[column] or value is None and wanted[column] != wanted[column] or value == pytest.approx(wanted[column], abs=1e-9)
    assert told["notes"] == list(found.notes) and "NaN" not in out
    rows = list(csv.DictReader(io.StringIO((tmp_path/"table.csv").read_text(encoding="utf-8"))))
    assert [row["variant"] for row in rows] == list(found.table["variant"]) and float(rows[1]["after"]) == found.table["after"][1]

def test_without_quiet_it_shows_how_far_it_is(run, capsys):
    assert main(["probe", str(run), "--probes", "blank", "--limit", "6", "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    assert err and "blank picture" in out

def test_every_option_and_every_probe_is_in_the_help(capsys):
    with pytest.raises(SystemExit) as ended: main(["probe", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    options = "--probes --limit --seed --checkpoint --device --dtype --batch-size --workers --data-path --fetch-pictures --csv --json --quiet RUN".split()
    assert not [name for name in [*options, *PROBES] if name not in shown]

@pytest.mark.parametrize("more, says", [
    (["--probes", "nosie"], "did you mean 'noise'?"), (["--probes", "noise-9"], "did you mean 'noise"), (["--probes", "blank", "cover"], "probe 'cover' is not known"), (["--probes"], "expected at least one argument"),
    (["--limit", "0"], "limit must be a whole number of 1 or more, not 0"), (["--limit", "few"], "invalid int value: 'few'"), (["--seed", "-1"], "seed must be a whole number of 0 or more"), (["--checkpoint", "nowhere.pth"], "nowhere.pth does not exist"),
    (["--batch-size", "0"], "batch_size must be a whole number of 1 or more"), (["--device", "gpu"], "device"), (["--dtype", "int8"], "dtype"), (["--prob", "blank", "--limits", "3"], "did you mean --limit?"), (["--csv", "nowhere/at/all.csv"], "nowhere"), (["--csv", "."], "--csv must be a file"), (["--workers", "-2"], "workers must be")])
def test_bad_input_is_one_line(run, capsys, more, says):
    try: status = main(["probe", str(run), "--quiet", "--workers", "1", *(["--probes", "blank"] if "--probes" not in more and "--prob" not in more else []), *(["--limit", "3"] if "--limit" not in more else []), *more])
    except SystemExit as ended: status = ended.code
    out, err = capsys.readouterr()
    assert status == 2 and err.count("\n") == 1 and says in err and err.startswith("beit3-colab") and len(err) < 700
    assert out == "" and ("--csv" not in more or not (run/"probes").exists()) # nothing is asked first

@pytest.mark.parametrize("place,why", [("nowhere", "run folder nowhere does not exist"), (".", ". is not a run folder")])
def test_what_is_no_run_folder_is_refused(place, why, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["probe", place]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and why in err

def test_names_are_checked_before_anything_is_loaded(run):
    code = ("import sys\nfrom beit3_colab.commands.cli import main\n"
            f"status = main(['probe', {str(run)!r}, '--probes', 'blnak', '--checkpoint', 'beit3_base_patch16_480_vqa'])\nprint(status, 'torch' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert done.stdout.split() == ["2", "False"] and "did you mean 'blank'?" in done.stderr


def test_another_checkpoint_with_the_same_model_is_taken_and_another_model_refused(made, tmp_path, capsys):
    "A run of a folder is probed with that folder; the name that the run folder gives is not loaded from by itself."
    ours = convert("sample", tmp_path/"ours")
    evaluate(ours, limit=6, image_size=48, device="cpu", output_dir=tmp_path/"run", progress=False)
    capsys.readouterr()
    for more in ([], ["--device", "cpu"]): # by the run's word alone
        assert main(["probe", str(tmp_path/"run"), "--probes", "blank", "--quiet", *more]) == 2
        out, err = capsys.readouterr()
        assert out == "" and "--checkpoint" in err and err.count("\n") == 1
    assert probe(tmp_path/"run", "--probes", "blank", "--checkpoint", tmp_path/"ours") == 0
    assert "blank picture" in capsys.readouterr().out
    assert probe(tmp_path/"run", "--probes", "blank", "--checkpoint", tmp_path/"ours", "--image-size", 64) == 2
    assert capsys.readouterr().err.count("\n") == 1

def test_an_interrupt_ends_with_130_and_the_same_command_goes_on(run, capsys):
    command = [sys.executable, "-m", "beit3_colab", "probe", str(run), *"--probes noise blur flipped --device cpu --workers 1 --batch-size 1".split()]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    wait_until(lambda: running.poll() is not None or sum(kept(run).values()) > 60)
    os.kill(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=120)
    last = err.strip().splitlines()[-1]
    assert running.returncode == 130 and out == "", err[-2000:]
    assert "answers of the probe are kept; the same command continues" in last and "--output-dir" not in last
    before = kept(run)
    names = {"unchanged", "flipped", *(v.name for name in ("noise", "blur") for v in PROBES[name].variants)}
    assert 60 < sum(before.values()) < len(names)*len(open_run(run).questions)
    assert probe(run, "--probes", "noise", "blur", "flipped") == 0 # the same, and to its end
    out, _ = capsys.readouterr()
    assert set(kept(run)) == names and all(kept(run)[name] >= n for name, n in before.items()) and "not asked yet" not in out
    for path in run.rglob("answers-0.jsonl"):
        ids = [json.loads(line)["question_id"] for line in path.read_text().splitlines()[1:]]
        assert len(ids) == len(set(ids)) # nothing twice
