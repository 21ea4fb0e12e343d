"""Kept memory: reused once it is free, never before."""

import copy
import gc
import pickle
import threading

import pytest
import torch

from stylebridge.layers.kept_memory import KeptMemory

LIKE = torch.zeros(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_tensors_lie_one_after_another_in_the_same_memory(dtype: torch.dtype) -> None:
    memory, like = KeptMemory(), torch.zeros(1, dtype=dtype)
    first = memory.take((3, 5), like)
    assert (first.shape, first.dtype) == ((3, 5), dtype)
    assert first.is_contiguous()
    where = first.data_ptr()
    assert where % 64 == 0
    del first
    second = memory.take((15,), like)
    assert second.data_ptr() == where
    del second
    assert memory.take((2, 2), like).data_ptr() == where  # smaller: the beginning


@pytest.mark.parametrize(
    "use",
    [
        lambda tensor: tensor,
        lambda tensor: tensor.view(-1)[3:],
        lambda tensor: tensor.detach(),
        lambda tensor: tensor.numpy(),
        lambda tensor: tensor.untyped_storage(),
    ],
    ids=["tensor", "view", "detached", "array", "storage"],
)
def test_what_is_in_use_is_not_handed_out_again(use) -> None:
    memory = KeptMemory()
    tensor = memory.take((2, 4), LIKE).fill_(7)
    where, used = tensor.data_ptr(), use(tensor)
    del tensor
    other = memory.take((2, 4), LIKE)
    assert other.data_ptr() != where
    other.fill_(1)
    if not isinstance(used, torch.UntypedStorage):
        assert (used == 7).all()
    # The newer piece is the one that is kept.
    where = other.data_ptr()
    del other
    assert memory.take((2, 4), LIKE).data_ptr() == where


def test_more_than_there_is() -> None:
    memory = KeptMemory()
    memory.take((4,), LIKE)
    large = memory.take((1000,), LIKE).fill_(2)
    assert large.sum() == 2000
    assert memory.take((0, 3), LIKE).shape == (0, 3)


def test_tensors_outlive_the_memory_and_copies_start_empty() -> None:
    memory = KeptMemory()
    tensor = memory.take((1000,), LIKE).fill_(3)
    copies = [copy.deepcopy(memory), copy.copy(memory), pickle.loads(pickle.dumps(memory))]
    for other in copies:
        other.take((1000,), LIKE).fill_(1)
    memory.release()
    memory.take((1000,), LIKE).fill_(2)
    del memory
    gc.collect()
    assert (tensor == 3).all()


def test_on_other_devices_memory_is_new() -> None:
    assert KeptMemory().take((2, 3), torch.empty(1, device="meta")).device.type == "meta"


def test_two_threads_never_get_the_same() -> None:
    memory, wrong = KeptMemory(), []

    def work(value: int) -> None:
        for _ in range(200):
            tensor = memory.take((64,), LIKE).fill_(value)
            if not (tensor == value).all():
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(value,)) for value in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
