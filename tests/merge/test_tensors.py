"""Digests of tensors, as runs write them down."""

from __future__ import annotations

import hashlib

import pytest
import torch

from hamdg.merge.tensors import sha256_tensor, sha256_tensors


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(), (0,), (3, 2)])
def test_tensors_are_digested_by_their_names_and_values(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    one, two = torch.rand(shape).mul(9).to(dtype), torch.rand(5, 4).T
    plain = [bytes(tensor.contiguous().flatten().view(torch.uint8).tolist()) for tensor in (one, two)]
    assert sha256_tensor(one) == hashlib.sha256(plain[0]).hexdigest()
    wanted = hashlib.sha256(b"a" + plain[0] + b"b" + plain[1]).hexdigest()
    assert sha256_tensors({"b": two, "a": one}) == wanted
