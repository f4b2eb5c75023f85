#!/usr/bin/env bash
# Writes a network as ONNX.  steps/export_onnx.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.nnet.export_onnx "$@"
