"""``nn.functional`` against PyTorch: values, dtypes, gradients, errors."""

import flamework
import flamework.nn.functional as F
import numpy as np
import pytest
from rows import check, check_error

ACTIVATIONS = [
    *(f"F.{name}({t})" for name in (
        "relu", "relu6", "hardtanh", "leaky_relu", "elu", "celu", "selu", "gelu", "silu", "mish", "softplus",
        "hardswish", "logsigmoid", "softsign", "tanhshrink", "softshrink", "hardshrink", "tanh", "sigmoid",
    ) for t in ("x", "edge", "x * 100", "f")),
    "F.relu(i)", "F.relu6(i)", "F.hardtanh(x, -0.3, 0.7)", "F.leaky_relu(x, 0.2)", "F.elu(x, 0.7)",
    "F.gelu(x, approximate='tanh')", "F.softplus(x, 2, 1)", "F.softshrink(x, 0.2)", "F.hardshrink(x, 0.2)",
    "F.threshold(x, 0.1, 7)", "F.glu(x)", "F.glu(mat[:, :4].t(), 0)", "F.prelu(x, scalar.reshape(1))",
    "F.prelu(x, vec)", "F.prelu(image, vec)", "F.rrelu(x)", "F.rrelu(x, 0.2, 0.2, training=True)", "F.softmax(x, 1)",
    "F.softmin(x, 0)", "F.log_softmax(x, 1)", "F.softmax(f, 1, dtype=torch.float64)", "F.softmax(x)",
    "F.log_softmax(cube)", "a = x.clone(); F.elu_(a, 0.5); result = a",
    "a = x.clone(); F.relu(a, inplace=True); result = a", "a = x * 2; F.hardtanh_(a); result = a",
    "a = f.clone(); F.leaky_relu_(a, 0.1); F.threshold_(a, 0.1, 3); F.silu(a, inplace=True); result = a",
    "x.hardshrink(0.2)", "x.prelu(vec)", "a = f.clone(); torch.celu_(a); torch.selu_(a); result = a",
    "torch.dropout(x, 0.5, False)", "torch.embedding(x, idx)", "torch.layer_norm(x, (4,))",
    "torch.kl_div(x, prob, 2)", "torch.batch_norm(x, vec, vec, None, None, True, 0.1, 1e-5, False)",
    "torch.conv1d(seq, seq[:, :, :3])", "torch.adaptive_max_pool1d(seq, 4)",
    "torch.triplet_margin_loss(x, y, unit, 0.5, reduction=0)", "torch.hinge_embedding_loss(x, y.sign())",
    "torch.cosine_embedding_loss(x, y, vec3.sign(), reduction=2)", "torch.margin_ranking_loss(x, y, unit.sign())",
    "torch.binary_cross_entropy_with_logits(x, prob, reduction=1)",
    "torch.instance_norm(seq, vec, vec, None, None, True, 0.1, 1e-5, False)",
    "torch.feature_dropout(image, 0.5, False)", "F.relu(wild.detach())", "F.gelu(scalar)", "F.softplus(empty)",
]

