"""A machine with an Inferentia2 as AWS' documentation describes it, for the conformance suite.

`pytest tests/conformance -k neuron_fake --parts tests.fakes.neuron`, with `site` on PYTHONPATH.
"""
