"""The learning rate of prompts where a config leaves it to the frozen model: in the unit of its word embeddings.

    rate = 0.3 rms(E)

with E [vocab, d_model] the embedding table. Prompt rows stand beside rows of E and start as some of them, and a step of
AdamW moves each entry by about the rate: the same share of its size, whatever the model. docs/backbones.md has the
range tests and runs behind the 0.3.
"""

import dataclasses

from dept_vl.backbones import Backbone
from dept_vl.config import Experiment

SHARE = 0.3


def embedding_rms(backbone: Backbone) -> float:
    """Root mean square of the entries of the embedding table."""
    return float(backbone.embedding_table.float().square().mean().sqrt())


def with_prompt_rate(config: Experiment, backbone: Backbone) -> Experiment:
    """The config with the number that a null optim.lr.prompt stands for, to three digits."""
    if config.optim.lr.get("prompt", 0.0) is not None:
        return config
    rates = {**config.optim.lr, "prompt": float(f"{SHARE * embedding_rms(backbone):.3g}")}
    return dataclasses.replace(config, optim=dataclasses.replace(config.optim, lr=rates))
