"Hostile text stays text in everything that makes HTML. The makers are found in the source, and each must have been run here."
import ast
import json
import re
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

import beit3_colab
from beit3_colab.data.own import open_questions
from beit3_colab.data.own_rows import RowReader
from beit3_colab.data.records import Row
from beit3_colab.data.rows import read_rows
from beit3_colab.evaluation.background import BackgroundRun
from beit3_colab.look.attention_view import explore_attention
from beit3_colab.look.cards import safe
from beit3_colab.look.evidence import Evidence
from beit3_colab.look.picking import call_html, copy_html
from beit3_colab.look.report_evidence import evidence_sections, missing_html
from beit3_colab.look.grid import Grid, ONE_A_PICTURE
from beit3_colab.look.report import link_rows
from beit3_colab.look.report_page import REPORT_SCRIPT, REPORT_STYLE, table_html
from beit3_colab.look.run import compare
from beit3_colab.look.facets import why_nothing
from beit3_colab.look.overview import Overview
from beit3_colab.look.runs import runs
from beit3_colab.look.search import AnswerIndex, Filter
from beit3_colab.look.tables import read_csv
from beit3_colab.machine.addresses import seal_address
from beit3_colab.machine.messages import UserError
from beit3_colab.look.widgets import KEYS
from beit3_colab.progress.bars import NotebookBar
from beit3_colab.model.vqa import load_model
from beit3_colab.progress.snapshot import Rank, Snapshot, TypeAccuracy
from beit3_colab.progress.widget import WidgetDisplay, head_html
from beit3_colab.run.remarks import clean_tag
from beit3_colab.scoring.results import check_submission
from hostile import FORMULA, NASTY, PICTURE, SCRIPT, SECRETS, SHOWN, check, every_html, make_probed, make_results, make_run, make_secret_run, without_answers
from trainings import learn, some_rows

FOLDER = Path(beit3_colab.__file__).parent


def html_makers():
    "(file, first line) → name, of every function whose own source holds an HTML element."
    found = {}
    for path in sorted(FOLDER.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)): continue
            body = node.body[1:] if ast.get_docstring(node) else node.body
            texts = [c.value for part in body for c in ast.walk(part) if isinstance(c, ast.Constant) and isinstance(c.value, str)]
            if any(re.search(r"<(a|article|b|bdi|button|code|dd|details|div|dl|dt|em|figure|form|footer|h[1-6]|header|html|i|iframe|img|input|label|li|link|main|nav|ol|option|p|pre|section|select|small|span|strong|style|svg|table|td|th|title|tr|ul)[ >]", text) for text in texts):
                found[str(path), min([node.lineno, *(d.lineno for d in node.decorator_list)])] = f"{path.stem}.{node.name}"
    return found

def own_parts_removed(content):
    "Without the style sheets and the script of the browsers, which are constants."
    for part in (REPORT_SCRIPT, KEYS): content = content.replace(part, "")
    return re.sub(r"<style>\s*/\* The browsers of answers.*?</style>", "", content, flags=re.S)

@pytest.fixture(scope="module")
def run(tmp_path_factory): return make_run(tmp_path_factory.mktemp("hostile"))

@pytest.fixture(scope="module")
def vqa():
    loaded = load_model("sample", device="cpu")
    loaded.name, loaded.answers = NASTY, [f"{NASTY}{i}" for i in range(len(loaded.answers))]
    return loaded


def figures(run, vqa):
    linked = link_rows(table_html(NASTY, (NASTY, NASTY), [(NASTY, NASTY)]), [[1, 2]])
    return [linked, run._repr_html_(), run.data._repr_html_(), run.report()._repr_html_(), run.accuracy._repr_html_(), run.soft_score._repr_html_(), check_submission([{"question_id": 9, "answer": NASTY, NASTY: 1}, {"question_id": NASTY, "answer": ""}, NASTY], run.questions)._repr_html_(),
            check_submission([{"question_id": q.question_id, "answer": "yes"} for q in run.questions], run.questions)._repr_html_()]

