"""HyperDecoder: decoder adapters generated for each example from what the encoder makes of it. Ivison and Peters,
Findings of EMNLP 2022, arXiv:2203.08304; github.com/allenai/hyperdecoders.

    encoder:  h <- h + dropout(FF(norm(h))) + U_i relu(D_i h + a_i) + b_i
    decoder:  the same, with D, a, U, b linear maps of e,
              e = relu(W [m; l_i] + w),   m = MLP(mean of the encoder's output)

at the feed-forward of each layer i. The mean is over a row's real columns: text, end of sequence and visual tokens,
and a prompt where an adapter puts one in front. MLP(c) = W_2 relu(W_1 c + w_1) + w_2, l [layers, 10] is N(0, 1), e has
128 entries. D_i and U_i start Xavier-uniform with a gain of 1e-4, the maps uniform within 1e-3 sqrt(3 / (128 fan)) with
the fan-in of what they generate, W and the MLP as torch's linear maps do: near the frozen model, not exactly it. Gain
and bound are the reference's; of l, W and the MLP it says nothing, so they are as torch draws them. Norms of the model
stay frozen. PEFT has no such method.

An example's weights are generated once and serve every token and every beam of its answer. The reference generates
them anew in each decoding step.

At T5-base: encoder 12 * (2 * 768 * 64 + 64 + 768) = 1,189,632; generator 120 + 779 * 128 + 129 * (2 * 768 * 64 + 64 +
768) = 12,888,376; both 14,078,008, an eighth of which is the published 1.8M; with the MLP's 1,181,184, which the
reference has on by default, 15,259,192. The reference has another 1,189,632 weights, static adapters of the decoder
that nothing reads; they are left out here.
"""

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn
from transformers import PreTrainedModel

from dept_vl.tuning.by_example import Examples
from dept_vl.tuning.contract import TUNINGS, BadTuning, Groups, Tuning, check_size
from dept_vl.tuning.drawn import linear, uniform
from dept_vl.tuning.generated import BottleneckGenerator, Generated
from dept_vl.tuning.places import modules_named, sublayers_of

_LAYER_EMBEDDING, _HIDDEN, _GAIN, _BOUND = 10, 128, 1e-4, 1e-3


@TUNINGS.register("hyperdecoder")
class HyperDecoder(Tuning):
    """bottleneck: the adapters' width. mlp: whether the mean passes an MLP of the model's width. Raises: BadTuning."""

    groups = ("bottleneck", "hypernetwork")
    published = {}

    def __init__(self, *, bottleneck: int = 64, mlp: bool = True, generator: Generator | None = None) -> None:
        super().__init__()
        check_size("HyperDecoder", "bottleneck", bottleneck)
        if type(mlp) is not bool:
            raise BadTuning(f"HyperDecoder: wanted mlp to be true or false, given {mlp!r}")
        self.bottleneck, self.mlp = bottleneck, mlp
        self._generator = generator
        self._examples: Examples | None = None

    def place(self, model: PreTrainedModel) -> Groups:
        if not model.config.is_encoder_decoder:
            raise BadTuning(
                f"HyperDecoder: wanted a model with an encoder (T5), whose output the decoder's adapters are made "
                f"from, given a {model.config.model_type} model"
            )
        known, width = sublayers_of(model, "HyperDecoder"), model.config.hidden_size
        encoder, decoder = (
            [path.rpartition(".")[0] for path, _ in modules_named(stack, (known.feed_forward,))]
            for stack in (model.encoder, model.decoder)
        )
        weights = {}
        for path in encoder:
            adapter = ParallelAdapter(width, self.bottleneck, self._generator)
            self.hook(model.encoder.get_submodule(path), partial(_beside, adapter))
            weights |= {f"encoder.{path}.{name}": each for name, each in adapter.named_parameters()}
        hypernetwork = Hypernetwork(len(decoder), width, self.bottleneck, self.mlp, self._generator)
        self._examples = Examples(hypernetwork)
        self.hook(model.encoder, self._examples.encoded)
        self.undo(model.decoder.register_forward_pre_hook(self._examples.decoding, with_kwargs=True).remove)
        for layer, path in enumerate(decoder):
            self.hook(model.decoder.get_submodule(path), partial(_beside, partial(self._examples.adapt, layer)))
        own = {f"decoder.hypernetwork.{name}": each for name, each in hypernetwork.named_parameters()}
        return {"bottleneck": weights, "hypernetwork": own}

    def train(self, mode: bool = True) -> "HyperDecoder":
        if self._examples is not None:
            self._examples.forget()
        return super().train(mode)


def _beside(adapter: Any, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    return output + adapter(inputs[0]).to(output.dtype)


class ParallelAdapter(nn.Module):
    def __init__(self, d_model: int, bottleneck: int, generator: Generator | None) -> None:
        super().__init__()
        draw = partial(nn.init.xavier_uniform_, gain=_GAIN, generator=generator)
        self.down, self.up = linear(d_model, bottleneck, draw), linear(bottleneck, d_model, draw)

    def forward(self, hidden: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq d_model"]:
        return self.up(F.relu(self.down(hidden.to(self.down.weight.dtype))))


class Hypernetwork(nn.Module):
    def __init__(self, layers: int, d_model: int, bottleneck: int, mlp: bool, generator: Generator | None) -> None:
        super().__init__()
        plain = uniform(d_model**-0.5, generator)
        self.mlp = nn.Sequential(
            *([linear(d_model, d_model, plain, plain), nn.ReLU(), linear(d_model, d_model, plain, plain)] * mlp)
        )
        self.layers = nn.Parameter(torch.empty(layers, _LAYER_EMBEDDING).normal_(generator=generator))
        features = d_model + _LAYER_EMBEDDING
        plain = uniform(features**-0.5, generator)
        self.hidden = linear(features, _HIDDEN, plain, plain)
        self.bottleneck = BottleneckGenerator(
            _HIDDEN, d_model, bottleneck, lambda fan: uniform(_BOUND * math.sqrt(3 / (_HIDDEN * fan)), generator)
        )

    def forward(self, mean: Float[Tensor, "some d_model"], layer: int) -> Generated:
        joined = torch.cat([self.mlp(mean), self.layers[layer].expand(len(mean), -1)], dim=1)
        return self.bottleneck(F.relu(self.hidden(joined)))
