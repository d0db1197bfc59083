# SPDX-License-Identifier: Apache-2.0
"""./dev test --vm: a Debian kernel in QEMU, with NICs that DPDK's own drivers drive."""
