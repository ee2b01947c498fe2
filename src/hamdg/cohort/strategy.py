"""How Lightning's Trainer meets processes that train together: where each one stands, and what it leaves to cohorts."""

from __future__ import annotations

from lightning.fabric.plugins import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy

from hamdg.cohort.place import Place


class Placed(ClusterEnvironment):
    """Tells a Trainer the place of its process, which is known: nothing is read from environment variables.

    Args:
        place: The place.
    """

    def __init__(self, place: Place) -> None:
        super().__init__()
        self._place = place

    @property
    def creates_processes_externally(self) -> bool:
        """Return that the Trainer starts no processes."""
        return True

    @property
    def main_address(self) -> str:
        """Return where the first process is."""
        return self._place.address

    @property
    def main_port(self) -> int:
        """Return its port."""
        return self._place.port

    @staticmethod
    def detect() -> bool:
        """Return that no Trainer chooses this by itself."""
        return False

    def world_size(self) -> int:
        """Return how many processes there are."""
        return self._place.world

    def set_world_size(self, size: int) -> None:
        """Do nothing: it is known."""

    def global_rank(self) -> int:
        """Return the process's number."""
        return self._place.rank

    def set_global_rank(self, rank: int) -> None:
        """Do nothing: it is known."""

    def local_rank(self) -> int:
        """Return its number on its machine."""
        return self._place.local

    def node_rank(self) -> int:
        """Return its machine's number."""
        return self._place.node


class CohortStrategy(DDPStrategy):
    """Lightning's DDP without its wrapper: a cohort averages gradients itself, right after each backward pass.

    The wrapper counts on one backward pass for all parameters, which would keep what all learners computed in memory
    until the last of them is done, and keeps a second copy of all gradients.

    Args:
        place: Where the process stands.
    """

    def __init__(self, place: Place) -> None:
        super().__init__(cluster_environment=Placed(place))

    @property
    def launcher(self) -> None:
        """Return no launcher: all processes are there when the Trainer is made."""
        return

    def configure_ddp(self) -> None:
        """Wrap nothing: all processes begin with equal weights and apply equal gradients."""

    def barrier(self, name: str | None = None) -> None:
        """Wait for all processes, but not where the first one alone writes a checkpoint."""
        if name != "Trainer.save_checkpoint":
            super().barrier(name)
