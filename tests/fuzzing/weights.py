"Checkpoints: safetensors, official .pth files, conversion, configurations, tokenizers; all of it by transformers, too."
import io
import json
import math
import pickle
import shutil
import struct
import zipfile
from pathlib import Path
from types import SimpleNamespace

from .children import Attempt, Format, run_command
from .mutations import change_bytes, change_json, change_tree, dump, is_calm, parse

GOLDEN = Path(__file__).parent.parent/"golden"
ANSWERS = [f"answer {i}" for i in range(40)] # of the small model's head
QUESTION = "What is on the table?"


def prepare(folder):
    "The small model in all its forms, and what it answers."
    import torch
    from PIL import Image

    from beit3_colab import convert, load_model
    from beit3_colab.model.checkpoint import build_model, to_ours
    torch.set_num_threads(1)
    config = json.loads((GOLDEN/"tiny_beit3_vqa.config.json").read_text())
    picture = Image.frombytes("RGB", (64, 64), bytes(i % 251 for i in range(3*64*64)))
    convert(GOLDEN/"tiny_beit3_vqa.pth", folder/"whole", config, ANSWERS, GOLDEN/"tiny.spm")
    official = torch.load(GOLDEN/"tiny_beit3_vqa.pth", weights_only=True)["model"]
    official = {name: tensor.clone() for name, tensor in official.items()}
    ours = {name: tensor.clone() for name, tensor in to_ours(official).items()}
    build_model(ours, config)
    good = SimpleNamespace(
        config=config, picture=picture, folder=folder/"whole", official=official, ours=ours,
        pth=(GOLDEN/"tiny_beit3_vqa.pth").read_bytes(), safetensors=(folder/"whole"/"model.safetensors").read_bytes())
    good.truth = ask(load_model(folder/"whole", device="cpu"), good)
    return good

def ask(vqa, good): return [(answer, confidence) for answer, confidence in vqa.ask(good.picture, QUESTION)]

def answers_of(good, path, **more):
    "What a file of weights answers."
    from beit3_colab import load_model
    found = dict(config=good.config, answers=ANSWERS, tokenizer=GOLDEN/"tiny.spm") | more
    return ask(load_model(path, device="cpu", **found), good)

def mad(answers):
    "What is wrong with answers; nothing, mostly."
    if any(not math.isfinite(c) or not 0 <= c <= 1 for _, c in answers): return f"confidences {[c for _, c in answers]}"
    return "" if len(answers) == 5 else f"{len(answers)} answers"


def split_safetensors(content):
    size, = struct.unpack("<Q", content[:8])
    return json.loads(content[8:8 + size]), content[8 + size:]

def join_safetensors(header, data): return struct.pack("<Q", len(header)) + header + data

def change_safetensors(rng, content):
    "Damage a file of safetensors: its header as a tree or as bytes, its data, or all of it."
    if is_calm(): return "nothing", content
    header, data = split_safetensors(content)
    kind = rng.randrange(4)
    if kind == 0:
        what, new = change_tree(rng, header)
        return what, join_safetensors(new, data)
    if kind == 1:
        what, new = change_bytes(rng, dump(header).encode())
        return f"header: {what}", join_safetensors(new, data)
    if kind == 2:
        what, new = change_bytes(rng, data, same_size=rng.random() < .8)
        return f"data: {what}", join_safetensors(json.dumps(header).encode(), new)
    return change_bytes(rng, content)

def copy_folder(good, place): return shutil.copytree(good.folder, place/"model")

def attempt_folder(good, rng, place):
    "Our own folder has a digest of its weights: whatever is changed is refused."
    folder = copy_folder(good, place)
    what, content = change_safetensors(rng, good.safetensors)
    if content == good.safetensors: what, content = change_bytes(rng, content) # the header was written in another way
    (folder/"model.safetensors").write_bytes(content)
    read = rng.choice((lambda: answers_of(good, folder), lambda: run_command("convert", folder, place/"out.pth")))
    return Attempt(what, read,
                   lambda result: "" if content == good.safetensors
                   else "other weights than config.json has the digest of")

def tensors_of(content):
    from safetensors.torch import load
    return load(content)

