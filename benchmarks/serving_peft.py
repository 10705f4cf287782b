"""The other way to serve many prompts: PEFT's `set_adapter` before each request, one row at a time."""

import random
from collections.abc import Sequence

import torch
from peft import PromptTuningConfig, PromptTuningInit, TaskType, get_peft_model

from benchmarks.serving_world import Zipf
from dept_vl.adapters import Folded
from dept_vl.serve import AdaptedModel


class PeftServer:
    """PEFT PromptTuning over the model's own frozen T5, with the folded prompts of its adapters `names`, so that
    answers are as short. PEFT's prompts read no picture, and DePT's shift is left out."""

    def __init__(self, model: AdaptedModel, names: Sequence[str], questions: Sequence[str]) -> None:
        prompts: list[Folded] = [model.network.bank[name].adapter for name in names]
        config = PromptTuningConfig(
            task_type=TaskType.SEQ_2_SEQ_LM,
            num_virtual_tokens=prompts[0].num_virtual_tokens,
            num_transformer_submodules=1,
            prompt_tuning_init=PromptTuningInit.RANDOM,
        )
        self.peft = get_peft_model(model.backbone.model, config, adapter_name=names[0])
        for name in names[1:]:
            self.peft.add_adapter(name, config)
        with torch.no_grad():
            for name, folded in zip(names, prompts, strict=True):
                self.peft.prompt_encoder[name].embedding.weight.copy_(folded.prompt)
        self.peft.eval()
        self.zipf, self.tokenizer, self.questions = Zipf(names), model.tokenizer, questions

    @torch.no_grad()
    def answer(self, chosen: random.Random) -> str:
        self.peft.set_adapter(self.zipf.draw(chosen))
        given = self.tokenizer(f"vqa: {chosen.choice(self.questions)}", return_tensors="pt")
        ids = self.peft.generate(
            input_ids=given["input_ids"], attention_mask=given["attention_mask"], max_new_tokens=6, num_beams=1
        )
        return self.tokenizer.decode(ids[0], skip_special_tokens=True)
