"""What roomcast decides: values in, values out. No await, no clock, no network, no name of a cloud service."""
