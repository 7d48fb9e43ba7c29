# The README's steps in a container, without a GPU. From a clone:
#
#     docker build --tag nas-budget .
#     docker run --rm --volume "$PWD/runs:/app/runs" nas-budget search --trials 50
FROM python:3.12-slim
WORKDIR /app
COPY . /src
RUN pip install --no-cache-dir --constraint /src/constraints.txt /src
ENV NAS_BUDGET_DATA=/app/data
ENTRYPOINT ["nas-budget"]
