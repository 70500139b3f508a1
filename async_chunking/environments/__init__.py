# SPDX-License-Identifier: Apache-2.0
"""Where policies are benched: simulated tasks of the package, and any environment of Gymnasium."""
