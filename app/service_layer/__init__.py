"""What the application can do: its handlers, the message bus that runs them, and the ports they need."""
