"""Train the built-in sample's model from scratch on drawn scenes.

    python scripts/train_sample.py --scenes 150000 --minutes 5.3 --output-dir build/stage1
    python scripts/train_sample.py --scenes 90000 --minutes 6.3 --first-seed 2000000 --start-from build/stage1 \\
        --learning-rate 1e-3 --output-dir build/sample_model

Pictures, questions and answers come from beit3_colab.scenes; seeds below FIRST_TRAINING_SEED are left out,
so the sample's pictures are never seen. The result is a checkpoint folder for beit3_colab.load_model.
The learning rate follows the share of the time budget that is used, so any machine ends with a finished schedule.
The weights in the package were trained when `init_weights` still drew every linear layer at 0.02.
"""
import argparse
import io
import json
import math
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from beit3_colab.data.answer_list import normalize_word, soft_labels
from beit3_colab.data.vqa_files import load_annotations
from beit3_colab.model.batching import pad_questions
from beit3_colab.model.beit3 import Beit3Config, Beit3ForVQA, init_weights
from beit3_colab.model.checkpoint import save_folder
from beit3_colab.model.tokenizer import PAD, Tokenizer
from beit3_colab.model.vqa import load_model
from beit3_colab.pictures.reading import normalize, preprocess
from beit3_colab.scenes.description import make_scene
from beit3_colab.scenes.drawing import draw_scene
from beit3_colab.scenes.questions import answer_list, ask_scene
from beit3_colab.scenes.sample import FIRST_TRAINING_SEED, HELD_OUT_SEEDS, scene_data


@dataclass(frozen=True)
class Data:
    "Drawn scenes and what is asked about them; tensors lie on the device. Q questions, P pictures."
    pictures: torch.Tensor # uint8 [P, S, S, 3]
    index: torch.Tensor    # int64 [Q]: the picture of each question
    ids: torch.Tensor      # int64 [Q, T]
    padding: torch.Tensor  # bool [Q, T]: True where there is no token
    targets: torch.Tensor  # float [Q, answers]: soft labels
    types: np.ndarray      # str [Q]: yes/no, number or other


def train_tokenizer(num_scenes, vocab_size):
    "A SentencePiece unigram model of the questions, as bytes."
    import sentencepiece
    seeds = range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + num_scenes)
    sentences = sorted({q["question"] for seed in seeds for q in ask_scene(make_scene(seed))})
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=out, vocab_size=vocab_size, model_type="unigram",
        character_coverage=1.0, hard_vocab_limit=False, num_threads=1, minloglevel=2)
    return out.getvalue()

def draw_chunk(seeds, image_size):
    "Pictures [N, S, S, 3] as the evaluation sees them (through JPEG), and their questions and annotations."
    pictures = np.empty((len(seeds), image_size, image_size, 3), np.uint8)
    for i, seed in enumerate(seeds):
        jpeg = io.BytesIO()
        draw_scene(make_scene(seed)).save(jpeg, "JPEG", quality=90)
        pictures[i] = preprocess(Image.open(jpeg).convert("RGB"), image_size)
    questions, annotations = scene_data(seeds, "train")
    return pictures, questions["questions"], annotations["annotations"]

def make_target(annotation, labels):
    "Soft labels [answers] of what people answered."
    target = torch.zeros(len(labels))
    for label, score in zip(*soft_labels(map(normalize_word, annotation.answers), labels)): target[label] = score
    return target