LAYERS = [
    "F.linear(x, mat.t())", "F.linear(x, mat.t(), batch[0, 0])", "F.linear(cube, mat.t(), batch[0, 0])",
    "F.linear(vec, vec)", "F.linear(x, vec)", "F.linear(vec, mat.t())", "F.linear(i, j)",
    "F.bilinear(x, y, cube.reshape(-1)[:16].reshape(1, 4, 4))", "F.bilinear(x, y, batch[:, :4, :4], vec3[:2])",
    "F.layer_norm(x, (4,))", "F.layer_norm(cube, (3, 4), x, y)", "F.layer_norm(f, (4,), f1, f1, 0.1)",
    "F.layer_norm(cube, (4,), vec, vec)", "F.layer_norm(cube, [2, 3, 4])", "F.rms_norm(x, (4,))",
    "F.rms_norm(cube, (3, 4), x, 0.1)", "F.rms_norm(f, (4,), f1)", "F.group_norm(image, 2)",
    "F.group_norm(image, 4, vec, vec)", "F.group_norm(seq, 1, vec)", "F.group_norm(x, 2)",
    "F.batch_norm(image, None, None, vec, vec, training=True)", "F.batch_norm(x, None, None, training=True)",
    "F.batch_norm(image, vec.detach(), vec.detach().abs(), vec, vec)",
    "F.batch_norm(seq, vec.detach(), vec.detach().abs())",
    "m, v = f1.clone(), f1.abs(); r = F.batch_norm(f, m, v, f1, f1, True, 0.3, 1e-3); result = (r, m, v)",
    "m, v = f1.double(), f1.double().abs(); r = F.batch_norm(image, m, v, None, vec, True); result = (r, m, v)",
    "F.instance_norm(image)", "F.instance_norm(seq, weight=vec, bias=vec)",
    "F.instance_norm(image, vec.detach(), vec.detach().abs(), use_input_stats=False)",
    "m, v = f1.double(), f1.double().abs(); r = F.instance_norm(image, m, v, momentum=0.2); result = (r, m, v)",
    "F.local_response_norm(image, 3)", "F.local_response_norm(image, 2, 0.1, 0.5, 2.0)", "F.normalize(x)",
    "F.normalize(x, 1, 0)", "F.normalize(ties, dim=1)", "F.normalize(cube, 3, dim=-1)", "F.embedding(idx, x)",
    "F.embedding(few, f)", "F.embedding(idx, x, padding_idx=1)", "F.embedding(idx, x, padding_idx=-1)",
    "F.embedding(zero_i - 2, x)", "F.embedding(idx, x, scale_grad_by_freq=True)", "F.embedding(few.int(), x)",
    "F.embedding(none_i, x)", "w = f.clone(); r = F.embedding(few, w, max_norm=1.0); result = (r, w)",
    "w = f.clone(); r = F.embedding(few, w, max_norm=0.5, norm_type=1.0); result = (r, w)", "F.one_hot(few)",
    "F.one_hot(idx, 5)", "F.one_hot(zero_i)", "F.cosine_similarity(x, y)", "F.cosine_similarity(x, vec, 1)",
    "F.cosine_similarity(ties, ties.detach() * 0, 0)", "F.cosine_similarity(cube, cube2, -1, 0.1)",
    "F.pairwise_distance(x, y)", "F.pairwise_distance(x, y, 1, keepdim=True)",
    "F.pairwise_distance(x, vec, 3, eps=0.1)", "F.dropout(x, 0.5, False)", "F.dropout(x, 0.0)", "F.dropout(x, 1.0)",
    "F.dropout2d(image, 0.5, False)", "F.alpha_dropout(x, 0.5)", "F.pixel_shuffle(image, 2)",
    "F.pixel_unshuffle(image[:, :, :, :6], 2)", "F.channel_shuffle(image, 2)",
]

