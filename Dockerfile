# make image builds bin/dialmux, and this around it.
FROM scratch
COPY bin/dialmux /dialmux
# WebSocket over HTTP/2 (RFC 8441).
ENV GODEBUG=http2xconnect=1
# In a container, loopback is the container's own: workers come from outside, and so want --token or DIALMUX_TOKEN.
ENV DIALMUX_WORKERS=tcp://0.0.0.0:8000
EXPOSE 9000 8000
USER 65532:65532
ENTRYPOINT ["/dialmux"]
CMD ["router"]
