# The image of services made with the service kit: here the three examples. From the root of the repository:
#   docker build -f deploy/service.Dockerfile -t example-service .
# For yours, copy your module instead of examples/, and name it in CMD.

# The kit is installed in the session manager's image, with the Python and the libraries that both need.
ARG SESSION_MANAGER=session-manager:latest
FROM ${SESSION_MANAGER}
WORKDIR /service
COPY examples examples
EXPOSE 8100
# It stops on SIGTERM, when its jobs are finished.
CMD ["python", "-m", "examples.asr_service"]