def progress(run, vqa):
    "Every state of the widget, drawn as the run would draw it."
    ranks, types = (Rank(0, 3, 5, 1., 9.), Rank(1, 5, 5, 1., 0.)), (TypeAccuracy(NASTY, 50., (40., 60.)),)
    made = [head_html(Snapshot(0), NASTY)]
    for state in ("running", "finished", "stopped", "failed"):
        display = WidgetDisplay()
        display.prepare()
        if state != "failed": display.begin(run)
        if display.run is not None: display.label = NASTY
        display.show(Snapshot(6, 3, state="running", seconds=2., rates=(1., 2.), accuracy=50., interval=(1., 99.), types=types, ranks=ranks, warnings=(NASTY,)*7, host_bytes=1), final=True)
        made += every_html(display.box) if display.box else []
        if state != "running": display.end(state, NASTY)
        display.close()
    return made

def download(run, vqa):
    with NotebookBar().downloading(NASTY) as bar:
        bar.display.interval = 0.
        for done, total in ((0, None), (1, 3), (3, 3)): bar.update(done, total)
    return []

def browser(run, vqa):
    made = []
    for shown in (run.browse(vqa=vqa), run.browse(vqa=None), without_answers(run).browse(words="nothing like it")):
        for wanted in ("image", "answer", "words"): shown.controls[wanted].value = ""
        for card in shown.grid.cards.children[:3]: card.children[1].click(); made += every_html(shown.widget)
        if "ask-text" in shown.controls:
            shown.grid.cards.children[0].children[1].click()
            shown.controls["attention"].value = True
            shown.controls["ask-text"].value = NASTY
            shown._show_position() # as after new answers
            made += every_html(shown.widget)
        shown.grid.cards.children[0].children[1].click()
        for factor in (1, 0): shown.controls["zoom"].value = factor; made += every_html(shown.widget)
        shown.controls["words"].value = NASTY
        made += [*every_html(shown.widget), shown.saved_view()]
        shown.controls["reset"].click()
        shown.guard(lambda: 1/len(NASTY[:0]))(); made.append(shown.status.value)
        grid = Grid(shown.pictures, 12, shown.guard, shown._load, shown.open, group=lambda rows: [rows]) # one card for all
        grid.controls["cards"].value = ONE_A_PICTURE
        grid.show(range(len(shown.index)))
        made += every_html(grid.widget)
        shown._ipython_display_()
    return made

def remarks(run, vqa):
    "Tags and notes that are markup: on cards, in the detail, in the saved view, and in a report."
    tag, note = clean_tag(NASTY.replace(",", " ")[:60]), NASTY[:1000]
    run.remarks.tag(run.questions[:2], tag).note(run.questions[0], note)
    shown, path = run.browse(), run.folder/"remarks.html"
    shown.picks.add(shown.chosen_ids())
    made = [*every_html(shown.widget), shown.saved_view(), run.remarks._repr_html_(), copy_html(NASTY, NASTY, NASTY), call_html(shown.code()), call_html("x"*30_000)]
    shown.open(run.questions[0].question_id)
    shown.controls["note-field"].value = note + "!"
    made += every_html(shown.widget)
    shown.back()
    shown.controls["cards"].value = "one a picture"
    made += every_html(shown.widget)
    shown.controls["words"].value = NASTY
    made += every_html(shown.widget)
    page = run.to_html(path, questions=run.questions[:2]).read_text(encoding="utf-8")
    made.append(re.search("<div id='cards'>.*?</div>\\s*<p id='none'", page, re.S).group().replace("<p id='none'", "<p>"))
    run.remarks.path.unlink()
    return made

def overviews(run, vqa):
    "Filters and bars that filter; their buttons, menus and lists hold plain text, see test_overview.py."
    shown = run.browse()
    bar, made = shown.filters, []
    view = Overview(shown.index, bar, shown.guard)
    view.button.value = True
    for part in view.parts.values():
        for button in [b for b in part.buttons.children if b.layout.display is None][:2]:
            button.value = True
            bar.show_fit(shown.rows)
            made += [*every_html(bar.widget), *every_html(view.widget)]
            bar.clear()
    for words in (NASTY, f"colour:{NASTY}", '"' + NASTY.replace('"', "") + '"'):
        bar.controls["words"].value = words
        bar.show_fit(shown.rows)
        made += [*every_html(bar.widget), safe(why_nothing(shown.index, bar.filter), 1000)]
    return [*made, *every_html(shown.widget)]

