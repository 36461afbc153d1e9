"""Layers and losses compute what PyTorch's do, forward and backward, and print alike."""

import doctest
import importlib
import pkgutil
import warnings

import flamework
import numpy as np
import pytest
from same_as_torch import array, assert_same

IMAGE = [(2, 4, 7, 6)]
ROWS = [(3, 5, 8)]
VOLUME = [(2, 3, 5, 4, 6)]

# Constructor of the layer and the shapes of its inputs.
LAYERS = {
    "Identity": (lambda nn: nn.Identity(1, a=2), ROWS),
    "Linear": (lambda nn: nn.Linear(8, 4), ROWS),
    "Linear, no bias": (lambda nn: nn.Linear(8, 4, bias=False), ROWS),
    "Linear, vector": (lambda nn: nn.Linear(8, 4), [(8,)]),
    "Bilinear": (lambda nn: nn.Bilinear(8, 3, 4), [(3, 5, 8), (3, 5, 3)]),
    "Bilinear, no bias": (lambda nn: nn.Bilinear(8, 3, 4, bias=False), [(5, 8), (5, 3)]),
    "Flatten": (lambda nn: nn.Flatten(), IMAGE),
    "Flatten, range": (lambda nn: nn.Flatten(0, 2), IMAGE),
    "Unflatten": (lambda nn: nn.Unflatten(2, (2, 4)), ROWS),
    "Unflatten, negative": (lambda nn: nn.Unflatten(-1, (2, -1)), ROWS),
    "Conv2d": (lambda nn: nn.Conv2d(4, 6, 3), IMAGE),
    "Conv2d, all arguments": (lambda nn: nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 2), (1, 2), groups=2, bias=False), IMAGE),
    "Conv2d, same": (lambda nn: nn.Conv2d(4, 4, (3, 2), padding="same", dilation=2), IMAGE),
    "Conv2d, valid": (lambda nn: nn.Conv2d(4, 4, 3, padding="valid"), IMAGE),
    "Conv2d, one image": (lambda nn: nn.Conv2d(4, 6, 3), [(4, 7, 6)]),
    "Conv2d, reflect": (lambda nn: nn.Conv2d(4, 4, 3, padding=(1, 2), padding_mode="reflect"), IMAGE),
    "Conv2d, replicate": (lambda nn: nn.Conv2d(4, 4, 3, padding=1, padding_mode="replicate"), IMAGE),
    "Conv2d, circular same": (lambda nn: nn.Conv2d(4, 4, 2, padding="same", padding_mode="circular"), IMAGE),
    "Conv1d": (lambda nn: nn.Conv1d(5, 4, 3, 2, 1, 2), ROWS),
    "Conv1d, one sequence": (lambda nn: nn.Conv1d(5, 4, 3, padding="same", padding_mode="circular"), [(5, 8)]),
    "Conv3d": (lambda nn: nn.Conv3d(3, 6, (3, 2, 2), (2, 1, 1), groups=3), VOLUME),
    "Conv3d, replicate": (lambda nn: nn.Conv3d(3, 2, 2, padding=1, padding_mode="replicate", bias=False), VOLUME),
    "ConvTranspose1d": (lambda nn: nn.ConvTranspose1d(5, 4, 3), ROWS),
    "ConvTranspose2d": (lambda nn: nn.ConvTranspose2d(4, 6, 3), IMAGE),
    "ConvTranspose2d, all arguments": (
        lambda nn: nn.ConvTranspose2d(4, 6, (3, 2), (2, 3), (1, 0), (1, 2), 2, False, (2, 1)), IMAGE),
    "ConvTranspose2d, one image": (lambda nn: nn.ConvTranspose2d(4, 6, 3, stride=2), [(4, 7, 6)]),
    "ConvTranspose3d": (lambda nn: nn.ConvTranspose3d(3, 2, 2, 2, output_padding=1), VOLUME),
    "Unfold": (lambda nn: nn.Unfold((2, 3), padding=(1, 0), stride=2), IMAGE),
    "Fold": (lambda nn: nn.Fold((4, 5), (2, 3)), [(2, 12, 9)]),
    "Fold, one image": (lambda nn: nn.Fold(5, 2, dilation=2, padding=1, stride=2), [(8, 9)]),
    "MaxPool2d": (lambda nn: nn.MaxPool2d(2), IMAGE),
    "MaxPool2d, all arguments": (lambda nn: nn.MaxPool2d((3, 2), (2, 1), (1, 0), (1, 2), ceil_mode=True), IMAGE),
    "AvgPool2d": (lambda nn: nn.AvgPool2d((2, 3)), IMAGE),
    "AvgPool2d, all arguments": (lambda nn: nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), IMAGE),
    "AvgPool2d, divisor": (lambda nn: nn.AvgPool2d(2, divisor_override=3), IMAGE),
    "MaxPool1d": (lambda nn: nn.MaxPool1d(3, 2, 1, ceil_mode=True), ROWS),
    "MaxPool1d, one sequence": (lambda nn: nn.MaxPool1d((2,), dilation=2), [(5, 8)]),
    "MaxPool3d": (lambda nn: nn.MaxPool3d((2, 3, 2), 2, (1, 1, 0)), VOLUME),
    "MaxPool3d, one volume": (lambda nn: nn.MaxPool3d(2), [(3, 5, 4, 6)]),
    "AvgPool1d": (lambda nn: nn.AvgPool1d(3, 2, 1, True, False), ROWS),
    "AvgPool1d, one sequence": (lambda nn: nn.AvgPool1d((2,)), [(5, 8)]),
    "AvgPool3d": (lambda nn: nn.AvgPool3d((2, 3, 2), 2, (1, 1, 0), divisor_override=5), VOLUME),
    "AvgPool3d, one volume": (lambda nn: nn.AvgPool3d(2), [(3, 5, 4, 6)]),
    "AdaptiveAvgPool1d": (lambda nn: nn.AdaptiveAvgPool1d(3), ROWS),
    "AdaptiveAvgPool1d, more than there are": (lambda nn: nn.AdaptiveAvgPool1d((11,)), ROWS),
    "AdaptiveAvgPool2d": (lambda nn: nn.AdaptiveAvgPool2d((3, 4)), IMAGE),
    "AdaptiveAvgPool2d, one": (lambda nn: nn.AdaptiveAvgPool2d(1), IMAGE),
    "AdaptiveAvgPool2d, None": (lambda nn: nn.AdaptiveAvgPool2d((None, 2)), IMAGE),
    "AdaptiveAvgPool2d, all None": (lambda nn: nn.AdaptiveAvgPool2d((None, None)), IMAGE),
    "AdaptiveAvgPool2d, list": (lambda nn: nn.AdaptiveAvgPool2d([7, 3]), IMAGE),
    "AdaptiveAvgPool2d, one image": (lambda nn: nn.AdaptiveAvgPool2d((2, 9)), [(4, 7, 6)]),
    "AdaptiveAvgPool3d": (lambda nn: nn.AdaptiveAvgPool3d((2, None, 4)), VOLUME),
    "AdaptiveAvgPool3d, one volume": (lambda nn: nn.AdaptiveAvgPool3d(2), [(3, 5, 4, 6)]),
    "AdaptiveMaxPool1d": (lambda nn: nn.AdaptiveMaxPool1d(3), ROWS),
    "AdaptiveMaxPool2d": (lambda nn: nn.AdaptiveMaxPool2d((None, 4)), IMAGE),
    "AdaptiveMaxPool2d, one": (lambda nn: nn.AdaptiveMaxPool2d(1), IMAGE),
    "AdaptiveMaxPool2d, one image": (lambda nn: nn.AdaptiveMaxPool2d((2, 9)), [(4, 7, 6)]),
    "AdaptiveMaxPool3d": (lambda nn: nn.AdaptiveMaxPool3d((2, None, 4)), VOLUME),
    "AdaptiveMaxPool3d, one volume": (lambda nn: nn.AdaptiveMaxPool3d(2), [(3, 5, 4, 6)]),
    "LPPool1d": (lambda nn: nn.LPPool1d(2, 3), ROWS),
    "LPPool2d": (lambda nn: nn.LPPool2d(2, (2, 3), 2, True), IMAGE),
    "ConstantPad1d": (lambda nn: nn.ConstantPad1d((2, -1), 3.5), ROWS),
    "ConstantPad2d": (lambda nn: nn.ConstantPad2d(1, 2), IMAGE),
    "ConstantPad3d": (lambda nn: nn.ConstantPad3d((1, 0, 2, 1, 0, 1), -0.5), VOLUME),
    "ZeroPad1d": (lambda nn: nn.ZeroPad1d(2), ROWS),
    "ZeroPad2d": (lambda nn: nn.ZeroPad2d((1, 2, 0, -1)), IMAGE),
    "ZeroPad3d": (lambda nn: nn.ZeroPad3d(1), VOLUME),
    "ReflectionPad1d": (lambda nn: nn.ReflectionPad1d((3, 1)), ROWS),
    "ReflectionPad2d": (lambda nn: nn.ReflectionPad2d((1, 2, 3, 0)), IMAGE),
    "ReflectionPad3d": (lambda nn: nn.ReflectionPad3d(2), VOLUME),
    "ReplicationPad1d": (lambda nn: nn.ReplicationPad1d(9), ROWS),
    "ReplicationPad2d": (lambda nn: nn.ReplicationPad2d((1, 2, 3, 0)), IMAGE),
    "ReplicationPad3d": (lambda nn: nn.ReplicationPad3d((1, 2, 3, 0, 1, 1)), [(3, 5, 4, 6)]),
    "CircularPad1d": (lambda nn: nn.CircularPad1d(3), ROWS),
    "CircularPad2d": (lambda nn: nn.CircularPad2d((1, 2, 3, 0)), IMAGE),
    "CircularPad3d": (lambda nn: nn.CircularPad3d(1), VOLUME),
    "PixelShuffle": (lambda nn: nn.PixelShuffle(2), IMAGE),
    "PixelUnshuffle": (lambda nn: nn.PixelUnshuffle(2), [(2, 3, 4, 6)]),
    "ChannelShuffle": (lambda nn: nn.ChannelShuffle(2), IMAGE),
    "Upsample": (lambda nn: nn.Upsample(scale_factor=2), ROWS),
    "Upsample, size": (lambda nn: nn.Upsample((3, 9), mode="bilinear", align_corners=False), IMAGE),
    "Upsample, factors": (lambda nn: nn.Upsample(scale_factor=(1.5, 2), mode="bicubic"), IMAGE),
    "UpsamplingNearest2d": (lambda nn: nn.UpsamplingNearest2d(scale_factor=(2, 3)), IMAGE),
    "UpsamplingBilinear2d": (lambda nn: nn.UpsamplingBilinear2d(5), IMAGE),
    "CosineSimilarity": (lambda nn: nn.CosineSimilarity(), [(3, 5), (3, 5)]),
    "CosineSimilarity, last": (lambda nn: nn.CosineSimilarity(-1, 1e-3), [(3, 5, 2), (3, 5, 2)]),
    "PairwiseDistance": (lambda nn: nn.PairwiseDistance(), [(3, 5), (3, 5)]),
    "PairwiseDistance, all arguments": (lambda nn: nn.PairwiseDistance(3.0, 1e-3, True), [(5,), (5,)]),
    "LayerNorm": (lambda nn: nn.LayerNorm(8), ROWS),
    "LayerNorm, two dimensions": (lambda nn: nn.LayerNorm([5, 8], eps=1e-3, bias=False), ROWS),
    "LayerNorm, plain": (lambda nn: nn.LayerNorm((8,), elementwise_affine=False), ROWS),
    "RMSNorm": (lambda nn: nn.RMSNorm(8), ROWS),
    "RMSNorm, plain": (lambda nn: nn.RMSNorm((5, 8), eps=1e-3, elementwise_affine=False), ROWS),
    "GroupNorm": (lambda nn: nn.GroupNorm(2, 4), IMAGE),
    "GroupNorm, plain": (lambda nn: nn.GroupNorm(4, 4, eps=1e-3, affine=False), IMAGE),
    "BatchNorm1d": (lambda nn: nn.BatchNorm1d(5), [(6, 5)]),
    "BatchNorm1d, length": (lambda nn: nn.BatchNorm1d(5, eps=1e-3, momentum=0.3), ROWS),
    "BatchNorm2d": (lambda nn: nn.BatchNorm2d(4), IMAGE),
    "BatchNorm2d, plain": (lambda nn: nn.BatchNorm2d(4, affine=False), IMAGE),
    "BatchNorm2d, cumulative": (lambda nn: nn.BatchNorm2d(4, momentum=None), IMAGE),
    "BatchNorm2d, no averages": (lambda nn: nn.BatchNorm2d(4, track_running_stats=False, bias=False), IMAGE),
    "BatchNorm3d": (lambda nn: nn.BatchNorm3d(3), VOLUME),
    "InstanceNorm1d": (lambda nn: nn.InstanceNorm1d(5), ROWS),
    "InstanceNorm1d, one sequence": (lambda nn: nn.InstanceNorm1d(5, affine=True), [(5, 8)]),
    "InstanceNorm2d": (lambda nn: nn.InstanceNorm2d(4, 1e-3, 0.3, True, True), IMAGE),
    "InstanceNorm2d, averages": (lambda nn: nn.InstanceNorm2d(4, momentum=None, track_running_stats=True), IMAGE),
    "InstanceNorm2d, no bias": (lambda nn: nn.InstanceNorm2d(4, affine=True, bias=False), IMAGE),
    "InstanceNorm3d": (lambda nn: nn.InstanceNorm3d(3, affine=True), VOLUME),
    "LocalResponseNorm": (lambda nn: nn.LocalResponseNorm(2), IMAGE),
    "LocalResponseNorm, all arguments": (lambda nn: nn.LocalResponseNorm(3, 0.1, 0.5, 2.0), ROWS),
    "Dropout1d, none": (lambda nn: nn.Dropout1d(0.0), ROWS),
    "Dropout2d, all": (lambda nn: nn.Dropout2d(1.0), IMAGE),
    "Dropout3d, all": (lambda nn: nn.Dropout3d(1.0), VOLUME),
    "AlphaDropout, all": (lambda nn: nn.AlphaDropout(1.0), ROWS),
    "FeatureAlphaDropout, none": (lambda nn: nn.FeatureAlphaDropout(0.0), IMAGE),
    "Dropout, none": (lambda nn: nn.Dropout(0.0), ROWS),
    "Dropout, all": (lambda nn: nn.Dropout(1.0), ROWS),
    "ReLU": (lambda nn: nn.ReLU(), ROWS),
    "ReLU6": (lambda nn: nn.ReLU6(), ROWS),
    "Hardtanh": (lambda nn: nn.Hardtanh(-0.5, 0.25), ROWS),
    "LeakyReLU": (lambda nn: nn.LeakyReLU(0.2), ROWS),
    "ELU": (lambda nn: nn.ELU(0.7), ROWS),
    "GELU": (lambda nn: nn.GELU(), ROWS),
    "GELU, tanh": (lambda nn: nn.GELU("tanh"), ROWS),
    "SiLU": (lambda nn: nn.SiLU(), ROWS),
    "Sigmoid": (lambda nn: nn.Sigmoid(), ROWS),
    "Tanh": (lambda nn: nn.Tanh(), ROWS),
    "Softplus": (lambda nn: nn.Softplus(2.0, 1.5), ROWS),
    "CELU": (lambda nn: nn.CELU(0.7), ROWS),
    "SELU": (lambda nn: nn.SELU(), ROWS),
    "Mish": (lambda nn: nn.Mish(), ROWS),
    "Hardsigmoid": (lambda nn: nn.Hardsigmoid(), ROWS),
    "Hardswish": (lambda nn: nn.Hardswish(), ROWS),
    "Threshold": (lambda nn: nn.Threshold(0.1, -2.0), ROWS),
    "PReLU": (lambda nn: nn.PReLU(), ROWS),
    "PReLU, channels": (lambda nn: nn.PReLU(4), IMAGE),
    "GLU": (lambda nn: nn.GLU(), ROWS),
    "Hardshrink": (lambda nn: nn.Hardshrink(0.3), ROWS),
    "Softshrink": (lambda nn: nn.Softshrink(0.3), ROWS),
    "Tanhshrink": (lambda nn: nn.Tanhshrink(), ROWS),
    "LogSigmoid": (lambda nn: nn.LogSigmoid(), ROWS),
    "RReLU, one slope": (lambda nn: nn.RReLU(0.25, 0.25), ROWS),
    "Softsign": (lambda nn: nn.Softsign(), ROWS),
    "Softmax": (lambda nn: nn.Softmax(1), ROWS),
    "LogSoftmax": (lambda nn: nn.LogSoftmax(-1), ROWS),
    "Softmin": (lambda nn: nn.Softmin(0), ROWS),
    "Softmax2d": (lambda nn: nn.Softmax2d(), IMAGE),
}


