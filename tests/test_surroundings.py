"""Where a program runs: consoles without UTF-8, streams that are closed or full, folders that are gone, disks that are full,
a launcher's variables that are left over. What can be done is done; what cannot be is one sentence, and no traceback."""
import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import environment, free_port

from beit3_colab import evaluate, load_model
from beit3_colab.commands.cli import guarded, main
from beit3_colab.machine.distributed import find_world, Group, GroupError, WorkerError, World
from beit3_colab.machine.messages import UserError
from beit3_colab.machine.streams import plain_text, SafeStream
from beit3_colab.progress.bars import LogLines, TextBar
from beit3_colab.progress.choosing import make_display
from beit3_colab.progress.snapshot import Snapshot
from beit3_colab.run_beit3_finetuning import main as finetuning
from beit3_colab.scenes.description import make_scene
from beit3_colab.scenes.drawing import draw_scene
from beit3_colab.scenes.sample import sample_data_folder

ASCII = ("ascii", "latin-1", "cp1252")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    "A small finished run of own questions, whose words are not in any of these encodings, and one of the sample."
    folder = tmp_path_factory.mktemp("surroundings")
    (folder/"pics").mkdir()
    draw_scene(make_scene(1)).save(folder/"pics"/"été.png")
    (folder/"pics"/"questions.csv").write_text("image,question,answers\nété.png,Quel temps – “neige” ? ☃,snowy\n", "utf-8")
    evaluate(questions=folder/"pics", output_dir=folder/"own", device="cpu", progress=False)
    evaluate(limit=5, output_dir=folder/"sample", device="cpu", progress=False)
    return folder

def shell(encoding, *arguments, command=main):
    "Status and output of a command whose standard output has an encoding and is strict about it; an error of the encoding would pass through."
    out, err = io.TextIOWrapper(io.BytesIO(), encoding, write_through=True), io.TextIOWrapper(io.BytesIO(), encoding, "backslashreplace", write_through=True)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try: status = command(list(map(str, arguments)))
        except SystemExit as stop: status = stop.code
    assert (out.errors, err.errors) == ("strict", "backslashreplace") # given back as they were
    return status, out.buffer.getvalue().decode(encoding), err.buffer.getvalue().decode(encoding)

def commands(run):
    vqa = sample_data_folder()/"vqa"
    questions, annotations = vqa/"v2_OpenEnded_mscoco_val2014_questions.json", vqa/"v2_mscoco_val2014_annotations.json"
    results, = (run/"sample").glob("*vqav2*.json")
    return {
        "evaluate": ["evaluate", "--questions", run/"pics", "--output-dir", run/"own", "--device", "cpu"],
        "score": ["score", results, "--annotations", annotations, "--partial"],
        "check": ["check", results, "--questions", questions],
        "compare": ["compare", run/"sample", run/"sample"],
        "report": ["report", run/"own"],
        "probe": ["probe", run/"own", "--probes", "blank", "shuffled", "another", "--device", "cpu", "--quiet"],
        "ask": ["ask", run/"pics"/"été.png", "Quel temps ☃ ?", "--device", "cpu"],
        "help": ["--help"],
        "help of evaluate": ["evaluate", "--help"],
    }

@pytest.mark.parametrize("encoding", ASCII)
def test_every_command_prints_what_it_prints(run, encoding):
    for name, arguments in commands(run).items():
        expected, found = shell("utf-8", *arguments), shell(encoding, *arguments)
        assert found[0] == expected[0] and found[1] == plain_text(expected[1], encoding), name
        assert "Traceback" not in found[2], name

def test_the_figure_is_there_with_a_plain_dash(run):
    from dataclasses import replace
    from beit3_colab import open_run
    figure = replace(open_run(run/"sample").accuracy, interval=(82.1, 85.9))
    def command(arguments): print(figure)
    assert "82.10 - 85.90" in shell("ascii", command=guarded("program")(command))[1]

@pytest.mark.parametrize("encoding", ASCII)
def test_other_programs_and_messages(run, encoding):
    status, _, err = shell(encoding, "--help", command=finetuning)
    assert status == 0
    status, out, err = shell(encoding, "ask", run/"日本 – x.png", "Why?", "--device", "cpu")
    assert status == 2 and err.count("\n") == 1 and "does not exist" in err
    status, out, err = shell(encoding, "doctor")
    assert status == 0 and out.startswith("system")

