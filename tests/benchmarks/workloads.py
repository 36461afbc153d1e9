"""What is measured, in groups. `make bench ARGS="reductions"` runs one group, the name of a workload one of it.

Out: `GROUPS`, `WORKLOADS`, and `BOUNDS`: what keeps a workload from its limit now, in words. Read next: a chapter,
`workloads_elementwise.py` first, or `worker.py` for how a step is timed.
"""

from __future__ import annotations

from workload import Workload
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
}
WORKLOADS = {workload.name: workload for group in GROUPS.values() for workload in group}

# What bounds Flamework's best row now. A workload which is not here has not been looked into.
BOUNDS: dict[str, str] = {
    "lstm_train_256x64": "400 launches a step: each time step has its own products and gates",
}