def make_data(first_seed, count, args, tokenizer, labels, device):
    "Draw `count` scenes and ask about them; all of it lies on the device."
    size, end, chunk = args.image_size, first_seed + count, 250
    chunks = [range(start, min(start + chunk, end)) for start in range(first_seed, end, chunk)]
    pictures = torch.empty(count, size, size, 3, dtype=torch.uint8, device=device)
    index, rows, targets, types = [], [], [], []
    with ProcessPoolExecutor(args.workers) as pool:
        for part, questions, annotations in pool.map(draw_chunk, chunks, [size]*len(chunks)):
            start = questions[0]["image_id"] - first_seed
            pictures[start:start + len(part)] = torch.from_numpy(part).to(device)
            parsed = load_annotations(annotations)
            for q in questions:
                annotation = parsed[q["question_id"]]
                index.append(q["image_id"] - first_seed)
                rows.append(tokenizer.encode(q["question"]))
                targets.append(make_target(annotation, labels))
                types.append(annotation.answer_type)
    ids, _ = pad_questions(rows)
    return Data(
        pictures, torch.tensor(index, device=device), ids.to(device), (ids == PAD).to(device),
        torch.stack(targets).to(device), np.array(types))


def jitter(images):
    "Brightness and contrast, a little, each picture its own."
    shape = (len(images), 1, 1, 1)
    contrast = 1 + 0.15*torch.randn(shape, device=images.device)
    brightness = 0.08*torch.randn(shape, device=images.device)
    return (images*contrast + brightness).clamp(-1, 1)

@torch.inference_mode()
def evaluate(model, data, blank=False, batch=1024):
    "Mean BEiT-3 soft score in percent: overall and for each answer type."
    scores = []
    for s in range(0, len(data.index), batch):
        take = slice(s, s + batch)
        images = normalize(data.pictures[data.index[take]])
        if blank: images = torch.zeros_like(images)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=images.is_cuda):
            logits = model(images, data.ids[take], data.padding[take])
        scores.append(data.targets[take].gather(1, logits.argmax(1, keepdim=True))[:, 0])
    scores = 100*torch.cat(scores).cpu().numpy()
    by_type = {str(t): scores[data.types == t] for t in sorted(set(data.types))}
    return {name: round(float(part.mean()), 2) for name, part in {"overall": scores, **by_type}.items()}


class Clock:
    "How much of the time is used. Compilation, in the first three steps, is not training."
    def __init__(self, minutes): self.seconds, self.begun, self.printed = 60*minutes, None, 0.
    def share(self, step):
        "0 to 1; from 1 on it is over."
        now = time.monotonic()
        if self.begun is None and step == 3: self.begun = now
        return 0. if self.begun is None else (now - self.begun)/self.seconds
    def minutes(self): return round((time.monotonic() - self.begun)/60, 1)
    def is_time_to_print(self):
        "Once in 20 seconds."
        now = time.monotonic()
        due = now - self.printed > 20
        if due: self.printed = now
        return due

class Batches:
    "Questions in a random order, drawn anew for each round."
    def __init__(self, count, size, device):
        self.count, self.size, self.device = count, min(size, count), device
        self.order = torch.randperm(count, device=device)
    def take(self, step): # positions of questions [size]
        position = step*self.size % (self.count - self.size + 1)
        if position < self.size: self.order = torch.randperm(self.count, device=self.device)
        return self.order[position:position + self.size]
    def epochs(self, step): return round(step*self.size/self.count, 1)

def make_optimizer(model, learning_rate):
    "AdamW, with weight decay on matrices alone."
    parameters = list(model.parameters())
    groups = [
        dict(params=[p for p in parameters if p.ndim >= 2], weight_decay=0.05),
        dict(params=[p for p in parameters if p.ndim < 2], weight_decay=0.),
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98), fused=parameters[0].is_cuda)

def training_loss(forward, data, take):
    "Binary cross-entropy, summed over answers, mean over the questions taken."
    images = jitter(normalize(data.pictures[data.index[take]]))
    with torch.autocast(images.device.type, torch.bfloat16, enabled=images.is_cuda):
        logits = forward(images, data.ids[take], data.padding[take])
    total = F.binary_cross_entropy_with_logits(logits.float(), data.targets[take], reduction="sum")
    return total/len(take)

