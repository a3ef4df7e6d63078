# The service in one image, for CPU or CUDA.
#   CPU:   docker build -t llamafarm-vision .
#          (several GB smaller with --build-arg PIP_EXTRA_INDEX_URL=<PyTorch's index of CPU wheels>)
#   CUDA:  docker build -t llamafarm-vision:cuda --build-arg DEVICE=cuda .   then   docker run --gpus all ...
ARG PYTHON=3.12

FROM python:${PYTHON}-slim-bookworm AS build
ARG DEVICE=auto
# pip reads these two from its environment; empty means its own default
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /opt/vision
# torch first, in a layer of its own: it is the largest and changes the least
COPY constraints.txt ./
RUN /opt/vision/bin/pip install -c constraints.txt torch \
    && /opt/vision/bin/python -c "import sys, torch; sys.exit('$DEVICE' == 'cuda' and not torch.version.cuda and 'this torch has no CUDA')"
COPY client ./client
COPY pyproject.toml README.md ./
COPY migrations ./migrations
COPY app ./app
COPY workers ./workers
COPY strategies ./strategies
RUN /opt/vision/bin/pip install -c constraints.txt ./client .

FROM python:${PYTHON}-slim-bookworm
ARG DEVICE=auto
RUN useradd --create-home --uid 10001 vision && install -d -o vision -g vision /data /blobs
COPY --from=build /opt/vision /opt/vision
# Beyond loopback the service wants API keys: the first start writes an admin key into the data volume.
ENV PATH=/opt/vision/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    VISION_HOST=0.0.0.0 \
    VISION_PORT=8000 \
    VISION_DATA_DIR=/data \
    VISION_BOOTSTRAP_KEY_FILE=/data/admin-key \
    VISION_DEVICE=${DEVICE}
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['VISION_PORT'] + '/readyz', timeout=4)"]
CMD ["vision", "serve"]
