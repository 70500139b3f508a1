# SPDX-License-Identifier: Apache-2.0
"""Pictures of cameras: from the messages that hold them to the pixels that a policy gets."""