def attention(run, vqa):
    view = explore_attention(vqa, run.data.read_image(run.questions[0]), NASTY)
    view._ipython_display_()
    return [*every_html(view.widget), view.saved_view()]

def comparison(run, vqa):
    other = make_run(run.folder.parent, "other", "yes")
    made = []
    for pair in ((run, other), (without_answers(run), without_answers(other))):
        found = compare(*pair)
        shown = found.browse()
        shown.grid.cards.children[0].children[1].click()
        made += [found._repr_html_(), *every_html(shown.widget)]
        shown.controls["words"].value = NASTY + "not there"
        made += every_html(shown.widget)
        shown.controls["reset"].click()
        shown._ipython_display_()
    return made + compared(run, other, vqa)

def compared(run, other, vqa):
    "The same of three runs, and the pages; their names are markup."
    made = []
    for kept in (lambda run: run, without_answers):
        two, many = compare(kept(run), kept(other)), compare({"<b>x": kept(run), SCRIPT[:30].replace(",", ""): kept(other), "C": kept(run)})
        run.remarks.tag(run.questions[0], SCRIPT[:30].replace(",", "")).note(run.questions[0], NASTY)
        shown = many.browse(vqa={"<b>x": vqa, "C": vqa})
        shown.controls["overview"].value = True
        shown.controls["cards"].value = "one a picture"
        shown.controls["pick-all"].click()
        made += [*every_html(shown.widget), shown.saved_view()]
        shown.grid.cards.children[0].children[1].click()
        shown.controls["attention"].value = True
        shown.controls["ask-text"].value = NASTY
        made += [many._repr_html_(), *every_html(shown.widget)]
        (run.folder/"notes.jsonl").unlink()
        shown.controls["words"].value = NASTY + "not there"
        made += [*every_html(shown.widget)]
        shown.controls["reset"].click()
        shown._ipython_display_()
        for found in (two, many):
            page = found.to_html(run.folder/"compared.html").read_text(encoding="utf-8")
            made.append(re.search("<main>.*</main>", page, re.S).group().replace("<form id='filters'", "<div id='filters'").replace("</form>", "</div>"))
    return made

def report(run, vqa):
    made = []
    for n, (shown, model) in enumerate(((run, vqa), (without_answers(run), None))):
        page = shown.to_html(run.folder/f"{n}.html", vqa=model, title=NASTY, note=f"{NASTY}\n{NASTY}").read_text(encoding="utf-8")
        assert page.count("<script") == 1 and page.count("<style") == 1 and f"<script>{REPORT_SCRIPT}</script>" in page and f"<style>{REPORT_STYLE}</style>" in page
        title = re.search("<title>([^<]*)</title>", page) # a browser takes no formulas there
        made.append(page.replace(REPORT_SCRIPT, "").replace(REPORT_STYLE, "").replace(title.group(), ""))
    return made

def somebody(run, vqa):
    "What another tool wrote: browsed, reported, and scored by every rule."
    found = make_results(run)
    judged = found.rules()
    made = [found.accuracy._repr_html_(), judged._repr_html_()]
    for shown in (found.browse(), judged.browse(), make_results(without_answers(run)).browse()):
        shown.grid.cards.children[0].children[1].click()
        made += [*every_html(shown.widget), shown.saved_view()]
    for n, each in enumerate((found, make_results(without_answers(run)))):
        page = each.to_html(run.folder/f"theirs{n}.html").read_text(encoding="utf-8")
        title = re.search("<title>([^<]*)</title>", page)
        made.append(page.replace(REPORT_SCRIPT, "").replace(REPORT_STYLE, "").replace(title.group(), ""))
    return made

def evidence(run, vqa):
    "What the answers rest on: tables, browsers, and the report's sections, of a run whose texts and whose probes' texts are hostile."
    probed = make_probed(run.folder.parent)
    results, pairs = probed.probes(), probed.pairs()
    made = [found._repr_html_() for found in (probed.confidence(), probed.people(), pairs, probed.evidence(), results)]
    made += [Evidence(without_answers(probed))._repr_html_(), missing_html([(NASTY, NASTY)])]
    for shown in (pairs.browse(), results["typo"].browse(vqa=vqa), results["noise-3"].compare().browse(), results.browse("reworded").browser):
        shown.grid.cards.children[0].children[1].click()
        shown.controls["zoom"].value = 1
        made += [*every_html(shown.widget), shown.saved_view()]
        shown.controls["words"].value = NASTY + "not there"
        made += every_html(shown.widget)
        shown.controls["reset"].click()
        shown._ipython_display_()
    results.browse()._ipython_display_()
    return made + [re.sub(r"data:image/svg\+xml;base64,[^']*", "data:,", section) for section in evidence_sections(probed).values()]

