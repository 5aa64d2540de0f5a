# syntax=docker/dockerfile:1
#
#   docker build --tag teamleader2db .                the worker
#   docker build --target test --tag … .              an image that runs all tests (`make dockertest`)
#
# Dependencies are compiled in layers of their own, from a recipe that changes only with Cargo.toml and Cargo.lock.

FROM rust:1.95-bookworm AS chef
RUN cargo install --locked cargo-chef
WORKDIR /src
# Queries are checked from .sqlx: no database is needed to build.
ENV SQLX_OFFLINE=true

FROM chef AS plan
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

FROM chef AS build
COPY --from=plan /src/recipe.json .
RUN cargo chef cook --release --locked --package teamleader2db --bin teamleader2db --recipe-path recipe.json
COPY . .
RUN cargo build --release --locked --package teamleader2db --bin teamleader2db

FROM chef AS test
# The servers that the tests run against.
COPY dev/install dev/
RUN dev/install
COPY --from=plan /src/recipe.json .
RUN cargo chef cook --workspace --locked --recipe-path recipe.json \
    && cargo chef cook --workspace --locked --tests --recipe-path recipe.json
COPY . .
RUN cargo build --workspace --locked --features fault-points && cargo test --workspace --locked --features fault-points --no-run
CMD ["make", "test"]

FROM debian:bookworm-slim AS worker
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/teamleader2db /usr/local/bin/
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
ENV LOG_FORMAT=json
EXPOSE 8080
# The worker drains on SIGTERM; give it longer than a page takes: `docker stop --time 60`.
ENTRYPOINT ["teamleader2db"]
CMD ["worker"]