def attempt_safetensors(good, rng, place):
    "A file of weights alone: nobody knows what it was, but a number that is none must not become an answer."
    what, content = change_safetensors(rng, good.safetensors)
    path = place/"w.safetensors"
    path.write_bytes(content)
    return Attempt(what, lambda: answers_of(good, path), mad)


class Code:
    "Becomes, unpickled, a call."
    def __init__(self, *call): self.call = call
    def __reduce__(self): return self.call[0], self.call[1:]

def odd_tensor(rng, good, name, tensor):
    "Another tensor in the place of one; what it is, and whether a checkpoint with it may be read."
    import torch
    n = tensor.numel()
    return rng.choice((
        lambda: ("0-d", torch.tensor(1.), False), lambda: ("empty", torch.zeros(0), n == 0),
        lambda: ("whole numbers", tensor.to(torch.int32), False), lambda: ("truth values", tensor > 0, False),
        lambda: ("8 bits", (tensor*10).to(torch.int8), False),
        lambda: ("float8", tensor.to(torch.float8_e4m3fn), False),
        lambda: ("complex", tensor.to(torch.complex64), False), lambda: ("sparse", tensor.to_sparse(), False),
        lambda: ("meta", torch.empty(tensor.shape, device="meta"), False),
        lambda: ("NaN", torch.full_like(tensor, math.nan), False),
        lambda: ("infinite", torch.full_like(tensor, math.inf), False),
        lambda: ("one NaN", tensor.clone().view(-1).index_fill_(0, torch.tensor([rng.randrange(n)]),
                                                                math.nan).view(tensor.shape), None),
        lambda: ("huge", torch.full_like(tensor, 1e38), None), lambda: ("16 bits", tensor.to(torch.float16), True),
        lambda: ("transposed", tensor.T.contiguous() if tensor.ndim == 2 else tensor.clone(), None),
        lambda: ("64 bits", tensor.double(), True),
        lambda: ("one row less", tensor[:-1].clone(), False), lambda: ("a dimension more", tensor[None].clone(), False),
        lambda: ("stride 0", torch.zeros(1, dtype=torch.float16).expand(rng.choice((2**22, 2**28, 2**33)),
                *tensor.shape[1:]), False),
        lambda: ("no tensor", rng.choice((None, 1, "x", [1.], {}, b"x", (1,))), False)))()

def change_weights(rng, good, weights):
    "Weights with something odd among them: (what, weights, whether they may be read: None where that depends)."
    import torch
    weights, name = dict(weights), rng.choice(list(weights))
    if is_calm(): return "nothing", weights, True
    kind = rng.randrange(8)
    if kind < 4:
        what, weights[name], may = odd_tensor(rng, good, name, weights[name])
        return f"{name}: {what}", weights, may
    if kind == 4:
        del weights[name]
        return f"{name} left out", weights, False
    number = rng.choice((3, 10**3, 3*10**6, 10**12, 10**30, -1, "x"))
    head = rng.choice(("", "beit3.encoder.")) if any(n.startswith("beit3.") for n in weights) else ""
    more = rng.choice(("zz", f"{head}layers.{number}.x", "head.9.weight", "\x1b[31m\u202ered", "x"*5_000, "", "a\0b",
                       f"{head}layers.{number}.image.fc1.weight"))
    if kind == 7: more, weights = rng.choice((0, None, ("a",), 1.5, True)), {**weights}
    weights[more] = torch.zeros(rng.choice((1, 64)))
    return f"a weight {more!r:.60} too many", weights, None if kind == 7 else False

def deflate(content):
    "A zip packed anew, with compression."
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as a, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as z:
        for info in a.infolist(): z.writestr(info.filename, a.read(info))
    return packed.getvalue()

def attempt_pth(good, rng, place):
    "An official file with damaged bytes. PyTorch's zips have check sums: what is read is what was written."
    what, content = change_bytes(rng, good.pth)
    path = place/"w.pth"
    path.write_bytes(content)
    return Attempt(what, lambda: answers_of(good, path),
                   lambda found: "" if found == good.truth else "other answers than the file's weights give")

def _saved(content, place, name="w.pth"):
    import torch
    torch.save(content, place/name)
    return place/name

