# HTTP API and page in a container; how to run it and what was checked without an engine: docs/container.md.

# `make pin-images` adds the digests, which a tag alone does not fix.
ARG PYTHON_IMAGE=python:3.11.15-slim-bookworm
ARG UV_IMAGE=ghcr.io/astral-sh/uv:0.13.9

FROM ${UV_IMAGE} AS uv

FROM ${PYTHON_IMAGE} AS build
COPY --from=uv /uv /opt/uv
# Bytecode is written now, as nothing can be written later.
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
WORKDIR /build
RUN python -m venv --without-pip /opt/venv
# Packages before code: a change of the code installs nothing again. Versions and hashes are those of the lock; a package
# that would need a compiler is refused.
COPY pyproject.toml requirements.txt ./
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv pip install --python /opt/venv/bin/python --no-build --constraint requirements.txt \
        --requirement pyproject.toml --extra serve --extra baseline
COPY . ./
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv pip install --python /opt/venv/bin/python --build-constraint requirements.txt --no-deps .
# The service's user may read everything, whatever the umask of the checkout was.
RUN chmod -R a+rX /opt/venv

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Focus Picker" \
      org.opencontainers.image.description="Focus scores of cell images and the best plane of a z-stack, over HTTP" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="BSD-3-Clause"
# LightGBM (a baseline.txt as model) needs the OpenMP library. Debian keeps only the latest build of it: no pin.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 8000
# Past any proxy that the engine may have put into the environment.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "from urllib.request import ProxyHandler, build_opener; build_opener(ProxyHandler({})).open('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["focus-picker"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
