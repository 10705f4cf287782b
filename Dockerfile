# The command dept-vl in an image, for CPUs or with CUDA:
#
#   docker build -t dept-vl .
#   docker build -t dept-vl:cuda --build-arg DEVICE=cuda .
#   docker run --rm -v "$PWD:/work" dept-vl train vqa --max_steps 20
#   docker run --rm --gpus all -v "$PWD:/work" dept-vl:cuda train vqa --bf16 true
#
# Both have the versions of constraints.txt. pip's default build of torch brings CUDA and computes on CPUs too; an index of
# smaller builds for CPUs is named by --build-arg TORCH_INDEX=URL. Extras: --build-arg EXTRAS=[track,gguf].
ARG PYTHON=3.11
ARG DEVICE=cpu

FROM python:${PYTHON}-slim AS wheel
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim AS cpu

FROM python:${PYTHON}-slim AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

# hadolint ignore=DL3006
FROM ${DEVICE}
ARG EXTRAS=
ARG TORCH_INDEX=
COPY constraints.txt /tmp/constraints.txt
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"} \
    --constraint /tmp/constraints.txt "$(echo /wheels/*.whl)${EXTRAS}"
RUN useradd --create-home --uid 1000 dept && mkdir /work && chown dept /work
USER 1000
WORKDIR /work
ENTRYPOINT ["dept-vl"]
CMD ["--help"]
