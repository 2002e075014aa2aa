"""The business: products, batches, order lines, and the rules that bind them. Pure and synchronous."""