def run(torch, layer, inputs):
    """Return the output of a layer and all gradients of a weighted sum of it."""
    tensors = [torch.tensor(value, requires_grad=True) for value in inputs]
    output = layer(*tensors)
    weights = torch.tensor(array(*output.shape, seed=99))
    (output * weights).sum().backward()
    return output, [t.grad for t in tensors], {name: p.grad for name, p in layer.named_parameters()}


def fill(torch, layer):
    """Give parameters and floating-point buffers values that both packages share."""
    with torch.no_grad():
        for i, (_, value) in enumerate(layer.state_dict().items()):
            if value.is_floating_point():
                value.copy_(torch.tensor(np.abs(array(*value.shape, seed=i)) + 0.1))
    return layer


@pytest.mark.parametrize("case", LAYERS)
def test_layer_computes_pytorchs_output_and_gradients(case):
    make, shapes = LAYERS[case]
    inputs = [array(*shape, seed=i) for i, shape in enumerate(shapes)]

    def script(torch):
        layer = fill(torch, make(torch.nn))
        trained = run(torch, layer, inputs)
        second = layer(*[torch.tensor(value * 2 + 1) for value in inputs])
        state = dict(layer.state_dict())
        layer.eval()
        layer.zero_grad()
        return repr(layer), trained, second, state, run(torch, layer, inputs)
    assert_same(script, rtol=2e-5, atol=5e-6)


