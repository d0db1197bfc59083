"""A Maglev load balancer: in the driver as eBPF, or as a stage over any port."""

from __future__ import annotations

from .config import BalancerConfig, ServerConfig, VipConfig
from .control import ask
from .controller import Controller
from .decapsulation import Decapsulation
from .run import Balancer
from .tables import Moved, build, moved, shares

__all__ = [
    "Balancer",
    "BalancerConfig",
    "Controller",
    "Decapsulation",
    "Moved",
    "ServerConfig",
    "VipConfig",
    "ask",
    "build",
    "moved",
    "shares",
]
