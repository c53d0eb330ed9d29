"VQAv2 and unilm's checkpoints in small: the built-in sample's pictures and questions, under the official names and paths, for a server on this machine."
import io
import json
import zipfile
from functools import lru_cache

import torch

from beit3_colab.model.weights import to_official
from beit3_colab.model.beit3 import Beit3Config, Beit3ForVQA
from beit3_colab.data.vqav2_online import OFFICIAL_FILES
from beit3_colab.model.checkpoint import sample_folder
from beit3_colab.scenes.sample import open_sample, sample_data_folder

RELEASES = "/github.com/addf400/files/releases/download/beit3"
QUESTIONS = "/s3.amazonaws.com/cvmlp/vqa/mscoco/vqa"
PICTURES = "/s3.amazonaws.com/images.cocodataset.org"
PICTURES_IN_ALL = 200
ANSWERS = ["yes", "no", "red", "2", "rainy"] # of the stand-in's head


@lru_cache
def sample_folder_once(): return sample_data_folder() # drawn once, whatever a test makes of the cache

def mirror(server): return f"https://github.com={server.url}/github.com;https://s3.amazonaws.com={server.url}/s3.amazonaws.com"

def make_checkpoint(folder, name):
    "A one-layer model of base's width with random weights, in the official format, with its tokenizer: {official path: file}."
    torch.manual_seed(0)
    (folder/"beit3.spm").write_bytes((sample_folder()/"sentencepiece.model").read_bytes())
    known = json.loads((sample_folder()/"config.json").read_text())
    fields = dict(embed_dim=768, num_heads=12, num_layers=1, ffn_dim=768, image_size=64, patch_size=16, num_classes=len(ANSWERS), vocab_size=known["vocab_size"])
    config = Beit3Config.from_dict({**{k: v for k, v in known.items() if k in Beit3Config.__dataclass_fields__}, **fields})
    weights = {name: torch.randn_like(w)*.05 if w.ndim > 1 else w for name, w in Beit3ForVQA(config).state_dict().items()}
    torch.save({"model": to_official(weights)}, folder/f"{name}.pth")
    return {f"{RELEASES}/{p.name}": p for p in (folder/"beit3.spm", folder/f"{name}.pth")}

def sample_json(name):
    "The content of one of the sample's two files."
    return json.loads((sample_folder_once()/"vqa"/name).read_text())

def as_said(annotation, answer):
    "An annotation of which all ten people said the same."
    return annotation | dict(multiple_choice_answer=answer, answers=[dict(answer=answer, answer_id=i, answer_confidence="yes") for i in range(1, 11)])

def pairs_json(pictures=PICTURES_IN_ALL):
    "Pairs of the questions about the first `pictures` pictures, as the official list has them: [[question_id, question_id], …]."
    return [list(pair) for pair in open_sample().complementary_pairs() if max(pair)//1000 <= pictures]

def official_json(agreed=None, pictures=PICTURES_IN_ALL):
    "The content of all official JSON files, about the first `pictures` pictures; `agreed`: question_id → what all ten people said about it, “yes” without."
    questions, annotations = sample_json("v2_OpenEnded_mscoco_val2014_questions.json"), sample_json("v2_mscoco_val2014_annotations.json")["annotations"]
    questions["questions"], annotations = ([r for r in records if r["image_id"] <= pictures] for records in (questions["questions"], annotations))
    val = [as_said(a, (agreed or {}).get(a["question_id"], "yes")) for a in annotations]
    order = [as_said(annotations[0], ANSWERS[i//9]) | dict(question_id=i) for i in range(9*len(ANSWERS))] # decides the order of the answer list
    files = {"v2_OpenEnded_mscoco_val2014_questions.json": questions, "v2_mscoco_val2014_annotations.json": {"annotations": val}, "v2_mscoco_train2014_annotations.json": {"annotations": order}}
    files["v2_mscoco_val2014_complementary_pairs.json"] = pairs_json(pictures)
    for subset, first in (("test2015", 0), ("test-dev2015", len(val)//2)):
        files[f"v2_OpenEnded_mscoco_{subset}_questions.json"] = {**{k: v for k, v in questions.items() if k != "data_subtype"}, "data_subtype": subset, "questions": questions["questions"][first:]}
    return files

def zipped(files, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as z:
        for name, content in files.items(): z.writestr(name, content)
    return buffer.getvalue()

def serve_json(files):
    "The zips of {JSON file: content} under their official paths."
    zips = {}
    for name, content in files.items(): zips.setdefault(OFFICIAL_FILES[name], {})[name] = json.dumps(content)
    return {f"{QUESTIONS}/{name}": zipped(members) for name, members in zips.items()}

def serve_pictures(*folders, pictures=PICTURES_IN_ALL):
    "The sample's first pictures under the official paths of `val2014` and `test2015`."
    files = {}
    for folder in folders or ("val2014", "test2015"):
        for path in sorted((sample_folder_once()/"val2014").iterdir())[:pictures]: files[f"{PICTURES}/{folder}/{path.name.replace('val2014', folder)}"] = path
    return files

def serve_picture_zip(folder, pictures=PICTURES_IN_ALL):
    "The same in one zip, as COCO has it."
    members = {path.removeprefix(f"{PICTURES}/"): file.read_bytes() for path, file in serve_pictures(folder, pictures=pictures).items()}
    return {f"{PICTURES}/zips/{folder}.zip": zipped(members, zipfile.ZIP_STORED)}
