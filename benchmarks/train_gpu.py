"""A training step beside the reference's own, in one run: samples a second and peak memory on one GPU; the whole training from JPEG files; two GPUs.

    python benchmarks/train_gpu.py                     # everything that this machine has GPUs for, about seven minutes
    python benchmarks/train_gpu.py --parts step memory # some of it

Weights are random, questions have 5 to 13 tokens, as most of VQAv2's; the reference gets its 64. One step is forward and backward pass, the gradients' norm, and AdamW; the
reference's under float16 autocast with its GradScaler, as its engine does it. Every part is a process of its own, so that memory is its own. `step` compares with the reference,
`memory` does the same steps in smaller portions, `files` runs `finetune` on drawn JPEG files of COCO's size with the published augmentation, `two` shares steps out over two GPUs.
`--tiny` tries all of it with a toy model, on any machine.
"""
import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from common import introduce, synchronize, table

CLASSES = 3129


def per_second(step, count, seconds):
    "Samples a second of steps that follow each other, after three that warm up, and the most memory of the time, in GB."
    for _ in range(3): step()
    synchronize()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        for _ in range(4): step()
        synchronize()
        steps += 4
    rate = steps*count/(time.perf_counter() - start)
    if not torch.cuda.is_available(): return dict(rate=rate, allocated=0., reserved=0.)
    return dict(rate=rate, allocated=torch.cuda.max_memory_allocated()/1e9, reserved=torch.cuda.max_memory_reserved()/1e9)


def reference_step(size, batch, device, seconds):
    "The reference's model, loss and step: torchscale's encoder, unilm's engine."
    import reference
    side = 480 if size != "tiny" else 64
    with torch.device(device): model = reference.build(size, side)
    model = model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(.9, .98), weight_decay=.01)
    on_gpu = device == "cuda"
    scaler = torch.amp.GradScaler(device, enabled=on_gpu)
    pictures = torch.rand(batch, 3, side, side, device=device)*2 - 1
    ids, padding = torch.randint(4, 64_000, (batch, 64), device=device), torch.zeros(batch, 64, dtype=torch.long, device=device)
    padding[:, 9:] = 1
    labels = torch.rand(batch, CLASSES, device=device)

    def step():
        with torch.autocast(device, torch.float16, enabled=on_gpu): logits = model(pictures, ids, padding)
        loss = F.binary_cross_entropy_with_logits(logits.float(), labels)*labels.shape[1]
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], float("inf"))
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    return per_second(step, batch, seconds)


def our_batch(config, rows, device):
    "Pictures of noise, questions of 5 to 13 tokens, a few soft labels, drop path's table."
    from beit3_colab.training.network import MicroBatch
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(5, 14, (rows,), generator=generator)
    tokens = int(lengths.max())
    targets = torch.zeros(rows, config.num_classes).scatter_(1, torch.randint(config.num_classes, (rows, 3), generator=generator), .6)
    batch = MicroBatch(
        pictures=torch.randint(256, (rows, config.image_size, config.image_size, 3), dtype=torch.uint8, generator=generator),
        input_ids=torch.randint(4, config.vocab_size, (rows, tokens), generator=generator),
        padding_mask=torch.arange(tokens) >= lengths[:, None],
        keep=(torch.rand(rows, config.num_layers, 2, generator=generator) > .05)/.95,
        targets=targets)
    return batch.to(device)