@pytest.mark.parametrize("case", ["Linear", "Conv2d", "LayerNorm", "BatchNorm2d", "MaxPool2d", "GELU", "Softmax"])
def test_layer_casts_to_double(case):
    make, shapes = LAYERS[case]
    inputs = [array(*shape, seed=i, dtype="float64") for i, shape in enumerate(shapes)]
    assert_same(lambda torch: fill(torch, make(torch.nn).double())(*map(torch.tensor, inputs)), rtol=1e-10, atol=1e-12)


INPLACE = {
    "ReLU": lambda nn: nn.ReLU(inplace=True),
    "ReLU6": lambda nn: nn.ReLU6(inplace=True),
    "SiLU": lambda nn: nn.SiLU(inplace=True),
    "Hardtanh": lambda nn: nn.Hardtanh(-1, 1, inplace=True),
    "LeakyReLU": lambda nn: nn.LeakyReLU(inplace=True),
    "ELU": lambda nn: nn.ELU(inplace=True),
    "CELU": lambda nn: nn.CELU(inplace=True),
    "SELU": lambda nn: nn.SELU(True),
    "Mish": lambda nn: nn.Mish(True),
    "Hardsigmoid": lambda nn: nn.Hardsigmoid(True),
    "Hardswish": lambda nn: nn.Hardswish(True),
    "Threshold": lambda nn: nn.Threshold(0.1, 2.0, True),
    "RReLU": lambda nn: nn.RReLU(inplace=True).eval(),
    "Dropout": lambda nn: nn.Dropout(1.0, inplace=True),
}


