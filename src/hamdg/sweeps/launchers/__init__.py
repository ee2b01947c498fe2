"""Launchers: where the runs of a sweep execute (docs/launchers.md).

Another package brings one by an entry point of the group `hamdg.launchers` (docs/extending.md has an example).
"""

from hamdg.sweeps.launchers.base import JobLostError, Launcher
from hamdg.sweeps.launchers.choice import LOCAL, read_launcher, start

__all__ = ["LOCAL", "JobLostError", "Launcher", "read_launcher", "start"]
