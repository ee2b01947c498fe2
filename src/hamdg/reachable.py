"""Whether a server answers."""

from __future__ import annotations

import threading

ANSWER_WITHIN = 3.0


def answers(address: str, within: float | None = None) -> bool:
    """Return whether a server answers, whatever it answers.

    It is asked in a thread, because a name look-up obeys no time limit.

    Args:
        address: The server, such as `https://huggingface.co`.
        within: How many seconds it has; `None` for `ANSWER_WITHIN`.
    """
    # These take longer to import than all else that reads a recipe.
    import urllib.error
    import urllib.request

    limit = ANSWER_WITHIN if within is None else within
    answered = threading.Event()

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=limit).close()
        except urllib.error.HTTPError as error:
            error.close()
        except (OSError, ValueError):
            return
        answered.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(limit)
    return answered.is_set()
