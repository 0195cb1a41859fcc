"""How a run can come out."""

from typing import Literal

Outcome = Literal["ok", "crash", "latent", "deadlock"]
"""``latent``: the guest is up, but with a fault that will kill it later."""
