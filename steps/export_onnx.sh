#!/usr/bin/env bash
# Writes a network as an ONNX file.  steps/export_onnx.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.nnet.export_onnx "$@"
