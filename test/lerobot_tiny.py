# SPDX-License-Identifier: Apache-2.0
"""Small LeRobot checkpoints with random weights, made offline with LeRobot's own classes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

DIM = 14  # As the two ViperX.
IMAGE = (24, 32)  # Height and width.
CAMERA = 'observation.images.front'
VOCABULARY = 64


def features(*extra: str) -> tuple[dict, dict]:
    """Return what a policy reads, and what it answers; `extra` are 'camera' and 'environment'."""
    from lerobot.configs.types import FeatureType, PolicyFeature

    read = {'observation.state': PolicyFeature(FeatureType.STATE, (DIM,))}
    if 'environment' in extra:
        read['observation.environment_state'] = PolicyFeature(FeatureType.ENV, (7,))
    if 'camera' in extra:
        read[CAMERA] = PolicyFeature(FeatureType.VISUAL, (3, *IMAGE))
    return read, {'action': PolicyFeature(FeatureType.ACTION, (DIM,))}


def statistics() -> dict[str, dict[str, torch.Tensor]]:
    """Return numbers that make a normalisation visible, of commands near a robot's rest."""
    spread = torch.linspace(0.01, 0.03, DIM)
    centre = torch.linspace(0.0, 0.2, DIM)
    motion = {
        'mean': centre, 'std': spread, 'min': centre - 3 * spread, 'max': centre + 3 * spread,
    }  # fmt: skip
    motion |= {'q01': centre - 2 * spread, 'q99': centre + 2 * spread}
    return {'action': motion, 'observation.state': motion}


def save(path: Path, config: Any) -> Path:
    """Build the policy of a configuration, and save it with its processors."""
    from lerobot.policies.factory import get_policy_class, make_pre_post_processors

    torch.manual_seed(0)
    policy = get_policy_class(config.type)(config)
    for layer in policy.modules():  # π0.5 would begin blind to its flow time.
        if getattr(layer, 'cond_dim', None) is not None:
            torch.nn.init.normal_(layer.dense.weight, std=0.3)
    for part in make_pre_post_processors(config, dataset_stats=statistics()):
        part.save_pretrained(path)
    policy.save_pretrained(path)
    return path


def act(path: Path, **options: Any) -> Path:
    from lerobot.policies.act.configuration_act import ACTConfig

    read, answered = features('camera')
    small = {'dim_model': 32, 'n_heads': 2, 'dim_feedforward': 64, 'n_encoder_layers': 1}
    small |= {'chunk_size': 20, 'n_action_steps': 20, 'pretrained_backbone_weights': None}
    small |= {'n_vae_encoder_layers': 1, 'latent_dim': 4, 'device': 'cpu', 'push_to_hub': False}
    small |= {'input_features': read, 'output_features': answered}
    return save(path, ACTConfig(**small | options))


def diffusion(path: Path, **options: Any) -> Path:
    from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig

    read, answered = features('environment')
    small = {'down_dims': (16, 32), 'diffusion_step_embed_dim': 16, 'n_groups': 4}
    small |= {'num_train_timesteps': 10, 'horizon': 16, 'n_action_steps': 8, 'device': 'cpu'}
    small |= {'push_to_hub': False, 'pretrained_backbone_weights': None}
    small |= {'input_features': read, 'output_features': answered}
    return save(path, DiffusionConfig(**small | options))


def smolvla(path: Path, **options: Any) -> Path:
    """SmolVLA on a vision-language model with a few thousand weights, which lies beside it."""
    from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig

    vlm = path.parent / f'{path.name}_vlm'
    _tiny_smolvlm(vlm)
    read, answered = features('camera')
    small = {'vlm_model_name': str(vlm), 'num_vlm_layers': 2, 'resize_imgs_with_padding': (32, 32)}
    small |= {'chunk_size': 16, 'n_action_steps': 16, 'num_steps': 4, 'tokenizer_max_length': 8}
    small |= {'device': 'cpu', 'push_to_hub': False}
    small |= {'input_features': read, 'output_features': answered}
    return save(path, SmolVLAConfig(**small | options))


