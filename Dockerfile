# Serves a bundle, without torch:
#   docker build -t dssm-lightning .
#   docker run --rm -p 127.0.0.1:8000:8000 -e DSSM_API_TOKEN -v "$PWD/bundle:/bundle:ro" dssm-lightning
# Text is split by the Unicode version of Python: build with that of the training, such as --build-arg PYTHON=3.12.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH
# The server, bundles and the command line; filters; many queries at once; features of tokens and pictures; URLs.
RUN pip install \
    "fastapi>=0.115" "uvicorn[standard]>=0.53" "msgspec>=0.19" "prometheus-client>=0.20" "swagger-ui-bundle>=1.1" \
    "threadpoolctl>=3.1" \
    "numpy>=1.26" "onnxruntime>=1.23" "jsonargparse[signatures]>=4.53,<5" "rich>=14.1" \
    "lark>=1.1.9" "polars>=1.34" "tokenizers>=0.20" "pillow>=10.3" "filelock>=3.13" "fsspec"
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY dssm_lightning dssm_lightning
RUN pip install --no-deps .

FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="dssm-lightning" org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 serve && useradd --uid 10001 --gid serve --no-create-home --shell /usr/sbin/nologin serve
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
WORKDIR /tmp
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["dssm-lightning"]
CMD ["serve", "--bundle", "/bundle", "--host", "0.0.0.0"]