def training(run, vqa):
    "What a training says of itself, its names being markup."
    found = learn(run.folder.parent/"training", some_rows(8), epochs=1, validation=0)
    found.info["identity"] |= dict(checkpoint=NASTY, data=NASTY)
    return [found._repr_html_()]


def run_table(run, vqa):
    "A folder of runs whose names are markup, with a damaged one; and a background run that failed, as a cell shows it."
    place = run.folder.parent/"listed"
    for i, name in enumerate(SHOWN): make_named(place/str(i), name)
    (place/"<b onclick=x>").mkdir()
    (place/"<b onclick=x>"/"run.json").write_text(json.dumps({"identity": NASTY}))
    failed = BackgroundRun.__new__(BackgroundRun)
    failed.begun, failed.error, failed._over = False, UserError(NASTY), threading.Event()
    failed._over.set()
    return [runs(place)._repr_html_(), failed._line()["text/html"], failed._repr_html_()]

def make_named(folder, name):
    "A hostile run that somebody gave a hostile name."
    folder.mkdir(parents=True)
    made = make_run(folder)
    made.rename(name)


SCENARIOS = (
    figures,
    progress,
    download,
    browser,
    overviews,
    remarks,
    attention,
    comparison,
    report,
    somebody,
    evidence,
    training,
    run_table,
)

def test_hostile_text_stays_text_in_every_maker_of_html(run, vqa, monkeypatch):
    shown, called, makers = [], set(), html_makers()
    def display(*things, **options):
        for thing in things:
            found = thing.get("text/html") if isinstance(thing, dict) else getattr(thing, "data", None)
            if isinstance(found, str): shown.append(found)
        return type("Handle", (), dict(update=lambda self, *things, **options: display(*things)))()
    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.setattr("beit3_colab.look.report_evidence.FEWEST_PAIRS", 1)
    assert len(makers) > 40 and any(name == "score._repr_html_" for name in makers.values())
    def watch(frame, event, _): called.add((frame.f_code.co_filename, frame.f_code.co_firstlineno)) # of a call; its lines are not asked for
    for scenario in SCENARIOS:
        shown.clear()
        before = sys.gettrace()
        sys.settrace(watch)
        try: made = scenario(run, vqa)
        finally: sys.settrace(before)
        everything = [own_parts_removed(content) for content in [*made, *shown]]
        allowed = {report: ("script", "style", "link", "form"), somebody: ("script", "style", "link", "form"), progress: ("title",)}.get(scenario, ()) # a curve's title is that of an <svg>
        readers = [check(content, allowed) for content in everything]
        text = "".join(reader.text for reader in readers)
        for part in SHOWN: assert part in text, (scenario.__name__, part)
    not_run = sorted(name for place, name in makers.items() if place not in called)
    assert not not_run, f"these make HTML and were not tried with hostile text; call them in a scenario: {not_run}"

def test_the_check_can_fail():
    for content in (SCRIPT, PICTURE, FORMULA, "<p title='\u202e'>", "a \x1b[31m", "<!-- x -->", "<a href='javascript:alert(1)'>", "<img src='http://x/y'>", f"<p title='{PICTURE}' onclick=''>", "<b>\ud800</b>"):
        with pytest.raises(AssertionError): check(content)
    check("<p><b>fine</b><img src='data:image/png;base64,'></p>")

def test_buttons_and_lists_of_a_browser_hold_plain_text(run):
    "They take no markup; characters that nobody sees are taken out all the same."
    for shown in (run.browse(), compare(run, run).browse()):
        for control in shown.controls.values():
            texts = [getattr(control, "description", ""), *(o[0] if isinstance(o, tuple) else str(o) for o in getattr(control, "options", ()))]
            assert not any(re.search(r"[\x00-\x1f\u202e]", text) for text in texts), texts


@pytest.fixture
def secret(tmp_path): return make_secret_run(tmp_path)

