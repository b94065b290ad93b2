"""Families that share Wan's decoder: Wan itself, SkyReels, AnyFlow, Helios, SANA-Video, Motif-Video."""

from __future__ import annotations

from typing import Any

from tests.generation.families import text


def vae() -> Any:
    from diffusers import AutoencoderKLWan

    return AutoencoderKLWan(
        base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )


DENOISER: dict[str, Any] = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 32,
    "freq_dim": 32,
    "ffn_dim": 32,
    "num_layers": 2,
    "cross_attn_norm": True,
    "rope_max_seq_len": 32,
}


def wan() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel

    return WanPipeline(
        tokenizer=text.tokenizer(),
        text_encoder=text.t5(),
        vae=vae(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        transformer=WanTransformer3DModel(**DENOISER),
    )


def wan22() -> Any:
    """Two denoisers, each for its part of the noise."""
    from diffusers import UniPCMultistepScheduler, WanPipeline, WanTransformer3DModel

    return WanPipeline(
        tokenizer=text.tokenizer(),
        text_encoder=text.t5(),
        vae=vae(),
        scheduler=UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
        transformer=WanTransformer3DModel(**DENOISER),
        transformer_2=WanTransformer3DModel(**DENOISER),
        boundary_ratio=0.875,
    )


def wan22_ti2v() -> Any:
    """Latents of a sixteenth, and timesteps of their own for each token."""
    from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel

    decoder = AutoencoderKLWan(
        base_dim=3,
        z_dim=16,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=16,
        scale_factor_temporal=4,
    )
    return WanPipeline(
        tokenizer=text.tokenizer(),
        text_encoder=text.t5(),
        vae=decoder,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
        transformer=WanTransformer3DModel(**DENOISER),
        expand_timesteps=True,
    )


def skyreels() -> Any:
    from diffusers import SkyReelsV2Pipeline, SkyReelsV2Transformer3DModel, UniPCMultistepScheduler

    return SkyReelsV2Pipeline(
        tokenizer=text.tokenizer(),
        text_encoder=text.t5(),
        vae=vae(),
        scheduler=UniPCMultistepScheduler(flow_shift=8.0, use_flow_sigmas=True, prediction_type="flow_prediction"),
        transformer=SkyReelsV2Transformer3DModel(**DENOISER),
    )


def skyreels_forcing() -> Any:
    from diffusers import SkyReelsV2DiffusionForcingPipeline, SkyReelsV2Transformer3DModel, UniPCMultistepScheduler

    return SkyReelsV2DiffusionForcingPipeline(
        tokenizer=text.tokenizer(),
        text_encoder=text.t5(),
        vae=vae(),
        scheduler=UniPCMultistepScheduler(flow_shift=8.0, use_flow_sigmas=True, prediction_type="flow_prediction"),
        transformer=SkyReelsV2Transformer3DModel(**DENOISER),
    )


def anyflow() -> Any:
    from diffusers import AnyFlowPipeline, AnyFlowTransformer3DModel, FlowMapEulerDiscreteScheduler

    return AnyFlowPipeline(
        tokenizer=text.tokenizer(),
        text_encoder=text.t5(),
        vae=vae(),
        scheduler=FlowMapEulerDiscreteScheduler(num_train_timesteps=1000, shift=5.0),
        transformer=AnyFlowTransformer3DModel(**DENOISER, gate_value=0.25, deltatime_type="r"),
    )


def helios() -> Any:
    from diffusers import HeliosPipeline, HeliosScheduler, HeliosTransformer3DModel

    settings = {name: value for name, value in DENOISER.items() if name != "rope_max_seq_len"}
    transformer = HeliosTransformer3DModel(
        **settings,
        qk_norm="rms_norm_across_heads",
        rope_dim=(4, 4, 4),
        has_multi_term_memory_patch=True,
        guidance_cross_attn=True,
        zero_history_timestep=True,
        is_amplify_history=False,
    )
    return HeliosPipeline(
        tokenizer=text.tokenizer(),
        text_encoder=text.t5(),
        vae=vae(),
        scheduler=HeliosScheduler(stage_range=[0, 1], stages=1, use_dynamic_shifting=True),
        transformer=transformer,
    )


def sana() -> Any:
    from diffusers import DPMSolverMultistepScheduler, SanaVideoPipeline, SanaVideoTransformer3DModel

    transformer = SanaVideoTransformer3DModel(
        in_channels=16,
        out_channels=16,
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=12,
        cross_attention_dim=24,
        caption_channels=8,
        mlp_ratio=2.5,
        dropout=0.0,
        attention_bias=False,
        sample_size=8,
        patch_size=(1, 2, 2),
        norm_elementwise_affine=False,
        norm_eps=1e-6,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
    )
    return SanaVideoPipeline(
        tokenizer=text.tokenizer(),
        text_encoder=text.gemma2(),
        vae=vae(),
        transformer=transformer,
        scheduler=DPMSolverMultistepScheduler(),
    )


def motif() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, MotifVideoPipeline, MotifVideoTransformer3DModel
    from diffusers.guiders import AdaptiveProjectedGuidance

    transformer = MotifVideoTransformer3DModel(
        in_channels=33,
        out_channels=16,
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=1,
        num_single_layers=1,
        mlp_ratio=4.0,
        patch_size=1,
        patch_size_t=1,
        qk_norm="rms_norm",
        text_embed_dim=32,
        rope_axes_dim=(4, 4, 4),
    )
    return MotifVideoPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        vae=vae(),
        text_encoder=text.t5gemma2(),
        tokenizer=text.tokenizer(),
        transformer=transformer,
        guider=AdaptiveProjectedGuidance(),
    )
