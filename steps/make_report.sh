#!/usr/bin/env bash
# Makes the report of an experiment, or of several side by side, as a page for the browser.  steps/make_report.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.report.make_report "$@"
