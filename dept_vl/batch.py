"""What one step reads: a batch of rows, and some of its rows as a batch of their own."""

import dataclasses
from collections.abc import Hashable, Sequence

import torch
from jaxtyping import Float, Integer
from torch import Tensor


@dataclasses.dataclass
class Batch:
    """What one step reads. `ids` hold the example ids, on the host."""

    input_ids: Integer[Tensor, "batch seq"]
    mask: Integer[Tensor, "batch seq"]  # 1 = a real token
    labels: Integer[Tensor, "batch target"] | None = None  # -100 = no token
    features: Float[Tensor, "batch patch width"] | None = None
    ids: tuple[Hashable, ...] = ()
    images: tuple[Hashable, ...] | None = None  # the image of each row, where its keys and values are worth keeping
    right_padded: bool = False  # every row's text is known to stand in front of its pads; saves moving them
    adapters: tuple[str, ...] | None = None  # the adapter of each row, in the network's bank; None: the network's own
    tasks: Integer[Tensor, " batch"] | None = None  # the place of each row's task in the mixture that trains; None: one
    covered: Integer[Tensor, "batch seq"] | None = None  # 1 = a token that the shift counts; None: every real one

    def to(self, device: torch.device) -> "Batch":
        return dataclasses.replace(
            self, **{name: value.to(device, non_blocking=True) for name, value in self._tensors().items()}
        )

    def rows(self, rows: Sequence[int]) -> "Batch":
        """These rows, in this order, with all that they carry."""
        index = torch.tensor(rows, device=self.input_ids.device)
        named = {"ids": self.ids, "images": self.images, "adapters": self.adapters}
        return dataclasses.replace(
            self,
            **{name: value[index] for name, value in self._tensors().items()},
            **{name: tuple(each[row] for row in rows) for name, each in named.items() if each},
        )

    def _tensors(self) -> dict[str, Tensor]:
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in fields.items() if isinstance(value, Tensor)}
