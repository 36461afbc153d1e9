"""A character-level transformer that learns to write like Python's own documentation.

    python examples/transformer.py

The text ships with Python: the Zen, which `import this` prints, and docstrings of the standard library. Attention is
written out, so that what fuses is what one reads: the scale, the causal mask and the softmax are one kernel between
two matrix products, layer normalisation is one, and the optimizer updates all parameters in few.

In: nothing. Out: the falling loss and a sample. Read first: `digits.py`.
"""

import argparse
import contextlib
import importlib
import inspect
import io

import flamework as torch
from flamework import nn
from flamework.nn import functional as F
from tqdm import trange

SOURCES = ("argparse", "bisect", "calendar", "configparser", "csv", "datetime", "difflib", "functools", "heapq",
           "inspect", "logging", "pathlib", "random", "shutil", "statistics", "string", "tempfile", "textwrap")


def load_text():
    """The Zen of Python, then docstrings of functions and classes of some modules, in lower case and plain letters."""
    zen = io.StringIO()
    with contextlib.redirect_stdout(zen):
        importlib.import_module("this")
    texts = [zen.getvalue()]
    for name in SOURCES:
        members = vars(importlib.import_module(name)).values()
        own = [member for member in members if getattr(member, "__module__", None) == name]
        texts += [inspect.getdoc(member) for member in own if inspect.isfunction(member) or inspect.isclass(member)]
    letters = "\n\n".join(filter(None, texts)).lower()
    return "".join(c for c in letters if c.isascii() and (c.isalpha() or c in " \n.,:;'()-"))


class Block(nn.Module):
    """Causal self-attention and a perceptron, each on the normalised input and added to it: (b, t, width) twice."""

    def __init__(self, width, heads, context):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.register_buffer("future", torch.ones(context, context, dtype=torch.bool).triu(1))

    def forward(self, x):
        b, t, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        weights = scores.masked_fill(self.future[:t, :t], float("-inf")).softmax(dim=-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(b, t, width))
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """(b, t) character numbers, t at most `context` -> (b, t, characters) logits of the next character."""

    def __init__(self, characters, context, width=64, heads=4, layers=2):
        super().__init__()
        self.token, self.place = nn.Embedding(characters, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads, context) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, characters)

    def forward(self, ids):
        x = self.token(ids) + self.place(torch.arange(ids.shape[1]))
        return self.head(self.norm(self.blocks(x)))


def generate(model, ids, length, context):
    """Extend `ids`, a tensor (1, t) with t >= context, by `length` characters drawn from the model."""
    with torch.no_grad():
        for _ in range(length):
            chances = model(ids[:, -context:])[:, -1].softmax(dim=-1)
            ids = torch.cat([ids, torch.multinomial(chances, 1)], dim=1)
    return ids


def main():
    parser = argparse.ArgumentParser(description="Train a character-level transformer on Python's docstrings.")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--sample", type=int, default=300, help="characters to generate at the end")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    text = load_text()
    alphabet = sorted(set(text))
    ids = torch.tensor([alphabet.index(c) for c in text])
    model = Transformer(len(alphabet), args.context)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    window = torch.arange(args.context + 1)

    losses = []
    for _ in (bar := trange(args.steps, unit="step")):
        starts = torch.randint(len(ids) - args.context, (args.batch_size, 1))
        batch = ids[starts + window]
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        bar.set_postfix(loss=f"{losses[-1]:.3f}")

    first, last = losses[:20], losses[-20:]
    print(f"{len(text)} characters, {sum(p.numel() for p in model.parameters())} parameters")
    print(f"loss: {sum(first) / len(first):.3f} in the first steps, {sum(last) / len(last):.3f} in the last")
    sample = generate(model, ids[None, : args.context], args.sample, args.context)[0].tolist()
    print("sample:", "".join(alphabet[i] for i in sample[args.context :]), sep="\n")


if __name__ == "__main__":
    main()
