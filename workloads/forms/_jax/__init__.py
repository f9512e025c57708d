"""An ONNX graph as a function of JAX: `graph` reads and evaluates it, `operators` keeps the table that others fill."""
