"""The classifier of `digits.py` with its training step under `@flamework.compile`.

    python examples/digits_compiled.py

The decorator records the step once for each kind of input and replays the recording: the Python of the model, the
backward pass and the optimizer does not run again. Numbers that change, such as the learning rate that a schedule
lowers here, are arguments of the recording, so they compile nothing. The counters at the end show it.

Read first: `digits.py`. Read next: `inspect_graph.py`.
"""

import argparse

import flamework as torch
from digits import accuracy, load_data, make_model, train
from flamework.nn import functional as F


def main():
    parser = argparse.ArgumentParser(description="Train a digits classifier with a compiled training step.")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    x_train, x_test, y_train, y_test = load_data()
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs * (len(x_train) // args.batch_size))

    @torch.compile
    def training_step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    def step(x, y):
        loss = training_step(x, y)
        schedule.step()
        return loss

    losses = train(model, step, x_train, y_train, args.epochs, args.batch_size)
    print(f"loss: {losses[0]:.4f} in the first epoch, {losses[-1]:.4f} in the last")
    print(f"test accuracy: {accuracy(model, x_test, y_test):.2%}")

    counts = torch.counters()
    print(f"kernels compiled: {counts['kernels_compiled']}, plans built: {counts['plans_built']}, "
          f"plans replayed: {counts['plans_replayed']}")


if __name__ == "__main__":
    main()
