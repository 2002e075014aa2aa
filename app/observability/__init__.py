"""What the people who run the service see of it. Used by every layer; knows none of them."""
