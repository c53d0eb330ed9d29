"""Fine-tuning on a CPU: an epoch of easy-VQA with the built-in sample's model, beside two plain loops in the same run.

    python benchmarks/train_cpu.py              # 1,500 questions for each row, about three minutes on two cores
    python benchmarks/train_cpu.py --questions 0 --rounds 1 # all 38,575 for ours: the epoch itself

easy-VQA comes from PyPI (`pip install easy-vqa`). The rows, all in float32 at the model's own 192 pixels:

- the reference: torchscale 0.2.0's BEiT-3 in the sample's size, questions padded to 64 tokens, plain AdamW; its pictures
  lie in memory and are never changed, so reading and augmentation cost it nothing
- the same loop with our model
- `finetune`: from PNG files, with the published augmentation, saving included

They take turns (`--rounds`), and each row has its median. Seconds of the processor are those of all threads and of worker processes.
"""
import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

AIM = 38_575/600 # samples a second: an epoch of easy-VQA in ten minutes
TOKENS = 64 # to which the reference pads
BATCH = 64


def read_easy_vqa(count):
    "Rows for `finetune(questions=…)`: the training questions of the first pictures, about `count` of them, 0 for all."
    from easy_vqa import get_train_image_paths, get_train_questions
    paths = get_train_image_paths()
    rows = [dict(image=paths[i], question=q, answers=a) for q, a, i in zip(*get_train_questions())]
    return rows[:count] if count else rows


def build_reference(config):
    "The reference's model in the size of a configuration, with unilm's pooler and head."
    import reference
    import torch
    reference.build("tiny", 32) # finds torchscale and what it imports
    from torch import nn
    from torchscale.architecture.config import EncoderConfig
    from torchscale.model.BEiT3 import BEiT3
    c, width = config, config.embed_dim

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.beit3 = BEiT3(EncoderConfig(
                img_size=c.image_size, patch_size=c.patch_size, vocab_size=c.vocab_size, multiway=True, layernorm_embedding=False, normalize_output=False,
                no_output_layer=True, drop_path_rate=0, encoder_embed_dim=width, encoder_attention_heads=c.num_heads, encoder_ffn_embed_dim=c.ffn_dim,
                encoder_layers=c.num_layers, max_source_positions=1024))
            self.norm, self.dense = nn.LayerNorm(width), nn.Linear(width, width)
            self.head = nn.Sequential(nn.Linear(width, 2*width), nn.LayerNorm(2*width), nn.GELU(), nn.Linear(2*width, c.num_classes))

        def forward(self, image, ids, padding):
            x = self.beit3(textual_tokens=ids, visual_tokens=image, text_padding_position=padding)["encoder_out"]
            return self.head(torch.tanh(self.dense(self.norm(x[:, 0]))))

    return Model().train()


class Loop:
    "A plain loop over tensors in memory: forward, loss, backward, AdamW."
    def __init__(self, model, rows, config, tokenizer, answers):
        import numpy as np
        import torch
        from PIL import Image
        from beit3_colab.model.batching import pad_questions
        from beit3_colab.model.tokenizer import PAD
        from beit3_colab.pictures.reading import normalize, preprocess
        rows = rows[:BATCH]
        pictures = [preprocess(Image.open(row["image"]).convert("RGB"), config.image_size) for row in rows]
        self.pictures = normalize(torch.from_numpy(np.stack(pictures)))
        ids, _ = pad_questions([tokenizer.encode(row["question"]) for row in rows])
        self.ids = torch.nn.functional.pad(ids, (0, TOKENS - ids.shape[1]), value=PAD)
        self.padding = self.ids == PAD
        labels = torch.tensor([answers.index(row["answers"]) for row in rows])
        self.targets = torch.nn.functional.one_hot(labels, len(answers)).float()
        self.model = model
        self.optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, betas=(.9, .98), weight_decay=.01)

    def step(self):
        from torch.nn.functional import binary_cross_entropy_with_logits
        logits = self.model(self.pictures, self.ids, self.padding)
        loss = binary_cross_entropy_with_logits(logits, self.targets)*self.targets.shape[1]
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def __call__(self, count):
        "Train on about so many samples; (samples, seconds, seconds of the processor)."
        self.step() # the first is slower
        steps, began, worked = max(1, count//BATCH), time.perf_counter(), time.process_time()
        for _ in range(steps): self.step()
        return steps*BATCH, time.perf_counter() - began, time.process_time() - worked


class Ours:
    "An epoch of `finetune` over the rows given."
    def __init__(self, rows): self.rows = rows

    def __call__(self, count):
        from beit3_colab import finetune
        def worked():
            t = os.times()
            return t.user + t.system + t.children_user + t.children_system
        with tempfile.TemporaryDirectory() as folder:
            began, before = time.perf_counter(), worked()
            finetune("sample", questions=self.rows, validation=0, epochs=1, warmup_epochs=.1, batch_size=BATCH, device="cpu", progress=False, output_dir=Path(folder)/"tuned")
            return len(self.rows), time.perf_counter() - began, worked() - before


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=1500, help="for each row and round; 0: all for ours, 1,500 for the others")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", help="a file for the results")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads) # of processes that are started, too
    import torch
    from common import Results, introduce, table

    from beit3_colab import load_model
    from beit3_colab.model.beit3 import Beit3ForVQA
    from dataclasses import replace
    torch.set_num_threads(args.threads)
    introduce("cpu")
    rows, vqa = read_easy_vqa(args.questions), load_model("sample", device="cpu")
    answers = sorted({row["answers"] for row in rows})
    config = replace(vqa.model.config, num_classes=len(answers))
    rest = (rows, config, vqa.tokenizer, answers)
    sides = {
        f"reference, {TOKENS} tokens": Loop(build_reference(config), *rest),
        f"plain loop with our model, {TOKENS} tokens": Loop(Beit3ForVQA(config).train(), *rest),
        "finetune, from files": Ours(rows),
    }
    found = {name: [] for name in sides}
    for _ in range(args.rounds):
        for name, side in sides.items(): found[name].append(side(args.questions or 1500))
    results, reference = Results(args.json), next(iter(found))
    median = {name: statistics.median(n/seconds for n, seconds, _ in runs) for name, runs in found.items()}
    for name, runs in found.items():
        processor = statistics.median(worked/n for n, _, worked in runs)
        results.add("train_cpu", name=name, rate=median[name], times=median[name]/median[reference], processor=processor, epoch=38_575/median[name]/60)
    print(table({
        "row": lambda r: r["name"], "samples/s": lambda r: f"{r['rate']:.0f}", "× the reference": lambda r: f"{r['times']:.1f}",
        "processor, ms a sample": lambda r: f"{1000*r['processor']:.1f}", "an epoch of easy-VQA, minutes": lambda r: f"{r['epoch']:.1f}"}, results.rows))
    ours = results.rows[-1]
    print(f"aim {AIM:.0f} samples/s (ten minutes): {'kept' if ours['rate'] >= AIM else 'NOT KEPT'}")


if __name__ == "__main__": main()
