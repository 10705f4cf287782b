"""A frozen language model by name and kind; the kind is said, never guessed from a name."""

from dept_vl.backbones.causal import load_causal
from dept_vl.backbones.frozen import Backbone
from dept_vl.backbones.loading import check_known_kind
from dept_vl.backbones.seq2seq import load_seq2seq


def load_backbone(
    model_name_or_path: str,
    *,
    kind: str = "seq2seq",
    revision: str | None = None,
    dtype: str = "float32",
    attn_implementation: str | None = None,
) -> Backbone:
    """Loads and freezes a T5 (kind "seq2seq") or a GPT-2 or LLaMA (kind "causal").

    Args:
        model_name_or_path: "tiny-t5" (embedded), a folder, or a hub name.
        dtype: float32 or bfloat16, in which the weights are held.
        attn_implementation: None leaves the choice to transformers.

    Raises:
        WrongKind: an unknown kind, or a model of the other one; the message says which kind loads it.
        MissingBackbone: the name cannot be resolved, or its files cannot be read.
        UnsupportedPrecision: another dtype.
    """
    check_known_kind(kind)
    load = load_seq2seq if kind == "seq2seq" else load_causal
    return load(model_name_or_path, revision=revision, dtype=dtype, attn_implementation=attn_implementation)
