"""Apache Airflow as an engine: it starts, spreads, restarts and shows work that stays in staging.

Order, limits, retries and dead letters of studies are not Airflow's: see ``docs/explanation``.
"""
