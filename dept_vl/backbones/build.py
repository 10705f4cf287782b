"""A frozen language model by name and kind; the kind is said, never guessed from a name."""

from dept_vl.backbones.causal import CausalBackbone
from dept_vl.backbones.frozen import Backbone
from dept_vl.backbones.loading import check_known_kind, load_pretrained
from dept_vl.backbones.seq2seq import Seq2SeqBackbone

_KINDS: dict[str, type[Backbone]] = {"seq2seq": Seq2SeqBackbone, "causal": CausalBackbone}


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
        UnsupportedPrecision: another dtype, or float16 with T5, whose feed-forward activations overflow it.
    """
    check_known_kind(kind)
    model, name = load_pretrained(
        model_name_or_path, kind=kind, revision=revision, dtype=dtype, attn_implementation=attn_implementation
    )
    return _KINDS[kind](model, name=name, revision=revision)
