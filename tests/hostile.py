"Texts that want to be more than text, a run that is full of them, and a reader that tells whether they were kept text."
import html.parser
import json
import re
from dataclasses import replace

import ipywidgets
import numpy as np
from PIL import Image

from beit3_colab.pictures.given import ImageError
from beit3_colab.run.journal import Identity
from beit3_colab.run.folder import write_submission
from beit3_colab.run.probe_results import ProbeNote, probe_fingerprint, probes_folder, variant_folder
from beit3_colab.run.probes import VARIANTS, pack_patches
from beit3_colab.look.run import Results, Run
from beit3_colab.data.dataset import Annotation, Question
from beit3_colab.data.pairs import QuestionPairs
from beit3_colab.data.vqav2 import VQAv2
from beit3_colab.scoring.figures import Figure
from beit3_colab.scoring.joining import Joined
from beit3_colab.scoring.result_rows import ResultTable

SCRIPT, PICTURE, CLOSING, FORMULA = "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "--></script></style></title>", r"$x_1$ \frac{1}{2} \(y\) \begin{z}"
NASTY = f"{SCRIPT}{PICTURE}{CLOSING}\"' onmouseover='alert(1)' {FORMULA} \u202eesrever\u202c \x00\x1b[31m مرحبا \ud800 &lt;"
SHOWN = [SCRIPT, PICTURE, CLOSING, "\"' onmouseover='alert(1)'", FORMULA, "مرحبا", "&lt;"] # each must be seen as it is
FILE_NAME = "\"'><img src=x onerror=alert(1)>$x_1$\u202e.png"


