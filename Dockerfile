# A server of translations, in two stages: the wheel of mtmoe, then what runs it.
#
#   docker build -t mtmoe .
#   docker run --rm -p 127.0.0.1:8000:8000 -v /srv/models:/models:ro mtmoe /models/en-de.mtmoe
#
# Without network: put the wheels of everything into wheels/ (pip download '.[serve]' 'setuptools>=77' -d wheels), and
#   docker build --build-arg PIP_OPTIONS="--no-index --find-links /src/wheels" -t mtmoe .
# How to run it: docs/howto/server.md.

FROM python:3.11 AS build
ARG PIP_OPTIONS=""
WORKDIR /src
COPY . .
RUN python -m pip wheel --no-deps ${PIP_OPTIONS} --wheel-dir /wheels /src

FROM python:3.11-slim
ARG PIP_OPTIONS="--extra-index-url https://download.pytorch.org/whl/cpu"
COPY --from=build /src /src
COPY --from=build /wheels /wheels
RUN python -m venv /opt/mtmoe \
    && /opt/mtmoe/bin/python -m pip install --no-cache-dir ${PIP_OPTIONS} --constraint /src/constraints.txt \
       "$(echo /wheels/mtmoe-*.whl)[serve]" \
    && rm -rf /src /wheels
RUN useradd --system --uid 10001 --no-create-home mtmoe
USER 10001

EXPOSE 8000
# Long enough to load a model; /health answers as soon as the process does.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["/opt/mtmoe/bin/python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
STOPSIGNAL SIGTERM
# All addresses of the container, which is no more than what `docker run -p` opens of it.
ENTRYPOINT ["/opt/mtmoe/bin/mtmoe", "serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["/models/model.mtmoe"]
