"""Whole training steps: forward, backward and the optimizer's update.

Out: `TRAINING`. Read next: `worker.py`, which times one step.
"""

from __future__ import annotations

import numpy as np
from workload import (
    Workload,
    adam,
    array_adam,
    array_steps,
    jax_spelling,
    jax_training,
    mlx_spelling,
    normal,
    torch_steps,
    training_programs,
)


def scaled(rng, *shape, fan_in=None):
    """Weights whose products with standard normal inputs are of order one."""
    return rng.standard_normal(shape, dtype=np.float32) / np.float32((fan_in or shape[-1]) ** 0.5)


def array_cross_entropy(xp, logits, labels):
    return -xp.mean(xp.take_along_axis(xp.log_softmax(logits), labels[:, None], axis=1))


# Perceptrons.


def mlp_inputs(batch, layers):
    """A batch of inputs, its labels, then weight and bias of each layer."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((batch, layers[0]), dtype=np.float32), rng.integers(0, layers[-1], batch)]
    for fan_in, fan_out in zip(layers, layers[1:]):
        arrays += [scaled(rng, fan_out, fan_in), np.zeros(fan_out, np.float32)]
    return tuple(arrays)


def torch_mlp_loss(torch, parameters, x, y):
    functional = torch.nn.functional
    for i in range(0, len(parameters), 2):
        x = functional.relu(x) if i else x
        x = functional.linear(x, parameters[i], parameters[i + 1])
    return functional.cross_entropy(x, y)


def array_mlp_loss(xp, parameters, x, y):
    for i in range(0, len(parameters), 2):
        x = xp.maximum(x, 0.0) if i else x
        x = xp.matmul(x, parameters[i].T) + parameters[i + 1]
    return array_cross_entropy(xp, x, y)


def mlp_arithmetic(batch, layers):
    products = [2 * batch * a * b for a, b in zip(layers, layers[1:])]
    return 3 * sum(products) - products[0]  # the input needs no gradient


def _mlp(name, text, batch, layers):
    return Workload(name, text, {"batch": batch, "layers": layers}, {"batch": 8, "layers": (6, 5, 4)}, mlp_inputs,
                    training_programs(torch_mlp_loss, array_mlp_loss), arithmetic=mlp_arithmetic, grows="batch")


# Adam alone.


def adam_inputs(n, tensors):
    """Values, then gradients, of so many tensors."""
    return normal(*[(n // tensors,)] * (2 * tensors))


def torch_adam(torch, whole, part, *inputs):
    half = len(inputs) // 2
    parameters = [torch.nn.Parameter(torch.tensor(value)) for value in inputs[:half]]
    for parameter, gradient in zip(parameters, inputs[half:]):
        parameter.grad = torch.tensor(gradient)
    optimizer = adam(torch, parameters)

    @whole
    @part
    def update():
        optimizer.step()

    def step():
        update()
        return tuple(parameters)

    return step


def array_adam_steps(xp, compile, *inputs):
    """Steps of Adam on fixed gradients."""
    half = len(inputs) // 2

    def train(parameters, state, *gradients):
        return None, array_adam(xp, parameters, gradients, state)

    step = array_steps(xp, compile(train), inputs[half:], inputs[:half])
    return lambda: step()[1:]


def _adam(name, text, size, tiny):
    programs = {
        "torch": torch_adam,
        "jax": lambda jax, *inputs: array_adam_steps(
            jax_spelling(jax), lambda train: jax.jit(train, donate_argnums=(0, 1)), *inputs),
        "mlx": lambda mx, *inputs: array_adam_steps(mlx_spelling(mx), lambda train: train, *inputs),
    }
    return Workload(name, text, size, tiny, adam_inputs, programs, lambda n, tensors: 28 * n, grows="n")


# Attention.


def attention_inputs(batch, heads, length, width):
    rng = np.random.default_rng(0)
    x, wanted = normal((batch, length, heads * width), (batch, length, heads * width))
    size = heads * width
    projections = [scaled(rng, heads, size, width, fan_in=size) for _ in range(3)]
    return x, wanted, *projections, scaled(rng, size, size)


def torch_attention_loss(torch, parameters, x, wanted):
    q, k, v = ((x.unsqueeze(1) @ weight) for weight in parameters[:3])
    y = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    y = y.transpose(1, 2).reshape(x.shape) @ parameters[3].T
    return torch.nn.functional.mse_loss(y, wanted)


def array_attention_loss(xp, parameters, x, wanted):
    q, k, v = (xp.matmul(x[:, None], weight) for weight in parameters[:3])
    scores = xp.matmul(q, xp.swapaxes(k, -1, -2)) / q.shape[-1] ** 0.5
    y = xp.matmul(xp.softmax(scores), v)
    y = xp.matmul(xp.swapaxes(y, 1, 2).reshape(x.shape), parameters[3].T)
    return xp.mean((y - wanted) ** 2)


def attention_arithmetic(batch, heads, length, width):
    size = heads * width
    projections, scores = 2 * batch * length * size * size, 2 * batch * heads * length * length * width
    return 3 * (4 * projections + 2 * scores) - 3 * projections


# Convolutional networks.


def convnet_inputs(batch, side, channels):
    rng = np.random.default_rng(0)
    images, labels = rng.standard_normal((batch, 1, side, side), dtype=np.float32), rng.integers(0, 10, batch)
    first, second = channels
    features = second * (side // 2) ** 2
    return (
        images, labels, scaled(rng, first, 1, 3, 3, fan_in=9), np.zeros(first, np.float32),
        scaled(rng, second, first, 3, 3, fan_in=9 * first), np.zeros(second, np.float32),
        scaled(rng, 10, features), np.zeros(10, np.float32),
    )


def torch_convnet_loss(torch, parameters, x, y):
    functional = torch.nn.functional
    w1, b1, w2, b2, w3, b3 = parameters
    x = functional.relu(functional.conv2d(x, w1, b1, padding=1))
    x = functional.relu(functional.conv2d(x, w2, b2, padding=1))
    x = functional.max_pool2d(x, 2).flatten(1)
    return functional.cross_entropy(functional.linear(x, w3, b3), y)


def jax_convnet_loss(xp, parameters, x, y):
    import jax

    w1, b1, w2, b2, w3, b3 = parameters
    for weight, bias in ((w1, b1), (w2, b2)):
        x = jax.lax.conv_general_dilated(x, weight, (1, 1), "SAME") + bias[:, None, None]
        x = xp.maximum(x, 0.0)
    x = jax.lax.reduce_window(x, -np.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    return array_cross_entropy(xp, xp.matmul(x.reshape(x.shape[0], -1), w3.T) + b3, y)


def convnet_arithmetic(batch, side, channels):
    first, second = channels
    one = 2 * batch * side**2 * first * 9
    return 2 * one + 3 * (one * second + 2 * batch * second * (side // 2) ** 2 * 10)


RESNET_BLOCKS = [(1, 1, 1), (1, 1, 1), (1, 2, 2), (2, 2, 1), (2, 4, 2), (4, 4, 1), (4, 8, 2), (8, 8, 1)]


def resnet_inputs(batch, side, width):
    """Images, labels, then the parameters in the order of the modules: weights, and a scale and shift of each norm."""
    rng = np.random.default_rng(0)
    parameters = []

    def layer(inside, outside, size):
        parameters.append(scaled(rng, outside, inside, size, size, fan_in=inside * size**2))
        parameters.extend((np.ones(outside, np.float32), np.zeros(outside, np.float32)))

    layer(3, width, 3)
    for inside, outside, stride in RESNET_BLOCKS:  # channels in units of the width
        layer(inside * width, outside * width, 3)
        layer(outside * width, outside * width, 3)
        if stride > 1:
            layer(inside * width, outside * width, 1)
    parameters += [scaled(rng, 10, 8 * width), np.zeros(10, np.float32)]
    images = rng.standard_normal((batch, 3, side, side), dtype=np.float32)
    return images, rng.integers(0, 10, batch), *parameters


def resnet18(torch, width):
    """ResNet-18 with the stem for small images; `width` is 64 in the original."""
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, inside, outside, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
            self.norm1 = nn.BatchNorm2d(outside)
            self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
            self.norm2 = nn.BatchNorm2d(outside)
            self.short = nn.Sequential()
            if stride != 1 or inside != outside:
                self.short = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

        def forward(self, x):
            y = torch.relu(self.norm1(self.conv1(x)))
            return torch.relu(self.norm2(self.conv2(y)) + self.short(x))

    blocks = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    blocks += [Block(inside * width, outside * width, stride) for inside, outside, stride in RESNET_BLOCKS]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(*blocks)
            self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(8 * width, 10)

        def forward(self, x):
            return self.head(self.pool(self.features(x)).flatten(1))

    return Net()


def torch_resnet(torch, whole, part, images, labels, *parameters):
    model = resnet18(torch, len(parameters[0]))
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), parameters, strict=True):
            parameter.copy_(torch.tensor(value))
    return _model_steps(torch, whole, part, model, images, labels)


def jax_resnet_loss(xp, parameters, images, labels):
    import jax

    left = iter(parameters)

    def layer(x, stride, pad):
        x = jax.lax.conv_general_dilated(x, next(left), (stride, stride), [(pad, pad)] * 2)
        scale, shift = (next(left)[:, None, None] for _ in range(2))
        x = x - xp.mean(x, axis=(0, 2, 3), keepdims=True)
        return x * jax.lax.rsqrt(xp.mean(x * x, axis=(0, 2, 3), keepdims=True) + 1e-5) * scale + shift

    x = xp.maximum(layer(images, 1, 1), 0.0)
    for _, _, stride in RESNET_BLOCKS:
        y = layer(xp.maximum(layer(x, stride, 1), 0.0), 1, 1)
        x = xp.maximum(y + (layer(x, stride, 0) if stride > 1 else x), 0.0)
    weight, bias = left
    return array_cross_entropy(xp, xp.matmul(xp.mean(x, axis=(2, 3)), weight.T) + bias, labels)


def resnet_arithmetic(batch, side, width):
    """Every convolution of a level but the stride's has the same arithmetic, which levels keep too."""
    block = 2 * batch * side**2 * width**2 * 9
    levels = 4 * block + 3 * (0.5 * block + 3 * block + block / 18)
    return 3 * (levels + 2 * batch * side**2 * 27 * width)


