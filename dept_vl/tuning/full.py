"""Full fine-tuning: every weight of the language model trains, the table of word embeddings included.

T5-base has 222,882,048 weights once its table is cut to the tokenizer's 32,100 rows, as the code behind DePT's tables
does; 222,903,552 with the checkpoint's 32,128. The frozen weights are kept beside the trained copies, so that `detach`
gives them back: twice the memory of the model. FSDP2 and ZeRO-3 keep the copies in parts, but for what stands outside
the blocks (the table, the last norms). What a formula gives, Pegasus's sines, stays as it is.
"""

from transformers import PreTrainedModel

from dept_vl.tuning.contract import TUNINGS, Groups, Tuning
from dept_vl.tuning.places import fixed_weights


@TUNINGS.register("full")
class Full(Tuning):
    groups = ("full",)
    published = {}
    reads_weights = True
    sharded = True

    def place(self, model: PreTrainedModel) -> Groups:
        frozen = dict(model.named_parameters())  # a tensor that stands in two places, once
        fixed = fixed_weights(model)
        return {"full": {name: self.own(model, weight) for name, weight in frozen.items() if name not in fixed}}

    def merge(self) -> None:
        """They are the model's own."""