_2d = "torch.ones(3, 4, 2, 3, dtype=torch.float64) * 0.1 + image[:1, :, :2, :3]"
CONVOLUTIONS = [
    *(f"F.conv2d(image, {_2d}{options})" for options in (
        "", ", vec3", ", stride=2", ", stride=(2, 1), padding=(1, 2)", ", padding='same'", ", padding='valid'",
        ", dilation=2, padding=2", ", vec3, 2, 1, (1, 2)", ", dilation=(1, 2), padding='same'",
    )),
    "F.conv2d(image, mat.t()[:4].reshape(4, 4, 1, 1)[:, :2], groups=2)",
    "F.conv2d(image, mat[:, :4].reshape(4, 4, 1, 1), stride=2)",
    "F.conv2d(image, image[0, :, None, :2, :3], groups=4, padding=1)", "F.conv2d(image[0], image[:, :, :3, :3])",
    "F.conv2d(image, torch.cat([image[0, :, None, :2, :3]] * 2), vec.repeat(2), 2, groups=4)",
    "F.conv2d(image, torch.cat([image[:, :2, :2, :2]] * 2), groups=2, stride=2, padding=1)",
    "F.conv2d(f.reshape(1, 1, 3, 4), f[:2, :2].reshape(1, 1, 2, 2))", "F.conv1d(seq, seq[:, :, :3])",
    "F.conv1d(seq, seq[:, :, :3], vec[:2], 2, 1, 2)", "F.conv1d(seq[0], seq[:, :, :2], padding='same')",
    "F.conv3d(volume, volume[:, :, :2, :3, :2], padding=1)",
    "F.conv3d(volume, volume[:, :, :2, :2, :2], vec[:1], (1, 2, 1))",
    *(f"F.conv_transpose2d(image, image[:, :, :2, :3].reshape(4, 2, 2, 3){options})" for options in (
        "", ", stride=2", ", vec[:2], 2, 1, 1", ", stride=(1, 3), padding=(0, 1), dilation=2", ", groups=2",
        ", stride=3, groups=4",
    )),
    "F.conv_transpose1d(seq, seq[:, :, :3].reshape(4, 2, 3), stride=2)",
    "F.conv_transpose1d(seq[0], seq[:1, :, :2].reshape(4, 1, 2))",
    "F.conv_transpose3d(volume, volume[0, :, None, :2, :2, :2], stride=2)", "F.unfold(image, (2, 3))",
    "F.unfold(image, 2, 2, 1, 2)", "F.unfold(image[0], 3, stride=3)",
    "F.fold(F.unfold(image, (2, 3), 1, 1, 2), (6, 7), (2, 3), 1, 1, 2)",
]

POOLS = [
    *(f"F.{name}2d(image, {options})" for name in ("max_pool", "avg_pool") for options in (
        "2", "3, 2", "(2, 3), padding=(1, 0)", "3, 2, 1, ceil_mode=True", "2, 1", "3, 3, ceil_mode=True",
    )),
    "F.max_pool2d(image, 2, return_indices=True)", "F.max_pool2d(image, 3, 2, 1, return_indices=True)",
    "F.max_pool2d(image, 2, dilation=2, padding=1)", "F.max_pool2d(image[0], 2)",
    "F.max_pool2d(ties.reshape(1, 1, 3, 4), 2, 1)", "F.max_pool2d(ties[None], (3, 2), 1, return_indices=True)",
    "F.max_pool2d(f[None], 2)", "F.max_pool2d(i[None], 2)", "F.max_pool1d(seq, 3)",
    "F.max_pool1d(seq, 3, 2, 1, return_indices=True)", "F.max_pool3d(volume, 2)",
    "F.max_pool3d(volume, 2, 1, return_indices=True)", "F.avg_pool2d(image, 3, 2, 1, count_include_pad=False)",
    "F.avg_pool2d(image, 3, 2, 1, True, False)", "F.avg_pool2d(image, 2, divisor_override=3)",
    "F.avg_pool2d(image[0], 2)", "F.avg_pool1d(seq, 2)", "F.avg_pool1d(seq, 3, 2, 1, True)",
    "F.avg_pool3d(volume, 2, padding=1)", "F.lp_pool2d(image, 2, 3)",
    "F.lp_pool2d(image.abs(), 1.5, 2, ceil_mode=True)", "F.lp_pool1d(seq, 2, 3, 2)",
    "F.adaptive_avg_pool2d(image, 1)", "F.adaptive_avg_pool2d(image, (3, 7))", "F.adaptive_avg_pool2d(image, (4, 3))",
    "F.adaptive_avg_pool2d(image, (None, 5))", "F.adaptive_avg_pool2d(image[0], 2)", "F.adaptive_avg_pool1d(seq, 4)",
    "F.adaptive_avg_pool3d(volume, (2, 3, 4))", "F.adaptive_max_pool2d(image, (4, 3), return_indices=True)",
    "F.adaptive_max_pool2d(image, 3)", "F.adaptive_max_pool2d(image, 2, return_indices=True)",
    "F.adaptive_max_pool1d(seq, 4)", "F.adaptive_max_pool3d(volume, 3)",
    "v, n = F.max_pool2d(image, 2, return_indices=True); result = F.max_unpool2d(v, n, 2, output_size=(6, 7))",
    "v, n = F.max_pool1d(seq, 3, return_indices=True); result = F.max_unpool1d(v, n, 3, output_size=(9,))",
]

