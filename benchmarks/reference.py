"""The reference to compare against: torchscale 0.2.0's BEiT-3 with unilm's VQA head, run in a process of its own.

torchscale is fetched from the Python package index into a folder of its own (`--target`), so that none of its old pins reaches
this environment; the two names it imports from fairscale are for training alone and are stubbed. Weights are random.

    python benchmarks/reference.py --runs base-480:16:20 base-480:64:1 --device cuda
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path

VERSION = "0.2.0"
SIZES = {"tiny": (64, 2, 2), "base": (768, 12, 12), "large": (1024, 16, 24)} # width, heads, layers; tiny is for trying the benchmarks themselves


def fetch():
    "Folder that holds torchscale; `$TORCHSCALE` names one that is there already."
    if given := os.environ.get("TORCHSCALE"): return Path(given)
    folder = Path(tempfile.gettempdir())/f"torchscale-{VERSION}"
    if not (folder/"torchscale").is_dir():
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), f"torchscale=={VERSION}"], check=True)
    return folder


def build(size, image_size):
    "The model in evaluation mode: encoder, pooler, head."
    if str(fetch()) not in sys.path: sys.path.insert(0, str(fetch()))
    fairscale = types.ModuleType("fairscale.nn")
    fairscale.checkpoint_wrapper = fairscale.wrap = lambda module, *args, **kwargs: module
    sys.modules |= {"fairscale": types.ModuleType("fairscale"), "fairscale.nn": fairscale}
    try: import timm.models.layers
    except ImportError: # newer timm: what is wanted of it is for training alone
        sys.modules["timm.models.layers"] = layers = types.ModuleType("timm.models.layers")
        layers.drop_path = lambda x, *args: x
    import torch
    from torch import nn
    from torchscale.architecture.config import EncoderConfig
    from torchscale.model.BEiT3 import BEiT3
    width, heads, layers = SIZES[size]

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.beit3 = BEiT3(EncoderConfig(img_size=image_size, patch_size=16, vocab_size=64010, multiway=True, layernorm_embedding=False, normalize_output=False,
                                             no_output_layer=True, drop_path_rate=0, encoder_embed_dim=width, encoder_attention_heads=heads,
                                             encoder_ffn_embed_dim=4*width, encoder_layers=layers))
            self.norm, self.dense = nn.LayerNorm(width), nn.Linear(width, width)
            self.head = nn.Sequential(nn.Linear(width, 2*width), nn.LayerNorm(2*width), nn.GELU(), nn.Linear(2*width, 3129))

        def forward(self, image, ids, padding):
            x = self.beit3(textual_tokens=ids, visual_tokens=image, text_padding_position=padding)["encoder_out"]
            return self.head(torch.tanh(self.dense(self.norm(x[:, 0]))))

    return Model().eval()


def measure(model, image_size, batch, device, tokens, repeats):
    "Questions a second and peak memory of the reference as it is run: padded to 64 tokens, fp16 autocast on a GPU."
    import torch
    image = torch.rand(batch, 3, image_size, image_size, device=device)*2 - 1
    ids = torch.randint(4, 64000, (batch, 64), device=device)
    padding = torch.zeros(batch, 64, dtype=torch.long, device=device)
    padding[:, tokens:] = 1
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()

    def run():
        with torch.no_grad(), torch.autocast(device, torch.float16, enabled=device == "cuda"):
            logits = model(image, ids, padding)
            return logits.float().sum().item() # the answer is read after each batch

    run()
    times, processor = [], time.process_time()
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    seconds = sorted(times)[len(times)//2]
    return dict(rate=batch/seconds, processor=(time.process_time() - processor) / repeats / batch, peak=torch.cuda.max_memory_allocated() if device == "cuda" else None)


def measure_all(runs, device, tokens):
    "For each `size-pixels:batch:repeats` what `measure` gives, a line of JSON each as soon as it is known."
    import torch
    built, model = None, None
    for run in runs:
        name, batch, repeats = run.split(":")
        if name != built:
            model = None
            size, pixels = name.split("-")
            try:
                with torch.device(device): model = build(size, int(pixels))
            except RuntimeError: model = build(size, int(pixels))
            built, model = name, model.to(device)
        print(json.dumps(dict(run=run, **measure(model, int(pixels), int(batch), device, tokens, int(repeats)))), flush=True)


def start(runs, device, tokens):
    "`measure_all` in a process of its own: {run: its figures}."
    command = [sys.executable, __file__, "--device", device, "--tokens", str(tokens), "--runs", *runs]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True) # one that fails has told what it found before
    return {row["run"]: row for row in map(json.loads, done.stdout.strip().splitlines())}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", nargs="+", default=["base-480:16:20"], help="size-pixels:batch:repeats")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tokens", type=int, default=9)
    args = parser.parse_args()
    measure_all(args.runs, args.device, args.tokens)
