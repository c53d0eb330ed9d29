"""What notebooks in people's Drives import and call goes on working, wherever the code behind it lies.

The lists are literal on purpose: they come from the README and the tutorials of version 0.1.0, which people copied.
Names may be added; one that is taken out breaks somebody's notebook."""
import configparser
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from processes import Forks

ROOT = Path(__file__).parent.parent

# notebooks in the wild import these
DOORS = [
    "beit3_colab: evaluate load_model open_run open_results compare runs score soft_score check_submission convert UserError"
    " finetune open_training __version__",
    "beit3_colab.evaluation: evaluate",
    "beit3_colab.text: Tokenizer",
    "beit3_colab.images: read_image", # the tutorial about own pictures
    "beit3_colab.attention_view: AttentionView explore_attention",
    "beit3_colab.attention: show_attention",
    "beit3_colab.plots: MARKS correctness show_answers accuracy_table plot_accuracy calibration_table"
    " expected_calibration_error plot_calibration confusion_table plot_confusions",
    "beit3_colab.tables: full_table write_csv read_csv",
    "beit3_colab.place: Place find_host find_place Gpu list_gpus advise_on_gpu drive_mount_point"
    " is_drive_mounted mount_drive run_name results_folder",
    "beit3_colab.scenes: NEAR ten_answers image_name scene_data write_scenes Scene SceneObject make_scene"
    " draw_scene ask_scene answer_list question_type",
    "beit3_colab.huggingface: Beit3Config Beit3ForVisualQuestionAnswering Beit3Tokenizer Beit3ImageProcessor"
    " Beit3Processor",
    "beit3_colab.timm_models: beit3_base_patch16_384_vqav2 beit3_base_patch16_480_vqav2"
    " beit3_large_patch16_384_vqav2 beit3_large_patch16_480_vqav2 beit3_large_patch16_768_vqav2",
    "beit3_colab.requirements: add_missing list_requirements installed_versions Needed Added",
    "beit3_colab.run_beit3_finetuning: main",
]

# and call these so, by position or by name
SIGNATURES = [
    "beit3_colab.evaluate: checkpoint split data_path answers tokenizer config image_size images limit seed"
    " batch_size device dtype output_dir bad_images workers progress processes local_rank timeout background"
    " questions question",
    "beit3_colab.load_model: name_or_path config answers image_size device dtype tokenizer progress",
    "beit3_colab.open_run: folder data_path",
    "beit3_colab.compare: runs data_path seed fetch_pictures reference",
    "beit3_colab.score: annotations results partial resamples seed metric",
    "beit3_colab.soft_score: annotations results partial",
    "beit3_colab.check_submission: results questions",
    "beit3_colab.convert: source target config answers tokenizer",
    "beit3_colab.attention.show_attention: vqa image question tokens layer path",
    "beit3_colab.plots.show_answers: run rows columns path",
    "beit3_colab.plots.plot_accuracy: run top path",
    "beit3_colab.plots.plot_calibration: run bins path",
    "beit3_colab.plots.plot_confusions: run top path",
    "beit3_colab.tables.write_csv: table path spreadsheet",
    "beit3_colab.tables.read_csv: path",
    "beit3_colab.place.run_name: checkpoint split limit seed dtype",
    "beit3_colab.place.results_folder: name save_to_drive place",
    "beit3_colab.scenes.make_scene: seed",
    "beit3_colab.scenes.draw_scene: scene",
    "beit3_colab.scenes.write_scenes: folder seeds split",
    "beit3_colab.text.Tokenizer: model max_length",
]

