"""Django: a cache that hints invalidate, and middleware that measures requests (docs/hints.md, docs/frameworks.md)."""

from atmost.integrations.django.cache import HintedCacheBackend, close_all
from atmost.integrations.django.requests import RequestMiddleware

__all__ = ["HintedCacheBackend", "RequestMiddleware", "close_all"]
