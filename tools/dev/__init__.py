# SPDX-License-Identifier: Apache-2.0
"""What ./dev does: set-up, builds, tests. Standard library only, Python 3.11 and newer."""
