"""A process that takes part in one training, started by the first one: `python -m hamdg.cohort.member`."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Take part in the training of the process that started this one; return the exit code.

    Args:
        arguments: The fields of a `Place`.
    """
    threading.Thread(target=_leave_with_the_first, daemon=True).start()
    # Only now, since importing torch takes long.
    from hamdg import console
    from hamdg.cohort.joint_training import FAILED, connected, take_part
    from hamdg.cohort.place import Place
    from hamdg.data.parallel import limit_threads

    rank, world, local, per_node, address, port = arguments
    place = Place(int(rank), int(world), int(local), int(per_node), address, int(port))
    limit_threads(int(os.environ["OMP_NUM_THREADS"]))
    try:
        with console.output(quiet=True):
            take_part(connected(place), place)
    except BaseException:  # which the first process shows
        return FAILED
    return 0


def _leave_with_the_first() -> None:
    """End this process at once when the first one closes the pipe between them, as it does when it is killed."""
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    # Not by `sys.exit`, which would wait for threads of a training that was given up.
    os._exit(main(sys.argv[1:]))
