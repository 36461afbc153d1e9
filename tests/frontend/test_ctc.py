"""The CTC loss: values and gradients of PyTorch, in both layouts of targets, and what no alignment gives."""

import itertools

import flamework
import numpy as np
import pytest
from same_as_torch import array, assert_same

PADDED = np.array([[1, 2, 2], [1, 3, -5], [3, 3, 1], [99, 99, 99]])
LABELS = [3, 2, 3, 0]
JOINED = np.array([1, 2, 2, 1, 3, 3, 3, 1])
STEPS = [7, 5, 6, 7]


def loss_and_gradient(torch, targets, steps=STEPS, labels=LABELS, *, dtype="float64", weights=None, **options):
    scores = torch.tensor(array(7, 4, 4, seed=1, dtype=dtype), requires_grad=True)
    inner = scores.log_softmax(2)
    inner.retain_grad()
    loss = torch.nn.functional.ctc_loss(inner, torch.tensor(targets), steps, labels, **options)
    (loss * torch.arange(1.0, 5.0) if loss.ndim else loss * 3).sum().backward()
    return loss, inner.grad, scores.grad


@pytest.mark.parametrize("targets", [PADDED, JOINED, PADDED.astype("int32")], ids=["padded", "joined", "int32"])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_value_and_gradient(targets, reduction):
    if targets is not JOINED:
        targets = np.where(targets > 3, 0, targets)  # PyTorch reads what does not count
        targets = np.where(targets < 0, 0, targets)
    assert_same(lambda torch: loss_and_gradient(torch, targets, reduction=reduction), rtol=1e-9, atol=1e-12)


def test_single_precision_and_another_blank():
    targets = np.array([[0, 1, 1], [0, 3, 0], [3, 3, 1], [0, 0, 0]])
    assert_same(lambda torch: loss_and_gradient(torch, targets, blank=2, dtype="float32"), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("zero_infinity", [False, True])
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_labels_that_no_alignment_gives(reduction, zero_infinity):
    """Too few steps for two equal labels, none at all, and none for no labels."""
    def script(torch):
        options = {"reduction": reduction, "zero_infinity": zero_infinity}
        return loss_and_gradient(torch, np.clip(PADDED, 0, 3), [3, 0, 6, 0], **options)
    assert_same(script, rtol=1e-9, atol=1e-12)


def test_lengths_as_tensors_and_a_single_sequence():
    def script(torch):
        x = torch.tensor(array(7, 4, dtype="float64")).log_softmax(1)
        labels = torch.tensor([1, 2, 2])
        lengths = [((7,), (3,)), (torch.tensor([6]), torch.tensor([2])), (torch.tensor(5), torch.tensor(3))]
        return [torch.nn.functional.ctc_loss(x, labels[: int(n[0]) if not hasattr(n, "max") else int(n.max())], m, n)
                for m, n in lengths]
    assert_same(script, rtol=1e-9)


def test_the_layer_and_the_function_of_torch():
    def script(torch):
        x = torch.tensor(array(7, 4, 4, dtype="float64")).log_softmax(2)
        arguments = x, torch.tensor(JOINED), torch.tensor(STEPS), torch.tensor(LABELS)
        layer = torch.nn.CTCLoss(blank=0, reduction="sum", zero_infinity=True)
        return repr(layer), layer(*arguments), torch.ctc_loss(*arguments), torch.ctc_loss(*arguments, 0, 0, False)
    assert_same(script, rtol=1e-9)


def test_the_sum_over_all_alignments():
    """Against the definition: every path of three steps that spells the labels."""
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), 3)

    def spelt(path):
        return [c for c, _ in itertools.groupby(path) if c]

    for labels in ([], [1], [2, 1], [1, 1], [1, 2, 1], [2, 2, 1]):
        total = sum(
            np.prod([probabilities[t, c] for t, c in enumerate(path)])
            for path in itertools.product(range(3), repeat=3) if spelt(path) == labels
        )
        loss = flamework.nn.functional.ctc_loss(
            flamework.tensor(probabilities).log(), flamework.tensor([labels], dtype=flamework.int64), (3,),
            (len(labels),), reduction="none",
        )
        np.testing.assert_allclose(np.exp(-loss.item()), total, rtol=1e-12)


def test_inside_a_compiled_function_and_vmap():
    x = flamework.tensor(array(2, 7, 4, 4, dtype="float64")).log_softmax(-1)
    lengths, counts = flamework.tensor(STEPS), flamework.tensor(LABELS)
    targets = flamework.tensor(np.clip(PADDED, 0, 3))

    def loss(scores):
        return flamework.nn.functional.ctc_loss(scores, targets, lengths, counts, reduction="none")

    wanted = flamework.stack([loss(part) for part in x]).numpy()
    compiled = flamework.compile(loss)
    for _ in range(2):
        np.testing.assert_allclose(flamework.stack([compiled(part) for part in x]).numpy(), wanted, rtol=1e-12)
    np.testing.assert_allclose(flamework.func.vmap(loss)(x).numpy(), wanted, rtol=1e-12)


ONES = np.ones((2, 2), int)


@pytest.mark.parametrize(("targets", "steps", "labels", "options"), [
    (ONES, [3, 3], [2], {}), (ONES, [3], [2, 2], {}), (ONES, [3, 4], [2, 2], {}), (ONES, [3, -1], [2, 2], {}),
    (ONES, [3, 3], [3, 2], {}), (ONES, [3, 3], [2, 2], {"blank": 4}), (ONES, [3, 3], [2, 2], {"blank": -1}),
    (ONES[0], [3, 3], [2, 2], {}), (ONES.reshape(4), [3, 3], [2, 1], {}), (np.ones((3, 2), int), [3, 3], [2, 2], {}),
])
def test_refuses_what_pytorch_refuses(targets, steps, labels, options):
    assert_same(lambda torch: torch.nn.functional.ctc_loss(
        torch.zeros(3, 2, 4), torch.tensor(targets), steps, labels, **options), messages=False)


def test_labels_that_are_no_classes_are_refused():
    with pytest.raises(IndexError, match="index 4 is out of bounds"):
        labels = flamework.tensor([[1, 4], [1, 1]])
        flamework.nn.functional.ctc_loss(flamework.zeros(3, 2, 4), labels, [3, 3], [2, 2]).item()


def test_lengths_that_are_not_known_before_are_checked():
    lengths = flamework.tensor([2, 3]) + 1
    with pytest.raises(RuntimeError, match="at most 3, but got value 4"):
        flamework.nn.functional.ctc_loss(flamework.zeros(3, 2, 4), flamework.tensor(ONES), lengths, [2, 2]).item()
