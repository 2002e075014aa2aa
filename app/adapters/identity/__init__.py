"""Identifies callers: by JSON Web Tokens or by API keys."""
