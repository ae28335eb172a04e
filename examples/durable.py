"""A payment must not be lost: `send()` refuses it, and one changed line publishes it exactly once. Needs `nats-server -js`."""

import sys
import time

import atmost
from atmost.durable import Blocking, DurableMessage, ExactlyOnce, SQLiteStore, Stream

url = sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"
payment, order = {"amount": 12.5, "currency": "EUR"}, f"order-{time.time_ns()}"
atmost.must_deliver("payments.>")

with atmost.Sender() as sender, Blocking(lambda: ExactlyOnce(url, Stream("PAYMENTS", ["payments.>"]))) as payments:
    try:
        sender.send("payments.captured", payment)
    except atmost.LossNotTolerated as error:
        print("refused:", error)
    for _ in range(2):  # the second time as after a restart before the acknowledgement came
        print("published:", payments.publish("payments.captured", payment, id=order))
    with SQLiteStore("ledger.db") as store:

        def book(message: DurableMessage) -> None:
            """Commits the booking and its record in one transaction."""
            with store.transaction(message) as ledger:
                ledger.execute("CREATE TABLE IF NOT EXISTS bookings (id, amount)")
                ledger.execute("INSERT INTO bookings VALUES (?, ?)", (message.id, message.payload["amount"]))
            print(f"booked: {message.id}, {message.payload['amount']} EUR")
            payments.stop()

        payments.run(book, durable="ledger", store=store)