@pytest.mark.parametrize("encoding", ASCII)
@pytest.mark.parametrize("kind", [LogLines, TextBar])
def test_progress_is_shown(encoding, kind):
    stream = io.TextIOWrapper(io.BytesIO(), encoding, write_through=True)
    display = kind(stream)
    display.show(Snapshot(10, 5, seconds=1., accuracy=80., interval=(70., 90.)), final=True)
    display.warn("“été” – ☃ …")
    display.close()
    text = stream.buffer.getvalue().decode(encoding)
    assert "80.0" in text and "warning: " in text and plain_text("“été” – ☃ …", encoding) in text

class Full(io.StringIO):
    def write(self, text): raise OSError(28, "No space left on device")
    def flush(self): raise OSError(28, "No space left on device")

def closed():
    stream = io.StringIO()
    stream.close()
    return stream

@pytest.mark.parametrize("stream", [None, Full(), closed()], ids=["missing", "full", "closed"])
@pytest.mark.parametrize("progress", [True, "log", "bar"])
def test_progress_that_cannot_be_shown_ends_no_run(monkeypatch, tmp_path, stream, progress):
    monkeypatch.setattr(sys, "stderr", stream)
    assert evaluate(limit=2, output_dir=tmp_path, device="cpu", progress=progress).submission.exists()
    if stream is None: assert type(make_display(True)) is LogLines and not SafeStream().isatty()

SHORT = "import sys; from beit3_colab.commands.cli import guarded, OneLineParser; from beit3_colab.machine.messages import UserError\n"
def small_program(code, redirections="", **variables):
    "A command as short as one can be, run by a shell; status, output, error output."
    script = SHORT + code + "\nsys.exit(guarded('program')(command)())"
    done = subprocess.run(["bash", "-c", f'"$0" -c "$1" {redirections}', sys.executable, script], capture_output=True, text=True, errors="replace", env=environment(PYTHONPATH=os.getcwd(), PYTHONUNBUFFERED="", **variables))
    return done.returncode, done.stdout, done.stderr

LONG = "def command(arguments):\n    for i in range(9999): print('a line')"
REFUSED = "def command(arguments): print('a line'); raise UserError('bad input')"
HELP = "def command(arguments): OneLineParser().parse_args(['--help'])"

@pytest.mark.parametrize("code, redirections, expected", [
    ("def command(arguments): print('a line')", ">&-", (0, "", "")),
    ("def command(arguments): print('a line', file=sys.stderr)", "2>&-", (0, "", "")),
    ("def command(arguments): print(open('/dev/null').fileno())", "<&- >&- 2>&-", (0, "", "")),
    (REFUSED, ">&-", (2, "", "program: bad input\n")),
    (REFUSED, "2>&-", (2, "a line\n", "")),
    (REFUSED, "2>/dev/full", (2, "a line\n", "")),
    (REFUSED, ">/dev/full", (2, "", "program: bad input\n")),
    ("def command(arguments): print('a line')", ">/dev/full", (2, "", "program: standard output cannot be written to (No space left on device): send it elsewhere\n")),
    (LONG, ">/dev/full", (2, "", "program: standard output cannot be written to (No space left on device): send it elsewhere\n")),
    (HELP, ">/dev/full", (2, "", "program: standard output cannot be written to (No space left on device): send it elsewhere\n")),
    (LONG, "| head -n 1", (0, "a line\n", "")),
])
def test_streams_that_are_closed_or_full(code, redirections, expected):
    if "/dev/full" in redirections and not os.path.exists("/dev/full"): pytest.skip("needs /dev/full")
    assert small_program(code, redirections) == expected

def test_a_file_is_not_taken_for_standard_output():
    "Where that is closed, the next file that is opened would get its number."
    assert small_program("def command(arguments): f = open('/dev/null'); sys.stderr.write(str(f.fileno() > 2))", ">&-") == (0, "", "True")

def test_an_error_of_a_file_is_not_taken_for_one_of_the_output():
    status, _, err = small_program("def command(arguments): open('/nowhere/x')")
    assert status == 1 and "FileNotFoundError" in err
    status, _, err = small_program("def command(arguments): raise OSError(28, 'No space left on device')") # of something else
    assert status == 1 and "Traceback" in err

