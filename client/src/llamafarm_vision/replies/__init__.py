"""The service's replies as typed models, a module a subject."""