# Sequences.


def gpt_inputs(batch, length, layers, width, heads, words):
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, words, (batch, length + 1))
    return tokens[:, :-1].copy(), tokens[:, 1:].reshape(-1).copy(), np.array([length, layers, width, heads, words])


def gpt(torch, length, layers, width, heads, words):
    """A decoder with norms before each part, as GPT-2."""
    nn, functional = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x):
            batch, length, _ = x.shape
            q, k, v = self.qkv(self.norm1(x)).reshape(batch, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
            return x + self.narrow(functional.gelu(self.wide(self.norm2(x))))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.places = nn.Embedding(words, width), nn.Embedding(length, width)
            self.blocks = nn.Sequential(*(Block() for _ in range(layers)))
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words)

        def forward(self, tokens):
            x = self.words(tokens) + self.places.weight
            return self.head(self.norm(self.blocks(x))).reshape(-1, words)

    return Net()


def torch_gpt(torch, whole, part, tokens, following, sizes):
    torch.manual_seed(0)
    return _model_steps(torch, whole, part, gpt(torch, *(int(size) for size in sizes)), tokens, following)


def gpt_arithmetic(batch, length, layers, width, heads, words):
    tokens = batch * length
    products = 2 * tokens * (12 * layers * width**2 + width * words)
    return 3 * (products + layers * 4 * tokens * length * width)


