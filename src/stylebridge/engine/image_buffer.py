"""A buffer of earlier fakes for discriminators (Shrivastava et al. 2017, section 2.3; CycleGAN, section 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ImageBuffer(nn.Module):
    """Keeps up to ``size`` images; each incoming image is swapped for a kept one with probability ½.

    The images are a module buffer, so that a checkpoint saves them (as ``Method.local``). Processes that pass the
    global batch hold the same images. Vectorised over the batch.
    """

    images: Tensor
    filled: Tensor

    def __init__(self, size: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(size, *shape))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def swap(self, incoming: Tensor, numbers: Tensor) -> Tensor:
        """Exchange images with the buffer.

        Args:
            incoming: [B, C, H, W]; more images than the buffer holds are exchanged in several rounds.
            numbers: [B, 2] uniform in [0, 1): whether to swap, and with which kept image.

        Returns:
            [B, C, H, W]: about half of the images are from earlier calls, once the buffer is full.
        """
        incoming = incoming.to(self.images.dtype)  # may be bf16 under autocast
        size, filled, batch = len(self.images), int(self.filled), len(incoming)
        if batch > size:
            goes = zip(incoming.split(size), numbers.split(size), strict=True)
            return torch.cat([self.swap(*go) for go in goes])
        free = min(size - filled, batch)
        self.images[filled : filled + free] = incoming[:free]
        self.filled += free
        result = incoming.clone()
        late = torch.arange(free, batch, device=incoming.device)
        late = late[numbers[late, 0] < 0.5]
        # Distinct places: two images of one batch must not take the same kept image.
        order = torch.argsort(numbers[:, 1])
        offset = (numbers[0, 1] * size).long()
        places = (offset + order[late]) % size
        result[late] = self.images[places]
        self.images[places] = incoming[late]
        return result
