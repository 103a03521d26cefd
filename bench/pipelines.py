"""Pipelines with random weights: true shapes, nothing downloaded. They draw noise, but they take their time.

The tokenizer knows every byte and no word: 514 tokens, so a prompt is as many tokens as it has letters.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

_LATENT_CHANNELS = 4
_TOKENS = 514
_NOISE: dict[str, Any] = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1,
}  # fmt: skip


def tiny_sd15(folder: Path) -> Path:
    """Stable Diffusion 1.5 in small: one text encoder, pictures of 64 x 64, 5 MB."""
    torch.manual_seed(0)
    unet = _unet((32, 64), heads=2, depth=1, text_width=32, sample=8)
    pipe = StableDiffusionPipeline(
        vae=_vae((16, 16, 32, 32), 0.18215),
        text_encoder=_encoder(CLIPTextModel, 32, 37, layers=2, heads=4),
        tokenizer=_tokenizer(),
        unet=unet,
        scheduler=DDIMScheduler(clip_sample=False, set_alpha_to_one=False, **_NOISE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder


def tiny_sdxl(folder: Path) -> Path:
    """Stable Diffusion XL in small: two text encoders, pictures of 64 x 64, 5 MB."""
    torch.manual_seed(0)
    unet = _unet((32, 64), heads=2, depth=1, text_width=64, sample=8, pooled_width=32, size_width=8)
    encoders = (
        _encoder(CLIPTextModel, 32, 37, layers=2, heads=4),
        _encoder(CLIPTextModelWithProjection, 32, 37, layers=2, heads=4),
    )
    return _save_xl(folder, unet, _vae((16, 16, 32, 32), 0.13025), encoders)


def tiny_flux(folder: Path) -> Path:
    """Flux in small, distilled for guidance: pictures in steps of 16 pixels, 3 MB; its own size is 1024."""
    torch.manual_seed(0)
    letters = [(chr(code), -3.0) for code in range(ord("a"), ord("z") + 1)]
    marks = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0)]
    pipe = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_vae((16, 16, 32, 32), 0.3611, shift_factor=0.1159),
        text_encoder=_encoder(CLIPTextModel, 32, 37, layers=2, heads=4),
        tokenizer=_tokenizer(),
        text_encoder_2=T5EncoderModel(
            T5Config(vocab_size=160, d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4)
        ).eval(),
        tokenizer_2=T5TokenizerFast(vocab=[*marks, *letters], model_max_length=512),
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=4 * _LATENT_CHANNELS,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=True,
        ),
    )
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder


def sdxl(folder: Path, device: str, dtype: torch.dtype) -> Path:
    """The shapes of stable-diffusion-xl-base-1.0: 3.5 billion parameters, 1024 x 1024, 7 GB in fp16."""
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            unet = UNet2DConditionModel(
                sample_size=128,
                block_out_channels=(320, 640, 1280),
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
                transformer_layers_per_block=(1, 2, 10),
                attention_head_dim=(5, 10, 20),
                cross_attention_dim=2048,
                addition_embed_type="text_time",
                addition_time_embed_dim=256,
                projection_class_embeddings_input_dim=2816,
                use_linear_projection=True,
            )
            vae = _vae((128, 256, 512, 512), 0.13025, groups=32, layers=2, sample=1024)
            encoders = (
                _encoder(CLIPTextModel, 768, 3072, layers=12, heads=12, tokens=49408),
                _encoder(
                    CLIPTextModelWithProjection, 1280, 5120, layers=32, heads=20, tokens=49408, act="gelu"
                ),
            )
    finally:
        torch.set_default_dtype(before)
    return _save_xl(folder, unet, vae, encoders)


def _save_xl(folder: Path, unet: Any, vae: Any, encoders: tuple[Any, Any]) -> Path:
    pipe = StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=encoders[0],
        text_encoder_2=encoders[1],
        tokenizer=_tokenizer(),
        tokenizer_2=_tokenizer(),
        unet=unet,
        scheduler=EulerDiscreteScheduler(**_NOISE),
        add_watermarker=False,
    )
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder


def _unet(
    channels: tuple[int, int],
    heads: int,
    depth: int,
    text_width: int,
    sample: int,
    pooled_width: int = 0,
    size_width: int = 0,
) -> UNet2DConditionModel:
    extra: dict[str, Any] = {}
    if pooled_width:
        extra = {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": size_width,
            "projection_class_embeddings_input_dim": pooled_width + 6 * size_width,
            "use_linear_projection": True,
        }
    return UNet2DConditionModel(
        sample_size=sample,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=depth,
        attention_head_dim=heads,
        cross_attention_dim=text_width,
        norm_num_groups=16,
        **extra,
    )


def _vae(
    channels: tuple[int, ...],
    scaling: float,
    groups: int = 16,
    layers: int = 1,
    sample: int = 64,
    **extra: Any,
) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        latent_channels=_LATENT_CHANNELS,
        layers_per_block=layers,
        norm_num_groups=groups,
        sample_size=sample,
        scaling_factor=scaling,
        **extra,
    )


def _encoder(
    kind: type[Any],
    width: int,
    inner: int,
    layers: int,
    heads: int,
    tokens: int = _TOKENS,
    act: str = "quick_gelu",
) -> Any:
    config = CLIPTextConfig(
        vocab_size=tokens,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        projection_dim=width,
        hidden_act=act,
        bos_token_id=_TOKENS - 2,
        eos_token_id=_TOKENS - 1,
        pad_token_id=_TOKENS - 1,
    )
    return kind(config).eval()


def _tokenizer() -> CLIPTokenizer:
    """Every byte, alone and at a word's end, and the two marks of begin and end."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = [chr(byte) for byte in printable]
    letters += [chr(0x100 + n) for n in range(256 - len(printable))]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)
