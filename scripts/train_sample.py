"""Train the built-in sample's model from scratch on drawn scenes.

    python scripts/train_sample.py --scenes 150000 --minutes 5.3 --output-dir build/stage1
    python scripts/train_sample.py --scenes 90000 --minutes 6.3 --first-seed 2000000 --start-from build/stage1 --learning-rate 1e-3 --output-dir build/sample_model

Pictures, questions and answers come from beit3_colab.scenes; seeds below FIRST_TRAINING_SEED are left out,
so the sample's pictures are never seen. The result is a checkpoint folder for beit3_colab.load_model.
The learning rate follows the share of the time budget that is used, so any machine ends with a finished schedule.
"""
import argparse
import io
import json
import math
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from beit3_colab.data.answer_list import normalize_word, soft_labels
from beit3_colab.model.checkpoint import save_folder
from beit3_colab.pictures.reading import normalize, preprocess
from beit3_colab.model.beit3 import Beit3Config, Beit3ForVQA, init_weights
from beit3_colab.model.vqa import load_model
from beit3_colab.scenes.sample import FIRST_TRAINING_SEED, HELD_OUT_SEEDS
from beit3_colab.scenes.questions import answer_list, ask_scene
from beit3_colab.scenes.drawing import draw_scene
from beit3_colab.scenes.description import make_scene
from beit3_colab.scenes.sample import scene_data
from beit3_colab.model.tokenizer import Tokenizer
from beit3_colab.data.vqa_files import load_annotations


def train_tokenizer(num_scenes, vocab_size):
    "A SentencePiece unigram model of the questions, as bytes."
    import sentencepiece
    sentences = sorted({q["question"] for seed in range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + num_scenes) for q in ask_scene(make_scene(seed))})
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=out, vocab_size=vocab_size, model_type="unigram", character_coverage=1.0,
        hard_vocab_limit=False, num_threads=1, minloglevel=2)
    return out.getvalue()


def draw_chunk(seeds, image_size, quality=90):
    "Pictures [N, S, S, 3] as the evaluation sees them (through JPEG), and their questions and annotations."
    pictures = np.empty((len(seeds), image_size, image_size, 3), np.uint8)
    for i, seed in enumerate(seeds):
        jpeg = io.BytesIO()
        draw_scene(make_scene(seed)).save(jpeg, "JPEG", quality=quality)
        pictures[i] = preprocess(Image.open(jpeg).convert("RGB"), image_size)
    questions, annotations = scene_data(seeds, "train")
    return pictures, questions["questions"], annotations["annotations"]


def make_data(first_seed, count, image_size, tokenizer, labels, workers, device):
    "Everything on the device: pictures (uint8), picture index, ids, targets and answer type of each question."
    chunk = 250
    chunks = [range(s, min(s + chunk, first_seed + count)) for s in range(first_seed, first_seed + count, chunk)]
    pictures = torch.empty(count, image_size, image_size, 3, dtype=torch.uint8, device=device)
    index, ids, targets, types = [], [], [], []
    with ProcessPoolExecutor(workers) as pool:
        for part, questions, annotations in pool.map(draw_chunk, chunks, [image_size]*len(chunks)):
            start = questions[0]["image_id"] - first_seed
            pictures[start:start + len(part)] = torch.from_numpy(part).to(device)
            parsed = load_annotations(annotations)
            for q in questions:
                index.append(q["image_id"] - first_seed)
                ids.append(tokenizer.encode(q["question"]))
                annotation = parsed[q["question_id"]]
                target = torch.zeros(len(labels))
                for label, score in zip(*soft_labels(map(normalize_word, annotation.answers), labels)): target[label] = score
                targets.append(target)
                types.append(annotation.answer_type)
    longest = max(map(len, ids))
    ids = torch.tensor([row + [1]*(longest - len(row)) for row in ids])
    return dict(pictures=pictures, index=torch.tensor(index, device=device), ids=ids.to(device), padding=(ids == 1).to(device),
                targets=torch.stack(targets).to(device), types=np.array(types))


def jitter(images):
    "Brightness and contrast, a little, each picture its own."
    n = len(images)
    contrast, brightness = 1 + 0.15*torch.randn(n, 1, 1, 1, device=images.device), 0.08*torch.randn(n, 1, 1, 1, device=images.device)
    return (images*contrast + brightness).clamp(-1, 1)


