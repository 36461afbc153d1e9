"""What is measured, in groups. `make bench ARGS="reductions"` runs one group, the name of a workload one of it.

Out: `GROUPS`, `WORKLOADS`, and `BOUNDS`: what keeps a workload from its limit now, in words. Read next: a chapter,
`workloads_elementwise.py` first, or `worker.py` for how a step is timed.
"""

from __future__ import annotations

from workload import Workload
from workloads_bandwidth import BANDWIDTH
from workloads_elementwise import ELEMENTWISE, SMALL
from workloads_indexing import INDEXING
from workloads_products import CONVOLUTIONS, PRODUCTS
from workloads_reductions import REDUCTIONS
from workloads_training import TRAINING

GROUPS: dict[str, list[Workload]] = {
    "elementwise": ELEMENTWISE,
    "reductions": REDUCTIONS,
    "small": SMALL,
    "training": TRAINING,
    "products": PRODUCTS,
    "convolutions": CONVOLUTIONS,
    "indexing": INDEXING,
    "bandwidth": BANDWIDTH,
}
#: Groups that are measured on a GPU only, unless they are asked for.
FOR_GPUS = ("bandwidth",)
WORKLOADS = {workload.name: workload for group in GROUPS.values() for workload in group}

# What bounds Flamework's best row now. A workload which is not here has not been looked into.
BOUNDS: dict[str, str] = {
    "gelu_chain_10m": "memory, and the exponential of tanh",
    "gelu_chain_4m_f64": "memory, and the exponential of tanh",
    "axpby_relu_10m": "memory",
    "axpby_relu_4m_f64": "memory",
    "black_scholes_4m": "arithmetic: log, sqrt, exp and two erf an element",
    "black_scholes_4m_f64": "arithmetic: log, sqrt, exp and two erf an element",
    "softmax_4096": "memory, and exp twice an element: for the sum, and for the result",
    "softmax_handwritten_4096": "memory, and exp twice an element",
    "log_softmax_4096": "memory, and exp",
    "log_softmax_handwritten_4096": "memory, and exp",
    "layernorm_8192x1024": "memory",
    "layernorm_train_8192x1024": "memory: one kernel along rows and one down columns read input and cotangent",
    "rmsnorm_8192x1024": "memory",
    "rmsnorm_train_8192x1024": "memory: one kernel along rows and one down columns read input and cotangent",
    "sum_sq_diff_10m": "memory",
    "moments_rows": "memory",
    "moments_columns": "memory, read in tiles of 256 columns, the second time from the cache",
    "moments_middle": "memory, read in tiles of 256 columns, the second time from the cache",
    "moments_all": "memory: read twice, once for the mean and once for the variance",
    "argmax_4096": "memory",
    "cumsum_4096": "latency: an addition waits for the one before it in its row",
    "standardise_cols_20000x500": "memory: mean, variance and result each read all of it",
    "small_ops_100x1000": "the fixed cost of a call, 5 microseconds, and 150 operations by one thread",
    "replay_20_kernels": "1.2 microseconds a launch: each is divided among the threads and waited for",
    "record_operation": "Python: a node, its type, and the checks of its arguments",
    "mlp_train_small": "the fixed cost of a call and 20 launches of microseconds each",
    "mlp_train_256x512": "arithmetic of the products",
    "digits_step": "the fixed cost of a call and 20 launches of microseconds each",
    "attention_train_b8h8t256d64": "arithmetic of the products; those of 64 deep have three quarters of the speed",
    "convnet_train_b64": "arithmetic; the first convolution has one channel, 9 products a result",
    "resnet18_train_b32": "arithmetic of the convolutions",
    "gpt_train_6l384": "arithmetic of the products; attention and normalisation are bound by memory",
    "lstm_train_256x64": "arithmetic of products of 32 rows; 650 launches a step",
    "adam_step_10m": "memory",
    "adam_500_tensors": "memory",
    "matmul_64": "the fixed cost of a call, 5 microseconds",
    "matmul_256": "arithmetic; waking the second thread",
    "matmul_1024": "arithmetic",
    "matmul_2048": "arithmetic",
    "matmul_tall": "arithmetic; rows of 256 are short beside what packing and storing cost",
    "matmul_inner": "arithmetic",
    "matmul_batched": "arithmetic",
    "linear_relu_1024": "arithmetic; bias and activation are a pass of their own over the product",
    "linear_gelu_tall": "arithmetic; bias and activation are a pass of their own over the product",
    "conv_3x3": "arithmetic; results are stored column by column of the product",
    "conv_3x3_train": "arithmetic",
    "conv_1x1": "arithmetic",
    "conv_1x1_train": "arithmetic",
    "conv_strided": "arithmetic; results are stored column by column of the product",
    "conv_strided_train": "arithmetic; gradients of the image are taken in four phases",
    "conv_depthwise": "memory and the first level of cache",
    "conv_depthwise_train": "memory and the first level of cache",
    "conv_grouped": "arithmetic: panels of few filters do not fill the registers",
    "conv_grouped_train": "arithmetic: panels of few filters do not fill the registers",
    "gather_10m": "memory: a line of the cache for each element",
    "scatter_add_10m": "memory: a line of the cache for each element, divided among threads by place",
    "embedding_train_50kx256": "memory: most of it the dense gradient",
    "sort_1m": "radix passes over keys and positions in the cache",
    "topk_1m": "one pass over memory",
    "mask_10m": "memory: positions are counted, then values are moved",
}
