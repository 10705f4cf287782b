"""ACCEPT: adaptive codebook for composite and efficient prompt tuning. Lin et al., Findings of EMNLP 2024;
github.com/AI-Application-and-Integration-Lab/Accept.

    X' = [P; X + S[:seq]]
    P[i] = concatenation over k of  sum over j of  W[i, k, j] C[k, j]
    S[i] = concatenation over k of  sum over j of  V[i, k, j] D[k, j]

with d_model cut into sub-vectors of width t: for the prompt W [prompt, d_model / t, codewords] and C [d_model / t,
codewords, t], t = `prompt_width`; for the shift V and D likewise, over `max_length` rows, t = `shift_width`. A
sub-vector is a learned mixture of the codewords of its sub-space, which all rows share.

All four start uniform as the released code draws them: W and V within 1 / sqrt(sub-spaces x codewords), C within
1 / sqrt(codewords x t), D within sqrt(6 / (codewords x t)). So, unlike DePT's, the shift is not zero at the start, and
the prompt is made of no words. That code also computes a scale as DePT's and does not use it. The published scores
start from a run on another task.
"""

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from dept_vl.adapters.contract import ADAPTERS, Adapter, BadAdapterSize, Pair, Rows, Text, check_size
from dept_vl.adapters.initialise import uniform
from dept_vl.adapters.start import WrongSource, unequal
from dept_vl.adapters.trained_rows import PositionShift


@ADAPTERS.register("accept")
class ACCEPT(PositionShift):
    """`r` is the number of codewords in each sub-space. Takes only d_model (and the device) from `init`.

    Raises: BadAdapterSize.
    """

    published = {"num_virtual_tokens": 60, "max_length": 256, "r": 20, "prompt_width": 32, "shift_width": 256}

    def __init__(
        self,
        init: Rows,
        *,
        num_virtual_tokens: int,
        max_length: int,
        r: int,
        prompt_width: int,
        shift_width: int,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        for name, value in {"num_virtual_tokens": num_virtual_tokens, "max_length": max_length, "r": r}.items():
            check_size("ACCEPT", name, value, minimum=1)
        self.num_virtual_tokens, self.max_length, self.r = num_virtual_tokens, max_length, r
        self.prompt_width, self.shift_width, self.token_dim = prompt_width, shift_width, init.shape[1]
        of_prompt = sub_spaces("prompt_width", prompt_width, self.token_dim)
        of_shift = sub_spaces("shift_width", shift_width, self.token_dim)

        def draw(rows: int, spaces: int, columns: int, bound: float) -> nn.Parameter:
            drawn = uniform(rows, spaces * columns, bound, generator).unflatten(1, (spaces, columns))
            return nn.Parameter(drawn.to(init.device))

        self.prompt_weights = draw(num_virtual_tokens, of_prompt, r, (of_prompt * r) ** -0.5)
        self.prompt_codebook = draw(of_prompt, r, prompt_width, (r * prompt_width) ** -0.5)
        self.shift_weights = draw(max_length, of_shift, r, (of_shift * r) ** -0.5)
        self.shift_codebook = draw(of_shift, r, shift_width, (6 / (r * shift_width)) ** 0.5)

    def pair(self, text: Text | None) -> Pair:
        shift = compose(self.shift_weights[: self.live_rows], self.shift_codebook)
        return Pair(compose(self.prompt_weights, self.prompt_codebook), self.padded(shift))

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {
            "prompt": [self.prompt_weights, self.prompt_codebook],
            "low_rank": [self.shift_weights, self.shift_codebook],
        }

    @torch.no_grad()
    def start_from(self, source: Adapter) -> tuple[str, ...]:
        """New codewords, and rows that the source never trained, start without effect, so the target starts as the
        source's function and can still learn. Raises: WrongSource also for other widths of the sub-vectors."""
        if isinstance(source, ACCEPT) and (source.prompt_width, source.shift_width) != (
            self.prompt_width,
            self.shift_width,
        ):
            raise WrongSource(
                f"wanted a source with prompt_width={self.prompt_width} and shift_width={self.shift_width}, given "
                f"{source.prompt_width} and {source.shift_width}"
            )
        notes = super().start_from(source)
        rows = min(source.trained_rows, self.max_length)
        self.shift_weights[rows:, :, : source.r] = 0  # beside trained codewords a random row would be a random shift
        self.prompt_codebook[:, source.r :] = 0
        self.shift_codebook[:, source.r :] = 0
        self.trained_length = rows
        return (*notes, *unequal("shift row", source.trained_rows, self.max_length))


def compose(
    weights: Float[Tensor, "rows space codeword"], codebook: Float[Tensor, "space codeword width"]
) -> Float[Tensor, "rows d_model"]:
    """Each row's mixtures of the codewords, sub-space by sub-space, side by side."""
    return torch.einsum("nkr,krt->nkt", weights, codebook).flatten(1)


def sub_spaces(name: str, width: int, d_model: int) -> int:
    """How many sub-vectors of that width make d_model. Raises: BadAdapterSize."""
    check_size("ACCEPT", name, width, minimum=1)
    if d_model % width:
        raise BadAdapterSize(f"ACCEPT: wanted {name} to divide d_model={d_model}, given {width}")
    return d_model // width
