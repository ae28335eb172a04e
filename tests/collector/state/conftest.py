"""Fixtures of the tests of the state."""

import logging

import pytest


@pytest.fixture
def real_records():
    """Four messages as LogHandler sends them: INFO, WARNING, ERROR and INFO."""
    import atmost
    from tests.real import until

    url = "memory://ourlogs"
    with atmost.Receiver(url) as receiver, atmost.Sender(url, name="web-1", linger=0) as sender:
        handler = atmost.LogHandler(sender)
        logger = logging.getLogger("collector.test")
        logger.propagate = False
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        try:
            logger.info("first %d", 1, extra={"user": 7})
            logger.warning("second")
            logger.error("third")
            logger.info("fourth")
            sender.flush()
            found = []

            def four():
                while (got := receiver.receive(0.0)) is not None:
                    if got.subject != "logs.mark":
                        found.append((got.subject, got.payload))
                return len(found) >= 4

            until(four)
        finally:
            logger.removeHandler(handler)
            handler.close()
    return found[:4]