@pytest.mark.parametrize("name", INPLACE)
def test_inplace_layers_overwrite_their_input(name):
    def script(torch):
        layer = INPLACE[name](torch.nn)
        x = torch.tensor(array(4, 3))
        return repr(layer), layer(x), x
    assert_same(script, atol=1e-6)


POOLS_WITH_POSITIONS = {
    "MaxPool1d": (lambda nn: nn.MaxPool1d(2, return_indices=True), (2, 3, 7)),
    "MaxPool2d": (lambda nn: nn.MaxPool2d(2, return_indices=True), (1, 2, 4, 4)),
    "MaxPool3d": (lambda nn: nn.MaxPool3d(2, 1, 1, return_indices=True), (1, 2, 4, 3, 5)),
    "AdaptiveMaxPool1d": (lambda nn: nn.AdaptiveMaxPool1d(3, return_indices=True), (3, 7)),
    "AdaptiveMaxPool2d": (lambda nn: nn.AdaptiveMaxPool2d((3, None), True), (2, 2, 5, 4)),
    "AdaptiveMaxPool3d": (lambda nn: nn.AdaptiveMaxPool3d(2, True), (1, 2, 4, 3, 5)),
}


@pytest.mark.parametrize("name", POOLS_WITH_POSITIONS)
def test_max_pooling_returns_positions(name):
    make, shape = POOLS_WITH_POSITIONS[name]

    def script(torch):
        value = array(*shape)
        value.reshape(-1)[::3] = np.nan  # the last NaN of a window is its maximum
        layer = make(torch.nn)
        equal = torch.zeros(shape, requires_grad=True)
        layer(equal)[0].sum().backward()
        return layer(torch.tensor(value)), layer(equal), equal.grad
    assert_same(script)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_maxima_return_to_their_places(rank):
    def script(torch):
        x = torch.tensor(array(2, 3, *(7,) * rank), requires_grad=True)
        values, places = getattr(torch.nn, f"MaxPool{rank}d")(3, 2, return_indices=True)(x)
        layer = getattr(torch.nn, f"MaxUnpool{rank}d")(3, 2)
        y = layer(values, places, output_size=x.shape[2:])
        (y * torch.tensor(array(*y.shape, seed=1))).sum().backward()
        return repr(layer), y, x.grad, layer(values.detach()[0], places[0])
    assert_same(script)