def our_step(size, batch, device, seconds, portion=None, world=None, checkpointed=False, plain=False):
    "Our step, as `finetune` takes it: in portions, and with other processes, if so."
    from beit3_colab.machine.distributed import Group
    from beit3_colab.model.beit3 import Beit3Config, Beit3ForVQA, init_weights, model_size
    from beit3_colab.training.fast import make_pass
    from beit3_colab.training.network import PlainPass, choose_precision, prepare_model
    from beit3_colab.training.parameters import group_parameters
    from beit3_colab.training.recipe import choose_recipe
    from beit3_colab.training.schedule import Schedule
    from beit3_colab.training.step import TrainingStep
    torch.manual_seed(0)
    group = None
    if world:
        device = f"cuda:{world.local_rank}"
        torch.cuda.set_device(device)
        group = Group(world, torch.device(device))
    config = model_size(size) if size != "tiny" else Beit3Config(image_size=64, embed_dim=128, num_heads=2, num_layers=2, ffn_dim=256, vocab_size=64_010)
    with torch.device(device): model = prepare_model(init_weights(Beit3ForVQA(config)))
    precision, recipe = choose_precision(torch.device(device)), choose_recipe("published", config)
    mine = batch//(world.size if world else 1)
    portion = min(portion or mine, mine)
    forward = PlainPass(model, precision, checkpointed) if plain else make_pass(model, precision, portion, 10**6, checkpointed)
    step = TrainingStep(model, group_parameters(model, recipe), Schedule(3e-5, 1e-6, 10**6, 10**5), forward, recipe, precision, group)
    parts, number = [our_batch(config, portion, device) for _ in range(mine//portion)], iter(range(1, 10**6))
    start = time.perf_counter()
    step.take(parts, 0, batch)
    synchronize()
    built = time.perf_counter() - start
    found = per_second(lambda: step.take(parts, next(number), batch), batch, seconds) | dict(built=built, passed=type(getattr(forward, "fast", forward)).__name__)
    if group: group.close()
    return found


def from_files(size, batch, seconds, device):
    "`finetune` on drawn pictures: samples a second by its own log, the first steps left out."
    from concurrent.futures import ProcessPoolExecutor

    from common import filled_tokenizer
    from end_to_end import WORDS, draw_picture

    from beit3_colab import finetune
    from beit3_colab.model.beit3 import Beit3ForVQA, init_weights, model_size
    from beit3_colab.model.checkpoint import sample_folder, save_folder
    distinct, questions = (64, 24_000) if size != "tiny" else (4, 1200)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with ProcessPoolExecutor() as pool: kilobytes = sum(pool.map(partial(draw_picture, folder=root), range(distinct)))/distinct/1000
        checkpoint = sample_folder()
        if size != "tiny":
            config = model_size(size)
            with torch.device(device): model = init_weights(Beit3ForVQA(config))
            weights = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
            checkpoint = save_folder(root/"start", weights, config, [f"answer {i}" for i in range(CLASSES)], filled_tokenizer(config.vocab_size))
            del model, weights
        rows = [dict(image=str(root/f"{i % distinct}.jpg"), question=" ".join(WORDS[(i + k) % len(WORDS)] for k in range(3 + i % 8)), answers=[f"answer {i % 50}"]) for i in range(questions)]
        training = finetune(checkpoint, rows, validation=0, recipe="published", epochs=1, batch_size=batch, answers="checkpoint" if size != "tiny" else "data", output_dir=root/"tuned", background=True, progress=False, save_minutes=600)
        try: steps = follow(root/"tuned", training, seconds)
        finally: training.stop()
        while training.running: time.sleep(.1)
    first, last = steps[len(steps)//4], steps[-1]
    return dict(rate=(last["samples"] - first["samples"])/(last["seconds"] - first["seconds"]), kilobytes=kilobytes, reserved=(last.get("device_bytes") or 0)/1e9)


def follow(folder, training, seconds):
    "Rows of the log once the training has gone on for a while after its first steps."
    from beit3_colab.training.log import read_log
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        time.sleep(1)
        if training.error: raise training.error
        rows = [r for r in read_log(folder) if r.get("kind") == "step"] if (folder/"log.jsonl").exists() else []
        if len(rows) > 20 and (not training.running or rows[-1]["seconds"] - rows[0]["seconds"] > seconds + 30): return rows
    raise TimeoutError("no steps came")


def work_part(args):
    "One measurement, in this process; its JSON on the last line."
    what, size, batch, portion = args.work.split(":")
    batch, portion = int(batch), int(portion) or None
    if what == "reference": found = reference_step(size, batch, args.device, args.seconds)
    elif what == "files": found = from_files(size, batch, args.seconds, args.device)
    elif what == "two":
        from beit3_colab.machine.distributed import find_world
        world = find_world()
        found = our_step(size, batch, args.device, args.seconds, portion, world)
        if world.rank: return
    else: found = our_step(size, batch, args.device, args.seconds, portion, checkpointed=what == "less", plain=what == "plain")
    print(json.dumps(found), flush=True)


def attempt(args, what, size, batch, portion=0):
    "A measurement in a process of its own; a row with its figures, or with what went wrong."
    command = [sys.executable, "-W", "ignore"]
    if what == "two": command += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [__file__, "--device", args.device, "--seconds", str(args.seconds), "--work", f"{what}:{size}:{batch}:{portion}"]
    row = dict(what=what, size=size, batch=batch, portion=portion or batch)
    try: done = subprocess.run(command, capture_output=True, text=True, timeout=400, env={**os.environ, "OMP_NUM_THREADS": "1"})
    except subprocess.TimeoutExpired: return row | dict(error="cut off after 400 s")
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    row |= json.loads(lines[-1]) if done.returncode == 0 and lines else dict(error=(done.stderr.strip().splitlines() or ["nothing was said"])[-1][:200])
    print(json.dumps(row), flush=True)
    return row


def ratio(row, base): return "" if base is None or "rate" not in base else f"{row['rate']/base['rate']:.2f} ×"


def print_table(rows, bases):
    "Markdown; `bases` is what a row's rate is divided by."
    names = dict(reference="reference, float16", ours="ours", plain="ours, the plain pass", less="ours, keeping less", files="`finetune` from JPEG files", two="ours on two GPUs")
    print(table({
        "": lambda r: names[r["what"]],
        "model": lambda r: f"{r['size']}-480" if r["size"] != "tiny" else "tiny",
        "batch": lambda r: f"{r['batch']}" if r["portion"] == r["batch"] else f"{r['batch']} in portions of {r['portion']}",
        "samples/s": lambda r: f"{r['rate']:.1f}",
        "ratio": lambda r: ratio(r, bases(r)),
        "peak memory, GB": lambda r: f"{r['reserved']:.2f}",
        "compiled in": lambda r: f"{r['built']:.0f} s" if "built" in r else "",
    }, rows), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="*", default=["step", "memory", "files", "two"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work: return work_part(args)
    introduce(args.device)
    base, large = ("tiny", None) if args.tiny else ("base", "large")
    jobs = dict(
        step=[("reference", base, 16), ("reference", base, 32), ("plain", base, 32), ("ours", base, 32)] + ([("reference", large, 16), ("ours", large, 16)] if large else []),
        memory=[("ours", base, 32, 16), ("less", base, 32)] + ([("ours", large, 16, 4), ("less", large, 16), ("less", large, 16, 8)] if large else []),
        files=[("ours", base, 32), ("files", base, 32)],
        two=[("ours", base, 32), ("two", base, 64)] if torch.cuda.device_count() > 1 else [])
    every = []
    for part in args.parts:
        rows = [attempt(args, *job) for job in jobs[part]]
        every += rows
        first = next((r for r in rows if r["what"] == "ours"), None)

        def base_of(row):
            if part in ("files", "two"): return first
            return next((r for r in every if (r["what"], r["size"], r["batch"]) == ("reference", row["size"], row["batch"])), None)
        if rows: print_table(rows, base_of)


if __name__ == "__main__": main()
