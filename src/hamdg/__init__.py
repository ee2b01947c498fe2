"""Domain generalization by merging: one model per source domain, their histories merged into one.

What a Lightning script of your own takes from here: `CheckpointHistory`, a callback for any LightningModule; and
`Learner`, `Loss`, `Network`, `Coupling` and `Cohort`, which train several networks in lock-step. Merge methods are in
`hamdg.merge`, benchmarks in `hamdg.data`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hamdg.cohort.cohort import Cohort
    from hamdg.cohort.coupling import Coupling
    from hamdg.cohort.history import CheckpointHistory
    from hamdg.cohort.learner import Learner, Loss
    from hamdg.models.network import Network

__version__ = "0.1.0"
__all__ = ["CheckpointHistory", "Cohort", "Coupling", "Learner", "Loss", "Network", "__version__"]

# They bring torch and Lightning, which `import hamdg` and the command line's help do without.
_WHERE = {
    "CheckpointHistory": "hamdg.cohort.history",
    "Cohort": "hamdg.cohort.cohort",
    "Coupling": "hamdg.cohort.coupling",
    "Learner": "hamdg.cohort.learner",
    "Loss": "hamdg.cohort.learner",
    "Network": "hamdg.models.network",
}


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module `hamdg` has no attribute `{name}`")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
