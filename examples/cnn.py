"""A small convolutional network with batch normalisation on the handwritten digits.

    python examples/cnn.py

A convolution is a kernel of its own; the bias, the normalisation, the ReLU and the pooling around it fuse. The running
statistics of batch normalisation are buffers that the forward pass updates in place: `model.eval()` then reads them.

Read first: `digits.py`, whose data and training loop this uses.
"""

import argparse

import flamework as torch
from digits import accuracy, load_data, train
from flamework import nn
from flamework.nn import functional as F


class ConvNet(nn.Module):
    """Two blocks of convolution, batch normalisation, ReLU and pooling: (n, 64) pixels -> (n, 10) logits."""

    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(2 * width)
        self.classify = nn.Linear(2 * width * 2 * 2, 10)

    def forward(self, x):
        x = x.view(-1, 1, 8, 8)
        x = F.max_pool2d(F.relu(self.norm1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.norm2(self.conv2(x))), 2)
        return self.classify(x.flatten(1))


def main():
    parser = argparse.ArgumentParser(description="Train a small convolutional network on the digits.")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--width", type=int, default=16, help="channels of the first convolution")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    x_train, x_test, y_train, y_test = load_data()
    model = ConvNet(args.width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    def training_step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    losses = train(model, training_step, x_train, y_train, args.epochs, args.batch_size)
    print(f"parameters: {sum(p.numel() for p in model.parameters())}")
    print(f"loss: {losses[0]:.4f} in the first epoch, {losses[-1]:.4f} in the last")
    print(f"test accuracy: {accuracy(model, x_test, y_test):.2%}")


if __name__ == "__main__":
    main()
