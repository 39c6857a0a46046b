"""A policy trained with a process reward model: SFT, RAFT, DPO, GRPO, and rewards for other stacks.

    from erprm.policy import credit
    credit(scores, "shaping")
"""

from erprm.policy.crediting import credit

__all__ = ["credit"]
