"""The model class `dept_vl` of lm-evaluation-harness: a saved adapter beside its frozen model.

    python -m dept_vl.serve.plugins.lm_eval_model run --model dept_vl --model_args adapter=FOLDER --tasks NAME

The harness finds models by import alone, so this module registers the class and then is the harness's own command;
from Python `import dept_vl.serve.plugins.lm_eval_model` before `simple_evaluate(model="dept_vl", ...)`, or an instance.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from dept_vl.model import BASE
from dept_vl.serve.adapted import AdaptedModel
from dept_vl.serve.named import DEFAULT_NAME
from dept_vl.serve.plugins.prompts import Prompt, Prompted, cut_at, stops

BATCH_SIZE = 32
WINDOW = 2048  # tokens at once of a text whose likelihood is asked, where the model has no number of positions
_SAMPLING = ("temperature", "top_p", "top_k")


@register_model("dept_vl")
class AdapterLM(LM):
    """Contexts are read as they stand and answered as `Prompted` says."""

    def __init__(
        self,
        adapter: str,
        backbone: str | None = None,
        bare: bool = False,
        max_source_length: int | None = None,
        dtype: str = "float32",
        load_in: str | None = None,
        batch_size: int | str | None = None,
        device: str | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        """The harness's --model_args, and what its own flags give.

        Args:
            adapter: an adapter or run folder.
            backbone: a folder of the frozen model in place of the recorded name.
            bare: the frozen model alone, for comparison.
            max_source_length: tokens of a context that are read; None is what the adapter records, or all.
            dtype, load_in: as `AdaptedModel.from_pretrained` takes them.
            batch_size: rows at once; auto is 32.
            device: None is a GPU where there is one.
        """
        super().__init__()
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        model = AdaptedModel.from_pretrained(adapter, device, backbone, dtype=dtype, load_in=load_in)
        rows = int(batch_size) if str(batch_size).isdecimal() else BATCH_SIZE
        name = BASE if bare else DEFAULT_NAME
        self.prompted = Prompted(model, name, batch_size=rows, max_source_length=max_source_length)

    def loglikelihood(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Of each continuation, in nats, behind its context, and whether greedy decoding gives it."""
        pairs = [request.args for request in requests]
        prompts = self.prompted.prompts([context.rstrip() for context, _ in pairs])
        prompts = [self._not_empty(prompt) for prompt in prompts]
        answers = [self.prompted.answer_tokens(*pair) for pair in pairs]
        return self.prompted.likelihoods(prompts, answers)

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[float]:
        """Of each whole text, in nats: in windows, each token given as many as fit before it. Of an encoder-decoder the
        tokens before a window are its text, and the window is the answer."""
        prompts, answers, owners = [], [], []
        for row, request in enumerate(requests):
            tokens = self.prompted.answer_tokens("", request.args[0])
            sizes = {"max_seq_len": self._window, "context_len": 1}
            for window in get_rolling_token_windows(tokens, self._prefix, **sizes):
                context, answer = make_disjoint_window(window)
                prompts.append(Prompt(list(context)))
                answers.append(list(answer))
                owners.append(row)
        total = [0.0] * len(requests)
        for row, (nats, _) in zip(owners, self.prompted.likelihoods(prompts, answers), strict=True):
            total[row] += nats
        return total

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Answers, each cut where one of its task's `until` begins. Where the task says nothing of lengths or beams
        they are the adapter's own."""
        found = [""] * len(requests)
        settings = [_settings(dict(request.args[1])) for request in requests]
        for given in {repr(each): each for each in settings}.values():
            rows = [row for row, each in enumerate(settings) if each == given]
            prompts = self.prompted.prompts([requests[row].args[0] for row in rows])
            prompts = [self._not_empty(prompt) for prompt in prompts]
            until, options = given
            for row, text in zip(rows, self.prompted.answers(prompts, **options), strict=True):
                found[row] = cut_at(text, until)
        return found

    @property
    def tokenizer_name(self) -> str:
        """For the harness's cache of requests."""
        return str(self.prompted.model.tokenizer.name_or_path).replace("/", "__")

    @property
    def _prefix(self) -> int:
        """The token that an empty context stands for."""
        tokenizer = self.prompted.model.tokenizer
        return tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id

    @property
    def _window(self) -> int:
        most = self.prompted.model.backbone.max_positions
        return WINDOW if most is None else min(WINDOW, most - self.prompted.num_virtual_tokens)

    def _not_empty(self, prompt: Prompt) -> Prompt:
        return prompt if prompt.ids else Prompt([self._prefix])


def _settings(given: dict[str, Any]) -> tuple[list[str], Mapping[str, Any]]:
    """What ends an answer, and transformers' options of the others."""
    until = stops(given.pop("until", None))
    most = given.pop("max_gen_toks", None)
    options = {"max_new_tokens": most, **given} if most else given
    if not options.get("do_sample"):
        options = {name: value for name, value in options.items() if name not in (*_SAMPLING, "do_sample")}
    return until, options


def main() -> None:
    """The harness's command, which now knows `--model dept_vl`."""
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()


if __name__ == "__main__":
    main()