@pytest.mark.parametrize("size", [(9, 8), (10, 9), (2, 6, 10, 8), (8, 8), (9,)])
def test_output_size_of_a_transposed_convolution(size):
    def script(torch):
        layer = fill(torch, torch.nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1))
        return layer(torch.tensor(array(2, 4, 5, 4)), output_size=size)
    assert_same(script, rtol=2e-5, atol=5e-6, messages=False)


def test_weights_of_convolutions_start_as_pytorchs():
    def script(torch):
        torch.manual_seed(3)
        nn = torch.nn
        layers = [nn.Conv1d(4, 6, 3), nn.Conv3d(2, 3, 2), nn.ConvTranspose1d(4, 6, 3),
                  nn.ConvTranspose2d(4, 6, 3, groups=2)]
        return [list(layer.parameters()) for layer in layers]
    assert_same(script)


def test_instance_norm_of_other_channels_is_refused_or_warned_about():
    x = flamework.ones(2, 3, 4)
    with pytest.raises(ValueError, match=r"dim=1 to match num_features \(5\), but got: 3"):
        flamework.nn.InstanceNorm1d(5, affine=True)(x)
    with pytest.warns(UserWarning, match="does not match num_features"):
        flamework.nn.InstanceNorm1d(5)(x)


@pytest.mark.parametrize("name", ["Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout"])
def test_dropout_of_channels_takes_or_leaves_a_channel(name):
    flamework.manual_seed(1)
    rank = 2 if name == "FeatureAlphaDropout" else int(name[-2])
    layer = getattr(flamework.nn, name)(0.25)
    y = layer(flamework.ones(500, 8, *(3,) * rank)).numpy().reshape(4000, -1)
    assert (y == y[:, :1]).all()
    assert len(np.unique(y)) == 2
    assert abs((y[:, 0] == y[:, 0].min()).mean() - 0.25) < 0.03
    assert layer.eval()(flamework.ones(2, 2, *(1,) * rank)).unique().tolist() == [1.0]


def test_alpha_dropout_keeps_mean_and_variance():
    flamework.manual_seed(2)
    y = flamework.nn.AlphaDropout(0.3)(flamework.randn(200000)).numpy()
    assert abs(y.mean()) < 0.02
    assert abs(y.var() - 1) < 0.02


def adaptive(torch, **options):
    return fill(torch, torch.nn.AdaptiveLogSoftmaxWithLoss(8, 12, [4, 9], 2.0, **options))


@pytest.mark.parametrize("target", [[0, 5, 11, 3, 9], [1, 2, 0, 3, 3], [10, 11, 9, 10, 11], 6])
@pytest.mark.parametrize("head_bias", [False, True])
def test_adaptive_softmax(target, head_bias):
    def script(torch):
        layer = adaptive(torch, head_bias=head_bias)
        x = torch.tensor(array(5, 8) if isinstance(target, list) else array(8), requires_grad=True)
        result = layer(x, torch.tensor(target))
        (result.output.sum() + 2 * result.loss).backward()
        gradients = {name: p.grad for name, p in layer.named_parameters() if p.grad is not None}
        rows = torch.tensor(array(40, 8, seed=3) * 3)
        return repr(layer), result, x.grad, gradients, layer.log_prob(rows), layer.predict(rows)
    assert_same(script, rtol=2e-5, atol=5e-6)


@pytest.mark.parametrize(("x", "target"), [
    ((5, 8), [0, 1, 12, 3, 4]), ((5, 8), [0, -1, 2, 3, 4]), ((5, 8), [1, 2]), ((8,), [1]), ((5, 8), 1), ((1, 8), [[1]]),
])
def test_adaptive_softmax_refuses_targets(x, target):
    assert_same(lambda torch: adaptive(torch)(torch.tensor(array(*x)), torch.tensor(target)), messages=False)


@pytest.mark.parametrize("cutoffs", [[], [0, 3], [5, 3], [3, 3], [12], [2.5]])
def test_adaptive_softmax_refuses_cutoffs(cutoffs):
    assert_same(lambda torch: torch.nn.AdaptiveLogSoftmaxWithLoss(8, 12, cutoffs))


@pytest.mark.parametrize("kind", ["Avg", "Max"])
def test_adaptive_pooling_of_no_images_and_to_no_windows(kind):
    def script(torch):
        layers = [getattr(torch.nn, f"Adaptive{kind}Pool{rank}d") for rank in (1, 2, 3)]
        results = []
        for rank, layer in enumerate(layers, 1):
            for images, windows in ((0, 2), (2, 0)):
                x = torch.zeros((images, 3, *(4,) * rank), requires_grad=True)
                y = layer(windows)(x)
                if kind == "Avg" and windows:  # PyTorch has no other gradient of nothing
                    y.sum().backward()
                results += [y, y.requires_grad, x.grad]
        return results
    assert_same(script)


@pytest.mark.parametrize(("call", "kind"), [
    ("AdaptiveAvgPool2d((2,))(image)", RuntimeError), ("AdaptiveAvgPool2d((2, 2, 2))(image)", RuntimeError),
    ("AdaptiveAvgPool2d(-1)(image)", RuntimeError), ("AdaptiveMaxPool2d(-1)(image)", RuntimeError),
    ("AdaptiveAvgPool2d(None)(image)", TypeError), ("AdaptiveAvgPool1d((None,))(image[0])", TypeError),
    ("AdaptiveMaxPool1d(1.5)(image[0])", TypeError), ("AdaptiveAvgPool2d(2)(image[:, :, :0])", RuntimeError),
    ("AdaptiveMaxPool2d(2)(image[:, :0])", RuntimeError), ("AdaptiveAvgPool3d(2)(image[0])", RuntimeError),
    ("AdaptiveMaxPool2d(2)(image.long())", RuntimeError), ("AdaptiveAvgPool2d(2)(image.long())", RuntimeError),
    ("MaxPool1d(2)(image)", RuntimeError), ("AvgPool3d(2, padding=2)(image)", RuntimeError),
    ("AvgPool1d((2, 3))(image[0])", RuntimeError), ("MaxPool3d(3)(image)", RuntimeError),
])
def test_pooling_refuses_what_pytorch_refuses(call, kind):
    def script(torch):
        with pytest.raises(kind):
            eval("torch.nn." + call, {"torch": torch, "image": torch.zeros(1, 3, 2, 4)})
    assert_same(script)


