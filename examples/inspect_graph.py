"""Look at what a program becomes: its kernels, why they are apart, their source, and the fused graph itself.

    python examples/inspect_graph.py

The program is one layer of an attention-free mixer with its gradients: layer normalisation, a matrix product, a GELU
and a softmax, then everything backwards. `explain` calls a function once and answers with an object to read and to
compute with; nothing of the program has to be changed for it.

Read first: `digits.py`. Read next: the folder that this writes, `explanation.txt` first.
"""

import argparse

import flamework as torch
from flamework.nn import functional as F


def layer(x, scale, shift, weight):
    """(rows, width) -> (rows, width): normalise, project, bend, and make each row a distribution."""
    x = F.layer_norm(x, (x.shape[-1],), scale, shift)
    return F.gelu(x @ weight.T).softmax(dim=-1)


def gradients(x, *parameters):
    """The gradients of the mean entropy of `layer`'s rows by its parameters."""
    chances = layer(x, *parameters)
    entropy = -(chances * torch.log(chances + 1e-9)).sum(dim=-1).mean()
    return torch.autograd.grad(entropy, parameters)


def main():
    parser = argparse.ArgumentParser(description="Show the fused graph of a small program.")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--lines", type=int, default=40, help="lines of kernel source to print")
    parser.add_argument("--folder", default="fused-graph/layer", help="where to write everything")
    args = parser.parse_args()

    torch.manual_seed(0)
    x = torch.randn(args.rows, args.width)
    shapes = [(args.width,), (args.width,), (args.width, args.width)]
    parameters = [(0.1 * torch.randn(shape)).requires_grad_() for shape in shapes]

    forward = torch.explain(layer)(x, *parameters)
    print(f"forward alone: {len(forward.kernels)} kernels\n")

    fused = torch.explain(gradients)(x, *parameters)
    print(fused)

    # The fused graph as a networkx graph: an operation is a node, `kernel` says which launch computes it.
    graph = fused.to_networkx()
    computed = [data for _, data in graph.nodes(data=True) if data["kernel"] >= 0]
    print(f"\n{len(computed)} operations in {len(fused.kernels)} kernels")

    longest = max((kernel for kernel in fused.kernels if kernel.cpu_source), key=lambda kernel: len(kernel.operations))
    print(f"the kernel with most operations is {longest.name}; its source begins\n")
    print("\n".join(longest.cpu_source.splitlines()[: args.lines]))

    fused.save(args.folder)
    print(f"\nexplanation, graph and all sources: {args.folder}/")


if __name__ == "__main__":
    main()
