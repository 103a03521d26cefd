"""The network: noise, time and caption to a velocity. A small U-Net, 1.76 million parameters.

Works on 2 x 2 blocks of pixels (32 x 32 x 12 values) with two channels of coordinates beside them. Time
and the caption's mean shift and scale each block after Perez et al. 2018, "FiLM" (arXiv:1709.07871); the
words themselves are looked at by attention in the middle, at 8 x 8.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

PATCH = 2
WIDTHS = (32, 64, 128)
WORD_WIDTH = 96
CONDITION_WIDTH = 128
HEADS = 4
_GROUPS = 8
_FREQUENCIES = 32
_COORDINATES = 2


class Residual(nn.Module):
    """Two convolutions, the second one's input scaled and shifted by the condition."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(_GROUPS, inputs)
        self.convolve_in = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.modulate = nn.Linear(CONDITION_WIDTH, 2 * outputs)
        self.norm_out = nn.GroupNorm(_GROUPS, outputs)
        self.convolve_out = _zeroed(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """[b, inputs, h, w] and [b, 128] to [b, outputs, h, w]."""
        hidden = self.convolve_in(functional.silu(self.norm_in(x)))
        scale, shift = self.modulate(functional.silu(condition))[:, :, None, None].chunk(2, 1)
        hidden = self.norm_out(hidden) * (1 + scale) + shift
        return self.skip(x) + self.convolve_out(functional.silu(hidden))


class Attention(nn.Module):
    """Each place looks at the caption's words and at all other places."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(_GROUPS, channels)
        self.query = nn.Linear(channels, channels)
        self.word_keys_values = nn.Linear(WORD_WIDTH, 2 * channels)
        self.from_words = _zeroed(nn.Linear(channels, channels))
        self.place_keys_values = nn.Linear(channels, 2 * channels)
        self.from_places = _zeroed(nn.Linear(channels, channels))

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        """[b, channels, h, w] and [b, tokens, 96] to [b, channels, h, w]."""
        places = self.norm(x).flatten(2).transpose(1, 2)
        query = self.query(places)
        seen = self.from_words(_attend(query, *self.word_keys_values(words).chunk(2, -1)))
        seen = seen + self.from_places(_attend(query, *self.place_keys_values(places).chunk(2, -1)))
        return x + seen.transpose(1, 2).reshape(x.shape)


class Captions(nn.Module):
    """Tokens to vectors: an embedding, its places, one transformer layer."""

    def __init__(self, tokens: int, length: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(tokens, WORD_WIDTH)
        self.places = nn.Parameter(0.02 * torch.randn(1, length, WORD_WIDTH))
        self.mix = nn.TransformerEncoderLayer(
            WORD_WIDTH, HEADS, 2 * WORD_WIDTH, dropout=0, batch_first=True, norm_first=True
        )

    def forward(self, ids: Tensor) -> Tensor:
        """[b, length] ids to [b, length, 96]."""
        return self.mix(self.embed(ids) + self.places)


class Network(nn.Module):
    """`forward(x, t, ids)` is the velocity that moves noise towards the picture."""

    def __init__(self, tokens: int, length: int) -> None:
        super().__init__()
        outer, inner, middle = WIDTHS
        pixels = 3 * PATCH * PATCH
        self.captions = Captions(tokens, length)
        self.time = nn.Sequential(
            nn.Linear(2 * _FREQUENCIES, CONDITION_WIDTH),
            nn.SiLU(),
            nn.Linear(CONDITION_WIDTH, CONDITION_WIDTH),
        )
        self.summary = nn.Linear(WORD_WIDTH, CONDITION_WIDTH)
        self.enter = nn.Conv2d(pixels + _COORDINATES, outer, 3, padding=1)
        self.down_outer = Residual(outer, outer)
        self.halve_outer = nn.Conv2d(outer, inner, 3, stride=2, padding=1)
        self.down_inner = Residual(inner, inner)
        self.halve_inner = nn.Conv2d(inner, middle, 3, stride=2, padding=1)
        self.middle = nn.ModuleList(Residual(middle, middle) for _ in range(3))
        self.attention = nn.ModuleList(Attention(middle) for _ in range(2))
        self.up_inner = Residual(middle + inner, inner)
        self.up_outer = Residual(inner + outer, outer)
        self.norm = nn.GroupNorm(_GROUPS, outer)
        self.leave = _zeroed(nn.Conv2d(outer, pixels, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor, ids: Tensor) -> Tensor:
        """Noisy pictures [b, 3, 64, 64], times [b] in 0..1, ids [b, 20]: velocities [b, 3, 64, 64]."""
        words = self.captions(ids)
        condition = self.time(_waves(t)) + self.summary(words.mean(1))
        outer = self.enter(_with_coordinates(functional.pixel_unshuffle(x, PATCH)))
        outer = self.down_outer(outer, condition)
        inner = self.down_inner(self.halve_outer(outer), condition)
        middle = self.middle[0](self.halve_inner(inner), condition)
        for attend, residual in zip(self.attention, self.middle[1:], strict=True):
            middle = residual(attend(middle, words), condition)
        up = self.up_inner(torch.cat([_double(middle), inner], 1), condition)
        up = self.up_outer(torch.cat([_double(up), outer], 1), condition)
        return functional.pixel_shuffle(self.leave(functional.silu(self.norm(up))), PATCH)


def _attend(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Scaled dot-product attention, written out so that it exports to plain operators."""
    width = query.shape[-1] // HEADS
    query, keys, values = (it.unflatten(-1, (HEADS, width)).transpose(1, 2) for it in (query, keys, values))
    weights = (query @ keys.transpose(-1, -2) / math.sqrt(width)).softmax(-1)
    return (weights @ values).transpose(1, 2).flatten(2)


def _waves(t: Tensor) -> Tensor:
    """[b] to [b, 64]: sines and cosines of the time, after Vaswani et al. 2017 (arXiv:1706.03762)."""
    steps = torch.arange(_FREQUENCIES, device=t.device) / _FREQUENCIES
    angles = t[:, None] * 1000 * torch.exp(-math.log(1e4) * steps)
    return torch.cat([angles.sin(), angles.cos()], -1)


def _with_coordinates(x: Tensor) -> Tensor:
    """Two more channels: y and x, from -1 to 1."""
    batch, _, height, width = x.shape
    y = torch.linspace(-1, 1, height, device=x.device)[None, None, :, None].expand(batch, 1, height, width)
    along = torch.linspace(-1, 1, width, device=x.device)[None, None, None, :]
    return torch.cat([x, y, along.expand(batch, 1, height, width)], 1)


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


def _zeroed(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """Starts as nothing, so that each block begins as the identity."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