def make_run(folder, name="hostile", answer=NASTY):
    "A run whose every text is hostile; of its three pictures one is there, under a hostile name."
    root = folder/"data"
    root.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), "red").save(root/FILE_NAME)
    questions = [Question(i, f"{NASTY}{i//2}", f"{NASTY} {i}?", FILE_NAME if i < 2 else f"missing {NASTY}".replace("\0", "").replace("/", "").replace("\ud800", "") + str(i//2)) for i in range(6)]
    annotations = {q.question_id: Annotation(q.question_id, q.image_id, f"{NASTY} type", NASTY if i % 2 else "yes/no", NASTY, (*[NASTY]*i, *[f"{NASTY}!"]*(10 - i))) for i, q in enumerate(questions)}
    identity = Identity(NASTY, NASTY, NASTY, NASTY, NASTY, "0", len(questions), 192, NASTY)
    seconds = dict.fromkeys(("data", "model", "writing", "answering", "loading", "total"), 1.)
    report = dict(seconds=seconds, questions=6, images=3, host_bytes=1, device_bytes=None, warnings=[NASTY], setup={"device": NASTY, NASTY: NASTY})
    place = folder/name
    place.mkdir()
    records = {q.question_id: dict(question_id=q.question_id, answers=[answer, f"{NASTY}2"], confidences=[.9, .4], image_error=NASTY) for q in questions}
    write_submission(place, "submit_vqav2_x.json", questions, {i: dict(r, answers=["yes"]) for i, r in records.items()})
    (place/"run.json").write_text(json.dumps(dict(identity=vars(identity), submission=f"{NASTY}.json", report=report, started=NASTY, finished=NASTY)))
    with open(place/"answers-0.jsonl", "w") as f:
        for record in ({"run": identity.fingerprint()}, *records.values()): f.write(json.dumps(record) + "\n")
    return Run(place, questions, annotations, VQAv2("val", questions, annotations, root))

def without_answers(run):
    "The same, its human answers unknown."
    return Run(run.folder, run.questions, None, replace(run.data, annotations=None))

class HostilePairs(VQAv2):
    "A data set whose list of pairs says hostile things; the questions of a pair share a hostile text."
    def complementary_pairs(self): return QuestionPairs(((0, 2), (1, 3), (2, 4), (3, 5)), NASTY, (NASTY,))

def make_probed(folder, name="probed"):
    "A hostile run whose pictures could all be read when it was asked, with pairs, and with every probe kept in its folder."
    run = make_run(folder, name)
    records = {i: {k: v for k, v in r.items() if k != "image_error"} for i, r in run.records.items()}
    questions = [replace(q, question=f"{NASTY}?", question_id=i) for i, q in enumerate(run.questions)]
    write_journal(run.folder, run.identity.fingerprint(), records.values())
    place, mask = probes_folder(run.folder, 0), np.arange(144) < 14
    for variant in VARIANTS.values():
        kept = variant_folder(place, variant.name)
        kept.mkdir(parents=True)
        more = pack_patches(mask) if variant.order else dict(asked=NASTY) if variant.words else {}
        write_journal(kept, probe_fingerprint(run.identity, variant.name, 0), [dict(r, answers=[f"{NASTY}!"], confidences=[.5], **more) for r in records.values()])
    ProbeNote(dict.fromkeys(VARIANTS), {"typo": {0: NASTY}}, dict.fromkeys(VARIANTS, [NASTY])).write(place)
    return Run(run.folder, questions, run.annotations, HostilePairs("val", questions, run.annotations, run.data.image_root))

def write_journal(folder, fingerprint, records):
    with open(folder/"answers-0.jsonl", "w") as f:
        for record in ({"run": fingerprint}, *records): f.write(json.dumps(record) + "\n")

class HostileResults(Results):
    "Of a data set whose official program says hostile things."
    def figures(self): return tuple(Figure(NASTY, value, None, 6, note=NASTY, group=NASTY) for value in (50., None))

def make_results(run):
    "Somebody's file about the questions of a hostile run; everything in it is hostile, and no confidence is told."
    counts = dict(rows=6, joined=6, missing=0)
    told = dict(raw=f"{NASTY}\n{NASTY}", thinking=NASTY*200, choice=NASTY, tool_score=.5)
    records = {q.question_id: dict(question_id=q.question_id, answers=[NASTY], confidences=[], **told) for q in run.questions}
    table = ResultTable(NASTY, NASTY, [], NASTY, (NASTY,), {NASTY: 1.})
    return HostileResults(run.folder/NASTY.replace("/", "").replace("\0", "").replace("\ud800", ""), table, run.data, Joined(records, (NASTY,), counts))

def every_html(widget):
    "All HTML that a widget holds."
    found = [widget.value] if isinstance(widget, ipywidgets.HTML) else []
    return found + [text for child in getattr(widget, "children", ()) for text in every_html(child)]


class Reader(html.parser.HTMLParser):
    "What a browser would make of some HTML: its elements, attributes and texts."
    def __init__(self, content):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.texts = set(), [], []
        self.feed(content); self.close()
    def handle_starttag(self, tag, attributes): self.tags.add(tag); self.attributes += [(tag, *pair) for pair in attributes]
    def handle_comment(self, data): self.tags.add("comment")
    def handle_data(self, data): self.texts.append(data)

    @property
    def text(self): return "".join(self.texts)

def check(content, allowed=()):
    "Fail unless the HTML holds no element, attribute or formula but its maker's."
    seen = Reader(content)
    assert not ({"script", "style", "iframe", "object", "embed", "link", "base", "form", "comment", "template", "math", "title"} - set(allowed)) & seen.tags, seen.tags
    for tag, name, value in seen.attributes:
        assert not name.startswith("on") and name not in ("srcdoc", "formaction"), (tag, name)
        if name in ("src", "href"): assert value.startswith(("data:image/", "data:,", "#")), (tag, name, value[:80])
        assert re.fullmatch(r"[a-z][a-z0-9-]*", name), (tag, name) # a broken quote makes odd attributes
        assert not re.search(r"[\x00-\x08\x0b-\x1f\u202a-\u202e]", value or ""), (tag, name, value)
    for text in seen.texts:
        assert not re.search(r"[\x00-\x08\x0b-\x1f\u202a-\u202e\ud800-\udfff]", text), repr(text[:200])
        assert text in ("$", "\\") or not re.search(r"[$\\]", text), f"a notebook takes this for a formula: {text[:200]!r}"
    return seen


SECRETS = ("HUNTER2", "SESAME", "bob")

class Elsewhere:
    "Pictures that cannot be fetched; the message names the whole address, as one of somebody else's library may."
    remote = False
    def path(self, name): return name
    fetch = path
    def missing(self, names): return []
    def read(self, name): raise ImageError(f"cannot fetch {name}: no route to host")

def make_secret_run(folder, name="secret", answer="yes"):
    "A run of an earlier release about pictures at addresses that hold passwords and tokens, in every field that had them."
    questions = [Question(i, url, f"What is it {i}?", url) for i, url in enumerate(f"https://bob:HUNTER2{i//2}@host/{i//2}.png?w=640&token=SESAME{i//2}" for i in range(4))]
    annotations = {q.question_id: Annotation(q.question_id, q.image_id, "what", "other", "yes", ("yes",)*10) for q in questions}
    identity = Identity("model", "val", "0", "0", "0", "0", len(questions), 192, "float32")
    place = folder/name
    place.mkdir(parents=True)
    (place/"run.json").write_text(json.dumps(dict(identity=vars(identity))))
    with open(place/"answers-0.jsonl", "w") as f:
        for record in ({"run": identity.fingerprint()}, *(dict(question_id=q.question_id, answers=[answer, "no"], confidences=[.9, .05], image_error=f"cannot fetch {q.image}: no route to host") for q in questions)): f.write(json.dumps(record) + "\n")
    return Run(place, questions, annotations, VQAv2("val", questions, annotations, folder, source=Elsewhere()))
