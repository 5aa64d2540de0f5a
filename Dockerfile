# The images, each built by `docker build --target NAME --tag … .`:
#
#   worker      the program; the default
#   simulator   the simulated Teamleader of the demo
#   test        all tests, and the servers that they run against (`make dockertest`)
#
# Dependencies are compiled in layers of their own, from a recipe that changes only with Cargo.toml and Cargo.lock. The images of the two
# programs hold nothing but what they need to run: no shell, no packages. They are compiled from nothing but what they are made of, so that a
# change of a test or a page builds nothing anew; what Cargo.toml names besides, the recipe leaves as empty files. Nothing here needs more than
# the BuildKit of Docker 20.10.

FROM rust:1.95-bookworm AS chef
RUN cargo install --locked cargo-chef@0.1.78
WORKDIR /src
# Queries are checked from .sqlx: no database is needed to build.
ENV SQLX_OFFLINE=true

FROM chef AS plan
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

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

FROM chef AS build-simulator
COPY --from=plan /src/recipe.json .
RUN cargo chef cook --release --locked --package teamleader-simulator --bin teamleader-simulator --recipe-path recipe.json
COPY Cargo.toml Cargo.lock ./
COPY simulator simulator
COPY dev/image-root dev/
RUN cargo build --release --locked --package teamleader-simulator --bin teamleader-simulator \
    && dev/image-root target/release/teamleader-simulator /image

FROM scratch AS simulator
COPY --from=build-simulator /image /
USER 10001:10001
ENV SIMULATOR_LISTEN=0.0.0.0:8090
EXPOSE 8090
ENTRYPOINT ["teamleader-simulator"]

FROM chef AS build-worker
COPY --from=plan /src/recipe.json .
RUN cargo chef cook --release --locked --package teamleader2db --bin teamleader2db --recipe-path recipe.json
COPY Cargo.toml Cargo.lock ./
COPY .sqlx .sqlx
COPY migrations migrations
COPY simulator simulator
COPY build.rs ./
COPY src src
COPY dev/image-root dev/
# What `--version` names: `--build-arg TEAMLEADER2DB_COMMIT=$(git rev-parse --short=12 HEAD)`. There is no .git here.
ARG TEAMLEADER2DB_COMMIT
# Newer than the empty one of the recipe.
RUN touch build.rs && cargo build --release --locked --package teamleader2db --bin teamleader2db \
    && dev/image-root target/release/teamleader2db /image

FROM scratch AS worker
COPY --from=build-worker /image /
# A number, so that Kubernetes can see that it is not root. It writes no files: the root file system may be read-only.
USER 10001:10001
ENV LOG_FORMAT=json
EXPOSE 8080
# Asks the worker at HTTP_LISTEN. The worker listens as soon as the database answers, which may be starting, too.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 CMD ["teamleader2db", "healthcheck"]
# The worker ends in order on SIGTERM. It may need longer than the 10 s that Docker gives it: `docker stop --time 60`.
ENTRYPOINT ["teamleader2db"]
CMD ["worker"]
