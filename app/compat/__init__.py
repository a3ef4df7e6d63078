"""The same services with the requests and replies of other APIs: one module or package a protocol, no state."""
