"The built-in sample: the figures that the README gives, and that the model looks at the picture."

import hashlib

import numpy as np
import pytest
from PIL import Image

from beit3_colab import evaluate, score
from beit3_colab.scenes.sample import FIRST_TRAINING_SEED, HELD_OUT_SEEDS, open_sample, sample_data_folder
from beit3_colab.model.checkpoint import sample_folder


@pytest.fixture(scope="module")
def run(tmp_path_factory): return evaluate(output_dir=tmp_path_factory.mktemp("run"), device="cpu", progress=False)

def test_accuracy(run):
    assert run.accuracy.overall >= 90
    assert set(run.accuracy.per_answer_type) == {"yes/no", "number", "other"}
    assert min(run.accuracy.per_answer_type.values()) >= 80
    low, high = run.accuracy.interval
    assert low < run.accuracy.overall < high

def test_blank_pictures_cost_25_points(run, tmp_path):
    data = open_sample()
    for name in {q.image for q in data.questions}:
        (tmp_path/name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (320, 240), (128, 128, 128)).save(tmp_path/name)
    (tmp_path/"vqa").symlink_to(sample_data_folder()/"vqa")
    blank = evaluate("sample", "val", tmp_path, output_dir=tmp_path/"run", device="cpu", progress=False)
    assert blank.accuracy.num_questions == run.accuracy.num_questions
    assert run.accuracy.overall - blank.accuracy.overall >= 25

def test_written_files_agree_with_the_run(run):
    data = open_sample()
    assert score(list(data.annotations.values()), run.submission).overall == run.accuracy.overall
    assert run.answers.accuracy.mean() == pytest.approx(run.accuracy.overall, abs=0.01)

def test_the_model_is_small_enough():
    assert sum(p.stat().st_size for p in sample_folder().iterdir()) <= 5_000_000

def test_training_never_saw_the_sample():
    import json
    trained = json.loads((sample_folder()/"config.json").read_text())["trained"]
    stages = [trained, trained["started_from"]]
    assert all(stage["first_seed"] >= FIRST_TRAINING_SEED > max(HELD_OUT_SEEDS) for stage in stages)

def test_people_disagree():
    annotations = open_sample().annotations.values()
    assert 0.2 < sum(len(set(a.answers)) > 1 for a in annotations)/len(annotations) < 0.6
    assert all(len(a.answers) == 10 for a in annotations)

def test_the_cache_follows_the_code_that_draws(monkeypatch, tmp_path):
    "Were no file hashed, after a renaming say, pictures drawn by older code would be kept for ever."
    import beit3_colab.scenes.sample as sample
    files = sample.source_files()
    assert {"description.py", "drawing.py", "questions.py", "sample.py", "shapes.py"} <= {p.name for p in files} and all(p.stat().st_size for p in files)
    changed = tmp_path/"drawing.py"
    changed.write_bytes(next(p for p in files if p.name == "drawing.py").read_bytes() + b"\n# another line")
    other = [changed if p.name == "drawing.py" else p for p in files]
    usual = sample_data_folder()
    monkeypatch.setattr(sample, "source_files", lambda: other)
    monkeypatch.setattr(sample, "write_scenes", lambda folder, seeds, split: folder) # their names are enough
    assert sample_data_folder() != usual

def pixel_sum(pictures):
    "SHA-256 of the pixels of many pictures, its beginning."
    whole = hashlib.sha256()
    for picture in pictures: whole.update(np.asarray(picture).tobytes())
    return whole.hexdigest()[:16]

DIFFER = "the pictures differ from those that the figures are of: it is Pillow that changed, and no model can answer as before"

def test_pixels_are_the_same_under_every_pillow():
    "As drawn, as read from JPEG, and as the model sees them; in this order, since each follows from the one before."
    from beit3_colab.pictures.reading import preprocess, read_image
    from beit3_colab.scenes import draw_scene, image_name, make_scene
    drawn = pixel_sum(draw_scene(make_scene(seed)) for seed in HELD_OUT_SEEDS)
    assert drawn == "5f53a66e471977e7", DIFFER
    files = [sample_data_folder()/image_name(seed) for seed in HELD_OUT_SEEDS]
    read = [read_image(file) for file in files]
    assert pixel_sum(read) == "832eca1ba5b219c3", DIFFER + ", in writing or reading JPEG"
    seen = pixel_sum(preprocess(picture, 192) for picture in read)
    assert seen == "ea6b3a9b8c950ffb", DIFFER + ", in resizing"

@pytest.mark.parametrize("where, told", [("draw_scene", "drawing"), ("open_picture", "writing and reading JPEG"), ("preprocess", "resizing"), (None, "")])
def test_the_doctor_knows_the_pixels(monkeypatch, where, told):
    "One level of one pixel of one picture is enough."
    from beit3_colab import scenes
    from beit3_colab.commands import doctor
    from beit3_colab.pictures import reading
    module, spoilt = scenes if where == "draw_scene" else reading, []
    def off_by_one(*args):
        found = real(*args)
        if spoilt: return found
        spoilt.append(1)
        pixels = np.array(found)
        pixels[7, 5, 1] ^= 1
        return Image.fromarray(pixels) if isinstance(found, Image.Image) else pixels
    if where:
        real = getattr(module, where)
        monkeypatch.setattr(module, where, off_by_one)
    found = doctor.diagnose()
    problems = [p for p in found.problems if "Pillow" in p.what]
    assert len(problems) == bool(where) and all(p.what.startswith(f"{told} gives other pixels") and "pip install" in p.remedy for p in problems)
    assert ("the same pixels" in found.sections["pictures"]["Pillow"]) == (not where)

@pytest.mark.parametrize("size", [(240, 320), (320, 240), (427, 640), (640, 427), (300, 640), (333, 1000), (1000, 333), (480, 640), (100, 90)])
@pytest.mark.parametrize("side", [192, 480])
def test_pictures_are_resized_in_one_order(size, side, monkeypatch):
    "Pillow 13 takes the columns of tall pictures first, others the rows; the file's pixels may not depend on which is installed."
    from beit3_colab.pictures.reading import resize_bicubic
    picture = Image.fromarray(np.random.RandomState(0).randint(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    width, height = size
    columns_first = height - side > 0 and height - side > 2*(width - side)
    between = picture.resize((width, side) if columns_first else (side, height), Image.Resampling.BICUBIC)
    expected = np.asarray(between.resize((side, side), Image.Resampling.BICUBIC))
    steps, resize = [], Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda image, to, *args: steps.append((image.size, to)) or resize(image, to, *args))
    assert (np.asarray(resize_bicubic(picture, (side, side))) == expected).all()
    assert all(a[0] == b[0] or a[1] == b[1] for a, b in steps), "both at once: the order is Pillow's"