def attempt_odd(good, rng, place):
    "An official file that was written whole, with odd tensors, odd frames, or code."
    import torch
    mark, kind = place/"ran", rng.randrange(10)
    path, may = place/"w.pth", None
    if is_calm(): kind = 0
    if kind < 6:
        what, weights, may = change_weights(rng, good, good.official)
        frame = rng.choice((lambda w: {"model": w}, lambda w: w, lambda w: {"model": {"module": w}},
                            lambda w: {"model": w, "model_ema": good.official}))
        content = frame(weights)
        if isinstance(content, dict) and "model_ema" in content: may = None
        _saved(content, place)
    elif kind == 6:
        what, content = "packed anew" , deflate(_saved({"model": {**good.official,
                                                                  **({"zz": torch.zeros(rng.choice((10**6,
                                                                          2*10**7)))} if rng.random() < .2 else {})}},
                                                                          place).read_bytes())
        path.write_bytes(content)
    elif kind == 7:
        odd = rng.choice((None, 1, "x", [], {}, [good.official], {"model": None}, {"model": []}, {"model": {"a": {}}},
                          {"model": {}}, {1: {2: 3}}))
        what, may = f"holds {odd!r:.60}", False if odd != [good.official] else None
        _saved(odd, place)
    else: what, may = _code(rng, good, place, mark), None
    def judge(found):
        if may is False: return f"weights with {what} were read"
        return mad(found)
    return Attempt(what, lambda: answers_of(good, path), judge,
                   lambda error: "code of the file ran" if mark.exists() else "")

def _code(rng, good, place, mark):
    "A file with code in it; what it would do."
    import os
    call = rng.choice(((os.system, f"touch {mark}"), (eval, f"open({str(mark)!r}, 'w')"),
                       (exec, f"open({str(mark)!r}, 'w')"), (open, str(mark), "w")))
    content = rng.choice(({"model": {**good.official, "x": Code(*call)}},
                          {"model": good.official, "args": Code(*call)}, Code(*call)))
    if rng.random() < .5: _saved(content, place)
    else: (place/"w.pth").write_bytes(pickle.dumps(content, rng.choice((0, 2, 4, 5))))
    return f"calls {call[0].__name__}"

def is_plain_tensor(value):
    "Whether safetensors can write it."
    is_strided = str(getattr(value, "layout", "")) == "torch.strided"
    return is_strided and value.device.type == "cpu" and value.numel() < 2**22

def attempt_convert(good, rng, place):
    "What `convert` writes can be loaded, and answers as what it read."
    from safetensors.torch import save_file

    from beit3_colab import load_model, UserError
    to_pth, official = rng.random() < .3, rng.random() < .5
    what, weights, may = change_weights(rng, good, good.official if official else good.ours)
    is_plain = all(isinstance(name, str) and is_plain_tensor(tensor) for name, tensor in weights.items())
    (place/"config.json.given").write_text(json.dumps(good.config))
    if official or not is_plain: source = _saved({"model": weights}, place)
    else:
        source = place/"w.safetensors"
        save_file({k: v.contiguous() for k, v in weights.items()}, source)
    target = place/("out.pth" if to_pth else "out")
    (place/"labels.json").write_text(json.dumps(ANSWERS))
    more = [] if to_pth else ["--answers", place/"labels.json", "--tokenizer", GOLDEN/"tiny.spm"]
    def read():
        run_command("convert", source, target, "--config", place/"config.json.given", *more)
        return target
    def judge(result):
        if may is False: return f"{what}, and converted"
        try:
            vqa = load_model(result, device="cpu", **({} if result.is_dir() else dict(config=good.config,
                    answers=ANSWERS, tokenizer=GOLDEN/"tiny.spm")))
        except Exception as error: # noqa: BLE001
            return f"was converted, and cannot be loaded: {type(error).__name__}: {str(error)[:200]}"
        try: return mad(ask(vqa, good))
        except UserError: return "" # huge numbers become infinite on their way
    def after(error): return "a target was left behind" if error is not None and target.exists() else ""
    return Attempt(what + (" → .pth" if to_pth else ""), read, judge, after)