_LABELS = ("x, labels", "x, ignored", "x, labels, vec.detach()", "x, ignored, vec.detach()", "f, labels", "vec, zero_i",
           "image, torch.ones(2, 6, 7).long()", "image, torch.ones(2, 6, 7).long(), vec.detach()")
LOSSES = [
    *(f"F.{name}({args}, reduction='{mode}')" for name in ("cross_entropy", "nll_loss") for args in _LABELS
      for mode in ("mean", "sum", "none")),
    *(f"F.cross_entropy({args}, reduction='{mode}', label_smoothing=0.2)" for args in _LABELS[:4]
      for mode in ("mean", "sum", "none")),
    *(f"F.cross_entropy({args}, reduction='{mode}')"
      for args in ("x, prob", "x, prob, vec.detach()", "image, image.softmax(1)") for mode in ("mean", "sum", "none")),
    "F.cross_entropy(x, prob, label_smoothing=0.3)", "F.cross_entropy(x * 1000, labels)",
    "F.cross_entropy(x, labels, ignore_index=1)", "F.cross_entropy(x, torch.tensor([-100, -100, -100]))",
    "F.cross_entropy(x, labels.to(torch.uint8))", "F.cross_entropy(x, labels, size_average=False)",
    "F.cross_entropy(x, labels, reduce=False)", "F.nll_loss(x, labels, None, True)",
    "F.cross_entropy(vec, vec.softmax(0))",
    *(f"F.{name}({args}, reduction='{mode}')" for name, args in (
        ("mse_loss", "x, y"), ("l1_loss", "x, y"), ("smooth_l1_loss", "x, y"), ("huber_loss", "x, y"),
        ("mse_loss", "f, i"), ("binary_cross_entropy", "prob, unit.abs()"), ("kl_div", "x, prob"),
        ("binary_cross_entropy_with_logits", "x, prob"), ("soft_margin_loss", "x, y.detach()"),
        ("poisson_nll_loss", "x, pos"), ("gaussian_nll_loss", "x, y, pos"), ("hinge_embedding_loss", "x, y.sign()"),
        ("margin_ranking_loss", "x, y, unit.sign()"), ("cosine_embedding_loss", "x, y, vec3.sign()"),
        ("triplet_margin_loss", "x, y, unit"), ("multi_margin_loss", "x, labels"),
        ("multilabel_soft_margin_loss", "x, prob"),
    ) for mode in ("mean", "sum", "none")),
    "F.mse_loss(x, vec)", "F.smooth_l1_loss(x, y, beta=0.3)", "F.smooth_l1_loss(x, y, beta=0)",
    "F.huber_loss(x, y, delta=0.3)", "F.smooth_l1_loss(edge, edge.detach() * 0)",
    "F.huber_loss(edge, edge.detach() * 0)", "F.l1_loss(ties, ties.detach())",
    "F.mse_loss(x, y, weight=pos.detach())", "F.l1_loss(x, y, weight=pos.detach(), reduction='sum')",
    "F.l1_loss(x, y, reduce=False)", "F.binary_cross_entropy(prob, unit.abs(), vec.detach())",
    "F.binary_cross_entropy(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 1.0]))",
    "F.binary_cross_entropy_with_logits(x, prob, vec.detach(), pos_weight=pos.detach())",
    "F.binary_cross_entropy_with_logits(x * 1000, prob)", "F.kl_div(x, prob, reduction='batchmean')",
    "F.kl_div(x, y, log_target=True)", "F.kl_div(x, torch.relu(ties))", "F.poisson_nll_loss(pos, x, log_input=False)",
    "F.poisson_nll_loss(x, pos * 3, full=True)", "F.gaussian_nll_loss(x, y, pos[:, :1], full=True)",
    "F.gaussian_nll_loss(x, y, pos[:, 0])", "F.gaussian_nll_loss(x, y, 2.0)",
    "F.cosine_embedding_loss(x, y, vec3.sign(), margin=0.3)", "F.cosine_embedding_loss(vec, y[0], torch.tensor(1))",
    "F.triplet_margin_loss(x, y, unit, margin=0.5, p=1, swap=True)",
    "F.multi_margin_loss(x, labels, 2, 0.5, vec.detach())", "F.multi_margin_loss(vec, zero_i)",
    "F.multilabel_soft_margin_loss(x, prob, vec.detach())",
    "F.triplet_margin_with_distance_loss(x, y, unit, distance_function=lambda a, b: (a - b).abs().sum(1))",
]

