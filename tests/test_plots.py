"Figures for papers and pages: other people's text, saving, runs without human answers, no shared state."
import io
import subprocess
import sys
import warnings
from dataclasses import replace
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from beit3_colab.model.attention import attention_map, attention_share, question_words
from beit3_colab.machine.messages import clean_text
from beit3_colab.look.cards import confidence_text
from beit3_colab.look.figures import encode_figure, heat_map, new_figure, show_attention
from beit3_colab.look.attention_view import explore_attention
from beit3_colab.machine.messages import UserError
from beit3_colab.evaluation import evaluate
from beit3_colab.look.plots import accuracy_table, calibration_table, confusion_table, plot_accuracy, plot_calibration, plot_confusions, show_answers
from beit3_colab.look.report import plot_tables
from beit3_colab.look.run import Run
from beit3_colab.scoring.rules import correctness
from beit3_colab.scenes.drawing import draw_scene
from beit3_colab.scenes.description import make_scene

PLOTS = [show_answers, plot_accuracy, plot_calibration, plot_confusions]
NASTY = r"--><script>a()</script><img src=x onerror=alert(1)> costs $5 \frac{$x^2$}{_} & \$ ${"


@pytest.fixture(scope="module")
def run(vqa, tmp_path_factory): return evaluate(vqa, limit=60, output_dir=tmp_path_factory.mktemp("run"), progress=False)

@pytest.fixture
def nasty():
    "A run whose every text is hostile, and whose pictures are missing."
    answers = pd.DataFrame([dict(question_id=i, image_id=i, question=NASTY, answer=f"{NASTY}{i}", confidence=.5, question_type=NASTY, answer_type=NASTY,
                                 correct_answer=NASTY, accuracy=30.*(i % 2), image=f"{NASTY}\n{i}.jpg") for i in range(3)])
    score = SimpleNamespace(overall=10., interval=None, num_questions=3)
    return SimpleNamespace(label=f"{NASTY} on val", annotations={}, answers=answers, accuracy=score, data=None, questions=[], metric="official")

def texts(figure):
    from matplotlib.text import Text
    return [t for t in figure.findobj(Text) if t.get_text()]


@pytest.mark.parametrize("draw", PLOTS)
@pytest.mark.parametrize("suffix", ["png", "svg", "pdf", "PNG"])
def test_saves_a_picture(draw, suffix, run, tmp_path):
    path = tmp_path/f"picture.{suffix}"
    figure = draw(run, path=path)
    assert path.read_bytes().startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix.lower()])
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert any(run.label in t.get_text() for t in texts(figure))

@pytest.mark.parametrize("draw", PLOTS)
@pytest.mark.parametrize("path, message", [("x.gif", "must end in .png, .svg or .pdf, not '.gif'"), ("x", "not ''"), ("nowhere/x.png", "folder .*nowhere does not exist")])
def test_refuses_a_bad_path_before_it_draws(draw, path, message, tmp_path):
    with pytest.raises(UserError, match=message): draw(None, path=tmp_path/path)

@pytest.mark.parametrize("draw", PLOTS)
def test_hostile_text_is_drawn_as_text(draw, nasty, tmp_path):
    figure = draw(nasty, path=tmp_path/"picture.svg")
    drawn = [t for t in texts(figure) if "$" in t.get_text()]
    assert drawn and not any(t.get_parse_math() or t.get_usetex() for t in drawn)
    names = {element.tag.rpartition("}")[2] for element in ElementTree.parse(tmp_path/"picture.svg").iter()}
    assert "path" in names and not names & {"img", "script"}

def test_every_dollar_reaches_the_picture(nasty):
    joined = "".join(t.get_text() for t in texts(show_answers(nasty))).replace("\n", " ")
    assert r"costs $5 \frac{$x^2$" in joined and "onerror" in joined

