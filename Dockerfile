# Four images from one file, by pip alone, which takes nothing without its hash (requirements/, made by `make hashes`):
# `--target bot` has no torch, `--target worker` has no keys, `--target chain` is the embedded development chain, and
# `--target demo` is everything on one page, to try it out. `make digests` pins the images that they begin from.
FROM python:3.11-slim AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
# A volume takes owner and mode from the folder that the image has in its place.
RUN useradd --create-home --uid 10001 flock && install -d -o flock -g flock -m 700 /data /keys /chain
WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY requirements requirements
COPY migrations migrations
COPY generation generation
COPY contracts contracts
COPY bot bot
ENV FLOCK_DATA_DIR=/data

FROM base AS bot
# Whichever video host and signer .env names.
RUN pip install --require-hashes -r requirements/bot.txt && pip install --no-deps --no-build-isolation ".[s3,kms-aws,kms-gcp,export]"
WORKDIR /
USER flock
ENTRYPOINT ["flock"]
CMD ["run"]

FROM base AS worker
# `train` is a worker and peft, without which no adapter is loaded.
RUN pip install --require-hashes -r requirements/worker.txt && pip install --no-deps --no-build-isolation ".[train]"
WORKDIR /
USER flock
ENTRYPOINT ["flock"]
CMD ["worker"]

FROM base AS chain
RUN pip install --require-hashes -r requirements/chain.txt && pip install --no-deps --no-build-isolation .
USER flock
ENTRYPOINT ["python", "-m", "bot.demo.chain"]
CMD ["--host", "0.0.0.0", "--port", "8545", "--state", "/chain"]

FROM base AS demo
RUN pip install --require-hashes -r requirements/demo.txt && pip install --no-deps --no-build-isolation ".[demo]"
USER flock
# Everything that is written lies here or in /tmp, so that the rest may be read-only.
VOLUME /data
EXPOSE 8765
ENTRYPOINT ["flock"]
CMD ["demo", "--page", "0.0.0.0:8765", "--state", "/data/demo"]