# shell scripts call these
COMMANDS = [
    "evaluate: --checkpoint --split --data-path --images --questions --question --answers --tokenizer --config"
    " --image-size --device --dtype --limit --seed --batch-size --output-dir --bad-images --workers --processes"
    " --timeout --quiet",
    "score: --annotations --questions --partial --json",
    "check: --questions",
    "compare: --data-path --reference --html --csv --json",
    "report: --html --title --note --csv --spreadsheet --n --seed --data-path --checkpoint --heat-maps --answers --tokenizer"
    " --config --image-size --device --dtype",
    "convert: --answers --tokenizer --config",
    "ask: --checkpoint --top-k --answers --tokenizer --config --image-size --device --dtype",
    "doctor: --online --json",
    "selftest: --online --quiet",
    "bench: --seconds --sizes --dtypes --device --json --quiet",
]

# what a run, a comparison and a model are asked for in the README and the tutorials
METHODS = [
    "run: accuracy answers browse evalai info label questions records refresh report soft_score submission"
    " to_csv to_html to_pandas",
    "comparison: agreement browse changed changes gained lost overall table to_csv to_html",
    "model: ask attention save",
]


def split(line):
    "The name before a list, and the names in it."
    name, _, names = line.partition(": ")
    return name, names.split()

def first(line): return split(line)[0] # for the name of a test

@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    "What some code prints in a Python that has PyTorch in memory, as after `import torch`, and nothing of this library."
    forks = Forks(tmp_path_factory.mktemp("forks"), "import torch")
    def run(code):
        done = forks(code)
        assert done.returncode == 0, done.stderr
        return done.stdout
    yield run
    forks.close()

def started(code):
    "What a new process prints."
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout

def find(path):
    "What lies at a dotted path, as `from … import …` finds it."
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("line", DOORS, ids=first)
def test_names_are_where_notebooks_import_them_from(line, fresh):
    module, names = split(line)
    code = f"from {module} import {', '.join(names)}\nprint({names[0]} is not None)"
    assert fresh(code) == "True\n" # nothing else of the library was imported before

def test_doors_open_without_an_import():
    "`import beit3_colab` alone is enough for `beit3_colab.plots.plot_accuracy`."
    paths = [f"{module}.{names[0]}" for module, names in map(split, DOORS)]
    code = "\n".join(["import beit3_colab", *(f"assert {path} is not None" for path in paths), "print('all')"])
    assert started(code) == "all\n"

@pytest.mark.parametrize("line", SIGNATURES, ids=first)
def test_parameters_keep_name_and_place(line):
    path, names = split(line)
    assert list(inspect.signature(find(path)).parameters)[:len(names)] == names

def test_one_thing_has_one_home():
    import beit3_colab
    from beit3_colab.evaluation import evaluate
    from beit3_colab.scenes import write_scenes
    assert beit3_colab.evaluate is evaluate
    with pytest.raises(beit3_colab.UserError): write_scenes("nowhere", [1], "test") # raised far below the door

def test_what_there_is_can_be_listed():
    import beit3_colab
    modules = {first(line).removeprefix("beit3_colab.") for line in DOORS[1:]}
    assert {*split(DOORS[0])[1], *modules} <= set(dir(beit3_colab))
    assert set(beit3_colab.__all__) == set(split(DOORS[0])[1]) - {"__version__"}


def test_objects_keep_their_methods(tmp_path):
    from beit3_colab import compare, evaluate, load_model
    model = load_model("sample", device="cpu")
    run = evaluate(model, limit=5, output_dir=tmp_path/"run", progress=False)
    objects = dict(run=run, comparison=compare(run, run), model=model)
    for name, methods in map(split, METHODS):
        assert not [f"{name}.{method}" for method in methods if not hasattr(objects[name], method)]
    assert run.data.read_image(run.questions[0]).mode == "RGB" # the tutorials draw it

def test_a_background_run_keeps_its_methods(tmp_path):
    from beit3_colab import evaluate
    going = evaluate(device="cpu", limit=5, output_dir=tmp_path/"run", progress=False, background=True)
    assert going.state in ("preparing", "running", "finished") and going.wait(120) is going
    assert not going.running and going.error is None and going.state == "finished"
    assert len(going.records) == len(going.questions) and going.folder == tmp_path/"run"
    assert going.accuracy.num_questions == len(going.answers)
    going.stop() # too late does no harm


