"""The stock-allocation service: which batch of stock serves which order line."""