def test_a_dollar_looks_like_a_dollar():
    "A formula would drop the signs and slant the x."
    def pixels(text, **options):
        figure = new_figure(2, .5)
        figure.text(.1, .5, text, **options)
        content = io.BytesIO(); figure.savefig(content, format="png")
        return np.asarray(Image.open(content).convert("L"), dtype=int)
    from beit3_colab.look.figures import PLAIN
    assert (pixels("$x$", **PLAIN) == pixels(r"\$x\$")).all()
    assert (pixels("$x$", **PLAIN) != pixels("$x$")).any()

@pytest.mark.parametrize("text, expected", [("$5", "$5"), ("a\u202eb\x00c", "abc"), ("\ud800", "?"), ("a\r\n\tb", "a b"), (7, "7")])
def test_clean_text(text, expected): assert clean_text(text) == expected

def test_long_text_is_cut(nasty):
    nasty.answers["question"] = "word " * 4000
    nasty.answers["answer"] = "x" * 100_000
    for t in texts(show_answers(nasty)): assert len(t.get_text()) < 200

@pytest.mark.parametrize("draw", [plot_accuracy, plot_calibration, plot_confusions])
def test_without_human_answers(draw, run):
    hidden = SimpleNamespace(annotations=None, label=run.label, answers=run.answers.drop(columns=["accuracy", "correct_answer", "answer_type", "question_type"]), data=run.data, metric="official")
    with pytest.raises(UserError, match="not public"): draw(hidden)
    assert len(show_answers(hidden).axes) == 8
    assert not any(sign in t.get_text() for t in texts(show_answers(hidden)) for sign in "✓½✗")

def test_marks_are_signs_and_words(run):
    chosen = pd.concat([group.head(1) for _, group in run.answers.groupby(run.answers["accuracy"].map(correctness))])
    labels = [ax.get_xlabel() for ax in show_answers(run, chosen).axes]
    for row, label in zip(chosen.itertuples(), labels):
        word = correctness(row.accuracy)
        assert label.startswith({"right": "✓", "partly right": "½", "wrong": "✗"}[word]) and word in label

def test_figures_leave_no_state(run):
    code = "import beit3_colab.plots, beit3_colab.model.attention, sys; print([m for m in ('matplotlib', 'pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    import matplotlib
    before = dict(matplotlib.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for draw in PLOTS: assert draw(run)._repr_png_().startswith(b"\x89PNG")
    assert dict(matplotlib.rcParams) == before
    if "matplotlib.pyplot" in sys.modules: assert sys.modules["matplotlib.pyplot"].get_fignums() == []

def test_accuracies_are_rounded_once(run):
    ids = list(run.records)[:17] # 14 of them right are 82.3529 %: 82.35 would make 82.3
    notes = {i: replace(run.annotations[i], question_type="what") for i in ids}
    some = Run(run.folder, [q for q in run.questions if q.question_id in ids], notes, run.data)
    some.__dict__["records"] = {i: dict(run.records[i], answers=[notes[i].multiple_choice_answer if i in ids[:14] else "no such thing"]) for i in ids}
    assert [row.accuracy for row in accuracy_table(some, "question_type").itertuples()] == [pytest.approx(100*14/17, abs=1e-9)]
    assert [t.get_text() for t in texts(plot_accuracy(some))].count("82.4") == 2 and "<td>82.4</td>" in plot_tables(some)[0]

def test_tables_count_every_answer(run):
    calibration, confusions = calibration_table(run), confusion_table(run)
    assert calibration["answers"].sum() == len(run.answers)
    assert np.average(calibration["accuracy"], weights=calibration["answers"])*100 == pytest.approx(run.accuracy.overall, abs=.01)
    assert (confusions["correct"] != confusions["answered"]).all()
    assert confusions["wrong"].sum() == (run.answers["accuracy"] == 0).sum()


@pytest.mark.parametrize("size", [(300, 60), (60, 300), (97, 97)])
def test_map_keeps_the_pictures_aspect(vqa, size):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))
    drawn = attention_map(vqa.attention(picture, "What is this?"))
    assert heat_map(drawn, size).shape == (size[1], size[0])
    assert attention_share(drawn, (0, 0, *size), size) == pytest.approx((1, 1))
    halves = [attention_share(drawn, box, size) for box in ((0, 0, size[0]/2, size[1]), (size[0]/2, 0, size[0], size[1]))]
    assert sum(h.attention for h in halves) == pytest.approx(1) and [h.area for h in halves] == pytest.approx([.5, .5])

