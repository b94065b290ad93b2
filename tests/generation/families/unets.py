"""Families that put motion into a model of single pictures, or grew out of one: AnimateDiff, Latte, ModelScope."""

from __future__ import annotations

from typing import Any

from tests.generation.families import text


def _noise() -> Any:
    from diffusers import DDIMScheduler

    return DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="linear", clip_sample=False)


def _vae(widths: tuple[int, ...] = (8, 8, 8, 8)) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        latent_channels=4,
        norm_num_groups=2,
    )


def still_unet() -> Any:
    """Of single pictures, as Stable Diffusion has it."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        block_out_channels=(8, 8),
        layers_per_block=1,
        sample_size=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=8,
        norm_num_groups=2,
    )


def animatediff() -> Any:
    from diffusers import AnimateDiffPipeline, MotionAdapter

    motion = MotionAdapter(
        block_out_channels=(8, 8), motion_layers_per_block=1, motion_norm_num_groups=2, motion_num_attention_heads=4
    )
    return AnimateDiffPipeline(
        vae=_vae(),
        text_encoder=text.clip(8),
        tokenizer=text.tokenizer(77),
        unet=still_unet(),
        motion_adapter=motion,
        scheduler=_noise(),
    )


def animatediff_sdxl() -> Any:
    from diffusers import AnimateDiffSDXLPipeline, MotionAdapter, UNet2DConditionModel

    unet = UNet2DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        sample_size=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 1),
        projection_class_embeddings_input_dim=64,  # 6 times 8, and the width of the text
        cross_attention_dim=32,
        norm_num_groups=1,
    )
    motion = MotionAdapter(
        block_out_channels=(8, 16),
        motion_layers_per_block=1,
        motion_norm_num_groups=2,
        motion_num_attention_heads=4,
        use_motion_mid_block=False,
    )
    return AnimateDiffSDXLPipeline(
        vae=_vae(),
        text_encoder=text.clip(16),
        text_encoder_2=text.clip(16, projected=True),
        tokenizer=text.tokenizer(77),
        tokenizer_2=text.tokenizer(77),
        unet=unet,
        motion_adapter=motion,
        scheduler=_noise(),
    )


def latte() -> Any:
    from diffusers import LattePipeline, LatteTransformer3DModel

    transformer = LatteTransformer3DModel(
        sample_size=8,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=3,
        caption_channels=32,
        in_channels=4,
        cross_attention_dim=24,
        out_channels=8,
        attention_bias=True,
        activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_single",
        norm_elementwise_affine=False,
        norm_eps=1e-6,
    )
    return LattePipeline(
        tokenizer=text.tokenizer(),
        text_encoder=text.t5(),
        vae=_vae(),
        transformer=transformer,
        scheduler=_noise(),
    )


def modelscope() -> Any:
    from diffusers import TextToVideoSDPipeline, UNet3DConditionModel

    unet = UNet3DConditionModel(
        block_out_channels=(8, 8),
        layers_per_block=1,
        sample_size=8,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        cross_attention_dim=8,
        attention_head_dim=4,
        norm_num_groups=2,
    )
    return TextToVideoSDPipeline(
        vae=_vae(),
        text_encoder=text.clip(8),
        tokenizer=text.tokenizer(77),
        unet=unet,
        scheduler=_noise(),
    )