@pytest.mark.parametrize("variables", [dict(LC_ALL="C"), dict(LC_ALL="POSIX", PYTHONIOENCODING="latin-1")])
def test_file_names_where_the_locale_has_ascii_alone(run, variables):
    "A command starts itself again in UTF-8 mode, once; what it prints stays in the encoding it had."
    name = run/"pics"/"été.png"
    code = f"def command(arguments): print(len(open({ascii(str(name))}, 'rb').read(4)), sys.flags.utf8_mode, sys.stdout.encoding, chr(0x2013))"
    status, out, err = small_program(code, PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", **variables)
    encoding = "latin-1" if "PYTHONIOENCODING" in variables else "ascii"
    assert (status, err) == (0, "") and out.lower().split() in ([*f"4 1 {encoding} -".split()], [*"4 1 iso8859-1 -".split()], [*"4 1 us-ascii -".split()]), out

def test_a_library_says_which_name_it_cannot_write(run):
    code = f"""
from beit3_colab.machine.streams import explain_names
from beit3_colab import UserError
try:
    with explain_names(): open({ascii(str(run/'pics'/'été.png'))})
except UserError as error: print(ascii(str(error)))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(PYTHONPATH=os.getcwd(), LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"))
    assert "t\\xe9.png cannot be reached" in done.stdout and "PYTHONUTF8=1" in done.stdout, done.stdout + done.stderr

@pytest.fixture
def gone(tmp_path, monkeypatch):
    "A working folder that was deleted."
    folder, before = tmp_path/"gone", os.getcwd()
    folder.mkdir()
    os.chdir(folder)
    folder.rmdir()
    yield
    os.chdir(before)

def test_a_deleted_working_folder(gone, run, tmp_path, capsys):
    words = "the working folder of this program was deleted; go to one that exists"
    vqa = load_model("sample", device="cpu")
    assert vqa.ask(run/"pics"/"été.png", "What is the weather like?", 1) # a whole path needs no working folder
    for more in (dict(limit=2), dict(questions=[dict(image="a.png", question="Why?")]), dict(questions=run/"pics", output_dir=tmp_path/"x")):
        with pytest.raises(UserError, match=words): evaluate(vqa, progress=False, **more)
    for arguments in (["evaluate"], ["ask", "a.png", "Why?"], ["report", "run"], ["doctor"]):
        assert main(arguments) == 2
        assert capsys.readouterr().err.startswith(f"beit3-colab: {words}")

def test_a_deleted_working_folder_is_named_before_torch_is_loaded(tmp_path):
    "PyTorch's libraries end the process where it is gone."
    code = "import os, sys, tempfile; d = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d)\nfrom beit3_colab.commands.cli import main\nstatus = main(['ask', 'a', 'b'])\nsys.exit(9 if 'torch' in sys.modules else status)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(PYTHONPATH=os.getcwd()))
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "was deleted" in done.stderr

def test_no_folder_for_temporary_files(monkeypatch, tmp_path):
    def none(): raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp', '/var/tmp']")
    monkeypatch.setattr("tempfile.gettempdir", none)
    with pytest.raises(UserError, match="no folder takes temporary files .* set TMPDIR"): evaluate(limit=2, processes=2, output_dir=tmp_path, device="cpu", progress=False)

@pytest.mark.parametrize("name", ["output_dir", "data_path", "images", "tokenizer"])
@pytest.mark.parametrize("value", [5, b"folder", 2.5, ["a"]])
def test_a_path_is_a_path(name, value):
    with pytest.raises(UserError, match=f"{name} must be a path, not .*{type(value).__name__}"): evaluate(**{name: value}, processes=2, progress=False)


# Launchers

JOB = dict(SLURM_JOB_ID="77", SLURM_NTASKS="4", SLURM_NPROCS="4", SLURM_PROCID="0", SLURM_LOCALID="0", SLURM_NODEID="0", SLURM_JOB_NODELIST="node1", SLURM_NODELIST="node1", SLURM_TASKS_PER_NODE="4", SLURM_JOB_NUM_NODES="1")
STEP = dict(SLURM_STEP_ID="0", SLURM_STEPID="0", SLURM_STEP_NUM_TASKS="4", SLURM_STEP_NODELIST="node1", SLURM_STEP_TASKS_PER_NODE="4", SLURM_SRUN_COMM_PORT="41000", SLURM_LAUNCH_NODE_IPADDR="10.0.0.1")
PTY = dict(SLURM_PTY_PORT="40000", SLURM_PTY_WIN_COL="80", SLURM_TASK_PID="1")
ALONE = {
    "batch script": JOB,
    "batch script, an empty step": JOB | dict(SLURM_STEP_ID="", SLURM_STEP_NODELIST=""),
    "salloc's shell": {n: v for n, v in JOB.items() if n != "SLURM_NPROCS"} | STEP | PTY | dict(SLURM_STEP_ID="4294967290", SLURM_STEP_NUM_TASKS="1"),
    "salloc's shell, of tasks": JOB | STEP | dict(SLURM_STEP_ID="4294967290", SLURM_STEPID="4294967290"),
    "batch step": JOB | STEP | dict(SLURM_STEP_ID="4294967291"),
    "named batch step": JOB | STEP | dict(SLURM_STEP_ID="batch"),
    "terminal of srun": JOB | STEP | PTY,
    "terminal of srun, with PMI": JOB | STEP | PTY | dict(PMI_RANK="0", PMI_SIZE="4"),
    "salloc's shell on the login node": {n: v for n, v in JOB.items() if n not in ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")},
}
@pytest.mark.parametrize("variables", ALONE.values(), ids=ALONE)
def test_slurm_without_srun_is_one_process_and_says_so(variables):
    world = find_world(variables)
    assert world == World() and "SLURM says 4 tasks" in world.note and "srun" in world.note and "--processes 4" in world.note

@pytest.mark.parametrize("variables", [JOB | STEP | dict(SLURM_STEP_NUM_TASKS="1"), JOB | dict(SLURM_NTASKS="1", SLURM_NPROCS="1"), {n: v for n, v in JOB.items() if n not in ("SLURM_NTASKS", "SLURM_NPROCS")}, dict(SLURM_JOB_ID="7")])
def test_one_task_was_meant(variables): assert find_world(variables) == World() and find_world(variables).note == ""

@pytest.mark.parametrize("variables", [JOB | STEP, JOB | STEP | PTY | dict(SLURM_TASK_PID=str(os.getpid())), {n: v for n, v in (JOB | STEP).items() if n != "SLURM_STEP_NUM_TASKS"}, {n: v for n, v in (JOB | STEP).items() if n not in ("SLURM_STEP_ID", "SLURM_NTASKS", "SLURM_NPROCS")}, JOB | STEP | dict(WORLD_SIZE="4"), JOB | STEP | dict(PMI_SIZE="4")])
def test_srun_is_a_group(variables):
    for rank in "03":
        world = find_world(variables | dict(SLURM_PROCID=rank, SLURM_LOCALID=rank, PMI_RANK=rank))
        assert (world.rank, world.size, world.launcher, world.address, world.local_size) == (int(rank), 4, "slurm", "node1:20077", 4)

def test_a_task_other_than_the_first_is_of_a_step():
    assert find_world(JOB | dict(SLURM_PROCID="2", SLURM_LOCALID="2")).size == 4

@pytest.mark.parametrize("variables, launcher, rank, size", [
    (dict(OMPI_COMM_WORLD_RANK="1", OMPI_COMM_WORLD_LOCAL_RANK="1", OMPI_COMM_WORLD_SIZE="2"), "openmpi", 1, 2),
    (dict(PMI_RANK="1", MPI_LOCALRANKID="1", PMI_SIZE="2", MPI_LOCALNRANKS="2"), "mpich", 1, 2),
    (dict(MV2_COMM_WORLD_RANK="1", MV2_COMM_WORLD_LOCAL_RANK="1", MV2_COMM_WORLD_SIZE="2"), "mvapich", 1, 2),
    (JOB | STEP | dict(SLURM_STEP_NUM_TASKS="2", OMPI_COMM_WORLD_RANK="5", OMPI_COMM_WORLD_LOCAL_RANK="1", OMPI_COMM_WORLD_SIZE="8"), "openmpi", 5, 8), # mpirun's helpers are the step
    (JOB | STEP | dict(RANK="5", LOCAL_RANK="1", WORLD_SIZE="8"), "torchrun", 5, 8),
    (dict(PMI_RANK="1"), "none", 0, 1), (dict(PMI_RANK="0", PMI_SIZE="1"), "mpich", 0, 1),
])
def test_other_launchers(variables, launcher, rank, size):
    world = find_world(variables)
    assert (world.launcher, world.rank, world.size) == (launcher, rank, size)

@pytest.mark.parametrize("variables, words", [
    (dict(WORLD_SIZE="4"), "WORLD_SIZE=4 is set, as for one of several processes, but RANK is not: start with torchrun, which sets both, or unset WORLD_SIZE"),
    (dict(WORLD_SIZE="4", LOCAL_RANK="0", RANK=""), "but RANK is not"),
    (dict(RANK="3", LOCAL_RANK="1"), "RANK=3 is set, .* but WORLD_SIZE is not"),
    (dict(RANK="4", WORLD_SIZE="4"), "rank 4 of 4"),
    (dict(RANK="-1", WORLD_SIZE="4"), "RANK='-1', which is not a number"),
])
def test_half_of_a_launcher_is_refused(variables, words):
    with pytest.raises(UserError, match=words): find_world(variables)

@pytest.mark.parametrize("variables", [{}, dict(RANK="0"), dict(WORLD_SIZE="1"), dict(RANK="", WORLD_SIZE=""), dict(RANK="sergeant"), dict(LOCAL_RANK="0"), dict(MASTER_ADDR="h")])
def test_nothing_is_meant_by_it(variables): assert find_world(variables) == World()

@pytest.mark.parametrize("launcher, words", [
    ("slurm", "SLURM says 3 tasks, and only this one came within 1 s; start all of them with srun, or this one alone with --processes 3"),
    ("torchrun", "WORLD_SIZE says 3 processes, and only this one came within 1 s; start all of them with torchrun, or unset RANK and WORLD_SIZE"),
    ("openmpi", "mpirun says 3 processes, and only this one came within 1 s; set MASTER_ADDR"),
])
def test_who_does_not_come_is_counted(launcher, words, monkeypatch):
    for name in ("MASTER_ADDR", "MASTER_PORT"): monkeypatch.delenv(name, raising=False)
    with pytest.raises(GroupError, match=f"^rank 0 of 3: {words}") as caught: Group(World(0, 0, 3, launcher, f"no-such-node:{free_port()}"), timeout=1)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400

def test_a_group_that_does_not_come_is_one_line(monkeypatch, capsys):
    for name, value in (JOB | dict(SLURM_STEP_NODELIST="no-such-node")).items(): monkeypatch.setenv(name, value)
    assert main(["evaluate", "--limit", "2", "--device", "cpu", "--timeout", "1", "--quiet"]) == 1
    err = [line for line in capsys.readouterr().err.splitlines() if line.startswith("beit3-colab: ")]
    assert len(err) == 1 and "only this one came" in err[0]

@pytest.mark.parametrize("error, status", [(GroupError("rank 0 of 2: gone"), 1), (WorkerError("rank 1 of 2 ended with status 1:\nits last line"), 1), (UserError("bad\ninput"), 2)])
def test_errors_of_others_are_told_without_our_frames(error, status, capsys):
    def command(arguments): raise error
    assert guarded("program")(command)() == status
    assert capsys.readouterr().err == f"program: {'bad input' if status == 2 else error}\n"

def test_processes_go_before_what_slurm_says(monkeypatch, tmp_path):
    from beit3_colab.evaluation import processes
    for name in ("run_here", "run_in_processes"): monkeypatch.setattr(processes, name, lambda *_, name=name: name)
    def start(launcher, rank="0", **more):
        with monkeypatch.context() as patched:
            for name, value in (launcher | dict(SLURM_PROCID=rank)).items(): patched.setenv(name, value)
            return evaluate(output_dir=tmp_path, device="cpu", progress=False, **more)
    assert [start(JOB, processes=2), start(JOB | STEP, processes=2), start(JOB | STEP), start(JOB)] == ["run_in_processes"]*2 + ["run_here"]*2
    torchrun = dict(RANK="0", LOCAL_RANK="0", WORLD_SIZE="2") # as before: it has started its own
    assert start(torchrun, processes=2) == "run_here"
    with pytest.raises(UserError, match="processes=2 starts its own processes, and SLURM has started 4 already"): start(JOB | STEP, "1", processes=2)

def test_a_batch_script_answers_alone_and_says_so(monkeypatch, tmp_path, capsys):
    for name, value in JOB.items(): monkeypatch.setenv(name, value)
    for more in ([], ["--quiet"]):
        assert main(["evaluate", "--limit", "2", "--device", "cpu", "--output-dir", str(tmp_path), *more]) == 0
        assert capsys.readouterr().err.count("SLURM says 4 tasks") == 1

SPELLINGS = [["--local-rank", "1"], ["--local_rank", "1"], ["--local-rank=1"], ["--local_rank=1"]]
@pytest.mark.parametrize("spelling", SPELLINGS, ids=" ".join)
def test_local_rank_in_any_place(spelling, monkeypatch):
    from beit3_colab.commands import cli
    seen = []
    words = ["--limit", "5", "--quiet"]
    for place in range(len(words) + 2):
        if place == 2: continue # between --limit and its value nobody puts it
        line = ["evaluate", *words]
        args = cli.make_parser().parse_args([*line[:place], *spelling, *line[place:]])
        seen.append((args.local_rank, args.limit, args.quiet))
    assert seen == [(1, 5, True)]*len(seen) and len(seen) == 4
    assert cli.make_parser().parse_args(["ask", "a", "b", *spelling]).local_rank == 1
    for command in ("score r --annotations a", "check r --questions q", "compare a b", "report a", "convert a b", "doctor", "selftest", "bench"):
        assert cli.make_parser().parse_args([*command.split(), *spelling]).local_rank == 1
        assert cli.make_parser().parse_args([*spelling, *command.split()]).local_rank == 1

@pytest.mark.parametrize("arguments, words", [
    (["--local-rank", "0", "evaluate", "--local_rank=1"], "--local-rank is given as 0 and as 1; give one"),
    (["evaluate", "--local-rank"], "--local-rank must be a whole number, not ''"),
    (["evaluate", "--local-rank", "--quiet"], "--local-rank must be a whole number, not '--quiet'"),
    (["evalute"], "there is no command 'evalute'; did you mean evaluate?"),
    (["self-test"], "did you mean selftest?"),
    (["train"], "there is no command 'train'; there are evaluate, finetune, score, "),
    (["evaluate", "--batchsize", "4"], "--batchsize is not known here; did you mean --batch-size?"),
    (["evaluate", "--outputdir=x"], "--outputdir is not known here; did you mean --output-dir?"),
    (["score", "r", "--annotation_file", "x", "--annotations", "a"], "did you mean --annotations?"),
    (["evaluate", "x"*5000], "is not known here"),
    (["y"*5000], "there is no command "),
])
def test_arguments_that_are_not_known(arguments, words, capsys):
    with pytest.raises(SystemExit) as stop: main(arguments)
    err = capsys.readouterr().err
    assert stop.value.code == 2 and words in err and err.count("\n") == 1 and len(err) < 300

def test_score_takes_a_metric(run):
    arguments = commands(run)["score"]
    figures = {metric: json.loads(shell("utf-8", *arguments, "--json", "--metric", metric)[1]) for metric in ("official", "exact")}
    assert [figures[metric]["metric"] for metric in figures] == ["official", "exact"] and "notes" in figures["exact"]
    assert json.loads(shell("utf-8", *arguments, "--json")[1])["metric"] == "official" # ten people answered
    assert "'official', 'exact'" in shell("utf-8", *arguments, "--metric", "vqa")[2].replace("official, exact", "'official', 'exact'")
    assert "JSON Lines" in shell("utf-8", "score", "--help")[1] and "JSON Lines" in shell("utf-8", "check", "--help")[1]


# Full disks

def test_a_full_cache_disk_is_one_sentence(small_disk, monkeypatch, run):
    "While the sample is drawn, and while its model is looked for."
    disk = small_disk("size=200k")
    monkeypatch.setenv("BEIT3_COLAB_CACHE", str(disk))
    with pytest.raises(UserError, match="is full; free some space or set BEIT3_COLAB_CACHE"): evaluate(limit=2, output_dir=run/"new", device="cpu", progress=False)
    assert not (run/"new").exists() or not list((run/"new").glob("answers*"))


# Memory

def test_a_process_does_not_claim_the_memory_of_the_one_that_started_it():
    "Linux hands `ru_maxrss` on to what is started, even another program."
    if not Path("/proc/self/status").exists(): pytest.skip("not Linux")
    child = "from beit3_colab.machine.device import peak_memory; print(peak_memory().host)"
    parent = f"import subprocess, sys; held = b'1'*600_000_000; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    done = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent)
    assert 5e6 < int(done.stdout) < 4e8
