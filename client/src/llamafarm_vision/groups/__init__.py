"""The verbs, a module a noun; each is written once and is a method of both clients."""