ATTENTION = [
    f"F.scaled_dot_product_attention({args})" for args in (
        "cube, cube2, cube", "cube, cube2, cube, is_causal=True", "cube, cube2, cube, scale=0.3", "deep, deep, deep",
        "cube, cube2, cube, cube[:, :, :3]", "cube, cube2, cube, torch.eye(3).bool()",
        "cube, cube2, cube, torch.zeros(3, 3).bool()", "cube, cube2, cube, torch.tensor([True, False, True])",
        "cube[:, :2], cube2, cube, is_causal=True", "cube.reshape(1, 2, 3, 4), deep[:1], deep[:1], enable_gqa=True",
    )
]

VISION = [
    *(f"F.pad({args})" for args in (
        "x, (1, 2)", "x, (1, 2, 0, 1)", "x, (-1, 1)", "x, (1, 0), value=2.5", "i, (1, 1), value=3",
        "cube, (0, 0, 1, 1), 'constant', -1.0", "x, (-1, -1, 1, 1), value=7", "x, (0, 0)",
        "image, (1, 2, 3, 0), 'reflect'", "image, (1, 2, 3, 0), 'replicate'", "image, (1, 2, 3, 0), 'circular'",
        "seq, (2, 3), 'reflect'", "x, (2, 1), 'replicate'", "x, (1, 1), mode='circular'",
        "volume, (1, 1, 2, 0, 0, 1), 'replicate'", "volume, (1, 1, 2, 0, 0, 1), 'reflect'", "b, (1, 1), value=True",
        "f, (1, 1), value=-inf",
    )),
    *(f"F.interpolate({args})" for args in (
        "image, 3", "image, scale_factor=2", "image, (9, 5)", "image, scale_factor=(1.5, 0.7)",
        "image, 9, mode='nearest-exact'", "seq, 4", "seq, 14, mode='linear'", "image, (9, 4), mode='bilinear'",
        "image, (9, 4), mode='bilinear', align_corners=True", "image, scale_factor=1.7, mode='bilinear'",
        "image, scale_factor=1.7, mode='bilinear', recompute_scale_factor=True", "image, (9, 4), mode='bicubic'",
        "image, (9, 4), mode='bicubic', align_corners=True", "volume, (3, 7, 5), mode='trilinear'",
        "image, (4, 3), mode='area'", "image, 1, mode='bilinear', align_corners=True", "volume, scale_factor=2",
    )),
    "F.upsample(image, 3)", "F.upsample_nearest(image, scale_factor=2)", "F.upsample_bilinear(image, (9, 4))",
]

