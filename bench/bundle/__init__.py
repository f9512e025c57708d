"""One file that carries a workload to a device, which then needs no compiler, no onnx and no quantizer.

`accelmark export` makes a bundle, `accelmark verify` checks it there, `pytest bench/ --artifact` measures it. It is a
ZIP archive of entries that are stored, not compressed, so that the same content is the same bytes everywhere:

    manifest.json       what it is, made with what, verified how; SHA-256 and length of every other entry
    artefact/           the model in one form, as `Model.form` would have made it there
    device/             what a device's own firmware loads, a folder for each configuration that was compiled for
    golden/             inputs.npz and outputs.npz: samples and their right answers, float32 where they are floats
    LICENSE NOTICE      this project's licence; whose workload this is
"""
