# docker build -t fingerpost . && docker run -p 8190:8190 -v fingerpost:/data fingerpost

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
# The dependencies first, with an empty program: this layer lasts until the manifest changes.
# The benches are there because the manifest names them.
COPY Cargo.toml Cargo.lock ./
COPY benches benches
RUN mkdir src \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs \
    && cargo build --locked --release
COPY . .
# Cargo goes by file times, and the copied files are older than the empty program.
RUN touch src/main.rs src/lib.rs \
    && cargo build --locked --release

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="Fingerpost" \
      org.opencontainers.image.description="A delegated content router for IPFS" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
RUN useradd --uid 8190 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin fingerpost \
    && install --directory --owner fingerpost --group fingerpost --mode 0750 /data
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/target/release/fingerpost /usr/local/bin/fingerpost
COPY LICENSE-MIT LICENSE-APACHE /usr/share/doc/fingerpost/
# By number, so that Kubernetes can see that it is not root.
USER 8190
WORKDIR /data
VOLUME /data
EXPOSE 8190 8191
ENV FINGERPOST_LISTEN=0.0.0.0:8190 \
    FINGERPOST_ADMIN_LISTEN=0.0.0.0:8191 \
    FINGERPOST_DATA_DIR=/data
STOPSIGNAL SIGTERM
# Bash speaks TCP by itself, so the image needs no HTTP client. The port is the variable's; whoever
# moves the admin listener by a flag or a file sets their own health check.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["/bin/bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/${FINGERPOST_ADMIN_LISTEN##*:} && printf 'GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [ \"$status\" = 200 ]"]
ENTRYPOINT ["fingerpost"]
CMD ["serve"]
