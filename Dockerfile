# The recipes in a container, for the CPU; with --build-arg LSTMP_GPU=yes for NVIDIA GPUs.
#   docker build -t lstmp .
#   docker run --rm -v lstmp:/lstmp/exp lstmp                                   the recipe `tiny`; results stay in the volume
#   docker run --rm -v lstmp:/lstmp/exp -v lstmp-data:/lstmp/data -v lstmp-corpora:/lstmp/downloads lstmp ./run.sh --recipe mini_librispeech
FROM debian:trixie-slim
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv g++ ca-certificates && \
    rm -rf /var/lib/apt/lists/*
RUN useradd --create-home lstmp && install -d -o lstmp /lstmp /lstmp/exp /lstmp/data /lstmp/downloads
WORKDIR /lstmp
COPY --chown=lstmp . .
USER lstmp
ARG LSTMP_GPU=no
ARG LSTMP_TORCH_INDEX=
RUN local/env.sh
CMD ["./run.sh"]