ERRORS = [
    "F.gelu(i)", "F.gelu(x, approximate='x')", "F.leaky_relu(i)", "F.softplus(i)", "F.glu(x[:, :3])",
    "F.hardtanh(x, 1, 0)", "F.prelu(x, vec3)", "F.cross_entropy(x, torch.tensor([0, 1, 4]))",
    "F.cross_entropy(x, torch.tensor([0, 1]))", "F.cross_entropy(x, vec3)",
    "F.cross_entropy(x, labels, reduction='x')", "F.cross_entropy(x, labels.int())",
    "F.cross_entropy(x, labels, vec3)", "F.cross_entropy(x, labels, label_smoothing=2)",
    "F.nll_loss(x, torch.tensor([0, -1, 1]))", "F.nll_loss(image, labels)", "F.mse_loss(vec, vec3)",
    "F.mse_loss(x, y, reduction='x')", "F.binary_cross_entropy(torch.tensor([2.0]), torch.tensor([1.0]))",
    "F.binary_cross_entropy(vec, vec3)", "F.binary_cross_entropy_with_logits(vec, vec3)", "F.linear(x, x.t())",
    "F.linear(x, mat.t(), vec3)", "F.linear(x, f)", "F.conv2d(image, image[:, :3])",
    "F.conv2d(image, torch.zeros(1, 4, 9, 9).double())", "F.conv2d(x, image)",
    "F.conv2d(image, image[:, :, :2, :2], padding='same', stride=2)", "F.conv2d(image, image, padding='x')",
    "F.conv2d(image, torch.zeros(3, 2, 1, 1).double(), groups=2)", "F.conv2d(image, image, vec)",
    "F.conv2d(image, image, stride=0)", "F.conv2d(image, image, padding=-1)", "F.conv2d(image, image.float())",
    "F.conv_transpose2d(image, image)", "F.conv_transpose2d(image, image.transpose(0, 1), output_padding=1)",
    "F.max_pool2d(image, 2, padding=2)", "F.max_pool2d(image, 9)", "F.max_pool2d(x, 2)", "F.max_pool2d(image, 2, 0)",
    "F.avg_pool2d(image, 2, padding=2)", "F.avg_pool2d(image, 2, divisor_override=0)", "F.layer_norm(x, (3,))",
    "F.layer_norm(x, (4,), vec3)", "F.layer_norm(i, (4,))", "F.group_norm(image, 3)", "F.batch_norm(x, None, None)",
    "F.batch_norm(x[:1], None, None, training=True)", "F.batch_norm(x, vec3, vec3)", "F.instance_norm(x[:, :, None])",
    "F.embedding(torch.tensor([3]), x)", "F.embedding(torch.tensor([-1]), x)", "F.embedding(vec, x)",
    "F.embedding(few, x, padding_idx=5)", "F.dropout(x, 1.5)", "F.pad(x, (1,))", "F.pad(vec, (1, 1, 1, 1))",
    "F.pad(image, (9, 0), 'reflect')", "F.pad(vec, (1, 0), 'reflect')", "F.pad(x, (1, 0), 'x')",
    "F.pad(x, (9, 0), 'circular')", "F.pad(x, (-3, -3))",
    "F.scaled_dot_product_attention(cube, cube, cube, torch.zeros(3, 3), is_causal=True)",
    "F.one_hot(torch.tensor([1, 2]), 2)", "F.one_hot(torch.tensor([-1, 2]))", "F.one_hot(vec)", "F.one_hot(none_i)",
    "F.pixel_shuffle(image, 3)", "F.interpolate(image)", "F.interpolate(image, 3, 2)",
    "F.interpolate(image, 3, mode='linear')", "F.interpolate(image, 3, align_corners=True)",
    "F.smooth_l1_loss(x, y, beta=-1)", "F.huber_loss(x, y, delta=0)", "F.normalize(i)",
    "F.fold(cube, (6, 7), (2, 3))",
]
SAME_TEXT = [
    "F.gelu(x, approximate='x')", "F.cross_entropy(x, torch.tensor([0, 1, 4]))",
    "F.cross_entropy(x, torch.tensor([0, 1]))", "F.cross_entropy(x, vec3)",
    "F.cross_entropy(x, labels, reduction='x')", "F.binary_cross_entropy_with_logits(vec, vec3)",
    "F.conv2d(image, image[:, :3])", "F.conv2d(x, image)", "F.conv2d(image, torch.zeros(1, 4, 9, 9).double())",
    "F.conv2d(image, image[:, :, :2, :2], padding='same', stride=2)", "F.conv2d(image, image, vec)",
    "F.max_pool2d(image, 2, padding=2)", "F.max_pool2d(image, 9)", "F.layer_norm(x, (3,))",
    "F.layer_norm(x, (4,), vec3)", "F.group_norm(image, 3)", "F.batch_norm(x, None, None)",
    "F.batch_norm(x[:1], None, None, training=True)", "F.batch_norm(x, vec3, vec3)",
    "F.embedding(torch.tensor([3]), x)", "F.embedding(vec, x)", "F.dropout(x, 1.5)", "F.pad(x, (1,))",
    "F.linear(x, x.t())", "F.one_hot(torch.tensor([1, 2]), 2)",
]


