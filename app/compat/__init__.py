"""The same services in other clients' words: one module or package a protocol, no state."""