def test_embedding_looks_up_rows_and_leaves_the_padding_row():
    def script(torch):
        table = torch.tensor(array(6, 3))
        layer = torch.nn.Embedding(6, 3, padding_idx=2, _weight=table.clone())
        index = torch.tensor([[1, 2], [5, 1]])
        output = layer(index)
        (output * torch.tensor(array(2, 2, 3, seed=1))).sum().backward()
        frozen = torch.nn.Embedding.from_pretrained(table)
        return output, layer.weight.grad, repr(layer), frozen(index), frozen.weight.requires_grad, repr(frozen)
    assert_same(script)


def test_embedding_shares_a_pretrained_table():
    table = flamework.zeros(2, 2)
    layer = flamework.nn.Embedding.from_pretrained(table)
    table.add_(1)
    assert layer.weight.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_dropout_keeps_the_mean_and_the_identity_in_evaluation():
    flamework.manual_seed(0)
    layer = flamework.nn.Dropout(0.25)
    kept = layer(flamework.ones(20000)).numpy()
    assert set(np.unique(kept)) == {0.0, np.float32(1 / 0.75)}
    assert abs((kept == 0).mean() - 0.25) < 0.02
    assert layer.eval()(flamework.ones(3)).tolist() == [1.0, 1.0, 1.0]


PROBABILITIES = np.random.default_rng(5).dirichlet(np.ones(5), size=4).astype("float32")
CLASSES = np.array([0, 4, 2, 2])
FACTORS = np.array([0.5, 1.0, 2.0, 1.5, 0.25], dtype="float32")

SIGNS = np.sign(array(4, 5, seed=2))
# labels, and from the first -1 on nothing
LABELS = np.array([[3, 0, -1, 1, 2], [0, 1, 2, 3, 4], [-1, 0, 0, 0, 0], [2, 2, -1, -1, -1]])

# Constructor of the loss, given a function that makes tensors; input and target.
LOSSES = {
    "L1Loss": (lambda nn, t: nn.L1Loss, array(4, 5), array(4, 5, seed=1)),
    "MSELoss": (lambda nn, t: nn.MSELoss, array(4, 5), array(4, 5, seed=1)),
    "SmoothL1Loss": (lambda nn, t: nn.SmoothL1Loss, array(4, 5), array(4, 5, seed=1)),
    "SmoothL1Loss, beta": (lambda nn, t: lambda **k: nn.SmoothL1Loss(beta=0.3, **k), array(4, 5), array(4, 5, seed=1)),
    "HuberLoss": (lambda nn, t: lambda **k: nn.HuberLoss(delta=0.4, **k), array(4, 5), array(4, 5, seed=1)),
    "NLLLoss": (lambda nn, t: nn.NLLLoss, np.log(PROBABILITIES), CLASSES),
    "NLLLoss, weight": (lambda nn, t: lambda **k: nn.NLLLoss(t(FACTORS), ignore_index=2, **k), np.log(PROBABILITIES),
                        CLASSES),
    "CrossEntropyLoss": (lambda nn, t: nn.CrossEntropyLoss, array(4, 5), CLASSES),
    "CrossEntropyLoss, weight": (lambda nn, t: lambda **k: nn.CrossEntropyLoss(
        t(FACTORS), ignore_index=2, label_smoothing=0.2, **k), array(4, 5), CLASSES),
    "CrossEntropyLoss, probabilities": (lambda nn, t: nn.CrossEntropyLoss, array(4, 5), PROBABILITIES),
    "BCELoss": (lambda nn, t: nn.BCELoss, PROBABILITIES, PROBABILITIES[::-1].copy()),
    "BCELoss, weight": (lambda nn, t: lambda **k: nn.BCELoss(t(FACTORS), **k), PROBABILITIES,
                        PROBABILITIES[::-1].copy()),
    "BCEWithLogitsLoss": (lambda nn, t: nn.BCEWithLogitsLoss, array(4, 5), PROBABILITIES),
    "BCEWithLogitsLoss, weights": (lambda nn, t: lambda **k: nn.BCEWithLogitsLoss(
        t(FACTORS), pos_weight=t(FACTORS[::-1].copy()), **k), array(4, 5), PROBABILITIES),
    "KLDivLoss": (lambda nn, t: nn.KLDivLoss, np.log(PROBABILITIES), PROBABILITIES[::-1].copy()),
    "PoissonNLLLoss": (lambda nn, t: nn.PoissonNLLLoss, array(4, 5), array(4, 5, seed=1)),
    "PoissonNLLLoss, full": (lambda nn, t: lambda **k: nn.PoissonNLLLoss(False, True, eps=1e-3, **k), PROBABILITIES,
                             np.abs(array(4, 5, seed=1)) * 3),
    "HingeEmbeddingLoss": (lambda nn, t: nn.HingeEmbeddingLoss, array(4, 5), SIGNS),
    "HingeEmbeddingLoss, margin": (lambda nn, t: lambda **k: nn.HingeEmbeddingLoss(0.3, **k), array(4, 5), SIGNS),
    "SoftMarginLoss": (lambda nn, t: nn.SoftMarginLoss, array(4, 5), SIGNS),
    "MultiLabelSoftMarginLoss": (lambda nn, t: nn.MultiLabelSoftMarginLoss, array(4, 5), (SIGNS + 1) / 2),
    "MultiLabelSoftMarginLoss, weight": (lambda nn, t: lambda **k: nn.MultiLabelSoftMarginLoss(t(FACTORS), **k),
                                         array(4, 5), (SIGNS + 1) / 2),
    "MultiLabelMarginLoss": (lambda nn, t: nn.MultiLabelMarginLoss, array(4, 5), LABELS),
    "MultiLabelMarginLoss, one example": (lambda nn, t: nn.MultiLabelMarginLoss, array(5), LABELS[1]),
    "MultiMarginLoss": (lambda nn, t: nn.MultiMarginLoss, array(4, 5), CLASSES),
    "MultiMarginLoss, all arguments": (lambda nn, t: lambda **k: nn.MultiMarginLoss(2, 0.5, t(FACTORS), **k),
                                       array(4, 5), CLASSES),
    "MultiMarginLoss, one example": (lambda nn, t: nn.MultiMarginLoss, array(5), CLASSES[1]),
    "KLDivLoss, log": (lambda nn, t: lambda **k: nn.KLDivLoss(log_target=True, **k), np.log(PROBABILITIES),
                       np.log(PROBABILITIES[::-1])),
}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("case", LOSSES)
def test_loss_and_its_gradient(case, reduction):
    make, input, target = LOSSES[case]

    def script(torch):
        loss = make(torch.nn, torch.tensor)(reduction=reduction)
        x = torch.tensor(input, requires_grad=True)
        with warnings.catch_warnings():
            # KLDivLoss warns that its mean is no divergence.
            warnings.simplefilter("ignore")
            value = loss(x, torch.tensor(np.ascontiguousarray(target)))
        value.sum().backward()
        return value, x.grad, repr(loss), list(loss.state_dict())
    assert_same(script, rtol=1e-5, atol=1e-6)


