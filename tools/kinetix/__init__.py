# SPDX-License-Identifier: Apache-2.0
"""The Kinetix benchmark of the RTC paper: experts, data, flow policies, evaluation."""