@pytest.mark.parametrize("expression", [*ACTIVATIONS, *LAYERS])
def test_activation_or_layer_equals_torch(expression):
    check(expression)


@pytest.mark.parametrize(
    "expression", ["F.hardsigmoid(x)", "F.hardsigmoid(edge)", "F.hardsigmoid(f)", "F.celu(x, 0.7)"]
)
def test_activation_equals_torch_up_to_its_float32_constants(expression):
    check(expression, tolerance=1e-7)


@pytest.mark.parametrize("expression", [*CONVOLUTIONS, *POOLS])
def test_window_function_equals_torch(expression):
    check(expression)


@pytest.mark.parametrize("expression", [*LOSSES])
def test_loss_equals_torch(expression):
    check(expression)


@pytest.mark.parametrize("expression", [*ATTENTION, *VISION])
def test_attention_padding_or_resizing_equals_torch(expression):
    check(expression)


SECOND = [
    "F.softmax(x, 1)", "F.log_softmax(x, 1)", "torch.logsumexp(x, 1)", "F.layer_norm(x, (4,), vec)",
    "torch.std(x, 1)", "torch.norm(x, dim=1)", "F.gelu(x)", "F.silu(x)", "F.softplus(x)",
    "F.cross_entropy(x, labels)", "x @ mat @ mat.t()", "torch.prod(pos, 1)", "torch.cumprod(pos, 1)",
    "torch.pow(pos, y)", "F.rms_norm(x, (4,))", "torch.sigmoid(x)",
    "F.conv2d(x[None, None] ** 2, y[None, None, :2, :2])", "F.binary_cross_entropy_with_logits(x, prob)",
    "torch.tan(x)", "F.cosine_similarity(x, y)", "F.max_pool2d(x[None] ** 2, 2)", "torch.amax(x * y, 1)",
    "torch.gather(x ** 2, 1, cols)",
]


@pytest.mark.parametrize("formula", SECOND)
def test_second_gradient_equals_torch(formula):
    first = f"torch.autograd.grad(({formula}).sin().sum(), {'pos' if 'pos' in formula else 'x'}, create_graph=True)[0]"
    check(f"g = {first}; result = g * 2")


@pytest.mark.parametrize("expression", ERRORS)
def test_functional_refuses_what_torch_refuses(expression):
    check_error(expression)


@pytest.mark.parametrize("expression", SAME_TEXT)
def test_functional_error_says_what_torch_says(expression):
    check_error(expression, text=True)


