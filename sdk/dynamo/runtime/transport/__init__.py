"""Request planes: `base` is the interface, `stream` dials instances, `nats` goes through a broker."""
