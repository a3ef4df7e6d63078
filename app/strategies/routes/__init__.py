"""The addresses of strategies and of this machine's hardware."""
