"""The lowering to TFLite: from the nodes of an ONNX graph to the operators of a file."""
