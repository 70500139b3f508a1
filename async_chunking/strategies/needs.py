# SPDX-License-Identifier: Apache-2.0
"""What strategies may need of a policy, and policies offer."""

from __future__ import annotations

# Why each need exists, to complete the sentence "<strategy> needs ...".
NEEDS: dict[str, str] = {
    'velocity': 'the velocity of a flow policy; run the policy node on the host of the model',
    'gradients': 'gradients through the policy; this one is compiled or has none',
    'per_token_time': 'a network that takes one flow time per action row',
    'weak_policy': 'a weaker checkpoint of the same policy, weak.safetensors beside it',
    'recipe:tt_rtc': 'a checkpoint trained with the recipe tt_rtc',
    'recipe:remac': 'a checkpoint trained with the recipe remac',
    'recipe:remac_paired': 'a checkpoint trained with the recipe remac_paired',
    'recipe:vlash': 'a checkpoint trained with the recipe vlash',
    'corrector:a2c2': 'a correction head trained with the recipe a2c2',
    'corrector:a2c2_paired': 'a correction head trained with the recipe a2c2_paired',
}

RECIPES = frozenset(need for need in NEEDS if need.startswith('recipe:'))
CORRECTORS = frozenset(need for need in NEEDS if need.startswith('corrector:'))