def _tiny_smolvlm(path: Path) -> None:
    from transformers import (
        SmolVLMConfig,
        SmolVLMImageProcessor,
        SmolVLMProcessor,
        SmolVLMVideoProcessor,
    )

    text = {
        'model_type': 'llama', 'hidden_size': 32, 'intermediate_size': 64, 'num_hidden_layers': 2,
        'num_attention_heads': 2, 'num_key_value_heads': 1, 'head_dim': 16,
        'vocab_size': VOCABULARY, 'max_position_embeddings': 256, 'pad_token_id': 0,
    }  # fmt: skip
    vision = {
        'hidden_size': 16, 'intermediate_size': 32, 'num_hidden_layers': 1, 'patch_size': 8,
        'num_attention_heads': 2, 'image_size': 32,
    }  # fmt: skip
    SmolVLMConfig(
        text_config=text, vision_config=vision, scale_factor=2, pad_token_id=0, image_token_id=3
    ).save_pretrained(path)
    words = tokenizer(
        fake_image_token='<fake_token_around_image>', image_token='<image>',
        global_image_token='<global-img>', end_of_utterance_token='<end_of_utterance>',
    )  # fmt: skip
    SmolVLMProcessor(
        SmolVLMImageProcessor(), words, SmolVLMVideoProcessor(), image_seq_len=4
    ).save_pretrained(path)


def tokenizer(**special: str) -> Any:
    """Return a tokenizer of a few words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ['<pad>', '<unk>', '<bos>', '<image>', '<fake_token_around_image>', '<global-img>']
    names += ['<end_of_utterance>', *['lift', 'put', 'the', 'red', 'blue', 'cup', 'box']]
    words = Tokenizer(models.WordLevel({n: i for i, n in enumerate(names)}, unk_token='<unk>'))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token='<pad>', unk_token='<unk>', bos_token='<bos>',
        extra_special_tokens=special,
    )  # fmt: skip


def pi0(path: Path, **options: Any) -> Path:
    from lerobot.policies.pi0.configuration_pi0 import PI0Config

    return _pi(path, PI0Config, **options)


def pi05(path: Path, **options: Any) -> Path:
    from lerobot.policies.pi05.configuration_pi05 import PI05Config

    return _pi(path, PI05Config, **options)


def _pi(path: Path, config: Any, **options: Any) -> Path:
    read, answered = features('camera')
    small = {'chunk_size': 16, 'n_action_steps': 16, 'num_inference_steps': 4}
    small |= {'device': 'cpu', 'push_to_hub': False, 'image_resolution': (32, 32)}
    small |= {'input_features': read, 'output_features': answered, 'tokenizer_max_length': 24}
    return save(path, config(**small | options))


def shrink_pi(patch: Any) -> bool:
    """
    Make the classes of π0 and π0.5 small, and their tokenizer local, as long as `patch` holds.

    LeRobot gives them no sizes to choose, and counts on 8 heads. Its code stays as it is; only
    what it is built from is small. Releases before 0.5 want a fork of transformers.
    """
    from types import SimpleNamespace

    try:
        from lerobot.policies import pi_gemma
    except ImportError:
        return False
    from lerobot.policies.pi0 import modeling_pi0
    from lerobot.policies.pi05 import modeling_pi05
    from lerobot.processor import tokenizer_processor

    def gemma(_: str) -> Any:
        return SimpleNamespace(
            width=32, depth=2, mlp_dim=64, num_heads=8, num_kv_heads=1, head_dim=8
        )

    def paligemma(config: Any) -> Any:
        config.text_config.vocab_size = VOCABULARY
        vision = config.vision_config
        vision.hidden_size, vision.intermediate_size, vision.num_hidden_layers = 16, 32, 1
        vision.num_attention_heads, vision.patch_size, vision.projection_dim = 2, 16, 32
        return pi_gemma.PaliGemmaForConditionalGenerationWithPiGemma(config)

    def expert(config: Any) -> Any:
        config.vocab_size = VOCABULARY
        return pi_gemma.PiGemmaForCausalLM(config)

    for module in (modeling_pi0, modeling_pi05):
        patch.setattr(module, 'get_gemma_config', gemma)
        patch.setattr(module, 'PaliGemmaForConditionalGenerationWithPiGemma', paligemma)
        patch.setattr(module, 'PiGemmaForCausalLM', expert)
    words = SimpleNamespace(from_pretrained=lambda _: tokenizer())
    patch.setattr(tokenizer_processor, 'AutoTokenizer', words)
    return True


MAKERS = {'act': act, 'diffusion': diffusion, 'smolvla': smolvla, 'pi0': pi0, 'pi05': pi05}

if __name__ == '__main__':
    MAKERS[sys.argv[1]](Path(sys.argv[2]))