@pytest.mark.parametrize("line", COMMANDS, ids=first)
def test_commands_keep_their_options(line, capsys):
    name, options = split(line)
    with pytest.raises(SystemExit) as ended: console_script()([name, "--help"])
    assert ended.value.code == 0
    words = capsys.readouterr().out.replace(",", " ").split()
    assert set(options) <= set(words)

def console_script():
    "The function behind the command `beit3-colab`."
    settings = configparser.ConfigParser(delimiters=["="], interpolation=None)
    settings.read(ROOT/"settings.ini")
    name, _, place = settings["DEFAULT"]["console_scripts"].partition("=")
    assert name == "beit3-colab"
    module, _, function = place.partition(":")
    return getattr(importlib.import_module(module), function)

@pytest.mark.parametrize("module, says", [
    ("beit3_colab", "usage: beit3-colab"),
    ("beit3_colab.run_beit3_finetuning", "usage: run_beit3_finetuning"),
])
def test_modules_are_commands(module, says, command):
    done = command("python", "-m", module, "--help")
    assert done.returncode == 0 and done.stdout.startswith(says), done.stderr

def test_unilms_command_keeps_its_options(command):
    shown = command("python", "-m", "beit3_colab.run_beit3_finetuning", "--help").stdout.replace(",", " ").split()
    options = "model task input_size sentencepiece_model finetune data_path output_dir batch_size eval dist_eval"
    assert {f"--{name}" for name in options.split()} <= set(shown)


HEAVY = ("torch", "timm", "transformers", "ipywidgets", "matplotlib", "pandas")

@pytest.mark.parametrize("modules, absent", [
    ("beit3_colab", (*HEAVY, "numpy", "PIL")),
    ("beit3_colab.text", (*HEAVY, "numpy", "PIL")), # a tokenizer is wanted in worker processes
    ("beit3_colab.requirements", (*HEAVY, "numpy", "PIL")), # says what is missing: it may be any of these
    ("beit3_colab.place", (*HEAVY, "numpy", "PIL")), # the first cell of the Colab notebook
    ("beit3_colab.scenes", HEAVY),
    ("beit3_colab.tables", HEAVY),
])
def test_light_doors_stay_light(modules, absent):
    assert started(f"import sys, {modules}\nprint(*[m for m in {absent!r} if m in sys.modules])").strip() == ""

def test_a_tokenizer_works_without_torch():
    code = f"""
import sys
from beit3_colab.text import Tokenizer
ids = Tokenizer({str(ROOT/'tests'/'golden'/'tiny.spm')!r}).encode("What color is the bird?")
print(ids[0], ids[-1], "torch" in sys.modules)
"""
    assert started(code).split() == ["0", "2", "False"]


ORDERS = {
    "top": "from beit3_colab import evaluate",
    "home": "from beit3_colab.evaluation import evaluate",
    "module first": "import beit3_colab.evaluation\nfrom beit3_colab import evaluate",
    "home, then top": "from beit3_colab.evaluation import evaluate\nshow()\nfrom beit3_colab import evaluate",
    "top, then home": "from beit3_colab import evaluate\nshow()\nfrom beit3_colab.evaluation import evaluate",
}

def test_help_does_not_depend_on_the_import(fresh):
    show = "import pydoc\ndef show(): print(pydoc.plain(pydoc.render_doc(evaluate)), end='\\0')\n"
    texts = {name: fresh(f"{show}{imports}\nshow()").split("\0")[:-1] for name, imports in ORDERS.items()}
    assert [len(shown) for shown in texts.values()] == [1, 1, 1, 2, 2]
    different = [f"{name}: {text}" for name, shown in texts.items() for text in shown if text != texts["top"][0]]
    assert not different
    assert "output_dir: run folder; the same again continues" in texts["top"][0]