VECTORS = [(4, 5), (4, 5)]
# Constructor, the shapes of its inputs, and what follows them.
LOSSES_OF_SEVERAL = {
    "MarginRankingLoss": (lambda nn: lambda **k: nn.MarginRankingLoss(0.5, **k), VECTORS, [SIGNS]),
    "CosineEmbeddingLoss": (lambda nn: lambda **k: nn.CosineEmbeddingLoss(0.2, **k), VECTORS, [SIGNS[:, 0]]),
    "GaussianNLLLoss": (lambda nn: lambda **k: nn.GaussianNLLLoss(full=True, eps=0.1, **k), VECTORS,
                        [np.abs(array(4, 1, seed=6))]),
    "TripletMarginLoss": (lambda nn: nn.TripletMarginLoss, [*VECTORS, (4, 5)], []),
    "TripletMarginLoss, all arguments": (lambda nn: lambda **k: nn.TripletMarginLoss(0.5, 1.5, 1e-3, True, **k),
                                         [*VECTORS, (4, 5)], []),
    "TripletMarginWithDistanceLoss": (lambda nn: nn.TripletMarginWithDistanceLoss, [*VECTORS, (4, 5)], []),
    "TripletMarginWithDistanceLoss, all arguments": (
        lambda nn: lambda **k: nn.TripletMarginWithDistanceLoss(
            distance_function=lambda x, y: (x - y).abs().amax(-1), margin=0.5, swap=True, **k),
        [*VECTORS, (4, 5)], []),
}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("case", LOSSES_OF_SEVERAL)
def test_loss_of_several_inputs_and_its_gradients(case, reduction):
    make, shapes, rest = LOSSES_OF_SEVERAL[case]

    def script(torch):
        loss = make(torch.nn)(reduction=reduction)
        inputs = [torch.tensor(array(*shape, seed=i), requires_grad=True) for i, shape in enumerate(shapes)]
        value = loss(*inputs, *map(torch.tensor, rest))
        value.sum().backward()
        return value, [x.grad for x in inputs], repr(loss)
    assert_same(script, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("scores", "labels"), [
    (array(4, 5), LABELS[:3]), (array(4, 5), LABELS[0]), (array(4, 5), LABELS.astype("int32")),
    (array(2, 2, 2), np.zeros((2, 2, 2), int)), (array(4, 5), SIGNS), (array(4, 0), np.zeros((4, 0), int)),
])
def test_multilabel_margin_loss_refuses_what_pytorch_refuses(scores, labels):
    assert_same(lambda torch: torch.nn.MultiLabelMarginLoss()(torch.tensor(scores), torch.tensor(labels)),
                messages=False)


@pytest.mark.parametrize("label", [5, -2])
def test_multilabel_margin_loss_refuses_labels_that_are_no_classes(label):
    loss, scores = flamework.nn.MultiLabelMarginLoss(), flamework.zeros(5)
    for labels in ([0, label, -1, 0, 0], [0, -1, 0, 0, label]):
        with pytest.raises(RuntimeError, match="'target' is out of range"):
            loss(scores, flamework.tensor(labels))
    with pytest.raises(IndexError):
        loss(scores, flamework.tensor([0, label, -1, 0, 0]) + 0).item()


