"""What processes tell each other: sums by hand, gradients by the samples behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from hamdg.algorithms.ham import enrichment
from hamdg.algorithms.ham.enrichment import combined_loss, select
from hamdg.cohort.peers import ALONE, Measured, Peers, together
from hamdg.cohort.place import Place
from hamdg.cohort.team import StartedTeam
from hamdg.config.algorithms.ham import Combine
from hamdg.merge.files import load_tensors
from tests.cohort import members
from tests.cohort.members import LOSS, SEEN, THRESHOLD, Trained, Written


@dataclass(frozen=True)
class Told(Peers):
    """Peers whose parts are known beforehand: their sum is added to every tensor.

    Args:
        others: What the other processes give, one after another.
    """

    others: tuple[list[float], ...] = ()

    def total(self, values: Tensor) -> Tensor:
        return values + torch.tensor(self.others[0])


def test_alone_nothing_is_sent() -> None:
    own = torch.tensor([1.0])
    assert ALONE.total(own) is own
    assert ALONE.everyone("me") == ["me"]


def test_the_threshold_is_the_mean_over_the_samples_of_all_processes() -> None:
    # The others have three samples, of a mean of 0.5: (0.2 + 0.4 + 1.5) / 5 = 0.42.
    mask, threshold = select(torch.tensor([0.2, 0.4]), torch.tensor([0.41, 0.42, 0.43]), Told(0, 2, ([1.5, 3.0],)))
    assert float(threshold) == pytest.approx(0.42)
    assert mask.tolist() == [False, False, True]


@pytest.mark.parametrize("combine", ["mean", "sum"])
@pytest.mark.parametrize("accepted", [(), (0,), (0, 1, 4), (3,)])
def test_weighted_losses_of_two_processes_have_the_gradient_of_the_whole_batch(
    combine: Combine, accepted: tuple[int, ...]
) -> None:
    draws = torch.Generator().manual_seed(1)
    logits = torch.randn(10, 4, generator=draws, dtype=torch.float64).requires_grad_()
    labels = torch.randint(0, 4, (10,), generator=draws)
    losses = cross_entropy(logits, labels, reduction="none")
    # Samples 0 to 4 are own ones, the others candidates; the first process has two own ones and three candidates.
    parts = [(slice(0, 2), (0, 1, 2)), (slice(2, 5), (3, 4))]
    whole = combined_loss(losses[:5], losses[[5 + k for k in accepted]], combine)
    expected = torch.autograd.grad(whole, logits, retain_graph=True)[0]

    counts = [(len(losses[own]), len(set(pool) & set(accepted))) for own, pool in parts]
    values, weights = [], []
    for number, (own, pool) in enumerate(parts):
        added = losses[[5 + k for k in pool if k in accepted]]
        other = counts[1 - number]
        peers = Told(number, 2, ([float(other[0]), float(other[1])],))
        values.append(combined_loss(losses[own], added, combine, peers))
        weights.append(enrichment.weight(*counts[number], combine))
    mean = sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)
    assert isinstance(mean, Tensor)
    torch.testing.assert_close(mean, whole)
    torch.testing.assert_close(torch.autograd.grad(mean, logits)[0], expected)


def test_parts_of_a_batch_are_put_together_by_hand() -> None:
    parts = [
        Measured(1.0, {LOSS: torch.tensor(4.0)}, {SEEN: torch.tensor(2)}),
        Measured(torch.tensor(3), {LOSS: torch.tensor(8.0)}, {SEEN: torch.tensor(5)}),
    ]
    whole = together(parts)
    assert (float(whole.weight), float(whole.means[LOSS]), float(whole.counts[SEEN])) == (4.0, 7.0, 7.0)
    assert together(parts[:1]) is parts[0]


@pytest.mark.distributed
@pytest.mark.filterwarnings("ignore::UserWarning:lightning", r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated")
@pytest.mark.parametrize("job", [Trained, partial(Trained, accumulate=2), partial(Trained, alone=True)])
def test_a_stranger_s_trainer_gives_the_result_of_one_process(job: Callable[[Path], Trained], tmp_path: Path) -> None:
    one, two = job(tmp_path / "one"), job(tmp_path / "two")
    for folder in (one.folder, two.folder):
        folder.mkdir()
    one(Place(0, 1, 0, 1, "", 0))
    with StartedTeam(2).training(two, cuda=False) as place:
        two(place)
    # One process writes.
    assert sorted(path.name for path in two.folder.iterdir()) == ["0.pt", "1.pt", "history-0"]
    ours, theirs = two.folder / "history-0", one.folder / "history-0"
    names = sorted(path.relative_to(theirs) for path in theirs.rglob("*.safetensors"))
    assert names == sorted(path.relative_to(ours) for path in ours.rglob("*.safetensors"))
    assert len(names) == (3 if two.alone else 6)
    for name in names:
        found = load_tensors(ours / name)
        for key, tensor in load_tensors(theirs / name).items():
            torch.testing.assert_close(found[key], tensor, rtol=1e-4, atol=1e-5, msg=f"{name}: {key}")
    (drawn, latest), (others, other) = (torch.load(two.folder / f"{rank}.pt", weights_only=False) for rank in range(2))
    whole, wanted = torch.load(one.folder / "0.pt", weights_only=False)
    assert latest == other
    assert latest == pytest.approx(wanted, rel=1e-4)
    if not two.alone:  # the first process draws what it draws alone, the others something else
        assert set(drawn) <= set(whole) or two.accumulate > 1
        assert not set(drawn) & set(others)


def test_two_processes_sum_collect_and_average(tmp_path: Path) -> None:
    job = Written(members.everything, tmp_path)
    with StartedTeam(2).training(job, cuda=False) as place:
        job(place)
    for rank in range(2):
        (total, own, names), (found, gradients) = job.read(rank)
        assert (total.tolist(), own.tolist()) == ([3.0, 20.0], [rank + 1.0, 10.0])
        assert names == [{"name": "process 0"}, {"name": "process 1"}]
        # (2 * 2 + 3 * 3) / 5, and twice the same: what was averaged is averaged again.
        assert found[0] == found[1] == {LOSS: pytest.approx(2.6), THRESHOLD: 0.5, SEEN: 5.0, "weight": 5.0}
        assert gradients[0].tolist() == pytest.approx([4.0, -1.0])
        assert gradients[1].tolist() == pytest.approx([3.0])
        assert gradients[2] is None
