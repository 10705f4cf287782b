"""Floating-point operations of a T5 in prompt training, by formula: two for each multiply-add of a matrix product.

Forward, for a row of S encoder tokens and T decoder tokens (i = heads x d_kv, f = neurons, g = 3 matrices where the
feed-forward is gated, else 2):

    encoder layer   8 S d i + 4 S S i + 2 g S d f
    decoder layer   8 T d i + 4 T T i  +  4 T d i + 4 S d i + 4 T S i  +  2 g T d f
    head            2 T d V

Backward to the embeddings: a frozen matrix costs its forward product once more, a product of two activations twice.
The decoder's first self-attention and its first cross-attention query read only frozen embeddings, so they have none.
Norms, softmax, biases and the loss are left out, as torch's counter leaves them out.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class T5Shape:
    """What decides the count. Neurons are a layer's, all layers of a stack alike."""

    d_model: int
    d_inner: int  # heads x d_kv
    vocabulary: int
    encoder_layers: int
    decoder_layers: int
    encoder_neurons: int
    decoder_neurons: int
    gated: bool

    def forward_flops(self, batch: int, source: int, target: int) -> int:
        """Of the logits of `target` tokens after `source` encoder tokens, in `batch` rows."""
        return batch * (self._frozen(source, target) + self._attention(source, target))

    def training_flops(self, batch: int, source: int, target: int) -> int:
        """Of the logits and their backward pass to the encoder's embeddings."""
        frozen, attention = self._frozen(source, target), self._attention(source, target)
        whole = 2 * frozen + 3 * attention
        if self.decoder_layers:
            d, i = self.d_model, self.d_inner
            whole -= 8 * target * d * i + 2 * 4 * target * target * i  # the first self-attention
            whole -= (
                2 * target * d * i + 2 * target * source * i
            )  # the first cross-attention: its query, and its gradient
        return batch * whole

    def _frozen(self, source: int, target: int) -> int:
        d, i = self.d_model, self.d_inner
        matrices = 3 if self.gated else 2
        encoder = source * (8 * d * i + 2 * matrices * d * self.encoder_neurons)
        decoder = target * (12 * d * i + 2 * matrices * d * self.decoder_neurons) + source * 4 * d * i
        return self.encoder_layers * encoder + self.decoder_layers * decoder + 2 * target * d * self.vocabulary

    def _attention(self, source: int, target: int) -> int:
        """Scores and weighted values: both factors are activations."""
        encoder = 4 * source * source * self.d_inner
        decoder = 4 * target * (target + source) * self.d_inner
        return self.encoder_layers * encoder + self.decoder_layers * decoder