# ------------------------------------------------------------------------------------------------------------- dropout


def test_dropout_keeps_a_share_and_scales_what_it_keeps():
    flamework.manual_seed(0)
    out = F.dropout(flamework.ones(200, 300), 0.3).numpy()
    assert set(np.unique(out)) == {np.float32(0), np.float32(1 / 0.7)}
    assert abs((out == 0).mean() - 0.3) < 0.01


def test_dropout_gives_the_gradient_of_what_it_kept():
    x = flamework.ones(40, 50, requires_grad=True)
    out = F.dropout(x, 0.5)
    out.sum().backward()
    assert (x.grad.numpy() == out.detach().numpy()).all()


def test_dropout_repeats_with_the_seed_and_differs_between_calls():
    flamework.manual_seed(5)
    first, second = F.dropout(flamework.ones(100)).tolist(), F.dropout(flamework.ones(100)).tolist()
    flamework.manual_seed(5)
    assert F.dropout(flamework.ones(100)).tolist() == first
    assert first != second


def test_dropout_continues_from_a_saved_state():
    F.dropout(flamework.ones(7))
    state = flamework.get_rng_state()
    first = F.dropout(flamework.ones(100)).tolist()
    flamework.set_rng_state(state)
    assert F.dropout(flamework.ones(100)).tolist() == first


def test_dropout_in_place_changes_its_argument():
    x = flamework.ones(50)
    assert F.dropout(x, 0.5, inplace=True) is x
    assert set(x.tolist()) == {0.0, 2.0}


@pytest.mark.parametrize(
    ("function", "shape"), [(F.dropout1d, (8, 9, 5)), (F.dropout2d, (8, 9, 5, 5)), (F.dropout3d, (8, 9, 2, 3, 4))]
)
def test_feature_dropout_drops_whole_channels(function, shape):
    flamework.manual_seed(1)
    out = function(flamework.ones(shape), 0.5).numpy().reshape(72, -1)
    assert (out == out[:, :1]).all()
    assert set(np.unique(out)) == {0.0, 2.0}


def test_alpha_dropout_keeps_mean_and_variance():
    flamework.manual_seed(2)
    out = F.alpha_dropout(flamework.randn(400, 400), 0.2, training=True).numpy()
    assert abs(out.mean()) < 0.02
    assert abs(out.std() - 1) < 0.02


def test_attention_dropout_drops_weights():
    flamework.manual_seed(3)
    q = flamework.zeros(1, 20, 4)
    v = flamework.ones(1, 50, 1)
    out = F.scaled_dot_product_attention(q, flamework.zeros(1, 50, 4), v, dropout_p=0.5).numpy()
    assert 0.6 < out.mean() < 1.4
    assert len(np.unique(out)) > 3


def test_rrelu_draws_slopes_between_its_bounds():
    flamework.manual_seed(4)
    slopes = -F.rrelu(-flamework.ones(5000), 0.1, 0.3, training=True).numpy()
    assert 0.1 <= slopes.min() < 0.11
    assert 0.29 < slopes.max() <= 0.3


def test_gumbel_softmax_is_one_hot_if_hard_with_the_gradient_of_the_soft_sample():
    flamework.manual_seed(6)
    logits = flamework.randn(30, 4).requires_grad_()
    hard = F.gumbel_softmax(logits, hard=True)
    assert sorted(np.unique(hard.detach().numpy())) == [0.0, 1.0]
    assert (hard.detach().numpy().sum(1) == 1).all()
    (hard * flamework.arange(4.0)).sum().backward()
    assert logits.grad.abs().sum().item() > 0


def test_cross_entropy_checks_pending_labels_where_they_are_used():
    labels = flamework.tensor([0, 3]) + flamework.tensor([0, 1])
    loss = F.cross_entropy(flamework.zeros(2, 4), labels)
    with pytest.raises(IndexError):
        loss.item()
