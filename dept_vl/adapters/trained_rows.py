"""Shifts by position, of which training reaches the first rows only."""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from dept_vl.adapters.contract import Adapter, Rows, check_size
from dept_vl.part import State


class PositionShift(Adapter):
    """Adapters whose row i of a shift belongs to the i-th of `max_length` real tokens; later tokens get none.

    `trained_length` is the number of rows that training reached, None for all: later ones still are as they were drawn,
    so they count as zero in evaluation mode.
    """

    max_length: int
    trained_length: int | None = None

    @property
    def trained_rows(self) -> int:
        return self.max_length if self.trained_length is None else min(self.max_length, self.trained_length)

    @property
    def live_rows(self) -> int:
        """How many rows of the shift count now: all of them in training mode."""
        return self.max_length if self.training else self.trained_rows

    def padded(self, shift: Rows) -> Float[Tensor, "max_length d_model"]:
        """The live rows of a shift, and zeros to `max_length`."""
        return F.pad(shift, (0, 0, 0, self.max_length - len(shift)))

    def observe(self, longest: int) -> None:
        self.trained_length = max(longest, self.trained_length or 0)

    def state(self) -> State:
        return {} if self.trained_length is None else {"trained_length": self.trained_length}

    def load_state(self, state: Mapping[str, int | float | None]) -> None:
        """Raises: BadAdapterSize."""
        if state:
            check_size(type(self).__name__, "trained_length", state.get("trained_length"), minimum=0)
        self.trained_length = state.get("trained_length")