@pytest.mark.parametrize("question", ["$x$ or $y$? <b>", "a " * 100, "?"])
def test_attention_of_odd_questions(vqa, question, tmp_path):
    picture = Image.new("RGB", (50, 40), "red")
    figure = show_attention(vqa, picture, question, path=tmp_path/"map.png")
    words = question_words(vqa.attention(picture, question))
    assert sum(bool(ax.get_title()) for ax in figure.axes) == 2 + len(words)
    assert not any(t.get_parse_math() for t in texts(figure) if "$" in t.get_text())

def test_attention_without_a_question_is_refused(vqa):
    with pytest.raises(UserError, match=r"the question is empty \(' '\)"): show_attention(vqa, Image.new("RGB", (50, 40), "red"), " ")

def test_attention_is_drawn_over_the_photo_as_the_model_saw_it(vqa, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6 # taken with the camera on its side
    draw_scene(make_scene(7)).resize((200, 120)).rotate(90, expand=True).rotate(180).save(tmp_path/"photo.jpg", exif=exif)
    stored = Image.open(tmp_path/"photo.jpg").size
    figure, view = show_attention(vqa, tmp_path/"photo.jpg", "What is the weather like?"), explore_attention(vqa, tmp_path/"photo.jpg", "What is the weather like?")
    said = vqa.ask(tmp_path/"photo.jpg", "What is the weather like?", top_k=1)[0]
    assert figure.axes[0].images[0].get_array().shape[:2] == stored and view.picture.size == stored[::-1]
    assert figure.axes[0].get_title() == f"{said.answer} ({confidence_text(said.confidence)})" and confidence_text(said.confidence) in view.widget.children[2].children[1].children[-1].value

@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_sign_that_the_font_has_not_gives_no_warning(suffix):
    "Whoever makes a page sees no line of Matplotlib's for each Chinese or Arabic sign in it."
    figure = new_figure(2, 2)
    figure.subplots().set_title("\u65e5\u672c \ufdfa")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert encode_figure(figure, suffix) and figure._repr_png_()

def test_signs_that_the_font_has_not_are_drawn_by_the_reader_s(run, tmp_path):
    "In a report: Chinese, Arabic (joined, and the arrow leads from what people said to the answer), emoji."
    yes, no = "\u0646\u0639\u0645", "\u0644\u0627"
    notes = {i: replace(note, multiple_choice_answer=yes, answers=(yes,)*10) for i, note in run.annotations.items()}
    few = Run(run.folder, run.questions, notes, run.data)
    few.__dict__["records"] = {i: dict(record, answers=[(no, "\u732b\u732b", "\U0001f408")[n % 3]]) for n, (i, record) in enumerate(run.records.items())}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = encode_figure(plot_confusions(few), ".svg").decode()
    labels = ["".join(t.itertext()) for t in ElementTree.fromstring(drawn.encode()).iter("{http://www.w3.org/2000/svg}text")]
    assert f"{yes}\u200e → \u200e{no}" in labels and any(label.endswith(f"{yes}\u200e → \u200e\u732b\u732b") for label in labels)
    usual = encode_figure(plot_confusions(run), ".svg").decode()
    assert "<text" not in usual and "\u200e" not in "".join(texts_of(plot_confusions(run)))
    import matplotlib
    assert matplotlib.rcParams["svg.fonttype"] == "path"

def texts_of(figure): return [text.get_text() for text in texts(figure)]
