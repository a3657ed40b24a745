#!/usr/bin/env bash
# LocalStack core (Apache-2.0) in host mode: no Docker, no token, no network.
# VENV: requirements.lock.txt and this package. DYNAMODB_LOCAL_BIN: our binary of that name. WORK: scratch folder.
set -eu
: "${VENV:?}" "${DYNAMODB_LOCAL_BIN:?}" "${WORK:?}"
mkdir -p "$WORK/tmp"
export PATH="$VENV/bin:$PATH"
export GATEWAY_LISTEN="127.0.0.1:${PORT:-4566}" FILESYSTEM_ROOT="$WORK/fs" TMPDIR="$WORK/tmp"
export DISABLE_EVENTS=1 SKIP_SSL_CERT_DOWNLOAD=1 DNS_ADDRESS=0 USE_SSL=0 LS_LOG="${LS_LOG:-warning}"
export LAMBDA_RUNTIME_EXECUTOR=process PROVIDER_OVERRIDE_DYNAMODB=dynoxide PROVIDER_OVERRIDE_DYNAMODBSTREAMS=dynoxide
export DYNAMODB_IN_MEMORY=1 DYNAMODB_LOCAL_PORT="${DYNAMODB_PORT:-4570}"
export LAMBDA_EVENT_SOURCE_MAPPING_MAX_BACKOFF_ON_EMPTY_POLL_SEC=0.5 LAMBDA_EVENT_SOURCE_MAPPING_POLL_INTERVAL_SEC=0.2
exec python -m localstack.runtime.main # ready when GET /_localstack/health answers; stop with SIGTERM