def lstm_inputs(batch, length, width):
    """Sequences and wanted outputs, then the parameters of an LSTM."""
    rng = np.random.default_rng(0)
    x, wanted = normal((length, batch, width), (length, batch, width))
    return (x, wanted, scaled(rng, 4 * width, width), scaled(rng, 4 * width, width), np.zeros(4 * width, np.float32),
            np.zeros(4 * width, np.float32))


def torch_lstm(torch, whole, part, x, wanted, *weights):
    model = torch.nn.LSTM(x.shape[-1], x.shape[-1])
    with torch.no_grad():
        for parameter, weight in zip(model.parameters(), weights):
            parameter.copy_(torch.tensor(weight))
    parameters = list(model.parameters())
    return torch_steps(torch, whole, part, adam(torch, parameters), parameters,
                       lambda x, wanted: torch.nn.functional.mse_loss(model(x)[0], wanted), (x, wanted))


def jax_lstm_loss(xp, parameters, x, wanted):
    import jax

    w_ih, w_hh, b_ih, b_hh = parameters
    zeros = xp.zeros((x.shape[1], w_hh.shape[1]), x.dtype)

    def one(state, part):
        h, c = state
        i, f, g, o = xp.split(part + xp.matmul(h, w_hh.T), 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * xp.tanh(g)
        h = jax.nn.sigmoid(o) * xp.tanh(c)
        return (h, c), h

    _, outputs = jax.lax.scan(one, (zeros, zeros), xp.matmul(x, w_ih.T) + b_ih + b_hh)
    return xp.mean((outputs - wanted) ** 2)


def lstm_arithmetic(batch, length, width):
    product = 2 * batch * length * 4 * width**2
    return 5 * product  # the input needs no gradient


def _model_steps(torch, whole, part, model, x, y):
    parameters = list(model.parameters())
    return torch_steps(torch, whole, part, adam(torch, parameters), parameters,
                       lambda x, y: torch.nn.functional.cross_entropy(model(x), y), (x, y))


ONE_TENSOR, MANY_TENSORS = {"n": 10_000_000, "tensors": 1}, {"n": 10_000_000, "tensors": 500}

TRAINING = [
    _mlp("mlp_train_small", "784-64-64-10, cross-entropy, Adam, batch 32", 32, (784, 64, 64, 10)),
    _mlp("mlp_train_256x512", "784-512-512-10, cross-entropy, Adam, batch 256", 256, (784, 512, 512, 10)),
    _mlp("digits_step", "64-256-128-10, cross-entropy, Adam, batch 64: as examples/digits.py, without its dropout",
         64, (64, 256, 128, 10)),
    Workload("attention_train_b8h8t256d64", "projections, attention of 8 heads, output, mean square loss, SGD",
             {"batch": 8, "heads": 8, "length": 256, "width": 64}, {"batch": 2, "heads": 2, "length": 5, "width": 4},
             attention_inputs, training_programs(torch_attention_loss, array_attention_loss, optimizer="sgd"),
             arithmetic=attention_arithmetic, grows="batch"),
    Workload("convnet_train_b64", "two 3x3 convolutions (32, 64 channels), pool, linear, 28 x 28, Adam, batch 64",
             {"batch": 64, "side": 28, "channels": (32, 64)}, {"batch": 2, "side": 6, "channels": (2, 3)},
             convnet_inputs, training_programs(torch_convnet_loss, jax_convnet_loss, leave_out=("mlx",)),
             arithmetic=convnet_arithmetic, grows="batch"),
    Workload("resnet18_train_b32", "ResNet-18 on 32 x 32 images, cross-entropy, Adam, batch 32",
             {"batch": 32, "side": 32, "width": 64}, {"batch": 4, "side": 8, "width": 2}, resnet_inputs,
             {"torch": torch_resnet, "jax": jax_training(jax_resnet_loss)}, arithmetic=resnet_arithmetic,
             grows="batch"),
    Workload("gpt_train_6l384", "6 layers, 384 wide, 6 heads, context 256, 256 words, Adam, batch 8",
             {"batch": 8, "length": 256, "layers": 6, "width": 384, "heads": 6, "words": 256},
             {"batch": 2, "length": 5, "layers": 2, "width": 8, "heads": 2, "words": 7}, gpt_inputs,
             {"torch": torch_gpt}, arithmetic=gpt_arithmetic, grows="batch"),
    Workload("lstm_train_256x64", "LSTM of 256 units over 64 steps, mean square loss, Adam, batch 32",
             {"batch": 32, "length": 64, "width": 256}, {"batch": 2, "length": 3, "width": 4}, lstm_inputs,
             {"torch": torch_lstm, "jax": jax_training(jax_lstm_loss)},
             arithmetic=lstm_arithmetic, grows="batch"),
    _adam("adam_step_10m", "Adam's step on one tensor of 10 million float32", ONE_TENSOR, {"n": 100, "tensors": 1}),
    _adam("adam_500_tensors", "Adam's step on 500 tensors of 20,000 float32", MANY_TENSORS, {"n": 60, "tensors": 3}),
]
