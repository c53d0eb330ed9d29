"""What the rounding of the residual stream costs and gains: the stream in half precision, as ours is, and in float32, as the reference's.

    python benchmarks/residual.py                # a GPU: errors, answers and speed
    python benchmarks/residual.py --device cpu   # errors and answers alone, by the kernels' plain forms

Errors are root mean squares against float32's logits, in their deviations: base and large with random weights, and the built-in sample, of which the answers are compared too.
"""
import argparse

import torch
from common import introduce, table, timed
from model_speed import Side

from beit3_colab.model.batching import pad_questions, plan_batches
from beit3_colab.model.folded_float8 import lay_out
from beit3_colab.model.fused import FastBeit3
from beit3_colab.model.vqa import load_model, predict_logits
from beit3_colab.run.windows import plan_windows, read_windows
from beit3_colab.scenes.sample import open_sample


class WideStream(FastBeit3):
    "The layout with norms between the products, its residual streams in float32; what the products read and write stays in half precision."
    def __init__(self, model):
        super().__init__(model)
        half = model.image_embedding.positions.dtype
        for layer in self.layers:
            for expert in layer: expert.norm = narrowed(expert.norm, half)

    def _embed(self, images, rows): return super()._embed(images, rows).float()


def narrowed(norm, dtype):
    "A norm that reads a stream in float32 and gives rows in half precision."
    def run(x, *args, out=None, target=None, source=None, float8=False, **kwargs):
        if x.dtype == torch.float32 and out is None:
            out = x.new_empty(len(x) if target is None else len(x) // target.count * target.stride, x.shape[1], dtype=dtype)
        return norm(x, *args, out=out, target=target, source=source, float8=float8, **kwargs)
    return run


class WideText(torch.nn.Module):
    "A model's text embedding in float32."
    def __init__(self, embedding): super().__init__(); self.embedding = embedding
    def forward(self, input_ids): return self.embedding(input_ids).float()


class WideBoth(WideStream):
    "The question's stream in float32, too."
    def __call__(self, images, input_ids, rows=None, counts=None):
        usual, self.model.text_embedding = self.model.text_embedding, WideText(self.model.text_embedding)
        try: return super().__call__(images, input_ids, rows, counts)
        finally: self.model.text_embedding = usual

    def _last_layer(self, cls, *rest): # the plain layers that follow are in half precision
        return super()._last_layer(cls.to(self.model.head[0].weight.dtype), *rest)


def forms(device):
    "Name → number format, layout."
    found = {f"{dtype}, {name}": (dtype, form) for dtype in ("float16", "bfloat16") for name, form in (("stream as wide", FastBeit3), ("stream in float32", WideBoth))}
    if device == "cuda": found = {"float16, stream as wide, norms folded": ("float16", lay_out)} | found
    return found


def rms(found, truth):
    "Root mean square of a difference, in deviations of what it should be."
    return ((found.float() - truth).pow(2).mean().sqrt() / truth.std()).item()


def sample_logits(ask, vqa, data):
    "Logits of the sample's questions."
    found = {}
    for window in read_windows(plan_windows(data.questions, 64), data.questions, data, vqa, 4):
        for batch in plan_batches([len(ids) for ids in window.input_ids], 64):
            rows = torch.tensor([window.rows[i] for i in batch])
            ids, _ = pad_questions([window.input_ids[i] for i in batch])
            out = ask(window.images[rows].to(vqa.device), ids.to(vqa.device)).float().cpu()
            found |= {window.indices[i]: row for i, row in zip(batch, out)}
    return torch.stack([found[i] for i in range(len(data.questions))])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--sizes", nargs="*", default=["base-480", "large-480"] if torch.cuda.is_available() else ["base-224"])
    args = parser.parse_args()
    introduce(args.device)
    torch.set_grad_enabled(False)
    rows = {name: {"format": name} for name in forms(args.device)}
    data, exact = open_sample(), load_model("sample", device=args.device, dtype="float32")
    truth = sample_logits(lambda *given: predict_logits(exact.model, *given), exact, data)
    for name, (dtype, form) in forms(args.device).items():
        vqa = load_model("sample", device=args.device, dtype=dtype)
        found = sample_logits(form(vqa.model), vqa, data)
        rows[name] |= {"sample: error": f"{rms(found, truth):.2e}", f"other answers, of {len(truth):,}": int((found.argmax(1) != truth.argmax(1)).sum())}
    for size in args.sizes:
        side = Side(size, 128 if args.device == "cuda" else 2, 9, args.device)
        for name, (dtype, form) in forms(args.device).items():
            fast = form(side.model(dtype))
            rows[name][f"{size}: error"] = f"{rms(fast(*side.few), side.truth):.2e}"
            if args.device == "cuda": rows[name][f"{size}: questions/s"] = f"{len(side.ids) / timed(lambda: fast(side.images, side.ids).topk(5), 1.):,.0f}"
            del fast
        del side
    columns = list(next(iter(rows.values())))
    print(table({column: lambda row, column=column: row[column] for column in columns}, list(rows.values())))


if __name__ == "__main__": main()
