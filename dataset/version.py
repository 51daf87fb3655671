"""The version that files carry which others read later; pyproject.toml has the same."""

VERSION = "0.1.0"
