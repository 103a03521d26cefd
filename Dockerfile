# The plant's image (target `plant`) and that of hosts with GPUs (target `gpu`, with PyTorch): docs/how-to/containers.md
# The slim image has Airflow's Python, its user and its system libraries; what runs is our own locked set beside it.
ARG BASE=docker.io/apache/airflow:slim-3.3.2-python3.12

FROM ${BASE} AS packages
USER root
WORKDIR /opt/darkroom
COPY tools/install tools/
COPY pyproject.toml requirements.txt requirements-container.txt ./
COPY include/darkroom/__init__.py include/darkroom/
# The package itself is installed by a link, so that its files are the last layer.
ENV UV_NO_CACHE=1 PIP_NO_CACHE_DIR=1
RUN touch README.md && tools/install requirements.txt requirements-container.txt

FROM packages AS packages-gpu
COPY requirements-gpu.txt ./
RUN VENV=.venv-gpu tools/install requirements-gpu.txt

FROM ${BASE} AS plant
USER root
WORKDIR /opt/darkroom
# An empty volume takes over the owner of the folder that it is mounted on.
RUN install -d -o airflow -g root -m 0770 /store \
    /var/lib/darkroom /var/lib/darkroom/airflow /var/lib/darkroom/airflow/logs
COPY --from=packages /opt/darkroom/.venv .venv
ENV PATH=/opt/darkroom/.venv/bin:${PATH} PYTHONPATH=/opt/darkroom/include PYTHONUNBUFFERED=1 \
    DARKROOM_HOME=/var/lib/darkroom AIRFLOW_HOME=/var/lib/darkroom/airflow \
    DARKROOM_LOG_FOLDER=/var/lib/darkroom/airflow/logs DARKROOM_STORE=file:///store DUMB_INIT_SETSID=0
COPY . .
RUN python -m darkroom.stack.airflow_cfg > /var/lib/darkroom/airflow/airflow.cfg
USER airflow
# Signals go to the command alone, and it drains. Settings become Airflow's own before it starts.
ENTRYPOINT ["dumb-init", "--", "python", "-m", "darkroom.stack.container"]
CMD ["darkroom", "--help"]

FROM plant AS gpu
COPY --from=packages-gpu /opt/darkroom/.venv-gpu .venv-gpu
ENV DARKROOM_SERVER_PYTHON=.venv-gpu/bin/python NVIDIA_DRIVER_CAPABILITIES=compute,utility