def train(model, data, held_out, args, device):
    "Train until the time is used; (averaged weights, steps, batches, clock)."
    average = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = make_optimizer(model, args.learning_rate)
    forward = torch.compile(model) if device.type == "cuda" else model
    batches, clock, step = Batches(len(data.index), args.batch_size, device), Clock(args.minutes), 0
    while (share := clock.share(step)) < 1:
        rate = args.learning_rate * min(1., (step + 1)/500) * (0.5 + 0.5*math.cos(math.pi*share))
        for group in optimizer.param_groups: group["lr"] = rate
        loss = training_loss(forward, data, batches.take(step))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        with torch.no_grad():
            weight = 1 - min(0.999, (step + 1)/(step + 10))
            torch._foreach_lerp_(list(average.values()), list(model.parameters()), weight)
        if clock.is_time_to_print():
            scores = evaluate(model, held_out)
            print(f"step {step} ({batches.epochs(step)} epochs), loss {loss.item():.3f}, held-out {scores}", flush=True)
    return average, step, batches, clock


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=200_000, help="training pictures")
    parser.add_argument("--minutes", type=float, default=6, help="time for training itself, drawing not counted")
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--image-size", type=int, default=192)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first-seed", type=int, default=FIRST_TRAINING_SEED, help="of the training pictures")
    parser.add_argument("--start-from", type=Path,
                        help="checkpoint folder of an earlier stage; its tokenizer and answers are kept")
    parser.add_argument("--output-dir", type=Path, required=True)
    return parser.parse_args()

def make_model(args, tokenizer, answers, earlier):
    "The sample's architecture, with new weights or those of an earlier stage."
    config = Beit3Config(
        image_size=args.image_size, patch_size=16, embed_dim=128, num_heads=4, num_layers=6, ffn_dim=384,
        vocab_size=len(tokenizer), num_classes=len(answers), max_text_positions=66)
    model = init_weights(Beit3ForVQA(config))
    if earlier: model.load_state_dict(earlier.model.state_dict())
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    return config, model

def main():
    args = parse_arguments()
    torch.manual_seed(args.seed)
    torch.set_float32_matmul_precision("high")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    started = time.monotonic()
    earlier = load_model(args.start_from, device="cpu", dtype="float32") if args.start_from else None
    tokenizer = earlier.tokenizer if earlier else Tokenizer(train_tokenizer(min(args.scenes, 3000), vocab_size=200))
    answers = earlier.answers if earlier else answer_list()
    labels = {answer: i for i, answer in enumerate(answers)}
    print(f"tokenizer of {len(tokenizer)} ids, {len(answers)} answers, {time.monotonic() - started:.0f} s", flush=True)
    data = make_data(args.first_seed, args.scenes, args, tokenizer, labels, device)
    held_out = make_data(HELD_OUT_SEEDS.start, len(HELD_OUT_SEEDS), args, tokenizer, labels, device)
    drawing = round(time.monotonic() - started)
    print(f"{args.scenes} scenes, {len(data.index)} questions drawn in {drawing} s", flush=True)

    config, model = make_model(args, tokenizer, answers, earlier)
    model = model.to(device)
    average, steps, batches, clock = train(model, data, held_out, args, device)
    model.load_state_dict(average)
    model.half().float() # what is stored
    about = {"trained": {
        "on": torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
        "torch": torch.__version__,
        "scenes": args.scenes,
        "questions": batches.count,
        "first_seed": args.first_seed,
        "started_from": json.loads((args.start_from/"config.json").read_text()).get("trained") if earlier else None,
        "steps": steps,
        "batch_size": batches.size,
        "epochs": batches.epochs(steps),
        "learning_rate": args.learning_rate,
        "minutes": clock.minutes(),
        "drawing_seconds": drawing,
        "held_out_soft_score": evaluate(model, held_out),
        "held_out_soft_score_blank": evaluate(model, held_out, blank=True),
    }}
    weights = {name: t.half().cpu() for name, t in model.state_dict().items()}
    save_folder(args.output_dir, weights, config, answers, tokenizer.model_bytes, about)
    print(json.dumps(about, indent=1))


if __name__ == "__main__": main()