def has_secrets(text): return [word for word in SECRETS if word in text]

def test_tables_have_digests_for_secrets_and_keep_pictures_apart(secret, tmp_path):
    other = make_secret_run(tmp_path, "other", "no")
    table = secret.to_pandas()
    for text in (table.to_string(), secret.to_csv(tmp_path/"a.csv").read_text(), compare(secret, other).table.to_string(), compare(secret, other).to_csv(tmp_path/"b.csv").read_text(), str(compare(secret, other)), str(secret.accuracy)):
        assert not has_secrets(text) and len(text) > 100
    assert table["image"].nunique() == table["image_id"].nunique() == 2 and table["image"].str.contains("w=640").all()
    assert pandas_equal(read_csv(tmp_path/"a.csv"), table)
    assert secret.questions[0].image.startswith("https://bob:HUNTER20@") # what a picture is read by

def pandas_equal(a, b):
    import pandas as pd
    pd.testing.assert_frame_equal(a, b, check_dtype=False)
    return True

def test_a_run_before_and_after_addresses_were_sealed_is_compared(secret, tmp_path):
    later = make_secret_run(tmp_path, "later")
    later.questions[:] = [replace(q, image=seal_address(q.image), image_id=seal_address(q.image_id)) for q in later.questions]
    assert compare(secret, later).agreement == 100 and not has_secrets(compare(secret, later).table.to_string())

def test_browsers_and_reports_show_no_secrets(secret, tmp_path):
    import matplotlib.pyplot as plt
    from beit3_colab.look.plots import show_answers
    made = []
    for shown in (secret.browse(), compare(secret, make_secret_run(tmp_path, "other")).browse()):
        shown.grid.cards.children[0].children[1].click()
        made += [*every_html(shown.widget), repr(shown), *(getattr(c, "description", "") + str(getattr(c, "tooltip", "")) for c in shown.controls.values())]
    made.append(secret.browse().saved_view())
    made.append(secret.to_html(tmp_path/"page.html").read_text())
    figure = show_answers(secret)
    made += [text.get_text() for axes in figure.axes for text in axes.texts] + [axes.get_title() for axes in figure.axes]
    plt.close(figure)
    for text in made: assert not has_secrets(text), text[:2000]
    assert any("0.png" in text for text in made)

def test_a_picture_is_found_by_its_whole_address_and_by_what_is_shown_of_it(secret):
    address = secret.questions[2].image
    for typed in (address, seal_address(address)): assert len(AnswerIndex(secret.answers).select(Filter(image=typed))) == 2

def test_a_new_table_of_questions_names_its_pictures_without_secrets(secret):
    reader = RowReader(secret.folder, secret.folder, False)
    question, _ = reader.question(1, Row("row 1", dict(image=secret.questions[0].image, question="What?")))
    assert question.image == secret.questions[0].image and question.image_id == seal_address(question.image) and not has_secrets(question.image_id)

@pytest.mark.parametrize("address", ["https://bob:HUNTER2@host/questions.csv?token=SESAME", "https://bob:HUNTER/SESAME@host/\ud800.png", "https://bob:HUNTER2@[host/a.png"])
def test_messages_about_addresses_of_tables_show_no_secrets(secret, address):
    with pytest.raises(UserError) as caught: read_rows(address) if address.endswith("SESAME") else RowReader(secret.folder, secret.folder, False).question(1, Row("row 1", dict(image=address, question="What?")))
    assert not has_secrets(str(caught.value)) and "host" in str(caught.value)

@pytest.mark.parametrize("name, content", [("q.json", '["https://bob:HUNTER2@host/a.png"]'), ("q.jsonl", '{"image": "a", "question": "b"}\n"https://host/a?token=SESAME'), ("q.json", '[{"image": "https://bob:HUNTER2@[host/a.png?token=SESAME", "question": "b"}]'), ("q.csv", "image,question\nhttps://bob:HUNTER2@[host/a.png?token=SESAME,b\n")], ids=ascii)
def test_messages_about_rows_show_no_secrets(tmp_path, name, content):
    (tmp_path/name).write_text(content)
    with pytest.raises(UserError) as caught: open_questions(tmp_path/name)
    assert not has_secrets(str(caught.value)) and "host" in str(caught.value)