@torch.inference_mode()
def evaluate(model, data, blank=False, batch=1024):
    "Mean BEiT-3 soft score in percent: overall and for each answer type."
    scores = []
    for s in range(0, len(data["index"]), batch):
        take = slice(s, s + batch)
        images = normalize(data["pictures"][data["index"][take]])
        if blank: images = torch.zeros_like(images)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=images.is_cuda):
            logits = model(images, data["ids"][take], data["padding"][take])
        scores.append(data["targets"][take].gather(1, logits.argmax(1, keepdim=True))[:, 0])
    scores = 100*torch.cat(scores).cpu().numpy()
    return {"overall": round(float(scores.mean()), 2), **{str(t): round(float(scores[data["types"] == t].mean()), 2) for t in sorted(set(data["types"]))}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=200_000, help="training pictures")
    parser.add_argument("--minutes", type=float, default=6, help="time for training itself, drawing not counted")
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--image-size", type=int, default=192)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first-seed", type=int, default=FIRST_TRAINING_SEED, help="of the training pictures")
    parser.add_argument("--start-from", type=Path, help="checkpoint folder of an earlier stage; its tokenizer and answers are kept")
    parser.add_argument("--output-dir", type=Path, required=True)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_float32_matmul_precision("high")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    started = time.monotonic()
    earlier = load_model(args.start_from, device="cpu", dtype="float32") if args.start_from else None
    tokenizer = earlier.tokenizer if earlier else Tokenizer(train_tokenizer(min(args.scenes, 3000), vocab_size=200))
    answers = earlier.answers if earlier else answer_list()
    labels = {answer: i for i, answer in enumerate(answers)}
    print(f"tokenizer of {len(tokenizer)} ids, {len(answers)} answers, {time.monotonic() - started:.0f} s", flush=True)
    train = make_data(args.first_seed, args.scenes, args.image_size, tokenizer, labels, args.workers, device)
    held_out = make_data(HELD_OUT_SEEDS.start, len(HELD_OUT_SEEDS), args.image_size, tokenizer, labels, args.workers, device)
    drawing = time.monotonic() - started
    print(f"{args.scenes} scenes, {len(train['index'])} questions drawn in {drawing:.0f} s", flush=True)

    config = Beit3Config(image_size=args.image_size, patch_size=16, embed_dim=128, num_heads=4, num_layers=6, ffn_dim=384,
                         vocab_size=len(tokenizer), num_classes=len(answers), max_text_positions=66)
    model = init_weights(Beit3ForVQA(config)).to(device)
    if earlier: model.load_state_dict(earlier.model.state_dict())
    average = {name: p.detach().clone() for name, p in model.named_parameters()}
    decay = [p for p in model.parameters() if p.ndim >= 2]
    plain = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW([dict(params=decay, weight_decay=0.05), dict(params=plain, weight_decay=0.)],
                                  lr=args.learning_rate, betas=(0.9, 0.98), fused=device.type == "cuda")
    forward = torch.compile(model) if device.type == "cuda" else model
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)

    count, size = len(train["index"]), min(args.batch_size, len(train["index"]))
    order, step, begun, said = torch.randperm(count, device=device), 0, None, 0.
    while True:
        now = time.monotonic()
        if begun is None and step == 3: begun = now # compilation is not training
        share = 0. if begun is None else (now - begun) / (60*args.minutes)
        if share >= 1: break
        position = step*size % (count - size + 1)
        if position < size: order = torch.randperm(count, device=device)
        take = order[position:position + size]
        rate = args.learning_rate * min(1., (step + 1)/500) * (0.5 + 0.5*math.cos(math.pi*share))
        for group in optimizer.param_groups: group["lr"] = rate
        images = jitter(normalize(train["pictures"][train["index"][take]]))
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = forward(images, train["ids"][take], train["padding"][take])
        loss = F.binary_cross_entropy_with_logits(logits.float(), train["targets"][take], reduction="sum") / size
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        with torch.no_grad():
            torch._foreach_lerp_(list(average.values()), list(model.parameters()), 1 - min(0.999, (step + 1)/(step + 10)))
        if now - said > 20:
            said = now
            print(f"step {step} ({step*size/count:.1f} epochs), loss {loss.item():.3f}, held-out {evaluate(model, held_out)}", flush=True)

    model.load_state_dict(average)
    model.half().float() # what is stored
    earlier_facts = json.loads((args.start_from/"config.json").read_text()).get("trained") if earlier else None
    final, blank = evaluate(model, held_out), evaluate(model, held_out, blank=True)
    about = {"trained": {
        "on": torch.cuda.get_device_name() if device.type == "cuda" else "CPU", "torch": torch.__version__, "scenes": args.scenes, "questions": count,
        "first_seed": args.first_seed, "started_from": earlier_facts, "steps": step, "batch_size": size, "epochs": round(step*size/count, 1), "learning_rate": args.learning_rate,
        "minutes": round((time.monotonic() - begun)/60, 1), "drawing_seconds": round(drawing), "held_out_soft_score": final, "held_out_soft_score_blank": blank}}
    save_folder(args.output_dir, {n: t.half().cpu() for n, t in model.state_dict().items()}, config, answers, tokenizer.model_bytes, about)
    print(json.dumps(about, indent=1))


if __name__ == "__main__": main()
