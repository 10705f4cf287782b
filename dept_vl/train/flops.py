"""Count the floating-point operations of a run's frozen model, over all processes and across resumes."""

from accelerate.utils import gather_object

from dept_vl.batch import Batch
from dept_vl.model import Network


class FlopCounter:
    """Operations as the batches were read, and what the whole backbone would have taken; None once a batch has no
    formula."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._own: tuple[int, int] | None = (0, 0)  # of this process since it started
        self._before = [0, 0]  # of all processes, before a resume

    def add(self, batch: Batch) -> None:
        more = self.network.training_flops(batch)
        if more is None or self._own is None:
            self._own = None
        else:
            self._own = self._own[0] + more[0], self._own[1] + more[1]

    def total(self) -> tuple[int, int] | None:
        """Of all processes and of the steps before a resume; every process has to ask."""
        counted = gather_object([self._own])
        if None in counted:
            return None
        now, full = (before + sum(each) for before, *each in zip(self._before, *counted, strict=True))
        return now, full

    def resume(self, total: list[int] | None) -> None:
        """Go on from what a checkpoint of the run had counted."""
        self._before = total or [0, 0]
