"""Adapters to other libraries; each is a module of its own and imports its library when it is used."""

__all__: list[str] = []
