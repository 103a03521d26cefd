"""One task instance per item: plain Airflow mapping, for comparison."""

from airflow.sdk import Param, dag, task, task_group


@dag(schedule=None, params={"items": Param(50, type="integer")}, max_active_tasks=64)
def item_flow():
    @task
    def items(params: dict) -> list[int]:
        return list(range(params["items"]))

    @task
    def generate(n: int) -> int:
        return n

    @task
    def inspect(n: int) -> int:
        return n

    @task_group
    def a_c(n: int) -> None:
        inspect(generate(n))

    a_c.expand(n=items())


item_flow()
