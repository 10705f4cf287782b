"""A plain transformers model over one row at a time, without pads, mask or kept keys: what a causal backbone says."""

from collections.abc import Callable, Sequence

import torch

PROMPT = 3
LENGTHS, TARGETS = (6, 2, 4, 5), (3, 1, 4, 2)
SIDES = ("right", "left", "behind the prompt", "inside")
TIGHT = {"rtol": 1e-4, "atol": 1e-4}


def rows_of(backbone, prompt: int, lengths=LENGTHS, seed: int = 0) -> list[torch.Tensor]:
    """Each row's real embeddings: the same prompt, its own text."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(prompt, backbone.d_model, generator=generator)
    size = len(backbone.embedding_table)
    texts = [backbone.embed(torch.randint(3, size, (1, length), generator=generator))[0] for length in lengths]
    return [torch.cat([start, text]) for text in texts]


def labels_of(backbone, targets=TARGETS) -> torch.Tensor:
    generator = torch.Generator().manual_seed(9)
    labels = torch.randint(3, len(backbone.embedding_table), (len(targets), max(targets)), generator=generator)
    for row, number in enumerate(targets):
        labels[row, number:] = -100
    return labels


def stack(rows: list[torch.Tensor], side: str, prompt: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows padded with noise: on the right, on the left, behind the prompt, or around the first text token."""
    width = max(map(len, rows)) + 2
    embeds, mask = rows[0].new_full((len(rows), width, rows[0].shape[1]), 7.0), torch.zeros(len(rows), width).long()
    for place, row in enumerate(rows):
        pads = width - len(row)
        columns = {
            "right": [*range(len(row))],
            "left": [*range(pads, width)],
            "behind the prompt": [*range(prompt), *range(prompt + pads, width)],
            "inside": [*range(prompt), prompt + 1, *range(prompt + pads + 1, width)],
        }[side]
        embeds[place, columns], mask[place, columns] = row, 1
    return embeds, mask


def reference_logits(plain, row: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """[len(tokens) + 1, vocabulary]: what the plain model says behind the row and behind each of the tokens."""
    given = torch.cat([row, plain.get_input_embeddings()(tokens)])[None]
    return plain(inputs_embeds=given).logits[0, len(row) - 1 :]


def reference_greedy(plain, row: torch.Tensor, steps: int, end: int) -> list[int]:
    tokens: list[int] = []
    while len(tokens) < steps and end not in tokens:
        tokens.append(int(reference_logits(plain, row, torch.tensor(tokens, dtype=torch.int64))[-1].argmax()))
    return tokens + [end] * (steps - len(tokens))


def restricted_greedy(logits_behind: Callable[[Sequence[int]], torch.Tensor], candidates: list[list[int]]) -> int:
    """The candidate that greedy decoding gives which may say nothing else."""
    alive, said = list(range(len(candidates))), []
    while len(alive) > 1:
        allowed = sorted({candidates[each][len(said)] for each in alive})
        logits = logits_behind(said)
        said.append(max(allowed, key=lambda token: logits[token].item()))
        alive = [each for each in alive if candidates[each][: len(said)] == said]
    return alive[0]
