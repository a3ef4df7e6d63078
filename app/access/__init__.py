"""Who may come in: API keys, their scopes and workspaces, and the rules for serving without any."""

from app.access.dependencies import Caller, Learner, Recogniser, Trainer, require
from app.access.scopes import SCOPES, Scope

__all__ = ["SCOPES", "Caller", "Learner", "Recogniser", "Scope", "Trainer", "require"]
