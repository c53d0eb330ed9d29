"The kernels of training against their plain forms: in Triton's interpreter where there is no GPU, and compiled for GPUs that are not here."
import pytest
import torch
from test_speed import need_triton, run_kernels

from beit3_colab.training import kernels

AGREE = '''
import torch
import torch.nn.functional as F
from beit3_colab.training.kernels import attend_plain, fused_gelu_norm, fused_gelu_norm_backward, gelu_norm, join_words, part_words
device = "cuda" if torch.cuda.is_available() else "cpu"
torch.manual_seed(0)

def off(found, wanted): return float((found.float() - wanted.float()).norm()/wanted.float().norm())

for rows, width in ((1, 16), (5, 24), (7, 64)):
    hidden = (3*torch.randn(rows, width, device=device)).half()
    weight, bias, grad = torch.randn(width, device=device), torch.randn(width, device=device), torch.randn(rows, width, device=device).half()
    leaves = [t.float().requires_grad_() for t in (hidden, weight, bias)]
    wanted = gelu_norm(*leaves, 1e-5)
    back = torch.autograd.grad(wanted, leaves, grad.float())
    out, mean, rstd = fused_gelu_norm(hidden, weight, bias, 1e-5)
    of_hidden, again, of_norm = fused_gelu_norm_backward(hidden, grad, mean, rstd, weight, bias)
    for name, found, right in zip("out again hidden weight bias".split(), (out, again, of_hidden, *of_norm), (wanted, wanted, *back)):
        assert off(found, right) < 2e-3, (rows, width, name, off(found, right))

B, N, H, D = 2, 70, 2, 16
for T, counts in ((5, [5, 5]), (5, [1, 4]), (64, [64, 1]), (65, [65, 40]), (100, [3, 100])): # over 64 there is another tile
    counts = torch.tensor(counts, device=device)
    picture, question = (torch.randn(B, n, 3, H, D, device=device).half() for n in (N, T))
    leaves = [t.float().requires_grad_() for t in (picture, question)]
    wanted = attend_plain(*leaves, counts)
    real = (torch.arange(N + T, device=device) < N + counts[:, None])[..., None]
    grad = (torch.randn(B, N + T, H*D, device=device)*real).half()
    back = torch.autograd.grad(wanted, leaves, grad.float())

    qkv = torch.cat((picture, question), 1)
    q, k, v = qkv.float().permute(2, 0, 3, 1, 4)
    scores = q @ k[:, :, :N].transpose(2, 3)*D**-0.5 # what cuDNN does: attention to the picture alone
    out, sums = (scores.softmax(3) @ v[:, :, :N]).transpose(1, 2).half().contiguous(), scores.logsumexp(3).contiguous()
    join_words(qkv, counts, out, sums, N)
    assert off(out.flatten(2)*real, wanted*real) < 2e-3

    weights = (scores - sums[..., None]).exp() # the way back, from the joint answer and sums
    g, joint = grad.view(B, N + T, H, D).transpose(1, 2).float(), out.transpose(1, 2).float()
    of_scores = weights*(g @ v[:, :, :N].transpose(2, 3) - (g*joint).sum(3, keepdim=True))*D**-0.5
    by_picture = of_scores @ k[:, :, :N], of_scores.transpose(2, 3) @ q, weights.transpose(2, 3) @ g
    found = part_words((qkv, counts, out, sums), grad, tuple(t.half() for t in by_picture), N)
    for name, mine, right in zip(("picture", "question"), found, back):
        for i, part in enumerate(("queries", "keys", "values")): assert off(mine[:, :, i], right[:, :, i]) < 3e-3, (name, part, off(mine[:, :, i], right[:, :, i]))
print("agree")
'''

def test_kernels_agree_with_their_plain_forms():
    need_triton("3.2") # its interpreter
    assert run_kernels(AGREE) == "agree\n"

