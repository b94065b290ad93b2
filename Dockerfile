# Two images from one file: `docker build --target bot .` has no torch, `--target worker .` has no keys.
FROM python:3.11-slim AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --create-home --uid 10001 flock && install -d -o flock -g flock -m 700 /data
WORKDIR /app
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY migrations migrations
COPY generation generation
COPY contracts contracts
COPY bot bot
ENV FLOCK_DATA_DIR=/data FLOCK_DATABASE_URL=sqlite:////data/flock.db
VOLUME /data

FROM base AS bot
RUN pip install -c requirements.lock .
USER flock
ENTRYPOINT ["flock"]
CMD ["run"]

FROM base AS worker
RUN pip install "$(grep '^torch==' requirements.lock)" && pip install -c requirements.lock ".[worker]"
USER flock
ENTRYPOINT ["flock"]
CMD ["worker"]
