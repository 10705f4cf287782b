"""Ask a saved adapter whole prompts, as a harness gives them: free answers, and how likely given answers are.

A prompt is read as it stands, without the adapter's own template, and cut as its training texts were. Of an
encoder-decoder an answer begins anew; of a decoder-only model it goes on behind the prompt; of a chat model the prompt
is the user's turn.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dept_vl.data.batches import NO_LABEL
from dept_vl.data.text import encode_targets, tokenise
from dept_vl.data.token_table import TokenTable
from dept_vl.model import BASE, Batch
from dept_vl.registry import DeptVLWarning
from dept_vl.serve.adapted import AdaptedModel
from dept_vl.serve.pictures import Picture, check_picture, look

_WHOLE = 1 << 30  # tokens: more than any prompt has


@dataclass(frozen=True)
class Prompt:
    """ids: as the model reads them, with what stands around a text. covered: the places of the text itself, where a
    chat template stands around it; None: everywhere."""

    ids: list[int]
    covered: tuple[int, int] | None = None
    picture: Picture | None = None


class Prompted:
    """One adapter of `model` ("__base__": the bare model) that is asked prompts, many rows at a time.

    max_source_length: tokens of a prompt that are read; None is what the adapter records, or all of them.
    """

    def __init__(
        self, model: AdaptedModel, adapter_name: str, *, batch_size: int = 32, max_source_length: int | None = None
    ) -> None:
        """Raises: UnknownAdapter."""
        facts = None if adapter_name == BASE else model.adapters.find(adapter_name).config["task"]
        self.model, self.adapter_name, self.batch_size = model, adapter_name, batch_size
        self.facts = facts or {}  # what the adapter records of its task
        self.max_source_length = max_source_length or self.facts.get("max_source_length") or _WHOLE

    @property
    def kind(self) -> str:
        """seq2seq, causal or chat."""
        return self.model.backbone.text_form

    def prompts(self, texts: Sequence[str], pictures: Sequence[Any] | None = None) -> list[Prompt]:
        """The prompts of these texts, with a DeptVLWarning where some are cut. Raises: UnsupportedPicture, NoRoom."""
        table = self._tokens(texts, self.max_source_length)
        if cut := table.counts["cut"]:
            message = (
                f"{cut} of {len(texts)} prompts have more than max_source_length={self.max_source_length} tokens: "
            )
            warnings.warn(f"{message}their ends were cut", DeptVLWarning, stacklevel=3)
        spans = [None] * len(texts) if table.spans is None else [tuple(each) for each in table.spans.tolist()]
        seen = [None] * len(texts) if pictures is None else pictures
        seen = [None if each is None else check_picture(each) for each in seen]
        return [Prompt(table[row].tolist(), spans[row], seen[row]) for row in range(len(texts))]

    def answer_tokens(self, text: str, answer: str) -> list[int]:
        """Tokens of an answer behind a text, without an end: of a decoder-only model as they are where the two stand
        together, spaces at the text's end included; elsewhere of the answer alone, without the space in front of it."""
        tokenizer = self.model.tokenizer
        if self.kind != "causal":
            return encode_targets(tokenizer, [answer.lstrip()], self.kind)[0][:-1]
        before, whole = self._tokens([text.rstrip(), text + answer], _WHOLE)
        behind = whole[len(before) :].tolist()
        return behind or tokenizer(answer, add_special_tokens=False)["input_ids"]

    @property
    def num_virtual_tokens(self) -> int:
        return self.model.network.bank[self.adapter_name].adapter.num_virtual_tokens

    def likelihoods(self, prompts: Sequence[Prompt], answers: Sequence[list[int]]) -> list[tuple[float, bool]]:
        """The log-probability of each answer's tokens in nats, and whether greedy decoding would give them."""
        found: list[tuple[float, bool]] = [(0.0, True)] * len(prompts)
        lengths = [(len(prompt.ids), len(answer)) for prompt, answer in zip(prompts, answers, strict=True)]
        for rows in self._together(lengths):
            labels = _padded([answers[row] for row in rows], NO_LABEL).to(self.model.device)
            scores, greedy = self._score([prompts[row] for row in rows], labels)
            for row, score, same in zip(rows, scores.tolist(), greedy.tolist(), strict=True):
                found[row] = score, same
        return found

    @torch.no_grad()
    def _score(self, prompts: Sequence[Prompt], labels: Tensor) -> tuple[Tensor, Tensor]:
        network = self.model.network
        batch = self._batch(prompts)
        logits = network.backbone.logits(*network.embed(batch), labels).float()  # [batch, target, vocabulary]
        real, given = labels != NO_LABEL, labels.clamp(min=0)
        nats = logits.log_softmax(-1).gather(2, given.unsqueeze(2)).squeeze(2)  # [batch, target]
        same = (logits.argmax(-1) == given) | ~real
        return torch.where(real, nats, 0.0).sum(1), same.all(1)

    @torch.no_grad()
    def answers(
        self,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int | None = None,
        num_beams: int | None = None,
        **options: Any,
    ) -> list[str]:
        """A free answer to each prompt. Lengths and beams are the adapter's own where they are not given; `options` are
        those of transformers' `generate`."""
        sizes = {
            "max_new_tokens": max_new_tokens or self.facts.get("max_target_length", 256),
            "num_beams": num_beams or self.facts.get("num_beams", 1),
        }
        found = [""] * len(prompts)
        for rows in self._together([(len(prompt.ids), 0) for prompt in prompts]):
            batch = self._batch([prompts[row] for row in rows])
            ids = self.model.network.generate(batch, **sizes, **options)
            for row, text in zip(rows, self.model.tokenizer.batch_decode(ids, skip_special_tokens=True), strict=True):
                found[row] = text
        return found

    def _tokens(self, texts: Sequence[str], most: int) -> TokenTable:
        return tokenise(self.model.tokenizer, texts, most, kind=self.kind, own_cue=True)

    def _together(self, lengths: Sequence[tuple[int, int]]) -> Iterator[list[int]]:
        """Rows in batches, the longest first, by the tokens of their prompts and answers. The longest of either stand
        in one tensor, so they have to fit the model's positions together."""
        self.model.attach_inside(self.adapter_name)
        most = (self.model.backbone.max_positions or _WHOLE) - self.num_virtual_tokens + 1  # the last one takes none
        rows: list[int] = []
        longest = (0, 0)
        for row in sorted(range(len(lengths)), key=lambda row: -sum(lengths[row])):
            both = max(longest[0], lengths[row][0]), max(longest[1], lengths[row][1])
            if rows and (len(rows) == self.batch_size or sum(both) > most):
                yield rows
                rows, both = [], lengths[row]
            rows.append(row)
            longest = both
        if rows:
            yield rows

    def _batch(self, prompts: Sequence[Prompt]) -> Batch:
        lengths = torch.tensor([len(prompt.ids) for prompt in prompts])
        ids = _padded([prompt.ids for prompt in prompts], self.model.tokenizer.pad_token_id)
        places = torch.arange(ids.shape[1])
        mask, covered = (places < lengths[:, None]).long(), None
        if prompts[0].covered is not None:
            first, end = torch.tensor([prompt.covered for prompt in prompts]).unsqueeze(2).unbind(1)
            covered = ((places >= first) & (places < end)).long()
        names = (self.adapter_name,) * len(prompts)
        batch = Batch(ids, mask, adapters=names, right_padded=True, covered=covered).to(self.model.device)
        if all(prompt.picture is None for prompt in prompts):
            return batch
        batch.features, batch.images = look(self.model.tower, [(row, each.picture) for row, each in enumerate(prompts)])
        batch.features = batch.features.to(self.model.device)
        return batch


def stops(until: str | Sequence[str] | None) -> list[str]:
    """The texts that end an answer, as a harness's `until` gives one, several or none."""
    return [until] if isinstance(until, str) else list(until or ())


def cut_at(text: str, ends: Sequence[str]) -> str:
    """The answer up to the first of the texts that end it."""
    for end in ends:
        text = text.partition(end)[0] if end else text
    return text.strip()


def _padded(rows: Sequence[list[int]], fill: int) -> Tensor:
    """[batch, longest], filled behind each row."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows], dtype=torch.int64)