COUNTS = ("image_size", "patch_size", "embed_dim", "num_heads", "num_layers", "ffn_dim", "vocab_size", "num_classes",
          "max_text_positions")

def unsound_config(config, good):
    "The field of a configuration that must be refused; \"\" for one that may be read."
    if not isinstance(config, dict): return "all of it"
    for name in COUNTS:
        value = config.get(name, good.config[name])
        if type(value) is not int or value < 1: return name
        if name not in ("num_heads",) and value != good.config[name]: return name
    eps = config.get("layernorm_eps", 1e-5)
    return "" if type(eps) in (int, float) and 0 < eps <= 1 else "layernorm_eps"

def attempt_config(good, rng, place):
    inside = rng.random() < .6
    known = json.loads((good.folder/"config.json").read_text()) if inside else good.config
    what, content = change_json(rng, known)
    config, is_json = parse(content)
    wrong = unsound_config(config, good) if is_json else "no JSON"
    if inside:
        folder = copy_folder(good, place)
        (folder/"config.json").write_bytes(content)
        def read():
            from beit3_colab import load_model
            return ask(load_model(folder, device="cpu", tokenizer=GOLDEN/"tiny.spm"), good)
    else:
        (place/"c.json").write_bytes(content)
        def read(): return answers_of(good, GOLDEN/"tiny_beit3_vqa.pth", config=place/"c.json")
    def judge(found): return f"{wrong} cannot be right" if wrong else mad(found)
    return Attempt(("config.json: " if inside else "--config: ") + what, read, judge)


def prepare_tokenizer(folder):
    from beit3_colab.model.checkpoint import sample_folder
    from beit3_colab.model.tokenizer import Tokenizer
    good = SimpleNamespace(models=[(GOLDEN/"tiny.spm").read_bytes(),
                                   (sample_folder()/"sentencepiece.model").read_bytes()])
    Tokenizer(good.models[0])
    return good

def attempt_tokenizer(good, rng, place):
    from beit3_colab.model.tokenizer import Tokenizer
    content = rng.choice(good.models)
    what, content = change_bytes(rng, content, good.models, same_size=rng.random() < .5)
    def read():
        tokenizer = Tokenizer(content)
        ids = tokenizer.encode("what color is the dog? <mask> 日本")
        return len(tokenizer), ids, tokenizer.decode(ids), tokenizer.tokens(ids)
    def judge(found):
        size, ids, *_ = found
        return "" if all(type(i) is int and 0 <= i < size + 2 for i in ids) else f"ids {ids} of {size} pieces"
    return Attempt(what, read, judge)


def prepare_transformers(folder):
    import transformers
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    import beit3_colab.huggingface # noqa: F401 - its classes are registered
    good = prepare(folder)
    read_by_transformers(good.folder, good)
    return good

def read_by_transformers(folder, good):
    from beit3_colab.huggingface import Beit3ForVisualQuestionAnswering, Beit3Processor
    model, processor = Beit3ForVisualQuestionAnswering.from_pretrained(folder), Beit3Processor.from_pretrained(folder)
    return model(**processor(images=good.picture, text=QUESTION, return_tensors="pt")).logits.sigmoid()

def attempt_transformers(good, rng, place):
    folder = copy_folder(good, place)
    name = rng.choice([p.name for p in sorted(folder.iterdir())])
    content = (folder/name).read_bytes()
    what, content = change_json(rng, json.loads(content)) if name.endswith(".json") else change_bytes(rng, content)
    (folder/name).write_bytes(content)
    return Attempt(f"{name}: {what}", lambda: read_by_transformers(folder, good))


FORMATS = (
    Format("checkpoint folder", prepare, attempt_folder),
    Format("safetensors", prepare, attempt_safetensors),
    Format(".pth, bytes", prepare, attempt_pth),
    Format(".pth, odd tensors and code", prepare, attempt_odd),
    Format("convert", prepare, attempt_convert, .5),
    Format("config.json, --config", prepare, attempt_config),
    Format("SentencePiece model", prepare_tokenizer, attempt_tokenizer),
    Format("Hugging Face folder", prepare_transformers, attempt_transformers, .25,
           ("transformers", "huggingface_hub", "tokenizers", "safetensors", "torch", "json", "tqdm")))
