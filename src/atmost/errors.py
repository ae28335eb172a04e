"""Errors in the use of `atmost`, each with what to do about it.

`send()` never raises because of the network, and nothing ever raises because of the remote side: those are counted.
These errors are raised before anything is sent, and every class carries the facts as fields.

    AtMostError
    ├── AddressError          a URL that cannot be used: scheme, host, port, path
    ├── AddressInUse          another receiver has the address
    ├── BindError             the operating system refused the address for another reason
    ├── OptionError           an option outside its range
    ├── SubjectError          a subject or pattern that is empty, too long or malformed
    ├── LossNotTolerated      a message on a must-deliver subject, given to a sender, which may lose it
    ├── PayloadNotEncodable   a payload with something in it that MessagePack cannot carry
    ├── PayloadTooLarge       a message that fits no datagram of this sender
    ├── InvalidKey            a key's text or file that cannot be used
    ├── ConfigError           a configuration that cannot be used: an unknown name, a wrong value, an unreadable file
    ├── MetricError           a metric declared wrongly, or used against its declaration
    ├── HintError             a key, prefix or tag that cannot be cached or invalidated
    ├── HintLoadCycle         two loads of a cache that wait for each other
    └── MissingExtra          an optional dependency that is not installed
"""

from __future__ import annotations


class AtMostError(Exception):
    """The base class of every error that `atmost` raises."""

    def __reduce__(self) -> tuple[object, ...]:
        """Pickles with its fields, so that it can leave a pool's worker."""
        return _restore, (type(self), str(self), self.__dict__)


def _restore(kind: type[AtMostError], message: str, fields: dict[str, object]) -> AtMostError:
    error = kind.__new__(kind)
    error.args = (message,)
    error.__dict__.update(fields)
    return error


class AddressError(AtMostError, ValueError):
    """A URL that cannot be used."""

    def __init__(self, url: str, problem: str) -> None:
        """Args: url: what was given. problem: what is wrong with it and what would be right."""
        super().__init__(f"{url!r}: {problem}")
        self.url = url
        self.problem = problem


class AddressInUse(AtMostError, OSError):
    """Another receiver holds the address; two on one address could each process the same message."""

    def __init__(self, url: str, holder: str | None) -> None:
        """Args: url: the address. holder: the process that holds it, where the system reports it."""
        by = f" by {holder}" if holder else ""
        super().__init__(f"{url} is in use{by}: stop that receiver, or bind another address")
        self.url = url
        self.holder = holder


class BindError(AtMostError, OSError):
    """The operating system refused the address."""

    def __init__(self, url: str, problem: str) -> None:
        """Args: url: the address. problem: the system's reason and what to do."""
        super().__init__(f"cannot receive on {url}: {problem}")
        self.url = url
        self.problem = problem


class OptionError(AtMostError, ValueError):
    """An option outside its range."""

    def __init__(self, option: str, value: object, expected: str) -> None:
        """Args: option: its name. value: what was given. expected: the range, with its unit."""
        super().__init__(f"{option}={value!r}: expected {expected}")
        self.option = option
        self.value = value
        self.expected = expected


class SubjectError(AtMostError, ValueError):
    """A subject or pattern that cannot be used."""

    def __init__(self, subject: object, problem: str) -> None:
        """Args: subject: what was given. problem: what is wrong with it."""
        shown = repr(subject)
        super().__init__(f"subject {shown if len(shown) <= 80 else shown[:77] + '...'}: {problem}")
        self.subject = subject
        self.problem = problem


class LossNotTolerated(AtMostError, ValueError):
    """A message on a subject that must be delivered, given to a sender, which may lose it."""

    alternative = "atmost.durable"

    def __init__(self, subject: str, pattern: str) -> None:
        """Args: subject: the message's subject. pattern: the must-deliver declaration that matches it."""
        super().__init__(
            f"subject {subject!r} must be delivered (declared by {pattern!r}), and send() may lose it: "
            "publish it with atmost.durable.AtLeastOnce or ExactlyOnce (pip install 'atmost[nats]')"
        )
        self.subject = subject
        self.pattern = pattern


class PayloadNotEncodable(AtMostError, TypeError):
    """A payload that holds something MessagePack cannot carry."""

    def __init__(self, where: str, problem: str) -> None:
        """Args: where: the place in the structure, such as `payload['a'][0]`. problem: the type or value found there."""
        super().__init__(f"{where}: {problem}")
        self.where = where
        self.problem = problem


class PayloadTooLarge(AtMostError, ValueError):
    """A message that fits no datagram of this sender."""

    def __init__(self, size: int, limit: int) -> None:
        """Args: size: the encoded subject and payload, bytes. limit: the most that fits, bytes."""
        super().__init__(
            f"message of {size} bytes, at most {limit} fit one datagram of this sender: "
            "send less, split it, or construct the Sender with a larger max_datagram"
        )
        self.size = size
        self.limit = limit


class InvalidKey(AtMostError, ValueError):
    """A key's text or file that cannot be used; the message never holds the key."""

    def __init__(self, problem: str) -> None:
        """Args: problem: what is wrong and what would be right."""
        super().__init__(problem)
        self.problem = problem


class MetricError(AtMostError, ValueError):
    """A metric declared with a name, unit or labels it cannot have, or used against its declaration."""

    def __init__(self, name: object, problem: str) -> None:
        """Args: name: the metric's. problem: what is wrong and what would be right."""
        shown = repr(name)
        super().__init__(f"metric {shown if len(shown) <= 80 else shown[:77] + '...'}: {problem}")
        self.name = name
        self.problem = problem


class ConfigError(AtMostError, ValueError):
    """A configuration that cannot be used."""

    def __init__(self, where: str, problem: str) -> None:
        """Args: where: the option, file or variable. problem: what is wrong with it and what would be right."""
        super().__init__(f"{where}: {problem}")
        self.where = where
        self.problem = problem


class HintError(AtMostError, ValueError):
    """A key, prefix or tag that cannot be cached or invalidated, or a fill that was not begun."""

    def __init__(self, what: str, text: object, problem: str) -> None:
        """Args: what: "key", "prefix" or "tag". text: what was given. problem: what is wrong and what would be right."""
        shown = repr(text)
        super().__init__(f"{what} {shown if len(shown) <= 80 else shown[:77] + '...'}: {problem}")
        self.what = what
        self.text = text
        self.problem = problem


class HintLoadCycle(AtMostError, RuntimeError):
    """Loads of a cache that ask for each other's keys: waiting would never end."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        """Args: keys: the load of each asks for the next key; the last key is the first one again."""
        super().__init__(
            f"the loads of these keys wait for each other: {' → '.join(map(repr, keys))}; "
            "load one of them without the cache, or in one load together"
        )
        self.keys = keys

    def __reduce__(self) -> tuple[type, tuple[tuple[str, ...]]]:
        """Copies and pickles with its keys."""
        return type(self), (self.keys,)


class MissingExtra(AtMostError, ImportError):
    """An optional dependency that is not installed."""

    def __init__(self, extra: str, what: str) -> None:
        """Args: extra: the extra's name. what: the feature that needs it."""
        super().__init__(f"{what} needs an optional dependency: pip install 'atmost[{extra}]'")
        self.extra = extra