@pytest.mark.parametrize(("size_average", "reduce", "name"), [
    (None, None, "mean"), (True, None, "mean"), (False, None, "sum"), (None, True, "mean"), (None, False, "none"),
    (False, True, "sum"), (True, False, "none"),
])
def test_old_arguments_choose_the_reduction(size_average, reduce, name):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loss = flamework.nn.MSELoss(size_average, reduce)
    assert loss.reduction == name
    assert bool(caught) == (size_average is not None or reduce is not None)


ERRORS = {
    "dropout probability": lambda nn, torch: nn.Dropout(1.5),
    "empty interval": lambda nn, torch: nn.Hardtanh(1, 1),
    "groups": lambda nn, torch: nn.Conv2d(3, 4, 1, groups=2),
    "output groups": lambda nn, torch: nn.Conv2d(4, 3, 1, groups=2),
    "no groups": lambda nn, torch: nn.Conv2d(4, 4, 1, groups=0),
    "same with stride": lambda nn, torch: nn.Conv2d(4, 4, 1, stride=2, padding="same"),
    "group norm": lambda nn, torch: nn.GroupNorm(3, 4),
    "batch norm of an image": lambda nn, torch: nn.BatchNorm1d(3)(torch.zeros(2, 3, 4, 4)),
    "batch norm of rows": lambda nn, torch: nn.BatchNorm2d(3)(torch.zeros(2, 3)),
    "bilinear": lambda nn, torch: nn.Bilinear(0, 1, 1),
    "unflatten type": lambda nn, torch: nn.Unflatten(1, 3),
    "unflatten element": lambda nn, torch: nn.Unflatten(1, (3, "a")),
    "softmax of rows": lambda nn, torch: nn.Softmax2d()(torch.zeros(2, 3)),
    "huber delta": lambda nn, torch: nn.HuberLoss(delta="a"),
    "transposed padding mode": lambda nn, torch: nn.ConvTranspose2d(4, 4, 1, padding_mode="reflect"),
    "batch norm of a volume": lambda nn, torch: nn.BatchNorm3d(3)(torch.zeros(2, 3, 4)),
    "instance norm of a volume": lambda nn, torch: nn.InstanceNorm2d(3)(torch.zeros(2, 3, 4, 4, 4)),
    "margin power": lambda nn, torch: nn.MultiMarginLoss(p=3),
    "margin weight": lambda nn, torch: nn.MultiMarginLoss(weight=torch.zeros(2, 2)),
    "triplet margin": lambda nn, torch: nn.TripletMarginLoss(margin=0),
    "padding index": lambda nn, torch: nn.Embedding(3, 2, padding_idx=3),
    "table": lambda nn, torch: nn.Embedding.from_pretrained(torch.zeros(3)),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_have_pytorchs_type_and_text(case):
    assert_same(lambda torch: ERRORS[case](torch.nn, torch))


@pytest.mark.parametrize("sizes", [(3, 3), (-1, -1), (-1, 3)])
def test_unflatten_to_another_size_is_refused(sizes):
    with pytest.raises(RuntimeError, match="unflatten"):
        flamework.nn.Unflatten(1, sizes)(flamework.zeros(2, 8))


@pytest.mark.parametrize("name", ["padding", "padding_mode"])
def test_unknown_padding_is_refused(name):
    with pytest.raises(ValueError, match="adding"):
        flamework.nn.Conv2d(1, 1, 1, **{name: "unknown"})


# ------------------------------------------------------------------------------------------------------------- utils


def with_gradients(torch):
    parameters = [torch.nn.Parameter(torch.zeros(3, 2)), torch.nn.Parameter(torch.zeros(4)),
                  torch.nn.Parameter(torch.zeros(1))]
    for i, parameter in enumerate(parameters[:2]):
        parameter.grad = torch.tensor(array(*parameter.shape, seed=i))
    return parameters


@pytest.mark.parametrize("norm_type", [1, 2, 3.5, float("inf"), "inf"])
@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_clipping_the_norm(norm_type, max_norm):
    def script(torch):
        parameters = with_gradients(torch)
        total = torch.nn.utils.clip_grad_norm_(iter(parameters), max_norm, norm_type)
        return total, [p.grad for p in parameters]
    assert_same(script, rtol=2e-6)


def test_clipping_without_gradients_or_with_infinite_ones():
    def script(torch):
        lone = torch.nn.Parameter(torch.zeros(2))
        nothing = torch.nn.utils.clip_grad_norm_(lone, 1.0)
        lone.grad = torch.tensor([1.0, float("inf")])
        return nothing, torch.nn.utils.clip_grad_norm_(lone, 1.0, error_if_nonfinite=True)
    assert_same(script)


def test_clipping_values():
    def script(torch):
        parameters = with_gradients(torch)
        torch.nn.utils.clip_grad_value_(parameters, 0.3)
        return [p.grad for p in parameters]
    assert_same(script)


def test_parameters_as_a_vector_and_back():
    def script(torch):
        layer = torch.nn.Linear(3, 2)
        vector = torch.nn.utils.parameters_to_vector(layer.parameters())
        torch.nn.utils.vector_to_parameters(torch.arange(8.0), layer.parameters())
        return tuple(vector.shape), layer.weight, layer.bias, layer.weight.requires_grad
    assert_same(script)


# ---------------------------------------------------------------------------------------------------------- examples


def chapters():
    names = []
    for package in ("flamework.nn", "flamework.optim"):
        path = importlib.import_module(package).__path__
        names += [f"{package}.{chapter.name}" for chapter in pkgutil.iter_modules(path)
                  if not chapter.name.startswith("functional")]
    return names


@pytest.mark.parametrize("chapter", chapters())
def test_examples_in_the_documentation(chapter):
    results = doctest.testmod(importlib.import_module(chapter))
    assert results.failed == 0
