"""The whole model in memory: words, transformer, encoder and decoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tools.demo_model.autoencoder import Decoder, Encoder, Projection, build_encoder
from tools.demo_model.network import Transformer, WordTable, initialise


@dataclass(frozen=True, slots=True)
class Model:
    """All parts, in float32."""

    words: WordTable
    transformer: Transformer
    encoder: Encoder
    decoder: Decoder

    @classmethod
    def untrained(cls, projection: Projection, seed: int) -> Model:
        """A model with random words, transformer and decoder, and with the encoder of a projection."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            words, transformer, decoder = WordTable(), Transformer(), Decoder()
            initialise(transformer)
        return cls(words, transformer, build_encoder(projection), decoder)

    @property
    def projection(self) -> Projection:
        """What the encoder computes."""
        return Projection.of(self.encoder)
