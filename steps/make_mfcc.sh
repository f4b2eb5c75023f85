#!/usr/bin/env bash
# Computes MFCCs of a data dir, for the GMMs: 13 coefficients, 25 ms windows every 10 ms.  steps/make_mfcc.sh --help
. "$(dirname "$0")/../local/path.sh"
on_machines 1 lstmp.features.extract --kind mfcc "$@"
