"""The model `dept_vl` of lmms-eval, in its simple and its chat form: a saved adapter beside its frozen models.

    python -m lmms_eval --model dept_vl --model_args adapter=FOLDER --tasks NAME --batch_size 32

lmms-eval finds it by the entry point of the group lmms_eval.models. A question is asked in the adapter's own prompt
format and answered with its own length and beams, so that a score is that of `dept-vl evaluate`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms
from lmms_eval.models.registry_v2 import ModelManifest

from dept_vl.serve.adapted import AdaptedModel
from dept_vl.serve.named import DEFAULT_NAME
from dept_vl.serve.plugins.prompts import Prompted, cut_at, stops
from dept_vl.serve.rows import WrongRows

SUFFIX = "Answer the question using a single word or phrase."
"""What lmms-eval's VQA tasks put behind a question; no adapter was trained with it."""


class AdapterSimple(lmms):
    """Text and pictures of a request, as lmms-eval's simple models get them."""

    is_simple = True

    def __init__(
        self,
        adapter: str,
        backbone: str | None = None,
        vision: str | None = None,
        suffix: str = SUFFIX,
        dtype: str = "float32",
        batch_size: int | str = 32,
        device: str | None = None,
        **others: Any,
    ) -> None:
        """The harness's --model_args, and what its own flags give.

        Args:
            adapter: an adapter or run folder, for VQA or captions.
            backbone, vision: folders of the frozen models in place of the recorded names.
            suffix: taken off the end of a question.
            dtype: in which the language model computes, float32 or bfloat16.
            batch_size: questions at once; what is no number is 32.
            device: None is a GPU where there is one.

        Raises: ValueError for arguments that are none of these.
        """
        super().__init__()
        given = {name: value for name, value in others.items() if value is not None and name != "max_batch_size"}
        if given:
            raise ValueError(f"model_args: wanted adapter, backbone, vision, suffix or dtype, given {sorted(given)}")
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.adapted = AdaptedModel.from_pretrained(adapter, device, backbone, vision, dtype=dtype)
        self.suffix, self.batch_size = suffix, int(batch_size) if str(batch_size).isdecimal() else 32

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """The answers; an adapter for captions reads the pictures alone. Raises: WrongRows, WrongTask."""
        facts = self.adapted.adapters.find(DEFAULT_NAME).config["task"] or {}
        found = []
        for start in range(0, len(requests), self.batch_size):
            asked = [self._asked(request) for request in requests[start : start + self.batch_size]]
            texts, pictures = [text for text, _, _ in asked], [picture for _, picture, _ in asked]
            if facts.get("name") == "caption":
                answers = self.adapted.caption(pictures)
            else:
                answers = self.adapted.answer(pictures, texts)
            found += [cut_at(text, until) for text, (_, _, until) in zip(answers, asked, strict=True)]
        return found

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """Of each request's target, in nats, behind its text as it stands, and whether greedy decoding gives it."""
        prompted = Prompted(self.adapted, DEFAULT_NAME, batch_size=self.batch_size)
        texts, pictures, answers = [], [], []
        for request in requests:
            text, to_target, to_visual, doc_id, task, split = request.args
            doc = self.task_dict[task][split][doc_id]
            target = to_target if isinstance(to_target, str) else to_target(doc)
            texts.append(text.rstrip())  # what ends it begins the answer
            pictures.append(_one(to_visual(doc)))
            answers.append(prompted.answer_tokens(text, target))
        return prompted.likelihoods(prompted.prompts(texts, pictures), answers)

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> list[str]:
        """Raises: NotImplementedError."""
        raise NotImplementedError(
            "dept_vl: wanted tasks of one question, given one of several rounds: an adapter keeps none"
        )

    def _asked(self, request: Instance) -> tuple[str, Any, list[str]]:
        """The question, its picture or None, and what ends an answer."""
        text, settings, to_visual, doc_id, task, split = request.args
        return self._bare(text), _one(to_visual(self.task_dict[task][split][doc_id])), stops(settings.get("until"))

    def _bare(self, text: str) -> str:
        return text.strip().removesuffix(self.suffix).strip()


class AdapterChat(AdapterSimple):
    """The same of messages: the last user's text, and the picture of all of them."""

    is_simple = False

    def _asked(self, request: Instance) -> tuple[str, Any, list[str]]:
        _, to_messages, settings, doc_id, task, split = request.args
        messages = to_messages(self.task_dict[task][split][doc_id])
        parts = [part for message in messages for part in message["content"]]
        asked = [message for message in messages if message["role"] == "user"][-1]
        text = "\n".join(part["text"] for part in asked["content"] if part["type"] == "text")
        pictures = [part["url"] for part in parts if part["type"] != "text"]
        return self._bare(text), _one(pictures), stops(settings.get("until"))


def manifest() -> ModelManifest:
    """What lmms-eval's registry takes."""
    here = __name__
    return ModelManifest("dept_vl", f"{here}.{AdapterSimple.__name__}", f"{here}.{AdapterChat.__name__}")


def _one(pictures: Sequence[Any] | None) -> Any:
    """The one picture of a request, or None. Raises: WrongRows."""
    given = list(pictures or ())
    if len(given) > 1:
        raise WrongRows(f"wanted one picture a question, given {len(given)}: an adapter was trained on one")
    return given[0] if given else None
