# SPDX-License-Identifier: Apache-2.0
"""wirepath against minimal C programs and peers: `./dev bench`, `python -m benchmarks --help`."""
