"""Who may come in: API keys, their scopes and workspaces, and the rules for serving without any."""

from app.access.dependencies import Caller, require
from app.access.scopes import SCOPES, Scope

__all__ = ["SCOPES", "Caller", "Scope", "require"]
