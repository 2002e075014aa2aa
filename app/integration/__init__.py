"""The published contract on the wire: message models, and their translation to and from the domain."""
