"""What somebody sees in the first ten minutes: what a notebook prints of each object, what help tells, and where to go from there."""
import importlib
import inspect
import json
import pkgutil
import re
from functools import cached_property
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import beit3_colab
from beit3_colab import compare, evaluate, open_run
from beit3_colab.data.dataset import Annotation, Dataset, Question

ROOT = Path(__file__).parent.parent
MANY = 400_000


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return evaluate(device="cpu", limit=60, output_dir=tmp_path_factory.mktemp("first")/"run", progress=False)


def public_values(thing):
    "Name and value of each public property and field of an object."
    for name in dir(thing):
        if name.startswith("_"): continue
        value = getattr(thing, name)
        if not callable(value) or hasattr(value, "__dataclass_fields__"): yield name, value

def test_nothing_prints_more_than_a_screen(run):
    things = dict(run=run, data=run.data, vqa=run.vqa, comparison=compare(run, run), accuracy=run.accuracy, report=run.report())
    long = {name: len(repr(thing)) for name, thing in things.items() if len(repr(thing)) > 2000}
    for owner in ("run", "data", "comparison"):
        for name, value in public_values(things[owner]):
            if len(text := repr(value)) > 4000: long[f"{owner}.{name}"] = len(text)
    assert not long

def test_a_large_data_set_prints_a_line(tmp_path):
    questions = [Question(i, i//5, "What color is the bird?", f"val2014/{i//5}.jpg") for i in range(MANY)]
    people = {i: Annotation(i, i//5, "what color", "other", "red", ("red",)*10) for i in range(MANY)}
    data = Dataset("val", questions, people, tmp_path)
    assert len(repr(data)) < 200 and len(repr(data.questions)) < 1000 and len(repr(data.annotations)) < 2000
    assert "400,000 in all" in repr(data.questions) and "400,000 questions" in data._repr_html_()
    assert data.questions == questions and data.annotations == people # they are what they were in every other respect
    part, known = data.select({3, 7})
    assert [q.question_id for q in part] == [3, 7] and list(known) == [3, 7]

def test_a_run_tells_its_accuracy_and_what_to_do_next(run):
    assert f"accuracy {run.accuracy.overall:.2f} %" in repr(run)
    shown = run._repr_html_()
    assert f"{run.accuracy.overall:.2f} %" in shown and "95 % interval" in shown
    assert "run.browse()" in shown and "run.to_html(&#x27;report.html&#x27;)" in shown.replace("'report.html'", "&#x27;report.html&#x27;")

def test_a_report_in_a_repl_is_its_table(run):
    assert repr(run.report()) == str(run.report())
    assert repr(run.soft_score) == str(run.soft_score)


def properties():
    "Class and property of all public classes."
    for module in pkgutil.walk_packages(beit3_colab.__path__, "beit3_colab."):
        if module.name.rpartition(".")[2].startswith("_"): continue
        for name, found in vars(importlib.import_module(module.name)).items():
            if name.startswith("_") or not inspect.isclass(found) or found.__module__ != module.name: continue
            for attribute, value in vars(found).items():
                if not attribute.startswith("_") and isinstance(value, (property, cached_property)):
                    yield f"{module.name}.{name}.{attribute}", value

def test_every_property_says_what_it_is():
    found = dict(properties())
    assert len(found) > 180
    assert not [name for name, value in found.items() if not (inspect.getdoc(value) or "").strip()]

def test_help_describes_the_columns_of_answers(run):
    told = inspect.getdoc(type(run).answers)
    assert not [name for name in run.answers if name not in told]

def test_tab_shows_what_is_for_users():
    names = dir(beit3_colab)
    assert set(beit3_colab.__all__) <= set(names)
    assert not {"iter_modules", "look", "machine", "scoring"} & set(names) and len(names) < 40
    assert beit3_colab.look is importlib.import_module("beit3_colab.look") # they are imported all the same


CELLS = [
    "from beit3_colab import evaluate\nanswered = evaluate(device='cpu', limit=5, output_dir='five', progress='widget')",
    "from beit3_colab import open_run\nfrom beit3_colab.attention import show_attention\nfrom beit3_colab.plots import show_answers, plot_accuracy\n"
    "run = open_run({folder!r})",
    "for part in (1, 2): show_answers(run, columns=part)\nplot_accuracy(run)", # two that are thrown away, one that is the value
    "figure = plot_accuracy(run)\nprint(len(show_answers(run).axes))\nrun.to_html('page.html', n=2)",
    "for _ in range(2): run.browse()",
]

def pictures(cell, kind="image/png"): return sum(kind in output.get("data", {}) for output in cell.outputs)

def test_figures_and_browsers_are_shown_in_the_middle_of_a_cell(run, tmp_path):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.replace("{folder!r}", repr(str(run.folder)))) for cell in CELLS])
    NotebookClient(book, timeout=300, kernel_name="python3", store_widget_state=False, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert [pictures(cell) for cell in book.cells] == [0, 0, 3, 0, 0]
    assert pictures(book.cells[4], "application/vnd.jupyter.widget-view+json") == 2
    last = book.cells[0].outputs[-1].data["text/html"] # where the widget of the run was
    assert "run.browse()</code> looks at the answers" in last and "report.html" in last and "open_run(" in last


def code_cells(name): return [cell for cell in nbformat.read(ROOT/"nbs"/name, 4).cells if cell.cell_type == "code"]

def test_the_colab_notebook_browses_within_five_cells():
    cells = code_cells("tutorials/colab_evaluate.ipynb")
    assert [i for i, cell in enumerate(cells) if re.search(r"^run\.browse\(\)$", cell.source, re.M)] == [4]
    assert not [cell.source for cell in cells if cell.outputs] # somebody else's figures would stand below a cell that was not reached

def test_readme_meets_the_browser_first():
    text = (ROOT/"README.md").read_text(encoding="utf-8")
    first, second = re.findall(r"```python\n(.*?)```", text, re.S)[:2]
    assert "evaluate(" in first and second.strip() == "run.browse()"
    for block in re.findall(r"```python\n(.*?)```", text, re.S): # what a cell shows is its last value
        assert len(re.findall(r"^show_\w+\(", block, re.M)) < 2
    assert "(docs/reference.md)" in text

@pytest.mark.parametrize("tutorial", sorted(path.name for path in (ROOT/"nbs"/"tutorials").glob("*.ipynb")))
def test_pictures_of_tutorials_have_addresses(tutorial):
    "Colab finds no file beside a notebook."
    cells = json.loads((ROOT/"nbs"/"tutorials"/tutorial).read_text())["cells"]
    text = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert not [path for path in pictures if not path.startswith("https://")]
    ours = "https://raw.githubusercontent.com/beit3-colab/beit3_colab/main/"
    assert not [path for path in pictures if path.startswith(ours) and not (ROOT/path.removeprefix(ours)).is_file()]


@pytest.fixture(scope="module")
def page(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("page")/"report.html"
    return run.to_html(path, title="Baseline & more", note="Two <b>lines</b>\nof mine").read_text(encoding="utf-8")

def test_a_report_has_a_title_a_note_and_a_date(page, run):
    assert "<title>Baseline &amp; more</title>" in page and "<h1>Baseline &amp; more</h1>" in page
    assert "Two &lt;b&gt;lines&lt;/b&gt;<br>of mine" in page and run.label in page
    assert re.search(r"<header>.*\d{4}-\d\d-\d\d.*</header>", page, re.S)
    with pytest.raises(beit3_colab.UserError, match="title .* must be text"): run.to_html("x.html", title=3)

def test_cards_open_and_confusions_lead_to_them(page, run):
    cards = re.findall(r"<article id=(a\d+) .*?href='#(a\d+)'", page)
    assert len(cards) == len(run.records) and all(card == link for card, link in cards)
    table = re.search(r"<caption>Confusions</caption>.*?</table>", page, re.S)[0]
    rows = re.findall(r"<tr><th scope=row>(.*?)</th><td>(.*?)</td>.*?<td>((?:<a href='#a\d+'[^>]*>\d+</a> ?)+)</td></tr>", table)
    assert rows and len(rows) == table.count("<tr><th scope=row>")
    for people, said, links in rows:
        for card in re.findall("'#(a\\d+)'", links):
            shown = re.search(rf"<article id={card} .*?</article>", page, re.S)[0]
            assert f"<b>{said}</b>" in shown and people in shown and "data-verdict='right'" not in shown


def test_a_model_where_a_run_is_needed():
    from beit3_colab.plots import plot_accuracy, show_answers
    vqa = beit3_colab.load_model("sample", device="cpu")
    for plot in (plot_accuracy, show_answers):
        with pytest.raises(beit3_colab.UserError, match="a run is needed, not VQA.*evaluate"): plot(vqa)

def test_ask_says_what_is_the_wrong_way_round(tmp_path):
    from PIL import Image
    vqa = beit3_colab.load_model("sample", device="cpu")
    picture = Image.new("RGB", (40, 40), "red")
    picture.save(tmp_path/"red.png")
    for question in (picture, str(tmp_path/"red.png"), tmp_path/"red.png"):
        with pytest.raises(beit3_colab.UserError, match="the other way round"): vqa.ask("Is it red?", question)
    with pytest.raises(beit3_colab.UserError, match="the question is empty"): vqa.ask(picture, " ")
    with pytest.raises(beit3_colab.UserError, match="nowhere.jpg does not exist"): vqa.ask("nowhere.jpg", "Is it red?")

def test_csv_is_not_written_under_a_spreadsheets_name(run, tmp_path):
    for name in ("x.xlsx", "x.json"):
        with pytest.raises(beit3_colab.UserError, match=f"{name} would hold CSV.*to_excel"): run.to_csv(tmp_path/name)
    assert not list(tmp_path.iterdir()) and run.to_csv(tmp_path/"x.csv").is_file()

def test_the_widest_column_comes_last(run): assert list(run.answers)[-1] == "top5"

def test_the_sample_model_says_that_it_knows_drawings_only(tmp_path, capsys):
    from PIL import Image
    Image.new("RGB", (40, 40), "red").save(tmp_path/"red.png")
    own = [dict(image=str(tmp_path/"red.png"), question="Is it red?")]
    told = "note: the sample model knows 60 answers about drawn scenes; for photographs take a published checkpoint"
    evaluate("sample", questions=own, device="cpu", output_dir=tmp_path/"own", progress="bar")
    assert told in capsys.readouterr().err
    evaluate("sample", limit=2, device="cpu", output_dir=tmp_path/"drawn", progress="bar")
    told_of_drawn = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note:")]
    assert told_of_drawn == ["note: limit=2 asks 6 questions: pictures are drawn whole, with all that is asked about them"]

def test_help_names_every_option(run):
    for method, names in dict(to_html="title note seed heat_maps layer method", probe="batch_size workers progress").items():
        told = inspect.getdoc(getattr(type(run), method))
        assert set(names.split()) <= set(inspect.signature(getattr(run, method)).parameters)
        assert not [name for name in names.split() if f"    {name}: " not in told]

def test_tab_in_pythons_own_prompt_computes_nothing(run):
    "It asks an object for each attribute that it lists, and only of a property it knows better."
    import rlcompleter
    fresh = open_run(run.folder)
    found = rlcompleter.Completer({"run": fresh}).attr_matches("run.")
    assert {"run.accuracy", "run.answers", "run.browse("} <= set(found)
    assert not {"records", "answers", "accuracy", "soft_score", "cross_fit", "remarks"} & set(vars(fresh))
    assert fresh.accuracy is fresh.accuracy and "accuracy" in vars(fresh)
