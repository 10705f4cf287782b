"""The frozen language model's section of the experiment."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class BackboneConfig:
    """The frozen language model.

    Args:
        model_name_or_path: "tiny-t5" (embedded), a folder, a hub name such as google-t5/t5-base, a .gguf file, or
            package:NAME/FILE for one in an installed package.
        kind: seq2seq (T5, BART and others) or causal (GPT-2, LLaMA and others); docs/backbones.md lists them.
        pad_token: the padding token of a tokenizer that has none, such as <|endoftext|> for GPT-2; null for its own.
        gguf_file: a .gguf file in the folder or repository of model_name_or_path, dequantised once into the cache
            (DEPT_VL_CACHE, ~/.cache/dept_vl); null for none. A model_name_or_path that ends in .gguf says the same.
        chat_template: whether a text is the user's turn of the tokenizer's chat template (causal models). The shift
            covers the text, not the template, max_source_length counts both, and an answer ends with the turn.
        revision: the hub revision, null for the newest.
        dtype: float32 or bfloat16, in which the frozen weights are held.
        attn_implementation: eager or sdpa; null leaves the choice to transformers, but for a run that may compute in
            bfloat16 on a CPU, where eager takes three quarters of the time.
        load_in: int8, or nf4 (4 bits; needs bitsandbytes), in which the frozen linear layers are held; null is dtype.
            int8_dynamic also multiplies in int8 on a CPU: faster and less exact.
        dropout: whether the frozen model's own dropout acts in training (DePT, DPT: true; Lester et al., FPT: false).
        gradient_checkpointing: compute a layer's activations again in the backward pass instead of keeping them: less
            memory, a slower step, the same numbers.
    """

    model_name_or_path: str = "tiny-t5"
    kind: Literal["seq2seq", "causal"] = "seq2seq"
    pad_token: str | None = None
    gguf_file: str | None = None
    chat_template: bool = False
    revision: str | None = None
    dtype: str = "float32"
    attn_implementation: str | None = None
    load_in: Literal["int8", "int8_dynamic", "nf4"] | None = None
    dropout: bool = False
    gradient_checkpointing: bool = False

    @property
    def source(self) -> str:
        """The name under which the model and its tokenizer are loaded."""
        return "/".join(filter(None, (self.model_name_or_path, self.gguf_file)))
