"""Train a classifier on handwritten digits: an eager-looking PyTorch script that runs lazily.

    python examples/digits.py

The only line that differs from PyTorch is the import. Every operation is recorded; `loss.item()` is where a training
step runs, as a handful of fused kernels, the optimizer's among them. The second step finds the plan of the first and
replays it. At the end the fused graph of one step and the source of each of its kernels are written to a folder.

In: scikit-learn's bundled digits (1,797 images of 8 x 8). Out: the loss, the test accuracy, a folder to look into.
Read next: `digits_compiled.py`, the same under `@flamework.compile`, and `inspect_graph.py`.
"""

import argparse
import time

import flamework as torch
from flamework import nn
from flamework.nn import functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm


def load_data():
    """The digits as `(x_train, x_test, y_train, y_test)`: float32 images (n, 64) in [0, 1] and int64 labels (n,)."""
    digits = load_digits()
    images, labels = digits.data / 16.0, digits.target
    x_train, x_test, y_train, y_test = train_test_split(images, labels, test_size=360, random_state=7, stratify=labels)
    x_train, x_test = (torch.tensor(x, dtype=torch.float32) for x in (x_train, x_test))
    return x_train, x_test, torch.tensor(y_train), torch.tensor(y_test)


def make_model():
    """A perceptron with two hidden layers and dropout: (n, 64) pixels -> (n, 10) logits."""
    return nn.Sequential(
        nn.Linear(64, 256), nn.ReLU(), nn.Dropout(0.3),
        nn.Linear(256, 128), nn.ReLU(), nn.Dropout(0.3),
        nn.Linear(128, 10),
    )


def train(model, step, x, y, epochs, batch_size):
    """Call `step(x, y)`, which returns the loss, on shuffled minibatches; return each epoch's mean loss."""
    means = []
    model.train()
    with tqdm(total=epochs * -(-len(x) // batch_size), unit="step") as bar:
        for _ in range(epochs):
            losses = []
            for rows in torch.randperm(len(x)).split(batch_size):
                losses.append(step(x[rows], y[rows]).item())
                bar.update()
            means.append(sum(losses) / len(losses))
            bar.set_postfix(loss=f"{means[-1]:.4f}")
    return means


def accuracy(model, x, y):
    """The share of rows of `x` that the model puts into the class that `y` names."""
    model.eval()
    with torch.no_grad():
        return (model(x).argmax(dim=1) == y).float().mean().item()


def main():
    parser = argparse.ArgumentParser(description="Train a digits classifier in a lazy script.")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--graph", default="fused-graph", help="the folder for the fused graph of a training step")
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    x_train, x_test, y_train, y_test = load_data()
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def training_step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    start = time.perf_counter()
    losses = train(model, training_step, x_train, y_train, args.epochs, args.batch_size)
    print(f"loss: {losses[0]:.4f} in the first epoch, {losses[-1]:.4f} in the last")
    print(f"test accuracy: {accuracy(model, x_test, y_test):.2%} after {time.perf_counter() - start:.1f} s")

    model.train()
    fused = torch.explain(training_step)(x_train[: args.batch_size], y_train[: args.batch_size])
    fused.save(args.graph)
    print(f"fused graph of the training step: {len(fused.kernels)} kernels, with their sources in {args.graph}/")


if __name__ == "__main__":
    main()
